"""The page of a model: whole for every task, closed to the network, and honest about what it does not know."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from beside_images import make_manifest
from page_subjects import LONG, TASKS, decided, robustness, subject_of
from PIL import Image
from smaller_files import made_smaller

from zoo.data import open_data
from zoo.edge._explain import HeatMap
from zoo.evaluation import Cases
from zoo.evaluation.comparison import Contender, compare
from zoo.evaluation.page import Subject, make_comparison_page, make_gallery, make_page
from zoo.evaluation.page._about import demographics
from zoo.evaluation.page._checklists import CLAIM, TRIPOD, fill
from zoo.evaluation.page._gallery import choose_images
from zoo.evaluation.page._methods import say_model, say_split
from zoo.evaluation.page._svg import _ticks
from zoo.readers import from_array
from zoo.spec import SeenImages, TrainConfig

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.readers import RawImage

VOID = {"meta", "link", "br", "img", "hr", "wbr", "input"}
SHAPES = {"line", "circle", "rect", "polyline", "polygon"}


class Outline(HTMLParser):
    """A page's elements; every one that opens must close, in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = {name: value or "" for name, value in attrs}
        self.loads += [found[name] for name in ("src", "srcset", "data", "poster") if name in found]
        if "href" in found:
            self.targets.append(found["href"])
        if "id" in found:
            self.ids.append(found["id"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SHAPES | VOID
        self.tags.append(tag)
        del attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join("".join(self.text).split())


@pytest.fixture(scope="module", params=TASKS)
def subject(request: pytest.FixtureRequest) -> Subject:
    return subject_of(request.param)


def full(subject: Subject) -> Subject:
    report = msgspec.structs.replace(subject.report, **decided())
    return dataclasses.replace(subject, report=report, robustness=robustness())


def test_it_is_sound_html_that_loads_nothing(subject: Subject) -> None:
    page = make_page(full(subject))
    outline = Outline(page)
    assert "script" not in outline.tags
    assert all(load.startswith("data:image/") for load in outline.loads)
    assert all(target.startswith("#") for target in outline.targets)
    assert {target[1:] for target in outline.targets} <= set(outline.ids)
    assert len(outline.ids) == len(set(outline.ids))
    assert "url(" not in page
    assert "@import" not in page


def test_names_of_the_data_stay_text(subject: Subject) -> None:
    page = make_page(full(subject))
    for made in ("<b>intra", "<i>set", "<u>two", "<s>p", "<q>north"):
        assert made not in page
    words = Outline(page).words
    assert LONG in words
    assert "<u>two</u> images were copies" in words


def test_tables_have_captions_and_scopes(subject: Subject) -> None:
    page = make_page(full(subject))
    assert page.count("<table") == page.count("<caption>")
    assert not re.search(r"<th(?! scope=)[ >]", page)
    assert page.count('role="img" aria-label="') == len(re.findall(r"<svg viewBox", page))


def test_every_metric_has_its_interval(subject: Subject) -> None:
    words = Outline(make_page(subject)).words
    for value in subject.report.metrics.values():
        assert f"{value.value:.3f} ({value.low:.3f} to {value.high:.3f})" in words


def test_the_same_documents_give_the_same_bytes(subject: Subject) -> None:
    assert make_page(subject) == make_page(subject)


@pytest.mark.parametrize(
    ("task", "there", "absent"),
    [
        ("two", {"curves", "calibration", "confusion", "gallery", "methods", "checklists"}, {"operating", "groups"}),
        ("several", {"curves", "calibration", "gallery"}, {"confusion"}),
        ("grades", {"confusion"}, {"robustness", "shortcuts", "baselines"}),
    ],
)
def test_a_section_is_there_where_there_is_something_to_say(task: str, there: set[str], absent: set[str]) -> None:
    ids = set(Outline(make_page(subject_of(task))).ids)
    assert there <= ids
    assert not absent & ids


def test_every_part_of_a_report_has_its_section() -> None:
    outline = Outline(make_page(full(subject_of("three"))))
    assert {"operating", "sets", "abstention", "unlike", "groups", "shortcuts", "robustness", "baselines"} <= set(
        outline.ids
    )
    for said in (
        "0.438",
        "sensitivity=0.9",
        "below 0.9",
        "photographs",
        "p < 0.001",
        "too few to say anything",
        "majority",
    ):
        assert said in outline.words


@pytest.mark.parametrize(("task", "drawn"), [("two", 1), ("three", 3), ("several", 4), ("hundred", 12)])
def test_each_class_has_its_calibration(task: str, drawn: int) -> None:
    subject = subject_of(task)
    found = subject.report.calibration
    assert found is not None
    page = make_page(subject)
    words = Outline(page).words
    assert page.count('aria-label="reliability of ') == drawn
    for one in list(found.per_class.values())[1:]:
        assert f"{one.brier.value:.3f} ({one.brier.low:.3f} to {one.brier.high:.3f}){one.ece:.3f}" in words
        for line in (one.slope, one.intercept):
            assert line is None or f"{line.value:.3f} ({line.low:.3f} to {line.high:.3f})" in words
    lost = [key for key in subject.report.undefined if ".calibration_" in key]
    assert len(lost) == sum((one.slope, one.intercept).count(None) for one in found.per_class.values())


def test_why_a_calibration_has_no_slope_is_said_with_the_calibration() -> None:
    subject = subject_of("two")
    report = msgspec.structs.replace(
        subject.report, undefined={f"{subject.report.labels[1]}.calibration_slope": "there is no overlap"}
    )
    words = Outline(make_page(dataclasses.replace(subject, report=report))).words
    assert "there is no overlap" in words.split("Calibration of each class")[1]
    assert "there is no overlap" not in words.split("Calibration of each class")[0]


def test_every_metric_of_a_class_is_in_one_of_two_tables() -> None:
    subject = subject_of("two")
    words = Outline(make_page(subject)).words.split("Each class against the rest")[1].split("Calibration")[0]
    assert "sensitivityspecificityPPVNPVF1" in words
    for row in subject.report.per_class.values():
        for one in row.values():
            if not isinstance(one, int):
                assert f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})" in words


