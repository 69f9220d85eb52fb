"""What a write may replace."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from zoo.errors import OutputError
from zoo.files import atomic_write

if TYPE_CHECKING:
    from pathlib import Path


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
    with pytest.raises(OutputError, match=r"target: it stands there and is no file; choose another place$"):
        atomic_write(target, b"text")
    assert (sorted(tmp_path.iterdir()), stat.S_IFMT(target.lstat().st_mode)) == before


def test_a_file_and_a_link_to_nothing_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nothing")
    for name in ("new", "new", "link"):
        atomic_write(tmp_path / name, name)
        assert (tmp_path / name).read_text() == name
    assert not (tmp_path / "link").is_symlink()
