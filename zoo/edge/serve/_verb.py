"""`serve` as a verb of the command line; see `zoo.edge._verbs`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from zoo.edge._options import Argument, Find, Json, Option, Provider, defaults_of
from zoo.edge._print import format_count, put
from zoo.edge.serve import Settings, read_keys, read_sources
from zoo.edge.serve import serve as answer_requests

if TYPE_CHECKING:
    from zoo.edge.serve._server import Started, StartedModel

__all__ = ["serve"]

_USUAL = defaults_of(Settings)


def serve(
    models: Annotated[
        list[str],
        Argument(
            "MODEL",
            "Files or bundles; NAME=PATH: under another name. The first answers where none is named.",
            "Files, bundles or runs; NAME=PATH: under another name. The first answers where none is named.",
        ),
    ],
    *,
    host: Annotated[str, Option("--host", "Address to listen on.", "H")] = _USUAL.host,
    port: Annotated[int, Option("--port", "0: any free one.", "N", least=0, most=65535)] = _USUAL.port,
    token_file: Annotated[
        Path | None, Option("--token-file", "A line for each caller: NAME TOKEN. Or set ZOO_SERVE_TOKEN.", "F")
    ] = None,
    insecure_no_token: Annotated[bool, Option("--insecure-no-token", "Let other machines in without a token.")] = False,
    allow_host: Annotated[list[str] | None, Option("--allow-host", "A name a proxy serves this under.", "NAME")] = None,
    max_body: Annotated[int, Option("--max-body", "Largest body.", "BYTES", least=1)] = _USUAL.max_body,
    max_pixels: Annotated[
        int, Option("--max-pixels", "Largest image; at most 64000000.", "N", least=1)
    ] = _USUAL.max_pixels,
    images: Annotated[int, Option("--images", "Most in one request.", "N", least=1)] = _USUAL.images,
    waiting: Annotated[
        int, Option("--queue", "Requests that may wait; the next one gets a 503.", "N", least=0)
    ] = _USUAL.waiting,
    connections: Annotated[int, Option("--connections", "Most at a time.", "N", least=1)] = _USUAL.connections,
    seconds: Annotated[
        float, Option("--timeout", "From request to answer; a heat map has 4 times as long.", "S")
    ] = _USUAL.seconds,
    head_seconds: Annotated[float, Option("--head-timeout", "For a request's head.", "S")] = _USUAL.head_seconds,
    body_seconds: Annotated[float, Option("--body-timeout", "For its body.", "S")] = _USUAL.body_seconds,
    workers: Annotated[int | None, Option("--workers", "Images at a time; default: one a CPU.", "N", least=1)] = None,
    threads: Annotated[int | None, Option("--threads", "Threads of one answer; default: 1.", "N", least=1)] = None,
    verify: Annotated[bool, Option("--verify", "Replay a bundle's golden set first.")] = True,
    key: Annotated[Path | None, Option("--key", "Public key (.pub) that must have signed the bundle.", "FILE")] = None,
    access_log: Annotated[
        Path | None, Option("--access-log", "A line of JSON for each answer; -: on stderr.", "FILE")
    ] = None,
    provider: Provider = _USUAL.provider,
    as_json: Json = False,
    find: Find = Path,
) -> int:
    """Answer images over HTTP, with a page for people.

    Ends on SIGTERM or Ctrl-C, when what was begun is finished. SIGHUP reads models and keys again; a new file is proven
    first, and where it fails the old one stays. Exit status 3 if a model does not answer its golden set here as it did
    where it was exported.
    """
    settings = Settings(
        host=host,
        port=port,
        keys=read_keys(token_file),
        token_file=token_file,
        insecure=insecure_no_token,
        hosts=tuple(allow_host or ()),
        max_body=max_body,
        max_pixels=max_pixels,
        images=images,
        waiting=waiting,
        workers=workers,
        threads=threads,
        seconds=seconds,
        head_seconds=head_seconds,
        body_seconds=body_seconds,
        connections=connections,
        provider=provider,
        verify=verify,
        key=key,
        access_log=access_log,
    )
    answer_requests(read_sources(models, find), settings, announce=_put_line if as_json else _put_words)
    return 0


def _put_line(started: Started) -> None:
    """The document of `--json`, on one line: whoever started this waits for a line."""
    put(msgspec.json.encode(started).decode())


def _put_words(started: Started) -> None:
    token = ", token needed" if started.token else ""
    shown = [_describe(model, version=len(started.models) > 1) for model in started.models]
    put(f"{', '.join(shown)} at {started.url}{token}; Ctrl-C stops it")


def _describe(model: StartedModel, *, version: bool) -> str:
    proof = "not verified"
    if model.verified is not None:
        proof = f"verified on {format_count(model.verified, 'golden image')}"
    if model.signed == "valid":
        proof += ", signed"
    if model.doubt is not None:
        proof += ", not shown to be as good as float32"
    which = f"{model.model} {model.version}" if version else model.model
    return f"{which} ({format_count(model.labels, 'label')}, {proof})"
