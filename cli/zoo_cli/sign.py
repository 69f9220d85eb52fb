"""`zoo sign`: make a key, or sign a bundle with one. Needs no network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from zoo import api
from zoo.errors import UsageError
from zoo_cli.options import Json
from zoo_cli.output import document, fields, put, say, shown_path, typed_path

__all__ = ["sign"]


def sign(
    bundle: Annotated[Path | None, typer.Argument(metavar="[BUNDLE]", help="NAME.zoo or NAME.zoo.zip.")] = None,
    *,
    key: Annotated[Path | None, typer.Option("--key", metavar="FILE", help="Private key to sign with.")] = None,
    new_key: Annotated[
        Path | None, typer.Option("--new-key", metavar="FILE", help="Make a key: FILE (private) and FILE.pub.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Sign a bundle with an Ed25519 key, or make one.

    Whoever has the public half checks it: 'zoo verify BUNDLE --key FILE.pub'. A signature that a bundle bears is
    replaced. The private key is locked by the passphrase in ZOO_KEY_PASSPHRASE, where that is set.
    """
    if new_key is not None and bundle is None and key is None:
        _make(new_key, as_json=as_json)
    elif new_key is None and bundle is not None and key is not None:
        done = api.sign(bundle, key)
        shown = shown_path(done.path)
        if as_json:
            document(done)
        else:
            next_verb = f"zoo verify {typed_path(done.path)} --key {typed_path(f'{key}.pub')}"
            put(fields({"signed": f"{done.name}, {shown}", "by key": done.key, "next": next_verb}))
    else:
        raise UsageError("expected 'zoo sign --new-key FILE' to make a key, or 'zoo sign BUNDLE --key FILE' to sign")


def _make(path: Path, *, as_json: bool) -> None:
    from zoo.edge.bundle.keys import PASSPHRASE, new_key

    fingerprint = new_key(path)
    if not os.environ.get(PASSPHRASE):
        say(f"{path} is not locked; whoever can read it can sign in your name. {PASSPHRASE} would give it a passphrase")
    if as_json:
        document({"key": fingerprint, "private": str(path), "public": f"{path}.pub"})
        return
    shown = shown_path(path)
    put(
        fields(
            {
                "private key": f"{shown}, keep it to yourself",
                "public key": f"{shown}.pub, give it to those who verify",
                "fingerprint": fingerprint,
                "next": f"zoo sign BUNDLE --key {typed_path(path)}",
            }
        )
    )
