"""Whatever an accident makes of a file, opening it gives an answer or one line; found once, tried for ever."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from edge_models import make_model
from mutations import attempt, dice, golden_set, mutated, targets
from refusals import refused

from zoo.edge._replay import read_golden
from zoo.edge.vet._numbers import finite, values
from zoo.edge.vet._outline import Span, Tensor, outline
from zoo.edge.vet._wire import RefusedError
from zoo.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

KINDS = ["onnx", "manifest", "metadata", "golden", "packed golden", "golden array"]


@pytest.mark.parametrize("kind", KINDS)
def test_damage_gives_an_answer_or_a_refusal_and_never_another_error(kind: str, tmp_path: Path) -> None:
    sound, damage, opened = targets(tmp_path)[kind]
    opened(sound)
    for seed in range(300):
        problem = attempt(opened, damage(sound, dice(f"{kind} {seed}")))
        assert problem is None, f"{kind} {seed}: {problem!r}"


def test_accidents_are_the_same_each_time_and_do_damage() -> None:
    sound = make_model().SerializeToString()
    many = [mutated(sound, dice(str(seed)), sound) for seed in range(100)]
    assert many == [mutated(sound, dice(str(seed)), sound) for seed in range(100)]
    assert sum(data != sound for data in many) > 90


def archive(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        for name, data in members.items():
            made.writestr(f"{name}.npy", data)
    return stream.getvalue()


def array(header: bytes, body: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body


def whole(name: str, data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(golden_set())) as good:
        members = {entry.removesuffix(".npy"): good.read(entry) for entry in good.namelist()}
    return archive(**members | {name: data})


def flipped(field: int, value: int) -> bytes:
    """A golden set whose first entry in the archive's directory says something else."""
    data = bytearray(golden_set(packed=True))
    data[data.index(b"PK\x01\x02") + field] = value
    return bytes(data)


def scrambled() -> bytes:
    data = bytearray(golden_set(packed=True))
    start = data.index(b"logits.npy") + 30
    data[start : start + 12] = b"\xff" * 12
    return bytes(data)


GOLDEN = {
    "a version of zip to come": flipped(6, 123),
    "an unknown compression": flipped(10, 77),
    "an encrypted member": flipped(8, 1),
    "compressed bytes that are none": scrambled(),
    "an array that is text": whole("image_0000", b"not an array"),
    "a header that is not a literal": whole("logits", array(b"{'descr': '|u1'|u1'|u1\n")),
    "a header with a null byte": whole("logits", array(b"{'descr': \0 (\n")),
    "a header without end": whole("logits", array(b"{'descr': (((((\n")),
    "a header of brackets": whole("logits", array(b"[" * 9000 + b"\n")),
    "a shape that fills all memory": whole(
        "logits", array(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 3)}\n")
    ),
    "a negative shape": whole("logits", array(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-3, 3)}\n")),
    "objects": whole("logits", array(b"{'descr': '|O', 'fortran_order': False, 'shape': (3, 3)}\n", b"\x80\x04.")),
    "text as logits": whole(
        "logits", array(b"{'descr': '<U1', 'fortran_order': False, 'shape': (3, 3)}\n", b"a\0\0\0" * 9)
    ),
    "complex logits": whole("logits", array(b"{'descr': '<c8', 'fortran_order': False, 'shape': (3, 3)}\n", bytes(72))),
    "several tolerances": whole(
        "tolerance", array(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}\n", bytes(8))
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_golden_set_that_once_broke_the_reader_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match=r"^golden\.npz: ") as caught:
        read_golden(GOLDEN[name], "golden.npz", 3)
    assert "\n" not in str(caught.value)


def test_a_golden_set_that_unpacks_to_more_than_it_may_is_refused_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.edge._replay._MAX_BYTES", 500)
    with refused("golden-damaged", ModelError):
        read_golden(golden_set(), "golden.npz", 3)


def test_a_number_without_end_is_refused_and_not_carried_from_piece_to_piece() -> None:
    data = b"\xff" * 2**22
    with refused("model-tensor", RefusedError):
        finite(data, Tensor("w", onnx.TensorProto.FLOAT16, (1,), (Span(5, 2, 0, len(data)),)))


def test_the_reader_of_base_128_numbers_agrees_with_protobuf() -> None:
    numbers = [0, 1, -1, 127, 128, 300, 2**31, -(2**31), 2**62, -(2**63), 2**63 - 1]
    tensor = onnx.TensorProto(name="n", data_type=onnx.TensorProto.INT64, dims=[len(numbers)], int64_data=numbers)
    model = make_model()
    model.graph.initializer.append(tensor)
    data = model.SerializeToString()
    read = outline(data, 100).initializers[-1]
    assert values(data, read).tolist() == numbers
    assert np.array_equal(onnx.numpy_helper.to_array(tensor), values(data, read))