def test_a_long_table_scrolls_and_a_short_one_does_not() -> None:
    assert 'class="box long"' not in make_page(subject_of("three")).split("<main")[1].split('id="checklists"')[0]
    assert make_page(subject_of("hundred")).count('class="box long"') >= 3


def test_decisions_are_said_of_groups_and_of_corrupted_copies() -> None:
    words = Outline(make_page(full(subject_of("three")))).words
    groups = words.split("Decisions in each group")[1].split("Shortcuts")[0]
    heads = "sensitivity for <u>ill</u>sets that hold the truthsensitivity for <u>ill</u>, difference"
    assert f"{heads}site: <q>north</q>40" in groups
    assert "-0.250 (-0.400 to -0.100) p < 0.001" in groups
    assert "south" not in groups  # too small
    assert "shown to differ in: 1 group" in words
    withheld = words.split("Share of images that the file does not answer")[1]
    assert "as the images are5 %noise25 %blur25 %" in withheld


def test_without_other_images_no_column_says_how_they_score() -> None:
    subject = full(subject_of("two"))
    novelty = subject.report.novelty
    assert novelty is not None
    alone = msgspec.structs.replace(subject.report, novelty=msgspec.structs.replace(novelty, unlike=()))
    assert "AUROC of the score" in make_page(subject)
    page = make_page(dataclasses.replace(subject, report=alone))
    assert "AUROC of the score" not in page
    assert "--unlike" in page


