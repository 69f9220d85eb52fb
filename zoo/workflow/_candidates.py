"""Which models are worth a try for some images and a device, and in which order.

A card says what its network costs, on the machine of whoever measured it. So a card is only left out where it is far
beyond the limits; what is near them is measured here, on the exported file.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from zoo.errors import CatalogueError, UsageError, ZooError
from zoo.spec import is_licence_of
from zoo.workflow._recipe import OWN_SIZE, configure, resolve
from zoo.workflow._settings import settings_of

if TYPE_CHECKING:
    from zoo.data import Splits
    from zoo.spec import Budget, Intensity, ModelCard

__all__ = ["OTHER_LICENCE", "Candidate", "Candidates", "Limits", "find_candidates", "list_late", "refuse_unfit"]

OTHER_LICENCE = "under another licence"
"""Why a card is left out whose code is under a licence that was not named."""

_SLACK = 2.0
"""A card whose latency is so many times the limit is left out unmeasured; other processors differ by less."""

_HEAD = 1.28e6
"""Parameters at most of a head of 1000 classes that ours does not have: 1280 features, as in the EfficientNets."""

_FLOPS = 3e11
"""Operations a second of training at most on a CPU: 0.27e12 were measured on two cores with AMX in bf16. A network that
takes too long even so is left out."""

_QUADRATIC = 10_000
"""Training images above which a support vector machine, whose time grows with their square, is left out."""

CLASSICAL = ("logistic_regression", "svm", "random_forest", "gradient_boosting")
"""The quickest first. Nearest neighbours are not among them: their file holds the training images."""

_PARTLY = frozenset({"unet"})
"""Families whose pretrained weights are those of a part: they have no features before training."""

_KEPT_SIZE = 96
"""Side in pixels at which features of small pictures are kept. Most networks see little in smaller ones, and a ResNet
has another first convolution than its weights up to 64 px."""

_EPOCHS = 3
"""A network that cannot have so many epochs in its time is left out."""

_FEATURES = {"random_forest": "pixels"}

SCRATCH = (
    "simple_cnn", "resnet", "vig", "densenet", "ghostnet", "regnet", "cspnet", "transformer", "convnext", "unet",
    "mobilenet", "efficientnet", "edgenext", "mnasnet", "lcnet", "vgg",
)  # fmt: skip
"""Families from random weights, as they did in docs/gallery.md on 28 and 64 px; the small CNN first, because it
comes to its end in any time."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a device allows; None: anything.

    Attributes:
        latency_ms: for one image.
        size_mb: of the file, in 10^6 bytes.
    """

    latency_ms: float | None = None
    size_mb: float | None = None

    def overrun(self, latency_ms: float | None, size_bytes: int | None) -> str:
        """What is over the limits, in words; empty: nothing."""
        said = []
        if self.latency_ms is not None and latency_ms is not None and latency_ms > self.latency_ms:
            said.append(f"{latency_ms:.2f} ms, over {self.latency_ms:g}")
        if self.size_mb is not None and size_bytes is not None and size_bytes / 1e6 > self.size_mb:
            said.append(f"{size_bytes / 1e6:.1f} MB, over {self.size_mb:g}")
        return " and ".join(said)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model to try.

    Attributes:
        model: its name.
        budget: what it needs to be told.
        label: how a table calls it.
    """

    model: str
    budget: dict[str, Any]
    label: str


@dataclass(frozen=True, slots=True)
class Candidates:
    """What is worth a try.

    Attributes:
        quick: classical models and linear ones on frozen features, which are fitted in one step.
        networks: the most promising first.
        left_out: reason to number of cards.
    """

    quick: tuple[Candidate, ...]
    networks: tuple[Candidate, ...]
    left_out: dict[str, int]


