"""Everything that can go wrong and that a user can mend.

ZooError                 exit 1  one line: what was found, what was expected, what to do
├── UsageError           exit 2  the call itself can not be meant (also raised by the command line's parser)
├── CatalogueError       exit 1  a registry.yaml, a card or a model name
├── PluginError          exit 1  a plugin that is missing, clashes or fails
├── DataError            exit 1  images, folders, arrays, labels, splits
│   └── ImageError       exit 1  one image file; the text never holds its pixels or its metadata
├── WeightsError         exit 1  pretrained weights: where they come from, their hash, their shapes
├── TrainingError        exit 1  a run that can not start, go on or be resumed
├── ModelError           exit 1  an ONNX file or a bundle that can not be trusted or opened
├── ProviderError        exit 1  a device or execution provider that was asked for and not granted
├── OutputError          exit 1  something that could not be written
├── SigningKeyError      exit 1  a key file that can not be read, used or made
├── ResumeError          exit 1  a table begun earlier that this call can not go on with
└── GateError            exit 3  a gate refused: parity, verify, leaks in the data
    ├── TamperedError    exit 3  files of a bundle that are not the ones its manifest lists
    ├── LimitError       exit 3  a proof that took more time or memory than it may, or crashed its process
    ├── QuantizationError exit 3  no smaller file gives the float32 file's answers; `details` holds what was tried
    └── SignatureError   exit 3  a bundle is not signed as was asked; one class for each reason:
        ├── SignatureMissingError         it bears no signature
        ├── SignatureMalformedError       signature.json is no signature
        ├── UnknownKeyError               signed by another key than the one given
        ├── SignatureInvalidError         names the key given, and was not made with it
        └── OtherManifestError            a signature of another manifest
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "CatalogueError",
    "DataError",
    "GateError",
    "ImageError",
    "LimitError",
    "ModelError",
    "OtherManifestError",
    "OutputError",
    "PluginError",
    "ProviderError",
    "QuantizationError",
    "ResumeError",
    "SignatureError",
    "SignatureInvalidError",
    "SignatureMalformedError",
    "SignatureMissingError",
    "SigningKeyError",
    "TamperedError",
    "TrainingError",
    "UnknownKeyError",
    "UsageError",
    "WeightsError",
    "ZooError",
]


class ZooError(Exception):
    """Base of every error a user can cause. The message is one line, in lower case."""

    exit_code = 1


class UsageError(ZooError):
    """The arguments contradict each other or name no known choice."""

    exit_code = 2


class CatalogueError(ZooError):
    """A catalogue is not valid, two catalogues clash, or a model name is unknown."""


class PluginError(ZooError):
    """A plugin is missing, defined twice, or fails when it is imported or built."""


class DataError(ZooError):
    """A data set can not be used as it is."""


class ImageError(DataError):
    """One image can not be read; it is never replaced by another."""


class WeightsError(ZooError):
    """Weights can not be found, or are not what they should be."""


class TrainingError(ZooError):
    """A run can not start, go on or be resumed."""


class ModelError(ZooError):
    """A model file or bundle is not ours, damaged, or not fit to be opened."""


class ProviderError(ZooError):
    """A device or execution provider was asked for and is not there."""


class OutputError(ZooError):
    """Something could not be written; what stood there before is still whole."""


class SigningKeyError(ZooError):
    """A key file is not there, not an Ed25519 key, locked by a passphrase, or in the way of a new one."""


class ResumeError(ZooError):
    """A table was begun with another model, other images or other columns, or is damaged; it is as it was."""


class GateError(ZooError):
    """A gate refused. Nothing was written."""

    exit_code = 3


class LimitError(GateError):
    """A proof took more time or memory than it may, or its process crashed."""


class TamperedError(GateError):
    """A bundle's files are not the ones its manifest lists."""


class SignatureError(GateError):
    """A bundle is not signed as was asked."""


class SignatureMissingError(SignatureError):
    """A signature was asked for, and the bundle bears none: it was never signed, or it was taken off."""


class SignatureMalformedError(SignatureError):
    """signature.json is not a signature as this tool writes them."""


class UnknownKeyError(SignatureError):
    """The bundle is signed by another key than the one it was to be checked with."""


class SignatureInvalidError(SignatureError):
    """The signature names the key it was checked with, and was not made with it."""


class OtherManifestError(SignatureError):
    """The signature belongs to another manifest than the one beside it."""


class QuantizationError(GateError):
    """No quantised file may stand for the float32 file.

    Args:
        message: one line.
        details: what `--json` adds to the error's document: "quantization", the rungs with their numbers.
    """

    def __init__(self, message: str, details: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.details = details
