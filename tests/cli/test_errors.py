"""Whatever goes wrong is one line that helps, and an exit status a script can rely on."""

from __future__ import annotations

import importlib
import logging
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli_running import Ran, command, run_zoo

import zoo
from zoo.edge._print import _messages

if TYPE_CHECKING:
    from collections.abc import Callable


def assert_one_line(ran: Ran) -> None:
    assert ran.out == ""
    assert ran.err.count("\n") == 1, ran.err
    assert ran.err.startswith("zoo: "), ran.err
    assert "Traceback" not in ran.err


def test_an_unknown_model_is_one_line_with_the_nearest_names() -> None:
    ran = run_zoo("info", "resnet81")
    assert ran.code == 1
    assert_one_line(ran)
    assert "resnet18" in ran.err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["export"], "--onnx"),
        (["train", "simple_cnn", "--set", "nonsense"], "NAME=VALUE"),
        (["train", "simple_cnn", "--set", "epoch=3"], "epochs"),
        (["train", "simple_cnn", "--epochs", "many"], "--epochs"),
        (["train", "simple_cnn", "--epochs", "0"], "epochs"),
        (["train"], "model"),
        (["trian"], "train"),
        (["weights"], "zoo weights --help"),
        (["plugin", "new", "zoo-acme"], "torch, sklearn, other"),
        (["compare", "svm"], "at least two"),
        (["list", "--nothing"], "--nothing"),
        (["evaluate", "--split", "all"], "--split"),
        (["export", "--onnx", "--preprocess", "half"], "--preprocess"),
        (["train", "simple_cnn", "--resume", "--size", "32"], "--size"),
        (["evaluate"], "runs/latest"),
    ],
)
def test_wrong_arguments_end_with_status_2_and_say_what_is_expected(
    arguments: list[str], named: str, elsewhere: Path
) -> None:
    ran = run_zoo(*arguments)
    assert ran.code == 2, ran.err
    assert_one_line(ran)
    assert named in ran.err
    assert list(elsewhere.iterdir()) == [], "a refused command left something behind"


def test_with_json_an_error_is_a_document_too_and_the_status_is_the_same() -> None:
    ran = run_zoo("info", "resnet81", "--json")
    assert ran.code == 1
    error = ran.document["error"]
    assert (error["type"], error["code"], error["model"]) == ("CatalogueError", "model-unknown", "resnet81")
    assert "resnet18" in error["near"]
    assert ran.err == f"zoo: {error['message']}\n"
    usage = run_zoo("list", "--nothing", "--json")
    assert (usage.code, usage.document["error"]["type"]) == (2, "UsageError")
    assert usage.document["error"]["code"] == "usage"


def test_a_tampered_bundle_is_refused_with_status_3(copied: Callable[[str], Path]) -> None:
    bundle = copied("tiny.zoo")
    (bundle / "CARD.md").write_text("# another model\n")
    ran = run_zoo("verify", bundle)
    assert ran.code == 3
    assert_one_line(ran)
    assert "CARD.md" in ran.err


def test_a_defect_of_ours_is_one_line_and_the_traceback_is_for_those_who_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(zoo, "models", broken)
    ran = run_zoo("list")
    assert ran.code == 1
    assert_one_line(ran)
    assert "RuntimeError: two lines" in ran.err
    assert "ZOO_DEBUG=1" in ran.err
    monkeypatch.setenv("ZOO_DEBUG", "1")
    assert "Traceback" in run_zoo("list").err


