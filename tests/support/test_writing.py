"""What a write may replace, and who may write at once."""

from __future__ import annotations

import errno
import logging
import os
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from refusals import refused

from zoo._support.files import atomic_write, hold_lock, refuse_unwritable, suggest_remedy
from zoo.errors import OutputError


@pytest.mark.skipif(os.name != "posix", reason="pipes and links as POSIX has them")
@pytest.mark.parametrize("kind", ["pipe", "folder", "link to a pipe"])
def test_nothing_but_a_file_is_replaced(tmp_path: Path, kind: str) -> None:
    """Root's '--html /dev/null' would leave the machine without the device."""
    target = tmp_path / "target"
    if kind == "folder":
        target.mkdir()
    else:
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "pipe").rename(target) if kind == "pipe" else target.symlink_to("pipe")
    before = sorted(tmp_path.iterdir()), stat.S_IFMT(target.lstat().st_mode)
    with refused("output-unwritable", OutputError, path=str(target)):
        atomic_write(target, b"text")
    assert (sorted(tmp_path.iterdir()), stat.S_IFMT(target.lstat().st_mode)) == before


def test_a_file_and_a_link_to_nothing_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nothing")
    for name in ("new", "new", "link"):
        atomic_write(tmp_path / name, name)
        assert (tmp_path / name).read_text() == name
    assert not (tmp_path / "link").is_symlink()


def test_space_is_asked_for_where_it_is_missing_and_not_elsewhere() -> None:
    numbers = (errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.EEXIST, errno.EIO, None)
    remedies = [suggest_remedy(OSError(number, "text") if number else OSError("text")) for number in numbers]
    assert remedies.count(remedies[0]) == 1
    assert remedies[1] == remedies[2] == remedies[3] != remedies[4] == remedies[5] != remedies[6] == remedies[7]
    told = refuse_unwritable(Path("place"), PermissionError(errno.EACCES, "Permission denied"))
    assert told.fields == {"path": "place", "cause": "permission denied"}
    assert remedies[1] in str(told)
    assert remedies[0] not in str(told)


HOLDS = """
import sys, time
from pathlib import Path
from zoo._support.files import hold_lock
with hold_lock(Path(sys.argv[1])):
    print("inside", flush=True)
    time.sleep(60)
"""


def test_a_lock_keeps_others_out_until_its_process_ends_however_it_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    guard = tmp_path / "new" / "guard"
    holder = subprocess.Popen([sys.executable, "-c", HOLDS, str(guard)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    with holder.stdout:
        assert holder.stdout.readline() == "inside\n"
        caplog.set_level(logging.INFO, "zoo")
        threading.Timer(0.3, holder.kill).start()
        with hold_lock(guard, waiting="another process is at it"):
            assert holder.wait() != 0
    assert caplog.messages == ["another process is at it"]


def test_threads_come_one_after_the_other(tmp_path: Path) -> None:
    inside: list[int] = []
    most = []

    def enter(number: int) -> None:
        with hold_lock(tmp_path / "guard"):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.01)
            inside.remove(number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(enter, range(8)))
    assert most == [1] * 8


def test_a_guard_that_can_not_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="cannot write"), hold_lock(tmp_path / "file" / "guard"):
        pytest.fail("nobody is kept out")
