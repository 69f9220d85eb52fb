"""`zoo export`: write the file or the bundle, and prove it."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

import zoo
from zoo.edge._tables import describe_golden
from zoo.errors import QuantizationError, UsageError
from zoo.spec import FormatName, Target
from zoo_cli import offers
from zoo_cli.formats import refuse_beside_format, show_format
from zoo_cli.options import Data, Json, Operating
from zoo_cli.output import document, fields, format_count, megabytes, put, quote_path, show_path
from zoo_cli.rungs import rung_table

if TYPE_CHECKING:
    from zoo.spec import Parity, QuantizedKind

__all__ = ["export"]


def export(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", autocompletion=offers.runs, help="A run; default: the last one.")
    ] = None,
    *,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write an ONNX file.")] = False,
    form: Annotated[
        FormatName | None,
        typer.Option("--format", help="Write a folder for another runtime, which must give the golden answers."),
    ] = None,
    preprocess: Annotated[
        Literal["full", "normalize", "none"] | None,
        typer.Option("--preprocess", help="How much of it the file does itself; default: full, or what it can."),
    ] = None,
    portable: Annotated[
        bool,
        typer.Option("--portable", help="Resize by matrix products: for OpenVINO, TensorRT and others."),
    ] = False,
    evidence: Annotated[
        bool,
        typer.Option(
            "--evidence", help="With a third output: where the model sees what (U-Nets, and others that can)."
        ),
    ] = False,
    features: Annotated[
        bool, typer.Option("--features", help="With the output features: what the last layer makes its answer of.")
    ] = False,
    operating: Operating = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Make it smaller and faster, if the answers stay those of float32.")
    ] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Half the size, for GPUs; on CPUs it is mostly slower.")] = False,
    target: Annotated[
        Target | None,
        typer.Option("--target", help="What --int8 or --fp16 is made for; default: this machine. avx512: with VNNI."),
    ] = None,
    bars: Annotated[
        list[str] | None,
        typer.Option(
            "--bar", metavar="NAME=VALUE", help="How much --int8 or --fp16 may lose: auroc=0.005, sensitivity=0.01."
        ),
    ] = None,
    accept_unproven: Annotated[
        bool,
        typer.Option("--accept-unproven", help="Also where the images are too few to tell; the file says so."),
    ] = False,
    finetune: Annotated[
        bool,
        typer.Option("--finetune", help="With --int8: train the network for it where rounding alone is not enough."),
    ] = False,
    bundle: Annotated[
        bool,
        typer.Option(
            "--bundle", help="Write NAME.zoo: the file with all that proves it; one file where --out ends in .zoo.zip."
        ),
    ] = False,
    no_seen: Annotated[
        bool,
        typer.Option("--no-seen", help="Leave out of a bundle the salted hashes of the images that it was trained on."),
    ] = False,
    web: Annotated[
        Path | None,
        typer.Option("--web", metavar="DIR", help="Write a page that runs the model in the browser; RUN or a bundle."),
    ] = None,
    ort_web: Annotated[
        Path | None,
        typer.Option("--ort-web", metavar="PATH", help="For --web: npm's tarball or folder of onnxruntime-web."),
    ] = None,
    golden: Annotated[
        Literal["generated", "own"] | None,
        typer.Option(
            "--golden",
            help="Images of the bundle's golden set: drawn ones, or some of yours; default: drawn, of public sets own.",
        ),
    ] = None,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="For --web: let npm get onnxruntime-web; else a terminal is asked.")
    ] = False,
    data: Data = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="PATH", help="File or bundle; default: RUN/export/.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file, bundle or page that is there.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a run as a proven ONNX file or bundle.

    The proof that it answers as the trained model does
    runs on raw images of the data set; when it fails nothing is written and the exit status is 3.
    The same holds for --int8 and --fp16, whose answers are compared with those of float32. A rung that is shown
    to be worse is refused, and one that is shown to be as good is taken. Where the images are too few to tell,
    --accept-unproven decides. Test images choose nothing, and confirm. Where the images of a finished run are
    gone, the file that was proven at training is taken. --format writes a folder for another runtime. That runtime
    must give the golden answers of the ONNX file; when it does not nothing is written and the exit status is 3.
    """
    if form is not None:
        asked = {
            "--onnx": onnx, "--bundle": bundle, "--web": web, "--portable": portable, "--evidence": evidence,
            "--features": features, "--int8": int8, "--fp16": fp16, "--target": target, "--bar": bars,
            "--accept-unproven": accept_unproven, "--finetune": finetune, "--no-seen": no_seen, "--ort-web": ort_web,
            "--fetch": fetch,
        }  # fmt: skip
        refuse_beside_format(form, [option for option, given in asked.items() if given])
        with contextlib.redirect_stdout(sys.stderr):
            made = zoo.export_format(
                run,
                format=form,
                preprocess=preprocess,
                operating=operating or (),
                out=out,
                data=data,
                golden=golden,
                overwrite=overwrite,
            )
        show_format(made, as_json=as_json)
        return
    if not (onnx or bundle or web):
        raise UsageError(
            f"no format named{_note_no_run(run)}; expected --onnx for one file, --bundle for a folder that proves "
            "itself, --web for a page, or --format for another runtime",
            code="option-missing",
            options=["--onnx", "--bundle", "--web", "--format"],
        )
    if int8 and fp16:
        raise UsageError(
            "--int8 and --fp16 are two ways to one end; name one of them",
            code="option-conflict",
            options=["--int8", "--fp16"],
        )
    kind: QuantizedKind | None = "int8" if int8 else "fp16" if fp16 else None
    try:
        with contextlib.redirect_stdout(sys.stderr):
            result = zoo.export(
                run,
                preprocess=preprocess or "full",
                portable=portable,
                evidence=evidence,
                features=features,
                operating=operating or (),
                quantize=kind,
                target=target,
                bars=bars or (),
                accept_unproven=accept_unproven,
                finetune=finetune,
                bundle=bundle,
                seen=not no_seen,
                out=out,
                data=data,
                web=web,
                ort_web=ort_web,
                golden=golden,
                overwrite=overwrite,
                fetch=fetch or (web is not None and ort_web is None and _ask_for_npm()),
            )
    except QuantizationError as problem:
        if not as_json:
            put(rung_table(problem.fields["quantization"], refused=True))
        raise
    if as_json:
        document(result)
        return
    parity, path, found = result.parity, show_path(result.path), result.quantization
    quantised = {}
    if found is not None:
        put(rung_table(found) + "\n")
        faster = f", {found.speed.ratio.value:.2f} times as fast here" if found.speed else ""
        quantised["taken"] = f"{found.rungs[-1].name}, for {found.target}: {found.size_ratio:.1f} times smaller{faster}"
    typed = quote_path(result.path)
    following = f"zoo verify {typed}" if bundle else f"zoo predict {typed} IMAGES"
    then = {}
    if found is not None and found.measured == "reference":
        then = {"where": f"on the {found.target} machine, with a copy of it there"}
    if web is not None:
        following = f"python -m http.server --bind 127.0.0.1 --directory {typed}"
        then = {"then": "open http://localhost:8000"}
    put(
        fields(
            {
                "file": f"{path}, {megabytes(result.size_bytes)}",
                **quantised,
                "proof": f"{'' if found is None else 'of its float32 file, '}"
                f"{format_count(parity.images, 'raw image')}: "
                f"logits within {parity.max_abs_logit:.1e}, probabilities within {parity.max_abs_probability:.1e}, "
                f"{format_count(parity.flips, 'label')} changed{_of_more(parity)}"
                f"{', at training' if result.proven == 'training' else ''}",
                **({"golden": _describe_golden(result)} if bundle or web else {}),
                **({"note": "; ".join(result.notes)} if result.notes else {}),
                "next": following,
                **then,
            }
        )
    )


