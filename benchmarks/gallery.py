"""The gallery: docs/gallery.md and its pictures, from the catalogue and from measured comparisons.

    python benchmarks/gallery.py                                       # write the page from docs/gallery/*.json
    python benchmarks/gallery.py measure pbc8_28 RUN RUN … [--data D] [--about TEXT]

`measure` compares finished runs, one of each family, on their test images (`zoo compare`) and keeps the numbers, with
what each was trained for, in docs/gallery/NAME.json. The page is written from those files and registry.yaml alone, so
the same files give the same page everywhere; tests/docs/test_gallery.py compares them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from scatter import Point, scatter

from zoo.evaluation import title_of
from zoo.evaluation.comparison import Comparison, ModelRow, Pair
from zoo.registry._catalogue import Distribution, read
from zoo.spec import Interval, ModelCard

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
COSTS = {"latency_ms": "latency", "size_bytes": "size"}

HEAD = """# Gallery

<!-- Written by benchmarks/gallery.py from registry.yaml and docs/gallery/*.json; do not edit. -->

Every family of the catalogue, what it costs and, where that was measured, what one of its models did on real images.
The models were trained with the defaults of `zoo train` on one core: 1500 steps from random weights, and 500 where
pretrained ones were at hand. The last column says which. At 64 px none of it is the best a family can do. On your
images `zoo compare` makes such a table in one command.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", type=Path, default=DOCS, help="the folder of gallery.md and gallery/*.json")
    verbs = parser.add_subparsers(dest="verb")
    asked = verbs.add_parser("measure")
    asked.add_argument("name", help="what the set is called on the page, and its file in docs/gallery")
    asked.add_argument("runs", type=Path, nargs="+")
    asked.add_argument("--data", help="the runs' images, if they have moved")
    asked.add_argument("--about", default="", help="a sentence on the images")
    given = parser.parse_args()
    if given.verb == "measure":
        record = measured(given.runs, given.data, given.about)
        _write(given.docs / "gallery" / f"{given.name}.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    for path, text in documents(given.docs).items():
        _write(path, text)


def measured(runs: Sequence[Path], data: str | None, about: str) -> dict[str, Any]:
    """The comparison of these runs with what a reader must know of each."""
    import zoo
    from zoo._support.machine import cores, processor
    from zoo.runs import open_run
    from zoo.spec import to_builtins

    if any(not (run / "model.onnx").is_file() for run in runs):
        unfinished = [str(run) for run in runs if not (run / "model.onnx").is_file()]
        raise SystemExit(f"these runs hold no model.onnx, wait for them or leave them out: {', '.join(unfinished)}")
    records = [open_run(run).record for run in runs]
    manifests = [zoo.open(run).manifest for run in runs]  # which tell of an ensemble's members, too
    found = zoo.compare(list(runs), data)
    budgets = {
        row.name: {
            "model": record.card.name,
            "family": record.card.family,
            "size": record.card.preprocess.size[0],
            "epochs": None if manifest.members or "scikit-learn" in (record.precision or "") else record.epochs_done,
            "images": record.data.splits.get("train"),
            "pretrained": manifest.provenance.weights is not None,
            "features": record.card.train.features,
            "members": [member.name for member in manifest.members],
            "parameters": record.card.parameters,
        }
        for row, record, manifest in zip(found.models, records, manifests, strict=True)
    }
    return {
        "about": about,
        "measured": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{processor().name}, {cores()} of {os.cpu_count()} cores, ONNX Runtime {version('onnxruntime')}",
        "budgets": budgets,
        "comparison": to_builtins(found),
    }


def documents(docs: Path = DOCS) -> dict[Path, str]:
    """The page and its pictures: path to text."""
    cards = list(read(ROOT / "registry.yaml", Distribution("edgezoo", "")).values())
    sets = {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((docs / "gallery").glob("*.json"))
    }
    results = {name: (record, msgspec.convert(record["comparison"], Comparison)) for name, record in sets.items()}
    lines = [HEAD, *_families(cards, results)]
    made = {}
    for name, (record, found) in results.items():
        lines += _measured(name, record, found)
        made[docs / "gallery" / f"{name}.svg"] = _picture(name, found)
    lines += _catalogue(cards)
    return {docs / "gallery.md": "\n".join(lines).rstrip() + "\n", **made}


def _families(cards: Sequence[ModelCard], results: dict[str, tuple[dict[str, Any], Comparison]]) -> list[str]:
    """One row a family: what there is, what it costs, and the best of it that was measured."""
    rows = []
    for family in dict.fromkeys(card.family for card in cards):
        own = [card for card in cards if card.family == family]
        licences = sorted({card.weights.licence for card in own if card.weights})
        row = [
            f"[{family}](#{_anchor(family)})",
            str(len(own)),
            _range([card.parameters / 1e6 for card in own if card.parameters], "\u00a0M"),
            _range([card.latency.fp32_ms for card in own if card.latency and card.latency.fp32_ms], "\u00a0ms"),
            ", ".join(licences) or "-",
        ]
        for record, found in results.values():
            row.append(_best_of(family, cards, record, found))
        rows.append(row)
    header = ["family", "models", "parameters", "latency, fp32", "licences of weights"]
    header += [f"accuracy, {name}" for name in results]
    return ["## Families", "", *_table(header, rows, right={1}), ""]


def _best_of(family: str, cards: Sequence[ModelCard], record: dict[str, Any], found: Comparison) -> str:
    now = {card.name: card.family for card in cards}
    own = [
        row
        for row in found.models
        if now.get((budget := record["budgets"][row.name])["model"], budget["family"]) == family
        and "accuracy" in row.metrics
    ]
    if not own:
        return "-"
    best = max(own, key=lambda row: row.metrics["accuracy"].value)
    return f"{_interval(best.metrics['accuracy'])} {best.name}"


def _measured(name: str, record: dict[str, Any], found: Comparison) -> list[str]:
    """One set: what it is, the picture, the table, and what the pairs say."""
    best = _best(found)
    ranked = sorted(found.models, key=_score, reverse=True)
    rows = []
    for row in ranked:
        budget = record["budgets"][row.name]
        rows.append(
            [
                f"**{row.name}**" if row.pareto else row.name,
                _interval(row.metrics.get("macro_auroc"), 4),
                _interval(row.metrics.get("accuracy")),
                "-" if row.latency_ms is None else f"{row.latency_ms:.2f} ms",
                "-" if row.size_bytes is None else f"{row.size_bytes / 1e6:.1f} MB",
                _against(row, best, found.pairs),
                _budget(budget),
            ]
        )
    axes = [COSTS.get(axis) or title_of(axis) for axis in found.pareto_axes]
    axes_said = f"{', '.join(axes[:-1])} and {axes[-1]}"
    marks = (
        f"Bold, and filled in the picture: no other is at least as good in all of {axes_said}. 'Against' is the paired "
        f"test in macro AUROC on {found.resamples} shared resamples. Its interval is of this pair alone, its verdict "
        "Holm-corrected over all pairs of models, so that it may be 'cannot tell' where the interval leaves 0 out."
    )
    patients = f" of {found.clusters} patients" if found.clusters else ""
    images = (
        f"{found.n} test images{patients}, {len(found.labels)} classes; the exported float32 files, from raw pixels."
    )
    header = ["model", "macro AUROC (95 %)", "accuracy (95 %)", "latency", "size", f"against {best.name}", "trained"]
    return [
        f"## Measured on {name}",
        "",
        f"{record['about']} {images} Measured on {record['measured']}: {record['machine']}.".strip(),
        "",
        f"![{_title(name)}; the numbers are in the table below](gallery/{name}.svg)",
        "",
        marks,
        "",
        *_table(header, rows, right={3, 4}),
        "",
        *(f"- {note}" for note in found.notes),
        *([""] if found.notes else []),
    ]


def _catalogue(cards: Sequence[ModelCard]) -> list[str]:
    """Every card, family by family."""
    places = list(dict.fromkeys(card.latency.machine for card in cards if card.latency))
    numbered = len(places) > 1
    lines = ["## All models by family", ""]
    if places:
        where = "; ".join(f"({n}) {place}" if numbered else place for n, place in enumerate(places, 1))
        lines += [f"Latency of one image at the model's own size, from the cards: {where}.", ""]
    for family in dict.fromkeys(card.family for card in cards):
        rows = [
            [
                f"`{card.name}`",
                f"{card.parameters / 1e6:.2f} M" if card.parameters else "-",
                _operations(card.macs),
                f"{card.preprocess.size[0]} px",
                _milliseconds(card.latency and card.latency.fp32_ms, places, card, numbered=numbered),
                _milliseconds(card.latency and card.latency.int8_ms, places, card, numbered=False),
                card.weights.licence if card.weights else "none",
                card.summary.replace("|", "\\|"),
            ]
            for card in cards
            if card.family == family
        ]
        header = ["model", "parameters", "MACs", "input", "fp32", "int8", "weights", ""]
        lines += [f"### {family}", "", *_table(header, rows, right={1, 2, 3, 4, 5}), ""]
    return lines


def _picture(name: str, found: Comparison) -> str:
    points = [
        Point(row.name, row.latency_ms, value.value, value.low, value.high, row.pareto)
        for row in found.models
        if row.latency_ms is not None and (value := row.metrics.get("accuracy")) is not None
    ]
    return scatter(
        points,
        title=_title(name),
        across="latency of one image, ms (logarithmic)",
        up=f"accuracy on {found.n} test images of {name}, with 95 % intervals",
    )


def _title(name: str) -> str:
    return f"Accuracy against latency on {name}"


def _score(row: ModelRow) -> float:
    value = row.metrics.get("macro_auroc")
    return value.value if value else -math.inf


def _best(found: Comparison) -> ModelRow:
    return max(found.models, key=_score)


def _against(row: ModelRow, best: ModelRow, pairs: Iterable[Pair]) -> str:
    """The verdict on `row` beside the best, in words."""
    if row.name == best.name:
        return "the best here"
    pair = next(p for p in pairs if p.metric == "macro_auroc" and {p.a, p.b} == {row.name, best.name})
    if pair.delta is None or pair.low is None or pair.high is None:
        return f"cannot tell: {pair.reason}"
    sign = 1 if pair.a == row.name else -1
    low, high = sorted((sign * pair.low, sign * pair.high))
    word = "cannot tell" if pair.verdict == "cannot tell" else "worse"
    return f"{word}: {sign * pair.delta:+.4f} ({low:+.4f} to {high:+.4f})"


def _budget(budget: dict[str, Any]) -> str:
    start = "**pretrained**" if budget["pretrained"] else "from scratch"
    said = [f"{budget['size']} px"]
    if budget["members"]:
        said.append(f"of {', '.join(budget['members'])}")
    elif budget["family"] == "classical":
        said.append(f"features={budget['features'] or 'pixels'}")
    elif budget["epochs"]:
        said.append(f"{budget['epochs']} epoch{'' if budget['epochs'] == 1 else 's'}")
    return ", ".join([*said, start])


def _interval(value: Interval | None, digits: int = 3) -> str:
    if value is None:
        return "-"
    return f"{value.value:.{digits}f} ({value.low:.{digits}f}–{value.high:.{digits}f})"


def _range(values: Sequence[float], unit: str) -> str:
    if not values:
        return "-"
    low, high = (f"{value:.3g}" for value in (min(values), max(values)))
    return f"{low}{unit}" if low == high else f"{low}–{high}{unit}"


def _operations(macs: float | None) -> str:
    if not macs:
        return "-"
    return f"{macs / 1e9:.2f} G" if macs >= 1e8 else f"{macs / 1e6:.1f} M"


def _milliseconds(value: float | None, places: Sequence[str], card: ModelCard, *, numbered: bool) -> str:
    if value is None or card.latency is None:
        return "-"
    return f"{value:.3g} ms" + (f" ({places.index(card.latency.machine) + 1})" if numbered else "")


def _anchor(heading: str) -> str:
    """As Markdown makes it; the names of families are plain words."""
    return heading.lower().replace(" ", "-")


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], right: set[int]) -> list[str]:
    rule = ["---:" if column in right else "---" for column in range(len(header))]
    return [f"| {' | '.join(row)} |" for row in (header, rule, *rows)]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
    print(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


if __name__ == "__main__":
    main()
