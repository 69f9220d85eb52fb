"""What is asked of an export: which options contradict each other, and where the output goes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from zoo._support.text import file_name
from zoo.errors import OutputError, UsageError
from zoo.spec import Bars
from zoo.workflow._find import MODEL_FILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.runs import RunFolder
    from zoo.spec import ModelCard, QuantizedKind, Target
    from zoo.workflow._prove import Stage

__all__ = ["Golden", "Request", "check_places", "read_bars", "refuse_combinations", "refuse_quantised", "target_of"]

Golden = Literal["generated", "own"]
"""Images of a bundle's golden set: drawn for the purpose, or taken from the data."""


@dataclass(frozen=True, slots=True)
class Request:
    """The arguments of `export` that say what is written."""

    preprocess: Stage
    portable: bool
    evidence: bool
    features: bool
    operating: tuple[str, ...]
    quantize: QuantizedKind | None
    target: Target | None
    bars: Bars
    accept_unproven: bool
    finetune: bool
    bundle: bool
    seen: bool
    out: str | Path | None
    data: str | Path | None
    golden: Golden | None
    overwrite: bool

    @property
    def unlike_the_runs_own(self) -> list[str]:
        """Options that make another file than the one that the training wrote."""
        asked = {
            f"--{self.quantize}": self.quantize is not None,
            "--portable": self.portable,
            "--evidence": self.evidence,
            "--features": self.features,
            "--operating": bool(self.operating),
            f"--preprocess {self.preprocess}": self.preprocess != "full",
        }
        return [option for option, given in asked.items() if given]


def read_bars(texts: Sequence[str]) -> Bars:
    """The usual bars with those that are named, such as "auroc=0.005".

    Raises:
        UsageError: an unknown name, or a value that is not a share.
    """
    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            if name not in Bars.__struct_fields__:
                raise ValueError(f"'{name}' is not the name of a bar")
            found[name] = float(value)
            Bars(**found)
        except ValueError as problem:
            raise UsageError(
                f"--bar {text}: {problem}; expected NAME=VALUE, NAME one of {', '.join(Bars.__struct_fields__)}, VALUE "
                "from 0 to below 1, such as auroc=0.005",
                code="bar-unknown",
                bar=text,
                names=list(Bars.__struct_fields__),
            ) from None
    return Bars(**found)


def refuse_combinations(request: Request, exported: Path | None, *, web: bool, ort_web: bool, fetch: bool) -> None:
    """Refuse arguments that contradict each other or would change nothing, before anything is opened.

    Args:
        request: what is asked for.
        exported: the file or bundle that was named in place of a run.
        web: whether a page is asked for.
        ort_web: whether the package for a page is named.
        fetch: whether npm may get it.

    Raises:
        UsageError: names them.
    """
    if request.portable and request.preprocess != "full":
        raise UsageError(
            f"--portable is about how a file resizes, with --preprocess {request.preprocess} it does not",
            code="option-conflict",
            options=["--portable", "--preprocess"],
        )
    if request.finetune and request.quantize != "int8":
        raise UsageError(
            "--finetune trains the network for 8-bit numbers; name --int8 too, or leave it out",
            code="option-conflict",
            options=["--finetune"],
        )
    given = {"--target": request.target, "--bar": request.bars != Bars(), "--accept-unproven": request.accept_unproven}
    idle = [] if request.quantize else [option for option, value in given.items() if value]
    if idle:
        raise UsageError(
            f"{', '.join(idle)}: of a quantised file only; name --int8 or --fp16 too, or leave it out",
            code="option-conflict",
            options=idle,
        )
    if web and (request.bundle or request.out is not None or request.preprocess != "full"):
        raise UsageError(
            "--web writes a folder of its own; leave out --bundle, --out and --preprocess",
            code="option-conflict",
            options=["--web"],
        )
    _refuse_idle(request, web=web, ort_web=ort_web, fetch=fetch)
    if request.golden is not None and not (web or request.bundle):
        raise UsageError(
            "--golden is about the golden set of a bundle; name --bundle or --web too, or leave it out",
            code="option-conflict",
            options=["--golden"],
        )
    if exported is None:
        return
    if not web:
        raise UsageError(
            f"{exported} is exported already; name its run, or write its page with --web",
            code="export-again",
            path=str(exported),
        )
    otherwise = request.portable or request.evidence or request.features or request.operating or request.quantize
    if otherwise or request.data is not None:
        raise UsageError(
            f"{exported} is a bundle, whose page holds it as it is; name its run to export it otherwise",
            code="export-again",
            path=str(exported),
        )


