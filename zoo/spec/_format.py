"""What lies beside a model file of another runtime's format: the facts of its ONNX file, and its proof."""

from __future__ import annotations

from typing import Literal

import msgspec

from zoo.spec._columns import TableSpec
from zoo.spec._decisions import Abstention, OperatingPoint
from zoo.spec._display import Display, Table
from zoo.spec._origin import Provenance
from zoo.spec._preprocessing import PreprocessSpec
from zoo.spec._results import InputSpec, Parity
from zoo.spec._value import GoldenKind, Licence, Task, Value

__all__ = ["MODEL_JSON", "FormatManifest", "FormatName", "GoldenProof"]

MODEL_JSON = "model.json"
"""Name of the document beside such a file."""

FormatName = Literal["openvino", "litert", "executorch", "coreml", "tensorrt"]
"""Formats that `zoo export --format` knows by name."""


class GoldenProof(Value, frozen=True):
    """How far a file is from the golden answers of the ONNX file, by its own runtime."""

    images: int
    """Golden images that were answered."""
    max_abs_logit: float
    """Largest |difference| / max(1, |expected logit|)."""
    max_abs_probability: float
    """Largest difference of a probability from what the expected logits and the temperature give."""
    flips: int
    """Images whose label differs by more than the tolerance; multilabel: labels that one side alone gives."""
    tolerance: float
    """What `max_abs_logit` may be; it is that of the golden set."""
    runtime: str
    """Distribution and version of the runtime that answered, such as "openvino 2026.4.1"."""
    open_labels: int = 0
    """Labels of golden images that may come or go within the tolerance: not compared, their logits are."""
    max_abs_novelty: float | None = None
    """Largest |difference| / max(1, |expected score|); null: the file gives no score of how unlike training an image
    is."""


class FormatManifest(Display, Value, frozen=True):
    """All that a client must know of a model file in another format; `model.json` beside it."""

    schema: int
    format: FormatName
    file: str
    """The file, or the folder that is the file, to give to the runtime."""
    name: str
    labels: tuple[str, ...]
    task: Task
    preprocess: PreprocessSpec
    input: InputSpec
    """Its stage says what a client does before: nothing (raw), the geometric half (resized), or all (tensor)."""
    shape: tuple[int | None, ...]
    """Of the input; null: any length."""
    client: str
    """In words, what a client does to an image before it is given to the file."""
    outputs: tuple[str, ...]
    temperature: float
    """Divides the logits before the last step, which the file does itself."""
    converter: str
    """Distribution and version that wrote the file."""
    proof: GoldenProof | None
    """By the format's own runtime; null: it does not run where the file was written, see `statement`."""
    statement: str
    """What was proven, and how to prove it elsewhere."""
    onnx: str
    """sha256 of the ONNX file whose answers are the golden ones."""
    parity: Parity | None
    """How far that ONNX file is from the trained model."""
    golden: GoldenKind | None
    """Whose the golden images are."""
    provenance: Provenance
    licence: Licence
    intended_use: str
    table: TableSpec | None = None
    """Columns that must be given beside each image; null: the image alone."""
    operating: tuple[OperatingPoint, ...] = ()
    """Labels that are called from a probability of their own on; empty: the most probable label is the answer."""
    abstention: Abstention | None = None
    """When the answer is that it is not known; null: never."""
    notes: tuple[str, ...] = ()
    """What the file lacks of the ONNX file."""
    files: dict[str, str] = msgspec.field(default_factory=dict)
    """Name to sha256 of every other file of the folder."""
    sizes: dict[str, int] = msgspec.field(default_factory=dict)
    """Name to size in bytes, for the same files."""

    def headline(self) -> str:
        """The format, and how far the file is from the ONNX file."""
        return f"{self.name} for {self.format}: {self.statement}"

    def tables(self) -> dict[str, Table]:
        """The proof: one row, or none."""
        return {} if self.proof is None else {"proof": Table([msgspec.structs.asdict(self.proof)])}
