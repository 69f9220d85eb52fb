"""Images to look at: the surest mistakes of each class, the least sure answers, labels that are likely wrong.

Likely wrong labels are those of `zoo.evaluation.rank_suspects`. No image is judged by a model that has learnt from it,
as the method asks.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zoo._support.text import format_count
from zoo.edge._explain import CAPTIONS, VISIBLE, overlay
from zoo.errors import ImageError
from zoo.evaluation.page._html import Html, name, paragraph, text
from zoo.evaluation.page._svg import shorten
from zoo.evaluation.suspects import rank_suspects
from zoo.readers import from_array, thumbnail

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from zoo.edge._explain import HeatMap, Method
    from zoo.evaluation._cases import Cases
    from zoo.readers import RawImage

__all__ = ["Gallery", "Pick", "choose_images", "make_gallery", "show_gallery"]

SIDE = 112
"""Pixels of a thumbnail's longer side."""
MOST_MISTAKES, MOST_UNSURE, MOST_LABELS = 30, 12, 12
EACH = 4
"""Mistakes that are shown of one class at most."""
MOST_MAPS = 6
"""Mistakes that are mapped where maps are asked for: without an evidence map each takes about 120 answers."""


@dataclass(frozen=True, slots=True)
class Pick:
    """One image with what is remarkable about it.

    Attributes:
        image: its position.
        truth: position of the class, or of the label, that it is about.
        called: position of the class that it was called; of several labels that of the label again.
        probability: of `called`.
        held: of several labels, whether the image has the label; None: one label an image.
    """

    image: int
    truth: int
    called: int
    probability: float
    held: bool | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """Images of three kinds, ready to be shown.

    Attributes:
        mistakes: the surest mistakes, by class.
        unsure: the answers that were the least sure.
        labels: images whose label is likely wrong.
        pictures: position of an image to its data URI; without those that cannot be read.
        names: position of an image to its name.
        mapped: mistakes with a heat map of what they were called, the surest first.
        maps: the pictures of those, a data URI each.
        peaks: the largest value of each map.
        method: how the maps were made; None: there are none.
    """

    mistakes: tuple[Pick, ...]
    unsure: tuple[Pick, ...]
    labels: tuple[Pick, ...]
    pictures: dict[int, str]
    names: dict[int, str]
    mapped: tuple[Pick, ...] = ()
    maps: tuple[str, ...] = ()
    peaks: tuple[float, ...] = ()
    method: Method | None = None


def choose_images(cases: Cases) -> tuple[tuple[Pick, ...], tuple[Pick, ...], tuple[Pick, ...]]:
    """The surest mistakes of each class, the least sure answers, the labels that are likely wrong; best first."""
    asked = _ask_each(cases)
    image, truth, called, p, right = asked.image, asked.truth, asked.called, asked.probability, asked.right
    sure = np.where(asked.yes, p, 1 - p)  # of what was decided
    wrong = np.flatnonzero(~right)
    ranked = wrong[np.argsort(-sure[wrong], kind="stable")]
    turn = _turns(truth[ranked])
    kept = np.flatnonzero(turn < EACH)
    mistakes = ranked[kept[np.argsort(turn[kept], kind="stable")][:MOST_MISTAKES]]
    mistakes = mistakes[np.lexsort((-sure[mistakes], truth[mistakes]))]
    unsure = np.argsort(asked.margin, kind="stable")[:MOST_UNSURE]

    def picks(rows: NDArray[np.int64]) -> tuple[Pick, ...]:
        return tuple(
            Pick(
                image=int(image[row]),
                truth=int(truth[row]),
                called=int(called[row]),
                probability=float(p[row]),
                held=bool(asked.held[row]) if cases.task == "multilabel" else None,
            )
            for row in rows
        )

    doubtful = tuple(
        Pick(
            image=one.image,
            truth=one.given,
            called=one.suggested,
            probability=float(cases.probabilities[one.image, one.suggested]),
            held=one.held,
        )
        for one in rank_suspects(cases)[:MOST_LABELS]
    )
    return picks(mistakes), picks(unsure), doubtful


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """R questions: what an image is, or whether it has a label; fields as those of `Pick`, (R,) each.

    Attributes:
        yes: the label was given; always, where an image has one.
        right: the answer is.
        margin: how far the answer is from the next one.
    """

    image: NDArray[np.int64]
    truth: NDArray[np.int64]
    called: NDArray[np.int64]
    probability: NDArray[np.float64]
    held: NDArray[np.bool_]
    yes: NDArray[np.bool_]
    right: NDArray[np.bool_]
    margin: NDArray[np.float64]


def _ask_each(cases: Cases) -> _Asked:
    p = cases.probabilities
    if cases.task == "multilabel":
        image, label = np.nonzero(cases.known)
        of, held, yes = p[image, label], cases.truth[image, label], cases.chosen[image, label]
        return _Asked(image, label, label, of, held, yes, held == yes, np.abs(2 * of - 1))
    image = np.arange(cases.n)
    first, every = cases.predicted, np.ones(cases.n, np.bool_)
    two = np.sort(np.partition(p, -2, axis=1)[:, -2:], axis=1)
    margin = two[:, 1] - two[:, 0]
    return _Asked(image, cases.targets, first, p[image, first], every, every, first == cases.targets, margin)


