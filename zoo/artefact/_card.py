"""CARD.md: what a person must know before using a model, in a page."""

from __future__ import annotations

import re

from zoo._support.text import escape_markdown
from zoo.edge import describe_decisions
from zoo.edge._decision_words import name_settling
from zoo.evaluation import title_of
from zoo.evaluation.page import describe_input, describe_splits, describe_start, describe_weights
from zoo.spec import (
    EvalReport,
    Interval,
    Manifest,
    Numeric,
    Quantization,
    TableSpec,
)

__all__ = ["format_signed", "model_card"]

_SEVERAL = (
    " An image may have any number of them, or none: each probability is of its label alone, and a label counts as "
    "given from 0.5 on{points}. The `label` of an answer is the most probable one, even where none is given."
)


def model_card(manifest: Manifest) -> str:
    """Markdown of the manifest: use, data, results with intervals, parity, origin, limits."""
    origin = manifest.provenance
    several = _describe_several(manifest) if manifest.task == "multilabel" else ""
    sections = [
        f"# {manifest.name}",
        f"{manifest.intended_use}\n\nLabels: {', '.join(map(escape_markdown, manifest.labels))}.{several}",
        "## Results\n\n" + _results(manifest.report),
        *(["## Decisions\n\n" + _decisions(manifest)] if manifest.operating or manifest.abstention else []),
        "## Input\n\n" + _input(manifest),
        "## Proof of export\n\n" + _proof(manifest),
        *(["## Golden images\n\n" + _golden(manifest)] if manifest.golden else []),
        *(["## Quantisation\n\n" + _describe_quantization(manifest.quantization)] if manifest.quantization else []),
        *(["## Members\n\n" + _members(manifest)] if manifest.members else []),
        "## Origin\n\n" + _origin(manifest),
        *(["## Files, and how to check them\n\n" + _files(manifest)] if manifest.files else []),
    ]
    notes = tuple(dict.fromkeys((*origin.notes, *(manifest.report.notes if manifest.report else ()))))
    if notes:
        sections.append("## Notes on data and training\n\n" + "\n".join(f"- {note}" for note in notes))
    sections.append(
        "## Limits\n\nThe numbers hold for images like those it was evaluated on. Other scanners, sites, "
        "stainings or patients need a new evaluation: `zoo evaluate BUNDLE --data FOLDER`. "
        f"{_describe_reach(manifest)} The proof of the golden set holds for the machine "
        "and the provider that it ran on. Not a medical device."
    )
    return "\n\n".join(sections) + "\n"


def _describe_several(manifest: Manifest) -> str:
    return _SEVERAL.format(points=", or from its operating point where it has one" if manifest.operating else "")


def _describe_reach(manifest: Manifest) -> str:
    """Which images it answers."""
    if manifest.novelty is None:
        return "It answers every image, also one that is nothing like those."
    return "It does not answer images that it takes for unlike those of training. Some such images still pass."


def _decisions(manifest: Manifest) -> str:
    """How an answer becomes a decision."""
    kept = " The threshold of novelty is that of training." if manifest.recalibrated and manifest.novelty else ""
    how = f"Fixed on {name_settling(manifest)}, the same in `zoo predict`, `zoo serve`, the page and the samples.{kept}"
    lines = [
        f"- **{name.capitalize()}**: {escape_markdown(text)}." for name, text in describe_decisions(manifest).items()
    ]
    measured = [] if manifest.report is None else _list_figures(manifest.report, manifest)
    said = ["", "What that made of the images of the results:", "", *(f"- {line}." for line in measured)]
    return "\n".join([how, "", *lines, *(said if measured else [])])


def _list_figures(report: EvalReport, manifest: Manifest) -> list[str]:
    """What the decisions of the file were worth on the images under evaluation; a report may judge other points too."""
    own = {(one.label, one.threshold) for one in manifest.operating}
    judged = () if report.operating is None else report.operating.points
    points = [one for one in judged if (one.label, one.threshold) in own]
    lines = [
        f"{escape_markdown(one.label)}, {one.rule}: sensitivity {_cell(one.sensitivity)}, "
        f"specificity {_cell(one.specificity)}"
        for one in points
    ]
    if report.conformal is not None:
        lines.append(f"Sets that hold the right label: {_cell(report.conformal.reached)}")
    if report.abstention is not None and manifest.abstention is not None:
        found = report.abstention
        lines.append(f"Images answered: {_cell(found.answered)}; of those wrong: {_cell(found.error)}")
    if report.novelty is not None:
        lines.append(f"Images called unlike training: {_cell(report.novelty.flagged)}")
    return lines


