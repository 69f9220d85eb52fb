"""`zoo runs`: the runs that are here, one of them in full, two side by side; rename and remove them."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import zoo
from zoo.errors import UsageError
from zoo_cli import offers
from zoo_cli.options import Json, Verbs
from zoo_cli.output import (
    document,
    fields,
    format_count,
    format_table,
    megabytes,
    put,
    quote_path,
    say,
    show_path,
    title_of,
    verdict_table,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.workflow.runs import RunComparison, RunDetails, RunSummary

__all__ = ["app"]

app = typer.Typer(cls=Verbs, help="What was trained here.", rich_markup_mode=None, invoke_without_command=True)

Run = Annotated[str, typer.Argument(metavar="RUN", autocompletion=offers.runs, help="A folder, or an id below runs/.")]

_LARGEST = 6
"""Files of a run that are named."""


@app.callback()
def runs(context: typer.Context, as_json: Json = False) -> None:
    """What was trained here: list, show, compare, rename, remove.

    Alone it lists.
    """
    if context.invoked_subcommand is None:
        list_runs(None, as_json=as_json)


@app.command("list", epilog="Example: zoo runs list")
def list_runs(
    places: Annotated[
        list[str] | None, typer.Argument(metavar="[PATH…]", help="Runs, and folders that hold runs; default: runs/.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List runs, the newest first: state, best value, test result, size, age."""
    rows = zoo.list_runs(*(places or ()))
    if as_json:
        document(rows)
    elif rows:
        put(_table(rows))
        for row in rows:
            if row.why is not None:
                put(f"{row.path}: {row.why}")
    else:
        put("no run here; train one with 'zoo train simple_cnn'")


@app.command(epilog="Example: zoo runs show resnet18-20260102-030405")
def show(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]", autocompletion=offers.runs, help="A folder, or an id below runs/; default: the last run."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show one run: data, recipe, results, files, and what to type next."""
    from zoo.workflow.runs import show_run

    found = show_run(run)
    if as_json:
        document(found)
    else:
        put(_details(found))


@app.command(epilog="Example: zoo runs compare resnet18-20260102-030405 svm-20260102-040506")
def compare(
    names: Annotated[
        list[str], typer.Argument(metavar="A B …", autocompletion=offers.runs, help="Folders, or ids below runs/.")
    ],
    as_json: Json = False,
) -> None:
    """Put results side by side, and the settings that differ.

    Nothing is run, so nothing is tested: 'zoo compare' makes the paired tests.
    """
    from zoo.workflow.runs import compare_runs

    found = compare_runs(*names)
    if as_json:
        document(found)
    else:
        put(_side_by_side(found))


@app.command(epilog="Example: zoo runs rename resnet18-20260102-030405 'first try'")
def rename(
    run: Run,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new name, without a folder.")],
    as_json: Json = False,
) -> None:
    """Give a run another name: its folder, its id, runs/latest, and ensembles that name it."""
    from zoo.workflow.rename import rename_run

    renamed = rename_run(run, name)
    if as_json:
        document(renamed)
    else:
        put(fields({"run": renamed.path, "next": f"zoo runs show {quote_path(renamed.path)}"}))


