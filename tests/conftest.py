"""Fixtures every layer shares."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:
    # One process for each core already; more threads than cores would wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts its background jobs deaf to Ctrl-C, and their children inherit that; these tests press it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# A developer's own cache is none of the tests' business; those of the caches turn them on, elsewhere.
os.environ["ZOO_CACHE_GB"] = "0"

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real images and weights that stands beside a developer's checkout."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the real images of ../shared are not here")
    return SHARED
