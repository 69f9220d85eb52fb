"""What a receiver refuses is said and counted, and a folder that is gone is no success.

What would be wrong with the product: a scanner whose title is mistyped, and a log that says that nothing was refused.
"""

from __future__ import annotations

import logging
import socket
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("pynetdicom", reason="the extra 'dicom-net' is not installed")

from dicom_senders import associated, receiving, send, slices
from pydicom.uid import ComprehensiveSRStorage, CTImageStorage
from pynetdicom.sop_class import Verification

from zoo.edge._receive import Settings
from zoo.edge._receive.server import _Store

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.edge._receive.server import Counts


def refusals(caplog: pytest.LogCaptureFixture, counts: Counts, number: int) -> list[str]:
    """The lines, once so many were refused."""
    deadline = time.monotonic() + 20
    while counts.refused < number and time.monotonic() < deadline:
        time.sleep(0.02)
    assert counts.refused == number
    found = [one for one in caplog.records if one.name == "zoo"]
    assert all(one.again_after > 0 for one in found), "the same line comes again after a while"  # type: ignore[attr-defined]
    return [one.getMessage() for one in found]


def test_titles_classes_and_strangers_that_are_refused_are_lines_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with receiving(tmp_path, senders=("CT1",), seconds=1.0) as (port, counts):
        for calling, called in (("CT1", "ZOO"), ("CT9", "ZOO"), ("CT1", "OTHER")):
            with associated(port, [Verification], calling=calling, called=called):
                pass
        wrong, elsewhere = refusals(caplog, counts, 2)
        assert "CT9" in wrong
        assert "OTHER" in elsewhere
        with associated(port, [CTImageStorage, ComprehensiveSRStorage], calling="CT1") as association:
            assert association.is_established
        unagreed = refusals(caplog, counts, 3)[-1]
        assert "ComprehensiveSRStorage" in unagreed
        assert "CTImageStorage" not in unagreed
        for said in (b"GET / HTTP/1.1\r\n\r\n", b"\x09" * 50, b""):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as stranger:
                stranger.sendall(said)
        lines = refusals(caplog, counts, 6)
        assert all("127.0.0.1" in line for line in lines)
        assert not [line for line in lines if "GET" in line]


def test_a_title_of_a_stranger_is_cut_and_forges_no_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = _Store(tmp_path, Settings(senders=("CT1",)))
    asked = SimpleNamespace(called_ae_title="ZOO\nzoo: fine" + "y" * 99, calling_ae_title="CT1")
    stranger: Any = SimpleNamespace(ae_title="A\x1b[31m\n" + "x" * 99, address="10.0.0.7", primitive=asked)
    store.reject(SimpleNamespace(assoc=SimpleNamespace(requestor=stranger)))
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.isprintable()
    assert len(line) < 120
    assert store.counts.refused == 1


def test_a_folder_that_is_gone_is_not_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A share that is not mounted: what is stored in its place would be found by nobody."""
    caplog.set_level(logging.WARNING)
    first, second = slices(2)
    spool = tmp_path / "spool"
    with receiving(spool) as (port, counts):
        assert send(port, first) == [0]
        away = spool.rename(tmp_path / "away")
        assert send(port, second) == [0xA700]
        assert not spool.exists()
        assert str(spool) in refusals(caplog, counts, 1)[0]
        away.rename(spool)
        assert send(port, second) == [0]
    assert len(list(spool.iterdir())) == 2