def _results(report: EvalReport | None) -> str:
    if report is None:
        return "Not evaluated. No number is known for this file."
    clusters = "" if report.clusters is None else f" in {report.clusters} groups, which were resampled whole"
    rows = [
        f"On {report.n} images of the split `{report.split}`{clusters}, 95 % intervals.",
        "",
        "| metric | value | interval |",
        "|---|---|---|",
    ]
    rows += [
        f"| {title_of(name)} | {value.value:.3f} | {value.low:.3f} – {value.high:.3f} |"
        for name, value in report.metrics.items()
    ]
    several = report.confusion is None
    shown = ("sensitivity", "specificity", *(["auroc"] if several else []))
    counted = [name for name in ("n", "known") if name in next(iter(report.per_class.values()))]
    heads = ("label" if several else "class", *counted, "sensitivity", "specificity", *(["AUROC"] if several else []))
    rows += ["", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for label, values in report.per_class.items():
        cells = (
            escape_markdown(label),
            *(str(values[name]) for name in counted),
            *(_cell(values.get(name)) for name in shown),
        )
        rows.append(f"| {' | '.join(cells)} |")
    rows += [f"\nUndefined: {name} ({reason})." for name, reason in report.undefined.items()]
    return "\n".join(rows)


def _cell(value: Interval | int | None) -> str:
    return f"{value.value:.3f} ({value.low:.3f} – {value.high:.3f})" if isinstance(value, Interval) else "undefined"


def _input(manifest: Manifest) -> str:
    given, spec, raw = manifest.input, manifest.preprocess, " or ".join(manifest.kinds)
    shape = "(N, H, W, C)" if given.stage != "tensor" else "(N, C, H, W)"
    place = {
        "raw": "all preprocessing is inside the file: give it the picture as it was read",
        "resized": f"the file takes pictures already denoised and resized; the zoo runtime does that to {raw} pictures",
        "tensor": f"the file takes fully preprocessed numbers; the zoo runtime makes them of {raw} pictures",
    }[given.stage]
    takes = f"`{given.name}`, {shape} {given.dtype}, C = {given.channels}; {place}.{_channels(manifest)}"
    if manifest.members:
        return f"{takes} Each member sees it in its own way, see below."
    seen = f"{takes} The network sees {describe_input(spec)}"
    return seen if manifest.table is None else f"{seen}\n\n{_columns(manifest.table)}"


def _columns(table: TableSpec) -> str:
    """What must be given beside each image."""
    rows = [
        "It gives no answer without these columns beside the image, each an input of its own, (N,) float32:",
        "",
        "| input | what | where there is none |",
        "|---|---|---|",
    ]
    for given, column in zip(table.inputs, table.columns, strict=True):
        what = "the number" if isinstance(column, Numeric) else f"place from 0 in {', '.join(column.values)}; else -1"
        rows.append(f"| `{given}` | {what} | {'no answer' if column.missing == 'refuse' else 'NaN'} |")
    return "\n".join(rows)


def _channels(manifest: Manifest) -> str:
    """What a client has to send of a stack: how many channels, and in which order."""
    channels, config = manifest.preprocess.channels, manifest.provenance.config
    if not isinstance(channels, int):
        return ""
    named = re.split(r"[+|]", config.columns.get("image", ""))
    if len(named) == channels:
        order = f"in this order: {', '.join(name.strip() for name in named)}"
    elif config.frames == "channels":
        order = "the pictures of one file in their order"
    else:
        order = "in the order of the images that it was trained on"
    return (
        f" Send exactly {channels} channels, {order}: they are not colours, none is left out, and other numbers of "
        "channels are refused. Arrays have the shape (H, W, C), channels last; files may be TIFF, or .npy of that "
        "shape."
    )


def _members(manifest: Manifest) -> str:
    """What goes into an ensemble, and under which licence."""
    what = "The probabilities of several networks, each calibrated on validation images, are averaged"
    rows = [
        f"{what} with {describe_weights(manifest)}.",
        "",
        "| member | run | weight | sees | start | licence |",
        "|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {member.name} | `{member.run}` | {member.weight:.3f} | {describe_input(member.preprocess)} "
        f"| {member.weights or describe_start(member.trained)} | {member.licence} |"
        for member in manifest.members
    ]
    return "\n".join(rows)


def _proof(manifest: Manifest) -> str:
    parity = manifest.parity
    if parity is None:
        return "None recorded."
    return (
        f"Compared with the training side on {parity.images} raw images of {parity.sizes} sizes: pixels "
        "within "
        f"{parity.max_abs_pixel:.3g} levels, logits within {parity.max_abs_logit:.2e} (relative), "
        "probabilities within "
        f"{parity.max_abs_probability:.2e}, {parity.flips} labels changed."
        + (f" ONNX Runtime: {manifest.runtime.text}." if manifest.runtime else "")
    )


def _describe_quantization(found: Quantization) -> str:
    """What was changed, what that did to the answers, and where it was measured."""
    parts = [f"This file is {found.kind} for {found.target}: {found.scheme}."]
    parts.append("The proof above is of the float32 file it was made from; the results are this file's own.")
    if found.calibration is not None:
        parts.append(
            f"Ranges come from {found.calibration_images} training images ({found.calibration}); "
            f"{len(found.excluded)} of {found.layers} layers stay in float32 beside the classifier."
        )
    if found.measured == "reference":
        parts.append(
            "It was made for another machine than the one it was made on: its answers were computed as the file says, "
            "not by that machine's own kernels. Run `zoo verify` there."
        )
    if found.doubt is not None:
        parts.append(f"**{found.doubt[0].upper()}{found.doubt[1:]}.**")
    if found.alike is not None and found.alike.kept is not None:
        parts.append(
            f"On {found.alike.n} images, of which {found.alike.copies} are mirrored copies, float32 is sure "
            f"{found.alike.sure} times and {found.alike.kept.value:.1%} of these labels stay."
        )
    for guard in (found.val, found.test):
        if guard is not None:
            auroc = "undefined" if guard.macro_auroc is None else format_signed(guard.macro_auroc)
            parts.append(f"Against float32 on {guard.n} images of the split `{guard.split}`: macro AUROC {auroc},")
            if guard.sensitivity is not None:
                parts.append(f"sensitivity of {guard.sensitivity_label} {format_signed(guard.sensitivity)},")
            moved = f"probabilities within {guard.max_abs_probability:.2g}"
            parts.append(f"the same label on {guard.agreement.value:.1%}, {moved}.")
    if found.speed is not None:
        ratio = found.speed.ratio
        times = f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
        parts.append(f"{times} times as fast as float32 on {found.speed.machine}.")
    return " ".join(parts) + "".join(f"\n\nNote: {note}." for note in found.notes)


def format_signed(value: Interval) -> str:
    """A difference with its interval: '-0.0010 (-0.0020 to +0.0000)'."""
    return f"{value.value:+.4f} ({value.low:+.4f} to {value.high:+.4f})"


def _origin(manifest: Manifest) -> str:
    origin = manifest.provenance
    return (
        f"Model `{origin.model}`, run `{origin.run}`, made {origin.created} by {origin.plugin.distribution} "
        f"{origin.plugin.version} (plugin `{origin.plugin.name}`). Data: {origin.data.name}, "
        f"{origin.data.n} images "
        f"({describe_splits(origin.data.splits)}), sha256 `{origin.data.sha256[:16]}…`. "
        f"Start: {origin.weights or ('the members above' if manifest.members else describe_start(origin.trained))}"
        f"{f', licence {origin.weights_licence}' if origin.weights_licence else ''}. "
        f"{_describe_teacher(manifest)}"
        f"{'' if manifest.members else f'Class weight in training: {origin.config.class_weight}. '}"
        f"Licence of the model: {manifest.licence}."
        + (f" Licence of the network's code: {origin.code_licence}." if origin.code_licence else "")
    )


def _describe_teacher(manifest: Manifest) -> str:
    """Whose answers it learnt from: their licence may reach further than this file's."""
    teacher, config = manifest.provenance.teacher, manifest.provenance.config
    if teacher is None:
        return ""
    return (
        f"Teacher: {teacher.name}, run `{teacher.run}`, sha256 `{teacher.sha256[:16]}…`, licence {teacher.licence}; "
        f"its answers were {config.teacher_weight:.0%} of the loss, and what it has seen is {teacher.seen}. "
    )


def _golden(manifest: Manifest) -> str:
    """Whose images travel in golden.npz: who passes the bundle on must know it."""
    data = manifest.provenance.data.name
    if manifest.golden == "generated":
        return (
            "`golden.npz` holds pictures that were drawn for the purpose, near the decisions of this model. No pixel "
            f"of an image of {data} is in them. They have sizes and levels of brightness like those images, and show "
            "nothing."
        )
    if manifest.golden == "public":
        licences = [note for note in manifest.provenance.notes if note.startswith("data licence")]
        return f"`golden.npz` holds images of the public set {data}{f' ({licences[0]})' if licences else ''}."
    return (
        f"`golden.npz` holds images of {data}, unaltered: those of whoever exported this bundle. Look at them before "
        "you pass it on."
    )


def _files(manifest: Manifest) -> str:
    rows = [f"| `{name}` | {manifest.sizes[name]} | `{digest}` |" for name, digest in sorted(manifest.files.items())]
    how = (
        "`zoo verify BUNDLE` (or `python -m zoo.edge verify BUNDLE`) compares these hashes, and this page's, with "
        "`manifest.json`, and runs the golden images on your machine. If the bundle holds a `signature.json`, "
        "`zoo verify BUNDLE --key MAKER.pub` proves who made the bundle, by a key that its maker gave you another way. "
        "`sbom.cdx.json` lists what it was made of, as CycloneDX 1.6."
    )
    return "\n".join(["| file | bytes | sha256 |", "|---|---|---|", *rows, "", how])
