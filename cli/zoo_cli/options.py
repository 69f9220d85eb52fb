"""Arguments that several verbs share, so that they read the same everywhere; those of a device come from its table."""

from __future__ import annotations

import shlex
import typing
from pathlib import Path
from typing import Annotated, Any, Literal, Unpack, cast

import typer
from typer.core import TyperGroup

from zoo.edge import _options as device
from zoo.errors import UsageError
from zoo.spec import Budget, Reading, pick_reading
from zoo_cli import offers

__all__ = [
    "BatchSize",
    "By",
    "Columns",
    "Data",
    "Device",
    "Epochs",
    "Exported",
    "Fold",
    "Frames",
    "Group",
    "IncludeSeen",
    "Inputs",
    "Json",
    "KeepLeaks",
    "KeepNa",
    "Key",
    "Licence",
    "Lr",
    "Metric",
    "Operating",
    "Order",
    "Pretrained",
    "Prevalence",
    "Provider",
    "Seed",
    "Settings",
    "Size",
    "SkipBad",
    "Split",
    "TableAs",
    "Task",
    "Uncertain",
    "Unlike",
    "Verbs",
    "make_budget",
    "make_reading",
    "option",
    "read_by",
    "read_inputs",
    "read_licences",
    "read_names",
    "read_order",
    "refuse_formats",
    "refuse_idle",
    "spell_reading",
]


WHOLE = 500
"""Characters of a sentence, of which none is cut off."""


