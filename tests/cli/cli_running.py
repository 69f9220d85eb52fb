"""Running `zoo`: in this process, and as a user starts it."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo_cli.main import main


@dataclass(frozen=True)
class Ran:
    """What a command left: exit status, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document that must be all of stdout."""
        return json.loads(self.out)

    @property
    def line(self) -> str:
        """The last line said to the user."""
        return self.err.strip().splitlines()[-1]


def run_zoo(*arguments: str | Path) -> Ran:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return Ran(code, out.getvalue(), err.getvalue())


def command() -> list[str]:
    """The installed `zoo`, as a user starts it."""
    script = Path(sys.executable).with_name("zoo")
    return [str(script)] if script.is_file() else [sys.executable, "-m", "zoo_cli"]
