"""What a sender can make the DICOM receiver hold in memory: commands, objects and messages that wait.

What would be wrong with the product: one device with a defect takes the memory of the machine, and all others wait.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest
from waiting import wait_until

pytest.importorskip("pynetdicom", reason="the extra 'dicom-net' is not installed")

from dicom_senders import ask, associated, receiving, slices
from pydicom.uid import MRImageStorage
from pynetdicom.dimse_primitives import C_ECHO
from pynetdicom.dsutils import encode
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.sop_class import Verification

from zoo.edge._receive import server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_a_command_without_end_ends_its_association(tmp_path: Path) -> None:
    """Its parts wait in memory as those of an object do, and no limit of an object counts them."""
    with receiving(tmp_path) as (port, counts), associated(port, [MRImageStorage]) as association:
        part = P_DATA()
        part.presentation_data_value_list = [[association.accepted_contexts[0].context_id, b"\x01" + bytes(8000)]]
        for _ in range(20):
            association.dul.send_pdu(part)
        wait_until(lambda: not association.is_established)
        assert (counts.stored, counts.refused) == (0, 1)


def test_objects_that_wait_while_others_are_written_stay_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight fit into the limit, twice eight do not, whatever was stored between."""
    written, real, came, count = threading.Semaphore(0), server.atomic_path, [0], server._Store.count

    @contextlib.contextmanager
    def wait_and_write(target: Path) -> Iterator[Path]:
        written.acquire()
        with real(target) as temporary:
            yield temporary

    def count_also(store: Any, event: Any) -> None:
        count(store, event)
        values = [one.presentation_data_value for one in getattr(event.pdu, "presentation_data_value_items", ())]
        came[0] += sum(value[0] == 2 for value in values)  # the last part of an object

    monkeypatch.setattr(server, "atomic_path", wait_and_write)
    monkeypatch.setattr(server._Store, "count", count_also)
    objects = slices(17)
    size = len(encode(objects[0], False, True) or b"")
    context = (MRImageStorage, objects[0].file_meta.TransferSyntaxUID)
    with receiving(tmp_path, most_bytes=10 * size) as (port, counts), associated(port, [context]) as association:
        for one in objects[:9]:
            ask(association, one, str(one.SOPInstanceUID))
        wait_until(lambda: came[0] == 9)
        written.release()
        wait_until(lambda: counts.stored == 1)
        for one in objects[9:]:
            ask(association, one, str(one.SOPInstanceUID))
        wait_until(lambda: counts.refused == 1)
        written.release(20)
        wait_until(lambda: not association.is_established)


def test_messages_that_wait_are_counted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message without data costs memory that no count of data sees."""
    hold = threading.Event()
    keep = server._Store.keep
    monkeypatch.setattr(server._Store, "keep", lambda store, event: (hold.wait(30), keep(store, event))[1])
    (one,) = slices(1)
    wanted = [(MRImageStorage, one.file_meta.TransferSyntaxUID), Verification]
    with receiving(tmp_path) as (port, counts), associated(port, wanted) as association:
        contexts = {each.abstract_syntax: each.context_id for each in association.accepted_contexts}
        ask(association, one, str(one.SOPInstanceUID))
        echo = C_ECHO()
        echo.MessageID, echo.AffectedSOPClassUID = 2, Verification
        for _ in range(200):
            association.dimse.send_msg(echo, contexts[Verification])
        wait_until(lambda: counts.refused == 1)
        hold.set()
