"""TAB in a real bash and a real zsh: the script is loaded as a user loads it, and asks `zoo` as it would."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_running import run_zoo

from zoo_cli import offers

BASH = """
eval "$(zoo --show-completion bash)"
try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _zoo_completion zoo; echo "${COMPREPLY[@]}"; }
"""
ZSH = """
compdef() { }
_arguments() { print -r -- "$@" | tr '\\n' ' '; echo }
_files() { echo files }
eval "$(zoo --show-completion zsh)"
try() { words=("$@"); CURRENT=$#; _zoo_completion; }
"""


@pytest.fixture
def typed_into(elsewhere: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Lines that a shell offers for command lines, in a folder with data, a run and a bundle."""
    if os.name != "posix":
        pytest.skip("a shell of POSIX is needed")
    program = elsewhere / "bin" / "zoo"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m zoo_cli "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("PYTHONPATH", ":".join(path for path in sys.path if path))
    for name in ("photos", "runs/first", "net.zoo"):
        (elsewhere / name).mkdir(parents=True)
    (elsewhere / "runs" / "first" / "run.json").write_text("{}")

    def complete(shell: str, script: str, lines: tuple[str, ...]) -> list[list[str]]:
        if (path := shutil.which(shell)) is None:
            pytest.skip(f"{shell} is not installed")
        tries = "".join(f"try {line}\n" for line in lines)
        options = ["--norc"] if shell == "bash" else ["-f"]
        ran = subprocess.run([path, *options, "-c", script + tries], capture_output=True, text=True, check=False)
        assert ran.stderr == ""
        return [line.split() for line in ran.stdout.splitlines()]

    return complete


def test_bash_completes_verbs_options_and_values(typed_into) -> None:  # type: ignore[no-untyped-def]
    lines = (
        "zoo ev",
        "zoo data sp",
        "zoo train resnet18 --ep",
        "zoo train resnet18d",
        "zoo train svm --data dig",
        "zoo train svm --data pho",
        "zoo export ''",
        "zoo predict ''",
        "zoo train svm --precision b",
        "zoo data check photos/",
    )
    assert typed_into("bash", BASH, lines) == [
        ["evaluate"],
        ["split"],
        ["--epochs"],
        ["resnet18d"],
        ["digits"],
        ["photos"],
        ["runs/first"],
        ["runs/first", "net.zoo"],
        ["bf16"],
        [],  # so bash goes on with paths
    ]


def test_zsh_completes_verbs_options_and_values(typed_into) -> None:  # type: ignore[no-untyped-def]
    found = typed_into(
        "zsh", ZSH, ("zoo ev", "zoo train resnet18 --ep", "zoo list --family vg", "zoo data check photos/")
    )
    for words, expected in zip(found, ("evaluate", "--epochs", "vgg", "files"), strict=True):
        assert expected in " ".join(words)


def test_completion_is_installed_into_the_files_of_the_shell(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(elsewhere))
    (elsewhere / ".bashrc").write_text("# mine\n")
    ran = run_zoo("--install-completion", "bash")
    assert (ran.code, ran.out) == (0, "")
    text = (elsewhere / ".bashrc").read_text()
    assert text.startswith("# mine\n")
    place = elsewhere / ".bash_completions" / "zoo.sh"
    assert str(place) in text
    assert "_ZOO_COMPLETE=complete_bash" in place.read_text()


def test_a_shell_without_completion_is_refused() -> None:
    ran = run_zoo("--show-completion", "tcsh")
    assert (ran.code, ran.out) == (2, "")
    assert "bash, zsh" in ran.err


def test_offers_are_names_that_need_no_quotes(elsewhere: Path) -> None:
    """A shell quotes what it completes itself; a word of ours is put in as it is."""
    for name in ("plain", "with blank", "a;b"):
        (elsewhere / name).mkdir()
    assert [name for name in offers.data("") if (elsewhere / name).is_dir()] == ["plain"]
    assert offers.runs("") == [], "no folder of runs is no error"
