"""The DICOM receiver against a sender that others wrote: Success means stored, and what is refused harms nothing.

What would be wrong with the product: an X-ray that a scanner believes to be sent and nobody has; a file outside the
folder; a patient's name in a log.
"""

from __future__ import annotations

import json
import logging
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from edge_models import deep_manifest, make_model
from refusals import refused
from stopping import full_disk, stopping_at

from zoo.edge import Runtime, watch
from zoo.edge._receive import Settings, receive
from zoo.errors import OutputError, UsageError
from zoo.readers import read

pytest.importorskip("pynetdicom", reason="the extra 'dicom-net' is not installed")

from dicom_senders import ask, associated, bundled, receiving, send, slices
from pydicom import dcmread
from pydicom.uid import (
    MPEG2MPML,
    ComprehensiveSRStorage,
    CTImageStorage,
    JPEG2000Lossless,
    MRImageStorage,
    RLELossless,
)
from pynetdicom.sop_class import Verification

from zoo.edge._receive import server

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

ROOT = Path(__file__).resolve().parents[2]
KILLS = 10
REAL = (
    "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "MR_small_jp2klossless.dcm",
    "CT_small.dcm", "JPEG2000.dcm", "SC_rgb_jpeg_dcmtk.dcm", "MR_small_jpeg_ls_lossless.dcm", "image_dfl.dcm",
)  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_an_object_becomes_a_file_with_the_same_pixels(tmp_path: Path, name: str) -> None:
    original = dcmread(bundled(name))
    with receiving(tmp_path / "spool") as (port, counts):
        assert send(port, original) == [0x0000]
        assert counts.stored == 1
    (stored,) = (tmp_path / "spool").iterdir()
    assert stored.name.startswith(f"{original.SOPInstanceUID}-")
    assert stored.suffix == ".dcm"
    assert dcmread(stored).file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
    np.testing.assert_array_equal(read(stored).pixels, read(bundled(name)).pixels)


def test_a_receiver_answers_an_echo(tmp_path: Path) -> None:
    with receiving(tmp_path) as (port, _), associated(port, [Verification]) as association:
        assert association.send_c_echo().Status == 0x0000


def test_the_same_object_again_is_one_file_and_other_content_another(tmp_path: Path) -> None:
    """Senders repeat what they are not sure of; devices also use a UID twice."""
    (first,) = slices(1)
    (twin,) = slices(1)
    twin.RescaleIntercept = 77
    with receiving(tmp_path) as (port, _):
        assert send(port, first, first, twin) == [0, 0, 0]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    "uid",
    ["../../evil", "/tmp/evil", "1.2.3/../../evil", "..", ".hidden", "1.2\x00.3", "a b", "7", "1.02"],  # noqa: S108
)
def test_a_uid_is_never_a_path(tmp_path: Path, uid: str) -> None:
    (one,) = slices(1)
    folder = tmp_path / "a" / "b" / "spool"
    with receiving(folder) as (port, counts):
        status = _store_as(port, one, uid)
        assert status == 0xC000
        assert (counts.stored, counts.refused) == (0, 1)
    assert not list(folder.iterdir())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def _store_as(port: int, one: Dataset, uid: str) -> int:
    """Send an object under a UID that a careful sender would refuse to send."""
    context = (MRImageStorage, one.file_meta.TransferSyntaxUID)
    with warnings.catch_warnings(), associated(port, [context]) as association:
        warnings.simplefilter("ignore")  # pydicom's, in both programs
        association._reactor_checkpoint.clear()
        ask(association, one, uid)
        _, answer = association.dimse.get_msg(block=True)
        association._reactor_checkpoint.set()
        assert answer is not None
        return int(answer.Status)


def test_classes_without_images_and_syntaxes_without_a_decoder_are_not_agreed_to(tmp_path: Path) -> None:
    wanted = [
        (CTImageStorage, JPEG2000Lossless), (CTImageStorage, MPEG2MPML), (MRImageStorage, RLELossless),
        ComprehensiveSRStorage,
    ]  # fmt: skip
    with receiving(tmp_path) as (port, _), associated(port, wanted) as association:
        agreed = {(one.abstract_syntax, one.transfer_syntax[0]) for one in association.accepted_contexts}
        assert agreed == {(CTImageStorage, JPEG2000Lossless), (MRImageStorage, RLELossless)}


