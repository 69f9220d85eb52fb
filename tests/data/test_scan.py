"""What is found out about files without decoding them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from noted import noted
from refusals import refused

from zoo._support import processes
from zoo.data import open_data
from zoo.data._scanning import crew, examine, scan
from zoo.data._scanning.scan import frame_digest
from zoo.errors import DataError
from zoo.readers import KINDS, Probe, probe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    MakeFolder = Callable[..., Path]


def names(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def pretend(monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], Probe]) -> None:
    monkeypatch.setattr(examine.quick, "probe", lambda _: None)
    monkeypatch.setattr(examine, "probe", lambda _, *, name: answer(name))


def test_a_scan_says_what_probe_says(tabled: Path) -> None:
    root = tabled
    ids = [name for name in names(root) if name.endswith(".png")][::3]
    found = scan.scan(root, ids)
    assert found.bad == {}
    for i, name in enumerate(ids):
        header = probe(root / name)
        assert (found.width[i], found.height[i], KINDS[found.kind[i]]) == (header.width, header.height, header.kind)
        assert (found.gray[i], found.voi[i], found.bits[i]) == (header.gray, header.voi, header.bits)
        assert found.fields[found.personal[i]] == header.personal
        assert bytes(found.digests[i]) == hashlib.sha256((root / name).read_bytes()).digest()


def test_patients_named_by_files_become_groups(make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without them a patient's images would be divided between train and test."""
    root = make_folder({"cat": 8, "dog": 8})
    pretend(monkeypatch, lambda name: Probe(8, 6, "uint8", gray=False, group=f"patient {int(name[4]) // 4}"))
    splits = open_data(root, for_training=False)
    assert splits.test.groups is not None
    assert splits.test.groups.tolist() == [0, 0, 0, 0, 1, 1, 1, 1] * 2 or splits.test.groups.tolist() == [
        1, 1, 1, 1, 0, 0, 0, 0,
    ] * 2  # fmt: skip
    assert not any("patient" in note for note in splits.notes)


