"""What was trained, as its file is made of it: one protocol for one network and for an ensemble of several."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from zoo._support.text import join_lines
from zoo.artefact._core import core_answers
from zoo.artefact._features import with_features
from zoo.artefact._graph import assemble
from zoo.artefact._novelty import has_features, with_novelty
from zoo.artefact._parity import prove
from zoo.artefact._shift import ShiftedNetwork
from zoo.errors import UsageError
from zoo.evaluation import score_novelty
from zoo.preprocess import normalize_batch, resize_image
from zoo.spec import EVIDENCE, FEATURES, NOVELTY
from zoo.tabular import encode_columns, parse_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

    from zoo.evaluation import FeatureSpace, Predict
    from zoo.spec import InputSpec, Manifest, Member, ModelCard, Parity, PreprocessSpec, Task

__all__ = ["Assembled", "Network", "Shippable", "TrainedNetwork"]

log = logging.getLogger("zoo")


class Network(Protocol):
    """What a network of any framework answers; see `zoo.plugin.Trained`."""

    @property
    def predict(self) -> Predict:
        """(N, C, h, w) float32, preprocessed (and (N, D) columns, encoded), to (N, K) float32 logits."""

    def to_onnx(self) -> onnx.ModelProto:
        """The core: "input" (N, C, h, w) to "logits" (N, K)."""


@dataclass(frozen=True, slots=True, eq=False)
class Assembled:
    """A file before its proof.

    Attributes:
        model: from raw pixels (or what `InputSpec` says) to probabilities and logits.
        parts: file of each member of an ensemble; empty for one network.
    """

    model: onnx.ModelProto
    parts: tuple[onnx.ModelProto, ...] = ()


@runtime_checkable
class Shippable(Protocol):
    """A trained model that can answer raw images, write its file and prove it."""

    @property
    def members(self) -> tuple[Member, ...]:
        """Of an ensemble, its networks with their weights; empty for one network."""

    @property
    def space(self) -> FeatureSpace | None:
        """Where features of its training images lie: the file then has the output "novelty". None: it has not."""

    def raw_answers(
        self, batch: NDArray[Any], columns: Mapping[str, Sequence[Any]] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Logits (N, K) of raw images (N, H, W, C) by the training side, and with a space novelty scores (N,).

        Args:
            batch: the images.
            columns: the cells beside each image.
        """

    def assemble(
        self,
        given: InputSpec,
        *,
        temperature: float,
        portable: bool = False,
        evidence: bool = False,
        features: bool = False,
    ) -> Assembled:
        """The file, not yet proven.

        Args:
            given: the input: how much preprocessing the file does.
            temperature: divides the logits before the last step.
            portable: resize by matrix products; see `zoo.artefact.assemble`.
            evidence: add the output "evidence".
            features: add the output "features".

        Raises:
            UsageError: this model has no evidence map or no features, or cannot leave preprocessing to its callers.
            ModelError: the core is not valid ONNX, or the file would be too large.
        """

    def prove(
        self,
        made: Assembled,
        manifest: Manifest,
        *,
        labels: tuple[str, ...],
        images: Sequence[NDArray[Any]],
        columns: NDArray[np.float32] | None = None,
    ) -> Parity:
        """Compare the file with the training side, stage by stage.

        Args:
            made: from `assemble`.
            manifest: what the file will say of itself.
            labels: class names in the order that training used.
            images: raw images, (H, W, C) each; see `parity_images`.
            columns: (images, C) what the file takes beside them, as `zoo.tabular.parse_cells` gives it; None: nothing.

        Raises:
            GateError: they differ by more than allowed.
        """