def test_titles_decide_who_may_send(tmp_path: Path) -> None:
    with receiving(tmp_path, senders=("CT1", "CT2")) as (port, _):
        for calling, called, there in (
            ("CT2", "ZOO", True), ("CT3", "ZOO", False), ("ct2", "ZOO", False), ("CT1", "OTHER", False),
        ):  # fmt: skip
            with associated(port, [Verification], calling=calling, called=called) as association:
                assert association.is_established == there, (calling, called)


def test_other_machines_may_not_send_without_a_list_of_titles(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.168.0.7", "scanner.example"):  # noqa: S104 - refused
        with refused("receive-unrestricted", UsageError):
            Settings(host=host)
    assert Settings(host="0.0.0.0", senders=("CT1",)).senders  # noqa: S104 - restricted
    for wrong in ({"title": ""}, {"title": "x" * 17}, {"senders": ("a\\b",)}, {"most_bytes": 0}, {"seconds": 0.0}):
        with refused("option-value", UsageError):
            Settings(**wrong)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_an_object_that_is_too_large_ends_its_association_alone(tmp_path: Path) -> None:
    small, large = slices(2)
    large.PixelData = large.PixelData * 200
    large.Rows = large.Rows * 200
    with receiving(tmp_path, most_bytes=100_000) as (port, counts):
        with associated(port, [(MRImageStorage, small.file_meta.TransferSyntaxUID)]) as other:
            assert send(port, large) == [None]
            assert other.send_c_store(small).Status == 0, "another sender goes on"
        assert send(port, *[small] * 20) == [0] * 20, "many small ones are not a large one"
        assert counts.refused == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_associations_are_counted(tmp_path: Path) -> None:
    with (
        receiving(tmp_path, most_associations=2) as (port, _),
        associated(port, [Verification]) as first,
        associated(port, [Verification]) as second,
    ):
        with associated(port, [Verification]) as third:
            assert (first.is_established, second.is_established, third.is_established) == (True, True, False)
        first.release()
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with associated(port, [Verification]) as fourth:
                if fourth.is_established:
                    return
        pytest.fail("a place that became free was not given")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\x01\x00\xff\xff\xff\xff",
        b"\x01\x00\x00\x00\x10\x00" + b"x" * 100,
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x09" * 50,
    ],
)
def test_a_stranger_who_speaks_no_dicom_or_nothing_is_cut_off(tmp_path: Path, said: bytes) -> None:
    """A part of a message of 4 GiB, announced by six bytes, must not be waited for."""
    with receiving(tmp_path, seconds=1.0) as (port, _):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as stranger:
            stranger.sendall(said)
            assert _ends(stranger)
        with associated(port, [Verification]) as association:
            assert association.is_established


def _ends(connection: socket.socket) -> bool:
    """Whether the other side closes, perhaps after an abort (PS3.8 section 9.3.8)."""
    try:
        while data := connection.recv(100):
            assert data[0] in {3, 7}
    except ConnectionError:
        pass
    return True


def test_a_sender_that_drips_is_cut_off(tmp_path: Path) -> None:
    """A byte now and then keeps every silence short, and would hold a place for ever."""
    with (
        receiving(tmp_path, seconds=1.0) as (port, _),
        socket.create_connection(("127.0.0.1", port), timeout=30) as stranger,
    ):
        stranger.sendall(struct.pack(">BBL", 1, 0, 5000))
        with pytest.raises(ConnectionError):  # noqa: PT012 - one of them is refused
            for _ in range(200):
                stranger.sendall(b"\x00")
                time.sleep(0.1)


def test_a_full_disk_is_said_to_the_sender_and_not_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = slices(2)
    with receiving(tmp_path) as (port, counts):
        with stopping_at(monkeypatch, 1, full_disk()):
            assert send(port, first, second) == [0xA700, 0]
        assert (counts.stored, counts.refused) == (1, 1)
        assert send(port, first) == [0]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_cannot_be_and_a_port_that_is_taken_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    nothing: Any = lambda *_: False  # noqa: E731
    with refused("output-unwritable", OutputError):
        receive(tmp_path / "file" / "spool", Settings(port=0), announce=nothing, rest=nothing)
    with receiving(tmp_path) as (port, _), refused("port-taken", OutputError, port=port):
        receive(tmp_path, Settings(port=port), announce=nothing, rest=nothing)