def test_images_without_a_patient_are_groups_of_their_own(
    make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder({"cat": 4})
    pretend(
        monkeypatch,
        lambda name: Probe(8, 6, "uint8", gray=False, group="p" if name in {"cat/0.png", "cat/2.png"} else None),
    )
    splits = open_data(root, for_training=False)
    assert splits.test.groups is not None
    groups = splits.test.groups.tolist()
    assert groups[0] == groups[2]
    assert sorted(set(groups)) == [0, 1, 2]
    assert noted(splits.notes, "2 of 4", "patient")


def test_one_image_without_a_window_makes_the_set_one_without(
    make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder({"cat": 3})
    pretend(monkeypatch, lambda _: Probe(8, 6, "uint16", gray=True, voi=True))
    assert open_data(root, for_training=False).voi
    pretend(monkeypatch, lambda name: Probe(8, 6, "uint16", gray=True, voi=name != "cat/1.png"))
    assert not open_data(root, for_training=False).voi


def test_a_frame_is_neither_guessed_nor_confused_with_another(
    make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder({"cat": 1})
    pretend(monkeypatch, lambda _: Probe(8, 6, "uint8", gray=True, frames=3))
    with refused("images-unusable", DataError):
        open_data(root, for_training=False)
    found = scan.scan(root, ["cat/0.png"] * 4, frames=np.array([1, 2, 3, 4]))
    assert list(found.bad) == [3]
    assert found.bad[3].name == "cat/0.png"
    assert "frame 4" in found.bad[3].reason
    assert found.good().tolist() == [0, 1, 2]
    whole = hashlib.sha256((root / "cat/0.png").read_bytes()).digest()
    assert [bytes(found.digests[i]) for i in range(3)] == [frame_digest(whole, frame) for frame in (1, 2, 3)]
    assert len({bytes(digest) for digest in found.digests[:3]}) == 3


def test_helper_processes_find_what_one_process_finds(make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_folder({"cat": 300, "dog": 300})
    (root / "cat" / "7.png").write_bytes(b"hello")
    (root / "dog" / "J\u00fcrgen 8.png").write_bytes(b"")
    ids = names(root)
    alone = scan.scan(root, ids)
    started: list[Any] = []
    popen, examine_here, received = processes.subprocess.Popen, crew.examine, processes.receive
    answers: list[object] = []
    enough, parts = threading.Event(), threading.Semaphore(1)

    def spy(*args: Any, **options: Any) -> Any:
        started.append(popen(*args, **options))
        return started[-1]

    def told(stream: Any) -> Any:
        answers.append(received(stream))
        if len(answers) > 3:
            enough.set()
        return answers[-1]

    def patiently(*args: Any) -> Any:
        """The calling process waits with its second part until the helpers have done some, however late they start."""
        if parts.acquire(blocking=False):
            return examine_here(*args)
        assert enough.wait(60)
        return examine_here(*args)

    monkeypatch.setattr(processes.subprocess, "Popen", spy)
    monkeypatch.setattr(crew, "WORTH", 0)
    monkeypatch.setattr(crew, "cores", lambda: 3)
    monkeypatch.setattr(crew, "_BATCH", 10)
    monkeypatch.setattr(processes, "receive", told)
    monkeypatch.setattr(crew, "examine", patiently)
    together = scan.scan(root, ids)
    assert len(started) == 2
    assert all(process.returncode == 0 for process in started)
    assert together.bad == alone.bad
    assert sorted(alone.bad) == [ids.index("cat/7.png"), ids.index("dog/J\u00fcrgen 8.png")]
    np.testing.assert_array_equal(together.digests, alone.digests)
    np.testing.assert_array_equal(together.width, alone.width)


@pytest.mark.parametrize("program", ["raise SystemExit(1)", "print('not an answer')", None])
def test_without_helpers_the_work_is_done_all_the_same(
    make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch, program: str | None
) -> None:
    root = make_folder({"cat": 40})
    ids = names(root)
    alone = scan.scan(root, ids)
    monkeypatch.setattr(crew, "WORTH", 0)
    monkeypatch.setattr(crew, "cores", lambda: 3)
    monkeypatch.setattr(crew, "_BATCH", 2)
    if program is None:
        monkeypatch.setattr(processes.sys, "executable", "/nowhere/python")
    else:
        monkeypatch.setattr(processes, "PROGRAM", program)
    np.testing.assert_array_equal(scan.scan(root, ids).digests, alone.digests)


def test_helpers_load_no_training_framework_and_not_the_callers_script(tmp_path: Path, make_folder: MakeFolder) -> None:
    """A script without a main guard would start itself again and again."""
    root = make_folder({"cat": 400})
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom zoo._support import processes\n"
        "from zoo.data._scanning import crew, scan\nprint('started')\n"
        "crew.WORTH, crew._BATCH, crew.cores = 0, 5, lambda: 3\n"
        "real, helpers = processes.subprocess.Popen, []\n"
        "processes.subprocess.Popen = lambda *a, **k: (helpers.append(real(*a, **k)), helpers[-1])[1]\n"
        'processes.PROGRAM += \'; import os; [m for m in ("torch", "sklearn") if m in sys.modules] and os._exit(9)\'\n'
        f"root = Path({str(root)!r})\n"
        "print(len(scan.scan(root, [p.relative_to(root).as_posix() for p in root.rglob('*.png')]).good()))\n"
        "print(*(helper.returncode for helper in helpers))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["started", "400", "0", "0"], done.stderr


@pytest.mark.skipif(os.name != "posix", reason="pipes are POSIX")
def test_images_are_found_by_content_where_the_name_does_not_tell(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 3, "dog": 3})
    (root / "cat" / "1.png").rename(root / "cat" / "IM0001")
    (root / "cat" / "2.png").rename(root / "cat" / "IM0002.ima")
    (root / "cat" / "P1.txt").write_text("P1 came back on Monday")  # begins as a bitmap does
    (root / "dog" / "BMI.csv").write_text("BMI,age\n")
    (root / "dog" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    os.mkfifo(root / "dog" / "pipe")  # opened, it would wait for ever
    splits = open_data(root, for_training=False)
    assert splits.test.ids == ["cat/0.png", "cat/IM0001", "cat/IM0002.ima", "dog/0.png", "dog/1.png", "dog/2.png"]
    assert "passed over: 2 without suffix, 1 .csv and 1 .txt" in splits.notes


@pytest.mark.skipif(os.name != "posix", reason="pipes are POSIX")
def test_pipes_with_an_images_name_are_refused_and_not_waited_for(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 3})
    os.mkfifo(root / "cat" / "pipe.png")
    with refused("images-unusable", DataError):
        open_data(root, for_training=False)
