"""`open_data` and `index`: from what a user typed to a data set."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.data.assemble import assemble
from zoo.data.digits import index_digits
from zoo.data.folder import index_folder
from zoo.data.npz import index_npz
from zoo.data.wording import brief
from zoo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from zoo.data.index import Pool, Splits

__all__ = ["ADVICE", "NAMED", "index", "open_data"]

NAMED: dict[str, Callable[[], Pool]] = {"digits": index_digits}
"""Sets that go by a name. They bring no splits; a folder of the same name is meant by './NAME'."""

ADVICE: dict[str, dict[str, Any]] = {"digits": {"augment": "none"}}
"""Training settings that a named set asks for; the user's own come first. A mirrored digit is no digit."""


def open_data(source: str | Path, *, split_seed: int = 0, skip_bad: bool = False, for_training: bool = True) -> Splits:
    """Index a data set. No pixel of a file is decoded; every header is read and every file hashed.

    Args:
        source: 'digits', a folder (CLASS/image or SPLIT/CLASS/image), or an .npz file with MedMNIST's keys.
        split_seed: seed of splits that the data does not bring.
        skip_bad: leave out files whose header can not be read, and list them in `Splits.skipped`.
        for_training: three splits with every class in each, made where missing (val and test, 15 % each).
            False, to evaluate on other data: nothing is made, classes may be missing, and images without a
            split all count as test. Named sets are divided either way, so that a model is tested on what it
            was not trained on. Data that a run was trained on must be opened with True and that run's seed.

    Raises:
        DataError: the source is not there, or can not be used as it is; one line that says what to do.
    """
    pool = index(source, skip_bad=skip_bad)
    made = for_training or (isinstance(source, str) and source in NAMED)
    return assemble(pool, split_seed=split_seed, for_training=made)


def index(source: str | Path, *, skip_bad: bool = False, as_is: bool = False) -> Pool:
    """Every image of a data set, before splits are made; arguments and errors as `open_data`.

    Args:
        source: as in `open_data`.
        skip_bad: as in `open_data`.
        as_is: to look at a set, not to learn from it: class folders without an image and mixed pixel types pass.
    """
    if isinstance(source, str) and source in NAMED:
        return NAMED[source]()
    path = Path(source)
    try:
        if path.is_dir():
            return index_folder(path, skip_bad=skip_bad, as_is=as_is)
        if path.is_file():
            if path.suffix.lower() != ".npz":
                raise DataError(f"{path.name}: not a data set; expected a folder, an .npz file or {brief(NAMED)}")
            return index_npz(path)
        raise DataError(_not_found(str(source)))
    except (OSError, ValueError) as problem:  # ValueError: a null byte in the path
        reason = getattr(problem, "strerror", None) or str(problem)
        raise DataError(f"{path.name}: can not be read ({reason.lower()}); check the path and its rights") from None


def _not_found(source: str) -> str:
    """The line for a name that is nothing, with the nearest names that are something."""
    path = Path(source)
    try:
        beside = [entry.name for entry in path.parent.iterdir() if not entry.name.startswith(".")]
    except OSError:
        beside = []
    near = difflib.get_close_matches(path.name, beside, n=2)
    nearest = [str(path.parent / name) for name in near]
    if path.name == source:
        nearest += difflib.get_close_matches(source, NAMED, n=1, cutoff=0.5)
    hint = f"; did you mean {' or '.join(repr(name) for name in nearest)}?" if nearest else ""
    return f"no data set, folder or file {source!r}{hint or f'; expected a path or {brief(NAMED)}'}"
