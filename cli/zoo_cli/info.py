"""`zoo info MODEL`: one card, or what an exported file says of itself."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

import zoo
from zoo.spec import GRADIENT_SETTINGS, ModelCard, is_non_commercial, to_builtins
from zoo_cli import offers
from zoo_cli.options import Json
from zoo_cli.output import document, fields, put

if TYPE_CHECKING:
    from zoo.spec import Latency, Weights

__all__ = ["info"]


def info(
    model: Annotated[
        str,
        typer.Argument(
            autocompletion=offers.models_and_files,
            help="A name from 'zoo list', timm/NAME, hf-hub:…, local-dir:…, a run, a bundle, an .onnx file.",
        ),
    ],
    as_json: Json = False,
) -> None:
    """Show one model, or what an exported one says of itself.

    Of a model: input, recipe, weights, licence; of an exported one: use, results with intervals, origin, signature.
    """
    from zoo.workflow._find import model_file
    from zoo.workflow.info import is_file_of_a_model

    if is_file_of_a_model(model):
        from zoo.edge import _verbs

        _verbs.info(Path(model), as_json=as_json, find=model_file)
        return
    card = cast("ModelCard", zoo.info(model))
    if as_json:
        document(card)
    else:
        put(fields(_lines(card, model)))


def _lines(card: ModelCard, asked: str) -> dict[str, object]:
    spec, weights = card.preprocess, card.weights
    intensity = " ".join(str(value) for value in to_builtins(spec.intensity).values())
    denoise = f", {' '.join(map(str, to_builtins(spec.denoise).values()))}" if spec.denoise else ""
    how = f"{spec.resize} ({spec.interpolation}){denoise}"
    return {
        "name": card.name,
        "summary": card.summary,
        "family": card.family,
        "plugin": f"{card.plugin}, arch {card.arch}",
        "parameters": f"{card.parameters / 1e6:.2f} million" if card.parameters else "not stated",
        **({"MACs": f"{card.macs / 1e6:,.0f} million".replace(",", " ")} if card.macs else {}),
        **({"latency": _latency(card.latency)} if card.latency else {}),
        "input": f"{spec.size[0]} x {spec.size[1]} px, {spec.named_channels}, {how}",
        "intensity": f"{intensity}; mean {_numbers(spec.mean)}; std {_numbers(spec.std)}",
        "training": _training(card),
        "weights": _weights(weights) if weights else "none; it learns from scratch",
        "needs": ", ".join(card.needs) or "nothing more",
        "licence": f"{card.licence}, of the code" if weights else card.licence,
        "train it": f"zoo train {shlex.quote(asked)}{' --pretrained' if weights else ''} --data FOLDER",
    }


def _weights(weights: Weights) -> str:
    use = ", not for commercial use" if is_non_commercial(weights.licence) else ""
    return f"{weights.source}, licence {weights.licence}{use}"


def _training(card: ModelCard) -> str:
    """What a run starts from; classical models are fitted in one step."""
    fitted = card.family == "classical"
    settings = {name: value for name, value in to_builtins(card.train).items() if value is not None}
    if fitted:
        settings = {name: value for name, value in settings.items() if name not in GRADIENT_SETTINGS}
        settings.setdefault("features", "pixels")
    return ("fitted in one step; " if fitted else "") + ", ".join(f"{name} {value}" for name, value in settings.items())


def _latency(found: Latency) -> str:
    int8 = "" if found.int8_ms is None else f", int8 {found.int8_ms:g} ms"
    return f"float32 {found.fp32_ms:g} ms{int8}; {found.machine}"


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
