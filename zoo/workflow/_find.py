"""What a path that was given to a verb is: a run, a bundle or an .onnx file; and the model file behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.errors import ModelError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MODEL_FILE", "is_exported", "is_run", "model_file"]

MODEL_FILE = "model.onnx"


def is_run(path: Path) -> bool:
    """Whether `path` is the folder of a run."""
    from zoo.runs import RECORD

    return (path / RECORD).is_file()


def is_exported(path: Path) -> bool:
    """Whether `path` is a file or the folder of a bundle: something to open as it is."""
    from zoo.edge.bundle import MANIFEST

    return path.is_file() or (path / MANIFEST).is_file()


def model_file(path: Path) -> Path:
    """The file or bundle to open for `path`, which may be a run."""
    from zoo.edge.bundle import MANIFEST
    from zoo.runs import find_run

    if is_exported(path):
        return path
    if is_run(path) or not path.exists():
        try:
            run = find_run(path)
        except UsageError:
            raise ModelError(
                f"{path}: no such file; expected an .onnx file, a bundle NAME.zoo or a run",
                code="file-missing",
                path=str(path),
            ) from None
        if not (run / MODEL_FILE).is_file():
            raise _no_file(run)
        return run / MODEL_FILE
    raise ModelError(
        f"{path} is a folder without {MANIFEST}; expected an .onnx file, a bundle NAME.zoo or a run",
        code="file-missing",
        path=str(path),
        expected=MANIFEST,
    )


def _no_file(run: Path) -> ModelError:
    from zoo.registry import ENSEMBLE_PLUGIN
    from zoo.runs import open_run, remedy

    record = open_run(run).record
    if record.plugin.name == ENSEMBLE_PLUGIN and record.status != "done":
        why = "the ensemble did not come about; make it again with 'zoo train ensemble:RUN,RUN --overwrite'"
    else:
        why = remedy(record, run)
    line = f"{run} holds no {MODEL_FILE}: {why}"
    return ModelError(line, code="run-no-model", run=str(run), status=record.status)
