"""Fake installed distributions: a package, its metadata and its entry points in a folder on sys.path."""

from __future__ import annotations

import importlib
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

Install = Callable[..., Path]


def write_distribution(
    folder: Path,
    name: str,
    version: str,
    files: Mapping[str, str],
    points: Mapping[str, Mapping[str, str]],
) -> None:
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    lines = [
        line
        for group, entries in points.items()
        for line in (f"[{group}]", *(f"{key} = {value}" for key, value in entries.items()), "")
    ]
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    recorded = [*files, *(f"{info.name}/{file}" for file in ("METADATA", "entry_points.txt", "RECORD"))]
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in recorded), encoding="utf-8")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a fake third-party distribution for one test; returns the folder it lies in."""
    monkeypatch.delenv("ZOO_PLUGINS", raising=False)
    before = set(sys.modules)

    def add(
        name: str,
        version: str = "1.0",
        *,
        models: str | None = None,
        code: str | None = None,
        plugins: Mapping[str, str] | None = None,
    ) -> Path:
        folder = tmp_path / f"site-{name}-{version}"
        package = name.replace("-", "_")
        files = {f"{package}/__init__.py": code or ""}
        points: dict[str, Mapping[str, str]] = {}
        if models is not None:
            files[f"{package}/registry.yaml"] = models
            points["zoo.catalogues"] = {name: package}
        if plugins is not None:
            points["zoo.plugins"] = plugins
        write_distribution(folder, name, version, files, points)
        monkeypatch.syspath_prepend(str(folder))
        importlib.invalidate_caches()
        return folder

    yield add
    for module in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[module], "__file__", "")):
            del sys.modules[module]


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's own entry points, from pyproject.toml where no install of it is on the path."""
    monkeypatch.delenv("ZOO_PLUGINS", raising=False)
    folder = tmp_path / "site-edgezoo"
    folder.mkdir()
    if not any(point.value == "zoo" for point in entry_points(group="zoo.catalogues")):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        write_distribution(folder, project["name"], project["version"], {}, project["entry-points"])
    monkeypatch.syspath_prepend(str(folder))
    return folder
