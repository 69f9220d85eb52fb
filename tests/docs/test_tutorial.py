"""The tutorial works as it is printed: every command of it, in order, in an empty folder, and prints what is shown.

The environments that it makes start with what this interpreter has installed, so nothing is downloaded; pip is told to
ask no index and to build with the installed hatchling.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest
from page_blocks import blocks, matches

PAGE = "docs/tutorial-plugin.md"
NOT_RUN = 2
"""Shell blocks that need an account elsewhere; one more asks for a reason."""

pytestmark = pytest.mark.slow


class Shell:
    """A shell that is kept between commands: its folder and its variables."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / ".shell"
        paths = [str(Path(sys.executable).parent), *os.environ["PATH"].split(os.pathsep)]
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PIP_", "VIRTUAL_ENV"))
        }
        self.variables = kept | {
            "COLUMNS": "90",
            "HOME": str(folder),
            "OMP_NUM_THREADS": "1",
            "PATH": os.pathsep.join(paths),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip reads this as the option --no-build-isolation
            "PIP_NO_DEPS": "1",
            "PIP_NO_INDEX": "1",
            "ZOO_HOME": str(folder / ".home"),
            "ZOO_OFFLINE": "1",
        }

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """One command; what it changes in folder and variables stays."""
        kept = f'pwd > "{self.state}.pwd"; env -0 > "{self.state}.env"'
        script = f"set -e; set -a\n{command}\nset +a; {kept}"
        done = subprocess.run(
            ["/bin/bash", "-c", script],
            cwd=self.folder,
            env=self.variables,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            self.folder = Path(Path(f"{self.state}.pwd").read_text().strip())
            pairs = Path(f"{self.state}.env").read_text().split("\0")
            self.variables = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        return done


def furnish(environment: Path) -> None:
    """Give a new environment what `pip install edgezoo[train]` would: this interpreter's packages, and `zoo`."""
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(environment), "platbase": str(environment)}))
    own = sysconfig.get_path("purelib")
    (packages / "inherited.pth").write_text(f"import site; site.addsitedir({own!r})\n")
    zoo = environment / "bin" / "zoo"
    zoo.write_text(f"#!{environment}/bin/python\nimport sys\nfrom zoo_cli.main import main\nsys.exit(main())\n")
    zoo.chmod(0o755)


@pytest.mark.skipif(os.name != "posix", reason="the tutorial's commands are a POSIX shell's")
def test_every_command_of_the_tutorial_works_and_prints_what_is_shown(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    ran = 0
    took = []
    for block in blocks(PAGE):
        if block.title:
            place = shell.folder / block.title
            assert place.parent.is_dir(), f"{PAGE}:{block.line}: {block.title} has no folder yet"
            place.write_text(block.text, encoding="utf-8")
        if not block.is_shell or block.not_run:
            continue
        for step in block.steps:
            begun = time.perf_counter()
            done = shell.run(step.command)
            took.append(f"{time.perf_counter() - begun:6.1f} s  {step.command}")
            where = f"{PAGE}:{step.line}: {step.command}"
            said = f"{where}\nexit {done.returncode}\n{done.stdout}\n{done.stderr}"
            assert done.returncode == 0, said
            assert matches(step.shown, done.stdout), (
                f"{where}\nshown:\n{chr(10).join(step.shown)}\nprinted:\n{done.stdout}"
            )
            ran += 1
            if " -m venv " in f"{step.command} ":
                furnish((shell.folder / step.command.split()[-1]).resolve())
    logging.getLogger("tutorial").info("%s", "\n".join(took))
    assert ran > 20


def test_what_is_not_run_is_counted() -> None:
    tagged = [block for block in blocks(PAGE) if block.is_shell and block.not_run]
    assert len(tagged) == NOT_RUN, [f"{block.line}: {block.not_run}" for block in tagged]
    assert all("account" in str(block.not_run) for block in tagged)
