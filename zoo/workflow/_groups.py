"""Who a file fails for: the columns that are asked for, and what a report says of groups, shortcuts and baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from zoo._support.cells import column_key
from zoo._support.text import brief
from zoo.data import ABOUT
from zoo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from zoo.evaluation import Cases, Share
    from zoo.spec import EvalReport

__all__ = ["add_groups", "pick_columns"]

ALL, NONE = "all", "none"


def pick_columns(kept: Mapping[str, Sequence[str]], by: Sequence[str] | None) -> dict[str, Sequence[str]]:
    """The columns that a report is divided by.

    Args:
        kept: `ImageSet.kept`.
        by: names of columns or roles; "all": every one; "none": none; None: site, age, sex and device, where known.

    Raises:
        DataError: no column has such a name.
    """
    if by is None:
        return {name: kept[name] for name in ABOUT if name in kept}
    if list(by) in ([ALL], [NONE]):
        return dict(kept) if by[0] == ALL else {}
    spelled = {column_key(name): name for name in reversed(list(kept))}
    lost = [name for name in by if name not in kept and column_key(name) not in spelled]
    if lost:
        there = f"expected some of {brief(kept, 12)}" if kept else "the data bring none"
        raise DataError(
            f"--by {','.join(by)}: no column {brief(lost)} is kept beside the images; {there}",
            code="by-missing",
            columns=lost,
            expected=list(kept),
        )
    chosen = [name if name in kept else spelled[column_key(name)] for name in by]
    return {name: kept[name] for name in chosen}


def add_groups(  # noqa: PLR0917 - what is said, of which images
    report: EvalReport,
    cases: Cases,
    ids: Sequence[str],
    kept: Mapping[str, Sequence[str]],
    properties: Mapping[str, NDArray[np.float64]],
    by: Sequence[str] | None = None,
    shares: Mapping[str, Share] | None = None,
) -> EvalReport:
    """The report with subgroups, segments, shortcuts and baselines, and a note for what was found.

    Args:
        report: what it says already.
        cases: targets and answers of n images.
        ids: their names, whose suffixes say the type of file.
        kept: columns beside them, see `ImageSet.kept`.
        properties: numbers of each raw image, see `zoo.evaluation.Watch`.
        by: columns to divide by, see `pick_columns`.
        shares: more to measure of each group, such as those of `zoo.workflow._decide.shares_of`.

    Raises:
        DataError: no column has such a name.
    """
    from zoo.evaluation import (
        file_types,
        find_segments,
        find_shortcuts,
        judge_baselines,
        measure_groups,
        say_groups,
        say_shortcuts,
        varying,
    )

    columns, differ = pick_columns(kept, by), varying(properties)
    beside = {**columns, "file type": file_types(ids)}
    beside = {name: cells for name, cells in beside.items() if len(set(cells)) > 1}
    segments, shortcuts = find_segments(cases, beside, differ), find_shortcuts(cases, differ, beside)
    return msgspec.structs.replace(
        report,
        subgroups=measure_groups(cases, columns, shares),
        segments=segments,
        shortcuts=shortcuts,
        baselines=judge_baselines(cases, differ.get("brightness")),
        notes=(*report.notes, *_note_names(columns, by), *say_groups(segments), *say_shortcuts(shortcuts)),
    )


def _note_names(columns: Mapping[str, Sequence[str]], by: Sequence[str] | None) -> tuple[str, ...]:
    """What is to be said of columns that were asked for by name and divide nothing."""
    from zoo.evaluation import names_images

    if by is None or list(by) == [ALL]:
        return ()
    return tuple(
        f"--by {name}: most images have a text of their own there, so it divides nothing"
        for name, cells in columns.items()
        if names_images(cells)
    )
