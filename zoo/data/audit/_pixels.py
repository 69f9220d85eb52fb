"""Files that cannot be read, images without content, clipped ones, odd depths, and files that name a person."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from zoo._support.text import brief, format_count
from zoo.data.audit._report import Finding, Severity
from zoo.readers import KINDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.data.audit._view import View

__all__ = ["depths", "find_saturated", "personal", "storage", "unreadable"]

CLIPPED = 0.05
"""Share of pixels at the largest value, beyond what three quarters of the set have, that may mean clipping: white marks
and letters stay below."""
EMPTY = 0.5
"""The same for pixels at 0: a black background may well take half of an image."""


def unreadable(view: View) -> list[Finding]:
    """One finding for each image that cannot be decoded, or whose header the index could not read."""
    bad = (*view.pool.skipped, *(view.looks.bad[row] for row in sorted(view.looks.bad)))
    return [
        Finding(kind="unreadable", severity="error", across_splits=False, files=(name,), detail=reason)
        for name, reason in bad
    ]


def find_saturated(view: View) -> list[Finding]:
    """Constant images, and images with far more pixels at one end of the range than this set usually has."""
    looks, good = view.looks, view.looks.good
    findings = []
    constant = good[looks.constant[good]]
    if len(constant):
        findings.append(_about(view, constant, "error", "constant: every pixel has one brightness; remove them"))
    rest = good[~looks.constant[good]]
    if not len(rest):
        return findings
    eight = looks.dtype[rest] == 0
    # deeper images have no fixed largest value: their own counts
    at_top = np.where(eight & (looks.high[rest] < 255), 0, looks.bright[rest])
    at_zero = np.where(looks.low[rest] == 0, looks.dark[rest], 0)
    for share, least, end in ((at_top, CLIPPED, "at the largest value"), (at_zero, EMPTY, "at 0")):
        low, middle, high = np.quantile(share, (0.25, 0.5, 0.75))
        # far out by Tukey's outer fence
        far = share > high + max(least, 3 * (high - low))
        if far.any():
            order = rest[far][np.argsort(-share[far], kind="stable")]
            findings.append(
                _about(
                    view,
                    order,
                    "warning",
                    f"up to {100 * share.max():.0f} % of the pixels {end}, half of the set has under "
                    f"{max(0.1, 100 * middle):.1f} %; look whether they are clipped, masks or empty",
                )
            )
    return findings


def storage(view: View) -> Counter[str]:
    """How the images are stored: images."""
    looks, good = view.looks, view.looks.good
    return Counter(
        _describe_depth(
            int(looks.dtype[row]), int(looks.bits[row]), gray=bool(looks.gray[row]), channels=int(looks.channels[row])
        )
        for row in good.tolist()
    )


def _describe_depth(dtype: int, bits: int, *, gray: bool, channels: int) -> str:
    if channels:
        of = "-bit values as float" if KINDS[dtype] == "float32" else "-bit"
        return f"{channels} channels of {bits}{of}"
    if KINDS[dtype] == "uint8":
        return f"{bits}-bit {'gray' if gray else 'colour'}"
    return f"{bits}-bit" if KINDS[dtype] == "uint16" else f"{bits}-bit values as float"


def depths(view: View, stored: Counter[str]) -> list[Finding]:
    """Mixed pixel types, and 16-bit files that use a small part of their range."""
    looks, good = view.looks, view.looks.good
    findings = []
    types = np.unique(looks.dtype[good])
    if len(types) > 1:
        counts = np.bincount(looks.dtype[good], minlength=len(KINDS))
        rarest = good[looks.dtype[good] == min(types.tolist(), key=lambda one: counts[one])]
        listed = ", ".join(f"{counts[one]} {KINDS[one]}" for one in types.tolist())
        detail = f"mixed pixel types ({listed}), which cannot train one model; convert them to one type"
        findings.append(_plain("error", view.files(rarest), detail))
    elif len(numbers := np.unique(looks.channels[good])) > 1:
        counts = np.bincount(looks.channels[good])
        rarest = good[looks.channels[good] == min(numbers.tolist(), key=lambda one: counts[one])]
        listed = ", ".join(f"{counts[one]} of {one} channels" if one else f"{counts[0]} of colours or gray"
                           for one in numbers.tolist())  # fmt: skip
        detail = f"mixed channels ({listed}), which cannot train one model; give every image the same"
        findings.append(_plain("error", view.files(rarest), detail))
    elif len(stored) > 1:
        listed = ", ".join(f"{n} {what}" for what, n in stored.most_common())
        colour = bool(looks.gray[good].any() and not looks.gray[good].all())
        odd = good[looks.gray[good]] if looks.gray[good].sum() * 2 < len(good) else good[~looks.gray[good]]
        detail = f"stored in different ways ({listed}); look whether the way goes with a class or a site"
        findings.append(_plain("note", view.files(odd) if colour else (), detail))
    deep = good[looks.dtype[good] == KINDS.index("uint16")]
    if len(deep):
        findings += _range_of(view, deep)
    return findings


def _range_of(view: View, deep: NDArray[np.int64]) -> list[Finding]:
    highs = view.looks.high[deep]
    top = int(highs.max())
    if top <= 255:
        detail = f"16-bit files whose largest value is {top}: they hold 8 bits; was the depth lost before?"
        return [_plain("warning", view.files(deep), detail)]
    findings = []
    bits = max(9, top.bit_length())
    if bits < 16:
        findings.append(
            _plain(
                "note",
                (),
                f"16-bit files that hold {bits}-bit values (largest {top} in the set); "
                f"divide by {2**bits - 1}, not by 65535, with --set preprocess.intensity.maximum={2**bits - 1}",
            )
        )
    shallow = deep[(highs <= 255) & ~view.looks.constant[deep]]
    if len(shallow):
        detail = f"largest value at most 255 among 16-bit images that reach {top}; look whether they lost their depth"
        findings.append(_plain("warning", view.files(shallow), detail))
    return findings


def personal(view: View) -> list[Finding]:
    """One finding for each field with personal data: its name and the files, never a value."""
    looks = view.looks
    names = sorted({field for fields in looks.fields for field in fields})
    findings = []
    for name in names:
        lists = [number for number, fields in enumerate(looks.fields) if name in fields]
        rows = np.flatnonzero(np.isin(looks.personal, lists))
        out = (
            "put a pseudonym there, one a patient, since splits keep patients whole by it,"
            if name == "PatientID"
            else "take it out"
        )
        detail = f"{name} is filled in {format_count(len(rows), 'file')}; {out} before the files leave the house"
        findings.append(
            Finding(
                kind="personal_data", severity="warning", across_splits=False, files=view.files(rows), detail=detail
            )
        )
    return findings


def _about(view: View, rows: NDArray[np.int64], severity: Severity, what: str) -> Finding:
    return Finding(
        kind="saturated",
        severity=severity,
        across_splits=False,
        files=view.files(rows),
        detail=f"{format_count(len(rows), 'image')} ({brief(view.files(rows), 3)}): {what}",
    )


def _plain(severity: Severity, files: tuple[str, ...], detail: str) -> Finding:
    return Finding(kind="bit_depth", severity=severity, across_splits=False, files=files, detail=detail)
