"""The storage provider itself: what it takes, and how an object becomes a file.

What this module does not know: what the objects hold. They are stored as they came, and nobody's data is read or
logged here.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from pydicom.uid import UID
from pynetdicom import AE, AllStoragePresentationContexts, _config, evt
from pynetdicom.dsutils import encode_file_meta
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.sop_class import Verification

from zoo._support.files import atomic_path, refuse_unwritable
from zoo._support.text import brief, printable
from zoo.edge._receive.settings import LONGEST_TITLE
from zoo.edge._receive.sockets import Server
from zoo.errors import OutputError
from zoo.readers._dicom_elements import is_uid
from zoo.readers._dicom_pixels import list_syntaxes

if TYPE_CHECKING:
    from collections.abc import Callable

    from zoo.edge._receive.settings import Settings

__all__ = ["Counts", "run"]

_SUCCESS, _NO_RESOURCES, _NOT_UNDERSTOOD, _OTHER_CLASS = 0x0000, 0xA700, 0xC000, 0xA900
"""Statuses of C-STORE (PS3.4 section B.2.3)."""
_LEFT = 3600.0
"""Seconds after which a half-written file belongs to nobody."""
_TO_ASK = 5.0
"""Seconds for asking for an association; one that never asks holds a place so long, even where it has gone."""
_LONGEST_COMMAND = 2**16
"""Bytes of a command at most; one of C-STORE has some hundreds."""
_MOST_WAITING = 100
"""Messages that wait in memory at most; a sender that keeps to the standard waits for each answer."""
_SAID_AGAIN = 60.0
"""Seconds after which the same refusal of the same sender is a line again."""
_SYNTAXES = 0x04
"""Result of a presentation context whose class is known, and none of its transfer syntaxes (PS3.8 section 9.3.3.2)."""
_LONGEST_UID = 64
_PREAMBLE = bytes(128) + b"DICM"

log = logging.getLogger("zoo")


@dataclass(slots=True)
class Counts:
    """What was received.

    Attributes:
        stored: objects that got Success.
        refused: objects that did not, those that were too large among them; associations that were rejected, or in
            which a class was not agreed; connections that asked for none.
    """

    stored: int = 0
    refused: int = 0


@dataclass(slots=True)
class _Sender:
    """What one association holds in memory: bytes of its objects, and of the command that is not whole yet."""

    data: int = 0
    command: int = 0
    cut_off: bool = False


class _Store:
    """The folder, and what each sender has sent that is not in it yet."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.counts = Counts()
        self._folder, self._settings, self._most = folder, settings, settings.most_bytes
        self._silent: set[Any] = set()
        """Associations whose connection is open, and whose sender has not asked yet."""
        self._senders: WeakKeyDictionary[Any, _Sender] = WeakKeyDictionary()
        self._counting = threading.Lock()
        self._writing = threading.Lock()  # also because `atomic_path` asks for the umask, which all threads share

    def count(self, event: Any) -> None:
        """A part of a message came; a sender of what waits for too much memory is cut off."""
        if not isinstance(event.pdu, P_DATA_TF):
            return
        with self._counting:
            sender = self._senders.setdefault(event.assoc, _Sender())
            longest = 0
            for item in event.pdu.presentation_data_value_items:
                value = item.presentation_data_value or b"\x00"
                if value[0] & 1:  # a command (PS3.8 annex E.2), not its data
                    sender.command += len(value) - 1
                    longest = max(longest, sender.command)
                    if value[0] & 2:  # its last part
                        sender.command = 0
                else:
                    sender.data += len(value) - 1
            why = None
            if longest > _LONGEST_COMMAND:
                why = f"a command of more than {_LONGEST_COMMAND} bytes"
            elif sender.data > self._most:
                why = f"an object of more than {self._most} bytes"
            elif event.assoc.dimse.msg_queue.qsize() > _MOST_WAITING:
                why = f"more than {_MOST_WAITING} messages before the first was answered"
            if why is None or sender.cut_off:
                return
            sender.cut_off = True
        self._refuse(event.assoc, why)
        event.assoc.abort()

    def open(self, event: Any) -> None:
        """A connection is there."""
        with self._counting:
            self._silent.add(event.assoc)

    def request(self, event: Any) -> None:
        """Its sender asks for an association."""
        with self._counting:
            self._silent.discard(event.assoc)

    def say_strangers(self) -> None:
        """Refuse connections that ended before an association was asked for."""
        with self._counting:
            gone = [one for one in self._silent if one.ident is not None and not one.is_alive()]
            self._silent.difference_update(gone)
        for association in gone:
            self._refuse(association, "the connection asked for no association; is it DICOM?")

    def reject(self, event: Any) -> None:
        """An association was rejected: by its titles, or because there are too many."""
        asked, settings = event.assoc.requestor.primitive, self._settings
        if asked.called_ae_title != settings.title.strip():
            why = f"it calls {_title(asked.called_ae_title)}, this is {settings.title}"
        elif settings.senders and asked.calling_ae_title not in [one.strip() for one in settings.senders]:
            why = "no --allow-aet names this title"
        else:
            why = f"{settings.most_associations} associations are open"
        self._refuse(event.assoc, why)

    def accept(self, event: Any) -> None:
        """An association was agreed to, perhaps not for each class of objects that was asked for."""
        agreed = {one.abstract_syntax for one in event.assoc.accepted_contexts}
        missing = {one.abstract_syntax: one.result for one in event.assoc.rejected_contexts}
        said = [
            f"{printable(UID(uid).keyword or uid)[:_LONGEST_UID]}{' in its transfer syntaxes' * (result == _SYNTAXES)}"
            for uid, result in missing.items()
            if uid not in agreed
        ]
        if said:
            self._refuse(event.assoc, f"not agreed to {brief(said)}")

    def keep(self, event: Any) -> int:
        """Store an object; returns the status for its sender."""
        data = event.request.DataSet
        size = 0 if data is None else data.getbuffer().nbytes
        try:
            return self._keep(event)
        finally:
            with self._counting:
                self._senders.setdefault(event.assoc, _Sender()).data -= size

    def _keep(self, event: Any) -> int:
        request, context = event.request, event.context
        uid, kind = str(request.AffectedSOPInstanceUID or ""), str(request.AffectedSOPClassUID or "")
        if kind != context.abstract_syntax:
            return self._refuse(event.assoc, "an object of another class than was agreed", _OTHER_CLASS)
        if not is_uid(uid) or request.DataSet is None:
            return self._refuse(event.assoc, "an object without data, or whose UID is none", _NOT_UNDERSTOOD)
        data = request.DataSet.getbuffer()
        digest = hashlib.sha256(context.transfer_syntax.encode())
        digest.update(data)
        if not self._folder.is_dir():  # a share that is away: a new folder in its place would be found by nobody
            return self._refuse(event.assoc, f"the folder {self._folder} is not there", _NO_RESOURCES)
        target = self._folder / f"{uid}-{digest.hexdigest()[:16]}.dcm"
        try:
            with self._writing, atomic_path(target) as temporary, temporary.open("wb") as stream:
                for part in (_PREAMBLE, encode_file_meta(event.file_meta), data):
                    stream.write(part)
        except OutputError as problem:
            return self._refuse(event.assoc, f"cannot write: {problem.fields.get('cause')}", _NO_RESOURCES)
        with self._counting:
            self.counts.stored += 1
        return _SUCCESS

    def _refuse(self, association: Any, why: str, status: int = _NO_RESOURCES) -> int:
        """Count and say it: the sender's title and address, nothing of the object."""
        with self._counting:
            self.counts.refused += 1
        sender = association.requestor
        log.warning(
            "refused from %s at %s: %s",
            _title(sender.ae_title) or "a sender without a title",
            sender.address,
            why,
            extra={"again_after": _SAID_AGAIN},
        )
        return status


