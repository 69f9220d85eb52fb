"""`zoo export`: write the file or the bundle, and prove it."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from zoo import api
from zoo.errors import UsageError
from zoo_cli.options import Data, Json
from zoo_cli.output import counted, document, fields, megabytes, put, shown_path

__all__ = ["export"]


def export(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run; default: the last one.")] = None,
    *,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write an ONNX file.")] = False,
    preprocess: Annotated[
        Literal["full", "normalize", "none"],
        typer.Option("--preprocess", help="How much of it the file does itself.", show_default=True),
    ] = "full",
    portable: Annotated[
        bool,
        typer.Option("--portable", help="Resize by matrix products: for OpenVINO, TensorRT and others."),
    ] = False,
    bundle: Annotated[
        bool,
        typer.Option(
            "--bundle", help="Write NAME.zoo: the file with all that proves it; one file where --out ends in .zoo.zip."
        ),
    ] = False,
    web: Annotated[
        Path | None,
        typer.Option("--web", metavar="DIR", help="Write a page that runs the model in the browser; RUN or a bundle."),
    ] = None,
    ort_web: Annotated[
        Path | None,
        typer.Option("--ort-web", metavar="PATH", help="For --web: npm's tarball or folder of onnxruntime-web."),
    ] = None,
    data: Data = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="PATH", help="File or bundle; default: RUN/export/.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a run as a proven ONNX file or bundle.

    The proof that it answers as the trained model does
    runs on raw images of the data set; when it fails nothing is written and the exit status is 3.
    """
    if not (onnx or bundle or web):
        raise UsageError(
            "no format named; expected --onnx for one file, --bundle for a folder that proves itself, "
            "or --web for a page"
        )
    with contextlib.redirect_stdout(sys.stderr):
        result = api.export(
            run,
            preprocess=preprocess,
            portable=portable,
            bundle=bundle,
            out=out,
            data=data,
            web=web,
            ort_web=ort_web,
        )
    if as_json:
        document(result)
        return
    parity, path = result.parity, shown_path(result.path)
    following = f"zoo verify {path}" if bundle else f"zoo predict {path} IMAGES"
    if web is not None:
        following = f"python -m http.server --bind 127.0.0.1 --directory {path}, then open http://localhost:8000"
    put(
        fields(
            {
                "file": f"{path}, {megabytes(result.size_bytes)}",
                "proof": f"{counted(parity.images, 'raw image')}: logits within {parity.max_abs_logit:.1e}, "
                f"probabilities within {parity.max_abs_probability:.1e}, "
                f"{counted(parity.flips, 'label')} changed",
                "next": following,
            }
        )
    )
