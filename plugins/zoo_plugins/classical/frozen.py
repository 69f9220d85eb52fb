"""Features of a trained network with unchanged weights: the input of its last linear layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.errors import PluginError, UsageError
from zoo.plugin import FeatureGraph

if TYPE_CHECKING:
    from zoo.plugin import RunFolder, TorchPlugin, TrainContext
    from zoo.spec import ModelCard, PreprocessSpec

__all__ = ["check_frozen", "freeze", "network"]


def network(name: str) -> tuple[ModelCard, TorchPlugin]:
    """The card called `name` and its plugin.

    Raises:
        CatalogueError: no such card.
        UsageError: it is not a torch network.
    """
    from zoo import registry  # a catalogue of all families: only here does one family ask for another
    from zoo.plugin import TorchPlugin

    card = registry.find(name)
    plugin = registry.load(card.plugin).plugin
    if not isinstance(plugin, TorchPlugin):
        raise UsageError(
            f"features frozen:{name}: {name} is not a torch network, expected one such as resnet18",
            code="features-unknown",
            features=f"frozen:{name}",
        )
    return card, plugin


def check_frozen(name: str, asking: ModelCard) -> None:
    """Refuse features of the network `name` for the card `asking`.

    Raises:
        UsageError: no trained weights are given, or the pictures are too small for it.
    """
    card, plugin = network(name)
    spec = asking.preprocess
    if not asking.train.pretrained:
        raise _need_weights(name)
    if min(spec.size) < plugin.minimum_size:
        raise UsageError(
            f"features frozen:{name}: pictures of {spec.size[1]}x{spec.size[0]}, it needs at least "
            f"{plugin.minimum_size} pixels a side and was made for {max(card.preprocess.size)}; give --size N",
            code="size-too-small",
            features=f"frozen:{name}",
            found=list(spec.size),
            expected=plugin.minimum_size,
        )


def freeze(name: str, spec: PreprocessSpec, run: RunFolder, context: TrainContext) -> FeatureGraph:
    """The network `name` without its head, for pictures of `spec`, filled with `context.pretrained`.

    Raises:
        UsageError: no trained weights are given.
        PluginError: it has no last linear layer, or cannot be built for such pictures.
        WeightsError: the weights do not fit, or leave its first convolution new.
    """
    import msgspec

    if context.pretrained is None:
        raise _need_weights(name)
    card, plugin = network(name)
    card = msgspec.structs.replace(card, preprocess=spec)
    module, notes = plugin.open_backbone(card, context.pretrained, asked=f"features frozen:{name}")
    run.add_notes(notes)
    graph = FeatureGraph.of_network(f"frozen:{name}", module, spec)
    if graph is None:
        raise PluginError(
            f"features frozen:{name}: no one layer gives its logits from a row of numbers; choose another network",
            code="features-network",
            features=f"frozen:{name}",
        )
    return graph


def _need_weights(name: str) -> UsageError:
    return UsageError(
        f"features frozen:{name}: an untrained network has no features; give --pretrained or --weights FILE",
        code="features-untrained",
        features=f"frozen:{name}",
    )
