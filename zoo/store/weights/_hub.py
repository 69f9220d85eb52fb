"""The Hugging Face hub over plain HTTPS: one file, found to be out of reach within five seconds.

huggingface_hub is not used: offline it retries for most of a minute, and its cache of links is one more
place to trust. HF_ENDPOINT (a mirror inside a hospital, say) and the usual proxy variables are respected.
"""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

from zoo.errors import WeightsError
from zoo.store._download import TransferError, first_answer, offline, transfer

__all__ = ["document", "download"]

log = logging.getLogger("zoo")

ENDPOINT = "https://huggingface.co"
FILE = "model.safetensors"
_MOST = 20 * 10**9
"""Bytes; the largest image models have some ten billion."""
_CLOSED = frozenset((401, 403, 404))
"""HTTP: not for everyone, or not there."""


def document(source: str, file: str, *, most: int) -> bytes:
    """A small file beside the weights of `source` ("hf-hub:ORG/NAME"), of at most `most` bytes.

    Raises:
        WeightsError: as `download`.
    """
    url = _url(source, file)
    ways = (
        f"get {_url(source, 'config.json')} and {FILE} beside it elsewhere, put both into a folder and run "
        f"'zoo weights import {source} FOLDER', or name them local-dir:FOLDER, or train a model of 'zoo list'"
    )
    _check_open(_reach(url, ways=ways, model=source), url, source, source)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "document"
        try:
            transfer(url, target, f"{file} of {source}", most=most)
        except TransferError as problem:
            raise WeightsError(
                f"{source}: the transfer from {url} broke ({problem}); try again",
                code="transfer-broken",
                name=source,
                url=url,
            ) from None
        return target.read_bytes()


def download(source: str, target: Path, *, model: str) -> None:
    """Write model.safetensors of `source` ("hf-hub:ORG/NAME") to `target`.

    Raises:
        WeightsError: no network is there or wanted (with the ways out), no such file, or the transfer broke.
    """
    url = _url(source, FILE)
    ways = (
        f"get {url} elsewhere and run 'zoo weights import {model} FILE', or give a file with --weights FILE, or train "
    )
    status = _reach(url, ways=f"{ways}without --pretrained", model=model)
    _check_open(status, url, source, model)
    log.info("fetching weights for %s from %s", model, url)
    try:
        transfer(url, target, f"weights for {model}", most=_MOST)
    except TransferError as problem:
        raise WeightsError(
            f"weights for {model}: the transfer from {url} broke ({problem}); nothing was kept, "
            f"run 'zoo weights fetch {model}' again",
            code="transfer-broken",
            name=model,
            url=url,
        ) from None


def _url(source: str, file: str) -> str:
    return f"{_endpoint()}/{source.removeprefix('hf-hub:')}/resolve/main/{file}"


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or ENDPOINT


def _reach(url: str, *, ways: str, model: str) -> int:
    """The first answer of the hub; `ways`: what to do where there is none."""
    reason = offline()
    if reason is None:
        try:
            status = first_answer(url)
        except ModuleNotFoundError as problem:
            raise WeightsError(
                f"weights for {model}: needs {problem.name}: pip install 'edgezoo[train]'",
                code="package-missing",
                package=problem.name,
            ) from None
        if status is not None:
            return status
        reason = f"{_endpoint()} cannot be reached"
    raise WeightsError(f"weights for {model}: {reason}; {ways}", code="weights-unreachable", model=model, url=url)


def _check_open(status: int, url: str, source: str, model: str) -> None:
    if status not in _CLOSED:
        return
    tag = "" if "." in source else "; timm's names there end in a tag, as in timm/resnet18.a1_in1k"
    raise WeightsError(
        f"weights for {model}: the hub has no file open to all at {url} (HTTP {status}){tag}; "
        f"check the name, or give a file with --weights FILE",
        code="weights-closed",
        model=model,
        url=url,
        status=status,
    )
