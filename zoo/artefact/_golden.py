"""Pictures for a golden set that are nobody's: drawn, then searched for those that lie near the model's decision.

What is taken from the user's images is a `Look`: a few sizes, and five levels of brightness in each channel. What is
drawn has gradients, sharp edges, gratings and speckle, so that a wrong filter, order of channels, mean or window moves
an answer. The search costs up to two hundred answers of the file, and three hundred where few of them are clear.

What this module does not know: data sets, runs, and what a bundle is.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo._support.ranges import in_ranges
from zoo.artefact._scenes import draw_tones, plane
from zoo.edge._last_step import find_open_labels
from zoo.preprocess import raw_channels
from zoo.spec import Percentile, Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.evaluation import Predict
    from zoo.spec import Manifest, Task

__all__ = ["GOLDEN_SIDE", "Look", "draw_golden", "is_clear", "look_at", "look_of"]

Array = NDArray[Any]

GOLDEN_SIDE = 1024
"""Pixels; no golden image is larger, because it travels with every bundle."""

_SCENES = 64
"""Pictures drawn before any is sought."""
_SOUGHT = 8
"""Labels that no scene has which are sought; `_TRIES` pictures each."""
_TRIES = 12
_PAIRS = 12
"""Pairs of pictures with different answers, between which `_HALVINGS` pictures are made, ever nearer to the change."""
_HALVINGS = 6
_TURNS = 4  # pictures for each golden image that are tried where too few have a clear answer
_ALIKE = 3
"""Golden images that may begin with one scene before others have their turn."""
_SIZES = 6
"""Sizes of the user's images that are taken over."""
_PIXELS = 65_536
"""Pixels of each of them that the levels are taken from."""
_TONES = (0.0, 0.1, 0.5, 0.9, 1.0)
"""Shares of the pixels that are darker than the levels of a `Look`."""
_COLOURED = 4
"""Every so manyth picture of gray data has colours: the file converts them, and that is a stage as well."""


@dataclass(frozen=True, slots=True)
class Look:
    """What drawn pictures have in common with the user's images: nothing that shows one of them.

    Attributes:
        dtype: uint8, uint16 or float32.
        sizes: (height, width) in pixels, at most `GOLDEN_SIDE`.
        levels: of each channel the raw values at `_TONES`, dark to bright.
        gray: all channels are equal.
        padding: ranges of raw values that fill up a picture.
    """

    dtype: str
    sizes: tuple[tuple[int, int], ...]
    levels: tuple[tuple[float, ...], ...]
    gray: bool
    padding: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class _Recipe:
    """A picture as the numbers it is drawn by: a hundred and more are tried, and they may be large."""

    size: tuple[int, int]
    seeds: tuple[int, ...]
    """Of the scenes that are laid over each other."""
    shares: tuple[float, ...] = (1.0,)
    """Of each scene in the values; they sum to one."""


@dataclass(frozen=True, slots=True)
class _Tried:
    recipe: _Recipe
    logits: NDArray[np.float64]


def look_of(manifest: Manifest) -> Look:
    """By the preprocessing alone, where no image is at hand."""
    kind, intensity = manifest.kinds[-1], manifest.preprocess.intensity
    if (most := _most(manifest)) < np.inf:
        ends = [(0.0, most)]
    elif isinstance(intensity, Window):
        windows = zip(intensity.centers, intensity.widths, strict=True)
        ends = [(center - 0.75 * width, center + 0.75 * width) for center, width in windows]
    else:
        ends = [(0.0, 4095.0)]
    if kind == "uint16":
        ends = [(max(0.0, low), min(65535.0, high)) for low, high in ends]
    levels = tuple(tuple(low + tone * (high - low) for tone in _TONES) for low, high in ends)
    if len(levels) == 1:
        levels *= raw_channels(manifest.preprocess, kind)
    gray = kind == "uint8" and all(spec.channels == "gray" for spec in manifest.views)
    return Look(kind, _stage_sizes(manifest), levels, gray, _padding(manifest))


