"""A weights file is data from a stranger: what is not sound safetensors is refused, and never run."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from refusals import refused
from safetensors.numpy import save
from work import measured

from zoo._support.files import sha256_bytes
from zoo.errors import WeightsError
from zoo.store import weights

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.spec import ModelCard


def tensor(start: int, end: int, shape: tuple[int, ...] = (1,)) -> dict[str, object]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


def container(header: object, body: bytes, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def refusal(card: ModelCard, path: Path, code: str, /, **fields: object) -> str:
    messages = []
    for act in (lambda: weights.resolve(card, path), lambda: weights.import_file(card, path)):
        with refused(code, WeightsError, **fields) as caught:
            act()
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "\n" not in messages[0]
    assert messages[0].startswith("weights for net: ")
    assert not list(weights.folder().glob("*"))
    return messages[0]


def test_a_file_of_the_users_is_taken_as_it_is(card: ModelCard, blob: bytes, tmp_path: Path, home: Path) -> None:
    path = tmp_path / "mine.safetensors"
    path.write_bytes(blob)
    found = weights.resolve(card, path)
    assert (found.path, found.sha256, found.licence) == (path, sha256_bytes(blob), "unknown")
    assert found.source == "file:mine.safetensors"  # provenance holds no path
    assert not home.exists()


@pytest.mark.parametrize("name", ["net.pt", "net.pth", "net.bin", "net.ckpt", "net.safetensors"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_is_refused_under_any_name_and_its_code_does_not_run(
    card: ModelCard, tmp_path: Path, name: str, protocol: int
) -> None:
    path, canary = tmp_path / name, tmp_path / "canary"
    path.write_bytes(pickle.dumps(Canary(canary), protocol=protocol))
    refusal(card, path, "weights-pickle", file=str(path))
    assert not canary.exists()


def test_what_torch_saves_is_refused_even_when_it_is_renamed(card: ModelCard, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "net.safetensors"
    torch.save({"w": torch.zeros(2)}, path)
    refusal(card, path, "weights-pickle")


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"", "safetensors"),
        (b"version https://git-lfs.github.com/spec/v1\n", "safetensors"),
        (b"<!DOCTYPE html><title>Sign in</title>", "safetensors"),
        (container({"a": tensor(0, 4)}, b"0000", 2**63), "9223372036854775808 bytes"),
        (container({"a": tensor(0, 4)}, b"0000", 10_000), "10000 bytes"),
        (container({"a": tensor(0, 4), "b": tensor(2, 6)}, b"000000"), "invalid offset"),
        (container({"a": tensor(0, 4), "b": tensor(8, 12)}, b"0" * 12), "invalid offset"),
        (container({"a": tensor(0, 8, (2,))}, b"0000"), "not fully covered"),
        (container({"a": tensor(0, 4)}, b"00000000"), "not fully covered"),
        (container({"a": tensor(0, 4, (3,))}, b"0000"), "invalid shape"),
        (container(b'{"a":%s,"a":%s}' % ((json.dumps(tensor(0, 4)).encode(),) * 2), b"0000"), "appears twice"),
        (container({}, b""), "no tensor"),
        (container(b"{" + b"[" * 100_000, b""), "damaged"),
    ],
)
def test_a_damaged_file_is_refused(card: ModelCard, tmp_path: Path, data: bytes, part: str) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(data)
    with measured() as work:
        assert part in refusal(card, path, "weights-damaged")
    assert work.calls < 20_000
    assert work.peak < 2**22  # a lying header costs no memory and no work


@pytest.mark.parametrize("kind", ["F64", "F32", "F16", "BF16"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_refused(card: ModelCard, tmp_path: Path, kind: str, bad: float) -> None:
    """One NaN makes every answer NaN, and nothing else would say so."""
    path = tmp_path / "net.safetensors"
    values = np.array([1.0, -2.5, bad, 3e38])
    if kind == "BF16":  # the upper half of a float32; numpy has no such type
        body = (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
        header = {"good": tensor(0, 4), "w": {"dtype": "BF16", "shape": [4], "data_offsets": [4, 12]}}
        path.write_bytes(container(header, b"\0\0\0\0" + body))
    else:
        values[3] = 6e4
        dtype = {"F64": np.float64, "F32": np.float32, "F16": np.float16}[kind]
        path.write_bytes(save({"good": np.zeros(3, dtype), "w": values.astype(dtype)}))
    refusal(card, path, "weights-not-finite", tensor="w")


def test_bfloat16_and_integers_are_fine(card: ModelCard, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    header = {
        "counter": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]},
        "w": {"dtype": "BF16", "shape": [2], "data_offsets": [8, 12]},
    }
    path.write_bytes(container(header, b"\xff" * 8 + struct.pack("<HH", 0x3F80, 0x7F7F)))
    assert weights.resolve(card, path).path == path


def test_a_missing_file_and_a_folder_are_named(card: ModelCard, tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        refusal(card, path, "file-unreadable", path=str(path))


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.integers(0, 400), st.binary(min_size=1, max_size=20))
def test_no_damage_to_a_file_causes_anything_but_a_weights_error(
    card: ModelCard, blob: bytes, tmp_path: Path, place: int, junk: bytes
) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(blob[:place] + junk + blob[place + len(junk) :])
    with contextlib.suppress(WeightsError):
        weights.resolve(card, path)
