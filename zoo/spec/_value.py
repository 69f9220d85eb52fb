"""What every document has in common: its version, its words, and that it refuses unknown fields."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Literal

import msgspec

from zoo._support.shares import wilson

__all__ = [
    "COLUMNS",
    "EVIDENCE",
    "FEATURES",
    "IR_VERSION",
    "LABEL_SEPARATOR",
    "NOVELTY",
    "OPSET",
    "SCHEMA",
    "UNKNOWN",
    "Cache",
    "FoldChoice",
    "Frames",
    "GoldenKind",
    "Interval",
    "Licence",
    "PixelKind",
    "Task",
    "Uncertain",
    "Value",
    "is_licence_of",
    "is_non_commercial",
]

SCHEMA = 1
"""Version of every document written by this release."""

OPSET = 18
"""ONNX operator set of every exported file: the first whose Resize has antialias."""

IR_VERSION = 8
"""Of the ONNX format of every exported file: the oldest that operator set 18 needs nothing newer than; 10, which torch
writes, is refused by ONNX Runtime before 1.18."""

EVIDENCE = "evidence"
"""Name of the further output that a file may have: (N, K, h, w) float32, for each label a map as large as the network's
input, of which the logits are pooled."""

COLUMNS = "columns"
"""Name of the further input of a core that is given columns beside the image: (N, D) float32, encoded."""

FEATURES = "features"
"""Name of the further output that a file may have: (N, D) float32, what the last layer makes the logits of."""

NOVELTY = "novelty"
"""Name of the further output that a file may have: (N,) float32, the larger the less an image is like those of
training."""

Task = Literal["multiclass", "multilabel", "ordinal"]
"""multiclass: one label an image, a softmax over logits. multilabel: any number of labels, a sigmoid on each. ordinal:
as multiclass, and the labels are grades in order, the lowest first."""

LABEL_SEPARATOR = "|"
"""Separates the labels of one image in every text that lists them, a conformal set too; no label may hold it."""

UNKNOWN = -1
"""In multilabel targets, beside 0 and 1: nobody knows whether the image has the label. Losses and metrics leave it out.
"""

Uncertain = Literal["ignore", "positive", "negative"]
"""Treatment of labels that a table calls uncertain (-1). ignore: they are unknown. positive: they are 1, negative: 0
(U-Ignore, U-Ones and U-Zeros of CheXpert; Irvin et al. 2019, arXiv 1901.07031)."""

Cache = Literal["auto", "disk", "memory", "stream"]

FoldChoice = int | Literal["none"] | None
"""Which fold is test; "none": no image is held out; None: the first."""

Frames = Literal["one", "channels"]
"""What a file of several pictures is. one: each picture is an image, and one is to be chosen. channels: one image,
whose channels the pictures are: focal planes, slices, stains."""

GoldenKind = Literal["generated", "own", "public"]
"""Whose the images of a golden set are. generated: drawn for the purpose, nobody's. own: of whoever exported the model.
public: of a set of the catalogue, under its licence."""

PixelKind = Literal["uint8", "uint16", "float32"]
"""Type of the pixels of a raw image."""

Licence = str
"""An SPDX identifier in lower case, or "unknown"."""

_NON_COMMERCIAL = re.compile(r"\bNC\b", re.IGNORECASE)
"""How Creative Commons marks it: CC BY-NC 4.0, and cc-by-nc-4.0 in SPDX."""


def is_non_commercial(licence: Licence) -> bool:
    """Whether a licence says by its name that it allows no commercial use."""
    return bool(_NON_COMMERCIAL.search(licence))


def is_licence_of(licence: Licence, licences: Collection[str]) -> bool:
    """Whether a licence is one of these, in any case; of none: any is."""
    return not licences or licence.lower() in {one.lower() for one in licences}


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A frozen value whose documents may hold no unknown field."""


class Interval(Value, frozen=True):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float
    method: Literal["bootstrap", "wilson", "delong", "jeffreys", "delta"] = "bootstrap"
    """delong: an AUROC, or a mean of them. wilson: a share of images; or every resample gave the same value, so the
    bootstrap had nothing to say (see zoo.evaluation.intervals). jeffreys: draws of two proportions (see
    zoo.evaluation.decisions). delta: from the influence of each image (zoo.evaluation._influence)."""

    @classmethod
    def of_share(cls, value: float, trials: float) -> Interval:
        """A share in [0, 1] of so many independent trials, with Wilson's interval."""
        low, high = wilson(value, trials)
        return cls(value=value, low=min(low, value), high=max(high, value), method="wilson")

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"

    def __repr__(self) -> str:
        return f"Interval({self})"