def find_candidates(
    data: Splits,
    limits: Limits,
    *,
    slot: float,
    models: Sequence[str] = (),
    licence: Sequence[str] = (),
    device: str | None = None,
    freeze: bool = False,
) -> Candidates:
    """Cards that may meet the limits, and can be trained here in the time.

    Weights count where they are on this machine already: nothing is fetched. They come first where images are large. Of
    images up to 64 px, whose size networks take, they know little: tf_efficientnet_lite0 is far behind in
    docs/gallery.md.

    Args:
        data: images; their number and size matter.
        limits: limits of the device.
        slot: seconds that the longest training can have.
        models: only these; empty: all.
        licence: only code under these, and weights too where they are used; empty: any.
        device: name, as in `TrainConfig.device`; on another than the CPU no time is estimated.
        freeze: pretrained networks alone, and of each the head alone is trained, in one step.

    Raises:
        CatalogueError: one of `models` is unknown.
        UsageError: `freeze`, and none of them has weights here and may meet the limits.
    """
    from zoo import registry
    from zoo.store.weights import is_here

    rows = registry.models()
    names = list(models) or [row.name for row in rows if row.plugin]  # others cannot even be read
    state = {row.name: row.state for row in rows}
    left_out: Counter[str] = Counter()
    quick: list[Candidate] = []
    pretrained: list[ModelCard] = []
    scratch: list[ModelCard] = []
    for name in dict.fromkeys(names):
        card = registry.find(name)
        why = "" if state.get(name, "ok") == "ok" else "cannot be loaded here"
        why = why or ("" if is_licence_of(card.licence, licence) else OTHER_LICENCE)
        usable = card.weights is not None and is_licence_of(card.weights.licence, licence)
        if card.family == "classical" and not freeze:
            why = why or _why_not_classical(card, data, named=bool(models))
            if not why:
                quick += _classical(card, data)
        else:
            timed = device in {None, "auto", "cpu"} and not freeze
            why = (
                why
                or (_why_no_head(card, usable=usable) if freeze else "")
                or _why_not(card, data, limits, slot, timed=timed)
            )
            if not why:
                (pretrained if usable and is_here(card) else scratch).append(card)
        left_out[why] += bool(why)
    quick.sort(key=lambda one: CLASSICAL.index(one.model) if one.model in CLASSICAL else len(CLASSICAL))
    # The larger of two pretrained networks is usually the better one; from scratch the smaller learns more in the time.
    pretrained.sort(key=lambda card: -(card.macs or 0))
    whole = [card for card in pretrained if card.family not in _PARTLY]
    if freeze:
        if not whole:
            free = f", under {' or '.join(licence)}," if licence else ""
            more = ", name more with --licence" if licence else ""
            raise UsageError(
                f"--freeze: no network whose weights are on this machine{free} may meet the limits; "
                f"fetch some with 'zoo weights fetch'{more}, or leave --freeze out",
                code="freeze-untrained",
                licence=list(licence),
            )
        return Candidates(tuple(_head_alone(card, data) for card in whole), (), dict(+left_out))
    frozen = [] if data.channels is not None else [_on_features(card, data) for card in whole]
    networks = [Candidate(card.name, {"pretrained": True}, card.name) for card in pretrained]
    fresh = [Candidate(card.name, {}, card.name) for card in _take_turns(scratch)]
    networks = [*fresh, *networks] if data.largest_side <= OWN_SIZE else [*networks, *fresh]
    return Candidates((*quick[:1], *frozen, *quick[1:]), tuple(networks), dict(+left_out))


def refuse_unfit(found: Candidates, data: Splits, said: Budget) -> None:
    """Refuse images that no candidate can be fitted to as they are: gray of 16 bits of which nobody says the range.

    Args:
        found: the candidates; one of each plugin and range of values is tried.
        data: the images.
        said: what every trial is told, as `zoo.train` takes it.

    Raises:
        ZooError: what the first of them says, where all refuse.
    """
    from zoo import registry
    from zoo.data import apply_advice

    settings, _ = apply_advice(data, settings_of(said))
    refusal: ZooError | None = None
    met: set[tuple[str, Intensity]] = set()
    for one in (*found.quick, *found.networks):
        card = registry.find(one.model)
        if (kind := (card.plugin, card.preprocess.intensity)) in met:
            continue
        met.add(kind)
        try:
            config = configure(card, cast("Budget", {**said, **one.budget, "settings": None}), settings)
            resolve(registry.load(card.plugin).plugin, card, data, config, settings=settings)
        except ZooError as problem:
            refusal = refusal or problem
        else:
            return
    if refusal is not None:
        raise refusal