class TrainedNetwork:
    """One network with its preprocessing.

    Args:
        network: what the plugin trained or loaded.
        card: resolved for the run: its name and preprocessing.
        task: one class an image, or several labels.
    """

    def __init__(self, network: Network, card: ModelCard, task: Task) -> None:
        self._network: Network = network
        self._card, self._name, self._task = card, card.name, task
        self._spec: PreprocessSpec = card.preprocess
        self._table = card.table
        self._core: onnx.ModelProto | None = None  # made once, for the answers before the file and for the file
        self._answers: Callable[[NDArray[Any]], list[NDArray[np.float32]]] | None = None
        self._space: FeatureSpace | None = None

    @property
    def members(self) -> tuple[Member, ...]:
        """None."""
        return ()

    def shifted(self, shift: Sequence[float]) -> TrainedNetwork:
        """The same with (K,) numbers added to its logits."""
        network = ShiftedNetwork(self._network, shift)
        result = TrainedNetwork(network, self._card, self._task)
        result._core = None if self._core is None else network.shift_core(self._core)
        result._space = self._space
        return result

    @property
    def space(self) -> FeatureSpace | None:
        """Where features of its training images lie; None: nobody has said."""
        return self._space

    def remember(self, space: FeatureSpace) -> None:
        """From now on say how unlike these training images an image is; `space` is of `raw_features`."""
        self._space = space

    def for_integers(self, images: Any, *, signed: bool, seed: int) -> TrainedNetwork:
        """A copy whose weights were trained to answer in int8 as these do in float32; see `zoo.learn.fit_integers`.

        Raises:
            UsageError: its plugin cannot train it further.
        """
        make = getattr(self._network, "for_integers", None)
        if make is None:
            raise UsageError(
                f"--finetune: {self._name} is not a network of torch that could be trained further; leave it out",
                code="finetune-unsupported",
                model=self._name,
            )
        result = TrainedNetwork(make(images, signed=signed, seed=seed), self._card, self._task)
        result._space = self._space
        return result

    def raw_features(self, batch: NDArray[Any]) -> NDArray[np.float32] | None:
        """Raw images (N, H, W, C) to features (N, D), by the exported network.

        None: its logits are made of no one row of features, or ONNX Runtime does not run it.
        """
        if self._table is not None or getattr(self._network, FEATURES, None) is None:
            return None
        found = self._answer(batch)
        return found[1] if len(found) > 1 else None

    def raw_answers(
        self, batch: NDArray[Any], columns: Mapping[str, Sequence[Any]] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """As `Shippable.raw_answers`, in one pass.

        By the exported network in ONNX Runtime, which is faster than the framework and proven equal by the gate. What
        ONNX Runtime cannot run, the framework answers: the gate says what is wrong with it. So it does where columns
        are given.
        """
        if self._table is None:
            found = self._answer(batch)
            return found[0], None if self._space is None or len(found) < 2 else score_novelty(found[1], self._space)
        encoded = encode_columns(parse_cells(self._table, columns or {}, len(batch)), self._table)
        return np.asarray(self._network.predict(self._prepare(batch), encoded), np.float32), None

    def _prepare(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        return normalize_batch(np.stack([resize_image(image, self._spec) for image in batch]), self._spec)

    def _answer(self, batch: NDArray[Any]) -> list[NDArray[np.float32]]:
        """Of raw images the logits, and the features where the exported network has them."""
        prepared = self._prepare(batch)
        try:
            if self._answers is None:
                self._core = self._network.to_onnx() if self._core is None else self._core
                outputs = ["logits", FEATURES] if has_features(self._core) else ["logits"]
                self._answers = core_answers(self._core.SerializeToString(), self._name, outputs)
            return self._answers(prepared)
        except MemoryError:
            raise
        except Exception as problem:  # onnxruntime's errors have no common base below Exception
            why = join_lines(problem)
            log.warning("%s: ONNX Runtime does not run it, so the framework answers: %s", self._name, why)
            self._answers = lambda batch: [np.asarray(self._network.predict(batch), np.float32)]
            return self._answers(prepared)

    def assemble(
        self,
        given: InputSpec,
        *,
        temperature: float,
        portable: bool = False,
        evidence: bool = False,
        features: bool = False,
    ) -> Assembled:
        """Preprocessing, the network's core and the calibrated last step as one graph."""
        if evidence:
            self._evidence_map()
        if features:
            self._features()
        core = self._network.to_onnx() if self._core is None else self._core
        self._core = self._answers = None  # they may be large
        core = with_features(core) if features or self._space is not None else core
        model = assemble(
            core if self._space is None else with_novelty(core, self._space),
            self._spec,
            given,
            temperature=temperature,
            task=self._task,
            portable=portable,
            evidence=evidence,
            features=features,
            novelty=self._space is not None,
            table=self._table,
        )
        return Assembled(model)

    def prove(
        self,
        made: Assembled,
        manifest: Manifest,
        *,
        labels: tuple[str, ...],
        images: Sequence[NDArray[Any]],
        columns: NDArray[np.float32] | None = None,
    ) -> Parity:
        """Compare the file with the framework; see `zoo.artefact.prove`."""
        return prove(
            made.model,
            manifest,
            spec=self._spec,
            labels=labels,
            reference=self._network.predict,
            images=images,
            task=self._task,
            evidence=self._evidence_map() if EVIDENCE in manifest.outputs else None,
            features=self._features() if FEATURES in manifest.outputs else None,
            novelty=self._novelty() if NOVELTY in manifest.outputs else None,
            table=self._table,
            columns=columns,
        )

    def _novelty(self) -> Predict | None:
        """The score of the framework's own features, by numpy; None: no space is known."""
        space = self._space
        if space is None:
            return None
        features = self._features()
        return lambda batch: score_novelty(features(batch), space)

    def _evidence_map(self) -> Predict:
        """How the framework makes the map.

        Raises:
            UsageError: it makes none.
        """
        found: Predict | None = getattr(self._network, EVIDENCE, None)
        if found is None:
            raise UsageError(
                f"{self._name} makes no evidence map; train a model that does ('zoo list --family unet'), or leave out "
                "--evidence: 'zoo explain' then hides parts of the image instead",
                code="evidence-missing",
                model=self._name,
            )
        return found

    def _features(self) -> Predict:
        """How the framework makes the features.

        Raises:
            UsageError: it has no one row of them that the logits are made of, as where columns join late.
        """
        if self._table is not None:
            raise UsageError(
                f"{self._name} makes its logits of the image and of {', '.join(self._table.names)}, so no one row of "
                "features says all of them; leave out --features, or train without --inputs",
                code="inputs-unsupported",
                model=self._name,
                columns=list(self._table.names),
            )
        found: Predict | None = getattr(self._network, FEATURES, None)
        if found is None:
            raise UsageError(
                f"{self._name} makes its logits of no one row of features, but of several or of a map; leave out "
                "--features, or train another model",
                code="features-missing",
                model=self._name,
            )
        return found
