"""Packages of other people that bring a reader, as if they were installed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

READER = """
import numpy as np
from zoo.errors import ImageError
from zoo.readers import Probe, from_array

class Acme:
    '''"ACME", width, height (a byte each), then gray values.'''
    suffixes = frozenset({".acme"})
    def recognise(self, head):
        return head.startswith(b"ACME")
    def probe(self, stream, name):
        data = stream.read(6)
        if len(data) < 6 or not (data[4] and data[5]):
            raise ImageError(name, "ends within its header; restore it")
        return Probe(data[4], data[5], "uint8", gray=True)
    def read(self, stream, name, *, frame, voi):
        header = self.probe(stream, name)
        if voi or frame not in (None, 1):
            raise ImageError(name, "holds one picture and no window")
        data = stream.read(header.width * header.height)
        if len(data) < header.width * header.height:
            raise ImageError(name, "ends before its last pixel; restore it")
        return from_array(np.frombuffer(data, np.uint8).reshape(header.height, header.width))
reader = Acme()
"""
"""A reader without a fault."""

Bring = Callable[..., Path]


def acme(width: int = 3, height: int = 2) -> bytes:
    """A file of the format that `READER` reads."""
    return b"ACME" + bytes([width, height]) + bytes(range(width * height))


def install(folder: Path, name: str, code: str, points: Mapping[str, str], version: str = "1.0") -> Path:
    """Write a distribution whose package holds `code`."""
    package = folder / name.replace("-", "_")
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(code, encoding="utf-8")
    info = folder / f"{package.name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    lines = ["[zoo.readers]", *(f"{key} = {value}" for key, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def bring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bring]:
    """Install a package with a reader for one test: `bring("zoo-acme2", code, acme="zoo_acme2:reader")`."""
    monkeypatch.delenv("ZOO_PLUGINS", raising=False)
    before = set(sys.modules)

    def add(name: str, code: str = READER, *, version: str = "1.0", **points: str) -> Path:
        points = points or {"acme": f"{name.replace('-', '_')}:reader"}
        folder = install(tmp_path / f"site-{name}-{version}", name, code, points, version)
        monkeypatch.syspath_prepend(str(folder))
        importlib.invalidate_caches()
        return folder

    yield add
    for module in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[module], "__file__", "")):
            del sys.modules[module]
