"""`zoo serve MODEL`: an HTTP server for one model, and a page for people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo import api
from zoo_cli.options import Json, Provider
from zoo_cli.output import counted, put

if TYPE_CHECKING:
    from zoo.edge.serve.server import Started

__all__ = ["serve"]


def serve(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A bundle, an .onnx file, or a run.")],
    *,
    host: Annotated[str, typer.Option("--host", metavar="H", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="N", min=0, max=65535, help="0: any free one.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", metavar="F", help="Callers must send what it holds; or set ZOO_SERVE_TOKEN."),
    ] = None,
    insecure_no_token: Annotated[
        bool, typer.Option("--insecure-no-token", help="Let other machines in without a token.")
    ] = False,
    allow_host: Annotated[
        list[str] | None, typer.Option("--allow-host", metavar="NAME", help="A name a proxy serves this under.")
    ] = None,
    max_body: Annotated[int, typer.Option("--max-body", metavar="BYTES", min=1, help="Largest body.")] = 20_000_000,
    max_pixels: Annotated[
        int, typer.Option("--max-pixels", metavar="N", min=1, help="Largest image.", show_default=True)
    ] = 25_000_000,
    waiting: Annotated[
        int, typer.Option("--queue", metavar="N", min=0, help="Requests that may wait; the next one gets a 503.")
    ] = 32,
    connections: Annotated[int, typer.Option("--connections", metavar="N", min=1, help="Most at a time.")] = 256,
    seconds: Annotated[float, typer.Option("--timeout", metavar="S", help="From request to answer.")] = 30.0,
    head_seconds: Annotated[float, typer.Option("--head-timeout", metavar="S", help="For a request's head.")] = 10.0,
    body_seconds: Annotated[float, typer.Option("--body-timeout", metavar="S", help="For its body.")] = 30.0,
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", min=1, help="Images at a time; default: one a CPU.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", metavar="N", min=1, help="Threads of one answer; default: 1.")
    ] = None,
    verify: Annotated[bool, typer.Option(help="Replay a bundle's golden set first.", show_default=True)] = True,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="Public key (.pub) that must have signed the bundle.")
    ] = None,
    provider: Provider = "cpu",
    as_json: Json = False,
) -> None:
    """Answer images over HTTP, with a page for people.

    Ends on SIGTERM or Ctrl-C, when what was begun is finished. Exit status 3 if the model does not answer its golden
    set here as it did where it was exported.
    """
    from zoo.edge.serve import Settings, read_token

    settings = Settings(
        host=host,
        port=port,
        token=read_token(token_file),
        insecure=insecure_no_token,
        hosts=tuple(allow_host or ()),
        max_body=max_body,
        max_pixels=max_pixels,
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
    )
    api.serve(model, settings, announce=_line if as_json else _words)


def _line(started: Started) -> None:
    """The document of `--json`, on one line: whoever started this waits for a line."""
    import msgspec

    put(msgspec.json.encode(started).decode())


def _words(started: Started) -> None:
    proof = "not verified"
    if started.verified is not None:
        proof = f"verified on {counted(started.verified, 'golden image')}"
    if started.signed == "valid":
        proof += ", signed"
    token = ", token needed" if started.token else ""
    put(f"{started.model} ({counted(started.labels, 'label')}, {proof}) at {started.url}{token}; Ctrl-C stops it")
