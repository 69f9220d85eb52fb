"""Whether what `predict` is to write can be written, asked before anything is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from zoo.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["check_written"]


def check_written(
    images: Sequence[str],
    csv: Path | None,
    features: Path | None,
    sr: Path | None,
    fhir: Path | None,
    *,
    resume: bool,
    overwrite: bool,
) -> None:
    """Refuse options of `predict` that name no file, or contradict each other, and a file without any image.

    Args:
        images: paths as they were typed.
        csv: the table.
        features: the file of features.
        sr: the folder of DICOM reports.
        fhir: the FHIR report.
        resume: continue the table.
        overwrite: replace the files.

    Raises:
        UsageError: the options.
        DataError: a file is to be written, and none of the images is there.
    """
    if resume and features is not None:
        raise UsageError(
            "--resume passes over images that have a row, and --features wants them all; give one of them",
            code="option-conflict",
            options=["--resume", "--features"],
        )
    replaces = csv is not None or features is not None or fhir is not None
    if overwrite and not replaces and sr is not None:
        raise UsageError(
            "--sr never overwrites: it writes into a new or empty folder; leave --overwrite out",
            code="option-conflict",
            options=["--sr", "--overwrite"],
        )
    if csv is None and (resume or (overwrite and not replaces)):
        said = "--resume continues a table" if resume else "--overwrite replaces a table"
        raise UsageError(f"{said}, expected --csv F with it", code="option-missing", options=["--csv"])
    if (replaces or sr is not None) and not resume and all(map(_is_away, images)):
        raise DataError(
            f"{images[0]}: no such file or folder, and nothing was written; check the path",
            code="file-missing",
            path=images[0],
        )


def _is_away(image: str) -> bool:
    try:
        os.lstat(image)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):  # what is wrong with it is said by whoever reads it
        return False
    return False