def _refuse_idle(request: Request, *, web: bool, ort_web: bool, fetch: bool) -> None:
    """Refuse options of a page or a bundle where none is written; arguments as `refuse_combinations`."""
    idle = [option for option, given in (("--ort-web", ort_web), ("--fetch", fetch)) if given and not web]
    if idle:
        raise UsageError(
            f"{' and '.join(idle)}: of a page only; name --web DIR too, or leave it out",
            code="option-ignored",
            options=idle,
        )
    if not request.seen and not request.bundle:
        raise UsageError(
            "--no-seen: only a bundle holds hashes of training images; name --bundle too, or leave it out",
            code="option-ignored",
            options=["--no-seen"],
        )


def refuse_quantised(card: ModelCard, kind: QuantizedKind) -> None:
    """Refuse models that ship in float32: ensembles, those of all images, and those with columns.

    Raises:
        UsageError: it is one.
    """
    if card.members:
        raise UsageError(
            f"--{kind}: an ensemble ships in float32, its members are proven one by one; export it as it is, or one "
            f"member with --{kind}",
            code="ensemble-quantise",
            quantize=kind,
        )
    if card.train.fold == "none":
        raise UsageError(
            f"--{kind}: {card.name} has learnt from all images, and none is left to show what a smaller file loses; "
            f"export it as it is, or name the run of one fold with --{kind}",
            code="folds-none",
            quantize=kind,
        )
    if card.table is not None:
        raise UsageError(
            f"--{kind}: {card.name} takes columns beside the image, and such models ship in float32; "
            "export it as it is",
            code="inputs-unsupported",
            model=card.name,
            quantize=kind,
        )


def check_places(run: RunFolder, request: Request) -> None:
    """Before any work: what is at the place of the output stays, unless it is ours and to be replaced.

    Raises:
        OutputError: it is not; or it is a file that the run keeps, or its own file, and another kind is asked for.
        UsageError: a name that does not fit what is written.
    """
    from zoo._support.files import refuse_occupied
    from zoo.artefact import check_bundle_place

    kinds: tuple[QuantizedKind | None, ...] = ("int8", "fp16") if request.quantize == "int8" else (request.quantize,)
    for target in dict.fromkeys(target_of(run, request, kind) for kind in kinds):  # int8 may end as fp16
        if request.bundle:
            check_bundle_place(target)
        if request.unlike_the_runs_own and target.resolve() == run.file(MODEL_FILE).resolve():
            options = request.unlike_the_runs_own
            raise OutputError(
                f"{target} is the run's own file, whose report is beside it, and {', '.join(options)} makes another; "
                "choose another place",
                code="out-run-file",
                path=str(target),
                options=options,
            )
        if (
            target.is_file()
            and target.resolve().parent == run.path.resolve()
            and target.suffix not in {".onnx", ".zip"}
        ):
            raise OutputError(
                f"{target} is a file that the run keeps; choose another place",
                code="out-run-file",
                path=str(target),
                options=["--out"],
            )
        refuse_occupied(target, overwrite=request.overwrite, holds="bundle" if request.bundle else "file")


def target_of(run: RunFolder, request: Request, kind: QuantizedKind | None) -> Path:
    """Where to write.

    Raises:
        UsageError: a name that does not fit what is written.
    """
    suffix = "zoo" if request.bundle else "onnx"
    stem = "-".join((file_name(run.record.card.name), *([kind] if kind else [])))
    target = Path(request.out) if request.out else run.file("export") / f"{stem}.{suffix}"
    if request.bundle and not target.name.endswith((".zoo", ".zoo.zip")):
        raise UsageError(
            f"--out {target}: the name of a bundle ends in .zoo (a folder) or .zoo.zip (one file)",
            code="out-name",
            path=str(target),
        )
    if not request.bundle and target.is_dir():
        raise UsageError(
            f"--out {target} is a folder; expected a file name such as {target / 'model.onnx'}",
            code="out-name",
            path=str(target),
        )
    return target
