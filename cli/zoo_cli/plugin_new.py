"""`zoo plugin new NAME`: a complete little project for a model of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from zoo_cli.options import Json
from zoo_cli.output import document, fields, put, quote_path

__all__ = ["new"]


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the distribution, such as zoo-acme.")],
    *,
    framework: Annotated[
        Literal["torch", "sklearn", "other"],
        typer.Option("--framework", help="What the model is made with; other: it brings a training of its own."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="The project's folder; default: NAME here.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a project that installs and passes its tests at once: code, card, tests, entry points."""
    from zoo.contract.scaffold import new as write

    folder, names = write(name, framework, out)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    if as_json:
        document(
            {
                "path": str(folder),
                "distribution": names.distribution,
                "package": names.package,
                "plugin": names.plugin,
                "model": names.model,
                "files": files,
            }
        )
        return
    place = quote_path(folder)
    renamed = {} if names.distribution == name else {"name": f"{names.distribution}, which is how pip reads {name}"}
    lines = renamed | {
        "wrote": place,
        "files": ", ".join(files),
        "model": f"{names.model}, in the catalogue once it is installed",
        "your code": f"{place}/src/{names.package}/model.py",
        "next 1": f"python -m pip install -e {quote_path(f'{folder}[test]')}",
        "next 2": f"cd {place} && python -m pytest",
        "next 3": f"zoo train {names.model}",
    }
    put(fields(lines))