def test_the_surest_given_mistakes_are_mapped() -> None:
    subject = subject_of("several")
    assert subject.cases is not None
    asked: list[tuple[int, int]] = []

    def explain(at: int, image: RawImage, label: int) -> HeatMap:
        asked.append((at, label))
        height, width = image.pixels.shape[:2]
        return HeatMap(label=str(label), base=0.9, height=height, width=width, values=((0.0, 0.5), (0.1, 0.0)))

    ids = [f"{at}.png" for at in range(subject.cases.n)]
    image = from_array(np.full((8, 8), 100, np.uint8))
    gallery = make_gallery(subject.cases, ids, dict.fromkeys(range(len(ids)), image).__getitem__, explain)
    assert len(gallery.maps) == len(asked) == 6
    assert all(not subject.cases.truth[at, label] and subject.cases.chosen[at, label] for at, label in asked)
    mapped = dataclasses.replace(subject, gallery=gallery)
    words = Outline(make_page(mapped)).words
    assert "What mistakes depend on" in words
    assert f"{len(gallery.pictures) + 6} small copies of your images" in words
    assert fill(CLAIM, mapped)["31"] == "Maps of mistakes by occlusion, above. They prove no localisation."
    assert words.count("hiding a part lowers it by up to 0.50") == 6
    bare = dataclasses.replace(gallery, peaks=(0.01,) * 6)
    words = Outline(make_page(dataclasses.replace(subject, gallery=bare))).words
    assert words.count("by less than 0.05: no single part decides") == 6, "a map that shows nothing looks like none"


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.56, 0.965), (-0.11, 0.34), (0.113, 0.36), (3, 7)])
def test_an_axis_has_three_numbers_at_least(low: float, high: float) -> None:
    found = _ticks(low, high)
    assert 3 <= len(found) <= 9
    assert all(low - 1e-9 <= one <= high + 1e-9 for one in found)
    assert np.allclose(np.diff(found), found[1] - found[0])


def test_models_of_nearly_one_latency_stand_on_an_axis_with_numbers() -> None:
    rng = np.random.default_rng(0)
    targets = np.arange(40) % 2
    contenders = [
        Contender(name, rng.normal(size=(40, 2)), latency_ms=ms, latency_range_ms=(ms, ms), size_bytes=10,
                  class_weight=weight)
        for name, ms, weight in (("a", 0.17, "none"), ("b", 0.24, "none"))
    ]  # fmt: skip
    page = make_comparison_page(compare(contenders, targets, "ab", resamples=50))
    assert all(f'text-anchor="middle">{tick}</text>' in page for tick in ("0.15", "0.2", "0.25"))
    assert "class weight" not in page, "all models have one"
    contenders[1] = dataclasses.replace(contenders[1], class_weight="balanced")
    assert "class weight" in make_comparison_page(compare(contenders, targets, "ab", resamples=50))


def test_the_methods_of_a_lone_file_name_its_model() -> None:
    manifest = make_manifest()
    said = [*say_model(dataclasses.replace(subject_of("two"), manifest=manifest))]
    assert said[0] == f"The model is {manifest.name}."
    assert said[1].startswith("Its input is")


def test_grades_show_kappa_first() -> None:
    subject = subject_of("grades")
    head = Outline(make_page(subject)).words.split("Metrics")[0]
    assert f"quadratic kappa{subject.report.metrics['quadratic_kappa'].value:.3f}" in head.replace("kappa ", "kappa")


def test_many_classes_show_the_worst_curves_and_the_most_frequent_confusions() -> None:
    subject = subject_of("hundred", n=600)
    page = make_page(subject)
    assert page.count("ROC curve of") == 12
    assert "Of 100 classes the 12 of the lowest AUROC are drawn" in page
    assert "What is taken for what most often" in page


def test_without_images_it_names_none() -> None:
    page = make_page(subject_of("two", images=False))
    assert "data:image" not in page
    assert "&lt;s&gt;p" not in page
    assert "small cop" not in page


def test_with_images_it_says_so_at_the_top() -> None:
    subject = subject_of("two")
    assert subject.gallery is not None
    head = Outline(make_page(subject)).words.split("Skip to the content")[1].split("Metrics")[0]
    assert f"{len(subject.gallery.pictures)} small copies of your images" in head
    assert "--no-images" in head


