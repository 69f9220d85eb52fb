"""Whoever writes late, for a driver that was killed or overtaken, changes nothing of a batch that goes on."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from batches import painted, part_files, read_rows, rows_of, table_of
from edge_models import LABELS, make_manifest, make_model
from refusals import refused

import zoo
from zoo.edge.bundle import open_model
from zoo.errors import DataError, OutputError, ResumeError
from zoo.store.place import Place
from zoo.workflow._batch import engines, ledger, sources
from zoo.workflow._batch.listing import open_listing
from zoo.workflow._batch.part import Job, open_runtime
from zoo.workflow._batch.sources import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zoo.workflow._batch.engines import Outcome


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return painted(tmp_path / "images", 40)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A model that gives other answers."""
    backwards = make_manifest(labels=tuple(reversed(LABELS)))
    (tmp_path / "other.onnx").write_bytes(make_model(backwards).SerializeToString())
    return tmp_path / "other.onnx"


class Late:
    """An actor of a call that was killed when its batch was begun: it answers whenever it is asked."""

    def __init__(self, model: Path, place: Path) -> None:
        self._place = Place(str(place))
        begun, self._listing = ledger._read(self._place), open_listing(self._place)
        assert begun is not None
        start = (place / "_zoo" / "start").read_text()
        self._job = Job(place=str(place), form="csv", batch=begun.batch, start=start, home=begun.home)
        self._runtime = open_runtime(self._job, open_model(model))

    def answer(self, number: int) -> Outcome:
        assert self._listing is not None
        return engines._attempt(self._job, self._runtime, self._place, self._listing.parts[number])


def kill(*_: Any) -> None:
    raise KeyboardInterrupt


