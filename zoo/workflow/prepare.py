"""What is done with images before anything is learnt from them: check them, divide them, write them as shards.

`zoo` offers them. Heavy packages are imported inside the functions.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from zoo.errors import UsageError
from zoo.spec import Reading

if TYPE_CHECKING:
    from zoo.data import Progress, ShardsResult, SplitTable
    from zoo.data.audit import Audit

__all__ = ["check", "shard", "split"]


def check(
    path: str | Path,
    *,
    html: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    **reading: Unpack[Reading],
) -> Audit:
    """Look for what ruins studies: copies across splits, wrong labels, damage, personal data; see `zoo.data.audit`.

    Args:
        path: a folder, a table, an .npz file or a named set.
        html: page with thumbnails to write; None: none is written.
        overwrite: replace a page that is there.
        progress: called as images get decoded.
        **reading: columns, group, keep_na, uncertain, frames; see `zoo.spec.Reading`.

    Returns:
        Findings, worst first. `verdict` is "leak" where two splits share copies, near-duplicates or groups; nothing
        is raised for it.

    Raises:
        DataError: no such data, or no image in it that can be read.
        OutputError: the page cannot be written, or is there already.
        UsageError: `overwrite` without `html`.
    """
    from zoo._support.files import atomic_write, refuse_idle_overwrite, refuse_occupied
    from zoo.data._named import index
    from zoo.data.audit import audit, page

    refuse_idle_overwrite(html, "--html", overwrite=overwrite)
    if html is not None:
        refuse_occupied(Path(html), overwrite=overwrite)
    pool = index(path, skip_bad=True, as_is=True, verify=True, **reading)
    found = audit(pool, group=reading.get("group"), progress=progress)
    if html is not None:
        atomic_write(Path(html), page(found, pool))
    return found


def split(
    path: str | Path,
    out: str | Path | None = None,
    *,
    folds: int | None = None,
    val: float | None = None,
    test: float | None = None,
    seed: int = 0,
    again: bool = False,
    overwrite: bool = False,
    skip_bad: bool = False,
    **reading: Unpack[Reading],
) -> SplitTable:
    """Divide images once, into a table that every verb takes as `data`; arguments and errors as `zoo.data.split_table`.

    Splits and folds are stratified; groups such as patients stay whole.
    """
    from zoo.data import split_table

    return split_table(
        path,
        out,
        folds=folds,
        val=val,
        test=test,
        seed=seed,
        again=again,
        overwrite=overwrite,
        skip_bad=skip_bad,
        **reading,
    )


def shard(
    path: str | Path,
    out: str | Path,
    *,
    size: int | None = None,
    images: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    skip_bad: bool = False,
    progress: Progress | None = None,
    **reading: Unpack[Reading],
) -> ShardsResult:
    """Write data as tar shards with an index, which training reads one by one; see `zoo.data._sharding`.

    Args:
        path: name or place of the data, as in `train`.
        out: a folder, or an address such as s3://bucket/set. The same call continues there after it was killed.
        size: most bytes of a shard; None: 256 MB.
        images: most images of a shard, instead of `size`.
        seed: seed of the order in which images are mixed. The same data, seed and size give the same bytes.
        overwrite: write anew what is there.
        skip_bad: leave out images that cannot be read.
        progress: called as images get written.
        **reading: columns, group, keep_na, uncertain, frames; see `zoo.spec.Reading`.

    Raises:
        UsageError: size and images, or one that is not positive.
        DataError: no such data, images that cannot be read, or that are not one file each.
        OutputError: `out` holds something else, or cannot be written.
    """
    from zoo.data._groups import regroup
    from zoo.data._named import index_undecided
    from zoo.data._sharding import DEFAULT_SIZE, divide, write_shards

    if size is not None and images is not None:
        raise UsageError(
            "--size and --images: give one of them", code="option-conflict", options=["--size", "--images"]
        )
    for option, value in (("--size", size), ("--images", images)):
        if value is not None and value < 1:
            raise UsageError(f"{option} {value}: expected at least 1", code="option-value", option=option, value=value)
    pool = index_undecided(path, skip_bad=skip_bad, reading=reading)
    if group := reading.get("group"):
        pool = regroup(pool, group)
    plans = divide(pool, seed, size or DEFAULT_SIZE, images)
    return write_shards(pool, plans, out, seed, overwrite=overwrite, skip_bad=skip_bad, progress=progress)