def _turns(classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many of the same class come before each."""
    turns = np.zeros(len(classes), np.int64)
    for one in np.unique(classes):
        at = np.flatnonzero(classes == one)
        turns[at] = np.arange(len(at))
    return turns


def make_gallery(
    cases: Cases,
    ids: Sequence[str],
    read: Callable[[int], RawImage],
    explain: Callable[[int, RawImage, int], HeatMap] | None = None,
) -> Gallery:
    """Choose images and read them; one that cannot be read is listed without its picture.

    Args:
        cases: n images with what was answered.
        ids: their names.
        read: position to the decoded image; may raise ImageError.
        explain: from position, image and class to its heat map; None: no image is mapped.
    """
    mistakes, unsure, labels = choose_images(cases)
    pictures: dict[int, str] = {}
    names: dict[int, str] = {}
    for at in dict.fromkeys(pick.image for pick in (*mistakes, *unsure, *labels)):
        names[at] = ids[at]
        try:
            pictures[at] = thumbnail(read(at), SIDE)
        except ImageError:
            continue
    found = Gallery(mistakes, unsure, labels, pictures, names)
    return found if explain is None else _map_mistakes(found, read, explain)


def _map_mistakes(
    found: Gallery, read: Callable[[int], RawImage], explain: Callable[[int, RawImage, int], HeatMap]
) -> Gallery:
    """The gallery with heat maps of the surest mistakes in which a label was given: one that is absent has no place."""
    given = [pick for pick in found.mistakes if not pick.held and pick.image in found.pictures]
    mapped = tuple(sorted(given, key=lambda pick: -pick.probability)[:MOST_MAPS])
    maps, peaks, method = [], [], None
    for pick in mapped:
        image = read(pick.image)
        heat = explain(pick.image, image, pick.called)
        method = heat.method
        peaks.append(heat.peak[0])
        maps.append(thumbnail(from_array(np.asarray(overlay(image, heat))), SIDE))
    return dataclasses.replace(found, mapped=mapped, maps=tuple(maps), peaks=tuple(peaks), method=method)


def show_gallery(gallery: Gallery, labels: Sequence[str], *, points: bool) -> Html:
    """The three kinds of images, each with the class, the answer and its probability; `points`: the file has some."""
    apart = " Operating points play no part in this section." if points else ""
    parts = [
        _part(
            "Most confident mistakes",
            f"Of each class up to {EACH}, {MOST_MISTAKES} in all. A wrong answer that is sure of itself does "
            f"harm.{apart}",
            gallery.mistakes, gallery, labels,
        ),
        _show_maps(gallery, labels),
        _part(
            "Labels that are likely wrong",
            "The model, which has not learnt from these images, is as sure of another class as it is of images of that "
            "class (confident learning). Look at them before you blame the model.",
            gallery.labels, gallery, labels,
        ),
        _part(
            "Least sure answers",
            "The next best answer has nearly the same probability; of several labels: yes and no have.",
            gallery.unsure, gallery, labels,
        ),
    ]  # fmt: skip
    return Html("".join(parts)) or paragraph("Every image was answered rightly.")


def _part(title: str, meaning: str, picks: Sequence[Pick], gallery: Gallery, labels: Sequence[str]) -> str:
    if not picks:
        return ""
    shown = "".join(_figure(_picture(gallery.pictures.get(pick.image)), pick, gallery, labels) for pick in picks)
    how_many = format_count(len(picks), "image")
    return f'<h3>{title} <small>{how_many}</small></h3>{paragraph(meaning)}<div class="gallery">{shown}</div>'


def _show_maps(gallery: Gallery, labels: Sequence[str]) -> str:
    if gallery.method is None:
        return ""
    shown = "".join(
        _figure(f"{_picture(gallery.pictures[pick.image])}{_picture(uri)}", pick, gallery, labels, _say(peak, gallery))
        for pick, uri, peak in zip(gallery.mapped, gallery.maps, gallery.peaks, strict=True)
    )
    meaning = (
        f"For the {len(gallery.mapped)} surest mistakes in which a label was given: what the answer depends on. "
        f"{CAPTIONS[gallery.method].capitalize()}. A map finds no disease and gives no measure of its place."
    )
    return f'<h3>What mistakes depend on</h3>{paragraph(meaning)}<div class="gallery pairs">{shown}</div>'


def _say(peak: float, gallery: Gallery) -> str:
    """How strong a map is: one that shows nothing looks as if it were missing."""
    if gallery.method == "occlusion":
        most = f"by up to {peak:.2f}" if peak >= VISIBLE else f"by less than {VISIBLE:g}: no single part decides"
        return f"hiding a part lowers it {most}"
    return "" if peak > 0 else "no place speaks for it"


def _figure(pictures: str, pick: Pick, gallery: Gallery, labels: Sequence[str], more: str = "") -> str:
    below = f'<span class="id">{text(more)}</span>' if more else ""
    return (
        f'<figure>{pictures}<figcaption>{_caption(pick, labels)}<span class="id">{name(gallery.names[pick.image])}'
        f"</span>{below}</figcaption></figure>"
    )


def _picture(uri: str | None) -> str:
    return '<span class="missing">no picture</span>' if uri is None else f'<img src="{text(uri)}" alt="">'


def _caption(pick: Pick, labels: Sequence[str]) -> Html:
    truth, called = (
        Html(f'<span title="{text(label)}">{name(shorten(label))}</span>')
        for label in (labels[pick.truth], labels[pick.called])
    )
    if pick.held is not None:
        return Html(f"<b>{truth}</b>: {'has it' if pick.held else 'does not have it'}; {pick.probability:.3f} ")
    if pick.truth == pick.called:
        return Html(f"<b>{truth}</b>, {pick.probability:.3f} ")
    return Html(f"label <b>{truth}</b>, answer <b>{called}</b> {pick.probability:.3f} ")