@app.command(epilog="Example: zoo runs remove svm-20260102-040506")
def remove(
    names: Annotated[
        list[str], typer.Argument(metavar="RUN…", autocompletion=offers.runs, help="Folders, or ids below runs/.")
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Remove runs with all that is in their folders.

    It asks on a terminal, and needs --yes elsewhere. A run that is being trained is never removed, nor a fold or
    trial alone. Runs that continue a removed one, learnt from it or hold it as a member are named.
    """
    from zoo.workflow._holders import describe_dependents
    from zoo.workflow.remove import check_removal, remove_run

    found = check_removal(*names)
    for line in describe_dependents(*(Path(run.path).resolve() for run in found)):
        say(f"warning: {line}")
    if not yes:
        _ask(found, there=sys.stdin.isatty() and not as_json)
    removed = [remove_run(run.path) for run in found]
    if as_json:
        document(removed)
        return
    for run in removed:
        put(f"removed {run.path}, {megabytes(run.size_bytes)}")
    if len(removed) > 1:
        put(f"freed {megabytes(sum(run.size_bytes for run in removed))}")


def _ask(found: Sequence[RunSummary], *, there: bool) -> None:
    if not there:
        names = " ".join(quote_path(run.path) for run in found)
        raise UsageError(
            f"nobody is here to be asked; 'zoo runs remove {names} --yes' removes without a question",
            code="option-missing",
            options=["--yes"],
        )
    say(f"this removes, with all files inside:\n{_table(found)}")
    sys.stderr.write("remove? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        say("nothing was removed")
        raise typer.Exit(1)


def _table(rows: Sequence[RunSummary]) -> str:
    from zoo.workflow.runs import describe_state

    def cells(run: RunSummary) -> tuple[str, ...]:
        auroc = run.test.get("macro_auroc")
        best = "-" if run.best is None or run.best.value is None else f"{run.best.value:.3f}"
        return (
            ("*" if run.latest else " ") + quote_path(run.path),
            run.model or "-",
            run.data or "-",
            describe_state(run),
            best,
            "-" if auroc is None else str(auroc),
            megabytes(run.size_bytes),
            _age(run.started),
        )

    header = (" run", "model", "data", "state", "best val", "test macro AUROC (95 %)", "size", "age")
    latest = "\n* the last run: verbs take it where no run is named" if any(run.latest for run in rows) else ""
    return format_table(header, [cells(run) for run in rows], right=(4, 6, 7)) + latest


def _details(found: RunDetails) -> str:
    from zoo.workflow.runs import describe_state

    run, record = found.summary, found.record
    config, spec = record.card.train, record.card.preprocess
    lines: dict[str, object] = {"run": run.path, "state": describe_state(run)}
    if "folder" in run.moved:
        lines["made as"] = record.id
    recipe, start = f"seed {config.seed}, split seed {config.split_seed}", record.weights or "random weights"
    if record.card.family == "classical":
        start = "fitted in one step"
    elif record.card.members:
        start = ", ".join(map(show_path, record.card.members))
    else:
        recipe = f"{recipe}, batch size {config.batch_size}, lr {config.lr:g}"
    lines |= {
        "model": f"{record.card.name}, plugin {record.plugin.name} of {record.plugin.distribution} "
        f"{record.plugin.version}",
        "input": f"{spec.size[0]} x {spec.size[1]} px, {spec.named_channels}, {record.kind}",
        "data": f"{record.data.name}, {', '.join(f'{split} {n}' for split, n in record.data.splits.items())}, "
        f"sha256 {record.data.sha256[:12]}…",
        "from": record.source + (" (no longer there)" if "data" in run.moved else ""),
        "labels": ", ".join(record.labels),
        "began": f"{record.started} ({_age(record.started)} ago)",
        "recipe": recipe,
        "start": start,
    }
    if record.teacher is not None:
        lines["teacher"] = f"{record.teacher.name}, run {record.teacher.run}, sha256 {record.teacher.sha256[:12]}…"
    if record.best is not None:
        value = "undefined" if record.best.value is None else f"{record.best.value:.4f}"
        name = title_of(record.best.metric.removeprefix("val_"))
        lines["best epoch"] = f"{record.best.epoch} of {record.epochs_done}, by validation {name} {value}"
    if run.state == "interrupted" and record.steps_done:
        lines["stopped"] = f"in epoch {record.epochs_done + 1}, after {format_count(record.steps_done, 'step')}"
    if record.diverged is not None:
        bad = record.diverged
        lines["diverged"] = f"in step {bad.step} of epoch {bad.epoch}, at lr {bad.lr:g}"
    if record.seconds is not None:
        lines["took"] = f"{record.seconds:.1f} s" + (f", {record.precision}" if record.precision else "")
    lines["versions"] = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    if record.skipped:
        lines["left out"] = format_count(len(record.skipped), "image")
    lines |= {f"note {number}": note for number, note in enumerate(record.notes, 1)}
    largest = sorted(found.files.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{name} {megabytes(size)}" for name, size in largest[:_LARGEST])
    more = f" and {len(largest) - _LARGEST} more" if len(largest) > _LARGEST else ""
    lines["files"] = f"{megabytes(run.size_bytes)}: {shown}{more}"
    finished = run.state == "finished"
    lines |= dict(zip(("next", "or"), found.next, strict=True)) if finished else {"next": "; ".join(found.next)}
    table = "" if found.report is None else f"{verdict_table(found.report)}\n\n"
    return table + fields(lines)


def _side_by_side(found: RunComparison) -> str:
    names = tuple(quote_path(run.path) for run in found.runs)
    metrics = dict.fromkeys(name for run in found.runs for name in run.test)
    results: list[tuple[str, ...]] = [
        ("best on validation", *(_best(run) for run in found.runs)),
        *((title_of(name), *(str(run.test.get(name, "-")) for run in found.runs)) for name in metrics),
        ("test images", *(str(run.test_images or "-") for run in found.runs)),
        ("size", *(megabytes(run.size_bytes) for run in found.runs)),
    ]
    settings = [(name, *map(_cell, values)) for name, values in found.differences.items()]
    differ = format_table(("setting", *names), settings) if settings else "no setting differs"
    if found.same_images:
        then = f"same images; 'zoo compare {' '.join(names)}' tests the differences in pairs"
    else:
        then = (
            "trained and tested on different images, so these numbers cannot be compared; "
            f"'zoo compare {' '.join(names)} --data PATH' judges all on one set"
        )
    return f"{format_table(('result', *names), results)}\n\n{differ}\n\n{then}"


def _best(run: RunSummary) -> str:
    if run.best is None or run.best.value is None:
        return "-"
    return f"{run.best.value:.3f} ({title_of(run.best.metric.removeprefix('val_'))}, epoch {run.best.epoch})"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _age(started: str | None) -> str:
    """'3 days', from a time in ISO 8601."""
    if started is None:
        return "-"
    seconds = (datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(started)).total_seconds()
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * length:
            return format_count(int(seconds // length), unit)
    return format_count(max(0, int(seconds)), "second")
