"""`verify`: prove a bundle on this device, by default in a child process."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from zoo.edge._isolation import TIME_LIMIT, prove_apart
from zoo.edge._replay import Verification, prove
from zoo.errors import GateError

__all__ = ["Verification", "verify"]

log = logging.getLogger("zoo")


def verify(
    path: Path | str,
    *,
    provider: str = "cpu",
    threads: int | None = None,
    key: Path | str | None = None,
    require_signature: bool = False,
    allow_fallback: bool = False,
    isolated: bool = True,
    time_limit: float | None = None,
    memory_limit: int | None = None,
) -> Verification:
    """Compare every hash, then run the golden images from raw pixels and compare every logit and top label.

    What is not signed as was asked is not read further, and a file whose hash is wrong is not run. All of it happens
    in a child process, so that a hostile model harms that one only; see `zoo.edge._isolation`.

    A warning says so where ONNX Runtime is older here than the one from which on the file is proven.

    Where the interpreter can never be started again, under an emulator or inside an application, it happens in this
    process, a warning says so, and `Verification.isolated` is false. Limits that were asked for are not dropped so:
    the proof is then refused.

    Args:
        path: a bundle NAME.zoo or NAME.zoo.zip.
        provider: what to run on; the proof holds for this one.
        threads: threads inside one operator; None: as many as this process has CPUs.
        key: file of a public key: the bundle must be signed by it.
        require_signature: refuse a bundle without a signature, also when no key is given.
        allow_fallback: let the CPU run nodes that the provider does not take; see `Runtime.open`.
        isolated: False: in this process and without limits.
        time_limit: seconds the child process may take; None: `zoo.edge._isolation.TIME_LIMIT`.
        memory_limit: megabytes (10^6 bytes) it may take; None: `zoo.edge._isolation.MEMORY_LIMIT`.

    Raises:
        LimitError: it took more, or crashed.
        TamperedError: files are not the ones the manifest lists; the line names all, with expected and actual hash.
        SignatureError: the bundle is not signed as was asked; the subclass says why.
        GateError: it answers otherwise; the line lists every mismatch with its name, expected and actual value.
        ModelError: not a bundle, no golden set in it, or a model that cannot be opened.
        ProviderError: the provider is not there.
    """
    limit = TIME_LIMIT if time_limit is None else time_limit
    how: dict[str, Any] = {
        "provider": provider,
        "threads": threads,
        "key": None if key is None else str(key),
        "require_signature": require_signature,
        "allow_fallback": allow_fallback,
    }
    if not isolated:
        return _warn(prove(Path(path), **how))
    try:
        return _warn(prove_apart(Path(path), time_limit=limit, memory_limit=memory_limit, **how))
    except GateError as problem:
        asked = time_limit is not None or memory_limit is not None
        if problem.code != "proof-unstarted" or not problem.fields["lasting"] or asked:
            raise
        log.warning(
            "%s: proven in this process, without limits on time and memory: no other can be started here (%s)",
            path,
            problem.fields["cause"],
        )
        return _warn(prove(Path(path), **how))


def _warn(proof: Verification) -> Verification:
    """The proof, after its warning."""
    if warning := proof.warning():
        log.warning("%s", warning)
    return proof
