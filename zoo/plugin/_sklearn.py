"""The half of a plugin that every scikit-learn estimator shares."""

from __future__ import annotations

import time
import warnings
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.errors import DataError, PluginError, ProviderError, TrainingError
from zoo.evaluate import macro_auroc
from zoo.files import atomic_path, atomic_write
from zoo.plugin._contract import ModelPlugin
from zoo.preprocess import channels_of, normalized
from zoo.runs import Best
from zoo.spec import OPSET

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from zoo.data import Splits
    from zoo.evaluate import Predict
    from zoo.plugin._contract import Trained
    from zoo.runs import Run
    from zoo.spec import ModelCard, PreprocessSpec, TrainConfig

__all__ = ["SklearnPlugin"]

CORE_FILE = "core.onnx"
"""Where a scikit-learn run keeps its model: a graph of numbers, not a pickle that gets executed."""

_SMALLEST_PROBABILITY = 1e-6
"""Floor under probabilities before their logarithm is taken as logits."""


class SklearnPlugin(ModelPlugin):
    """A family of scikit-learn estimators on the preprocessed pixels: `build` is all there is to write.

    The estimator sees float32 rows of C · h · w preprocessed pixels (channel by channel, row by row) and must
    offer predict_proba; scaling, PCA and other features are steps of a Pipeline, so that skl2onnx exports
    them with it. Logits are log-probabilities.
    """

    @abstractmethod
    def build(self, card: ModelCard, *, classes: int, channels: int) -> Any:
        """An unfitted estimator with fit, predict_proba and classes_, convertible by skl2onnx.

        Args:
            card: its arch says which estimator, its preprocess.size the (height, width) of the pictures.
            classes: K.
            channels: C of the pictures, 1 or 3.
        """

    def train(self, card: ModelCard, data: Splits, config: TrainConfig, run: Run) -> Trained:
        """Fit the estimator once on all training images; of `config` only the seed matters."""
        from zoo.data import decode_all

        if data.task == "multilabel":
            raise DataError(
                f"{data.fingerprint.name} gives several labels an image, {card.name} learns exactly one; "
                "train a torch model on it, such as simple_cnn or resnet18"
            )
        if config.device not in {"auto", "cpu"}:
            raise ProviderError(f"{card.name} trains on the cpu only, --device {config.device} was asked for")
        decoded = decode_all(data.train, card.preprocess, skip_bad=run.skip_bad)
        held_out = decode_all(data.val, card.preprocess, skip_bad=run.skip_bad)
        run.update(skipped=(*run.record.skipped, *(name for name, _ in (*decoded.bad, *held_out.bad))))
        estimator = self.build(card, classes=len(data.labels), channels=channels_of(card.preprocess))
        seeded = [name for name in estimator.get_params() if name.split("__")[-1] == "random_state"]
        estimator.set_params(**dict.fromkeys(seeded, config.seed))
        start = time.perf_counter()
        try:
            estimator.fit(_rows(normalized(decoded.pixels, card.preprocess)), decoded.targets)
        except ValueError as problem:
            reason = " ".join(str(problem).split())
            raise TrainingError(f"{card.name} can not be fitted to {len(decoded.targets)} images: {reason}") from None
        seconds = time.perf_counter() - start
        if list(estimator.classes_) != list(range(len(data.labels))):
            raise DataError("a class has no readable training image; expected images of every class")
        trained = _SklearnTrained(estimator, card)
        value = macro_auroc(trained.predict(normalized(held_out.pixels, card.preprocess)), held_out.targets)
        run.update(
            best=Best(epoch=1, metric="val_macro_auroc", value=value),
            epochs_done=1,
            seconds=seconds,
            images_per_second=len(decoded.targets) / seconds,
            precision="cpu, scikit-learn",
        )
        if run.first:
            trained.save(run)
        return trained

    def load(self, card: ModelCard, run: Run) -> Trained:
        """The exported core; the estimator is not kept, because a pickle would be executed when opened."""
        del card
        return _SklearnLoaded(run)


class _SklearnTrained:
    def __init__(self, estimator: Any, card: ModelCard) -> None:
        self.estimator = estimator
        self.spec = card.preprocess

    @property
    def predict(self) -> Predict:
        return lambda batch: _log(self.estimator.predict_proba(_rows(batch)))

    def to_onnx(self) -> onnx.ModelProto:
        return _pipeline_to_onnx(self.estimator, self.spec)

    def save(self, run: Run) -> None:
        atomic_write(run.file(CORE_FILE), self.to_onnx().SerializeToString())


class _SklearnLoaded:
    def __init__(self, run: Run) -> None:
        import onnx

        from zoo.edge.vet import check

        path = run.file(CORE_FILE)
        if not path.is_file():
            raise PluginError(f"{path} is missing; train this model again")
        content = path.read_bytes()
        check(content, str(path))
        self.core = onnx.load_from_string(content)  # from bytes: no path can lead to another file

    @property
    def predict(self) -> Predict:
        from zoo.edge.session import open_session

        session = open_session(self.core.SerializeToString(), CORE_FILE, provider="cpu", threads=None)

        def predict(batch: NDArray[Any]) -> NDArray[np.float32]:
            return np.asarray(session.run(["logits"], {"input": np.asarray(batch, np.float32)})[0], np.float32)

        return predict

    def to_onnx(self) -> onnx.ModelProto:
        return self.core

    def save(self, run: Run) -> None:
        with atomic_path(run.file(CORE_FILE)) as path:
            path.write_bytes(self.core.SerializeToString())


def _rows(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(batch.reshape(len(batch), -1), np.float32)


def _log(probabilities: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(np.log(np.clip(probabilities, _SMALLEST_PROBABILITY, 1)), np.float32)


def _pipeline_to_onnx(estimator: Any, spec: PreprocessSpec) -> onnx.ModelProto:
    """Flatten, the converted estimator, and the logarithm of its probabilities, as one core."""
    import onnx
    from onnx import TensorProto, compose, helper, numpy_helper
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    channels, (height, width) = channels_of(spec), spec.size
    length = channels * height * width
    classes = len(estimator.classes_)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # skl2onnx asks an SVC for attributes it no longer needs
        body = to_onnx(
            estimator,
            initial_types=[("rows", FloatTensorType([None, length]))],
            options={id(estimator): {"zipmap": False, "output_class_labels": False}},
            target_opset={"": OPSET, "ai.onnx.ml": 3},
        )
    body = compose.add_prefix(body, "estimator/")
    probabilities = body.graph.output[1].name
    flatten = helper.make_graph(
        [helper.make_node("Flatten", ["input"], ["rows"], axis=1)],
        "flatten",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", channels, height, width])],
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", length])],
    )
    front = helper.make_model(flatten, opset_imports=body.opset_import, ir_version=body.ir_version)
    core = compose.merge_models(front, body, io_map=[("rows", body.graph.input[0].name)])
    floor = numpy_helper.from_array(np.asarray(_SMALLEST_PROBABILITY, np.float32), "floor")
    core.graph.initializer.append(floor)
    core.graph.node.append(helper.make_node("Max", [probabilities, "floor"], ["floored"]))
    core.graph.node.append(helper.make_node("Log", ["floored"], ["logits"]))
    del core.graph.output[:]
    core.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", classes]))
    onnx.checker.check_model(core)
    return core