def test_ten_thousand_answers_stay_below_five_megabytes() -> None:
    page = make_page(subject_of("hundred", n=10_000, resamples=20))
    assert len(page.encode()) < 5_000_000


def test_without_answers_there_are_figures_and_no_curves() -> None:
    subject = dataclasses.replace(subject_of("two"), cases=None, gallery=None)
    ids = Outline(make_page(subject)).ids
    assert "metrics" in ids
    assert "curves" not in ids


def test_checklists_have_every_item_and_leave_open_what_only_authors_know() -> None:
    subject = subject_of("two")
    claim, tripod = fill(CLAIM, subject), fill(TRIPOD, subject)
    assert list(claim) == [str(item) for item in range(1, 45)]
    assert len({re.sub("[a-g]$", "", item) for item in tripod}) == 27
    for item in ("1", "5", "8", "14", "16", "34", "40", "44"):
        assert claim[item] == ""
    assert claim["28"]
    assert claim["20"].startswith("Images")
    assert "NOT PROVIDED" in make_page(subject)


@pytest.mark.parametrize(("how", "new"), [("left out", True), ("judged", False), ("not known", False)])
def test_images_took_no_part_in_training_only_where_that_is_known(how: Any, new: bool) -> None:
    subject = subject_of("three")
    seen = SeenImages(count=None, of=subject.report.n, how=how, note=how)
    report = msgspec.structs.replace(subject.report, seen=seen)
    outside = dataclasses.replace(subject, report=report, manifest=make_manifest(), external=True)
    methods = " ".join(say_split(outside))
    assert "trained on other data" in methods
    assert ("took no part in it" in methods) is new
    assert "in one part only" not in methods


@pytest.mark.parametrize("verdict", ["as good", "cannot tell"])
def test_a_smaller_file_says_what_was_not_shown_and_which_bars_were_loosened(verdict: Any) -> None:
    loosened = "the bar on auroc was loosened from 0.01 to 0.1"
    manifest = msgspec.structs.replace(make_manifest(), quantization=made_smaller(verdict, notes=(loosened,)))
    page = make_page(dataclasses.replace(subject_of("two"), manifest=manifest))
    assert ("was not shown to be as good as float32" in page) is (verdict == "cannot tell")
    assert "The bar on auroc was loosened from 0.01 to 0.1." in page


@pytest.mark.parametrize("leaks", ["drop", "keep"])
def test_groups_lie_in_one_part_only_where_leaks_were_not_kept(leaks: Any) -> None:
    manifest = make_manifest()
    origin = msgspec.structs.replace(manifest.provenance, config=TrainConfig(leaks=leaks))
    manifest = msgspec.structs.replace(manifest, provenance=origin)
    methods = " ".join(say_split(dataclasses.replace(subject_of("three"), manifest=manifest)))
    assert "come from 100 groups" in methods
    assert ("in one part only" in methods) is (leaks == "drop")


def test_mistakes_are_the_surest_of_each_class_and_doubtful_labels_are_found() -> None:
    rng = np.random.default_rng(0)
    targets = np.repeat(np.arange(3), 40)
    logits = rng.normal(0, 0.3, (120, 3))
    logits[np.arange(120), targets] += 3
    logits[[0, 50]] = [[0, 0, 9.0], [7.0, 0, 0]]  # two labels that are wrong
    mistakes, unsure, doubtful = choose_images(Cases.of(logits, targets))
    assert [(pick.image, pick.truth, pick.called) for pick in mistakes[:1]] == [(0, 0, 2)]
    assert {pick.image for pick in doubtful} == {0, 50}
    assert len(unsure) == 12
    assert 0 not in {pick.image for pick in unsure}


def test_a_doubtful_label_of_several_is_found() -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((80, 2)) < 0.5).astype(np.int64)
    logits = rng.normal(0, 0.3, (80, 2)) + np.where(targets == 1, 3.0, -3.0)
    logits[7, 1] = -8.0 if targets[7, 1] else 8.0
    _, _, doubtful = choose_images(Cases.of(logits, targets))
    assert [(pick.image, pick.truth) for pick in doubtful] == [(7, 1)]
    assert doubtful[0].held == bool(targets[7, 1])


