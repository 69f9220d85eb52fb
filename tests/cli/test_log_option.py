"""`zoo train --log`: what cannot be written is told before anything is read or trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cli_running import run_zoo

from zoo.loggers import _find as find_module

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("given", [["--log", "tensorbord"], ["--log", "runs/a"], ["--log", "tensorboard,"]])
def test_a_wrong_name_is_a_mistake_of_usage_and_nothing_is_begun(
    elsewhere: Path, given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find_module, "_load_built_in", lambda _: _Ok)
    ran = run_zoo("train", "simple_cnn", *given, "--json")
    assert ran.code == 2
    assert ran.document["error"]["code"] == "logger-unknown"
    assert "tensorboard" in ran.line
    assert not (elsewhere / "runs").exists()


class _Ok:
    def start(self, _: object) -> None: ...

    def step(self, _: object) -> None: ...

    def epoch(self, _: object) -> None: ...

    def end(self, _: object) -> None: ...


@pytest.mark.usefixtures("elsewhere")
def test_a_missing_package_is_one_line_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find_module.importlib.util, "find_spec", lambda _: None)
    ran = run_zoo("train", "simple_cnn", "--log", "wandb")
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert "pip install 'edgezoo[wandb]'" in ran.line