def look_at(images: Sequence[Array], manifest: Manifest) -> Look:
    """By raw (H, W, C) images, at least one; also sizes that make every network's input by enlarging and reducing."""
    known = look_of(manifest)
    found = sorted({_limit(*image.shape[:2]) for image in images}, key=lambda size: (size[0] * size[1], size))
    chosen = [found[int(at)] for at in np.linspace(0, len(found) - 1, min(_SIZES, len(found)))]
    sizes = tuple(dict.fromkeys((*chosen, *known.sizes)))
    pixels = np.concatenate([_thin_out(image) for image in images])
    pixels = pixels[~in_ranges(pixels, known.padding).any(axis=1)] if known.padding else pixels
    if not len(pixels):
        return replace(known, sizes=sizes)
    levels, most = [], _most(manifest)
    for channel, ours in zip(np.quantile(pixels.astype(np.float64), _TONES, axis=0).T, known.levels, strict=True):
        levels.append(tuple(min(float(level), most) for level in channel) if channel[-1] > channel[0] else ours)
    gray = images[0].shape[2] == 3 and all((image == image[:, :, :1]).all() for image in images)
    return replace(known, sizes=sizes, levels=tuple(levels), gray=gray)


def _thin_out(image: Array) -> Array:
    """(n, C) pixels of the image, spread over it, about `_PIXELS` of them."""
    step = max(1, round((image.shape[0] * image.shape[1] / _PIXELS) ** 0.5))
    return image[::step, ::step].reshape(-1, image.shape[2])


def draw_golden(look: Look, predict: Predict, *, count: int, tolerance: float, task: Task) -> list[Array]:
    """Pictures near the model's decision, of all its labels and all sizes where the search finds such.

    The same look and the same file give the same pictures. Pictures whose answer cannot change within the tolerance
    come first, because another processor rounds sums in another way.

    Args:
        look: what the pictures have in common with the user's images.
        predict: the file, raw (N, H, W, C) images to (N, K) logits.
        count: number of pictures.
        tolerance: largest change of a golden logit, relative to max(1, |logit|).
        task: multiclass, where the best two labels are to be close, or multilabel, where one is to be near .5.

    Returns:
        (H, W, C) raw images.
    """
    search = _Search(look, predict, task)
    search.draw_scenes()
    search.seek_missing()
    search.close_in()
    search.seek_clear(count, tolerance)
    return [_draw(recipe, look) for recipe in search.choose(count, tolerance)]


def is_clear(logits: Array, tolerance: float, task: Task) -> bool:
    """Whether the answer to an image cannot change where each of its (K,) logits moves by the tolerance."""
    return not find_open_labels(logits, task, tolerance)


def _slack(logits: NDArray[np.float64], task: Task) -> float:
    """The relative error of all logits at which the answer may change."""
    if task == "multilabel":
        return float((np.abs(logits) / np.maximum(1.0, np.abs(logits))).min())
    *_, second, best = np.sort(logits)
    return float((best - second) / (max(1.0, abs(best)) + max(1.0, abs(second))))


