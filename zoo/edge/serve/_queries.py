"""What the query of a request says: which model, and how it is to answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zoo._support.labels import find_label
from zoo.edge.serve._guard import Declined, refusal
from zoo.edge.serve._models import CHOICE, UnknownModel
from zoo.edge.serve._openapi import MOST
from zoo.edge.serve._shapes import MODEL, MODEL_VERSION
from zoo.errors import DataError, UsageError
from zoo.tabular import parse_cells

if TYPE_CHECKING:
    from starlette.requests import Request

    from zoo.edge.serve._models import Model, Models
    from zoo.edge.serve._work import Columns

__all__ = ["choose", "read_query"]


def choose(models: Models, request: Request) -> Model:
    """The model that a request names in its path or, on the plain paths, its query; else the first.

    Raises:
        Declined: 404, there is none; 400, it is named twice.
    """
    named: dict[str, str | None] = {name: request.path_params.get(of) for name, of in zip(CHOICE, _PLACES, strict=True)}
    if "name" not in request.path_params:
        lone = models.first.runtime.manifest.table if len(models.all) == 1 else None
        columns = () if lone is None else lone.names
        for name in CHOICE:
            values = [] if name in columns else request.query_params.getlist(name)
            if len(values) > 1:
                raise Declined(refusal(400, f"{name} is given twice, expected once"))
            named[name] = values[0] if values else None
    try:
        model = models.find(named["model"], named["version"])
    except UnknownModel as unknown:
        said = f"a model of this name and version is not here; there are: {', '.join(unknown.known)}"
        raise Declined(refusal(404, said, kind="UnknownModel", models=unknown.known)) from None
    request.scope[MODEL], request.scope[MODEL_VERSION] = model.name, model.version
    return model


_PLACES = ("name", "version")
"""What the paths call the two of `CHOICE`."""


def read_query(model: Model, request: Request, *known: str) -> tuple[dict[str, Any], Columns]:
    """What the query says of the answer, and the columns beside the image.

    Raises:
        Declined: 400, a value that is not taken; nothing that was sent is repeated.
    """
    try:
        asked, columns = _read(model, request, *known)
    except ValueError as wrong:
        raise Declined(refusal(400, str(wrong))) from None
    try:
        if asked.get("label") is not None:
            find_label(asked["label"], model.runtime.labels)
    except UsageError:
        raise Declined(refusal(400, "the model has no such label; GET /model lists those it has")) from None
    return asked, columns


def _read(model: Model, request: Request, *known: str) -> tuple[dict[str, Any], Columns]:
    table = model.runtime.manifest.table
    names = () if table is None else tuple(name for name in table.names if name not in known)
    choice = tuple(name for name in CHOICE if name not in names)
    found = _values(request, *known, texts=(*names, *choice))
    for name in choice:
        found.pop(name)
    if table is None:
        return found, None
    given = {name: found.pop(name) for name in names}
    try:
        return found, parse_cells(table, {name: [cell] for name, cell in given.items() if cell is not None}, 1)
    except DataError as problem:  # its sentence may repeat what was sent
        if problem.code == "inputs-missing":
            lost = " and ".join(problem.fields["columns"])
            raise ValueError(f"the query lacks {lost}, which the model takes beside the image") from None
        said = "is empty and the model needs it" if problem.code == "inputs-cell-missing" else "is not a number"
        raise ValueError(f"{problem.fields['column']} {said}") from None


def _values(request: Request, *known: str, texts: tuple[str, ...] = ()) -> dict[str, Any]:
    """The query by name, None for what is not given: a label and `texts` as they are, all others whole numbers.

    Raises:
        ValueError: a name that is not known or given twice, or no number from 1; what was given is not repeated.
    """
    found: dict[str, Any] = dict.fromkeys((*known, *texts))
    for name, value in request.query_params.multi_items():
        if name not in found:
            raise ValueError(f"the query holds a name that is not known, expected {' or '.join((*known, *texts))}")
        if found[name] is not None:
            raise ValueError(f"{name} is given twice, expected once")
        whole = value.isascii() and value.isdigit() and len(value) < 20
        text = name == "label" or name in texts
        if not text and not (whole and 1 <= int(value) <= MOST):
            raise ValueError(f"{name} is not a number from 1 to {MOST}")
        found[name] = value if text else int(value)
    return found
