"""Everything that can go wrong and that a user can mend.

ZooError                 exit 1  one line: what was found, what was expected, what to do
├── UsageError           exit 2  the call itself is wrong (the command line's parser raises it, too)
├── CatalogueError       exit 1  a registry.yaml, a card or a model name
├── PluginError          exit 1  a plugin that is missing, clashes or fails
├── DataError            exit 1  images, folders, arrays, labels, splits
│   └── ImageError       exit 1  one image file; the text never holds its pixels or its metadata
├── WeightsError         exit 1  pretrained weights: where they come from, their hash, their shapes
├── TrainingError        exit 1  a run that cannot start, continue or be resumed
├── NotFirstRankError    exit 0  under torchrun, in every process but the first, which has the result
├── ModelError           exit 1  an ONNX file or a bundle that cannot be trusted or opened
├── ProviderError        exit 1  a device or execution provider that was asked for and not granted
├── OutputError          exit 1  something that could not be written
├── SigningKeyError      exit 1  a key file that cannot be read, used or made
├── ResumeError          exit 1  a table begun earlier that this call cannot resume
└── GateError            exit 3  a gate refused: parity, verify, leaks in the data
    ├── TamperedError    exit 3  files of a bundle that are not the ones its manifest lists
    ├── LimitError       exit 3  a proof that took more time or memory than it may, or crashed its process
    ├── QuantizationError exit 3  no smaller file gives the float32 file's answers; `details` holds what was tried
    └── SignatureError   exit 3  a bundle is not signed as was asked; its code says why
"""

from __future__ import annotations

from typing import Any, ClassVar

from zoo._urls import hide_secrets, show_place

__all__ = [
    "CatalogueError",
    "DataError",
    "GateError",
    "ImageError",
    "LimitError",
    "ModelError",
    "NotFirstRankError",
    "OutputError",
    "PluginError",
    "ProviderError",
    "QuantizationError",
    "ResumeError",
    "SignatureError",
    "SigningKeyError",
    "TamperedError",
    "TrainingError",
    "UsageError",
    "WeightsError",
    "ZooError",
]


def __dir__() -> list[str]:
    return __all__


class ZooError(Exception):
    """Base of every error a user can cause. User, password and signature of an address in it are left out.

    Args:
        message: one line in lower case: what was found, what was expected, what to do.
        code: which error it is; stable across releases, where the message may improve. docs/errors.md lists all.
            None: the code of the class.
        fields: what the message is about, by name, for programs: `--json` prints them beside code and message.

    Attributes:
        code: the given code, or the code of the class.
        fields: the given fields.
    """

    exit_code: ClassVar[int] = 1
    default_code: ClassVar[str] = "error"

    def __init__(self, message: str, /, *, code: str | None = None, **fields: Any) -> None:
        super().__init__(hide_secrets(message))
        self.code = code or self.default_code
        self.fields = {name: hide_secrets(value) for name, value in fields.items()}

    def document(self) -> dict[str, Any]:
        """What `--json` prints below "error"."""
        said = {"type": type(self).__name__, "code": self.code, "message": " ".join(str(self).split())}
        return said | {name: _plain(value) for name, value in self.fields.items() if name not in said}


class UsageError(ZooError):
    """The arguments contradict each other or name no known choice."""

    default_code = "usage"

    exit_code = 2


class CatalogueError(ZooError):
    """A catalogue is not valid, two catalogues clash, or a model name is unknown."""

    default_code = "catalogue"


class PluginError(ZooError):
    """A plugin is missing, defined twice, or fails when it is imported or built."""

    default_code = "plugin"


class DataError(ZooError):
    """A data set cannot be used as it is."""

    default_code = "data"


class ImageError(DataError):
    """One image cannot be read; it is never replaced by another.

    Args:
        name: how the image is called, such as its path; None where that is not known yet.
        reason: why, in lower case, and what to do.
        code: stable code of the error, see `ZooError`.
        fields: values for programs by name, see `ZooError`.
    """

    default_code = "image-unreadable"

    def __init__(self, name: str | None, reason: str, /, *, code: str | None = None, **fields: Any) -> None:
        super().__init__(reason if name is None else f"{name}: {reason}", code=code, **fields)
        self.name = None if name is None else show_place(name)
        self.reason = str(hide_secrets(reason))

    def rename(self, name: str) -> ImageError:
        """The same fault of an image that goes by another name."""
        return ImageError(name, self.reason, code=self.code, **self.fields)

    def document(self) -> dict[str, Any]:
        """What `--json` prints below "error"."""
        return {**super().document(), "image": self.name, "reason": self.reason}


class WeightsError(ZooError):
    """Weights cannot be found, or are not what they should be."""

    default_code = "weights"


class TrainingError(ZooError):
    """A run cannot start or be resumed."""

    default_code = "training"


class NotFirstRankError(ZooError):
    """Under torchrun: this process only trained along with the first, which has the result. It is not a fault."""

    exit_code = 0
    default_code = "not-first-rank"


class ModelError(ZooError):
    """A model file or bundle is not ours, damaged, or not fit to be opened."""

    default_code = "model"


class ProviderError(ZooError):
    """A device or execution provider was asked for and is not there."""

    default_code = "provider"


class OutputError(ZooError):
    """Something could not be written; what was there before is still whole."""

    default_code = "output"


class SigningKeyError(ZooError):
    """A key file is not there, not an Ed25519 key, locked by a passphrase, or in the way of a new one."""

    default_code = "signing-key"


class ResumeError(ZooError):
    """A table was begun with another model, other images or other columns, or is damaged; it is as it was."""

    default_code = "resume"


class GateError(ZooError):
    """A gate refused. Nothing was written."""

    exit_code = 3
    default_code = "gate"


class LimitError(GateError):
    """A proof took more time or memory than it may, or its process crashed."""

    default_code = "limit"


class TamperedError(GateError):
    """A bundle's files are not the ones its manifest lists."""

    default_code = "tampered"


class SignatureError(GateError):
    """A bundle is not signed as was asked: no signature, a malformed one, another key, a forgery, another manifest."""

    default_code = "signature"


class QuantizationError(GateError):
    """No quantised file may replace the float32 file.

    Its field "quantization" holds the rungs with their numbers.
    """

    default_code = "quantization"


def _plain(value: Any) -> Any:
    """A field as JSON can hold it; a stranger's plugin may give any object."""
    if value is None or type(value) in {bool, int, float, str}:
        return value
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(entry) for entry in value]
    return value if hasattr(value, "__struct_fields__") else str(value)
