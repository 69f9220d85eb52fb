"""The Hugging Face hub over plain HTTPS: one file, found to be out of reach within five seconds.

huggingface_hub is not used: offline it retries for most of a minute, and its cache of links is one more
place to trust. HF_ENDPOINT (a mirror inside a hospital, say) and the usual proxy variables are respected.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, NoReturn

from zoo.download import TransferError, first_answer, offline, transfer
from zoo.errors import WeightsError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["download"]

log = logging.getLogger("zoo")

ENDPOINT = "https://huggingface.co"
FILE = "model.safetensors"
_MOST = 20 * 10**9
"""Bytes; the largest image models have some ten billion."""


def download(source: str, target: Path, *, model: str) -> None:
    """Write model.safetensors of `source` ("hf-hub:ORG/NAME") to `target`.

    Raises:
        WeightsError: no network is there or wanted (with the ways out), no such file, or the transfer broke.
    """
    repository = source.removeprefix("hf-hub:")
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or ENDPOINT
    url = f"{endpoint}/{repository}/resolve/main/{FILE}"
    if reason := offline():
        _offline(model, url, reason)
    try:
        status = first_answer(url)
    except ModuleNotFoundError as problem:
        raise WeightsError(f"weights for {model}: needs {problem.name}: pip install 'edgezoo[train]'") from None
    if status is None:
        _offline(model, url, f"{endpoint} can not be reached")
    if status in {401, 403, 404}:
        tag = "" if "." in repository else "; timm's names there end in a tag, as in timm/resnet18.a1_in1k"
        raise WeightsError(
            f"weights for {model}: the hub has no file open to all at {url} (HTTP {status}){tag}; "
            f"check the name, or give a file with --weights FILE"
        )
    log.info("fetching weights for %s from %s", model, url)
    try:
        transfer(url, target, f"weights for {model}", most=_MOST)
    except TransferError as problem:
        raise WeightsError(
            f"weights for {model}: the transfer from {url} broke ({problem}); nothing was kept, "
            f"run 'zoo weights fetch {model}' again"
        ) from None


def _offline(model: str, url: str, reason: str) -> NoReturn:
    raise WeightsError(
        f"weights for {model}: {reason}; get {url} elsewhere and run 'zoo weights import {model} FILE', "
        f"or give a file with --weights FILE, or train without --pretrained"
    )
