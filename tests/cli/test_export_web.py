"""`zoo export --web` as a user types it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cli_running import run_zoo

from zoo.artefact import _ort_web as ort_web

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.usefixtures("at_work")
def test_machine_without_the_engine_says_how_to_bring_it(tmp_path: Path) -> None:
    done = run_zoo("export", "tiny.zoo", "--web", tmp_path / "page", "--json")
    assert done.code == 1
    assert done.document["error"]["type"] == "OutputError"
    assert "npm pack onnxruntime-web@" in done.line
    assert "--ort-web PATH" in done.line
    assert not (tmp_path / "page").exists()


@pytest.mark.usefixtures("at_work")
def test_page_and_bundle_are_not_written_in_one_go(tmp_path: Path) -> None:
    done = run_zoo("export", "--bundle", "--web", tmp_path / "page")
    assert (done.code, "leave out --bundle" in done.line) == (2, True)


def test_command_to_see_the_page_is_given(at_work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort_web, "engine_files", lambda _given, **_: {"ort.wasm.bundle.min.mjs": b"//"})
    done = run_zoo("export", at_work / "tiny.zoo", "--web", tmp_path / "page")
    assert done.code == 0, done.err
    assert "http.server --bind 127.0.0.1" in " ".join(done.out.split())
    assert (tmp_path / "page" / "index.html").is_file()


@pytest.mark.parametrize(
    ("typed", "terminal", "asked", "fetched"),
    [
        ((), True, True, True),
        ((), False, False, False),
        (("--fetch",), True, False, True),
        (("--fetch",), False, False, True),
    ],
)
def test_a_terminal_is_asked_before_npm_is_called(
    typed: tuple[str, ...],
    terminal: bool,
    asked: bool,
    fetched: bool,
    at_work: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    questions, given = [], []

    def engine(_given: Path | None, *, fetch: bool) -> dict[str, bytes]:
        given.append(fetch)
        return {"ort.wasm.bundle.min.mjs": b"//"}

    monkeypatch.delenv("ZOO_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(ort_web, "engine_files", engine)
    monkeypatch.setattr(ort_web, "is_stored", lambda: False)
    monkeypatch.setattr("zoo_cli.export._is_terminal", lambda: terminal)
    monkeypatch.setattr("typer.confirm", lambda *question, **_: bool(questions.append(question)) or True)
    assert run_zoo("export", at_work / "tiny.zoo", "--web", tmp_path / "page", *typed).code == 0
    assert (len(questions), given) == (int(asked), [fetched])
