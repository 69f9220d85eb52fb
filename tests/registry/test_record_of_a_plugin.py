"""Which installed code made a network: one wheel gives one value on every machine, other code another."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.metadata import EntryPoint, PathDistribution
from typing import TYPE_CHECKING

import pytest

from zoo import registry
from zoo.registry._code import find_changed_files, record_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CODE = "acme/model.py,sha256=AAAA,10\nacme_1.dist-info/METADATA,sha256=BBBB,20\n"


def installed(site: Path, record: str | None, direct: dict[str, object] | None = None) -> str | None:
    info = site / "acme-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: acme\nVersion: 1\n")
    if record is not None:
        (info / "RECORD").write_text(record)
    if direct is not None:
        (info / "direct_url.json").write_text(json.dumps(direct))
    point = EntryPoint("acme", "acme.model:Acme", "zoo.plugins")
    vars(point).update(dist=PathDistribution(info))
    return record_of(point)


def test_what_an_installer_adds_does_not_count(tmp_path: Path) -> None:
    plain = installed(tmp_path / "a", CODE + "acme-1.dist-info/RECORD,,\n")
    noisy = installed(
        tmp_path / "b",
        "acme-1.dist-info/RECORD,,\nacme/__pycache__/model.cpython-311.pyc,,\n../../../bin/acme,sha256=CCCC,9\n"
        "acme-1.dist-info/INSTALLER,sha256=DDDD,4\nacme-1.dist-info/direct_url.json,sha256=EEEE,4\n" + CODE,
        {"url": "file:///acme", "dir_info": {}},
    )
    assert plain is not None
    assert plain == noisy


def test_other_code_gives_another_value(tmp_path: Path) -> None:
    assert installed(tmp_path / "a", CODE) != installed(tmp_path / "b", CODE.replace("AAAA", "AAAB"))
    assert installed(tmp_path / "c", CODE) != installed(tmp_path / "d", CODE.replace("model.py", "module.py"))


@pytest.mark.parametrize(
    ("record", "direct"),
    [(None, None), ("", None), (CODE, {"dir_info": {"editable": True}}), (CODE, {"dir_info": 3})],
)
def test_what_can_not_be_vouched_for_has_no_value(
    tmp_path: Path, record: str | None, direct: dict[str, object] | None
) -> None:
    assert installed(tmp_path, record, direct) is None


GOOD = """
from zoo.plugin import ModelPlugin

class P(ModelPlugin):
    def train(self, card, data, config, run, context): ...
    def load(self, card, run): ...
"""


def test_an_edit_of_a_plugin_shows_in_what_a_run_records(install: Callable[..., Path]) -> None:
    """Also where its RECORD says nothing, as in an editable installation."""
    folder = install("acme", code=GOOD, plugins={"p": "acme:P"})
    before = registry.load("p").origin
    assert before == registry.load("p").origin
    assert before.api == 1
    (folder / "acme" / "table.yaml").write_text("depth: 3\n")
    (folder / "acme" / "notes.txt").write_text("no code\n")
    after = registry.load("p").origin
    assert before.contents is not None
    assert before.contents != after.contents
    (folder / "acme" / "table.yaml").unlink()
    assert registry.load("p").origin.contents == before.contents


def _recorded(folder: Path, files: dict[str, str]) -> EntryPoint:
    rows = []
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={digest},{len(text)}\n")
    info = folder / "acme-1.dist-info"
    info.mkdir()
    (info / "RECORD").write_text("".join(rows) + "acme-1.dist-info/RECORD,,\n")
    point = EntryPoint("acme", "acme.model:Acme", "zoo.plugins")
    vars(point).update(dist=PathDistribution(info))
    return point


def test_files_that_are_not_what_was_installed_are_named(tmp_path: Path) -> None:
    point = _recorded(tmp_path, {"acme/model.py": "x = 1\n", "acme/other.py": "y = 1\n", "acme/third.py": "z = 1\n"})
    assert find_changed_files(point) == ()
    (tmp_path / "acme/model.py").write_text("x = 2\n")
    (tmp_path / "acme/third.py").unlink()
    assert find_changed_files(point) == ("acme/model.py", "acme/third.py")


def test_doctor_names_a_plugin_that_was_changed_after_it_was_installed(
    install: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = install("acme", code=GOOD, plugins={"p": "acme:P"})
    wrong = base64.urlsafe_b64encode(hashlib.sha256(b"as released").digest()).rstrip(b"=").decode()
    (folder / "acme-1.0.dist-info" / "RECORD").write_text(f"acme/__init__.py,sha256={wrong},11\n")
    monkeypatch.setenv("ZOO_PLUGINS", "p")
    (row,) = (row for row in registry.check_plugins() if row.name == "p")
    assert row.state == "broken"
    assert "'acme/__init__.py'" in row.status
    assert "--force-reinstall acme" in row.status
