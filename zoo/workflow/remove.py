"""`zoo runs remove`: runs with all that is in their folders, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

from zoo._support.text import show_path
from zoo.errors import OutputError, TrainingError, UsageError
from zoo.runs import RECORD, bring_back, find_run, hold_run, open_run, repair_latest
from zoo.spec import Rows
from zoo.workflow._find import LAST
from zoo.workflow._holders import refuse_inside
from zoo.workflow.runs import RunSummary, summarise

__all__ = ["check_removal", "remove_run"]


def check_removal(*names: str | Path) -> Rows[RunSummary]:
    """The runs that `names` mean, each once, after all were found to be removable; nothing is changed.

    Raises:
        UsageError: no such run, a folder that holds more than one run, or a fold or trial of what stays.
        TrainingError: run.json cannot be read, or a process is training the run.
    """
    found = []
    remedy = "only the whole goes: a run over folds by 'zoo runs remove', a search when you delete its folder"
    for path in dict.fromkeys(find_run(name) for name in names):
        refuse_inside(path, remedy, last=False)
        with hold_run(path):  # refused while a process trains it
            pass
        try:
            folds = open_run(path).record.folds
        except TrainingError as problem:
            raise TrainingError(
                f"{problem}; so what {show_path(path)} holds is not known: look, and remove the folder yourself",
                code="run-damaged",
                run=str(path),
            ) from None
        own = {path, *(path / fold for fold in (*folds, *LAST) if folds)}
        inside = [record.parent for record in path.rglob(RECORD) if record.parent not in own]
        if inside or path in (Path.cwd(), *Path.cwd().parents):
            what = f"holds the run {show_path(inside[0])}" if inside else "is the working directory, or holds it"
            raise UsageError(
                f"{show_path(path)} {what}; move that elsewhere first, or name the run inside",
                code="run-holds-more",
                run=str(path),
            )
        found.append(summarise(path))
    return Rows(found)


def remove_run(name: str | Path) -> RunSummary:
    """Remove a run's folder with all that is in it; runs/latest then points to the newest that is left.

    A run that this one was to replace is back in its place. run.json goes last, so that a removal that was stopped can
    be repeated.

    Returns:
        What was removed.

    Raises:
        ZooError: as `check_removal`; nothing was removed.
        OutputError: a file cannot be removed.
    """
    (run,) = check_removal(name)
    path = find_run(name)
    try:
        with hold_run(path):
            for entry in sorted(path.iterdir(), key=lambda entry: entry.name == RECORD):
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
            path.rmdir()
            bring_back(path)
    except OSError as problem:
        raise OutputError(
            f"cannot remove {problem.filename or show_path(path)}: {(problem.strerror or str(problem)).lower()}; "
            "what is left can be removed again",
            code="output-unwritable",
            path=str(path),
        ) from None
    repair_latest()
    return run