def _describe_golden(result: zoo.ExportResult) -> str:
    """Whose images travel along: nobody should find out later."""
    if result.golden in {"generated", "public"}:
        return f"{result.golden_images} images, {describe_golden(result.golden)}"
    if result.golden == "own":
        return f"{result.golden_images} of your images, unaltered, are in this bundle; look before you pass it on"
    return "its images may be yours, an older release wrote the bundle; look before you pass it on"


def _note_no_run(run: str | None) -> str:
    """A remark where nothing could be exported in any format."""
    return ", and no run is here: train one first" if run is None and not Path("runs/latest").exists() else ""


def _ask_for_npm() -> bool:
    """Whether the user lets npm get the engine; only a terminal is asked, and only where it is not here."""
    from zoo.artefact._ort_web import MEGABYTES, NAME, VERSION, is_stored
    from zoo.store._download import offline

    if is_stored() or offline() or not _is_terminal():
        return False
    return typer.confirm(f"{NAME} {VERSION} ({MEGABYTES} MB) is not here; get it with npm?", err=True)


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _of_more(parity: Parity) -> str:
    maps = "" if parity.max_abs_evidence is None else f", evidence maps within {parity.max_abs_evidence:.1e}"
    rows = "" if parity.max_abs_features is None else f", features within {parity.max_abs_features:.1e}"
    return maps + rows