def test_a_comparison_shows_models_costs_and_pairs() -> None:
    rng = np.random.default_rng(0)
    targets = np.arange(90) % 3
    good = rng.normal(size=(90, 3)) + 3 * (targets[:, None] == np.arange(3))
    contenders = [
        Contender(name="<b>good</b>", logits=good, latency_ms=9.0, latency_range_ms=(8.0, 10.0), size_bytes=40_000_000),
        Contender(
            name=LONG, logits=rng.normal(size=(90, 3)), latency_ms=1.0, latency_range_ms=(0.9, 1.1), size_bytes=100_000
        ),
    ]
    found = compare(contenders, targets, ("a", "b", "c"), per_class=True, resamples=200)
    page = make_comparison_page(found)
    outline = Outline(page)
    assert {"models", "costs", "pairs", "classes"} <= set(outline.ids)
    assert "<b>good</b> is better" in outline.words
    assert page.count("★</li>") == sum(model.pareto for model in found.models)
    assert page.count('role="img"') == 2


def test_a_comparison_says_what_a_margin_shows_and_how_many_images_would_tell() -> None:
    rng = np.random.default_rng(0)
    targets = np.arange(200) % 2
    logits = rng.normal(size=(200, 2)) + 1.5 * (targets[:, None] == np.arange(2))
    near = logits + rng.normal(0, 0.05, logits.shape)
    found = compare(
        [Contender(name="one", logits=logits), Contender(name="other", logits=near)],
        targets, ("a", "b"), margin=0.05, resamples=200,
    )  # fmt: skip
    words = Outline(make_comparison_page(found)).words
    (pair,) = [one for one in found.pairs if one.metric == "macro_auroc"]
    assert pair.equivalent
    assert pair.images_for_margin
    assert "cannot tellequivalent" in words
    assert f"{pair.images_for_margin}for 0.05" in words
    assert f"{pair.p_delong:.3f}" in words
    bare = make_comparison_page(compare([Contender(name="one", logits=logits)], targets, ("a", "b"), resamples=50))
    assert "Margin" not in bare


def test_persons_and_places_of_a_table_are_counted_in_each_split(tmp_path: Path) -> None:
    rows = ["image,label,split,age,sex,site"]
    for at in range(150):
        Image.new("L", (8, 8), at).save(tmp_path / f"{at}.png")
        age = "" if at == 0 else 30 + at
        site = "south" if at % 18 == 0 else "<i>north</i>"
        rows.append(f"{at}.png,{'ab'[at % 2]},{('train', 'val', 'test')[at % 3]},{age},{'FM'[at % 2]},{site}")
    (tmp_path / "labels.csv").write_text("\n".join(rows), "utf-8")
    subject = dataclasses.replace(subject_of("two"), splits=open_data(tmp_path / "labels.csv"))
    words = Outline(make_page(subject)).words
    assert "Persons and places in each split" in words
    assert "age, median (quartiles)105 (69 to 141)104.5 (67.75 to 141.25)105.5 (68.75 to 142.25)" in words
    assert "age: missingtoo few0 (0 %)0 (0 %)" in words
    assert "sex: F25 (50 %)25 (50 %)25 (50 %)" in words
    assert "site: <i>north</i>41 (82 %)50 (100 %)50 (100 %)" in words
    assert "site: southtoo few0 (0 %)0 (0 %)" in words  # nine images, as withheld as among the groups
    said = fill(CLAIM, subject)
    assert said["36"].startswith("site, age, sex in each split")
    assert subject.splits is not None
    one = dataclasses.replace(subject.splits.val, groups=np.zeros(50, np.int64))  # of one patient
    told = demographics(dataclasses.replace(subject, splits=dataclasses.replace(subject.splits, val=one)))
    assert told[0][1:] == ("41 (82 %)", "too few", "50 (100 %)")
