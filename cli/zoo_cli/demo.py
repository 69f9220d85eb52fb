"""`zoo demo`: the whole path in one command, on the digits that scikit-learn ships, without a network."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

import zoo
from zoo.errors import OutputError
from zoo.spec import to_builtins
from zoo_cli.compare import as_text
from zoo_cli.options import Json
from zoo_cli.output import document, fields, format_count, megabytes, put, verdict_table

if TYPE_CHECKING:
    from zoo.evaluation.comparison import Comparison

__all__ = ["demo"]

T = TypeVar("T")

EPOCHS = {"simple_cnn": 8, "resnet18": 2, "svm": None}
"""Enough for a respectable result in under three minutes on two cores; svm has no epochs."""
PICTURES = 6


def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder for all it makes.")] = Path(
        "zoo-demo"
    ),
    as_json: Json = False,
) -> None:
    """Walk the whole path on digits, offline.

    Trains three models, compares them, exports and verifies the best, labels a few images; about two minutes.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(
            f"{out} is there and not empty; choose another folder with --out, or remove it first",
            code="out-occupied",
            path=str(out),
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        reason = (problem.strerror or str(problem)).lower()
        raise OutputError(
            f"cannot make {out}: {reason}; choose another with --out", code="output-unwritable", path=str(out)
        ) from None
    folder = out.resolve()
    with contextlib.chdir(folder):  # so that each command, typed there, does the same
        found = _walk(_Steps(quiet=as_json), out)
    if as_json:
        document({"out": str(folder), **found})


class _Steps:
    """Shows each step as the command a user would type, does it, shows the result and keeps the time."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.seconds: dict[str, float] = {}

    def show(self, text: str) -> None:
        (sys.stderr.write if self.quiet else put)(f"{text}\n")

    def run(self, command: str, do: Callable[[], T], told: Callable[[T], str]) -> T:
        self.show(f"$ {command}")
        start = time.perf_counter()
        with contextlib.redirect_stdout(sys.stderr):
            result = do()
        self.seconds[command] = round(time.perf_counter() - start, 2)
        self.show(f"{told(result)}\n")
        return result


def _walk(steps: _Steps, out: Path) -> dict[str, Any]:
    """Every step in order, inside the demo's folder; returns what `--json` says."""
    typed = shlex.quote(str(out))  # seen from outside
    steps.show(f"$ mkdir {typed} && cd {typed}\n")
    runs = {}
    for model, epochs in EPOCHS.items():
        run = f"runs/{model}"
        given = f" --epochs {epochs}" if epochs else ""
        result = steps.run(
            f"zoo train {model}{given} --out {run}",
            partial(zoo.train, model, epochs=epochs, out=run),
            lambda result: verdict_table(result.test),
        )
        runs[model] = to_builtins(result)
    targets = [f"runs/{model}" for model in EPOCHS]
    comparison = steps.run(f"zoo compare {' '.join(targets)}", lambda: zoo.compare(targets), as_text)
    best = _best(comparison)
    steps.show(f"best by macro AUROC: {best}\n")
    run, file, bundle = f"runs/{best}", f"{best}.onnx", f"{best}.zoo"
    steps.run(f"zoo export {run} --onnx --out {file}", lambda: zoo.export(run, out=file), _describe_export)
    exported = steps.run(
        f"zoo export {run} --onnx --bundle --out {bundle}",
        lambda: zoo.export(run, bundle=True, out=bundle),
        _describe_export,
    )
    verified = steps.run(
        f"zoo verify {bundle}",
        lambda: zoo.verify(bundle),
        lambda proof: (
            f"{format_count(proof.files, 'file')} whole, {format_count(proof.images, 'golden image')} answered alike"
        ),
    )
    _write_pictures(Path("images"))
    predictions = steps.run(
        f"zoo predict {bundle} images",
        lambda: [result.row(1) for result in zoo.open(bundle).predict("images")],
        lambda rows: "\n".join(f"{row['image']}  {row['label']}  {row['probability']:.4f}" for row in rows),
    )
    total = round(sum(steps.seconds.values()), 1)
    made = {"runs": "runs/", "model": file, "bundle": bundle, "images": "images/"}
    steps.show(f"done in {total:.0f} s; below {Path.cwd()}:\n{fields(made)}")
    steps.show(f"next: zoo train {best} --data YOUR-FOLDER, with one folder of images for each class")
    return {
        "paths": {name: str(Path(path).resolve()) for name, path in made.items()},
        "best": best,
        "runs": runs,
        "comparison": comparison,
        "export": exported,
        "verification": verified,
        "predictions": predictions,
        "seconds": steps.seconds,
        "total_seconds": total,
    }


def _best(found: Comparison) -> str:
    return max(found.models, key=lambda row: row.metrics["macro_auroc"].value).name


def _describe_export(result: zoo.ExportResult) -> str:
    proof = result.parity
    return (
        f"{result.path}, {megabytes(result.size_bytes)}; proven on {format_count(proof.images, 'raw image')}: "
        f"logits within {proof.max_abs_logit:.1e}, {format_count(proof.flips, 'label')} changed"
    )


def _write_pictures(folder: Path) -> None:
    """Test images as files a person can open; the name says the true digit."""
    from PIL import Image

    from zoo.data import open_data

    splits = open_data("digits")
    folder.mkdir()
    for row in range(PICTURES):
        label = splits.labels[int(splits.test.targets[row])]
        Image.fromarray(splits.test.read(row).pixels).save(folder / f"{row + 1}-shows-{label}.png")
