"""The half of a plugin that every scikit-learn estimator shares."""

from __future__ import annotations

import time
import warnings
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from zoo._support.text import join_lines
from zoo.errors import DataError, PluginError, ProviderError, TrainingError, UsageError
from zoo.evaluation import judge_by
from zoo.plugin._contract import ModelPlugin, refuse_losses
from zoo.preprocess import channels_of, normalize_batch
from zoo.runs import Best, check_learnt, hash_learnt
from zoo.spec import GRADIENT_SETTINGS, IR_VERSION, OPSET

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from zoo.data import Splits
    from zoo.evaluation import Predict
    from zoo.plugin._contract import Trained
    from zoo.runs import RunFolder, TrainContext
    from zoo.spec import ModelCard, PreprocessSpec, TrainConfig

__all__ = ["Features", "SklearnPlugin"]

CORE_FILE = "core.onnx"
"""Where a scikit-learn run keeps its model: a graph of numbers, not a pickle that gets executed."""

_SMALLEST_PROBABILITY = 1e-6
"""Floor under probabilities before their logarithm is taken as logits."""

_AT_ONCE = 256
"""Pictures that are normalised at a time: all of a large set would not fit into memory twice."""

_ROWS = "features/rows"
"""The tensor of a core between features and estimator: what `zoo export --features` ships."""

_PROOF = 32
"""Validation images on which features are compared with their definition."""


