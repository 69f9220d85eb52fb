"""The Docker files, as far as they can be held to without an engine: what they copy is enough to build and to run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _instructions(file: Path) -> list[tuple[str, str]]:
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def _copied(file: Path) -> list[str]:
    """What comes from the build context."""
    sources = []
    for word, rest in _instructions(file):
        if word == "COPY" and not rest.startswith("--from"):
            sources += rest.split()[:-1]
    return sources


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_everything_copied_is_there_and_let_through_by_dockerignore(file: Path) -> None:
    admitted = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert _copied(file)
    for source in _copied(file):
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, pattern) for pattern in admitted), f"{source} never reaches the build"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_image_does_not_run_as_root_and_starts_something_that_exists(file: Path) -> None:
    instructions = _instructions(file)
    last_stage = instructions[max(i for i, (word, _) in enumerate(instructions) if word == "FROM") :]
    values = dict(last_stage)
    assert int(values["USER"].split(":")[0]) >= 1000
    assert values["ENTRYPOINT"] in {'["python", "-m", "zoo.edge"]', f'["{next(iter(PROJECT["scripts"]))}"]'}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_extras_it_installs_are_ours(file: Path) -> None:
    (named,) = re.findall(r'"\.\[([a-z,]+)\]"', file.read_text())
    assert set(named.split(",")) <= set(PROJECT["optional-dependencies"])


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_whole_wheel_builds_from_what_is_copied_alone(file: Path, tmp_path: Path) -> None:
    context = tmp_path / "src"
    context.mkdir()
    for source in _copied(file):
        where = ROOT / source
        if where.is_dir():
            shutil.copytree(where, context / source, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(where, context / source)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(tmp_path), str(context)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    ours = subprocess.run(["git", "ls-files", "zoo"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert set(ours.stdout.split()) <= packed
    assert "zoo/registry.yaml" in packed
