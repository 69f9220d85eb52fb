"""What of a process is everyone's, and must be as it was after a training."""

from __future__ import annotations

import logging
import os
import random
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["find_changes", "state"]


def state() -> dict[str, Any]:
    """Name of a setting to its value now, in a form that can be compared.

    torch's own random numbers are not among them: `TorchPlugin.train` seeds them, and nothing else draws there.
    """
    found: dict[str, Any] = {
        "the current directory": Path.cwd(),
        "warnings.filters": list(warnings.filters),
        "os.environ": dict(os.environ),
        "the random numbers of 'random'": random.getstate(),
        "the random numbers of np.random": repr(np.random.get_state(legacy=False)),  # noqa: NPY002 - it is looked at
        "np.seterr": np.geterr(),
        "the root logger": (logging.root.level, list(logging.root.handlers)),
    }
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        found |= {
            "torch's number of threads": torch.get_num_threads(),
            "torch's default type": torch.get_default_dtype(),
            "torch's gradient mode": torch.is_grad_enabled(),
            "torch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
        }
    return found


def find_changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Names of what differs. What was imported in between cannot be compared."""
    return [name for name, value in before.items() if after[name] != value]
