"""`zoo info MODEL`: one card."""

from __future__ import annotations

from typing import Annotated

import typer

from zoo import api
from zoo.spec import ModelCard, to_builtins
from zoo_cli.options import Json
from zoo_cli.output import document, fields, put

__all__ = ["info"]


def info(
    model: Annotated[str, typer.Argument(help="A name from 'zoo list', or timm/NAME.")], as_json: Json = False
) -> None:
    """Show one model: input, recipe, weights, licence."""
    card = api.info(model)
    if as_json:
        document(card)
    else:
        put(fields(_lines(card)))


def _lines(card: ModelCard) -> dict[str, object]:
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
        "input": f"{spec.size[0]} x {spec.size[1]} px, {spec.channels}, {how}",
        "intensity": f"{intensity}; mean {_numbers(spec.mean)}; std {_numbers(spec.std)}",
        "training": ", ".join(f"{name} {value}" for name, value in to_builtins(card.train).items()),
        "weights": f"{weights.source} ({weights.licence})" if weights else "none; it learns from scratch",
        "needs": ", ".join(card.needs) or "nothing more",
        "licence": card.licence,
        "train it": f"zoo train {card.name}{' --pretrained' if weights else ''} --data FOLDER",
    }


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
