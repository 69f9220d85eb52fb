"""Heat maps of many images: one row each, and a picture beside it.

What this module does not know: command lines.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from zoo._support.files import atomic_path, refuse_occupied
from zoo._support.text import printable
from zoo.edge._beside import Beside, refuse_unasked
from zoo.edge._decide import Decision
from zoo.edge._decision_words import describe_decision
from zoo.edge._explain.occlusion import HeatMap, overlay
from zoo.edge._explain.randomised import FileMapper, score_map
from zoo.edge._results import Failure, Prediction
from zoo.edge._stream import expand
from zoo.errors import ImageError
from zoo.readers._walk import HEAT_MAP, MARK, is_heat_map
from zoo.spec import Display

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from PIL.PngImagePlugin import PngInfo

    from zoo.edge._beside import FindRow
    from zoo.edge._explain.randomised import Mapper
    from zoo.edge._intake import Source
    from zoo.edge._runtime import Runtime

__all__ = ["Explained", "describe", "describe_score", "explain_images"]

_LONGEST = 200
"""Bytes of an image's name in that of its overlay; file systems take 255 with all that is added."""


class Explained(Display, msgspec.Struct, frozen=True, kw_only=True):
    """One image's map."""

    image: str
    """The path as given or found."""
    heat: HeatMap
    file: str | None
    """The overlay that was written."""
    randomised: float | None = None
    """Rank correlation of this map and the same one of networks with random weights, in [-1, 1]; see `score_map`. None:
    not asked for of this image, or there is nothing to compare."""

    decision: Decision | None = None
    """Whether the file answers the image at all, see `Prediction`; a map is drawn either way."""
    withheld: str | None = None
    """Why it has no answer, in words; None: it has one."""

    def row(self) -> dict[str, Any]:
        """For `--json`."""
        decided = {} if self.decision is None else {"decision": self.decision}
        return {
            "image": self.image,
            **msgspec.structs.asdict(self.heat),
            **decided,
            "file": self.file,
            "randomised": self.randomised,
        }

    def headline(self) -> str:
        """The image, why it has no answer, what was explained, and where the map peaks."""
        return f"{self.image}: " + "; ".join(filter(None, (self.withheld, self.heat.headline(), self.file)))


def explain_images(
    runtime: Runtime,
    sources: Iterable[Source] | Source,
    *,
    label: str | None = None,
    out: Path | None = None,
    frame: int | None = None,
    overwrite: bool = False,
    columns: FindRow | None = None,
    mapper: Mapper | None = None,
    draws: int = 0,
) -> Iterator[Explained | Failure]:
    """Map images in the order given; a folder is walked in natural order.

    Args:
        runtime: an opened model.
        sources: paths of images or folders, or raw arrays, for `Runtime.predict`.
        label: label that is explained; None: the most probable one of each image.
        out: folder for the overlays, NAME.heat.png each, with a number where that is somebody else's; None: none is
            written.
        frame: which picture of files that hold several, counted from 1.
        overwrite: replace overlays of an earlier call.
        columns: from the name of an image to its columns; see `Runtime.predict`.
        mapper: how maps are made; None: as the file can, see `explain_image`.
        draws: networks with random weights that the first map is compared with, see `score_map`; 0: none.

    Yields:
        One `Explained` or `Failure` for each image.

    Raises:
        DataError: the one folder given holds no image, or columns are wanted and not given.
        UsageError: the model does not know the label, or takes no columns.
        OutputError: an overlay cannot be written, or one of an earlier call has its name.
    """
    refuse_unasked(runtime.manifest, columns)
    beside = Beside(runtime.manifest.table, columns)
    taken: set[str] = set()
    mapper = mapper or FileMapper(runtime)
    decides = runtime.manifest.abstention
    for name, source in expand(sources):
        try:
            if isinstance(source, ImageError):
                raise source
            image = runtime.read(source, frame=frame)
            given, wrong = beside.take([name])
            if wrong:
                yield Failure(name, wrong[0])
                continue
            heat = mapper(image, label, given)
            picture = None if out is None else overlay(image, heat)
            randomised = score_map(mapper, heat, image, given, draws) if draws else None
            draws = 0
        except ImageError as problem:
            yield Failure(name, problem.reason, code=problem.code)
            continue
        answer = None if decides is None else runtime.answer(source, name=name, frame=frame, columns=given)
        file = None
        if out is not None and picture is not None:
            file = _place(out, Path(name).stem or "image", taken)
            refuse_occupied(file, overwrite=overwrite)
            with atomic_path(file) as temporary:
                picture.save(temporary, "PNG", pnginfo=_mark())
        known = answer if isinstance(answer, Prediction) else None
        yield Explained(
            image=name,
            heat=heat,
            file=None if file is None else str(file),
            randomised=randomised,
            decision=None if known is None else known.decision,
            withheld=None if known is None else describe_decision(known, decides),
        )
    beside.say()


def describe(heat: HeatMap) -> str:
    """'lymphocyte 0.9940, 0.6602 less without the place around x 195, y 196', or '…, most evidence around x 9, y 8'."""
    label = printable(heat.label)
    drop, y, x = heat.peak
    if heat.method != "occlusion":
        what = "most evidence" if heat.method == "evidence" else "raised most"
        place = f"{what} around x {x}, y {y} ({drop:+.1f})" if drop > 0 else "no place speaks for it"
        return f"{label} {heat.base:.4f}, {place}"
    if drop <= 0:
        return f"{label} {heat.base:.4f}, not lower without any one place"
    return f"{label} {heat.base:.4f}, {drop:.4f} less without the place around x {x}, y {y}"


def describe_score(randomised: float | None) -> str:
    """'same map with random weights: rank correlation 0.07 (0 where the map hangs on what was learnt)'."""
    if randomised is None:
        return (
            "same map with random weights: nothing to compare; this map is flat, or theirs are, or the model has no "
            "layers of weights"
        )
    return (
        f"same map with random weights: rank correlation {randomised:.2f} (0 where the map hangs on what was learnt, 1 "
        "where any weights give it)"
    )


def _place(out: Path, stem: str, taken: set[str]) -> Path:
    """A file that no other image of this call has, whatever a file system makes of letter case, nor anybody else."""
    if len(os.fsencode(stem)) > _LONGEST:
        stem = os.fsencode(stem)[:_LONGEST].decode(errors="ignore")
    name, number = f"{stem}{HEAT_MAP}", 2
    while name.casefold() in taken or not _free(out / name):
        name, number = f"{stem}-{number}{HEAT_MAP}", number + 1
    taken.add(name.casefold())
    return out / name


def _free(file: Path) -> bool:
    """Whether nothing has this name, or only an overlay of an earlier call."""
    return not os.path.lexists(file) or is_heat_map(str(file))


def _mark() -> PngInfo:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Software", MARK)
    return info
