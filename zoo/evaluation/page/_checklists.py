"""CLAIM 2024 and TRIPOD+AI, item by item: what the documents say, and what only the authors know.

CLAIM: Tejani et al. 2024, Radiol. Artif. Intell. 6(4):e240300. TRIPOD+AI: Collins et al. 2024, BMJ 385:e078378. Numbers
are theirs, and titles are their subjects in short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from zoo._support.text import format_count
from zoo.data import ABOUT
from zoo.evaluation.metrics import title_of
from zoo.evaluation.page import _methods
from zoo.evaluation.page._about import demographics, sets_of, training_notes
from zoo.evaluation.page._html import Html, paragraph, table
from zoo.evaluation.page._who import describe_groups
from zoo.evaluation.page._words import describe_input, describe_weights
from zoo.spec import EVIDENCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.evaluation.page._subject import Subject

__all__ = ["CLAIM", "NOT_PROVIDED", "TRIPOD", "fill", "show_checklists"]

NOT_PROVIDED = "NOT PROVIDED"
"""What the authors have to say themselves."""

Fill = Callable[["Subject"], Iterator[str]]
"""What the documents say of an item; nothing: it is not provided."""


def show_checklists(subject: Subject) -> Html:
    """Both lists as tables."""
    words = (
        "What this tool knows fills an item; the page has the figures. What only the authors know reads "
        f"{NOT_PROVIDED}. A paper complies, not a page: check each line before you use it."
    )
    return Html(paragraph(words) + _table("CLAIM 2024", CLAIM, subject) + _table("TRIPOD+AI", TRIPOD, subject))


def fill(items: Sequence[tuple[str, str, Fill | None]], subject: Subject) -> dict[str, str]:
    """Number of an item to what is said of it."""
    return {number: " ".join(said(subject)) if said is not None else "" for number, _, said in items}


def _table(name: str, items: Sequence[tuple[str, str, Fill | None]], subject: Subject) -> Html:
    said = fill(items, subject)
    filled = sum(map(bool, said.values()))
    missing = Html(f'<span class="missing">{NOT_PROVIDED}</span>')
    rows = [(number, title, said[number] or missing) for number, title, _ in items]
    return table(
        f"{name}: {filled} of {len(items)} items filled", ("item", "subject", "what is known"), rows, kind="words"
    )


def _preprocessing(subject: Subject) -> Iterator[str]:
    manifest = subject.manifest
    if manifest is not None:
        views = dict.fromkeys(map(describe_input, manifest.views))
        yield f"Inside the file, the same in training and use: {' '.join(views)}"


def _subsets(subject: Subject) -> Iterator[str]:
    skipped = 0 if subject.record is None else len(subject.record.skipped)
    if skipped:
        yield f"{format_count(skipped, 'image')} that could not be read were left out."
    yield from (f"{note}." for note in (*subject.report.notes, *training_notes(subject)) if "left out" in note)


def _missing(subject: Subject) -> Iterator[str]:
    manifest = subject.manifest
    if any("known" in row for row in subject.report.per_class.values()):
        yield "Unknown labels count in no metric and no loss."
    if manifest is not None and manifest.table is not None:
        how = ", ".join(f"{column.name}: {column.missing}" for column in manifest.table.columns)
        yield f"Columns beside the image, where a cell is empty: {how}."


def _partition(subject: Subject) -> Iterator[str]:
    yield from _methods.say_split(subject)
    if not subject.external and subject.manifest is not None:
        yield f"Parts that the data does not bring are made with seed {subject.manifest.provenance.config.split_seed}."


def _level(subject: Subject) -> Iterator[str]:
    if subject.report.clusters is None:
        yield "Images; no groups were known, so patients may be shared."
    else:
        yield f"Groups (patients, lesions or studies): {subject.report.clusters} among the images judged."


def _count_classes(subject: Subject) -> list[int]:
    """Images of each class among those judged."""
    return [n for row in subject.report.per_class.values() if isinstance(n := row.get("n"), int)]


def _sample(subject: Subject) -> Iterator[str]:
    report = subject.report
    rare = min(_count_classes(subject), default=0)
    yield f"{report.n} images, {rare} of the rarest class. Whether so many were intended: {NOT_PROVIDED}."


def _outputs(subject: Subject) -> Iterator[str]:
    yield from _methods.say_model(subject)
    if subject.manifest is not None:
        yield f"It gives {' and '.join(subject.manifest.outputs)} for {len(subject.manifest.labels)} labels."


def _selection(subject: Subject) -> Iterator[str]:
    best = None if subject.record is None else subject.record.best
    if best is not None:
        metric = title_of(best.metric.removeprefix("val_"))
        where = "images of one fold, which it was trained on too" if subject.holds_none else "validation images"
        yield f"Epoch {best.epoch}, by {metric} on {where}, never on test images."


def _ensemble(subject: Subject) -> Iterator[str]:
    if subject.manifest is not None:
        members = len(subject.manifest.members)
        weights = f"{members} members, {describe_weights(subject.manifest)}."
        yield weights if members else "None: one model."


def _measures(subject: Subject) -> Iterator[str]:
    names = [*subject.report.metrics, *dict.fromkeys(key for row in subject.report.per_class.values() for key in row)]
    yield f"{', '.join(title_of(name) for name in names if name not in {'n', 'known'})}."
    if subject.report.calibration is not None:
        yield (
            "Calibration: Brier score, negative log-likelihood, expected calibration error, reliability curve; of each "
            "class too, with its calibration slope and intercept (calibration in the large)."
        )
    if subject.report.conformal is not None:
        yield "Coverage and size of the sets of labels."
    if subject.report.abstention is not None:
        yield "Share of images answered, and the error among them."
    if subject.report.novelty is not None:
        yield "Share of images called unlike training."


def _uncertainty(subject: Subject) -> Iterator[str]:
    yield from _methods.say_intervals(subject)
    yield "Pairs of models: 'zoo compare', with Holm's correction."


def _explanation(subject: Subject) -> Iterator[str]:
    if subject.manifest is not None and EVIDENCE in subject.manifest.outputs:
        yield "The file gives the map of evidence that it answers from. It proves no localisation."
    if subject.gallery is not None and subject.gallery.method is not None:
        yield f"Maps of mistakes by {subject.gallery.method}, above. They prove no localisation."


def _internal(subject: Subject) -> Iterator[str]:
    if subject.expected:
        yield f"{subject.report.n} images of the same data, each by the model of the fold that held it out."
    elif not subject.external:
        yield f"{subject.report.n} held-out images of the same data ({subject.report.split})."


def _external(subject: Subject) -> Iterator[str]:
    if subject.external:
        yield f"{subject.report.n} images of {subject.report.data.name}, which is not the data of the training."


def _robust(subject: Subject) -> Iterator[str]:
    if subject.robustness is not None:
        drop = subject.robustness.mean.get("drop")
        yield f"Accuracy falls by {drop} on corrupted copies, on average." if drop else "Corrupted copies, above."


def _demographics(subject: Subject) -> Iterator[str]:
    if demographics(subject):
        columns = dict.fromkeys(name for images in sets_of(subject).values() for name in ABOUT if name in images.kept)
        yield f"{', '.join(columns)} in each split, above; other characteristics: {NOT_PROVIDED}."


def _flow(subject: Subject) -> Iterator[str]:
    data = subject.report.data
    yield f"{data.n} images: {subject.parts}; {subject.report.n} judged."
    yield from _subsets(subject)


def _estimates(subject: Subject) -> Iterator[str]:
    shown = [f"{title_of(key)} {value}" for key, value in list(subject.report.metrics.items())[:3]]
    yield f"{', '.join(shown)}; all with intervals above."


def _diagnostic(subject: Subject) -> Iterator[str]:
    if subject.report.per_class:
        yield "Sensitivity, specificity, PPV and NPV of each class with intervals, above."


def _failures(subject: Subject) -> Iterator[str]:
    if subject.report.confusion is not None:
        yield "Confusion matrix, above."
    if subject.gallery is not None:
        yield "The most confident mistakes of each class, above."
    yield from describe_groups(subject)


def _available(subject: Subject) -> Iterator[str]:
    if subject.manifest is None:
        return
    proven = None if subject.record is None else subject.record.proven
    digest = f", sha256 {proven[:16]}…" if proven else ""
    yield (
        f"The model file (licence {subject.manifest.licence}{digest}). Where it, the code and the data are: "
        f"{NOT_PROVIDED}."
    )


def _code(subject: Subject) -> Iterator[str]:
    if subject.manifest is not None:
        origin = subject.manifest.provenance.plugin
        yield f"{origin.distribution} {origin.version}; code of the study: {NOT_PROVIDED}."


def _imbalance(subject: Subject) -> Iterator[str]:
    counts = _count_classes(subject)
    if not counts:
        return
    least, most = min(counts), max(counts)
    yield f"Among the images judged the rarest class has {least}, the most frequent {most}."
    if subject.manifest is not None and not subject.manifest.members:
        config = subject.manifest.provenance.config
        yield f"In training: class weight {config.class_weight}, sampling {config.sampling}, loss {config.loss}."


def _output(subject: Subject) -> Iterator[str]:
    if subject.manifest is None:
        return
    several = subject.manifest.task == "multilabel"
    how = "a label is given from 0.5 on" if several else "the answer is the most probable class"
    each = "label" if several else "class"
    yield f"A calibrated probability for each {each}; {how}, unless it has an operating point."
    if subject.manifest.abstention is not None:
        kinds = subject.manifest.abstention
        said = [*(["a set of labels"] if kinds.sets is not None else []), "a decision to answer or not"]
        yield f"Also {' and '.join(said)}."


def _difference(subject: Subject) -> Iterator[str]:
    if sets_of(subject):
        yield "Images of each class in each split are counted above."


def _development(subject: Subject) -> Iterator[str]:
    parts = subject.parts
    yield f"{parts[0].upper()}{parts[1:]}." if subject.expected else f"{parts}; classes are counted above."


def _specification(subject: Subject) -> Iterator[str]:
    if subject.manifest is not None:
        yield "The ONNX file is the whole model: preprocessing, network, calibration, labels."
        if subject.expected:
            yield "The figures are those of the models of the folds, not of this file."


def _refusals(subject: Subject) -> Iterator[str]:
    if subject.manifest is not None:
        kinds = " or ".join(subject.manifest.kinds)
        yield (
            f"The runtime refuses files that it cannot read, and images that are not {kinds}; "
            "it never puts another image in the place of one."
        )
        abstention = subject.manifest.abstention
        if abstention is not None and abstention.novelty is not None:
            yield "Images that it takes for unlike those of training are not answered; some such images still pass."


CLAIM: tuple[tuple[str, str, Fill | None], ...] = (
    ("1", "title or abstract: an AI study, and which technology", None),
    ("2", "summary of design, methods, results, conclusions", None),
    ("3", "background, intended use, role of the model", None),
    ("4", "aims and hypotheses", None),
    ("5", "prospective or retrospective", None),
    ("6", "goal of the study", None),
    ("7", "sources of the data", None),
    ("8", "who was included and excluded", None),
    ("9", "preprocessing", _preprocessing),
    ("10", "selection of subsets", _subsets),
    ("11", "de-identification", None),
    ("12", "missing data", _missing),
    ("13", "acquisition of the images", None),
    ("14", "reference standard: definition", None),
    ("15", "reference standard: reasons", None),
    ("16", "reference standard: who annotated", None),
    ("17", "annotation of the test set", None),
    ("18", "variability between and within annotators", None),
    ("19", "how data was assigned to partitions", _partition),
    ("20", "level at which partitions are disjoint", _level),
    ("21", "intended sample size", _sample),
    ("22", "description of the model", _outputs),
    ("23", "software", _methods.say_software),
    ("24", "initialisation of the parameters", _methods.say_start),
    ("25", "training", _methods.say_training),
    ("26", "how the final model was selected", _selection),
    ("27", "ensemble", _ensemble),
    ("28", "metrics", _measures),
    ("29", "uncertainty and significance", _uncertainty),
    ("30", "robustness or sensitivity analysis", _robust),
    ("31", "explainability", _explanation),
    ("32", "internal testing", _internal),
    ("33", "external testing", _external),
    ("34", "registration of the trial", None),
    ("35", "numbers included and excluded", _flow),
    ("36", "demographics in each partition", _demographics),
    ("37", "performance", _estimates),
    ("38", "diagnostic performance and its precision", _diagnostic),
    ("39", "analysis of failures", _failures),
    ("40", "limitations", None),
    ("41", "implications for practice", None),
    ("42", "protocol of the study", None),
    ("43", "availability of software, model and data", _available),
    ("44", "funding", None),
)
"""Number, subject, and what fills it; None: only the authors know it."""

TRIPOD: tuple[tuple[str, str, Fill | None], ...] = (
    ("1", "title", None),
    ("2", "abstract", None),
    ("3a", "context of care and rationale", None),
    ("3b", "target population, purpose, users", None),
    ("3c", "known inequalities", None),
    ("4", "objectives", None),
    ("5a", "sources of the data", None),
    ("5b", "dates of the data", None),
    ("6a", "setting and centres", None),
    ("6b", "eligibility", None),
    ("6c", "treatments", None),
    ("7", "preparation of the data", _preprocessing),
    ("8a", "outcome: what, when, how assessed", None),
    ("8b", "outcome: who assessed it", None),
    ("8c", "outcome: blinding", None),
    ("9a", "predictors: initial choice", None),
    ("9b", "predictors: definition and measurement", None),
    ("9c", "predictors: who assessed them", None),
    ("10", "sample size", _sample),
    ("11", "missing data", _missing),
    ("12a", "use of the data in development and evaluation", _partition),
    ("12b", "how predictors were handled", _preprocessing),
    ("12c", "type of model, how it was built and tuned", _methods.say_training),
    ("12d", "heterogeneity between clusters", None),
    ("12e", "measures and plots of performance", _measures),
    ("12f", "updating of the model", _methods.say_updating),
    ("12g", "how predictions were computed for the evaluation", _methods.say_evaluation),
    ("13", "class imbalance", _imbalance),
    ("14", "fairness", describe_groups),
    ("15", "output of the model", _output),
    ("16", "differences between training and evaluation", _difference),
    ("17", "ethical approval", None),
    ("18a", "funding", None),
    ("18b", "conflicts of interest", None),
    ("18c", "protocol", None),
    ("18d", "registration", None),
    ("18e", "sharing of data", None),
    ("18f", "sharing of code", _code),
    ("19", "involvement of patients and public", None),
    ("20a", "flow of participants", _flow),
    ("20b", "characteristics of participants", _demographics),
    ("20c", "comparison of development and evaluation data", _difference),
    ("21", "numbers of participants and outcomes", _development),
    ("22", "specification of the model", _specification),
    ("23a", "performance with intervals, subgroups too", _estimates),
    ("23b", "heterogeneity of performance", describe_groups),
    ("24", "results of updating", _methods.say_updated),
    ("25", "interpretation", None),
    ("26", "limitations", None),
    ("27a", "poor or missing input", _refusals),
    ("27b", "what users must do, and know", None),
    ("27c", "next steps", None),
)
"""As `CLAIM`."""
