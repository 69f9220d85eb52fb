"""Several processes on this machine that train together, started by torchrun."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import zoo


def run_ranks(
    script: Path, *arguments: object, size: int = 2, options: tuple[str, ...] = (), folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a script in `size` processes of one thread to its end, in a folder, by default its own."""
    paths = [str(Path(zoo.__path__[0]).parent), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size), *options]
    return subprocess.run(
        [sys.executable, *start, str(script), *map(str, arguments)],
        cwd=folder or script.parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
