"""The features of many images as one .npz file, which any program with numpy reads.

It holds `ids`, the images as they were named, (n,) text; `features`, (n, D) float32, a row for each; and `model`, the
sha256 of the file that made them, because features of two files cannot be compared. An image without an answer has no
row. Rows wait on the disk until all are there, so that memory does not grow with the number of images.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo._support.files import atomic_path, refuse_occupied, refuse_unwritable
from zoo._support.text import spell_name
from zoo.edge._asking import check_output
from zoo.edge._results import Prediction
from zoo.errors import UsageError
from zoo.spec import FEATURES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from zoo.edge._results import Result
    from zoo.edge._runtime import Runtime

__all__ = ["check_features", "write_features"]


def check_features(runtime: Runtime, target: Path, *, overwrite: bool) -> None:
    """Whether the model gives features and the file can be written, before anything is answered.

    Raises:
        UsageError: it gives none, or the name of the file does not end in .npz.
        OutputError: it is there already, or its folder is not.
    """
    check_output(str(runtime.path), runtime.manifest, FEATURES)
    if target.suffix != ".npz":
        raise UsageError(f"--features {target}: expected a name that ends in .npz", code="out-name", path=str(target))
    if target.is_dir() or not target.absolute().parent.is_dir():
        reason = "it is a folder" if target.is_dir() else f"{target.absolute().parent} is not a folder"
        raise refuse_unwritable(target, reason, "choose another place")
    refuse_occupied(target, overwrite=overwrite)


def write_features(results: Iterable[Result], runtime: Runtime, target: Path | None) -> Iterator[Result]:
    """Pass the results on, and write the file behind the last of them, whole or not at all.

    Args:
        results: answers of `Runtime.predict`, with features.
        runtime: the model that gives them.
        target: checked by `check_features`; None: results are passed on alone.

    Raises:
        OutputError: it cannot be written.
    """
    if target is None:
        yield from results
        return
    names: list[str] = []
    try:
        with tempfile.TemporaryFile(dir=target.absolute().parent) as rows:
            for result in results:
                if isinstance(result, Prediction) and result.features is not None:
                    names.append(spell_name(result.image))
                    rows.write(result.features.astype("<f4").tobytes())
                yield result
            shape = (len(names), runtime.feature_count)
            rows.flush()
            found = np.memmap(rows, "<f4", "r", shape=shape) if names else np.empty(shape, "<f4")
            with atomic_path(target) as fresh, fresh.open("wb") as stream:
                np.savez(
                    stream,
                    allow_pickle=False,
                    ids=np.array(names, np.str_),
                    features=found,
                    model=np.array(runtime.sha256),
                )
            del found  # Windows keeps a mapped file
    except OSError as problem:
        raise refuse_unwritable(target, problem) from None