def test_what_another_receiver_removed_meanwhile_does_not_end_a_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, old = tmp_path / ".1.2-a.dcm.x.part", tmp_path / ".1.2-b.dcm.x.part"
    old.write_bytes(b"half")
    os.utime(old, (0, 0))
    monkeypatch.setattr(Path, "glob", lambda *_: iter([gone, old]))
    server._clear(tmp_path)
    assert not old.exists()


def test_no_log_holds_a_name_or_a_number_of_a_patient(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    one, large = slices(2)
    for each in (one, large):
        each.PatientName, each.PatientID, each.AccessionNumber = "Secret^Person", "ID-4711", "ACC-0815"
    large.PixelData = large.PixelData * 200
    with receiving(tmp_path, most_bytes=100_000) as (port, _):
        caplog.clear()
        send(port, one)
        send(port, large)
        _store_as(port, one, "Secret^Person")
    ours = " ".join(record.getMessage() for record in caplog.records if record.name == "zoo")
    assert "refused from SCANNER at 127.0.0.1" in ours
    for secret in ("Secret", "4711", "0815", str(one.SOPInstanceUID)):
        assert secret not in ours


def start(place: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "zoo.edge", *words], cwd=place, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def listen(place: Path, port: int = 0) -> tuple[subprocess.Popen[str], int]:
    """A receiver as a process of its own, and its port."""
    process = start(place, "receive", "spool", "--port", str(port), "--json")
    assert process.stdout is not None
    return process, int(json.loads(process.stdout.readline())["port"])


def test_sigterm_ends_a_receiver_with_0(tmp_path: Path) -> None:
    process, port = listen(tmp_path)
    assert send(port, *slices(3)) == [0, 0, 0]
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert re.findall(r"\d+", said.splitlines()[-1]) == ["3", "0"], "stored and refused"


# pynetdicom's sender leaves a socket open where its connection is refused, as when a kill comes just before
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.slow
def test_no_object_with_success_is_lost_by_kills_and_each_is_answered_once(tmp_path: Path) -> None:
    """Receiver and watcher are both killed, at any moment; the sender repeats what got no answer."""
    chance = random.Random(7)  # noqa: S311 - when to kill is no secret
    (tmp_path / "model.onnx").write_bytes(make_model(deep_manifest(dtype="float32")).SerializeToString())
    objects = slices(240)
    waiting = list(objects)
    kills = 0
    while waiting:
        watcher = start(
            tmp_path, "watch", "spool", "out", "--model", "model.onnx", "--settle", "0", "--interval", "0.1"
        )
        process, port = listen(tmp_path)
        if kills < KILLS:
            kills += 1
            killer = threading.Timer(chance.uniform(0.1, 0.6), process.kill)
            killer.start()
        while waiting and process.poll() is None:
            some, later = waiting[:12], waiting[12:]
            statuses = send(port, *some, patience=2)
            waiting = [one for one, status in zip(some, statuses, strict=True) if status != 0] + later
        killer.join()
        for each in (process, watcher):
            each.kill()
            each.communicate()
    assert kills == KILLS
    stored = {path.name.partition("-")[0] for path in (tmp_path / "spool").glob("*.dcm") if path.name[0] != "."}
    assert stored == {str(one.SOPInstanceUID) for one in objects}
    runtime = Runtime.open(tmp_path / "model.onnx")
    list(watch(runtime, tmp_path / "spool", tmp_path / "out", settle=0, once=True))
    answers = {path.name for path in (tmp_path / "out").glob("*.json")}
    assert answers == {f"{path.name}.json" for path in (tmp_path / "spool").glob("*.dcm")}
    assert len(answers) == len(objects)
    for path in (tmp_path / "spool").glob("*.dcm"):
        row = json.loads((tmp_path / "out" / f"{path.name}.json").read_bytes())
        assert row == runtime.answer(path).row() | {"image": row["image"]}
