"""Where things are kept: one place for a site to set, the platform's own otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.store._places import cache_folder, data_folder


def test_zoo_home_holds_everything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", "/nowhere")
    assert data_folder("data") == tmp_path / "data"
    assert cache_folder("index") == tmp_path / "cache" / "index"


@pytest.mark.parametrize(
    ("platform", "environment", "data", "cache"),
    [
        ("linux", {"XDG_DATA_HOME": "/d", "XDG_CACHE_HOME": "/c"}, "/d/zoo/data", "/c/zoo/index"),
        ("linux", {}, "~/.local/share/zoo/data", "~/.cache/zoo/index"),
        ("darwin", {}, "~/Library/Application Support/zoo/data", "~/Library/Caches/zoo/index"),
        ("win32", {"LOCALAPPDATA": "/l"}, "/l/zoo/data", "/l/zoo/cache/index"),
    ],
)
def test_each_platform_has_its_own_places(
    monkeypatch: pytest.MonkeyPatch, platform: str, environment: dict[str, str], data: str, cache: str
) -> None:
    for name in ("ZOO_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", platform)
    assert data_folder("data") == Path(data).expanduser()
    assert cache_folder("index") == Path(cache).expanduser()


def test_nothing_is_created_by_asking(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path))
    data_folder("data")
    cache_folder("index")
    assert not list(tmp_path.iterdir())
