"""A model on disk: a lone .onnx, or a bundle, NAME.zoo (`folder`) or NAME.zoo.zip (`archive`).

`opening` is the only way in, for every verb. `signature` says who vouches for a bundle, `keys` reads and makes their
keys, `signing` puts a signature on a bundle.
"""

from __future__ import annotations

from zoo.edge.bundle._opening import (
    CHECKSUM_KEY,
    GOLDEN,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    METADATA_KEY,
    MODEL,
    Contents,
    Signed,
    is_archive,
    open_model,
)

__all__ = [
    "CHECKSUM_KEY",
    "GOLDEN",
    "MANIFEST",
    "MAX_MANIFEST_BYTES",
    "METADATA_KEY",
    "MODEL",
    "Contents",
    "Signed",
    "is_archive",
    "open_model",
]
