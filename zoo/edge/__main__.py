"""`python -m zoo.edge VERB`: the device's verbs of the `zoo` command, on the standard library's parser.

Data goes to stdout, everything else to stderr. Exit 0 done, 1 a `ZooError` or an image without an answer,
2 usage, 3 a gate refused, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.edge.document import Listed, as_json
from zoo.errors import GateError, UsageError, ZooError
from zoo.text import amount, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zoo.edge.runtime import Runtime
    from zoo.edge.serve.server import Started

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit status."""
    asked = _parser().parse_args(arguments)
    verb: Callable[[argparse.Namespace], int] = asked.verb
    try:
        return verb(asked)
    except ZooError as problem:
        message = " ".join(str(problem).split())
        if asked.json:
            _put(as_json({"error": {"type": type(problem).__name__, "message": message}}))
        _say(printable(message))
        return problem.exit_code
    except BrokenPipeError:  # `… | head`: the reader has seen enough
        sys.stderr.close()
        return 1
    except KeyboardInterrupt:
        _say("interrupted")
        return 130


def _predict(asked: argparse.Namespace) -> int:
    from zoo.edge.results import Failure
    from zoo.edge.resuming import predict_csv
    from zoo.edge.table import answer

    runtime, sources = _opened(asked)
    how = {"batch_size": asked.batch_size, "frame": asked.frame, "workers": asked.workers}
    if asked.csv:
        results = predict_csv(runtime, sources, Path(asked.csv), resume=asked.resume, **how)
    elif asked.resume:
        raise UsageError("--resume goes on with a table, expected --csv FILE with it")
    else:
        results = runtime.predict(sources, **how)
    answered = failed = 0
    with Listed() as rows:
        for result in results:
            failed += isinstance(result, Failure)
            answered += not isinstance(result, Failure)
            if asked.json:
                rows.add(result.row(asked.top))
            elif isinstance(result, Failure):
                _say(f"{printable(result.image)}: {result.error}")
            elif not asked.csv:
                _put(f"{printable(result.image)}\t{'  '.join(answer(result, asked.top))}\n")
        if asked.json:
            for line in rows.lines():
                _put(line)
    if failed:
        _say(f"{failed} of {amount(answered + failed, 'image')} got no answer")
    return 1 if failed else 0


def _explain(asked: argparse.Namespace) -> int:
    from zoo.edge.explain import CAPTIONS, Method
    from zoo.edge.heatmaps import Explained, explained, in_words

    runtime, sources = _opened(asked)
    rows, failed = [], 0
    method: Method = "occlusion"
    for result in explained(runtime, sources, label=asked.label, out=Path(asked.out), frame=asked.frame):
        rows.append(result.row())
        if not isinstance(result, Explained):
            failed += 1
            _say(f"{printable(result.image)}: {result.error}")
            continue
        method = result.heat.method
        if not asked.json:
            _put(f"{printable(result.image)}\t{in_words(result.heat)}\t{result.file}\n")
    if asked.json:
        _put(as_json(rows))
    elif len(rows) > failed:
        _say(CAPTIONS[method])
    if failed:
        _say(f"{failed} of {len(rows)} images got no map")
    return 1 if failed else 0


def _opened(asked: argparse.Namespace) -> tuple[Runtime, Any]:
    """The model, and what it is asked about: one source, whose folder must not be empty, or many."""
    from zoo.edge.runtime import Runtime

    runtime = Runtime.open(
        asked.model,
        provider=asked.provider,
        threads=asked.threads,
        key=asked.key,
        allow_fallback=asked.allow_fallback,
    )
    return runtime, asked.images[0] if len(asked.images) == 1 else asked.images


