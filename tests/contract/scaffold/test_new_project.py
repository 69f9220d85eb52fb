"""`zoo plugin new`: what it writes, and what it refuses."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from refusals import refused
from scaffold_projects import ROOT, run_zoo

from zoo.contract import CHECKS, choose, examine
from zoo.contract.scaffold import FRAMEWORKS, TEMPLATES, names_for, new, project_files
from zoo.errors import OutputError
from zoo.registry._catalogue import Distribution, read

if TYPE_CHECKING:
    from zoo.contract.scaffold import Framework


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_no_word_is_left_open_and_every_part_is_valid(framework: Framework, tmp_path: Path) -> None:
    folder, names = new("Zoo_Blood.cells", framework, tmp_path / "blood")
    texts = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert not [path for path, text in texts.items() if "{{" in text or "template" in path or "PACKAGE" in path]
    project = tomllib.loads(texts["pyproject.toml"])["project"]
    assert project["name"] == "zoo-blood-cells"
    module, _, kind = project["entry-points"]["zoo.plugins"]["blood_cells"].partition(":")
    code = ast.parse(texts[f"src/{module.replace('.', '/')}.py"])
    assert kind in {node.name for node in code.body if isinstance(node, ast.ClassDef)}
    cards = read(folder / "src" / names.package / "registry.yaml", Distribution("zoo-blood-cells", "0"))
    assert list(cards) == [names.model]
    assert cards[names.model].licence == "apache-2.0" == project["license"].lower()
    assert names.model in texts["tests/test_model.py"]


def test_the_licence_it_writes_is_the_licence_it_names() -> None:
    assert (TEMPLATES / "common" / "LICENSE.template").read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.slow
def test_a_new_project_holds_to_the_contract_before_it_is_installed(tmp_path: Path) -> None:
    """Those of the other frameworks are installed and run their own tests in test_wheels.py."""
    folder, names = new("zoo-fresh", "other", tmp_path / "fresh")
    with choose(str(folder), tmp_path / "metadata") as chosen:
        assert [one.model for one in chosen] == [names.model]
        outcomes = list(examine(names.model, tmp_path / "work"))
    assert [outcome for outcome in outcomes if outcome.status != "passed"] == [
        outcome for outcome in outcomes if outcome.check.startswith("builds")
    ]
    assert len(outcomes) == len(CHECKS)


@pytest.mark.parametrize(
    ("name", "code", "meant"),
    [
        ("zoo-resnet", "name-taken", "resnet"),
        ("edgezoo", "name-taken", "edgezoo"),
        ("json", "name-invalid", "json"),
        ("class", "name-invalid", "class"),
        ("zoo", "name-invalid", "zoo"),
        ("3d", "name-invalid", "3d"),
        ("../escape", "name-invalid", "../escape"),
        ("-x", "name-invalid", "-x"),
        ("größe", "name-invalid", "größe"),
        ("a" * 99, "name-invalid", "a" * 80),
        ("", "name-invalid", ""),
        ("nul", "name-invalid", "nul"),
        ("zoo-null", "name-invalid", "null"),
        ("zoo-1-2", "name-invalid", "1_2"),
        ("zoo-1e5", "name-invalid", "1e5"),
        ("zoo-yes", "name-invalid", "yes"),
        ("yaml", "name-taken", "yaml"),
    ],
)
def test_a_name_that_can_not_be_used_is_refused_in_one_line(
    name: str, code: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_zoo("plugin", "new", "--framework", "torch", "--json", "--", name)
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    error = json.loads(done.out)["error"]
    assert (error["code"], error["name"]) == (code, meant)
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_that_name_is_refused_with_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_zoo("plugin", "new", "zoo-random", "--framework", "sklearn")
    assert done.code == 2
    assert all(word in done.err for word in ("'random_forest'", "edgezoo"))


def test_a_folder_that_is_there_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with refused("out-occupied", OutputError, path=str(tmp_path / "mine")):
        new("zoo-mine", "torch", tmp_path / "mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with refused("out-occupied", OutputError, path=str(tmp_path / "link")):
        new("zoo-mine", "torch", tmp_path / "link")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_nothing_half_written_stays_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def full(handle: int) -> None:
        written.append(handle)
        if len(written) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("zoo._support.files.os.fsync", full)
    with refused("output-unwritable", OutputError, path=str(tmp_path / "mine")):
        new("zoo-mine", "torch", tmp_path / "mine")
    assert list(tmp_path.iterdir()) == []


def test_writing_a_project_imports_no_framework(tmp_path: Path) -> None:
    code = (
        "import sys; from zoo_cli.main import main; "
        "assert main(['plugin', 'new', 'zoo-light', '--framework', 'torch', '--json']) == 0; "
        "sys.exit(' '.join({'torch', 'sklearn', 'timm', 'onnx', 'onnxruntime'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["files"] == sorted(project_files(names_for("zoo-light", "torch"), "torch"))


def test_the_example_is_what_the_command_writes_and_one_idea() -> None:
    """Else the example teaches what the command no longer does."""
    example = ROOT / "examples" / "zoo-acme"
    expected = project_files(names_for("zoo-acme", "torch"), "torch")
    ideas = {"src/zoo_acme/model.py", "src/zoo_acme/registry.yaml", "tests/test_orientations.py"}
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "."],
        cwd=example, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a checkout of git: which files belong to the example is not known")
    assert set(listed.stdout.split()) == set(expected) | ideas
    for path in set(expected) - ideas:
        assert (example / path).read_text() == expected[path], f"{path} differs from 'zoo plugin new zoo-acme'"
