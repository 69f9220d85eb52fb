"""The audit as one HTML file: no network, no script, thumbnails inside, every name escaped."""

from __future__ import annotations

from html import escape
from string import Template
from typing import TYPE_CHECKING

from zoo.data.audit._plots import bars, curves
from zoo.data.audit._report import KINDS, Audit, Finding, Kind
from zoo.errors import ImageError
from zoo.readers import thumbnail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from zoo.data._index import Pool

__all__ = ["page"]

SIDE = 112
"""Pixels of a thumbnail's longer side."""
MOST_FINDINGS = 24
"""Findings of one kind that are shown; the JSON document holds all."""
MOST_IMAGES = 6
"""Images of one finding that are shown."""
MOST_NAMES = 12
"""Names of images without a thumbnail that are listed."""

_TITLES: dict[Kind, tuple[str, str]] = {
    "label_conflict": ("Conflicting labels", "Copies of one picture under different labels; at most one can be right."),
    "group_leak": ("Groups in two splits", "A patient that is learned from and tested on makes every number too good."),
    "duplicate": ("Exact duplicates", "The decoded pixels are the same, whatever the files are called or saved as."),
    "near_duplicate": (
        "Near-duplicates",
        "The same picture re-saved, resized, mirrored, turned or brightened, or the same scene taken twice.",
    ),
    "unreadable": ("Unreadable files", "They cannot be decoded; nothing is ever put in their place."),
    "label_mismatch": ("Labels that do not fit names", "File names, folders or splits that say another class."),
    "bit_depth": ("Bit depth", "How pixel values are stored."),
    "personal_data": ("Personal data", "Fields of the files that name a person; their values are not shown."),
    "saturated": ("Constant or saturated images", "Little or nothing is left to learn from in them."),
    "imbalance": ("Imbalance", "Classes with few images, beside others or in a split."),
}
_VERDICTS = {
    "leak": "Leak: the same pictures or groups are in two splits. Numbers measured on this set are too good.",
    "defects": "Defects: nothing was found across splits, but read the findings before training.",
    "clean": "Clean: nothing was found that has to be mended.",
}


def page(audit: Audit, pool: Pool) -> str:
    """Write the audit of `pool` as HTML.

    Args:
        audit: what was found.
        pool: where the thumbnails are read from.
    """
    shown = {kind: audit.of_kind(kind)[:MOST_FINDINGS] for kind in KINDS}
    pictures = _thumbnails(pool, [f for findings in shown.values() for f in findings if f.kind != "unreadable"])
    text = _PAGE.substitute(
        name=_text(audit.name),
        verdict=audit.verdict,
        verdict_line=_VERDICTS[audit.verdict],
        summary=_text(_summary(audit)),
        counts=_counts(audit),
        sizes=bars({f"{size.width} × {size.height}": size.n for size in audit.sizes}),
        storage=bars(audit.storage),
        brightness=curves(audit.brightness, audit.brightest),
        findings="".join(_section(kind, audit.of_kind(kind), shown[kind], pictures) for kind in KINDS)
        or "<p>None.</p>",
        notes="".join(f"<li>{_text(note)}</li>" for note in (*audit.notes, _method(audit))),
    )
    # a name that is not valid text must not prevent the page
    return text.encode("utf-8", "backslashreplace").decode()


def _summary(audit: Audit) -> str:
    splits = ", ".join(f"{name} {n}" for name, n in audit.splits.items())
    lost = f", {audit.skipped} unreadable" if audit.skipped else ""
    return f"{audit.n} images ({splits}){lost}, {len(audit.classes)} classes, {len(audit.findings)} findings"


def _method(audit: Audit) -> str:
    search = audit.search
    if search.threshold is None:
        return search.note
    how = "every pair was compared" if search.exhaustive else "images in the same hash bucket were compared"
    note = f"; {search.note}" if search.note else ""
    return (
        f"near-duplicates: whitened correlation of the lowest {search.frequencies} × {search.frequencies} frequencies "
        f"of at least {search.threshold:g} in the best of eight orientations; {how}{note}"
    )


def _counts(audit: Audit) -> str:
    splits = list(audit.splits)
    head = "".join(f"<th>{_text(split)}</th>" for split in splits)
    total = "<th>together</th>" if len(splits) > 1 else ""
    rows = []
    for label, per_split in audit.classes.items():
        cells = "".join(
            f"<td{' class=none' if not per_split[split] else ''}>{per_split[split]}</td>" for split in splits
        )
        together = f"<td>{sum(per_split.values())}</td>" if total else ""
        rows.append(f"<tr><th><bdi>{_text(label)}</bdi></th>{cells}{together}</tr>")
    sums = "".join(f"<td>{audit.splits[split]}</td>" for split in splits)
    last = f"<td>{sum(audit.splits.values())}</td>" if total else ""
    return (
        f"<table><thead><tr><th>class</th>{head}{total}</tr></thead><tbody>{''.join(rows)}</tbody>"
        f"<tfoot><tr><th>images</th>{sums}{last}</tr></tfoot></table>"
    )


