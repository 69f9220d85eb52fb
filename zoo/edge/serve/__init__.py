"""Some models behind HTTP (the extra `serve`).

    zoo serve lungs.zoo --port 8000
    curl -F file=@image.png http://127.0.0.1:8000/predict

An image goes in, raw, in a form or in JSON, and the row of `zoo predict --json` comes out. Nothing is fetched, nothing
but the access log is written, nothing of an image is logged. The modules beside this one import starlette, uvicorn,
python_multipart and prometheus_client; this one does not, so that it can say what is missing.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from zoo._support.imports import needing
from zoo.edge.serve._keys import Key, make_key, read_keys
from zoo.edge.serve._settings import Settings
from zoo.edge.serve._sources import ServedPath, read_sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from zoo.edge.serve._server import Started

__all__ = ["Key", "ServedPath", "Settings", "make_key", "read_keys", "read_sources", "serve"]

log = logging.getLogger("zoo")


def serve(
    models: Path | str | Iterable[Path | str | ServedPath],
    settings: Settings | None = None,
    *,
    announce: Callable[[Started], None] | None = None,
) -> None:
    """Open models, prove them, and answer requests until SIGTERM or Ctrl-C; what was begun is finished first.

    Args:
        models: .onnx files or bundles NAME.zoo, or NAME=PATH for another name than the manifest's. The first answers
            where a request names none.
        settings: where to listen and what is too much; None: the defaults.
        announce: called once, when the first request would be answered; None: a line goes to the logger "zoo".

    Raises:
        UsageError: the settings contradict each other, two models are one by name and version, or the extra `serve` is
            not installed.
        GateError: the bundle is not as it was exported, or answers its golden set differently here.
        SignatureError: it is not signed by the key that was given.
        ModelError: not a model of this tool, or damaged.
        ProviderError: the provider is not there.
        OutputError: the port cannot be had.
    """
    with needing("serve", "serve"):
        from zoo.edge.serve._server import run
    given = [models] if isinstance(models, str | os.PathLike) else models
    sources = [one if isinstance(one, ServedPath) else read_sources([one])[0] for one in given]
    run(sources, settings or Settings(), announce or _log)


def _log(started: Started) -> None:
    log.info("%s at %s", ", ".join(model.model for model in started.models), started.url)
