"""A finished run's own file, model.onnx: it passed the gate at training and needs no image to be passed on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo._support.files import sha256_bytes
from zoo.errors import ModelError
from zoo.runs import hash_learnt
from zoo.workflow._find import MODEL_FILE

if TYPE_CHECKING:
    from zoo.runs import RunFolder
    from zoo.spec import Manifest, Reference

__all__ = ["has_proven_file", "known_reference", "read_proven"]


def has_proven_file(run: RunFolder) -> bool:
    """Whether the run is finished and its file is still there."""
    return run.record.status == "done" and run.file(MODEL_FILE).is_file()


def known_reference(run: RunFolder) -> Reference | None:
    """What the run's own file remembers of the validation images, which it decides on as any float32 file of the run.

    None: such a file is missing, or remembers nothing.
    """
    if not has_proven_file(run):
        return None
    try:
        return read_proven(run)[1].reference
    except ModelError:
        return None


def read_proven(run: RunFolder) -> tuple[bytes, Manifest]:
    """The bytes of the run's file, and what it says of itself.

    Raises:
        ModelError: it is not the file that this run wrote, or cannot be opened.
    """
    from zoo.edge.bundle import open_model

    path, record = run.file(MODEL_FILE), run.record
    contents = open_model(path)
    found = contents.manifest
    said = {
        "labels": (found.labels, record.labels),
        "task": (found.task, record.task),
        "preprocess": (found.preprocess, record.card.preprocess),
        "temperature": (found.temperature, record.temperature),
        "data": (found.provenance.data.sha256, record.data.sha256),
        "trained": (found.provenance.trained, hash_learnt(run)),
        "operating": (found.operating, record.operating),
        "abstention": (found.abstention, record.abstention),
        "quantization": (found.quantization, None),
    }
    differs = [name for name, (inside, outside) in said.items() if inside != outside]
    if record.proven is not None and sha256_bytes(contents.model) != record.proven:
        differs.append("sha256")
    if found.parity is None or found.input.stage != "raw":
        differs.append("parity")
    if differs:
        raise ModelError(
            f"{path} is not the file that this run proved ({', '.join(differs)} differ); name the run's images with "
            "--data, and it is made and proven again",
            code="run-model-other",
            run=run.path.name,
            differs=differs,
        )
    return contents.model, found
