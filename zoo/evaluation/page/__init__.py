"""One HTML page about one model, or about several: every figure with its interval, and what is not known.

A page is a list of sections. Each is a function from documents to HTML that says nothing where it has nothing to say.
The page loads nothing, holds no script, and prints. The same documents give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable

from zoo.evaluation.page import _about, _checklists, _decisions, _methods, _numbers, _who
from zoo.evaluation.page._comparison import make_comparison_page, spell_p
from zoo.evaluation.page._gallery import Gallery, make_gallery, show_gallery
from zoo.evaluation.page._html import Html, Section, assemble, bullets, name, paragraph, text
from zoo.evaluation.page._subject import Subject
from zoo.evaluation.page._words import describe_input, describe_splits, describe_start, describe_weights

__all__ = [
    "Gallery",
    "Subject",
    "describe_input",
    "describe_splits",
    "describe_start",
    "describe_weights",
    "make_comparison_page",
    "make_gallery",
    "make_page",
    "spell_p",
]


def __dir__() -> list[str]:
    return __all__


def make_page(subject: Subject) -> str:
    """The page of one model.

    Args:
        subject: documents; what they do not hold is left out.
    """
    sections = [Section(key, title, write(subject)) for key, title, write in _SECTIONS]
    return assemble(f"Report: {subject.report.model}", _head(subject), sections)


def _head(subject: Subject) -> Html:
    report = subject.report
    origin = None if subject.manifest is None else subject.manifest.provenance
    run = "" if origin is None else f" Run {origin.run}, begun {origin.created}."
    said = paragraph(
        Html(
            f"{name(report.model)} on {name(report.data.name)}, split {text(report.split)}.{text(run)} "
            "Not a medical device."
        )
    )
    return Html(said + _privacy(subject) + _notes(subject) + _numbers.show_headline(subject))


def _privacy(subject: Subject) -> Html:
    gallery = subject.gallery
    if gallery is None:
        return Html()
    n = len(gallery.pictures) + len(gallery.maps)
    copies = f"{n} small cop{'y' if n == 1 else 'ies'}"
    words = Html(
        f"<b>This page holds {copies} of your images, and their names</b>, which may tell who a patient is. Look at "
        "them before you pass the page on, or write it without them: <code>zoo report --no-images</code>."
    )
    return Html(f'<div class="notice">{paragraph(words)}</div>')


def _notes(subject: Subject) -> Html:
    report, manifest = subject.report, subject.manifest
    if subject.expected and manifest is not None and manifest.report is not None:  # the file's own says it, too
        report = manifest.report
    lines = report.notes
    if not lines:
        return Html()
    return Html(f'<div class="notice"><p><b>Read this first</b></p>{bullets(lines)}</div>')


def _gallery(subject: Subject) -> Html:
    if subject.gallery is None:
        return Html()
    operating = subject.report.operating
    points = operating is not None and bool(operating.points)
    return show_gallery(subject.gallery, subject.report.labels, points=points)


_SECTIONS: tuple[tuple[str, str, Callable[[Subject], Html]], ...] = (
    ("metrics", "Metrics", _numbers.show_metrics),
    ("baselines", "Baselines", _who.show_baselines),
    ("classes", "Classes", _numbers.show_classes),
    ("curves", "ROC and precision-recall", _numbers.show_curves),
    ("calibration", "Calibration", _numbers.show_calibration),
    ("confusion", "Confusion", _numbers.show_confusion),
    ("operating", "Operating points", _decisions.show_operating),
    ("sets", "Sets of labels", _decisions.show_conformal),
    ("abstention", "Answers withheld", _decisions.show_abstention),
    ("unlike", "Images unlike training", _decisions.show_novelty),
    ("groups", "Groups", _who.show_groups),
    ("shortcuts", "Shortcuts", _who.show_shortcuts),
    ("robustness", "Corrupted copies", _who.show_robustness),
    ("gallery", "Images to look at", _gallery),
    ("data", "Data", _about.show_data),
    ("model", "Model", _about.show_model),
    ("training", "Training", _about.show_training),
    ("file", "File", _about.show_file),
    ("methods", "Methods", _methods.show_methods),
    ("checklists", "CLAIM and TRIPOD+AI", _checklists.show_checklists),
)
"""Anchor, heading, and what writes it."""