def _bench(asked: argparse.Namespace) -> int:
    import msgspec

    from zoo.edge.budget import misses, parse
    from zoo.edge.timing import bench

    allowed = parse(asked.budget) if asked.budget else {}
    done = bench(
        asked.model,
        provider=asked.provider,
        runs=asked.runs,
        threads=asked.threads,
        image_size=tuple(asked.image_size) if asked.image_size else None,
        batch_size=asked.batch_size,
        operators=asked.operators,
        allow_fallback=asked.allow_fallback,
    )
    if asked.json:
        _report(done, as_document=True)
    else:
        _report(msgspec.structs.replace(done, operators=None), as_document=False)
        for part in done.operators or ():
            _put(f"{part.operator} on {part.provider}: {part.calls:.0f} calls, {part.ms:.3f} ms, {part.share:.1%}\n")
    over = misses(done, allowed)
    if over:
        _say(f"{asked.model} is over its budget: {'; '.join(map(str, over))}")
    return GateError.exit_code if over else 0


def _verify(asked: argparse.Namespace) -> int:
    from zoo.edge.golden import verify

    done = verify(
        asked.model,
        provider=asked.provider,
        threads=asked.threads,
        key=asked.key,
        require_signature=asked.require_signature,
        allow_fallback=asked.allow_fallback,
        time_limit=asked.time_limit,
        memory_limit=asked.memory_limit,
    )
    return _report(done, as_document=asked.json)


def _serve(asked: argparse.Namespace) -> int:
    import msgspec

    from zoo.edge.serve import Settings, read_token, serve

    settings = Settings(
        **{name: value for _, name, *_ in _SERVED if (value := getattr(asked, name)) is not None},
        token=read_token(asked.token_file),
        insecure=asked.insecure_no_token,
        hosts=tuple(asked.allow_host),
        verify=not asked.no_verify,
        key=asked.key,
    )

    def announce(started: Started) -> None:
        line = msgspec.json.encode(started).decode()  # one line: whoever started this waits for a line
        words = f"{printable(started.model)} at {started.url}; Ctrl-C stops it"
        _put((line if asked.json else words) + "\n")
        sys.stdout.flush()

    serve(asked.model, settings, announce=announce)
    return 0


def _info(asked: argparse.Namespace) -> int:
    from zoo.edge.bundle import open_model

    manifest = open_model(Path(asked.model)).manifest
    if asked.json:
        return _report(manifest, as_document=True)
    lines = {
        "name": manifest.name,
        "labels": ", ".join(manifest.labels),
        "task": manifest.task,
        "input": f"{manifest.input.dtype}, {manifest.input.channels} channels, {manifest.input.stage}",
        "size": f"{manifest.preprocess.size[0]}x{manifest.preprocess.size[1]} {manifest.preprocess.channels}",
        "created": manifest.provenance.created,
        "licence": manifest.licence,
        "intended use": manifest.intended_use,
    }
    for name, value in lines.items():
        _put(f"{name}: {printable(value)}\n")
    return 0


def _report(value: Any, *, as_document: bool) -> int:
    from zoo.spec import to_builtins

    if as_document:
        _put(as_json(value))
    else:
        for name, entry in to_builtins(value).items():
            _put(f"{name}: {f'{entry:.4g}' if isinstance(entry, float) else printable(str(entry))}\n")
    return 0


def _put(text: str) -> None:
    sys.stdout.write(text)


def _say(text: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"zoo: {text}\n")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value}, expected 1 or more")
    return value


