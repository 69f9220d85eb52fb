"""Patients, lesions or studies with images in two splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zoo.data._groups import describe_alike
from zoo.data.audit._report import Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from zoo.data.audit._view import View

__all__ = ["group_leaks"]


def group_leaks(view: View, groups: NDArray[np.int64] | None, pairs: Sequence[tuple[str, str]] = ()) -> list[Finding]:
    """One finding for each group with images in more than one split, without its name; one on groups spelled alike."""
    alike = (
        [
            Finding(
                kind="group_leak",
                severity="warning",
                across_splits=False,
                files=(),
                detail=describe_alike(pairs, named=True),
            )
        ]
        if pairs
        else []
    )
    if groups is None or not view.divided:
        return alike
    rows = np.flatnonzero((groups >= 0) & (view.split >= 0))
    order = rows[np.argsort(groups[rows], kind="stable")]
    parts = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1) if len(order) else []
    return [
        *alike,
        *(
            Finding(
                kind="group_leak",
                severity="error",
                across_splits=True,
                files=view.files(view.side_by_side(part)),
                detail=f"one group (patient, lesion or study){view.where(part).removeprefix(',')}",
            )
            for part in parts
            if view.across(part)
        ),
    ]