class _Search:
    """Every picture that was tried, with its answer."""

    def __init__(self, look: Look, predict: Predict, task: Task) -> None:
        self.look, self.predict, self.task = look, predict, task
        self.tried: list[_Tried] = []
        self.known: dict[_Recipe, _Tried] = {}
        self.seed = 0

    def draw_scenes(self) -> None:
        """The pictures that everything else begins with."""
        for index in range(_SCENES):
            self._try(_Recipe(self.look.sizes[index % len(self.look.sizes)], (self._next(),)))

    def seek_missing(self) -> None:
        """For labels that no picture has: mix the nearest one with new scenes, and keep what is nearer."""
        nearness = np.stack([self._nearness(one.logits) for one in self.tried])  # (n, K): at least 0 where it has it
        missing = np.flatnonzero((nearness < 0).all(axis=0))
        missing = missing[np.argsort(-nearness.max(axis=0)[missing], kind="stable")][:_SOUGHT]
        size = min(self.look.sizes, key=lambda size: size[0] * size[1])  # the cheapest to draw
        for label in missing:
            best = self._try(replace(self.tried[int(nearness[:, label].argmax())].recipe, size=size))
            for turn in range(_TRIES):
                fresh = _Recipe(size, (self._next(),))
                found = self._try(_mix(best.recipe, fresh, (0.25, 0.5, 0.75, 0.9)[turn % 4]))
                if self._nearness(found.logits)[label] > self._nearness(best.logits)[label]:
                    best = found
                if self._nearness(best.logits)[label] >= 0:
                    break

    def close_in(self) -> None:
        """Between two pictures with different answers lies one where the answer changes: halve the way to it."""
        for one, other in self._pairs():
            at_size = self._try(replace(other.recipe, size=one.recipe.size))
            answer, end = self._answer(one.logits), self._answer(at_size.logits)
            if answer == end:
                continue
            near, far = 1.0, 0.0  # shares of the first picture
            for _ in range(_HALVINGS):
                share = (near + far) / 2
                found = self._try(_mix(one.recipe, at_size.recipe, share))
                near, far = (share, far) if self._answer(found.logits) == answer else (near, share)

    def seek_clear(self, count: int, tolerance: float) -> None:
        """Where too few pictures have a clear answer, as with many labels: more that are nearly those few."""
        found = [one for one in self.tried if is_clear(one.logits, tolerance, self.task)]
        first = [one.recipe for one in found]
        for turn in range(_TURNS * count if first else 0):
            if len(found) >= count:
                return
            recipe = first[turn % len(first)]
            one = self._try(_mix(recipe, _Recipe(recipe.size, (self._next(),)), (0.8, 0.9, 0.95, 0.98)[turn % 4]))
            found += [one] * is_clear(one.logits, tolerance, self.task)

    def choose(self, count: int, tolerance: float) -> list[_Recipe]:
        """The smallest slacks, spread over answers, scenes and sizes; clear ones first."""
        slacks = [_slack(one.logits, self.task) for one in self.tried]
        clear = [index for index, one in enumerate(self.tried) if is_clear(one.logits, tolerance, self.task)]
        unclear = sorted(set(range(len(slacks))) - set(clear), key=lambda index: (-slacks[index], index))
        kinds = [(("answer", self._side(one.logits)), one.recipe.seeds[0], one.recipe.size) for one in self.tried]
        chosen: list[int] = []
        used: Counter[object] = Counter()
        while clear and len(chosen) < count:
            best = min(clear, key=lambda index: (*self._often(kinds[index], used), slacks[index]))
            clear.remove(best)
            chosen.append(best)
            used.update(kinds[best])
        return [self.tried[index].recipe for index in (chosen + unclear)[:count]]

    def _often(self, kinds: tuple[object, int, object], used: Counter[object]) -> tuple[int, int, int]:
        """How often answer, scene and size were taken: a scene may come a few times before others do."""
        answer, scene, size = kinds
        return used[answer], used[scene] // _ALIKE, used[size]

    def _pairs(self) -> list[tuple[_Tried, _Tried]]:
        """Pictures with different answers, each answer in turn, those of the least slack first."""
        by_answer: dict[object, list[_Tried]] = {}
        for one in sorted(self.tried, key=lambda one: _slack(one.logits, self.task)):
            by_answer.setdefault(self._answer(one.logits), []).append(one)
        groups = list(by_answer.values())
        pairs: list[tuple[_Tried, _Tried]] = []
        for turn in range(_PAIRS):
            first = groups[turn % len(groups)]
            second = groups[(turn + 1 + turn // len(groups)) % len(groups)]
            if second is not first:
                pairs.append((first[turn // len(groups) % len(first)], second[turn // len(groups) % len(second)]))
        return pairs

    def _try(self, recipe: _Recipe) -> _Tried:
        if recipe not in self.known:  # a golden set is to hold no picture twice
            logits = self.predict(_draw(recipe, self.look)[None])[0].astype(np.float64)
            self.known[recipe] = _Tried(recipe, logits)
            self.tried.append(self.known[recipe])
        return self.known[recipe]

    def _next(self) -> int:
        self.seed += 1
        return self.seed

    def _nearness(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """(K,): how far each label is from being given, negative until it is."""
        return logits if self.task == "multilabel" else logits - logits.max()

    def _answer(self, logits: NDArray[np.float64]) -> object:
        """The label, or which labels are given."""
        return tuple(logits > 0) if self.task == "multilabel" else int(logits.argmax())

    def _side(self, logits: NDArray[np.float64]) -> object:
        """The label; or, of several, the one that is nearest to .5, and on which side it is."""
        if self.task != "multilabel":
            return int(logits.argmax())
        nearest = int(np.abs(logits).argmin())
        return nearest, bool(logits[nearest] > 0)


def _mix(one: _Recipe, other: _Recipe, share: float) -> _Recipe:
    """A picture with `share` of the one and the rest of the other, which is of the same size."""
    shares = (*(share * part for part in one.shares), *((1 - share) * part for part in other.shares))
    return _Recipe(one.size, one.seeds + other.seeds, shares)


def _draw(recipe: _Recipe, look: Look) -> Array:
    """(H, W, C) raw pixels."""
    coloured = not look.gray or recipe.seeds[0] % _COLOURED == 0
    scenes = (_scene(look, recipe.size, seed, coloured=coloured) for seed in recipe.seeds)
    values = sum(share * scene for share, scene in zip(recipe.shares, scenes, strict=True))
    if look.dtype == "float32":  # steps that float32 holds exactly and that deflate well
        span = max(levels[-1] - levels[0] for levels in look.levels)
        step = 2.0 ** np.floor(np.log2(max(span, 1e-30) / 4096))
        pixels = (np.rint(np.asarray(values) / step) * step).astype(np.float32)
    else:
        pixels = np.rint(np.asarray(values)).astype(look.dtype)
    low, high = np.asarray(look.levels, pixels.dtype)[:, [0, -1]].T
    pixels = np.clip(pixels, low, high)
    if look.padding and recipe.seeds[0] % 4:  # a round field of view
        height, width = recipe.size
        rows, columns = plane(height, width)
        pixels[rows**2 + columns**2 > 1] = look.padding[0][0]
    return np.ascontiguousarray(pixels)


def _scene(look: Look, size: tuple[int, int], seed: int, *, coloured: bool) -> NDArray[np.float64]:
    """(H, W, C) raw values of a drawn scene in the brightness of the look."""
    channels = len(look.levels)
    tones = np.broadcast_to(draw_tones(size, seed, channels if coloured else 1), (*size, channels))
    return np.stack([np.interp(tones[:, :, at], _TONES, levels) for at, levels in enumerate(look.levels)], axis=2)


def _limit(height: int, width: int) -> tuple[int, int]:
    """The size, or a smaller one of the same shape where a side is longer than golden images are."""
    longest = max(height, width)
    if longest <= GOLDEN_SIDE:
        return height, width
    return max(1, height * GOLDEN_SIDE // longest), max(1, width * GOLDEN_SIDE // longest)


def _stage_sizes(manifest: Manifest) -> tuple[tuple[int, int], ...]:
    """Of each network's input: one that is enlarged, one that is reduced, both of another shape than the input."""
    sizes = []
    for height, width in (spec.size for spec in manifest.views):
        sizes += [(max(1, height * 5 // 8), max(1, width * 3 // 4)), (height * 3 // 2, width * 5 // 4)]
    return tuple(dict.fromkeys(_limit(*size) for size in sizes))


def _padding(manifest: Manifest) -> tuple[tuple[float, float], ...]:
    intensity = manifest.preprocess.intensity
    return intensity.padding if isinstance(intensity, Percentile) else ()


def _most(manifest: Manifest) -> float:
    """The largest raw value that every network takes; infinity: any."""
    return 255.0 if manifest.kinds == ("uint8",) else min(spec.largest for spec in manifest.views)
