"""`zoo plugin check`: whatever a plugin does, a table, an exit status, and no more."""

from __future__ import annotations

import io
import json
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from refusals import refused

from zoo.contract import CHECKS, choose, examine
from zoo.contract.scaffold import new
from zoo.errors import PluginError
from zoo_cli.main import main

FIRST = CHECKS[0].name


def project(root: Path, planted: str = "") -> Path:
    """A project of the scaffold whose module begins with `planted`."""
    folder, names = new("zoo-guest", "other", root / "guest")
    code = folder / "src" / names.package / "model.py"
    code.write_text(code.read_text().replace("import time\n", f"import time\n\n{planted}\n", 1))
    return folder


@pytest.mark.parametrize(
    ("planted", "limit", "said"),
    [
        ("raise RuntimeError('boom')", 60.0, "cannot be imported: RuntimeError: boom"),
        ("raise SystemExit(5)", 60.0, "ended the program (exit 5)"),
        ("import os; os._exit(7)", 60.0, "the process ended (exit 7); a plugin must return or raise"),
        ("print('x' * 99999); import os, sys; sys.stderr.write('so long'); sys.stderr.flush(); os._exit(0)", 60.0,
         "the process ended (exit 0), its last words were 'so long'"),
        ("time.sleep(600); open('slept', 'w').close()", 2.0,
         "was still at it after 2 s and was ended; mend what hangs"),
    ],
)  # fmt: skip
def test_a_plugin_that_dies_or_hangs_is_one_line_and_is_ended(
    planted: str, limit: float, said: str, tmp_path: Path
) -> None:
    with choose(str(project(tmp_path, planted)), tmp_path / "metadata") as (guest,):
        outcomes = list(examine(guest.model, tmp_path / "work", limit_s=limit))
    assert not list(tmp_path.rglob("slept")), "it was ended, not waited for"
    assert [outcome.check for outcome in outcomes] == [check.name for check in CHECKS]
    assert [(outcome.check, said in outcome.message) for outcome in outcomes if outcome.status == "failed"] == [
        (FIRST, True)
    ]
    assert {outcome.status for outcome in outcomes[1:]} == {"not tried"}


def test_what_a_plugin_leaves_running_is_ended_too(tmp_path: Path) -> None:
    left = tmp_path / "left"
    planted = (
        "import subprocess, sys, os\n"
        f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(left)!r}, 'w').write(str(child.pid))\nos._exit(1)"
    )
    with choose(str(project(tmp_path, planted)), tmp_path / "metadata") as (guest,):
        list(examine(guest.model, tmp_path / "work", limit_s=60))
    status = Path(f"/proc/{left.read_text()}/stat")
    if not Path("/proc/self/stat").is_file():
        pytest.skip("no /proc here to see processes by")
    deadline = time.monotonic() + 10
    while status.is_file() and status.read_text().rpartition(")")[2].split()[0] != "Z" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not status.is_file() or status.read_text().rpartition(")")[2].split()[0] == "Z"


def run_check(*arguments: str | Path) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(["plugin", "check", *map(str, arguments)])
    return code, out.getvalue(), err.getvalue()


def test_a_failed_check_is_a_gate_that_refused(tmp_path: Path) -> None:
    folder = project(tmp_path, "raise RuntimeError('boom')")
    code, out, _ = run_check(folder)
    assert code == 3
    lines = out.splitlines()
    assert lines[0].startswith("guest_softmax ")
    assert lines[1].startswith(f"  FAIL  {FIRST}: ")
    assert "zoo-guest 0.1.0" in lines[1]
    assert lines[-1] == "1 check failed"
    assert f"{len(CHECKS) - 1} checks" in lines[2]
    assert f"'{CHECKS[1]}'" in lines[2]
    assert len(lines) == 4
    code, out, _ = run_check(folder, "--json")
    document = json.loads(out)
    assert (code, document["passed"], len(document["models"][0]["checks"])) == (3, False, len(CHECKS))


def test_what_is_not_there_is_said_with_what_could_be_meant(tmp_path: Path) -> None:
    for target in ("nosuch", tmp_path / "nowhere", "zoo_plugins"):
        code, out, err = run_check(target, "--json")
        error = json.loads(out)["error"]
        assert (code, len(err.splitlines())) == (1, 1)
        assert (error["code"], error["target"]) == ("plugin-target", str(target))


@pytest.mark.parametrize(
    ("target", "models"),
    [
        ("svm", ["svm"]),
        ("simple_cnn", ["simple_cnn"]),
        ("zoo_plugins.simple_cnn", ["simple_cnn"]),
        ("zoo_plugins.simple_cnn:SimpleCNN", ["simple_cnn"]),
        ("timm/vgg11", ["timm/vgg11"]),
    ],
)
def test_a_target_is_a_model_a_plugin_or_a_module(target: str, models: list[str], tmp_path: Path) -> None:
    with choose(target, tmp_path / "metadata") as chosen:
        assert [one.model for one in chosen] == models


def test_a_distribution_is_all_its_models(tmp_path: Path) -> None:
    with choose("EdgeZoo", tmp_path / "metadata") as chosen:
        assert {"simple_cnn", "svm", "resnet18"} < {one.model for one in chosen}
    with choose("cspnet", tmp_path / "metadata") as chosen:
        assert len(chosen) > 1
        assert {one.plugin for one in chosen} == {"cspnet"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda text: text.replace("[project]", "[project"), "plugin-project"),
        (lambda text: text.replace('"zoo.plugins"', '"other"'), "plugin-project"),
        (lambda text: text.replace('"zoo.catalogues"', '"other"'), "plugin-no-model"),
        (lambda text: text.replace('version = "0.1.0"', 'version = "../../0"'), "plugin-project"),
    ],
)
def test_a_project_that_can_not_be_found_out_says_what_is_missing(change, code: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = project(tmp_path)
    metadata = folder / "pyproject.toml"
    metadata.write_text(change(metadata.read_text()))
    with refused(code, PluginError), choose(str(folder), tmp_path / "metadata"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "metadata") == ["guest"]
