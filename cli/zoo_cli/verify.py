"""`zoo verify BUNDLE`: its hashes, and its golden set on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo import api
from zoo_cli.options import Json, Provider
from zoo_cli.output import counted, document, fields, put, shown_path

__all__ = ["verify"]


def verify(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A folder NAME.zoo.")],
    provider: Provider = "cpu",
    as_json: Json = False,
) -> None:
    """Prove a bundle on this machine.

    Compares every hash and replays the golden set; exit status 3 if anything differs.
    """
    proof = api.verify(bundle, provider=provider)
    if as_json:
        document(proof)
        return
    put(
        fields(
            {
                "verified": f"{proof.name}, {shown_path(proof.path)}",
                "hashes": f"{counted(proof.files, 'file')} as they were exported",
                "golden set": f"{counted(proof.images, 'raw image')} on {proof.provider}: logits within "
                f"{proof.max_abs_logit:.1e}, allowed {proof.tolerance:.1e}",
            }
        )
    )
