"""The half of a plugin that every torch module shares."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from zoo.errors import PluginError, UsageError
from zoo.plugin._contract import ModelPlugin
from zoo.preprocess import channels_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx
    from torch import Tensor, nn

    from zoo.data import Splits
    from zoo.evaluation import Predict
    from zoo.plugin._contract import Trained
    from zoo.runs import RunFolder, TrainContext
    from zoo.spec import ModelCard, TrainConfig

__all__ = ["TorchPlugin"]


class TorchPlugin(ModelPlugin):
    """A family of torch modules: `build` is all there is to write."""

    unknown_labels: ClassVar[bool] = True

    @abstractmethod
    def build(self, card: ModelCard, *, classes: int, channels: int) -> nn.Module:
        """An untrained module.

        Args:
            card: its arch says which module, its preprocess.size the (height, width) of the input.
            classes: K, width of the output.
            channels: C of the input, 1 or 3.

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
        check_request(len(data.train), card.train)

    def train(
        self, card: ModelCard, data: Splits, config: TrainConfig, run: RunFolder, context: TrainContext
    ) -> Trained:
        """Fit the module with `zoo.learn.fit`, from pretrained weights where `context.pretrained` names some."""
        import torch

        from zoo.learn import fit, load_pretrained, read_tensors

        torch.manual_seed(config.seed)
        module = self._build(card, len(data.labels))
        if context.pretrained is not None and not context.resuming:
            tensors, changed = self.adapt(module, read_tensors(context.pretrained))
            run.add_notes((*changed, *load_pretrained(module, tensors)))
        fit(module, data, card.preprocess, config, run, context)
        return _TorchTrained(module, card)

    def load(self, card: ModelCard, run: RunFolder) -> Trained:
        """Build the module and fill it with the run's weights.safetensors."""
        from zoo.learn import WEIGHTS_FILE, load_weights

        module = self._build(card, len(run.record.labels))
        load_weights(module, run.file(WEIGHTS_FILE))
        return _TorchTrained(module.eval(), card)

    def _build(self, card: ModelCard, classes: int) -> nn.Module:
        channels = channels_of(card.preprocess)
        try:
            return self.build(card, classes=classes, channels=channels)
        except (RuntimeError, ValueError, TypeError, KeyError) as problem:
            reason = " ".join(str(problem).split())
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


class _TorchTrained:
    def __init__(self, module: nn.Module, card: ModelCard) -> None:
        self.module = module
        self.spec = card.preprocess

    @property
    def predict(self) -> Predict:
        from zoo.learn import torch_predict

        return torch_predict(self.module)

    @property
    def evidence(self) -> Predict | None:
        from zoo.learn import EvidenceNetwork, torch_evidence

        return torch_evidence(self.module) if isinstance(self.module, EvidenceNetwork) else None

    def to_onnx(self) -> onnx.ModelProto:
        from zoo.learn import module_to_onnx

        return module_to_onnx(self.module, channels=channels_of(self.spec), size=self.spec.size)

    def save(self, run: RunFolder) -> None:
        from zoo.learn import WEIGHTS_FILE, save_weights

        save_weights(self.module, run.file(WEIGHTS_FILE))
