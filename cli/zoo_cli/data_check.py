"""`zoo data check PATH`: the audit of a set, as text, JSON and a page."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

import zoo
from zoo.errors import GateError
from zoo_cli import offers, options
from zoo_cli.output import document, format_table, put, quote_path, say, show_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.data.audit import Audit, Finding
    from zoo.spec import Reading

__all__ = ["check"]

MOST = 20
"""Findings that are shown as text."""
EACH = 5
"""Of one kind, while others wait."""
WIDEST = 12
"""Classes, and folds, that are shown as text."""


def check(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH|NAME", autocompletion=offers.data, help="A folder, a table, an .npz file or a named set."
        ),
    ],
    *,
    group: options.Group = None,
    columns: options.Columns = None,
    keep_na: options.KeepNa = None,
    frames: options.Frames = None,
    uncertain: options.Uncertain = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page with thumbnails.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the page in --html.")] = False,
    as_json: options.Json = False,
) -> None:
    """Look for what ruins studies: copies across splits, wrong labels, damage, personal data.

    Exit status 3: two splits share copies, near-duplicates or groups. Every other finding leaves it at 0.
    """
    reading = options.make_reading(columns, group, uncertain, keep_na=keep_na, frames=frames)
    progress = _progress if sys.stderr.isatty() else None
    found = zoo.check(path, html=html, overwrite=overwrite, progress=progress, **reading)
    if html is not None:
        say(f"wrote {show_path(html)}")
    if as_json:
        document(found)
    else:
        put(_text(found, path, reading, html=html is not None))
    if found.verdict == "leak":
        raise typer.Exit(GateError.exit_code)


def _progress(done: int, n: int) -> None:
    sys.stderr.write(f"\rzoo: looked at {done} of {n} images" + ("\n" if done == n else ""))
    sys.stderr.flush()


def _text(found: Audit, path: str, reading: Reading, *, html: bool) -> str:
    lines = [f"{found.name}: {_VERDICTS[found.verdict]}", "", _counts(found), ""]
    if found.findings:
        lines += [_kinds(found), "", "the worst first:" if len(found.findings) > 1 else "found:"]
        merged = _merge(found.findings)
        lines += [_line(finding) for finding in _choose(merged)]
        if len(merged) > MOST:
            lines.append(f"  … and {len(merged) - MOST} more; --json lists all")
        lines.append("")
    lines += [f"note: {note}" for note in (*found.notes, found.search.note) if note]
    lines.append(_advice(found, path, reading, html=html))
    return "\n".join(lines)


_VERDICTS = {
    "leak": "leak; two splits hold the same pictures or groups",
    "defects": "defects, none of them across splits",
    "clean": "clean; nothing was found that has to be mended",
}


def _counts(found: Audit) -> str:
    shown = list(found.classes.items())[:WIDEST]
    splits = list(found.splits)[:WIDEST]
    rows = [(label, *(str(counts[split]) for split in splits)) for label, counts in shown]
    if len(found.classes) > WIDEST:
        rows.append((f"… {len(found.classes) - WIDEST} more", *("" for _ in splits)))
    rows.append(("images", *(str(found.splits[split]) for split in splits)))
    table = format_table(("class", *splits), rows, right=range(1, len(splits) + 1))
    more = len(found.splits) - len(splits)
    return table + (f"\n… and {more} more folds" if more else "")


def _kinds(found: Audit) -> str:
    from zoo.data.audit import KINDS

    rows = []
    for kind in KINDS:
        findings = found.of_kind(kind)
        if findings:
            across = sum(finding.across_splits for finding in findings)
            files = len({identity for finding in findings for identity in finding.files})
            rows.append((kind, str(len(findings)), str(across) if across else "-", str(files) if files else "-"))
    return format_table(("kind", "findings", "across splits", "images"), rows, right=(1, 2, 3))


def _merge(findings: Sequence[Finding]) -> list[Finding]:
    """Findings that say the same of one image each as one, at the place of the first."""
    merged: dict[object, Finding] = {}
    for place, finding in enumerate(findings):
        said = (finding.kind, finding.severity, finding.across_splits, finding.detail)
        key = said if len(finding.files) == 1 else place
        first = merged.get(key)
        files = finding.files if first is None else (*first.files, *finding.files)
        merged[key] = msgspec.structs.replace(first or finding, files=files)
    return list(merged.values())


def _choose(findings: Sequence[Finding]) -> list[Finding]:
    """The worst, but no kind crowds the others out."""
    seen: Counter[str] = Counter()
    first: list[int] = []
    rest: list[int] = []
    for place, finding in enumerate(findings):
        seen[finding.kind] += 1
        (first if seen[finding.kind] <= EACH else rest).append(place)
    return [findings[place] for place in sorted([*first, *rest][:MOST])]


def _line(finding: Finding) -> str:
    named = ", ".join(finding.files[:2]) + (f", … ({len(finding.files)})" if len(finding.files) > 2 else "")
    across = ", across splits" if finding.across_splits else ""
    return f"  {finding.severity} {finding.kind}{across}: {finding.detail}" + (f" [{named}]" if named else "")


def _advice(found: Audit, path: str, reading: Reading, *, html: bool) -> str:
    look = "" if html or not found.findings else "; --html FILE shows the worst pictures side by side"
    if found.verdict == "leak":
        return (
            "next: take one of each pair out, or put copies and groups into one split; training leaves out exact "
            f"copies of validation and test images by itself{look}"
        )
    if found.verdict == "defects":
        return f"next: mend or leave out what is listed, then check again{look}"
    fold = " --fold 0" if next(iter(found.splits)).startswith("fold ") else ""
    shown = f"note: {look.removeprefix('; ')}\n" if look else ""
    return f"{shown}next: zoo train MODEL --data {quote_path(path)}{fold}{options.spell_reading(reading)}"
