"""The half of a classical family that all of them share: which features, and from which weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.errors import UsageError
from zoo.plugin import Features, SklearnPlugin
from zoo_plugins.classical.described import NAMES, build_described
from zoo_plugins.classical.frozen import check_frozen, freeze, network

if TYPE_CHECKING:
    from zoo.data import Splits
    from zoo.plugin import RunFolder, TrainContext
    from zoo.spec import ModelCard, PreprocessSpec

__all__ = ["Classical"]

_FROZEN = "frozen:"


class Classical(SklearnPlugin):
    """Estimators on the features that `TrainConfig.features` names: see `build_described` and `freeze`."""

    def preprocess(self, card: ModelCard) -> PreprocessSpec:
        """The card's; for frozen features that of the network, which knows its pictures no other way."""
        origin = self.starts_from(card)
        if origin is card:
            return card.preprocess
        return network(origin.name)[1].preprocess(origin)

    def starts_from(self, card: ModelCard) -> ModelCard:
        """The network whose frozen features are asked for: pretrained weights are its."""
        names = _names(card)
        return network(names[0].removeprefix(_FROZEN))[0] if names[0].startswith(_FROZEN) else card

    def check(self, card: ModelCard, data: Splits) -> None:
        """Refuse features that cannot be, too."""
        super().check(card, data)
        names = _names(card)
        if names[0].startswith(_FROZEN):
            check_frozen(names[0].removeprefix(_FROZEN), card)
        elif isinstance(card.preprocess.channels, int) and names != ("pixels",):
            raise UsageError(
                f"--set features={'+'.join(names)}: these are of gray or colours, and the images are stacks of "
                f"{card.preprocess.channels} channels; expected pixels, or frozen:MODEL",
                code="features-channels",
                features="+".join(names),
                channels=card.preprocess.channels,
            )

    def features(self, card: ModelCard, run: RunFolder, context: TrainContext) -> Features:
        """A graph from pictures to rows."""
        names = _names(card)
        if names[0].startswith(_FROZEN):
            return freeze(names[0].removeprefix(_FROZEN), card.preprocess, run, context)
        return build_described(names, card.preprocess)


def _names(card: ModelCard) -> tuple[str, ...]:
    """The features that the card asks for, checked.

    Raises:
        UsageError: an unknown name, one twice, or frozen features together with others.
    """
    said = card.train.features or NAMES[0]
    if said.startswith(_FROZEN) and "+" not in said and said != _FROZEN:
        return (said,)
    names = tuple(said.split("+"))
    if set(names) <= set(NAMES) and len(set(names)) == len(names):
        return names
    raise UsageError(
        f"--set features={said}: expected {', '.join(NAMES)}, several of them joined by + such as hog+colour, or "
        "frozen:MODEL alone, such as frozen:tf_efficientnet_lite0",
        code="features-unknown",
        features=said,
    )
