"""Public names that are loaded when they are first used."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

from zoo._support.names import at_first_use


def test_a_name_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("package")
    monkeypatch.setitem(sys.modules, "package", package)
    assert at_first_use("package", {"string": "digits capwords"})("digits") == "0123456789"
    assert vars(package)["digits"] == "0123456789"
    assert "capwords" not in vars(package)


def test_importing_the_zoo_loads_no_verb() -> None:
    """A device that predicts wants neither what trains nor the catalogue."""
    code = "import sys, zoo.edge; zoo.edge.Runtime; print(*(m for m in sys.modules if m.startswith('zoo.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "zoo.edge._runtime" in done.stdout.split()
    assert [name for name in done.stdout.split() if name.startswith(("zoo.workflow", "zoo.registry"))] == []
