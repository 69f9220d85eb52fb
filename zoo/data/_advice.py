"""What training must not do to images: said by a published set, the names of classes, or headers of DICOM files.

What this module does not know: pixels. Nothing is concluded from them, and what was concluded is said with its reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.readers import SHOWN, Shown
from zoo.store import sets

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from zoo.data._index import Splits

__all__ = ["Advice", "advise_by_headers", "advise_by_labels", "advise_by_name", "apply_advice"]

_LEFT = re.compile(r"(?<![a-z])left(?![a-z])")

MOST = 0.8
"""Share of the images whose headers must agree before they decide for all."""

_OF: dict[Shown, tuple[str, str, str, str]] = {
    "trunk": (
        "augment_flip", "none", "horizontal",
        "show chest or belly, whose organs lie to one side: mirrored, they are those of one person in 10 000",
    ),
    "dermoscopy": (
        "colour", "diagnostic", "free",
        "show skin through a dermatoscope: colours of a lesion are among the criteria of dermatoscopy",
    ),
}  # fmt: skip
"""Setting, its value, the other value, and why."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What images ask of a training.

    Attributes:
        settings: fields of TrainConfig; the user's own come first.
        because: why.
        decides: whether it is followed; else it is a note alone.
    """

    settings: Mapping[str, Any]
    because: str
    decides: bool = True


def apply_advice(data: Splits, settings: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """`settings` with what the images ask for where they are silent, and a note of each with its reason."""
    chosen, notes = dict(settings), []
    for one in data.advice:
        if asked := {name: value for name, value in one.settings.items() if name not in chosen}:
            if not one.decides:
                notes.append(one.because)
                continue
            said = ", ".join(f"{name} {value}" for name, value in asked.items())
            notes.append(f"{said}: {one.because}")
            chosen |= asked
    return chosen, tuple(notes)


def advise_by_name(name: str, path: Path) -> tuple[Advice, ...]:
    """What a published set asks for, where images bear its name or are its file.

    A file that was cut or put together is not the published one any more, so the name counts by itself.

    Args:
        name: what the data set is called.
        path: where it lies.
    """
    known, how = sets.find_in(name), "by the name"
    if known is None and path.suffix.lower() == ".npz" and (known := sets.find_file(path)) is not None:
        how = "by the checksum of the file"
    about = None if known is None else sets.catalogue()[known]
    if about is None or not about.train:
        return ()
    way = " ".join(f"--set {field}=…" for field in about.train)
    return (Advice(about.train, f"{about.because} (taken for {known} {how}; {way} says otherwise)"),)


def advise_by_labels(labels: Sequence[str]) -> tuple[Advice, ...]:
    """What classes ask for that differ by their side alone, such as 'kidney-left' and 'kidney-right'."""
    known = {label.lower(): label for label in labels}
    for lower, label in known.items():
        other = known.get(_LEFT.sub("right", lower))
        if other is not None and other != label:
            because = (
                f"{label!r} and {other!r} differ by their side, and the mirror image of one shows the other; "
                "--set augment_flip=horizontal says otherwise"
            )
            return (Advice({"augment_flip": "none"}, because),)
    return ()


def advise_by_headers(shows: NDArray[np.uint8] | None) -> tuple[Advice, ...]:
    """What headers of all images of a set ask for; what too few of them say is a note.

    Args:
        shows: (n,) positions in `SHOWN`; None: the images have no headers.
    """
    if shows is None or not len(shows):
        return ()
    counts = np.bincount(shows, minlength=len(SHOWN))
    advice = []
    for shown, (field, value, other, why) in _OF.items():
        n = int(counts[SHOWN.index(shown)])
        found = f"{n} of {len(shows)} images {why}, as their DICOM headers say"
        if n >= MOST * len(shows):
            advice.append(Advice({field: value}, f"{found}; --set {field}={other} says otherwise"))
        elif n:
            because = f"{found}; too few to decide for all, and --set {field}={value} does so"
            advice.append(Advice({field: value}, because, decides=False))
    return tuple(advice)