class Verbs(TyperGroup):
    """Verbs of a verb: in the help each has its whole first sentence."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the section of the help."""
        rows = [(name, self.commands[name].get_short_help_str(WHOLE)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def option(said: device.Option, *, negated: bool = False) -> Any:
    """An option of the device's table as Typer takes it; `negated`: with --no-NAME beside it."""
    flag = f"{said.flag}/--no-{said.flag.removeprefix('--')}" if negated else said.flag
    return typer.Option(flag, metavar=said.metavar, min=said.least, max=said.most, help=said.help, show_default=True)


def make_reading(
    columns: str | None,
    group: str | None,
    uncertain: Literal["ignore", "positive", "negative"] | None,
    *,
    keep_na: bool | None = None,
    frames: Literal["one", "channels"] | None = None,
) -> Reading:
    """What the options say of how data is read; what they do not say is left out."""
    return pick_reading(
        Reading(columns=_read_columns(columns), group=group, uncertain=uncertain, keep_na=keep_na, frames=frames)
    )


def make_budget(reading: Reading, **said: Unpack[Budget]) -> Budget:
    """What the options say of a training and of how its data is read; what a verb does not offer is left out."""
    return cast("Budget", {**said, **reading})


def _read_epochs(text: str) -> int | Literal["auto"]:
    """What `--epochs` says.

    Raises:
        ValueError: it is neither.
    """
    return "auto" if text == "auto" else int(text)


def refuse_formats(table: str | None, *, as_json: bool, **chooses: bool) -> None:
    """Refuse `--table` beside `--json`, and an option that chooses the table without `--table`.

    Args:
        table: what `--table` said.
        as_json: whether `--json` was given.
        **chooses: options that say which table is printed, by name, and whether they were given.
    """
    if table is not None and as_json:
        raise UsageError("--table and --json: give one of them", code="option-conflict", options=["--table", "--json"])
    idle = [f"--{name.replace('_', '-')}" for name, given in chooses.items() if given and table is None]
    if idle:
        said = " and ".join(idle)
        raise UsageError(f"{said} without --table, whose table it chooses", code="option-ignored", options=idle)


def refuse_idle(when: str, **options: object) -> None:
    """Refuse options that would change nothing, `when` says in which case.

    Raises:
        UsageError: names those that are given, so not None and not False.
    """
    idle = [
        f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None and value is not False
    ]
    if idle:
        raise UsageError(
            f"{' and '.join(idle)} {when} changes nothing; leave it out", code="option-ignored", options=idle
        )


def spell_reading(reading: Reading) -> str:
    """The options that say the same, each after a blank."""
    said = {"--columns": ",".join(f"{role}={column}" for role, column in (reading.get("columns") or {}).items())}
    said |= {"--group": reading.get("group") or "", "--uncertain": reading.get("uncertain") or ""}
    said |= {"--frames": reading.get("frames") or ""}
    texts = [f" {option} {shlex.quote(value)}" for option, value in said.items() if value]
    return "".join((*texts, spell_keep_na(reading.get("keep_na"))))


def spell_keep_na(keep_na: bool | None) -> str:
    """The option that says the same, after a blank; "": none."""
    return "" if keep_na is None else " --keep-na" if keep_na else " --no-keep-na"


def read_by(text: str | None) -> tuple[str, ...] | None:
    """What `--by` says: names of columns."""
    return None if text is None else read_names(text, "--by", "sex,age")


def read_inputs(text: str | None) -> tuple[str, ...] | None:
    """What `--inputs` says: names of columns."""
    return None if text is None else read_names(text, "--inputs", "age,sex")


def read_order(text: str | None) -> tuple[str, ...] | None:
    """What `--order` says: grades, the lowest first."""
    return None if text is None else read_names(text, "--order", "none,mild,severe")


def read_names(text: str, option: str, such: str) -> tuple[str, ...]:
    """What an option says that takes names between commas; `such` are some.

    Raises:
        UsageError: a name is empty.
    """
    names = tuple(part.strip() for part in text.split(","))
    if not all(names):
        raise UsageError(
            f"{option} {text}: a name is empty; expected such as {such}",
            code="option-value",
            option=option,
            value=text,
        )
    return names


def read_licences(text: str | None) -> tuple[str, ...]:
    """What `--licence` says; nothing: any.

    Raises:
        UsageError: a name is empty.
    """
    return () if text is None else read_names(text, "--licence", "apache-2.0,mit")


def _read_columns(text: str | None) -> dict[str, str] | None:
    """What `--columns` says, role to column; a part without '=' belongs to the column before it, 'labels=A,B'.

    Raises:
        UsageError: it begins with no role, or names a role twice.
    """
    if text is None:
        return None
    chosen: dict[str, str] = {}
    last = ""
    for part in text.split(","):
        role, equals, column = part.partition("=")
        if equals and role.strip().isalpha() and role.strip() not in chosen:
            last = role.strip()
            chosen[last] = column
        elif not equals and last:
            chosen[last] += f",{part}"
        else:
            raise UsageError(
                f"--columns {text}: {part!r} is not ROLE=COLUMN, or gives a role twice; expected such as "
                "image=FILE,label=DX",
                code="option-value",
                option="--columns",
                value=text,
            )
    return chosen


def _share(table: Any) -> Any:
    return option(typing.get_args(table)[1])


Json = Annotated[bool, _share(device.Json)]
Exported = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN|BUNDLE|ONNX]", autocompletion=offers.exported, help="What is judged; default: the last run."
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="NAME|PATH|URL",
        autocompletion=offers.data,
        help="A folder of class folders, a table, an .npz file, shards, the address of any of them (s3://…), or a name "
        "from 'zoo data list'.",
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="ROLE=COLUMN,…",
        help="What a table's columns mean: image=FILE,label=DX; roles image, label, labels, group, split, fold, frame, "
        "site, age, sex, device. Several columns of labels: labels=A,B. Where folders are the classes: label=folder.",
    ),
]
Group = Annotated[
    str | None,
    typer.Option(
        "--group",
        metavar="COLUMN|REGEX",
        help="What belongs to one patient: a column, 'patient' for DICOM, or a pattern with one group, 'p(\\d+)'.",
    ),
]
KeepNa = Annotated[
    bool | None,
    typer.Option("--keep-na/--no-keep-na", help="In a table, 'NA', 'nan', 'None' … name a class or group, or nothing."),
]
Uncertain = Annotated[
    Literal["ignore", "positive", "negative"] | None,
    typer.Option("--uncertain", help="Labels of -1 in a table: left out of loss and metrics (ignore), or 1, or 0."),
]
Frames = Annotated[
    Literal["one", "channels"] | None,
    typer.Option("--frames", help="A file of several pictures: one of them is chosen, or they are its channels."),
]
Inputs = Annotated[
    str | None,
    typer.Option(
        "--inputs",
        metavar="COLUMN,…",
        help="Columns of the table that the model is given beside the image, such as age,sex. NAME:category takes "
        "numbers for names, NAME:optional answers without it too.",
    ),
]
Split = Annotated[Literal["train", "val", "test"], typer.Option("--split", help="Which images.", show_default=True)]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be read, and say how many.")]
KeepLeaks = Annotated[
    bool, typer.Option("--keep-leaks", help="Train on copies of held-out images, and on groups in two splits.")
]
Unlike = Annotated[
    list[str] | None,
    typer.Option(
        "--unlike",
        metavar="PATH",
        help="Images that are not of the model's kind; repeatable; of 'zoo report' with --out.",
    ),
]
IncludeSeen = Annotated[
    bool, typer.Option("--include-seen", help="Judge images too that a model was trained or validated on.")
]
Provider = Annotated[str, _share(device.Provider)]
Key = Annotated[Path | None, _share(device.Key)]
Pretrained = Annotated[bool, typer.Option("--pretrained", help="Start from the card's weights.")]
Epochs = Annotated[
    Any,
    typer.Option(
        "--epochs",
        metavar="auto|N",
        parser=_read_epochs,
        help="Passes over the training images; auto: as many as make a number of steps.",
    ),
]
BatchSize = Annotated[int | None, typer.Option("--batch-size", metavar="N", help="Images in one step.")]
Lr = Annotated[float | None, typer.Option("--lr", metavar="X", help="Peak learning rate.")]
Size = Annotated[int | None, typer.Option("--size", metavar="PX", help="Side of the network's input.")]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", help="Of weights, order and augmentation.")]
Licence = Annotated[
    str | None,
    typer.Option(
        "--licence", metavar="A,B,…", help="Only models whose code and weights are under these, 'apache-2.0,mit'."
    ),
]
Device = Annotated[
    str | None,
    typer.Option("--device", metavar="D", help="auto, cpu, cuda, cuda:N; xpu (Intel) or mps (Apple), not run by us."),
]
Metric = Annotated[
    str | None,
    typer.Option(
        "--metric",
        metavar="NAME",
        autocompletion=offers.metrics,
        help="What chooses on validation: macro_auroc (default), balanced_accuracy, accuracy, f1, kappa, nll or "
        "sensitivity@0.9:CLASS.",
    ),
]
Task = Annotated[
    Literal["auto", "ordinal"] | None,
    typer.Option("--task", help="ordinal: the classes are grades in order; auto: what the labels say."),
]
Order = Annotated[
    str | None, typer.Option("--order", metavar="A,B,…", help="Grades that are not numbers, the lowest first.")
]
Operating = Annotated[
    list[str] | None,
    typer.Option(
        "--operating",
        metavar="RULE",
        help="Call a class from a threshold on that validation images choose: sensitivity=0.9:CLASS, "
        "specificity=0.95:CLASS, youden:CLASS or cost=5:CLASS; may be repeated.",
    ),
]
Prevalence = Annotated[
    list[str] | None,
    typer.Option(
        "--prevalence",
        metavar="[CLASS=]X",
        help="Share of the class where the model is used, for PPV and NPV there; of two classes name one.",
    ),
]
By = Annotated[
    str | None,
    typer.Option(
        "--by",
        metavar="COLUMNS",
        help="Columns to divide the report by: sex,age; all; none. Default: site, age, sex, device.",
    ),
]
Fold = Annotated[
    int | None, typer.Option("--fold", metavar="I", min=0, help="Of data with folds: the one that is test.")
]
TableAs = Annotated[
    Literal["csv", "latex", "markdown"] | None,
    typer.Option("--table", help="Print one table for a paper or a program, and nothing else."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="K=V", help="Any other setting: class_weight=balanced, preprocess.resize=letterbox."),
]
