"""What verbs print in words: one answer, times, operators, a proof, a model's account of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo._support.text import printable, title_of_metric
from zoo.edge._decision_words import describe_decision, describe_decisions, describe_open
from zoo.edge._print import format_count, format_table, megabytes, show_path, with_interval

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from zoo.edge._bench import Bench
    from zoo.edge._profiling import Operator
    from zoo.edge._replay import Verification
    from zoo.edge._results import Prediction
    from zoo.edge.bundle import Contents
    from zoo.spec import Abstention, GoldenKind, Manifest, OldestRuntime

__all__ = [
    "describe_answer",
    "describe_golden",
    "describe_model",
    "describe_proof",
    "tabulate_operators",
    "tabulate_times",
]

SMALL = 0.01
"""Share of the time below which operators are shown together."""


def describe_answer(result: Prediction, top: int | None = None, abstention: Abstention | None = None) -> list[str]:
    """An answer in words, each 'LABEL 0.9312': the label answered; with `top` also the most probable ones.

    A label that was called comes first, however improbable: an operating point may call what is not among the `top`.
    Of a multilabel model without `top` all labels that were given, the most probable first; where none was, that
    is said, with the one that came nearest. Where the model does not answer, the first words say why.
    """
    unsaid = describe_decision(result, abstention)
    if top is None and unsaid is not None:
        return [unsaid]
    ranked = sorted(result.probabilities, key=lambda label: -result.probabilities[label])
    given = {result.label} if result.labels is None else {*result.labels}
    if top is None:
        shown = [label for label in ranked if label in given]
    else:
        reached = {label for label, called in (result.operating or {}).items() if called}
        called = given | reached if unsaid is None else set()  # else the first words name what reaches its point
        said = sorted((label for label in ranked if label in called), key=lambda label: label != result.label)
        shown = list(dict.fromkeys([*said, *ranked[:top]]))
    words = [f"{printable(label)} {result.probabilities[label]:.4f}" for label in shown]
    first = [] if unsaid is None else [unsaid]
    return [*first, *words] or [f"no label (nearest: {printable(result.label)} {result.probability:.4f})"]


def tabulate_times(models: Sequence[Path], found: Sequence[Bench]) -> str:
    """Latency, memory and size of models, a row each."""
    rows = [
        (
            show_path(model),
            f"{one.p50_ms:.2f} ({one.p50_low_ms:.2f} to {one.p50_high_ms:.2f})",
            f"{one.p95_ms:.2f}",
            f"{one.p99_ms:.2f}",
            f"{one.images_per_second:.0f}",
            f"{one.cold_start_ms:.0f}",
            "-" if one.peak_rss_mb is None else f"{one.peak_rss_mb:.0f} MB",
            megabytes(one.size_bytes),
        )
        for model, one in zip(models, found, strict=True)
    ]
    header = ("model", "p50 ms (95 % interval)", "p95 ms", "p99 ms", "images/s", "cold ms", "memory", "size")
    first = found[0]
    how = "one image at a time" if first.batch_size == 1 else f"{format_count(first.batch_size, 'image')} at a time"
    turns = ", in turns" if len(found) > 1 else ""
    return (
        f"{format_table(header, rows, right=range(1, 8))}\n\n"
        f"{how}, {first.runs} timed{turns}, {first.provider}, {format_count(first.threads, 'thread')}"
    )


def tabulate_operators(model: Path, parts: Sequence[Operator]) -> str:
    """Where the time of an answer goes."""
    large = [part for part in parts if part.share >= SMALL]
    rows = [(part.operator, part.provider, *_numbers([part])) for part in large]
    if len(large) < len(parts):
        rows.append((f"{len(parts) - len(large)} others", "", *_numbers(parts[len(large) :])))
    header = ("operator", "provider", "calls", "ms", "share")
    return f"\n{show_path(model)}, by operator:\n{format_table(header, rows, right=range(2, 5))}"


def _numbers(parts: Sequence[Operator]) -> tuple[str, str, str]:
    calls, ms, share = (sum(getattr(part, name) for part in parts) for name in ("calls", "ms", "share"))
    return f"{calls:.0f}", f"{ms:.3f}", f"{share:.1%}"


def describe_proof(proof: Verification, key: Path | None) -> dict[str, str]:
    """The lines of a bundle that passed."""
    maps = "" if proof.max_abs_evidence is None else f", evidence maps within {proof.max_abs_evidence:.1e}"
    rows = "" if proof.max_abs_features is None else f", features within {proof.max_abs_features:.1e}"
    rows += "" if proof.max_abs_novelty is None else f", novelty within {proof.max_abs_novelty:.1e}"
    return {
        "verified": f"{proof.name}, {show_path(proof.path)}",
        "signature": _describe_signature(proof, key),
        "hashes": f"{format_count(proof.files, 'file')} as they were exported",
        "golden set": f"{format_count(proof.images, 'raw image')} on {proof.provider}: logits within "
        f"{proof.max_abs_logit:.1e}{maps}{rows}, allowed {proof.tolerance:.1e}{describe_open(proof.open_labels)}",
        "images": describe_golden(proof.golden),
        "onnxruntime": f"{proof.onnxruntime} here{', which is older' if proof.older else ''}; "
        f"{_describe_oldest(proof.runtime)}",
        **({} if proof.doubt is None else {"unproven": proof.doubt}),
        **proof.decisions,
    }


def describe_golden(golden: GoldenKind | None) -> str:
    """Whose the golden images are."""
    return {
        "generated": "drawn for the purpose, nobody's",
        "public": "of a public set",
        "own": "of whoever exported the bundle, unaltered",
        None: "the bundle does not say whose",
    }[golden]


def _describe_oldest(runtime: OldestRuntime | None) -> str:
    return "the file does not say from which on it runs" if runtime is None else runtime.text


def _describe_quantization(manifest: Manifest) -> dict[str, str]:
    """How the file was made smaller, what the guard left open, and which bars were loosened for it."""
    made = manifest.quantization
    if made is None:
        return {}
    said = {"made smaller": f"{made.kind} for {made.target}: {made.scheme}"}
    if made.doubt is not None:
        said["unproven"] = made.doubt
    return said | ({"notes": "; ".join(made.notes)} if made.notes else {})


def _describe_signature(proof: Verification, key: Path | None) -> str:
    if key is not None:
        return f"valid, by key {proof.signer}, {show_path(key)}"
    if proof.signed == "none":
        return "not signed"
    return f"signed by key {proof.signer}, not checked: give --key"


def _describe_input(manifest: Manifest) -> str:
    given = manifest.input
    made = "" if given.stage == "raw" else f", made of {' or '.join(manifest.kinds)} images"
    return f"{given.dtype}, {given.channels} channels, {given.stage}{made}"


def describe_model(contents: Contents) -> dict[str, object]:
    """What an exported model says of itself."""
    from zoo.tabular import describe_columns  # numpy, which 'zoo list' is to do without

    manifest = contents.manifest
    origin, report = manifest.provenance, manifest.report
    licence = f", licence {origin.weights_licence}" if origin.weights_licence else ""
    signature = "none" if contents.signer is None else f"by key {contents.signer}, not checked"
    lines: dict[str, object] = {"name": manifest.name, "use": manifest.intended_use}
    lines["labels"] = ", ".join(manifest.labels)
    for name, value in report.metrics.items() if report else ():
        lines[title_of_metric(name)] = with_interval(value)
    beside = {} if manifest.table is None else {"columns beside": describe_columns(manifest.table)}
    return lines | {
        "input": _describe_input(manifest),
        **beside,
        **_describe_quantization(manifest),
        "onnxruntime": _describe_oldest(manifest.runtime),
        **describe_decisions(manifest),
        "data": f"{origin.data.name}, {origin.data.n} images, sha256 {origin.data.sha256[:12]}…",
        "made": f"{origin.created} by {origin.plugin.distribution} {origin.plugin.version}, run {origin.run}",
        "weights": f"{origin.weights}{licence}" if origin.weights else "no pretrained ones",
        "licence": manifest.licence,
        "signature": signature,
    }
