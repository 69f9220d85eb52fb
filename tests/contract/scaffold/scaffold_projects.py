"""What the tests of new projects share."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

from zoo_cli.main import main

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Ran:
    """What a command left: exit status, stdout, stderr."""

    code: int
    out: str
    err: str


def run_zoo(*arguments: str | Path) -> Ran:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return Ran(code, out.getvalue(), err.getvalue())
