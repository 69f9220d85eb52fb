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
└── GateError            exit 3  a gate refused: parity, verify, leaks in the data
"""

from __future__ import annotations

__all__ = [
    "CatalogueError",
    "DataError",
    "GateError",
    "ImageError",
    "ModelError",
    "OutputError",
    "PluginError",
    "ProviderError",
    "TrainingError",
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


class GateError(ZooError):
    """A gate refused. Nothing was written."""

    exit_code = 3