def list_late(found: Candidates, licence: Sequence[str] = ()) -> list[str]:
    """Networks that are trained from random weights, though this machine has theirs now, under such a licence."""
    from zoo import registry
    from zoo.store.weights import is_here

    late = []
    for one in found.networks:
        with contextlib.suppress(CatalogueError):  # whatever brought the model is gone
            card = registry.find(one.model)
            allowed = card.weights is None or is_licence_of(card.weights.licence, licence)
            if allowed and not one.budget.get("pretrained") and is_here(card):
                late.append(one.model)
    return late


def _on_features(card: ModelCard, data: Splits) -> Candidate:
    budget = {**_with_weights(data), "settings": {"features": f"frozen:{card.name}"}}
    return Candidate("logistic_regression", budget, f"logistic_regression on {card.name}")


def _head_alone(card: ModelCard, data: Splits) -> Candidate:
    return Candidate(card.name, {**_with_weights(data), "freeze": True}, f"head on {card.name}")


def _with_weights(data: Splits) -> dict[str, Any]:
    """Of features that are kept: they are those of pictures that are large enough for them."""
    return {"pretrained": True, **({"size": _KEPT_SIZE} if data.largest_side <= OWN_SIZE else {})}


def _why_no_head(card: ModelCard, *, usable: bool) -> str:
    """Why no head can be trained on a card's features; empty: it can."""
    from zoo.store.weights import is_here

    if card.family == "classical" or card.family in _PARTLY:
        return "has no features of trained weights"
    if card.weights is not None and not usable:
        return "has weights under another licence"
    return "" if is_here(card) else "has no weights on this machine"


def _classical(card: ModelCard, data: Splits) -> list[Candidate]:
    """With the features that did well in docs/gallery.md: gradients, of colours with their histogram, and pixels."""
    if card.name not in CLASSICAL or data.channels is not None:
        return [Candidate(card.name, {}, card.name)]
    described = "hog" if data.gray else "hog+colour"
    chosen = ("pixels", described) if card.name == "svm" else (_FEATURES.get(card.name, described),)
    return [Candidate(card.name, {"settings": {"features": one}}, f"{card.name} on {one}") for one in chosen]


def _why_not_classical(card: ModelCard, data: Splits, *, named: bool) -> str:
    """Why a classical model is not tried; empty: it is."""
    if card.name not in CLASSICAL and not named:
        return "keeps the training images in its file, or does what another does"
    if card.plugin == "svm" and len(data.train) > _QUADRATIC:
        return "takes time that grows with the square of the images"
    return ""


def _why_not(card: ModelCard, data: Splits, limits: Limits, slot: float, *, timed: bool) -> str:
    """Why a network is not tried; empty: it is."""
    if card.members:
        return "an ensemble of finished runs"
    if limits.size_mb is not None and card.parameters is not None:
        least = 4 * (card.parameters - _HEAD) / 1e6  # float32
        if least > limits.size_mb:
            return "too large for the device"
    share = _share_of_pixels(card, data)
    latency_ms = 0.0 if card.latency is None else card.latency.fp32_ms * share
    if limits.latency_ms is not None and latency_ms > _SLACK * limits.latency_ms:
        return "too slow for the device"
    if timed and card.macs is not None:
        an_epoch = 6 * card.macs * share * len(data.train) / _FLOPS  # forward and twice that backward, 2 a multiply-add
        if _EPOCHS * an_epoch > slot:
            return "too slow to train in the time"
    return ""


def _share_of_pixels(card: ModelCard, data: Splits) -> float:
    """Pixels that the network sees here, beside those of the card."""
    height, width = card.preprocess.size
    if data.largest_side > OWN_SIZE:
        return 1.0
    return min(1.0, data.largest_side**2 / (height * width))


def _take_turns(cards: Sequence[ModelCard]) -> list[ModelCard]:
    """One of each family, the cheapest, then the next of each."""
    order = {family: place for place, family in enumerate(SCRATCH)}
    turns = []
    seen: Counter[str] = Counter()
    for card in sorted(cards, key=lambda card: card.macs or 0):
        turns.append((seen[card.family], order.get(card.family, len(order)), card))
        seen[card.family] += 1
    return [card for _, _, card in sorted(turns, key=lambda turn: turn[:2])]