class Features(Protocol):
    """What an estimator sees of a picture: the first half of the core."""

    def rows(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, C, h, w) float32, preprocessed, to (n, D) float32; batches of any n, in bounded memory."""

    def to_onnx(self) -> onnx.ModelProto:
        """The same as a graph, "input" to "rows", N dynamic, `zoo.spec.OPSET` and `zoo.spec.IR_VERSION`."""

    def prove(self, batch: NDArray[np.float32]) -> None:
        """Compare `rows` with a definition apart from it, where there is one; GateError where they differ."""


class SklearnPlugin(ModelPlugin):
    """A family of scikit-learn estimators: `build` is all there is to write.

    The estimator sees float32 rows of features, by default the C · h · w preprocessed pixels (channel by channel, row
    by row), and must offer predict_proba; scaling and PCA are steps of a Pipeline, so that skl2onnx exports them with
    it. Logits are log-probabilities. A family with its own features, or with logits and nodes of its own, says so in
    `features`, `logits` and `head`; one whose `build` reads a field of `card.train`, such as epochs, takes it out of
    `unused_settings`. Every parameter random_state of the estimator and its steps is set to the seed, and every
    class_weight to what the training asks for, so that all families weigh classes alike.
    """

    unused_settings: ClassVar[frozenset[str]] = GRADIENT_SETTINGS

    several_labels: ClassVar[bool] = False
    """Whether estimators learn (N, K) targets of zeros and ones (with `unknown_labels` also UNKNOWN), and `logits` are
    then those of sigmoids."""

    @abstractmethod
    def build(self, card: ModelCard, *, classes: int, channels: int) -> Any:
        """An unfitted estimator with fit, predict_proba and classes_, convertible by skl2onnx.

        Args:
            card: its arch says which estimator, its preprocess.size the (height, width) of the pictures.
            classes: K.
            channels: C of the pictures, 1, 3, or 2 to 16 of a stack.
        """

    def features(self, card: ModelCard, run: RunFolder, context: TrainContext) -> Features:
        """What the estimator sees; by default every preprocessed pixel."""
        del run, context
        return _Pixels(card.preprocess)

    def logits(self, estimator: Any, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, D) features to (n, K) logits by the fitted estimator; by default the logarithm of predict_proba."""
        return _log(estimator.predict_proba(rows))

    def head(self, estimator: Any, length: int) -> onnx.ModelProto:
        """`logits` as a graph, "rows" (N, length) to "logits" (N, K) float32; by default skl2onnx writes it."""
        return _convert(estimator, length)

    def check(self, card: ModelCard, data: Splits) -> None:
        """Refuse several labels, a device, features and class weights that this family cannot take."""
        if data.task == "multilabel" and not self.several_labels:
            raise DataError(
                f"{data.fingerprint.name} gives several labels an image, {card.name} learns exactly one; "
                "train a torch model on it, such as simple_cnn or resnet18",
                code="task-unsupported",
                model=card.name,
            )
        if card.train.device not in {"auto", "cpu"}:
            raise ProviderError(
                f"{card.name} trains on the cpu only, --device {card.train.device} was asked for",
                code="device-unsupported",
                model=card.name,
                device=card.train.device,
            )
        if card.train.features is not None and type(self).features is SklearnPlugin.features:
            raise UsageError(
                f"--set features: {card.name} sees the pixels only; leave the setting out",
                code="features-unwanted",
                model=card.name,
            )
        refuse_losses(card)
        estimator = self.build(card, classes=len(data.labels), channels=channels_of(card.preprocess))
        if type(self).train is not SklearnPlugin.train or not _named(estimator, "class_weight"):
            super().check(card, data)

    def train(
        self, card: ModelCard, data: Splits, config: TrainConfig, run: RunFolder, context: TrainContext
    ) -> Trained:
        """Fit the estimator once on all training images; of `config` seed, features and class weights matter.

        A run that was stopped after that is not fitted again.
        """
        from zoo.data import TRAINED_ON, add_pixels, decode_all

        if context.resuming and run.record.best is not None and run.record.learnt:
            check_learnt(run)
            return self.load(card, run)
        several = data.task == "multilabel"
        estimator = self.build(card, classes=len(data.labels), channels=channels_of(card.preprocess))
        features = self.features(card, run, context)
        decoded = decode_all(data.train, card.preprocess, skip_bad=context.skip_bad)
        held_out = decode_all(data.val, card.preprocess, skip_bad=context.skip_bad)
        if run.file(TRAINED_ON).is_file():
            add_pixels(run.file(TRAINED_ON), decoded.contents, held_out.contents)
        bad = (name for name, _ in (*decoded.bad, *held_out.bad))
        run.update(skipped=tuple(dict.fromkeys((*run.record.skipped, *bad))))
        if several:
            _refuse_constant(decoded.targets, data.labels)
        weight = None if config.class_weight == "none" else config.class_weight
        estimator.set_params(**dict.fromkeys(_named(estimator, "random_state"), config.seed))
        estimator.set_params(**dict.fromkeys(_named(estimator, "class_weight"), weight))
        features.prove(normalize_batch(held_out.pixels[:_PROOF], card.preprocess))
        start = time.perf_counter()
        rows = _rows(features, decoded.pixels, card.preprocess)
        try:
            estimator.fit(rows, decoded.targets)
        except ValueError as problem:
            reason = join_lines(problem)
            raise TrainingError(
                f"{card.name} cannot be fitted to {len(decoded.targets)} images: {reason}",
                code="training-fit",
                model=card.name,
                images=len(decoded.targets),
            ) from None
        seconds = time.perf_counter() - start
        if not several and list(estimator.classes_) != list(range(len(data.labels))):
            raise DataError(
                "a class has no readable training image; expected images of every class", code="split-missing-class"
            )
        trained = _SklearnTrained(self, estimator, features)
        logits = self.logits(estimator, _rows(features, held_out.pixels, card.preprocess))
        if context.first:  # before run.json names a best epoch, whose model must be there
            trained.save(run)
        run.update(
            best=Best(
                epoch=1,
                metric=f"val_{config.metric}",
                value=judge_by(config.metric, logits, held_out.targets, data.labels, ordered=data.task == "ordinal"),
            ),
            epochs_done=1,
            seconds=seconds,
            images_per_second=len(decoded.targets) / seconds,
            precision="cpu, scikit-learn",
            learnt=hash_learnt(run) if context.first else {},
        )
        return trained

    def load(self, card: ModelCard, run: RunFolder) -> Trained:
        """The exported core; the estimator is not kept, because a pickle would be executed when opened."""
        del card
        return _SklearnLoaded(run)


