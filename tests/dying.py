"""Native decoders that die or hang in companions, and only there."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

FATAL, ENDLESS, GREEDY, KILLED = 13, 14, 15, 16
"""Sides of the compressed TIFFs over which a companion dies, hangs, runs out of memory, and is killed."""

_PROGRAM = """
import os, signal, sys, time
if any("zoo.readers._companion" in one for one in sys.orig_argv):
    from PIL import TiffImagePlugin
    real = TiffImagePlugin.TiffImageFile._load_libtiff
    def decode(self):
        if self.size == (13, 13):
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.size == (14, 14):
            time.sleep(600)
        if self.size == (15, 15):
            raise MemoryError
        if self.size == (16, 16):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self)
    TiffImagePlugin.TiffImageFile._load_libtiff = decode
"""


def python_path(folder: Path) -> str:
    """PYTHONPATH for companions whose libtiff dies over some pictures: the interpreter runs a file of `folder`."""
    (folder / "sitecustomize.py").write_text(_PROGRAM)
    return os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))


def compressed_tiff(side: int, compression: str = "tiff_lzw") -> bytes:
    """A gray TIFF that libtiff decodes."""
    stream = io.BytesIO()
    values = np.arange(side * side, dtype=np.uint32) % 251
    Image.fromarray(values.astype(np.uint8).reshape(side, side)).save(stream, "TIFF", compression=compression)
    return stream.getvalue()
