"""What every framework must answer, and what training gives back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from zoo.errors import UsageError
from zoo.evaluation import Predict, predict_set, report

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from zoo.artefact import Shippable
    from zoo.data import ImageSet, Splits
    from zoo.runs import RunFolder, TrainContext
    from zoo.spec import EvalReport, ModelCard, PreprocessSpec, TrainConfig

__all__ = ["API", "OLDEST_API", "ModelPlugin", "Trained"]

API = 1
"""Version of the contract that this release offers: the classes of this package, the groups of entry points and the
fields of a card. It goes up when a plugin that was right could become wrong; docs/plugins.md says what may change."""

OLDEST_API = 1
"""Oldest version that still works; the one before `API` always does."""


class Trained(Protocol):
    """A trained model of any framework."""

    @property
    def predict(self) -> Predict:
        """(N, C, h, w) float32, already preprocessed → (N, K) float32 logits, of a softmax or (multilabel) sigmoids."""

    def to_onnx(self) -> onnx.ModelProto:
        """The core: "input" (N, C, h, w) to "logits" (N, K), float32, N dynamic, opset `zoo.spec.OPSET`.

        It may have the further output "evidence" (N, K, h, w) float32, which `zoo export --evidence` ships. Then the
        model also has a property `evidence`, the framework's own: (N, C, h, w) float32, preprocessed, to the same map;
        the parity gate compares the two.

        `zoo export --features` ships what the last layer makes the logits of, which it finds in the graph. A model that
        has something better in mind has the further output "features" (N, D) float32. Either way it offers a property
        `features`, the framework's own: (N, C, h, w) float32, preprocessed, to the same (N, D).

        `zoo export --format litert` and others start from torch. A model that is one torch module has a property
        `network`: that module, (N, C, h, w) float32, preprocessed, to (N, K) logits, in evaluation mode and on the CPU.
        """

    def save(self, run: RunFolder) -> None:
        """Write what `ModelPlugin.load` needs into the run folder, in a format that executes nothing."""


class ModelPlugin(ABC):
    """One model family. Subclass it when neither `TorchPlugin` nor `SklearnPlugin` fits.

    An instance is made without arguments, holds no state, and costs nothing to make.
    """

    api: ClassVar[int] = 1
    """Version of this contract that the plugin was written for; one that does not say was written for the first."""

    minimum_size: ClassVar[int] = 1
    """Shortest side in pixels that the networks of this family can take; smaller images are enlarged to
    it."""

    unused_settings: ClassVar[frozenset[str]] = frozenset()
    """Fields of TrainConfig that make no difference to this family; whoever sets one is told."""

    unknown_labels: ClassVar[bool] = False
    """Whether `train` takes multilabel targets that hold `zoo.spec.UNKNOWN`, and learns a label only from the images
    that it is known of; else such data are refused."""

    ordered_grades: ClassVar[bool] = False
    """Whether `train` learns that classes are in order where data.task is "ordinal"; else the report alone knows."""

    @property
    def takes_columns(self) -> bool:
        """Whether `train` gives the model the columns of `card.table` beside the image; else such data are refused.

        Then `Trained.predict` takes (N, D) float32 after the images, as `zoo.tabular.encode_columns` makes them, and
        the core has the further input "columns" (N, D).
        """
        return False

    def preprocess(self, card: ModelCard) -> PreprocessSpec:
        """The preprocessing this card wants; by default what the card says."""
        return card.preprocess

    def starts_from(self, card: ModelCard) -> ModelCard:
        """The card whose pretrained weights a run of `card` takes; by default its own."""
        return card

    def check(self, card: ModelCard, data: Splits) -> None:
        """Refuse what `train` would refuse, before a run is made; `zoo compare` asks every model before the first.

        By default `class_weight=balanced`, another loss than cross-entropy and `sampling=balanced` are refused: a
        `train` of its own that heeds them overrides this.

        Args:
            card: resolved for this run; `card.train` is what the user asked for.
            data: labels and images; none is read here.

        Raises:
            ZooError: any kind, with what to do.
        """
        del data
        if card.train.class_weight != "none":
            raise UsageError(
                f"--set class_weight={card.train.class_weight}: {card.name} cannot weigh classes; leave the setting "
                "out, or choose a network, svm, logistic_regression, random_forest or gradient_boosting",
                code="class-weight-unsupported",
                model=card.name,
            )
        refuse_losses(card)

    def takes_teacher(self) -> bool:
        """Whether `train` learns from a teacher's answers, as `zoo.learn.fit` does; else `--teacher` is refused."""
        return False

    def keeps_head(self) -> bool:
        """Whether `train` begins with the rows of a head that `context.head_rows` names; else `--from` is refused."""
        return False

    @abstractmethod
    def train(
        self, card: ModelCard, data: Splits, config: TrainConfig, run: RunFolder, context: TrainContext
    ) -> Trained | Shippable:
        """Train on data.train, choose by data.val, leave the result in `run`; data.test is not to be touched.

        Args:
            card: resolved for this run: its preprocess has the final size and channels.
            data: labels and images; read raw images with data.train.read(i).
            config: budget and recipe.
            run: `run.update(best=..., images_per_second=..., seconds=..., epochs_done=...)` records what
                happened.
            context: where to start from, and what else this training was asked for.

        Returns:
            One network; or, for what is more than one network behind one preprocessing, a `zoo.artefact.Shippable`.
        """

    @abstractmethod
    def load(self, card: ModelCard, run: RunFolder) -> Trained | Shippable:
        """The model that `train` left in `run`."""

    def evaluate(
        self, predict: Predict, data: ImageSet, labels: tuple[str, ...], **details: Any
    ) -> tuple[EvalReport, NDArray[np.float32]]:
        """Judge `predict`, which takes raw (N, H, W, C) images, on `data`; by default `zoo.evaluate`.

        Args:
            predict: raw images to (N, K) logits; the exported file, as a rule.
            data: images of one split, targets in the order of `labels`.
            labels: class names.
            **details: passed on to `zoo.evaluation.report`: model, split, temperature, fingerprint, notes, groups.

        Returns:
            The report and the (n, K) logits behind it.
        """
        logits = predict_set(predict, data)
        return report(logits, data.targets, labels, **details), logits


def refuse_losses(card: ModelCard) -> None:
    """Refuse a loss or a sampling that only the training loop of networks has.

    Raises:
        UsageError: one is asked for.
    """
    asked = {"loss": card.train.loss, "sampling": card.train.sampling}
    for name, plain in (("loss", {"auto", "cross_entropy"}), ("sampling", {"natural"})):
        if asked[name] not in plain:
            raise UsageError(
                f"{name} {asked[name]}: {card.name} is not trained by the loop of networks, which alone knows it; "
                "leave it out, or choose a network such as simple_cnn",
                code="loss-unsupported",
                model=card.name,
                setting=name,
                value=asked[name],
            )