def _section(kind: Kind, findings: Sequence[Finding], shown: Sequence[Finding], pictures: Mapping[str, str]) -> str:
    if not findings:
        return ""
    title, meaning = _TITLES[kind]
    across = sum(finding.across_splits for finding in findings)
    how_many = f"{len(findings)} found" + (f", {across} across splits" if across else "")
    more = len(findings) - len(shown)
    rest = f"<p class=more>and {more} more; 'zoo data check --json' lists all.</p>" if more else ""
    body = "".join(_finding(finding, pictures) for finding in shown)
    return (
        f"<section><h3>{title} <small>{how_many}</small></h3><p class=meaning>{meaning}</p>"
        f"<div class=findings>{body}</div>{rest}</section>"
    )


def _finding(finding: Finding, pictures: Mapping[str, str]) -> str:
    images = [identity for identity in finding.files if identity in pictures][:MOST_IMAGES]
    listed = finding.files[: MOST_IMAGES if images else MOST_NAMES]
    figures = "".join(
        f"<figure>{_picture(pictures.get(identity, ''))}"
        f"<figcaption><bdi>{_breakable(identity)}</bdi></figcaption></figure>"
        for identity in (listed if images else ())
    )
    names = "" if images else "".join(f"<li><bdi>{_text(identity)}</bdi></li>" for identity in listed)
    more = len(finding.files) - len(listed)
    return (
        f'<article class="{finding.severity}{" across" if finding.across_splits else ""}">'
        f"<p><span class=severity>{finding.severity}</span> <bdi>{_text(finding.detail)}</bdi></p>"
        + (f"<div class=pictures>{figures}</div>" if figures else "")
        + (f"<ul class=names>{names}</ul>" if names else "")
        + (f"<p class=more>and {more} more images</p>" if more else "")
        + "</article>"
    )


def _picture(uri: str) -> str:
    return f'<img src="{uri}" alt="">' if uri else "<span class=missing>no picture</span>"


def _breakable(identity: str) -> str:
    """A name that a browser may break into lines after each folder."""
    return _text(identity).replace("/", "/<wbr>")


def _text(value: str) -> str:
    return escape(value, quote=True)


def _thumbnails(pool: Pool, findings: Sequence[Finding]) -> dict[str, str]:
    """Id: data URI, for the images that are shown."""
    wanted = {identity for finding in findings for identity in finding.files[:MOST_IMAGES]}
    found = {}
    for row, identity in enumerate(pool.ids) if wanted else ():
        if identity in wanted:
            try:
                found[identity] = thumbnail(pool.source.read(row), SIDE)
            except ImageError:  # a finding of its own
                continue
    return found


_PAGE = Template(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Audit of $name</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1c1c; background: #fff; max-width: 1040px; margin: 2em auto;
  padding: 0 1.2em }
h1 { font-size: 1.5em; margin-bottom: .2em } h2 { font-size: 1.2em; margin-top: 2em; border-bottom: 1px solid #ddd }
h3 { font-size: 1.05em; margin: 1.8em 0 0 } small { font-weight: normal; color: #666 }
.verdict { padding: .8em 1em; border-left: 6px solid; font-weight: 600 }
.leak { border-color: #b2182b; background: #fbecee } .defects { border-color: #d98200; background: #fdf5e6 }
.clean { border-color: #1b7837; background: #edf7ef }
table { border-collapse: collapse } th, td { padding: .15em .9em; text-align: right; font-weight: normal }
th:first-child { text-align: left } thead th { border-bottom: 1px solid #999; color: #555 }
tfoot th, tfoot td { border-top: 1px solid #999; font-weight: 600 } td.none { color: #b2182b; font-weight: 600 }
.plots { display: flex; flex-wrap: wrap; gap: 1.2em 2.5em } .plots h4 { margin: .5em 0 .3em; font-weight: 600 }
svg text { font: 12px system-ui, sans-serif; fill: #333 }
.meaning { margin: .2em 0 .6em; color: #555 } .more { margin: .3em 0; color: #666; font-size: .9em }
.findings { display: grid; grid-template-columns: repeat(auto-fill, minmax(310px, 1fr)); gap: .8em; align-items: start }
article { border: 1px solid #ddd; border-left: 4px solid #bbb; padding: .5em .8em; overflow-wrap: anywhere }
article p { margin: 0 0 .4em; font-size: .92em } article.error { border-left-color: #b2182b }
article.warning { border-left-color: #d98200 }
.severity { font-size: .8em; padding: 0 .5em; border-radius: 3px; background: #e6e6e6 }
.error .severity { background: #b2182b; color: #fff } .warning .severity { background: #d98200; color: #fff }
.pictures { display: flex; flex-wrap: wrap; gap: .6em } figure { margin: 0; width: ${side}px }
img { display: block; width: 100%; background: #eee; image-rendering: pixelated }
figcaption { font-size: .72em; line-height: 1.25; color: #444; margin-top: .2em }
.missing { display: block; height: ${side}px; background: #eee; color: #777; font-size: .8em; text-align: center }
.names { margin: 0; padding-left: 1.2em; font-size: .85em }
</style>
</head>
<body>
<h1>Audit of <bdi>$name</bdi></h1>
<p>$summary</p>
<p class="verdict $verdict">$verdict_line</p>
<h2>Images</h2>
$counts
<div class="plots">
<div><h4>Sizes (width × height)</h4>$sizes</div>
<div><h4>Stored as</h4>$storage</div>
<div><h4>Brightness</h4>$brightness</div>
</div>
<h2>Findings</h2>
$findings
<h2>Notes</h2>
<ul>$notes</ul>
</body>
</html>
""".replace("${side}", str(SIDE))
)
