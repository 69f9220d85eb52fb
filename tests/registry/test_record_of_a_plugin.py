"""Which installed code made a network: one wheel gives one value on every machine, other code another."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint, PathDistribution
from typing import TYPE_CHECKING

import pytest

from zoo.registry._installed import record_of

if TYPE_CHECKING:
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
