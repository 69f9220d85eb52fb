"""Hostile weights files, numbered as in the table of docs/security.md: one line, exit 1, nothing run, nothing kept."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from cli_running import run_zoo
from safetensors.numpy import save, save_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.path}",)


def entry(start: int, end: int, shape: list[int]) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


def container(header: bytes | dict[str, Any], body: bytes, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def torch_zip(folder: Path) -> bytes:
    with zipfile.ZipFile(folder / "inner", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Canary(folder / "canary")))
    content = (folder / "inner").read_bytes()
    (folder / "inner").unlink()
    return content


TWICE = b'{"a":%s,"a":%s}' % ((json.dumps(entry(0, 4, [1])).encode(),) * 2)
FILES: dict[str, tuple[str, Callable[[Path], bytes], str]] = {
    "1 a pickle": ("w.pt", lambda folder: pickle.dumps(Canary(folder / "canary")), "torch pickles can run code"),
    "1 what torch saves": ("w.pth", torch_zip, "torch pickles can run code"),
    "2 a pickle by another name": (
        "w.safetensors",
        lambda folder: pickle.dumps(Canary(folder / "canary")),
        "torch pickles can run code",
    ),
    "4 a header of 2^63 bytes": ("w.safetensors", lambda _: container({}, b"", 2**63), "its header claims"),
    "4 a header beyond the file": ("w.safetensors", lambda _: container({}, b"", 10**6), "its header claims"),
    "5 overlapping tensors": (
        "w.safetensors",
        lambda _: container({"a": entry(0, 4, [1]), "b": entry(2, 6, [1])}, bytes(6)),
        "damaged or not safetensors",
    ),
    "6 a name twice": ("w.safetensors", lambda _: container(TWICE, bytes(4)), "a name appears twice"),
    "7 another length": (
        "w.safetensors",
        lambda _: container({"a": entry(0, 4, [3])}, bytes(4)),
        "damaged or not safetensors",
    ),
    "8 NaN": ("w.safetensors", lambda _: save({"a": np.array([np.nan], np.float32)}), "holds NaN or an infinity"),
    "8 infinity": ("w.safetensors", lambda _: save({"a": np.array([np.inf], np.float16)}), "holds NaN or an infinity"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_weights_file_is_refused_and_not_kept(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    called, made, said = FILES[name]
    path = tmp_path / called
    path.write_bytes(made(tmp_path))
    ran = run_zoo("weights", "import", "resnet18", path)
    assert (ran.code, ran.out) == (1, "")
    assert said in ran.err
    assert ran.err.count("\n") == 1
    assert called in ran.err
    assert {entry.name for entry in tmp_path.iterdir()} <= {called, "home"}
    assert not [file for file in tmp_path.rglob("home/**/*") if file.is_file() and file.suffix == ".safetensors"]


def test_10_weights_whose_hash_is_not_the_locks_are_refused_before_they_are_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    path = tmp_path / "w.safetensors"
    save_file({"a": np.ones(3, np.float32)}, path)
    assert run_zoo("weights", "import", "resnet18", path).code == 0
    stored = next((tmp_path / "home").rglob("*.safetensors"))
    stored.chmod(0o644)
    stored.write_bytes(container({}, b"", 2**63))  # parsing it would say something else
    ran = run_zoo("train", "resnet18", "--pretrained", "--out", tmp_path / "run", "--epochs", 1)
    assert ran.code == 1
    assert "sha256" in ran.line
    assert "header" not in ran.line
    assert not (tmp_path / "run").exists()


def test_9_weights_of_another_network_are_refused_with_the_names_that_do_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    path = tmp_path / "w.safetensors"
    save_file({"other.weight": np.ones((3, 3), np.float32)}, path)
    ran = run_zoo("train", "simple_cnn", "--weights", path, "--out", tmp_path / "run", "--epochs", 1)
    assert ran.code == 1
    assert "missing" in ran.line
    assert "not expected (other.weight)" in ran.line
    assert not (tmp_path / "run" / "model.onnx").exists()