def begun(model: Path, images: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> Late:
    """A batch whose driver is killed before its first part, and an actor of it that lives on."""
    with monkeypatch.context() as patch:
        patch.setattr(engines, "answer_part", kill)
        with pytest.raises(KeyboardInterrupt):
            zoo.predict_batch(model, images, place, format="csv", part_size=9)
    return Late(model, place)


@pytest.mark.parametrize("how", ["resume", "overwrite"])
def test_an_actor_of_a_killed_driver_writes_nothing_once_another_has_the_batch(
    model_file: Path, other: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    place = tmp_path / "out"
    late = begun(model_file, images, place, monkeypatch)
    assert late.answer(0).record is not None, "the batch is still its own"
    said, keep = list[Any](), ledger.keep

    def keep_after_the_late_one(*given: Any) -> None:
        said.append(late.answer(1))
        keep(*given)

    model = model_file if how == "resume" else other
    monkeypatch.setattr(engines, "keep", keep_after_the_late_one)
    zoo.predict_batch(model, images, place, format="csv", part_size=9, **{how: True})
    said.append(late.answer(1))  # and when the batch is finished
    assert {one.error["code"] for one in said} == {"output-busy"}
    assert all(one.final for one in said)
    assert rows_of(place) == table_of(model, images, tmp_path / "whole.csv")


@pytest.mark.parametrize("same", [True, False])
def test_an_actor_that_looked_in_time_and_wrote_too_late_replaces_no_part(
    model_file: Path, other: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    place, model = tmp_path / "out", model_file if same else other
    late = begun(model_file, images, place, monkeypatch)
    ask = functools.partial(zoo.predict_batch, model, images, place, format="csv", part_size=9)
    ask(overwrite=True)
    expected = table_of(model, images, tmp_path / "other.csv")
    with monkeypatch.context() as patch:  # it looked before the new batch began
        for module in (ledger, engines):
            patch.setattr(module, "refuse_late", lambda *_: None)
        assert all(late.answer(number).record is not None for number in range(5))
    assert rows_of(place) == expected, "what the manifest counts is as it was"
    assert ask(resume=True).finished
    (place / "manifest.json").unlink()
    assert ask(resume=True).answered == 0, "its records stand beside those that count"
    assert rows_of(place) == expected
    assert len(part_files(place)) == 5, "what does not count is removed"


def test_the_first_of_two_drivers_in_a_store_ends_when_the_second_starts(
    model_file: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = pytest.importorskip("fsspec.implementations.memory", reason="URLs need fsspec")
    ask = functools.partial(
        zoo.predict_batch, model_file, images, "memory://two-drivers", format="csv", part_size=9, resume=True
    )
    keep, second = ledger.keep, list[Any]()

    def keep_after_another(*given: Any) -> None:
        if not second:
            second.append(None)
            second.append(ask())
        keep(*given)

    monkeypatch.setattr(engines, "keep", keep_after_another)
    with refused("output-busy", OutputError):
        ask()
    assert second[1].finished
    assert second[1].answered == 41
    store = memory.MemoryFileSystem()
    rows = read_rows(lambda name: store.cat(f"/two-drivers/{name}"))
    assert rows == table_of(model_file, images, tmp_path / "whole.csv")
    assert len(store.glob("/two-drivers/part-*")) == 5
    store.rm("/two-drivers", recursive=True)


@pytest.mark.parametrize("lists", [True, False])
def test_the_first_of_two_drivers_in_a_store_ends_while_it_lists(
    model_file: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lists: bool
) -> None:
    """It would write its listing over the one that the second driver answers by."""
    memory = pytest.importorskip("fsspec.implementations.memory", reason="URLs need fsspec")
    monkeypatch.setattr(memory.MemoryFileSystem, "store", {})
    ask = functools.partial(
        zoo.predict_batch, model_file, images, "memory://two-drivers", format="csv", part_size=9, resume=True
    )
    list_images, calls = sources.list_images, list[int]()

    def list_late(*given: Any) -> Iterator[Entry]:
        calls.append(len(calls))
        if len(calls) == 2 and not lists:
            raise DataError("it cannot be read", code="file-unreadable")
        if len(calls) == 1:
            with monkeypatch.context() as patch:
                patch.setattr(engines, "answer_part", kill)
                with pytest.raises(KeyboardInterrupt if lists else DataError):
                    ask()
            yield Entry("listed late")
        yield from list_images(*given)

    monkeypatch.setattr(sources, "list_images", list_late)
    with refused("output-busy", OutputError):
        ask()
    assert bool(memory.MemoryFileSystem.store) is lists, "a listing without its batch would be taken for the next one's"
    assert ask().finished
    rows = read_rows(lambda name: memory.MemoryFileSystem().cat(f"/two-drivers/{name}"))
    assert rows == table_of(model_file, images, tmp_path / "whole.csv")


def test_a_finished_batch_that_lost_a_file_answers_it_again(model_file: Path, images: Path, tmp_path: Path) -> None:
    place = tmp_path / "out"
    ask = functools.partial(zoo.predict_batch, model_file, images, place, format="csv", part_size=9)
    ask()
    expected = rows_of(place)
    part_files(place)[2].unlink()
    assert ask(resume=True).answered == 9
    assert rows_of(place) == expected


def test_a_finished_batch_that_is_answered_again_is_unfinished_until_it_is_whole(
    model_file: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "out"
    ask = functools.partial(zoo.predict_batch, model_file, images, place, format="csv", part_size=9)
    ask()
    part_files(place)[2].unlink()
    with monkeypatch.context() as patch:
        patch.setattr(engines, "answer_part", kill)
        with pytest.raises(KeyboardInterrupt):
            ask(resume=True)
    assert not (place / "manifest.json").exists()
    with refused("resume-unfinished", ResumeError):
        ask()


def test_the_end_keeps_files_of_others_and_no_call(
    model_file: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, keep = tmp_path / "out", ledger.keep

    def keep_beside_another(*given: Any) -> None:
        (place / "part-list.txt").touch()
        keep(*given)

    monkeypatch.setattr(engines, "keep", keep_beside_another)
    zoo.predict_batch(model_file, images, place, format="csv", part_size=9)
    assert (place / "part-list.txt").exists()
    assert not (place / "_zoo" / "start").exists()


def test_a_call_whose_listing_fails_leaves_the_batch_to_who_took_it_over(tmp_path: Path) -> None:
    place = Place(str(tmp_path))
    for late, left in ((True, True), (False, False)):
        start = ledger.name_start()
        with contextlib.suppress(DataError), ledger.taking_over(place, start):
            if late:
                ledger.take_over(place, ledger.name_start())
            raise DataError("no images")
        assert place.holds("_zoo/start") is left


def test_a_call_whose_listing_fails_leaves_the_batch_where_it_cannot_see_whose_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise DataError("the store does not answer", code="remote-unreachable")

    place, start = Place(str(tmp_path)), ledger.name_start()
    with monkeypatch.context() as patch, contextlib.suppress(DataError), ledger.taking_over(place, start):
        patch.setattr(Place, "read", refuse)
        raise DataError("no images")
    assert place.holds("_zoo/start")
