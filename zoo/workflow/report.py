"""`zoo report`: what is known of a run as one page, with its JSON and CARD.md; training ends with the same call."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from zoo._support.files import atomic_write, refuse_file, refuse_idle_overwrite, refuse_occupied
from zoo._support.text import quote_path
from zoo.errors import DataError, OutputError, TrainingError, UsageError, ZooError
from zoo.spec import Display, Robustness, decode, encode, pick_reading
from zoo.workflow._find import MODEL_FILE, REPORT_FILE, is_exported, is_run, last_of, read_report

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Unpack

    from zoo.data import ImageSet, Splits
    from zoo.edge import Runtime
    from zoo.edge._explain import HeatMap
    from zoo.evaluation import Cases
    from zoo.evaluation.page import Gallery
    from zoo.readers import RawImage
    from zoo.runs import RunFolder, RunRecord
    from zoo.spec import ConformalSets, EvalReport, Manifest, Reading
    from zoo.workflow._folds import Answers
    from zoo.workflow._judge import Judged

    Explain = Callable[[int, RawImage, int], HeatMap]

__all__ = ["CARD_FILE", "PAGE_FILE", "ReportFiles", "report", "try_to_write", "write_trained"]

PAGE_FILE = "report.html"
CARD_FILE = "CARD.md"

log = logging.getLogger("zoo")


class ReportFiles(Display, msgspec.Struct, frozen=True, kw_only=True):
    """What `zoo report` wrote."""

    html: str
    """The page."""
    json: str
    """The `EvalReport` behind it."""
    card: str | None
    """CARD.md; null: the run over folds ships no model."""

    def headline(self) -> str:
        """Where the page is."""
        return self.html


def report(
    target: str | Path | None = None,
    data: str | Path | None = None,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    images: bool = True,
    heatmaps: bool = False,
    operating: Sequence[str] = (),
    prevalence: Sequence[str] = (),
    by: Sequence[str] | None = None,
    unlike: Sequence[str | Path] = (),
    split: str = "test",
    provider: str = "cpu",
    skip_bad: bool = False,
    key: str | Path | None = None,
    include_seen: bool = False,
    **reading: Unpack[Reading],
) -> ReportFiles:
    """Write one HTML page that holds all that is known of a model, its JSON, and CARD.md.

    Of a finished run the answers to its test images are read, and nothing is run. Other images, bundles and files are
    judged as `zoo.evaluate` does.

    Args:
        target: a run, a bundle, or an .onnx file; None: the last run.
        data: other images; None: the test images of the run.
        out: folder for the three files; None: the run's own, where they are replaced.
        overwrite: replace what is in `out`.
        images: show small copies of images, and their names; False: neither.
        heatmaps: show on a few mistakes what they depend on: the file's evidence map, or occlusion, about 120 answers
            an image.
        operating: rules of operating points, as for `zoo.evaluate`; so are prevalence, by and unlike. With any of them
            the images of a run are judged anew, so `out` is needed.
        prevalence: share of images that have a label where the model is to be used.
        by: columns of the data that the report is divided by.
        unlike: files or folders of images that are not of the model's kind.
        split: which images, as for `zoo.evaluate`; so are provider, skip_bad, key and include_seen.
        provider: execution provider.
        skip_bad: leave out images that cannot be read.
        key: file of a public key.
        include_seen: judge images too that the model was trained on.
        **reading: way to read the data, see `zoo.spec.Reading`.

    Raises:
        ZooError: any kind. UsageError: `out` is needed, or heat maps are asked for without images, or of several
            files. OutputError: one of the files is in `out` already, or `out` is a run whose figures would be replaced.
    """
    from zoo.runs import find_run, open_run
    from zoo.workflow._folds import keep_answers
    from zoo.workflow.evaluate import check_words, judge_target, leave_out_seen, open_target

    if heatmaps and not images:
        raise UsageError(
            "--heatmaps with --no-images; a map is laid over its image, leave one of them out",
            code="option-ignored",
            options=["--heatmaps"],
        )
    refuse_idle_overwrite(out, "--out", overwrite=overwrite)
    check_words(operating, prevalence)
    if out is not None:
        refuse_file(Path(out))
    place = Path(target) if target is not None else find_run(None)
    for file in () if out is None else (Path(out) / name for name in (PAGE_FILE, REPORT_FILE, CARD_FILE)):
        refuse_occupied(file, overwrite=overwrite)
    anew = by is not None or operating or prevalence or unlike
    kept = data is None and not anew and split == "test" and not is_exported(place)
    run = open_run(find_run(place)) if kept else None
    if run is not None:
        out = run.path if out is None else out
        if run.record.status != "done" or _keeps_answers(run):
            given = {"skip_bad": skip_bad, "include_seen": include_seen, "key": key is not None}
            _refuse_idle(reading, provider=provider != "cpu", **given)
            return _of_run(run, Path(out), images=images, heatmaps=heatmaps)
    if out is None:
        raise UsageError(
            f"where the page of {quote_path(place)} is to be written is not known; name a folder with --out",
            code="option-missing",
            options=["--out"],
        )
    if run is None and is_run(Path(out)):
        raise OutputError(
            f"{out} is a run, whose own figures those of other images or decisions would replace; choose another --out",
            code="out-run-file",
            options=["--out"],
        )
    opened = open_target(place, data, split=split, provider=provider, skip_bad=skip_bad, key=key, **reading)
    splits, seen = leave_out_seen(opened, split, include=include_seen)
    judged = judge_target(
        opened, splits, split, seen,
        operating=operating, prevalence=prevalence, by=by, unlike=unlike, skip_bad=skip_bad,
    )  # fmt: skip
    if run is not None and Path(out) == run.path:
        keep_answers(run, judged)
    manifest = opened.runtime.manifest
    record = None if opened.run is None else opened.run.record
    cases = _cases(judged, manifest)
    found = _Found(judged.report, manifest, record, splits, cases, external=not opened.own, decided=judged.decided)
    explain = _explainer(opened.runtime, judged.images, range(len(judged.images))) if heatmaps else None
    return _write(Path(out), found, _look(found, judged, explain) if images else None)


def _keeps_answers(run: RunFolder) -> bool:
    """Whether nothing is to be run; an older release kept no answers of a run that is not one of folds.

    Figures that have gone since are made again, too. Answers of folds that cannot be read are pooled again.

    Raises:
        TrainingError: they cannot be.
    """
    from zoo.workflow._folds import ANSWERS, pool_again, read_answers

    over_folds = bool(run.record.folds)
    if run.record.card.train.fold == "none":  # it has none
        return True
    try:
        read_answers(run.path)
    except TrainingError:
        if run.file(ANSWERS).exists():
            log.warning("%s is damaged, and is made anew", quote_path(run.file(ANSWERS)))
        if not over_folds:
            return False
        pool_again(run)
    return over_folds or run.file(REPORT_FILE).is_file()


def _refuse_idle(reading: Reading, **given: bool) -> None:
    """Refuse options of a run whose answers are there: its images were read in training.

    Raises:
        UsageError: names them.
    """
    idle = [
        f"--{name.replace('_', '-')}" for name in (*pick_reading(reading), *(key for key, on in given.items() if on))
    ]
    if idle:
        raise UsageError(
            f"{' and '.join(idle)} without --data; the answers of a run are read, and nothing is judged anew",
            code="option-ignored",
            options=idle,
        )


def try_to_write(run: Path, write: Callable[[], ReportFiles]) -> None:
    """Write the page of a run that is done; a full disk does not undo what is done."""
    try:
        write()
    except ZooError as problem:
        log.warning("no page was written: %s; try again with 'zoo report %s'", problem, quote_path(run))


def write_trained(run: RunFolder, judged: Judged, manifest: Manifest, splits: Splits) -> ReportFiles:
    """The page of a training that has just ended; its images are read once more, a few dozen of them."""
    found = _Found(judged.report, manifest, run.record, splits, _cases(judged, manifest))
    return _write(run.path, found, _look(found, judged))


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """What a page is made of, but its pictures."""

    report: EvalReport
    manifest: Manifest | None
    record: RunRecord | None
    splits: Splits | None
    cases: Cases | None
    robustness: Robustness | None = None
    external: bool = False
    expected: bool = False
    decided: Manifest | None = None
    """Whose decisions the report judges, where they are not those of the file."""

    def of_file(self) -> EvalReport:
        """The report without what other decisions than those of the file made of the images."""
        own, other = self.manifest, self.decided
        if own is None or other is None:
            return self.report
        changes: dict[str, None] = {}
        if (own.operating, own.abstention) != (other.operating, other.abstention):
            changes["abstention"] = None
        if _sets(own) != _sets(other):
            changes["conformal"] = None
        return msgspec.structs.replace(self.report, **changes)


def _sets(manifest: Manifest) -> ConformalSets | None:
    return None if manifest.abstention is None else manifest.abstention.sets


def _cases(judged: Judged, manifest: Manifest) -> Cases:
    """As the run keeps them, so that its page is the same whenever it is written."""
    from zoo.evaluation import Cases
    from zoo.workflow._folds import answers_of

    answers = answers_of(judged, manifest.temperature)
    return Cases.of(answers.logits, answers.targets, groups=judged.images.groups, ordered=manifest.task == "ordinal")


def _look(found: _Found, judged: Judged, explain: Explain | None = None) -> Gallery | None:
    from zoo.evaluation.page import make_gallery

    return None if found.cases is None else make_gallery(found.cases, judged.images.ids, judged.images.read, explain)


def _explainer(runtime: Runtime, images: ImageSet, places: Sequence[int]) -> Explain:
    """What maps an answer; `places`: position of each in `images`, whose columns the model is given."""
    from zoo.edge._explain import explain_image
    from zoo.workflow._inputs import select_columns

    beside = select_columns(images, runtime.manifest.table)[0].columns

    def explain(at: int, image: RawImage, label: int) -> HeatMap:
        given = {name: [cells[places[at]]] for name, cells in beside.items()} if beside else None
        return explain_image(runtime, image, runtime.manifest.labels[label], given)

    return explain


def _of_run(run: RunFolder, out: Path, *, images: bool, heatmaps: bool) -> ReportFiles:
    """The page of a finished run, from what it keeps.

    Raises:
        ModelError: it is not finished.
        UsageError: heat maps of answers that several files gave.
    """
    from zoo.edge import Runtime
    from zoo.edge.bundle import open_model
    from zoo.evaluation import Cases
    from zoo.evaluation.page import make_gallery
    from zoo.runs import refuse_unfinished
    from zoo.workflow._folds import read_answers
    from zoo.workflow.stress import ROBUSTNESS_FILE, are_alike

    record, judged = run.record, read_report(run)
    if record.status != "done" or judged is None:
        raise refuse_unfinished(run, "is not finished, so nothing is known of it")
    expected = bool(record.folds) or record.card.train.fold == "none"
    if heatmaps and expected:
        raise UsageError(
            f"--heatmaps of {quote_path(run.path)}: no single file gave the answers of a run over folds; name a model "
            "file and images with --data",
            code="option-ignored",
            options=["--heatmaps"],
        )
    ships = last_of(run.path) if record.folds else run.path
    manifest = None if ships is None else open_model(ships / MODEL_FILE).manifest
    splits = _images(run)
    cases = gallery = None
    if record.card.train.fold != "none":
        answers = read_answers(run.path)
        groups = answers.groups if len(answers.groups) else None
        cases = Cases.of(answers.logits, answers.targets, groups=groups, ordered=record.task == "ordinal")
        if images and splits is not None:
            read, explain = _reader(answers, splits), None
            if heatmaps:
                runtime = Runtime.open(run.path / MODEL_FILE)
                explain = _explainer(runtime, splits.test, _places(answers, splits.test))
            gallery = make_gallery(cases, answers.ids.tolist(), read, explain)
    stressed = run.file(ROBUSTNESS_FILE)
    tried = decode(stressed.read_bytes(), Robustness, str(stressed), TrainingError) if stressed.is_file() else None
    if tried is not None and not are_alike(tried, judged):  # an older release kept those of other images too
        tried = None
    found = _Found(judged, manifest, record, None if expected else splits, cases, tried, expected=expected)
    return _write(out, found, gallery)


def _images(run: RunFolder) -> Splits | None:
    """The images of a run; None: they are not at hand, as the log says."""
    from zoo.runs import open_run
    from zoo.workflow._images import images_of

    first = open_run(run.path / run.record.folds[0]) if run.record.folds else run
    try:
        return images_of(first, None)
    except DataError as problem:
        log.warning("the page shows no image: %s", problem)
        return None


def _reader(answers: Answers, splits: Splits) -> Callable[[int], RawImage]:
    """From the position of an answer to its image, found by its hash."""
    places = {
        digest.tobytes(): (images, at)
        for images in (splits.train, splits.val, splits.test)
        for at, digest in enumerate(images.digests)
    }

    def read(at: int) -> RawImage:
        images, place = places[answers.digests[at].tobytes()]
        return images.read(place)

    return read


def _places(answers: Answers, images: ImageSet) -> list[int]:
    """Position of each answer's image; of copies, which may have other columns, the one of that name."""
    digests = [digest.tobytes() for digest in images.digests]
    named = {key: place for place, key in enumerate(zip(digests, images.ids, strict=True))}
    at = {digest: place for place, digest in enumerate(digests)}
    wanted = zip(map(bytes, answers.digests), answers.ids.tolist(), strict=True)
    return [named.get(key, at[key[0]]) for key in wanted]


def _write(out: Path, found: _Found, gallery: Gallery | None) -> ReportFiles:
    from zoo.artefact import model_card
    from zoo.evaluation.page import Subject, make_page

    subject = Subject(
        report=found.report,
        manifest=found.decided or found.manifest,
        record=found.record,
        cases=found.cases,
        splits=found.splits,
        gallery=gallery,
        robustness=found.robustness,
        external=found.external,
        expected=found.expected,
    )
    page, card = out / PAGE_FILE, out / CARD_FILE
    about = found.manifest
    if about is not None and not found.expected:  # else its own report says whose figures it holds
        about = msgspec.structs.replace(about, report=found.of_file())
    texts: dict[Path, bytes | str] = {
        out / REPORT_FILE: encode(found.report),
        **({} if about is None else {card: model_card(about)}),
        page: make_page(subject),
    }
    out.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():  # all are made before the first is written
        atomic_write(file, text)
    return ReportFiles(html=str(page), json=str(out / REPORT_FILE), card=None if found.manifest is None else str(card))
