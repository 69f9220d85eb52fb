"""Cards are parsed once and remembered by content; the memory may be lost, stale or damaged at no cost but time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zoo import catalogue, registry
from zoo.errors import CatalogueError
from zoo.places import cache_folder
from zoo.registry import _memory

CARD = (
    "schema: 1\nmodels:\n  %s: {plugin: p, summary: %s, preprocess: {size: [8, 9], mean: [0, 0, 0], std: [1, 1, 1]}}\n"
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was really parsed, as errors call it."""
    seen: list[str] = []
    real = catalogue.parse

    def counted(data: bytes, what: str) -> object:
        seen.append(what)
        return real(data, what)

    monkeypatch.setattr(catalogue, "parse", counted)
    return seen


def test_an_unchanged_catalogue_is_parsed_once(install, parsed: list[str]) -> None:
    install("acme", models=CARD % ("acme-net", "A model"))
    first = registry.find("acme-net")
    count = len(parsed)
    assert registry.find("acme-net") == first
    assert len(parsed) == count


def test_a_byte_that_changed_is_seen(install) -> None:
    folder = install("acme", models=CARD % ("acme-net", "A model"))
    assert registry.find("acme-net").summary == "A model"
    path = folder / "acme" / "registry.yaml"
    times = path.stat()
    path.write_text(CARD % ("acme-net", "B model"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # same size, same times
    assert registry.find("acme-net").summary == "B model"


def test_other_code_reads_again(install, parsed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    install("acme", models=CARD % ("acme-net", "A model"))
    registry.find("acme-net")
    count = len(parsed)
    monkeypatch.setattr(_memory, "_CODE", (*_memory._CODE, "errors.py"))
    registry.find("acme-net")
    assert len(parsed) > count


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"k": {"acme-net": {"name": "acme-net"}}}'])
def test_a_memory_that_can_not_be_read_is_made_anew(install, content: bytes) -> None:
    install("acme", models=CARD % ("acme-net", "A model"))
    registry.find("acme-net")
    (kept,) = cache_folder("catalogue").iterdir()
    kept.write_bytes(content)
    assert registry.find("acme-net").summary == "A model"
    assert kept.read_bytes() != content


def test_a_home_that_can_not_be_written_costs_time_only(install, home: Path) -> None:
    home.write_text("a file where a folder should be")
    install("acme", models=CARD % ("acme-net", "A model"))
    assert registry.find("acme-net").summary == "A model"


def test_a_broken_catalogue_is_broken_every_time(install) -> None:
    install("acme", models=CARD % ("acme-net", "''"))
    for _ in range(2):
        with pytest.raises(CatalogueError, match=r"no model 'acme-net'.*catalogue of acme 1.0 could not be read"):
            registry.find("acme-net")


def test_old_catalogues_are_forgotten(install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_memory, "MOST", 3)
    folder = install("acme", models="")
    for number in range(6):
        (folder / "acme" / "registry.yaml").write_text(CARD % (f"net{number}", "A model"))
        registry.find(f"net{number}")
    assert len(_memory._read(cache_folder("catalogue") / "cards.json")) <= 3


def test_a_memory_that_is_no_text_a_pipe_or_huge_costs_time_only(install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("acme", models=CARD % ("acme-net", "A model"))
    place = cache_folder("catalogue") / "cards.json"
    place.parent.mkdir(parents=True)
    place.write_bytes(b'{"\xff": {}}')
    assert registry.find("acme-net").summary == "A model"
    monkeypatch.setattr(_memory, "MOST_BYTES", 10)
    assert place.stat().st_size > 10  # it was written anew
    assert _memory._read(place) == {}
    place.unlink()
    if hasattr(os, "mkfifo"):
        os.mkfifo(place)
        assert registry.find("acme-net").summary == "A model"
