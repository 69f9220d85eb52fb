"""`zoo data info PATH|NAME`: what data of one's own was taken for, or all that is known of a named set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo_cli import offers, options
from zoo_cli.output import document, fields, format_count, format_table, megabytes, put

if TYPE_CHECKING:
    from zoo.data import DataDescription
    from zoo.spec import Reading
    from zoo.store.sets import Variant

__all__ = ["info"]

MOST = 20
"""Columns of labels that are shown as text."""

PATIENTS = {
    "unknown": "not known: one patient may be in two splits",
    "kept apart": "not named, but kept apart by the publisher's splits",
    "none": "none: not images of people",
}


def info(
    name: Annotated[
        str,
        typer.Argument(
            metavar="PATH|NAME[@SIZE]",
            autocompletion=offers.data,
            help="A folder, a table, an .npz file, or a named set.",
        ),
    ],
    *,
    columns: options.Columns = None,
    group: options.Group = None,
    keep_na: options.KeepNa = None,
    frames: options.Frames = None,
    uncertain: options.Uncertain = None,
    as_json: options.Json = False,
) -> None:
    """Show what data was taken for: columns, classes, groups, splits, first rows; of a named set its source as well.

    No pixel is decoded: every header is read and every file hashed. 'zoo data check' looks at the pixels.
    """
    from zoo.data import describe_data, find_named
    from zoo.store import sets

    reading = options.make_reading(columns, group, uncertain, keep_na=keep_na, frames=frames)
    if find_named(name) is None:
        found = describe_data(name, **reading)
        if as_json:
            document(found)
        else:
            put(_text(found))
        return
    variant = sets.find(name)
    if as_json:
        here = sets.sizes_here(variant.about, variant.set_name)
        known = _describe_named(variant, reading)
        document({**known, "name": variant.name, "size": variant.px, "set": variant.about, "here": variant.px in here})
    elif reading:
        put(_text(describe_data(name, **reading)))
    else:
        put(fields(_lines(variant)))


def _describe_named(variant: Variant, reading: Reading) -> dict[str, Any]:
    """What a named set holds: counted where it is here, or has to be here for what is asked; else by its catalogue."""
    from zoo.data import describe_data
    from zoo.spec import to_builtins
    from zoo.store import sets

    about = variant.about
    if reading or about.format == "embedded" or variant.px in sets.sizes_here(about, variant.set_name):
        found: dict[str, Any] = to_builtins(describe_data(variant.name, **reading))
        return found
    return {
        "n": about.n, "columns": {}, "ignored": {}, "classes": dict.fromkeys(about.labels), "groups": None,
        "splits": dict(about.splits), "channels": None, "notes": [],
    }  # fmt: skip


def _text(found: DataDescription) -> str:
    splits = ", ".join(f"{n} {split}" for split, n in found.splits.items()) or "no splits; training makes them"
    stack = "" if found.channels is None else f", {found.channels} channels"
    lines = {"data": found.name, "images": f"{format_count(found.n, 'image')} of {found.kind}{stack}: {splits}"}
    folders = "image" not in found.columns  # of a table one column names the images
    lines |= {role: "the folder" if folders else _show(column) for role, column in found.columns.items()}
    lines |= {
        "classes": " | ".join(f"{label} {n}" for label, n in found.classes.items()),
        "patients": "not known" if found.groups is None else format_count(found.groups, "group"),
    }
    text = [fields(lines)]
    if found.ignored:
        rows = list(found.ignored.items())
        text += ["", format_table(("ignored", "because"), rows)]
    text += ["", format_table(tuple(found.first[0]), [tuple(row.values()) for row in found.first]), ""]
    return "\n".join((*text, *(f"note: {note}" for note in found.notes)))


def _show(column: str | tuple[str, ...]) -> str:
    names = (column,) if isinstance(column, str) else column
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return f"column{'s' if len(names) > 1 else ''} {', '.join(names[:MOST])}{more}"


def _lines(variant: Variant) -> dict[str, Any]:
    from zoo.store import sets

    about = variant.about
    splits = ", ".join(f"{n} {split}" for split, n in about.splits.items()) or "no splits; made 70/15/15"
    here = variant.px in sets.sizes_here(about, variant.set_name)
    lines: dict[str, Any] = {
        "set": variant.name,
        "images of": about.title,
        "licence": about.licence + (" (not for commercial use)" if about.non_commercial else ""),
        "images": f"{format_count(about.n, 'image')}: {splits}",
        "pixels": f"{variant.px} x {variant.px}, {'gray' if about.channels == 1 else 'colour'}; sizes "
        + " ".join(map(str, about.sizes)),
        "classes": f"{'any of ' if about.task == 'multilabel' else ''}{len(about.labels)}: {' | '.join(about.labels)}",
        "patients": PATIENTS[about.patients],
    }
    if about.train:
        lines["training"] = f"{', '.join(f'{k} {v}' for k, v in about.train.items())}: {about.because}"
    if about.remark:
        lines["remark"] = about.remark
    for number, citation in enumerate(about.citation, 1):
        lines[f"cite {number}"] = citation
    lines["page"] = about.page
    if about.format == "embedded":
        return lines | {"next": f"zoo train simple_cnn --data {variant.name}"}
    size = "" if variant.file.size is None else f", {megabytes(variant.file.size)}"
    lines |= {"file": f"{variant.file.url}{size}", "checksum": f"{variant.file.checksum} ({about.checked_against})"}
    if here:
        return lines | {"here": str(sets.path_of(variant)), "next": f"zoo train simple_cnn --data {variant.name}"}
    return lines | {"next": f"zoo data fetch {variant.name}", "or": f"zoo data import {variant.name} FILE"}
