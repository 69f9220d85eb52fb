"""The half of a plugin that every torch module shares."""

from __future__ import annotations

import copy
from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from zoo._support.text import join_lines
from zoo.errors import PluginError, UsageError, WeightsError
from zoo.plugin._contract import ModelPlugin
from zoo.preprocess import channels_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    import numpy as np
    import onnx
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from zoo.data import Splits
    from zoo.evaluation import Predict
    from zoo.learn import GradCam, Pictures
    from zoo.plugin._contract import Trained
    from zoo.runs import RunFolder, TrainContext
    from zoo.spec import ModelCard, PreprocessSpec, TrainConfig

__all__ = ["TorchPlugin"]

_PROOF = 8
"""Images on which a graph of features is compared with the network."""


_CLASSES = 1000
"""Width of a head that is built to be taken off; what weights from ImageNet have, so that they fit as they are."""

_DROP_PATHS = frozenset({"DropPath", "StochasticDepth"})
"""How timm and torchvision call the layer of stochastic depth; they build one only where its rate is above 0."""


class TorchPlugin(ModelPlugin):
    """A family of torch modules: `build` is all there is to write."""

    unknown_labels: ClassVar[bool] = True
    ordered_grades: ClassVar[bool] = True

    @property
    def takes_columns(self) -> bool:
        """Yes, by a late fusion around `build`'s network; see `zoo.learn.NetworkWithColumns`."""
        own = type(self)
        return own.train is TorchPlugin.train and own.load is TorchPlugin.load

    @abstractmethod
    def build(self, card: ModelCard, *, classes: int, channels: int) -> nn.Module:
        """An untrained module.

        Args:
            card: its arch says which module, its preprocess.size the (height, width) of the input.
            classes: K, width of the output.
            channels: C of the input, 1, 3, or 2 to 16 of a stack.

        Returns:
            A module from (N, C, h, w) float32 to (N, K) logits; a `zoo.learn.EvidenceNetwork` where it can show of
            which map of the picture it makes them.
        """

    def adapt(self, module: nn.Module, tensors: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], tuple[str, ...]]:
        """Pretrained tensors as `module` needs them, and a line for every change; by default as they are.

        For what depends on the size of the picture, such as learnt positions; another number of classes and grey
        input are `zoo.learn.load_pretrained`'s affair, which refuses whatever does not fit after this.

        Args:
            module: newly built.
            tensors: name to tensor, as the file holds them.
        """
        del module
        return tensors, ()

    def takes_teacher(self) -> bool:
        """Where `train` is ours; one of its own says it itself."""
        return type(self).train is TorchPlugin.train

    def keeps_head(self) -> bool:
        """Where `train` is ours; one of its own says it itself."""
        return type(self).train is TorchPlugin.train

    def check(self, card: ModelCard, data: Splits) -> None:
        """Refuse a setting of classical models, a device that is not there, and too few images for a batch."""
        from zoo.learn import check_request

        if type(self).train is not TorchPlugin.train:  # whether it heeds the setting is its own to say
            super().check(card, data)
        if card.train.features is not None:
            raise UsageError(
                f"--set features: {card.name} learns its own features; leave the setting out",
                code="features-unwanted",
                model=card.name,
            )
        if data.task == "multilabel" and card.train.sampling == "balanced":
            raise UsageError(
                "sampling balanced: an image with several labels is of no one class that could be drawn as often as "
                "the others; leave it out, or weigh the labels with --set class_weight=balanced",
                code="sampling-several",
                model=card.name,
            )
        check_request(len(data.train), card.train)
        if card.train.drop_path:
            self._build(card, len(data.labels))

    def train(
        self, card: ModelCard, data: Splits, config: TrainConfig, run: RunFolder, context: TrainContext
    ) -> Trained:
        """Fit the module with `zoo.learn.fit`, from pretrained weights where `context.pretrained` names some.

        Where `config.freeze` is on, `zoo.learn.fit_head` fits the head alone.
        """
        import torch

        from zoo.learn import fit, fit_head, price_mirror

        torch.manual_seed(config.seed)
        module = self._build(card, len(data.labels))
        if context.pretrained is not None and not context.resuming:
            asked = "--freeze" if config.freeze else None
            notes, fresh = self._fill(module, card, context.pretrained, rows=context.head_rows, asked=asked)
            run.add_notes(notes, fresh=fresh)
        if config.freeze:
            open_features = partial(_open_features, spec=card.preprocess)
            fit_head(module, data, card.preprocess, config, run, context, open_features=open_features)
        else:
            fit(module, data, card.preprocess, config, run, context)
        trained = _TorchTrained(module, card, run)
        if config.flips and context.first:
            trained.core = core = trained.to_onnx()
            channels, size = channels_of(card.preprocess), card.preprocess.size
            run.add_notes([price_mirror(module, core, channels=channels, size=size)])
        return trained

    def load(self, card: ModelCard, run: RunFolder) -> Trained:
        """Build the module and fill it with the run's weights.safetensors."""
        from zoo.learn import WEIGHTS_FILE, load_weights

        module = self._build(card, len(run.record.labels))
        load_weights(module, run.file(WEIGHTS_FILE))
        return _TorchTrained(module.eval(), card, run)

    def open_backbone(self, card: ModelCard, weights: Path, *, asked: str) -> tuple[nn.Module, tuple[str, ...]]:
        """The network of a card with trained weights and any head, and what is to be said of the weights.

        Args:
            card: with the preprocessing of the pictures that it will see.
            weights: file of trained weights.
            asked: what the features are wanted for, in the words of the user.

        Raises:
            PluginError: it cannot be built for such pictures.
            WeightsError: the weights do not fit, or leave more than the head new.
        """
        module = self._build_network(card, _CLASSES)
        notes, _ = self._fill(module, card, weights, asked=asked, say_head=False)
        return module, notes

    def _fill(
        self,
        module: nn.Module,
        card: ModelCard,
        weights: Path,
        *,
        rows: Sequence[int | None] = (),
        asked: str | None,
        say_head: bool = True,
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Put trained weights into a new module: what is to be said of it, and the first convolutions that stay new.

        `asked` is the option that holds all but the head, which then has to come from the weights; None: all learns.
        """
        from zoo.learn import find_fresh_stems, image_network, image_tensors, load_pretrained, read_tensors

        seen = image_network(module)
        tensors, changed = self.adapt(seen, image_tensors(read_tensors(weights)))
        fresh = find_fresh_stems(seen, tensors)
        notes = load_pretrained(seen, tensors, rows=rows, say_head=say_head)
        if fresh and asked is not None:
            raise _fresh_stem(card, fresh, asked)
        prefix = "" if seen is module else "network."
        return (*changed, *notes), tuple(f"{prefix}{name}" for name in fresh)

    def _build(self, card: ModelCard, classes: int) -> nn.Module:
        from zoo.learn import EMBEDDING, NetworkWithColumns

        if card.table is not None:
            network = self._build_network(card, classes + EMBEDDING)
            return NetworkWithColumns(network, classes, card.table)
        return self._build_network(card, classes)

    def _build_network(self, card: ModelCard, classes: int) -> nn.Module:
        channels = channels_of(card.preprocess)
        try:
            module = self.build(card, classes=classes, channels=channels)
        except (RuntimeError, ValueError, TypeError, KeyError) as problem:
            if isinstance(problem, TypeError) and card.train.drop_path and "drop_path" in str(problem):
                raise _no_drop_path(card) from None
            reason = join_lines(problem)
            raise PluginError(
                f"plugin '{card.plugin}' could not build {card.arch} for {classes} classes and {channels} "
                "channels: "
                f"{reason}; expected build(card, classes=, channels=) to return a torch module",
                code="plugin-build",
                plugin=card.plugin,
                arch=card.arch,
                classes=classes,
                channels=channels,
            ) from problem
        if card.train.drop_path and not any(type(part).__name__ in _DROP_PATHS for part in module.modules()):
            raise _no_drop_path(card)
        return module


def _fresh_stem(card: ModelCard, fresh: tuple[str, ...], asked: str) -> WeightsError:
    height, width = card.preprocess.size
    return WeightsError(
        f"{asked}: at {width}x{height} px the first convolution of {card.name} ({', '.join(fresh)}) is another one "
        "than that of the weights, and would stay random; give a larger --size, such as 224, or weights of a "
        "network that was trained at this size",
        code="weights-stem",
        model=card.name,
        layers=list(fresh),
        size=[height, width],
    )


def _no_drop_path(card: ModelCard) -> UsageError:
    return UsageError(
        f"--set drop_path={card.train.drop_path:g}: {card.name} has no blocks that training could pass over; leave the "
        "setting out, or choose a residual network, such as resnet18, or a transformer",
        code="drop-path-unsupported",
        model=card.name,
        drop_path=card.train.drop_path,
    )


def _open_features(network: nn.Module, spec: PreprocessSpec) -> Predict | None:
    """The graph of a network's features in ONNX Runtime, compared with the network on the first batch it is given."""
    from zoo.plugin._graph import FeatureGraph

    features = FeatureGraph.of_network("--freeze", network, spec)
    if features is None:
        return None
    proven = False

    def rows(batch: NDArray[Any]) -> NDArray[np.float32]:
        nonlocal proven
        if not proven:
            features.prove(batch[:_PROOF])
            proven = True
        return features.rows(batch)

    return rows


class _TorchTrained:
    def __init__(self, module: nn.Module, card: ModelCard, run: RunFolder) -> None:
        from zoo.learn import mirrored

        self.module = module
        self.answering = mirrored(module) if card.train.flips else module
        self.spec = card.preprocess
        # Only a network that was trained so is known to work so: "view" refuses what is not contiguous.
        self.channels_last = (run.record.precision or "").endswith("channels_last")
        self.core: onnx.ModelProto | None = None  # exported by now, for the first who asks: it may be large

    @property
    def network(self) -> nn.Module:
        """What answers, for converters that start from torch: in evaluation mode, on the CPU, in float32."""
        import torch

        return self.answering.cpu().float().eval().to(memory_format=torch.contiguous_format)

    @property
    def predict(self) -> Predict:
        from zoo.learn import torch_predict

        return torch_predict(self.answering, channels_last=self.channels_last)

    @property
    def evidence(self) -> Predict | None:
        from zoo.learn import EvidenceNetwork, torch_evidence

        return torch_evidence(self.answering) if isinstance(self.answering, EvidenceNetwork) else None

    @property
    def features(self) -> Predict | None:
        from zoo.learn import NetworkWithColumns, find_last_layer, torch_features

        if isinstance(self.module, NetworkWithColumns):  # its logits are a sum of two layers
            return None
        network = self.answering.cpu().float().eval()
        layer = find_last_layer(network, channels=channels_of(self.spec), size=self.spec.size)
        return None if layer is None else torch_features(network, layer)

    @property
    def gradcam(self) -> GradCam | None:
        """Of the image as it is, of networks that answer by its mirror image, too; None: it has none."""
        from zoo.learn import GradCam, NetworkWithColumns

        if isinstance(self.module, NetworkWithColumns):  # a map of it would be one of the picture beside columns
            return None
        network = self.module.cpu().float().eval()
        return GradCam.of(network, channels=channels_of(self.spec), size=self.spec.size)

    def for_integers(self, images: Pictures, *, signed: bool, seed: int) -> _TorchTrained:
        """A copy trained to answer in int8 as this one does in float32; see `zoo.learn.fit_integers`."""
        from zoo.learn import fit_integers, mirrored

        tuned = copy.copy(self)
        tuned.module = fit_integers(self.module, images, signed=signed, seed=seed)
        tuned.answering = mirrored(tuned.module) if self.answering is not self.module else tuned.module
        tuned.core = None
        return tuned

    def to_onnx(self) -> onnx.ModelProto:
        from zoo.learn import module_to_onnx

        core, self.core = self.core, None
        return core or module_to_onnx(self.answering, channels=channels_of(self.spec), size=self.spec.size)

    def save(self, run: RunFolder) -> None:
        from zoo.learn import WEIGHTS_FILE, save_weights

        save_weights(self.module, run.file(WEIGHTS_FILE))
