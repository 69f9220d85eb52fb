"""Senders of DICOM objects, as hospitals have them: pynetdicom over a socket of this machine."""

from __future__ import annotations

import contextlib
import threading
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import MRImageStorage, generate_uid
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from zoo.edge._receive import Settings, receive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom.dataset import Dataset

    from zoo.edge._receive.server import Counts


def bundled(name: str) -> Path:
    """A DICOM file that pydicom ships."""
    found = get_testdata_file(name, download=False)
    assert isinstance(found, str)
    return Path(found)


def slices(count: int) -> list[Dataset]:
    """Magnetic resonance images of one small picture, each with a UID of its own and another brightness."""
    made = []
    for number in range(count):
        one = dcmread(bundled("MR_small.dcm"))
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(number)])
        one.RescaleSlope, one.RescaleIntercept = 1, number
        made.append(one)
    return made


@contextlib.contextmanager
def receiving(folder: Path, **settings: Any) -> Iterator[tuple[int, Counts]]:
    """A receiver in a thread of this process: its port, and what it received so far."""
    ready, end = threading.Event(), threading.Event()
    held: list[Any] = [0, None]

    def announce(_: str, port: int) -> None:
        held[0] = port

    def rest(counts: Counts) -> bool:
        held[1] = counts
        ready.set()
        return not end.wait(0.02)

    def run() -> None:
        try:
            receive(folder, Settings(**{"port": 0, "seconds": 5.0} | settings), announce=announce, rest=rest)
        finally:
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(30)
    try:
        yield held[0], held[1]
    finally:
        end.set()
        thread.join()


@contextlib.contextmanager
def associated(
    port: int, contexts: list[Any], *, calling: str = "SCANNER", called: str = "ZOO", patience: float = 20
) -> Iterator[Any]:
    """An association with a receiver; each context is a class, or a class and a transfer syntax.

    pynetdicom waits all its patience, in seconds, for a receiver that was killed.
    """
    entity = AE(calling)
    for context in contexts:
        entity.add_requested_context(*(context if isinstance(context, tuple) else (context,)))
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = patience
    association = entity.associate("127.0.0.1", port, ae_title=called)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        if association.is_alive():
            association.kill()
            association.join(10)
        elif association.dul.socket is not None and association.dul.socket.socket is not None:
            association.dul.socket.socket.close()  # pynetdicom leaves it open where nobody listened


def send(port: int, *objects: Dataset, patience: float = 20) -> list[int | None]:
    """The status of each object; None: the association ended before it was answered."""
    contexts = [*{(str(one.SOPClassUID), str(one.file_meta.TransferSyntaxUID)) for one in objects}]
    statuses: list[int | None] = []
    with associated(port, contexts, patience=patience) as association:
        for one in objects:
            try:
                answered = association.send_c_store(one)
            except (RuntimeError, ValueError):  # the association ended, or no context was agreed
                statuses.append(None)
            else:
                statuses.append(answered.Status if answered else None)
    return statuses


def ask(association: Any, one: Dataset, uid: str) -> None:
    """Send a request to store, and wait for no answer."""
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = MRImageStorage, uid
    request.DataSet = BytesIO(encode(one, False, True) or b"")
    contexts = {each.abstract_syntax: each.context_id for each in association.accepted_contexts}
    association.dimse.send_msg(request, contexts[MRImageStorage])