def _title(text: str) -> str:
    """An AE title as a line shows it; a stranger may have written anything there."""
    return printable(text.strip())[:LONGEST_TITLE]


def run(
    folder: str | Path,
    settings: Settings,
    *,
    announce: Callable[[str, int], None],
    rest: Callable[[Counts], bool],
) -> Counts:
    """See `zoo.edge._receive.receive`."""
    # Else it words each message for a log that nobody reads. Each association binds that by itself when it is made, and
    # neither the entity nor the server has an argument for it.
    _config.LOG_HANDLER_LEVEL = "none"
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            pass  # it can be written
        _clear(place)
    except OSError as problem:
        raise refuse_unwritable(place, problem) from None
    store = _Store(place, settings)
    entity = _entity(settings)
    handlers = [
        (evt.EVT_CONN_OPEN, store.open),
        (evt.EVT_REQUESTED, store.request),
        (evt.EVT_REJECTED, store.reject),
        (evt.EVT_ACCEPTED, store.accept),
        (evt.EVT_C_STORE, store.keep),
        (evt.EVT_PDU_RECV, store.count),
    ]
    try:
        server = entity.make_server(
            (settings.host, settings.port), evt_handlers=handlers, server_class=Server, seconds=settings.seconds
        )
    except OSError as problem:
        raise OutputError(
            f"cannot listen on {settings.host}:{settings.port}: {(problem.strerror or str(problem)).lower()}; choose "
            "another address or port",
            code="port-taken",
            host=settings.host,
            port=settings.port,
        ) from None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        announce(*server.server_address[:2])
        while rest(store.counts):
            store.say_strangers()
    finally:
        server.stop()
        thread.join()
    return store.counts


def _clear(place: Path) -> None:
    """Remove what receivers that were killed had half written, and no other receiver is writing."""
    for left in place.glob(".*.dcm.*.part"):
        with contextlib.suppress(FileNotFoundError):  # whole by now, or another receiver has removed it
            if time.time() - left.stat().st_mtime > _LEFT:
                left.unlink()


def _entity(settings: Settings) -> AE:
    """The application entity: which classes of objects in which transfer syntaxes, from whom, how many at a time."""
    entity = AE(settings.title)
    entity.add_supported_context(Verification)
    syntaxes = list_syntaxes()
    for context in AllStoragePresentationContexts:
        if "Image" in context.abstract_syntax.keyword:
            entity.add_supported_context(context.abstract_syntax, syntaxes)
    entity.require_called_aet = True
    entity.require_calling_aet = list(settings.senders)
    entity.maximum_associations = settings.most_associations
    entity.acse_timeout = min(_TO_ASK, settings.seconds)
    entity.dimse_timeout = entity.network_timeout = settings.seconds
    return entity
