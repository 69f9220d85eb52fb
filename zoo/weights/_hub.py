"""The Hugging Face hub over plain HTTPS: one file, found to be out of reach within five seconds.

huggingface_hub is not used: offline it retries for most of a minute, and its cache of links is one more
place to trust. HF_ENDPOINT (a mirror inside a hospital, say) and the usual proxy variables are respected.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
from typing import TYPE_CHECKING, Any, NoReturn

from zoo.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["download"]

log = logging.getLogger("zoo")

ENDPOINT = "https://huggingface.co"
FILE = "model.safetensors"
REACH_LIMIT = 4.0
"""Seconds for the first answer, name lookup included, which no socket timeout covers."""
READ_LIMIT = 30.0
"""Seconds without a byte after which a download is given up."""
CHUNK = 1 << 20
ON = frozenset(("1", "on", "true", "yes"))


def download(source: str, target: Path, *, model: str) -> None:
    """Write model.safetensors of `source` ("hf-hub:ORG/NAME") to `target`.

    Raises:
        WeightsError: no network is there or wanted (with the ways out), no such file, or the transfer broke.
    """
    repository = source.removeprefix("hf-hub:")
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or ENDPOINT
    url = f"{endpoint}/{repository}/resolve/main/{FILE}"
    for switch in ("ZOO_OFFLINE", "HF_HUB_OFFLINE"):
        if os.environ.get(switch, "").lower() in ON:
            _offline(model, url, f"{switch} is set")
    try:
        from pooch import HTTPDownloader
    except ModuleNotFoundError as problem:
        raise WeightsError(f"weights for {model}: needs {problem.name}: pip install 'edgezoo[train]'") from None

    status = _first_answer(url)
    if status is None:
        _offline(model, url, f"{endpoint} can not be reached")
    if status in {401, 403, 404}:
        tag = "" if "." in repository else "; timm's names there end in a tag, as in timm/resnet18.a1_in1k"
        raise WeightsError(
            f"weights for {model}: the hub has no file open to all at {url} (HTTP {status}){tag}; "
            f"check the name, or give a file with --weights FILE"
        )
    log.info("fetching weights for %s from %s", model, url)
    progress = _Logged(model)
    with contextlib.ExitStack() as responses:

        def close_later(response: Any, **_: Any) -> None:
            # pooch leaves the connection of a failed transfer open.
            responses.callback(response.close)

        get = HTTPDownloader(
            progressbar=progress,
            chunk_size=CHUNK,
            timeout=(REACH_LIMIT, READ_LIMIT),
            hooks={"response": close_later},
        )
        _transfer(get, url, target, model)


def _transfer(get: Callable[..., None], url: str, target: Path, model: str) -> None:
    import requests  # type: ignore[import-untyped, unused-ignore]  # comes with pooch

    try:
        get(url, str(target), None)
    except requests.RequestException as problem:
        reason = " ".join(str(problem).split())
        raise WeightsError(
            f"weights for {model}: the transfer from {url} broke ({reason}); nothing was kept, "
            f"run 'zoo weights fetch {model}' again"
        ) from None


def _first_answer(url: str) -> int | None:
    """The HTTP status of a HEAD request, None when there is no answer in time."""
    import requests  # type: ignore[import-untyped, unused-ignore]

    answers: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            with requests.head(url, timeout=REACH_LIMIT, allow_redirects=False) as response:
                answers.put(response.status_code)
        except (requests.RequestException, ValueError):  # ValueError: HF_ENDPOINT is no URL at all
            answers.put(None)

    # A thread, because nothing else puts a limit on the name lookup.
    threading.Thread(target=ask, daemon=True).start()
    try:
        return answers.get(timeout=REACH_LIMIT)
    except queue.Empty:
        return None


def _offline(model: str, url: str, reason: str) -> NoReturn:
    raise WeightsError(
        f"weights for {model}: {reason}; get {url} elsewhere and run 'zoo weights import {model} FILE', "
        f"or give a file with --weights FILE, or train without --pretrained"
    )


class _Logged:
    """What pooch needs of a progress bar; says every tenth part to the log."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.total = 0
        self.done = 0
        self.said = 0

    def update(self, count: int) -> None:
        self.done = min(self.done + count, self.total)
        tenths = 10 * self.done // self.total if self.total else 0
        if tenths > self.said:
            self.said = tenths
            log.info("weights for %s: %d of %d MB", self.model, self.done // 1_000_000, self.total // 1_000_000)

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        """Nothing to close."""
