"""What a path that was given to a verb is: a run, a bundle or an .onnx file; and the model file behind it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from zoo._support.text import quote_path
from zoo.errors import CatalogueError, ModelError, TrainingError, UsageError, WeightsError
from zoo.spec import MODEL_JSON, EvalReport, decode

if TYPE_CHECKING:
    from zoo.runs import RunFolder

__all__ = [
    "LAST",
    "MODEL_FILE",
    "OF_ALL",
    "OF_FOLDS",
    "REPORT_FILE",
    "find_target",
    "is_exported",
    "is_run",
    "last_of",
    "model_file",
    "read_report",
    "run_that_ships",
    "weights_file",
]

log = logging.getLogger("zoo")

MODEL_FILE = "model.onnx"
REPORT_FILE = "report.json"
WEIGHTS_FILE = "weights.safetensors"
OF_ALL = "all"
"""In a run over folds: the run of the model that was trained on all images."""
OF_FOLDS = "ensemble"
"""In a run over folds: the run of the ensemble of the folds."""
LAST = (OF_ALL, OF_FOLDS)
"""What may follow the folds: one of them, and the run over folds ships it."""


def is_run(path: Path) -> bool:
    """Whether `path` is the folder of a run."""
    from zoo.runs import RECORD

    return (path / RECORD).is_file()


def is_exported(path: Path) -> bool:
    """Whether `path` is a file or the folder of a bundle: something to open as it is."""
    from zoo.edge.bundle import MANIFEST

    return path.is_file() or (path / MANIFEST).is_file()


def read_report(run: RunFolder) -> EvalReport | None:
    """What the run's file did on the test images; None: it was not evaluated.

    Raises:
        TrainingError: report.json is damaged.
    """
    path = run.file(REPORT_FILE)
    return decode(path.read_bytes(), EvalReport, str(path), TrainingError) if path.is_file() else None


def model_file(path: Path | None) -> Path:
    """The file or bundle to open for `path`, which may be a run; None: the last run."""
    from zoo.edge.bundle import MANIFEST
    from zoo.runs import find_run, open_run, refuse_unfinished

    if path is None:
        path = find_run(None)
    if is_exported(path) or (path / MODEL_JSON).is_file():  # of another runtime, which whoever opens it says
        return path
    if is_run(path) or not path.exists():
        try:
            run = find_run(path)
        except UsageError as problem:
            if problem.code in {"run-aside", "run-gone"}:  # it says more than that it is not there
                raise
            raise ModelError(
                f"{path}: no such file; expected an .onnx file, a bundle NAME.zoo or a run",
                code="file-missing",
                path=str(path),
            ) from None
        run = run_that_ships(run)
        if not (run / MODEL_FILE).is_file():
            raise refuse_unfinished(open_run(run), f"holds no {MODEL_FILE}")
        return run / MODEL_FILE
    raise ModelError(
        f"{path} is a folder without {MANIFEST}; expected an .onnx file, a bundle NAME.zoo or a run",
        code="file-missing",
        path=str(path),
        expected=MANIFEST,
    )


def find_target(target: str | Path) -> Path | None:
    """The run, bundle or file called `target`; None: it is a model to train.

    Where both bear the name, a path is taken as it was typed, and the name of a run below runs/ for the model, as in
    `zoo.train`; a warning says which.

    Raises:
        UsageError: it is none of these.
    """
    from zoo import registry
    from zoo.runs import find_run

    path, below = Path(target), Path("runs") / target
    of_catalogue = str(target) in {row.name for row in registry.models()}
    if path.exists() and (not of_catalogue or is_run(path) or is_exported(path)):
        if of_catalogue:
            log.warning("%s is taken for what bears this name in this folder, not for the model", target)
        return path.resolve()  # runs/latest moves on when a model is trained for the comparison
    if of_catalogue:
        if is_run(below):
            log.warning("%s is taken for the model; the run of this name is %s", target, quote_path(below))
        return None
    try:
        return find_run(target)
    except UsageError as problem:
        if problem.code in {"run-aside", "run-gone"}:
            raise
    try:
        registry.find(str(target))
    except CatalogueError as problem:
        raise UsageError(
            f"'{target}' is not a run, bundle, file or model: {problem}", code="target-unknown", target=str(target)
        ) from None
    return None


def last_of(path: Path) -> Path | None:
    """In a run over folds, the run of what followed them; None: nothing did."""
    return next((path / name for name in LAST if is_run(path / name)), None)


def run_that_ships(path: Path) -> Path:
    """The run whose model is meant by a run: of one over folds that of what followed them, where something did.

    Raises:
        ModelError: a run over folds that nothing followed.
    """
    from zoo.runs import open_run, refuse_unfinished

    run = open_run(path)
    if not run.record.folds:
        return path
    last = last_of(path)
    if last is None:
        raise refuse_unfinished(run, "holds no model of all images and no ensemble of the folds")
    return last


def weights_file(named: str | Path) -> str | Path:
    """What `--weights` names, as the store takes it: of a run the weights in it.

    Raises:
        WeightsError: a run that keeps no weights to start from, or an exported file or bundle.
    """
    from zoo.edge.bundle import MANIFEST, is_archive

    path = Path(named)
    run = next((folder for folder in (path, Path("runs") / path) if is_run(folder)), None)
    if run is None:
        if path.is_dir() and not (path / MANIFEST).is_file():
            raise WeightsError(
                f"{path} is a folder, not a run; expected a run, a safetensors file or local-dir:FOLDER",
                code="weights-folder",
                path=str(path),
            )
        if path.suffix == ".onnx" or is_archive(path) or (path / MANIFEST).is_file():
            raise WeightsError(
                f"{path} is exported for good; expected its run, or a safetensors file",
                code="weights-exported",
                path=str(path),
            )
        return named
    run = run_that_ships(run)
    if not (run / WEIGHTS_FILE).is_file():
        from zoo.runs import open_run

        model = open_run(run).record.card.name
        raise WeightsError(
            f"{run} is a run of {model} without {WEIGHTS_FILE}, so nothing can start from it; name a finished run of "
            "a network",
            code="weights-of-run",
            run=str(run),
            model=model,
        )
    return run / WEIGHTS_FILE