_SERVED: tuple[tuple[str, str, str, Any, str], ...] = (
    ("--host", "host", "H", str, "address to listen on (default 127.0.0.1)"),
    ("--port", "port", "N", int, "port to listen on (default 8000); 0: any free one"),
    ("--max-body", "max_body", "BYTES", _positive, "largest body (default 20 million)"),
    ("--max-pixels", "max_pixels", "N", _positive, "largest image (default 25 million)"),
    ("--queue", "waiting", "N", int, "requests that may wait (default 32); the next one gets a 503"),
    ("--connections", "connections", "N", _positive, "most at a time (default 256)"),
    ("--timeout", "seconds", "S", float, "from request to answer (default 30)"),
    ("--head-timeout", "head_seconds", "S", float, "for a request's head (default 10)"),
    ("--body-timeout", "body_seconds", "S", float, "for its body (default 30)"),
    ("--workers", "workers", "N", _positive, "images at a time (default: one a CPU)"),
    ("--threads", "threads", "N", _positive, "threads of one answer (default 1)"),
    ("--provider", "provider", "P", str, "cpu, cuda, … (default cpu); never another instead"),
)
"""Options of `serve` that become one field of `zoo.edge.serve.Settings` each."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m zoo.edge", description="Run an exported model on this device.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def add(name: str, verb: Callable[[argparse.Namespace], int], text: str, *, runs: bool = True) -> Any:
        entry = verbs.add_parser(name, help=text, description=text)
        entry.set_defaults(verb=verb)
        entry.add_argument("model", help="a .onnx file or a bundle, NAME.zoo or NAME.zoo.zip")
        if runs:
            entry.add_argument("--provider", default="cpu", help="cpu, cuda, … (default cpu); never another instead")
            entry.add_argument("--threads", type=_positive, help="threads inside one operator (default: all CPUs)")
            entry.add_argument("--allow-fallback", action="store_true", help="let the CPU run what P does not take")
        entry.add_argument("--json", action="store_true", help="one JSON document on stdout")
        return entry

    predict = add("predict", _predict, "label images and folders of them")
    predict.add_argument("images", nargs="+", help="image files and folders")
    predict.add_argument("--csv", metavar="FILE", help="also write every probability to FILE")
    predict.add_argument("--resume", action="store_true", help="go on with the unfinished FILE.part, if there is one")
    predict.add_argument("--workers", type=int, default=0, metavar="N", help="processes that decode (default: threads)")
    predict.add_argument("--top", type=_positive, metavar="K", help="show the K most probable classes")
    predict.add_argument("--batch-size", type=_positive, metavar="N", help="most images in one run")
    predict.add_argument("--frame", type=_positive, metavar="N", help="picture of files that hold several, from 1")
    predict.add_argument("--key", metavar="FILE", help="only a bundle signed by this public key")
    shown = add("explain", _explain, "heat maps of what the answers depend on")
    shown.add_argument("images", nargs="+", help="image files and folders")
    shown.add_argument("--label", metavar="L", help="explain this label (default: the most probable)")
    shown.add_argument("--out", metavar="DIR", default="heatmaps", help="where the pictures go (default heatmaps)")
    shown.add_argument("--frame", type=_positive, metavar="N", help="picture of files that hold several, from 1")
    shown.add_argument("--key", metavar="FILE", help="only a bundle signed by this public key")
    timed = add("bench", _bench, "latency, cold start, peak memory, size")
    timed.add_argument("--runs", type=_positive, default=100, metavar="N", help="timed answers (default 100)")
    timed.add_argument("--image-size", type=_positive, nargs=2, metavar=("H", "W"), help="of the raw image")
    timed.add_argument("--batch-size", type=_positive, default=1, metavar="N", help="images in a run (default 1)")
    timed.add_argument("--operators", action="store_true", help="also say where the time goes")
    timed.add_argument("--budget", metavar="K=V,…", help="exit 3 unless kept: latency_ms=10,size_mb=20")
    verify = add("verify", _verify, "check the signature, compare every hash and replay the golden set")
    verify.add_argument("--key", metavar="FILE", help="public key that must have signed the bundle")
    verify.add_argument("--require-signature", action="store_true", help="refuse a bundle without a signature")
    verify.add_argument("--time-limit", type=float, metavar="SECONDS", help="the proof is ended after it (default 600)")
    verify.add_argument("--memory-limit", type=_positive, metavar="MB", help="memory it may take (default 4096)")
    add("info", _info, "what the model says of itself", runs=False)
    served = add("serve", _serve, "answer images over HTTP, with a page for people", runs=False)
    for option, name, metavar, kind, text in _SERVED:
        served.add_argument(option, dest=name, metavar=metavar, type=kind, help=text)
    served.add_argument("--token-file", type=Path, metavar="F", help="callers must send what it holds")
    served.add_argument("--insecure-no-token", action="store_true", help="let other machines in without a token")
    served.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="a proxy serves this under it"
    )
    served.add_argument("--key", type=Path, metavar="FILE", help="only a bundle signed by this public key")
    served.add_argument("--no-verify", action="store_true", help="do not replay the golden set first")
    return parser


if __name__ == "__main__":
    sys.exit(main())
