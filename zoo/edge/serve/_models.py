"""The models of one server: opened, proven, found by name and version, and replaced while requests are answered."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.edge._replay import replay
from zoo.edge._runtime import Runtime
from zoo.edge.bundle import GOLDEN, Signed, open_model
from zoo.errors import UsageError
from zoo.spec import encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.edge.serve._settings import Settings
    from zoo.edge.serve._sources import ServedPath

__all__ = ["CARD", "CHOICE", "Model", "Models", "UnknownModel", "open_served"]

CARD = "CARD.md"
CHOICE = ("model", "version")
"""What a query names a model by; of several models none may take a column of these names."""

log = logging.getLogger("zoo")


@dataclass(frozen=True, slots=True)
class Model:
    """One that was opened and, where that was asked for, proven. Requests hold theirs to their end.

    Attributes:
        name: by which it is asked for.
        version: first digits of the sha256 of its ONNX file.
        runtime: what answers.
        document: its manifest as JSON.
        card: its card; None: it has none.
        verified: golden images that were answered as where it was exported; None: not tried.
        signed: valid: by the key that was given.
    """

    name: str
    version: str
    runtime: Runtime
    document: bytes
    card: bytes | None
    verified: int | None
    signed: Signed


class UnknownModel(Exception):  # noqa: N818 - a state, which the caller answers with 404
    """No model of this name and version; `known` are those there are."""

    def __init__(self, known: tuple[str, ...]) -> None:
        super().__init__()
        self.known = known


def open_served(source: ServedPath, settings: Settings, before: Model | None = None) -> Model:
    """Open and prove one model.

    Args:
        source: where it is.
        settings: provider, threads, key, and whether the golden set is replayed.
        before: what was opened from there last; it is given back where the file is the same.

    Raises:
        GateError, ModelError, ProviderError, SignatureError: see `zoo.edge.serve.serve`.
    """
    contents = open_model(source.path, keep=(GOLDEN, CARD), key=settings.key)
    document = encode(contents.manifest)
    if before is not None and (contents.sha256, document) == (before.runtime.sha256, before.document):
        return before
    runtime = Runtime.from_contents(source.path, contents, provider=settings.provider, threads=settings.threads or 1)
    verified = None
    if settings.verify and GOLDEN in contents.files:
        proof = replay(runtime, contents)
        verified = proof.images
        if warning := proof.warning():
            log.warning("%s", warning)
    return Model(
        name=source.name or runtime.manifest.name,
        version=runtime.mark,
        runtime=runtime,
        document=document,
        card=contents.files.get(CARD),
        verified=verified,
        signed=contents.signed,
    )


class Models:
    """Those of one server, in the order given; the first answers where none is named.

    Attributes:
        all: what is served now. It is replaced as a whole, so a request sees one state.

    Raises:
        UsageError: two are one by name and version, or a column of one is named as a choice of model is.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        _check(models)
        self.all = tuple(models)

    @property
    def first(self) -> Model:
        """Answers where no model is named."""
        return self.all[0]

    def find(self, name: str | None = None, version: str | None = None) -> Model:
        """The first of this name and version; None: any.

        Raises:
            UnknownModel: there is none.
        """
        for model in self.all:
            if name in {None, model.name} and version in {None, model.version}:
                return model
        raise UnknownModel(tuple(f"{model.name} {model.version}" for model in self.all))

    def versions(self, name: str) -> tuple[str, ...]:
        """All versions of a name."""
        return tuple(model.version for model in self.all if model.name == name)

    def replace(self, at: int, model: Model) -> None:
        """Serve `model` in the place of another from now on; raises as the class, and changes nothing then."""
        models = [*self.all[:at], model, *self.all[at + 1 :]]
        _check(models)
        self.all = tuple(models)


def _check(models: Sequence[Model]) -> None:
    seen: dict[tuple[str, str], Model] = {}
    for model in models:
        other = seen.setdefault((model.name, model.version), model)
        if other is not model:
            paths = [str(other.runtime.path), str(model.runtime.path)]
            raise UsageError(
                f"{paths[1]} is {model.name}, version {model.version}, and so is {paths[0]}; give one of them alone, "
                f"or another name: OTHER={paths[1]}",
                code="serve-model-twice",
                name=model.name,
                version=model.version,
                paths=paths,
            )
        table = model.runtime.manifest.table
        taken = [] if table is None else [name for name in table.names if name in CHOICE]
        if taken and len(models) > 1:
            raise UsageError(
                f"{model.runtime.path} takes a column {taken[0]!r}, by which a request chooses among several models; "
                "serve it alone",
                code="serve-column",
                column=taken[0],
                path=str(model.runtime.path),
            )
