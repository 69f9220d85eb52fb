"""Fixtures of the readers' tests."""

from __future__ import annotations

import pytest

from zoo._support import processes


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process decodes itself, as a companion does: what a test changes in it is seen by the decoders."""
    monkeypatch.setattr(processes._Role, "companion", True)
