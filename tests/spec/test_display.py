"""A result in a terminal, a notebook, a document and a frame: short, whole, and safe whatever a file is called."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser

import msgspec
import pytest
from refusals import refused

from zoo.edge import Failure, Prediction
from zoo.edge._results import Answers
from zoo.errors import UsageError
from zoo.spec import Display, EvalReport, Fingerprint, Interval, Rows, Table

HOSTILE = '<img src=x onerror="alert(1)">&\x1b[31m\n'
VALUE = Interval(value=0.91234, low=0.8, high=0.95)


class Measured(Display, msgspec.Struct, frozen=True, kw_only=True):
    name: str
    value: Interval | None = VALUE
    n: int = 3
    nested: dict[str, int] = {}

    def headline(self) -> str:
        return f"{self.name}: {self.value}"


class _Parts(HTMLParser):
    """The elements of a fragment, with a check that each is closed in its turn."""

    def __init__(self, fragment: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(fragment)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert {name for name, _ in attrs} <= {"style"}
        self.tags.append(tag)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data}|"


def report(**changes: object) -> EvalReport:
    fields = {
        "schema": 1,
        "model": HOSTILE,
        "split": "test",
        "n": 1234,
        "labels": ("benign", HOSTILE),
        "metrics": {"accuracy": VALUE},
        "per_class": {"benign": {"n": 1000, "sensitivity": VALUE}, HOSTILE: {"n": 234}},
        "confusion": None,
        "calibration": None,
        "data": Fingerprint(name="d", sha256="0" * 64, n=1234, splits={}),
        "undefined": {"macro_auroc": "one class only", f"{HOSTILE}.sensitivity": "no image"},
        "notes": (f"two copies in {HOSTILE}",),
        "clusters": 40,
    }
    return EvalReport(**(fields | changes))  # type: ignore[arg-type]


def test_a_report_is_one_line_with_interval_images_groups_and_notes() -> None:
    line = repr(report(model="svm"))
    assert line == (
        "EvalReport(svm on test: macro AUROC undefined, accuracy 0.912 (0.800 to 0.950); "
        "1 234 images, 40 groups; 1 note)"
    )


def test_no_name_writes_to_the_terminal_or_is_longer_than_a_line() -> None:
    for line in (repr(report()), repr(Measured(name="x" * 1000)), repr(Failure(HOSTILE, "no\nimage"))):
        assert line.isprintable()
        assert len(line) < 350


def test_a_notebook_gets_every_number_reason_and_note_as_text() -> None:
    shown = _Parts(report()._repr_html_())
    assert set(shown.tags) == {"div", "table", "thead", "tbody", "tr", "th", "td", "ul", "li"}
    for wanted in ("0.912 (0.800 to 0.950)", "one class only", "two copies in <img", "1000", "macro_auroc"):
        assert wanted in shown.text
    assert "color:" not in re.sub("currentColor", "", report()._repr_html_()), "a notebook's own colours, dark or light"


def test_a_long_table_is_cut_and_says_so() -> None:
    rows = Rows(Measured(name=str(i)) for i in range(100))
    assert "60 more" in rows._repr_html_()
    assert len(repr(rows).splitlines()) == 41


def test_a_document_is_what_json_prints() -> None:
    found = report(model="svm")
    assert json.loads(json.dumps(found.to_dict())) == json.loads(msgspec.json.encode(found))
    assert json.dumps(Rows([Measured(name="a")]).to_dict())
    answer = Prediction("a.png", "b", 0.75, {"a": 0.25, "b": 0.75}, ("b",))
    assert json.loads(json.dumps(answer.to_dict())) == answer.row()


def test_an_interval_reads_as_a_person_writes_it() -> None:
    assert str(VALUE) == "0.912 (0.800 to 0.950)"
    assert repr(VALUE) == "Interval(0.912 (0.800 to 0.950))"


def test_without_pandas_the_package_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with refused("package-missing", UsageError, package="pandas"):
        report().to_frame()


def test_a_table_that_is_not_there_is_refused_with_those_that_are() -> None:
    with refused("table-unknown", UsageError, table="nothing", known=["metrics", "classes"]):
        report().to_frame("nothing")


class TestFrames:
    @pytest.fixture(autouse=True)
    def _pandas(self) -> None:
        pytest.importorskip("pandas", reason="pandas is not installed")

    def test_intervals_become_columns_of_numbers(self) -> None:
        metrics, classes = report().to_frame(), report().to_frame("classes")
        assert list(metrics) == ["metric", "value", "low", "high", "undefined"]
        assert metrics["value"].tolist()[0] == VALUE.value
        assert metrics["undefined"].tolist()[1] == "one class only"
        assert list(classes) == ["class", "n", "sensitivity", "sensitivity_low", "sensitivity_high"]
        assert classes["n"].tolist() == [1000, 234]
        assert classes["sensitivity_low"].isna().tolist() == [False, True]

    def test_answers_have_the_columns_of_the_csv_table(self) -> None:
        def ask() -> object:
            yield Prediction("a.png", "b", 0.75, {"a": 0.25, "b": 0.75})
            yield Failure("c.png", "not an image")

        frame = Answers(ask()).to_frame()  # type: ignore[arg-type]
        assert list(frame) == ["image", "label", "probability", "p_a", "p_b", "error"]
        assert frame["p_b"].tolist()[0] == 0.75
        assert frame["error"].tolist()[1] == "not an image"

    def test_a_table_without_a_row_keeps_its_columns(self) -> None:
        class Empty(Display):
            def tables(self) -> dict[str, Table]:
                return {"findings": Table((), ("kind", "files"))}

        assert list(Empty().to_frame()) == ["kind", "files"]
