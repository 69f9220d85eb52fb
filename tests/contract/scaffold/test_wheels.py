"""The proof of the door: wheels of the project and of a third party's, in an environment that knows no checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from scaffold_projects import ROOT

from zoo.contract import CHECKS, colour_folder
from zoo.contract.scaffold import FRAMEWORKS, TEMPLATES

if TYPE_CHECKING:
    from zoo.contract.scaffold import Framework

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Environment:
    """A virtual environment and a folder outside the repository to work in."""

    python: Path
    here: Path

    def run(self, *command: str | Path, cwd: Path | None = None) -> str:
        """The stdout of a command that must succeed."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ZOO", "PYTEST"))}
        clean |= {"PATH": f"{self.python.parent}{os.pathsep}{clean['PATH']}", "ZOO_CACHE_GB": "0"}
        done = subprocess.run(command, cwd=cwd or self.here, env=clean, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def zoo(self, *arguments: str | Path) -> Any:
        """The document of a verb."""
        return json.loads(self.run(self.python.with_name("zoo"), *arguments, "--json"))

    def install(self, *what: str | Path) -> None:
        """Without an index, and without what these need, which the environment has."""
        options = ("--no-index", "--no-deps", "--no-build-isolation", "--quiet", "--disable-pip-version-check")
        self.run(sys.executable, "-m", "pip", "--python", str(self.python), "install", *options, *what)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Our wheel and the example's, freshly built, beside the packages that these tests run with.

    The path of those packages is one line in a .pth file: an editable installation among them stays out of sight,
    because its own .pth file is not read there.
    """
    pytest.importorskip("hatchling", reason="the wheels are built with hatchling")
    root = tmp_path_factory.mktemp("wheels")
    for project in (ROOT, ROOT / "examples" / "zoo-acme"):
        build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir"]
        subprocess.run([*build, root / "dist", project], cwd=root, check=True, env=_without_path())
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root / "env"], check=True)
    python = root / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    Path(site, "others.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    (root / "elsewhere").mkdir()
    made = Environment(python, root / "elsewhere")
    made.install(*sorted((root / "dist").glob("*.whl")))
    where = made.run(python, "-c", "import zoo, zoo_acme, zoo_cli; print(zoo.__file__, zoo_acme.__file__)")
    assert all(path.startswith(site) for path in where.split()), f"not from the wheels: {where}"
    return made


def _without_path() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def test_the_wheel_brings_every_template(environment: Environment) -> None:
    where = environment.run(
        environment.python, "-c", "from zoo.contract.scaffold import TEMPLATES; print(TEMPLATES)"
    ).strip()
    ours, theirs = (
        {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (TEMPLATES, Path(where))
    )
    assert ours == theirs


def test_a_third_partys_wheel_goes_the_whole_way(environment: Environment) -> None:
    """list, check, train, compare against a built-in, export, predict: with nothing but what was installed."""
    pictures = colour_folder(environment.here / "pictures", per_class=12)
    rows = {row["name"]: row for row in environment.zoo("list")}
    assert (rows["acme_net"]["distribution"], rows["acme_net"]["status"]) == ("zoo-acme", "ok")
    checked = environment.zoo("plugin", "check", "zoo-acme")
    assert checked["passed"]
    assert [check["check"] for check in checked["models"][0]["checks"]] == [check.name for check in CHECKS]
    budget = ("--data", pictures, "--epochs", "2")
    trained = environment.zoo("train", "acme_net", *budget)
    record = json.loads((environment.here / trained["run"] / "run.json").read_text())
    assert (record["plugin"]["distribution"], len(record["plugin"]["record"])) == ("zoo-acme", 64)
    compared = environment.zoo("compare", trained["run"], "simple_cnn", *budget)
    assert [model["name"] for model in compared["models"]] == ["acme_net", "simple_cnn"]
    exported = environment.zoo("export", trained["run"], "--onnx", "--bundle", "--out", "acme.zoo")
    assert exported["parity"]["flips"] == 0
    (answer,) = environment.zoo("predict", "acme.zoo", pictures / "red" / "0.png")
    assert set(answer["probabilities"]) == {"blue", "green", "red"}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_new_project_installs_and_passes_its_own_tests(environment: Environment, framework: Framework) -> None:
    made = environment.zoo("plugin", "new", f"zoo-fresh-{framework}", "--framework", framework)
    project = environment.here / made["path"]
    environment.install("--editable", project)
    names = {row["name"]: row["status"] for row in environment.zoo("list", "--family", made["plugin"])}
    assert names == {made["model"]: "ok"}
    said = environment.run(environment.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=project)
    assert f"{len(CHECKS) - 1} passed, 1 skipped" in said
