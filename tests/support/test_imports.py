"""Imports that several threads make at once."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import pytest
from refusals import refused

from zoo._support.imports import import_together, needing
from zoo.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def test_one_thread_imports_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pydicom's modules import each other: DICOM files of one folder got 'needs the package pydicom' by chance."""
    for name in "ab":
        (tmp_path / f"slow_{name}.py").write_text(
            "import sys, time\n"
            "there = [sys.modules[one] for one in ('slow_a', 'slow_b') if one in sys.modules and one != __name__]\n"
            "others = [one for one in there if not hasattr(one, 'whole')]\n"
            "time.sleep(0.2)\n"
            "whole = True\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    threads = [threading.Thread(target=import_together, args=(f"slow_{name}",)) for name in "abab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sys.modules[f"slow_{name}"].others for name in "ab"] == [[], []]
    with pytest.raises(ImportError):
        import_together("slow_a", "no_such_module")


def test_a_package_that_is_missing_is_named_with_its_extra_and_a_module_of_ours_is_a_defect() -> None:
    with (
        refused("package-missing", UsageError, package="no_such_module", extra="dicom-net"),
        needing("it", "dicom-net"),
    ):
        import_together("no_such_module")
    with pytest.raises(ModuleNotFoundError), needing("it", "dicom-net"):
        import_together("zoo.no_such_module")