class _Pixels:
    def __init__(self, spec: PreprocessSpec) -> None:
        self.sides = (channels_of(spec), *spec.size)

    def rows(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.ascontiguousarray(batch.reshape(len(batch), -1), np.float32)

    def prove(self, batch: NDArray[np.float32]) -> None:
        del batch  # a reshape is its own definition

    def to_onnx(self) -> onnx.ModelProto:
        from onnx import TensorProto, helper

        graph = helper.make_graph(
            [helper.make_node("Flatten", ["input"], ["rows"], axis=1)],
            "flatten",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", *self.sides])],
            [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", int(np.prod(self.sides))])],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


class _SklearnTrained:
    def __init__(self, plugin: SklearnPlugin, estimator: Any, features: Features) -> None:
        self.plugin, self.estimator, self.described = plugin, estimator, features

    @property
    def predict(self) -> Predict:
        return lambda batch: self.plugin.logits(self.estimator, self.described.rows(batch))

    @property
    def features(self) -> Predict:
        return self.described.rows

    def to_onnx(self) -> onnx.ModelProto:
        from zoo.artefact import name_features

        return name_features(self._core(), _ROWS)

    def save(self, run: RunFolder) -> None:
        run.write(CORE_FILE, self._core().SerializeToString())

    def _core(self) -> onnx.ModelProto:
        front = self.described.to_onnx()
        length = front.graph.output[0].type.tensor_type.shape.dim[1].dim_value
        return _join(front, self.plugin.head(self.estimator, length))


class _SklearnLoaded:
    def __init__(self, run: RunFolder) -> None:
        from zoo.artefact import parse_core

        path = run.file(CORE_FILE)
        if not path.is_file():
            raise PluginError(f"{path} is missing; train this model again", code="run-incomplete", path=str(path))
        self.content = path.read_bytes()
        self.core = parse_core(self.content, str(path))

    @property
    def predict(self) -> Predict:
        from zoo.artefact import core_predict

        return core_predict(self.content, CORE_FILE)

    @property
    def features(self) -> Predict | None:
        from zoo.artefact import core_predict
        from zoo.spec import FEATURES

        core = self.to_onnx()
        if all(one.name != FEATURES for one in core.graph.output):  # an older release wrote it
            return None
        return core_predict(core.SerializeToString(), CORE_FILE, output=FEATURES)

    def to_onnx(self) -> onnx.ModelProto:
        from zoo.artefact import name_features

        return name_features(self.core, _ROWS)

    def save(self, run: RunFolder) -> None:
        run.write(CORE_FILE, self.content)


def _named(estimator: Any, parameter: str) -> list[str]:
    """The parameter of the estimator and of its steps, by their full names."""
    return [name for name in estimator.get_params() if name.split("__")[-1] == parameter]


def _rows(features: Features, pixels: NDArray[Any], spec: PreprocessSpec) -> NDArray[np.float32]:
    """Features of resized pictures, (n, h, w, c) raw values that may lie on disk, some at a time."""
    parts = [
        features.rows(normalize_batch(pixels[start : start + _AT_ONCE], spec))
        for start in range(0, len(pixels), _AT_ONCE)
    ]
    return np.concatenate(parts)


def _refuse_constant(targets: NDArray[Any], labels: tuple[str, ...]) -> None:
    """Refuse a label that all training images have, or none: an estimator of two classes cannot learn it."""
    there, absent = (targets == 1).any(axis=0), (targets == 0).any(axis=0)
    constant = [label for label, both in zip(labels, there & absent, strict=True) if not both]
    if constant:
        raise DataError(
            f"{len(constant)} label{'s are' if len(constant) > 1 else ' is'} at all training images or at none "
            f"({constant[0]}); expected images with and without it, add some or take the label out",
            code="split-one-class",
            labels=list(constant),
        )


def _log(probabilities: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(np.log(np.clip(probabilities, _SMALLEST_PROBABILITY, 1)), np.float32)


def _join(front: onnx.ModelProto, head: onnx.ModelProto) -> onnx.ModelProto:
    """Features and estimator as one core."""
    import onnx
    from onnx import compose, helper

    front = compose.add_prefix(front, "features/", rename_inputs=False)
    head = compose.add_prefix(head, "estimator/", rename_outputs=False)
    front.ir_version = head.ir_version = max(front.ir_version, head.ir_version)
    core = compose.merge_models(front, head, io_map=[(front.graph.output[0].name, head.graph.input[0].name)])
    versions = {entry.domain: entry.version for entry in (*front.opset_import, *head.opset_import)}
    del core.opset_import[:]
    core.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in versions.items())
    onnx.checker.check_model(core)
    return core


def _convert(estimator: Any, length: int) -> onnx.ModelProto:
    """The estimator as skl2onnx writes it, and the logarithm of its probabilities."""
    from onnx import TensorProto, helper, numpy_helper
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # skl2onnx asks an SVC for attributes it no longer needs
        model: onnx.ModelProto = to_onnx(
            estimator,
            initial_types=[("rows", FloatTensorType([None, length]))],
            options={id(estimator): {"zipmap": False, "output_class_labels": False}},
            target_opset={"": OPSET, "ai.onnx.ml": 3},
        )
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(np.asarray(_SMALLEST_PROBABILITY, np.float32), "floor"))
    graph.node.append(helper.make_node("Max", [graph.output[1].name, "floor"], ["floored"]))
    graph.node.append(helper.make_node("Log", ["floored"], ["logits"]))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(estimator.classes_)]))
    return model
