"""Features of a trained network with unchanged weights: the input of its last linear layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zoo.errors import PluginError, UsageError
from zoo.preprocess import channels_of
from zoo_plugins.classical.rows import Graph

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from zoo.plugin import RunFolder, TorchPlugin, TrainContext
    from zoo.spec import ModelCard, PreprocessSpec

__all__ = ["check_frozen", "freeze", "network"]

_CLASSES = 1000
"""Width of the head that is built to be taken off; what weights from ImageNet have, so that they fit as they are."""


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
        raise _untrained(name)
    if min(spec.size) < plugin.minimum_size:
        raise UsageError(
            f"features frozen:{name}: pictures of {spec.size[1]}x{spec.size[0]}, it needs at least "
            f"{plugin.minimum_size} pixels a side and was made for {max(card.preprocess.size)}; give --size N",
            code="size-too-small",
            features=f"frozen:{name}",
            found=list(spec.size),
            expected=plugin.minimum_size,
        )


def freeze(name: str, spec: PreprocessSpec, run: RunFolder, context: TrainContext) -> Graph:
    """The network `name` without its head, for pictures of `spec`, filled with `context.pretrained`.

    Raises:
        UsageError: no trained weights are given.
        PluginError: it has no last linear layer.
        WeightsError: the weights do not fit.
    """
    import msgspec

    from zoo.learn import load_pretrained, module_to_onnx, read_tensors, torch_predict

    if context.pretrained is None:
        raise _untrained(name)
    card, plugin = network(name)
    channels = channels_of(spec)
    card = msgspec.structs.replace(card, preprocess=spec)
    module = plugin.build(card, classes=_CLASSES, channels=channels)
    run.add_notes(load_pretrained(module, read_tensors(context.pretrained), say_head=False))
    _behead(module, name)
    model = module_to_onnx(module, channels=channels, size=spec.size)
    for node in model.graph.node:
        for index, output in enumerate(node.output):
            if output == "logits":
                node.output[index] = "rows"
    model.graph.output[0].name = "rows"
    sides = model.graph.output[0].type.tensor_type.shape.dim
    if len(sides) != 2 or not sides[1].dim_value:
        raise PluginError(
            f"features frozen:{name}: the input of its last linear layer is not a row of numbers",
            code="features-network",
            features=f"frozen:{name}",
        )
    predict = torch_predict(module, batch_size=8)

    def reference(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return predict(batch)

    return Graph(f"frozen:{name}", model, reference)


def _untrained(name: str) -> UsageError:
    return UsageError(
        f"features frozen:{name}: an untrained network has no features; give --pretrained or --weights FILE",
        code="features-untrained",
        features=f"frozen:{name}",
    )


def _behead(module: nn.Module, name: str) -> None:
    """Let the last linear layer, of `_CLASSES` outputs, pass on what it is given."""
    from torch import nn

    heads = [
        path
        for path, part in module.named_modules()
        if isinstance(part, nn.Linear) and part.out_features == _CLASSES and path
    ]
    if len(heads) != 1:
        raise PluginError(
            f"features frozen:{name}: {len(heads)} linear layers give its logits, expected one; choose another network",
            code="features-network",
            features=f"frozen:{name}",
            found=len(heads),
        )
    parent, _, own = heads[0].rpartition(".")
    setattr(module.get_submodule(parent), own, nn.Identity())
