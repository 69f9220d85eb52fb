"""`zoo verify BUNDLE`: its signature, its hashes, and its golden set on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo import api
from zoo_cli.options import AllowFallback, Json, Provider
from zoo_cli.output import counted, document, fields, put, shown_path

if TYPE_CHECKING:
    from zoo.edge import Verification

__all__ = ["verify"]


def verify(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="NAME.zoo or NAME.zoo.zip.")],
    *,
    provider: Provider = "cpu",
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="Public key (.pub) that must have signed it.")
    ] = None,
    require_signature: Annotated[
        bool, typer.Option("--require-signature", help="Refuse a bundle without a signature.")
    ] = False,
    allow_fallback: AllowFallback = False,
    time_limit: Annotated[
        float | None, typer.Option("--time-limit", metavar="SECONDS", help="The proof is ended after it (default 600).")
    ] = None,
    memory_limit: Annotated[
        int | None,
        typer.Option(
            "--memory-limit", metavar="MB", help="Memory it may take (default 4096, or 3/4 of the machine's)."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Prove a bundle on this machine.

    Checks the signature, compares every hash and replays the golden set, in a process of its own with limits on time
    and memory; exit status 3 if anything differs.
    """
    proof = api.verify(
        bundle,
        provider=provider,
        key=key,
        require_signature=require_signature,
        time_limit=time_limit,
        memory_limit=memory_limit,
        allow_fallback=allow_fallback,
    )
    if as_json:
        document(proof)
        return
    put(
        fields(
            {
                "verified": f"{proof.name}, {shown_path(proof.path)}",
                "signature": _signature(proof, key),
                "hashes": f"{counted(proof.files, 'file')} as they were exported",
                "golden set": f"{counted(proof.images, 'raw image')} on {proof.provider}: logits within "
                f"{proof.max_abs_logit:.1e}{_maps(proof)}, allowed {proof.tolerance:.1e}",
            }
        )
    )


def _maps(proof: Verification) -> str:
    return "" if proof.max_abs_evidence is None else f", evidence maps within {proof.max_abs_evidence:.1e}"


def _signature(proof: Verification, key: Path | None) -> str:
    if key is not None:
        return f"valid, by key {proof.signer}, {shown_path(key)}"
    if proof.signed == "none":
        return "not signed"
    return f"signed by key {proof.signer}, not checked: give --key"
