"""What was trained, as its file is made of it: one protocol for one network and for an ensemble of several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from zoo.artefact._graph import assemble
from zoo.artefact._parity import prove
from zoo.errors import UsageError
from zoo.preprocess import normalize_batch, resize_image
from zoo.spec import EVIDENCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx
    from numpy.typing import NDArray

    from zoo.evaluation import Predict
    from zoo.spec import InputSpec, Manifest, Member, ModelCard, Parity, PreprocessSpec, Task

__all__ = ["Assembled", "Network", "Shippable", "TrainedNetwork"]


class Network(Protocol):
    """What a network of any framework answers; see `zoo.plugin.Trained`."""

    @property
    def predict(self) -> Predict:
        """(N, C, h, w) float32, preprocessed, to (N, K) float32 logits."""

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

    def raw_logits(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Raw images (N, H, W, C) to logits (N, K), by the training side."""

    def assemble(
        self, given: InputSpec, *, temperature: float, portable: bool = False, evidence: bool = False
    ) -> Assembled:
        """The file, not yet proven.

        Args:
            given: the input: how much preprocessing the file does.
            temperature: divides the logits before the last step.
            portable: resize by matrix products; see `zoo.artefact.assemble`.
            evidence: add the output "evidence".

        Raises:
            UsageError: this model has no evidence map, or cannot leave preprocessing to its callers.
            ModelError: the core is not valid ONNX, or the file would be too large.
        """

    def prove(
        self, made: Assembled, manifest: Manifest, *, labels: tuple[str, ...], images: Sequence[NDArray[Any]]
    ) -> Parity:
        """Compare the file with the training side, stage by stage.

        Args:
            made: from `assemble`.
            manifest: what the file will say of itself.
            labels: class names in the order that training used.
            images: raw images, (H, W, C) each; see `parity_images`.

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
        self._network, self._name, self._task = network, card.name, task
        self._spec: PreprocessSpec = card.preprocess

    @property
    def members(self) -> tuple[Member, ...]:
        """None."""
        return ()

    def raw_logits(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Raw images (N, H, W, C) to logits (N, K), by the framework."""
        prepared = normalize_batch(np.stack([resize_image(image, self._spec) for image in batch]), self._spec)
        return np.asarray(self._network.predict(prepared), np.float32)

    def assemble(
        self, given: InputSpec, *, temperature: float, portable: bool = False, evidence: bool = False
    ) -> Assembled:
        """Preprocessing, the network's core and the calibrated last step as one graph."""
        if evidence:
            self._evidence_map()
        core = self._network.to_onnx()
        model = assemble(
            core, self._spec, given, temperature=temperature, task=self._task, portable=portable, evidence=evidence
        )
        return Assembled(model)

    def prove(
        self, made: Assembled, manifest: Manifest, *, labels: tuple[str, ...], images: Sequence[NDArray[Any]]
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
        )

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