@pytest.mark.parametrize(
    "problem",
    [
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: 9 bytes"
        ),
    ],
    ids=["of Python", "of torch"],
)
def test_want_of_memory_is_not_called_a_defect(problem: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(*_: object, **__: object) -> None:
        raise problem

    monkeypatch.setattr(zoo, "models", greedy)
    ran = run_zoo("list", "--json")
    assert ran.code == 1
    assert ran.document["error"]["code"] == "memory"
    assert "enforce" not in ran.err


def test_a_missing_training_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")

    monkeypatch.setattr(zoo, "evaluate", without)
    ran = run_zoo("evaluate")
    assert ran.code == 1
    assert_one_line(ran)
    assert "needs torch: pip install 'edgezoo[train]'" in ran.err


def test_a_package_that_only_a_plugin_needs_is_not_promised_by_our_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra does not bring it, and a package of that name on an index may be a stranger's."""
    (tmp_path / "zoo_acme2.py").write_text("def train(*_, **__):\n    import no_such_module.inside\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(zoo, "evaluate", lambda *_, **__: importlib.import_module("zoo_acme2").train())
    ran = run_zoo("evaluate", "--json")
    assert (ran.code, ran.document["error"]["code"]) == (1, "package-missing")
    assert "zoo_acme2 needs no_such_module" in ran.line
    assert "pip install" not in ran.line


def test_what_is_missing_of_ourselves_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "evaluate", lambda *_, **__: importlib.import_module("zoo.no_such_module"))
    assert run_zoo("evaluate", "--json").document["error"]["code"] == "defect"


def test_ctrl_c_is_status_130_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(zoo, "models", stopped)
    ran = run_zoo("list")
    assert ran.code == 130
    assert_one_line(ran)


def test_a_reader_that_leaves_early_and_a_full_disk_end_quietly() -> None:
    """`zoo list | head -1` and `zoo list > /dev/full` must not end in a traceback of the interpreter."""
    left = subprocess.run(
        f"{' '.join(command())} info resnet18 | true", shell=True, capture_output=True, text=True, check=False
    )
    assert left.stderr == ""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with Path("/dev/full").open("w") as full:
        refused = subprocess.run([*command(), "list"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("zoo: cannot write")
    assert "Traceback" not in refused.stderr


def test_every_verb_has_help_with_an_example() -> None:
    """Help that cannot be rendered, or says nothing of use, is found here and not by a user."""
    for verb in (
        "list",
        "info",
        "train",
        "evaluate",
        "compare",
        "export",
        "predict",
        "verify",
        "bench",
        "doctor",
        "demo",
    ):
        ran = run_zoo(verb, "--help")
        assert ran.code == 0
        assert f"Example: zoo {verb}" in ran.out
        assert "--json" in ran.out
    for group, verbs in {
        "weights": ("list", "fetch", "import", "lock"),
        "plugin": ("list", "new", "check"),
        "data": ("list",),
    }.items():
        for verb in verbs:
            assert f"Example: zoo {group} {verb}" in run_zoo(group, verb, "--help").out


def test_the_version_is_the_installed_one() -> None:
    from importlib.metadata import version

    assert run_zoo("--version").out == f"zoo {version('edgezoo')}\n"


def test_zoo_alone_shows_the_verbs_in_groups() -> None:
    ran = run_zoo()
    assert ran.code == 0
    for heading in ("Choose a model", "Train and judge", "Ship and run", "This machine"):
        assert heading in ran.out


def test_python_dash_m_is_the_same_command() -> None:
    ran = subprocess.run([sys.executable, "-m", "zoo_cli", "--version"], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, run_zoo("--version").out)


def test_a_note_is_said_once_in_a_command_and_again_in_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    """A verb may open the same data five times; five equal lines look like five notes."""
    for _ in range(2):
        with _messages():
            for _ in range(5):
                logging.getLogger("zoo").info("set: 3 columns were ignored")
            logging.getLogger("zoo").warning("set: 3 columns were ignored")
    said = capsys.readouterr().err.splitlines()
    assert said == 2 * ["set: 3 columns were ignored", "warning: set: 3 columns were ignored"]


def test_a_warning_that_repeats_words_of_a_file_can_not_colour_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with _messages():
        logging.getLogger("zoo").warning("%s: strange", "\x1b[2Jnet")
    assert capsys.readouterr().err == "warning: \\x1b[2Jnet: strange\n"
