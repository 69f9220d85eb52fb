"""What the gate is given, by hand, so that a test can spoil one thing of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

import zoo
from zoo import registry
from zoo.artefact import assemble, parity_images, prove
from zoo.data import open_data
from zoo.runs import RunFolder, open_run
from zoo.spec import InputSpec, Manifest, Parity
from zoo.workflow._images import read_some

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.plugin import Trained


@dataclass(frozen=True)
class Case:
    run: RunFolder
    trained: Trained
    core: onnx.ModelProto
    manifest: Manifest
    images: list[NDArray[Any]]

    @property
    def given(self) -> InputSpec:
        return self.manifest.input

    def fresh_core(self) -> onnx.ModelProto:
        copy = onnx.ModelProto()
        copy.CopyFrom(self.core)
        return copy

    def assembled(self, core: onnx.ModelProto | None = None, **changes: Any) -> onnx.ModelProto:
        """The file; `changes` are made to the specification it is assembled by, not to the one it states."""
        import msgspec

        temperature = changes.pop("temperature", self.manifest.temperature)
        spec = msgspec.structs.replace(self.manifest.preprocess, **changes)
        return assemble(core or self.fresh_core(), spec, self.given, temperature=temperature)

    def prove(self, model: onnx.ModelProto, manifest: Manifest | None = None, reference: Any = None) -> Parity:
        return prove(
            model,
            manifest or self.manifest,
            spec=self.manifest.preprocess,
            labels=self.manifest.labels,
            reference=reference or self.trained.predict,
            images=self.images,
        )


def trained_case(data: Path, out: Path, *, size: int, epochs: int) -> Case:
    """Train simple_cnn, and take apart what its export consists of."""
    settings = {"ema": 0.9, "novelty": False}  # what has a score is in test_novelty_output.py
    result = zoo.train("simple_cnn", data, size=size, epochs=epochs, out=out, settings=settings)
    run = open_run(Path(result.run))
    record = run.record
    splits = open_data(data, split_seed=record.card.train.split_seed)
    trained = registry.load(record.plugin.name).plugin.load(record.card, run)
    images = parity_images([image.pixels for image in read_some((splits.val, splits.train), 64)])
    return Case(run, trained, trained.to_onnx(), zoo.open(out).manifest, images)
