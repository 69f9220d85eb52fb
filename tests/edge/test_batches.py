"""A batch has one row for each image, whatever its sources, its place and whoever is killed on the way."""

from __future__ import annotations

import contextlib
import csv
import functools
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from batches import painted, part_files, read_csv, read_rows, rows_of, s3_bucket, table_of
from beside_images import make_file, write_table
from edge_models import make_manifest, make_model, paint
from refusals import refused

import zoo
from zoo._support.files import hold_lock
from zoo._urls import show_place, show_url
from zoo.edge import Runtime, predict_csv
from zoo.edge._beside import find_columns
from zoo.edge._intake import Intake
from zoo.edge.bundle import open_model
from zoo.errors import DataError, ImageError, OutputError, ResumeError, UsageError
from zoo.store import _urls
from zoo.store.place import Place
from zoo.workflow._batch import engines, ledger, listing, sources
from zoo.workflow._batch.part import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return painted(tmp_path / "images", 40)


def test_parts_together_are_the_table_of_predict(model_file: Path, images: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    expected = table_of(model_file, images, tmp_path / "whole.csv")
    for form in ("csv", "parquet"):
        done = zoo.predict_batch(model_file, images, tmp_path / form, format=form, part_size=9)
        assert (done.images, done.failed, done.parts, done.done, done.finished) == (41, 1, 5, 5, True)
        assert rows_of(tmp_path / form) == expected
        assert not list((tmp_path / form).rglob(".*")), "nothing half-written is left"


def test_tar_and_table_give_the_answers_of_the_files(model_file: Path, images: Path, tmp_path: Path) -> None:
    header, *expected = table_of(model_file, images, tmp_path / "whole.csv")
    answers = {row[0].removeprefix(f"{images}/").removeprefix("'"): row[1:] for row in expected}
    listed = sorted(str(path.relative_to(tmp_path)) for path in images.rglob("*.png"))
    with (tmp_path / "listed.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["site", "image"], *(["a", name] for name in listed)])
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for path in sorted(images.rglob("*.png")):
            tar.add(path, str(path.relative_to(images)))
        (tmp_path / "0.cls").write_text("1")
        tar.add(tmp_path / "0.cls", "0.cls")
    for source, start in ((tmp_path / "listed.csv", f"{images}/"), (tmp_path / "shard.tar", f"{tmp_path}/shard.tar/")):
        place = tmp_path / source.stem
        zoo.predict_batch(model_file, source, place, format="csv", part_size=7)
        first, *rows = rows_of(place)
        assert first == header
        assert [row[0] for row in rows] == [f"{start}{name.removeprefix('images/')}" for name in listed]
        assert {row[0].removeprefix(start): row[1:] for row in rows} == answers


def test_another_model_other_sources_another_form_are_refused(model_file: Path, images: Path, tmp_path: Path) -> None:
    place = tmp_path / "out"
    ask = functools.partial(zoo.predict_batch, out=place, format="csv", part_size=10)
    ask(model_file, images)
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    assert ask(model_file, images, resume=True).answered == 0, "a finished batch is resumed by doing nothing"
    with refused("out-occupied", OutputError):
        ask(model_file, images)
    other = tmp_path / "other.onnx"
    other.write_bytes(make_model(make_manifest(name="other")).SerializeToString())
    (place / "manifest.json").unlink()
    with refused("resume-unfinished", ResumeError):
        ask(model_file, images)
    with refused("resume-differs", ResumeError, what="model"):
        ask(other, images, resume=True)
    with refused("resume-differs", ResumeError, what="sources"):
        ask(model_file, images / "1", resume=True)
    with refused("resume-differs", ResumeError, what="part_size"):
        ask(model_file, images, resume=True, part_size=11)
    with refused("resume-differs", ResumeError, what="columns"):
        ask(model_file, images, resume=True, statistics=True)
    assert zoo.predict_batch(model_file, images, place, format="csv", resume=True).answered == 0
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before
    assert ask(other, images, overwrite=True).answered == 41
    assert rows_of(place) == table_of(other, images, tmp_path / "other.csv")


def test_a_folder_of_somebody_else_is_left_alone(model_file: Path, images: Path) -> None:
    for overwrite in (False, True):
        with refused("out-occupied", OutputError):
            zoo.predict_batch(model_file, images, images, format="csv", overwrite=overwrite)
    assert not (images / "manifest.json").exists()


def test_a_second_driver_is_refused(model_file: Path, images: Path, tmp_path: Path) -> None:
    with hold_lock(tmp_path / "out" / "_zoo" / "lock"), refused("output-busy", OutputError):
        zoo.predict_batch(model_file, images, tmp_path / "out", format="csv")


def test_only_parts_that_do_not_count_are_answered_again(model_file: Path, images: Path, tmp_path: Path) -> None:
    """A kill leaves a file without its record, or neither; a disk that was full leaves half of one."""
    place = tmp_path / "out"
    zoo.predict_batch(model_file, images, place, format="csv", part_size=9)
    expected = rows_of(place)
    files = part_files(place)
    (place / "manifest.json").unlink()
    next((place / "_zoo" / "done").glob("part-000001-*.json")).unlink()
    files[2].write_bytes(files[2].read_bytes()[:-5])
    files[3].unlink()
    (place / f".{files[3].name}.abc.part").write_bytes(b"half")
    os.utime(files[0], (1, 1))
    done = zoo.predict_batch(model_file, images, place, format="csv", resume=True)
    assert (done.answered, done.finished) == (27, True)
    assert rows_of(place) == expected
    assert files[0].stat().st_mtime == 1, "it was not written again"
    assert part_files(place) == files
    assert not list(place.glob(".*"))


def test_a_listing_that_was_not_finished_is_made_again(model_file: Path, images: Path, tmp_path: Path) -> None:
    place = tmp_path / "out"
    zoo.predict_batch(model_file, images, place, format="csv", part_size=9)
    expected = rows_of(place)
    for name in ("manifest.json", "_zoo/listing/index.json"):
        (place / name).unlink()
    shutil.rmtree(place / "_zoo" / "done")
    assert zoo.predict_batch(model_file, images, place, format="csv", resume=True).finished
    assert rows_of(place) == expected


def test_a_batch_that_was_killed_while_it_listed_is_listed_and_answered_in_one_folder(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: Any) -> None:
        raise KeyboardInterrupt

    ask = functools.partial(zoo.predict_batch, model_file, "images", tmp_path / "out", format="csv", resume=True)
    for home, colour in (("a", (250, 9, 9)), ("b", (9, 9, 250))):
        paint(tmp_path / home / "images" / "x.png", colour)
    monkeypatch.chdir(tmp_path / "a")
    with monkeypatch.context() as patch:
        patch.setattr(sources, "expand", kill)
        with pytest.raises(KeyboardInterrupt):
            ask()
    monkeypatch.chdir(tmp_path / "b")
    assert ask().finished
    rows = rows_of(tmp_path / "out")
    assert rows == table_of(model_file, "images", tmp_path / "b.csv")
    monkeypatch.chdir(tmp_path / "a")
    assert ask().answered == 0, "a finished batch is not listed again"
    for name in ("manifest.json", "_zoo/listing/index.json"):
        (tmp_path / "out" / name).unlink()
    assert ask().answered == 1, "the answer to an image of the other folder does not count"
    assert rows_of(tmp_path / "out") == table_of(model_file, "images", tmp_path / "a.csv") != rows


def test_a_damaged_listing_answers_nothing_wrong(model_file: Path, images: Path, tmp_path: Path) -> None:
    place = tmp_path / "out"
    zoo.predict_batch(model_file, images, place, format="csv", part_size=9)
    (place / "manifest.json").unlink()
    part_files(place)[1].unlink()
    chunk = place / "_zoo" / "listing" / "000000.jsonl"
    chunk.write_bytes(chunk.read_bytes().replace(b"10.png", b"13.png"))
    done = zoo.predict_batch(model_file, images, place, format="csv", resume=True)
    assert [failure.code for failure in done.failures] == ["resume-damaged"]
    assert not (place / "manifest.json").exists()


@pytest.fixture
def command(model_file: Path, images: Path, tmp_path: Path) -> list[str]:
    """A batch that takes seconds: forty images, listed many times."""
    with (tmp_path / "many.csv").open("w", newline="") as stream:
        names = sorted(str(path) for path in images.rglob("*.png"))
        csv.writer(stream).writerows([["image"], *([name] for _ in range(50) for name in names)])
    place = tmp_path / "out"
    verb = [sys.executable, "-m", "zoo_cli", "predict", str(model_file), str(tmp_path / "many.csv")]
    return [*verb, "--out", str(place), "--format", "csv", "--part-size", "20", "--resume"]


def started(command: list[str], place: Path, parts: int) -> subprocess.Popen[str]:
    """A batch of which so many parts are done."""
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while child.poll() is None and len(list(place.glob("part-*.csv"))) < parts:
        time.sleep(0.01)
    return child


def test_every_image_has_one_row_after_a_driver_was_killed(command: list[str], tmp_path: Path) -> None:
    place = tmp_path / "out"
    for parts in (1, 40):
        child = started(command, place, parts)
        child.kill()
        child.communicate()
        assert not (place / "manifest.json").exists()
    last = json.loads(subprocess.run([*command, "--json"], cwd=ROOT, capture_output=True, check=False).stdout)
    assert last["done"] == last["parts"] == 103
    assert last["answered"] <= 2050 - 39 * 20, "what was done is not done again"
    _, *rows = rows_of(place)
    with (tmp_path / "many.csv").open(newline="") as stream:
        assert [row[0] for row in rows] == [row[0] for row in csv.reader(stream)][1:]


def test_ctrl_c_says_how_to_continue(command: list[str], tmp_path: Path) -> None:
    child = started(command, tmp_path / "out", 2)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "--resume" in said
    assert "Traceback" not in said


class _Failing(http.server.SimpleHTTPRequestHandler):
    """A server that fails over one image, as a network does."""

    broken = True

    def do_GET(self) -> None:
        if self.broken and self.path.endswith("/7.png"):
            self.send_error(503)
        else:
            super().do_GET()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server(images: Path) -> Iterator[tuple[str, type[_Failing]]]:
    kind = type("Failing", (_Failing,), {})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(kind, directory=str(images))) as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}", kind
        served.shutdown()
        thread.join()


def test_a_network_that_fails_is_never_the_answer_to_an_image(
    model_file: Path, server: tuple[str, type[_Failing]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fsspec", reason="URLs need fsspec")
    pytest.importorskip("aiohttp", reason="http:// needs aiohttp")
    monkeypatch.setattr(_urls, "_WAIT", 0.01)
    address, kind = server
    (tmp_path / "urls.csv").write_text(
        "\n".join(["image", *(f"{address}/{at % 3}/{at}.png" for at in range(12)), f"{address}/gone.png"])
    )
    ask = functools.partial(zoo.predict_batch, model_file, tmp_path / "urls.csv", tmp_path / "out", format="csv")
    done = ask(part_size=4)
    assert [(failure.part, failure.code) for failure in done.failures] == [(1, "remote-unreachable")]
    assert (done.done, done.parts) == (3, 4)
    assert not (tmp_path / "out" / "manifest.json").exists()
    kind.broken = False
    done = ask(resume=True)
    assert (done.answered, done.finished) == (4, True)
    _, *rows = rows_of(tmp_path / "out")
    assert len(rows) == 13
    assert [row[0].rpartition("/")[2] for row in rows if row[-1]] == ["0.png", "gone.png"], "the broken, the missing"


@pytest.mark.parametrize("refusal", ["one", "all", "expired"])
def test_an_image_that_may_not_be_read_is_a_row_unless_the_credentials_are_refused(
    model_file: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: str
) -> None:
    memory = pytest.importorskip("fsspec.implementations.memory", reason="URLs need fsspec")
    store = {f"/scans/{at}.png": (images / str(at % 3) / f"{at}.png").read_bytes() for at in range(1, 13)}
    monkeypatch.setattr(memory.MemoryFileSystem, "store", {})
    for name, data in store.items():
        memory.MemoryFileSystem().pipe_file(name, data)
    (tmp_path / "urls.csv").write_text("\n".join(["image", *(f"memory:/{name}" for name in store)]))
    cat, reads = memory.MemoryFileSystem.cat_file, list[str]()

    def read(self: Any, path: str, **how: Any) -> bytes:
        reads.append(path)
        if {"one": path.endswith(("/1.png", "/12.png")), "all": True, "expired": len(reads) > 5}[refusal]:
            raise PermissionError("Access Denied")
        data: bytes = cat(self, path, **how)
        return data

    ask = functools.partial(
        zoo.predict_batch, model_file, tmp_path / "urls.csv", tmp_path / "out", format="csv", resume=True
    )
    with monkeypatch.context() as patch:
        patch.setattr(memory.MemoryFileSystem, "cat_file", read)
        done = ask()
    assert [failure.code for failure in done.failures] == ([] if refusal == "one" else ["remote-denied"])
    done = ask()
    assert (done.finished, done.failed) == (True, 2 if refusal == "one" else 0)
    refused_names = [row[0] for row in rows_of(tmp_path / "out")[1:] if row[-1]]
    assert refused_names == (["memory://scans/1.png", "memory://scans/12.png"] if refusal == "one" else [])


@pytest.mark.parametrize(("status", "code"), [(403, "remote-denied"), (503, "remote-unreachable")])
@pytest.mark.parametrize("name", ["shard.tar", "urls.csv", "folder"])
def test_a_store_that_refuses_to_list_is_told_and_leaves_nothing(
    model_file: Path, server: tuple[str, type[_Failing]], tmp_path: Path, name: str, status: int, code: str
) -> None:
    pytest.importorskip("fsspec", reason="URLs need fsspec")
    pytest.importorskip("aiohttp", reason="http:// needs aiohttp")
    address, kind = server
    kind.do_GET = kind.do_HEAD = lambda self: self.send_error(status)  # type: ignore[method-assign, misc]
    for _ in range(2):
        with refused(code, DataError):
            zoo.predict_batch(model_file, f"{address}/{name}", tmp_path / "out", format="csv")
        assert not (tmp_path / "out").exists(), "the next call is not refused as unfinished"


def test_a_tar_at_a_signed_address_is_a_tar(images: Path, server: tuple[str, type[_Failing]], tmp_path: Path) -> None:
    pytest.importorskip("aiohttp", reason="http:// needs aiohttp")
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        tar.add(images, "images")
    address, kind = server
    kind.translate_path = lambda *_: str(tmp_path / "set.tar")  # type: ignore[method-assign, assignment]
    found = list(sources.list_images([f"{address}/set.tar?X-Amz-Signature=a"], None))
    assert len(found) == len([path for path in images.rglob("*") if path.is_file()])


def test_an_error_of_any_client_is_told_and_leaves_nothing(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = pytest.importorskip("fsspec.implementations.memory", reason="URLs need fsspec")
    missing = type("NoCredentialsError", (Exception,), {})

    def refuse(*_: Any, **__: Any) -> None:
        raise missing("Unable to locate credentials")

    for name in ("ls", "walk", "open", "get_file", "glob"):
        monkeypatch.setattr(memory.MemoryFileSystem, name, refuse)
    for source in ("folder", "*.png", "shard.tar", "urls.csv"):
        with refused("remote-denied", DataError):
            zoo.predict_batch(model_file, f"memory://{source}", tmp_path / "out", format="csv")
        assert not (tmp_path / "out").exists()


def test_a_defect_of_listing_leaves_nothing(
    model_file: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(sources, "expand", fail)
        with pytest.raises(ZeroDivisionError):
            zoo.predict_batch(model_file, images, tmp_path / "out", format="csv")
    assert zoo.predict_batch(model_file, images, tmp_path / "out", format="csv").finished


@pytest.fixture
def bucket() -> Iterator[Any]:
    with s3_bucket() as system:
        yield system


def test_object_storage_is_read_and_written(model_file: Path, images: Path, tmp_path: Path, bucket: Any) -> None:
    _, *expected = table_of(model_file, images, tmp_path / "whole.csv")
    answers = sorted(row[1:] for row in expected)
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        tar.add(images, ".")
    names = [str(path.relative_to(images)) for path in images.rglob("*.png")]
    (tmp_path / "names.csv").write_text("\n".join(["image", *(f'"{one}"'.replace('"b"', '""b""') for one in names)]))
    bucket.put(str(images), "bucket/images", recursive=True)
    bucket.put(str(tmp_path / "shard.tar"), "bucket/shards/shard.tar")
    bucket.put(str(tmp_path / "names.csv"), "bucket/images/names.csv")
    for number, source in enumerate(("images", "shards", "shards/*.tar", "images/names.csv")):
        place = f"s3://bucket/out-{number}"
        ask = functools.partial(zoo.predict_batch, model_file, f"s3://bucket/{source}", place, format="csv")
        assert ask(part_size=9).finished
        _, *rows = read_rows(lambda name, place=place: bucket.cat(f"{place}/{name}"))  # type: ignore[misc]
        assert sorted(row[1:] for row in rows) == answers, source
        assert all(row[0].startswith("s3://bucket/") for row in rows)
    bucket.rm(f"{place}/manifest.json")
    bucket.rm(bucket.glob(f"{place}/part-000002-*.csv"))
    assert ask(resume=True).answered == 9
    with refused("out-occupied", OutputError):
        ask()


def test_secrets_of_a_url_are_in_no_row() -> None:
    shown = show_place("https://user:pass@host/a.png?X-Amz-Signature=abc")
    assert shown == "https://host/a.png"
    assert show_place("https://host/a?id=3") == "https://host/a?id=3"
    signed = "X-Amz-Credential=a&X-Amz-Security-Token=b&X-Amz-Date=c&X-Amz-Signature=d"
    for secret in (signed, "sv=1&se=2&sig=3", "AWSAccessKeyId=a&Expires=1&Signature=b", "api_key=a", "accessToken=b",
                   "access%5Ftoken=c", "Password=d"):  # fmt: skip
        shown = show_place(f"https://user:p@ss@host/a?id=1&{secret}&design=a#b")
        assert shown == "https://host/a?id=1&design=a#b"
    assert show_url("https://user:p@ss@host/a@b") == "https://host/a@b"
    asked = "https://host/a?id=1&design=a&author=b&keyword=c&monkey=d&se=1&expires=2"
    assert show_place(asked) == asked, "it tells images apart"
    assert show_place("images/a@b?key=1") == "images/a@b?key=1", "a file may be called so"


def test_secrets_of_a_place_are_in_no_error() -> None:
    memory = pytest.importorskip("fsspec.implementations.memory", reason="URLs need fsspec")
    place = Place("memory://user:pass@out")
    for name in ("manifest.json", "_zoo/begun.json", "_zoo/listing/index.json"):
        place.write(name, b"{")
    unfinished = ledger.Begun(
        version="",
        name="",
        model="",
        form="csv",
        columns=(),
        provider="cpu",
        frame=None,
        part_size=1,
        sources=(),
        home="",
    )
    for read in (functools.partial(ledger.read_finished, begun=unfinished), listing.open_listing,
                 functools.partial(ledger.begin, wanted=unfinished, resume=True, overwrite=False)):  # fmt: skip
        with refused("document-malformed", ResumeError) as caught:
            read(place)
        assert "pass" not in str(caught.value)
    memory.MemoryFileSystem.store.clear()


@pytest.mark.parametrize(("threads", "provider"), [(3, "cpu"), (None, "cuda"), (1, "tensorrt")])
def test_an_actor_that_no_node_has_room_for_is_refused(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int | None, provider: str
) -> None:
    """Ray itself would wait for such a node for ever."""
    nodes = [{"Alive": True, "Resources": {"CPU": 2.0}}, {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}]
    ray = types.SimpleNamespace(nodes=lambda: nodes * 2, put=lambda held: held)
    monkeypatch.setattr(engines, "connect", lambda _: contextlib.nullcontext(ray))
    job = Job(place=str(tmp_path), form="csv", threads=threads, provider=provider)
    expected = {"cpus": threads or 1, "gpus": int(provider != "cpu"), "most_cpus": 2, "most_gpus": 0}
    with (
        refused("engine-resources", UsageError, **expected),
        engines.open_on_ray(job, open_model(model_file), None, 0),
    ):
        pass


@pytest.mark.parametrize("broken", ["from_items", "map_batches"])
def test_a_connection_to_ray_that_is_lost_before_the_first_row_loses_parts_and_raises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    lost = type("RayError", (Exception,), {})

    def fail(*_: Any, **__: Any) -> None:
        raise lost("the connection is lost")

    waiting = types.SimpleNamespace(map_batches=fail)
    ray = types.ModuleType("ray")
    data: Any = types.ModuleType("ray.data")
    errors: Any = types.ModuleType("ray.exceptions")
    ray.data, data.ActorPoolStrategy, errors.RayError = data, dict, lost
    data.from_items = fail if broken == "from_items" else lambda *_, **__: waiting
    settings = {"max_errored_blocks": 0, "enable_progress_bars": True, "print_on_execution_start": True}
    data.DataContext = types.SimpleNamespace(get_current=lambda: types.SimpleNamespace(**settings))
    for module in (ray, data, errors):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    job = Job(place=str(tmp_path), form="csv", threads=1)
    assert list(engines._run_on_ray(job, None, 1, [listing.Part(0, 0, 0, 9, 1, "")])) == []


def answer(worker: engines.Answerer, part: listing.Part) -> engines.Outcome:
    """What an actor says of a part."""
    said = worker({"part": [msgspec.json.encode(part)]})["outcome"][0]
    return msgspec.json.decode(said, type=engines.Outcome)


@pytest.fixture
def worker(model_file: Path, tmp_path: Path) -> engines.Answerer:
    start = ledger.name_start()
    ledger.take_over(Place(str(tmp_path / "out")), start)
    job = Job(place=str(tmp_path / "out"), form="csv", batch="ours", start=start)
    return engines.Answerer(job, open_model(model_file), zoo.__version__)


def test_a_node_that_does_not_see_the_listing_says_so(worker: engines.Answerer) -> None:
    outcome = answer(worker, listing.Part(0, 0, 0, 9, 1, ""))
    assert outcome.error is not None
    assert (outcome.error["code"], outcome.error["type"], outcome.final) == ("engine-storage", "UsageError", True)


def test_an_actor_answers_a_defect_with_an_outcome(
    worker: engines.Answerer, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    part = listing.Part(0, 0, 0, 9, 1, "")
    start = (tmp_path / "out" / "_zoo" / "start").read_text()
    (tmp_path / "out" / ledger.BEGINNINGS / f"{part.name}-{start}").mkdir(parents=True)
    outcome = answer(worker, part)
    assert outcome.error is not None
    assert (outcome.error["code"], outcome.final) == ("output-unwritable", True), "its tries cannot be counted"
    monkeypatch.setattr(engines, "answer_part", fail)
    outcome = answer(worker, listing.Part(1, 0, 0, 9, 1, ""))
    assert outcome.error is not None
    assert (outcome.error["code"], outcome.error["type"], outcome.final) == ("part-failed", "DataError", False)
    monkeypatch.setattr(engines, "open_runtime", fail)
    job = Job(place=str(tmp_path / "out"), form="csv")
    outcome = answer(engines.Answerer(job, open_model(model_file), zoo.__version__), part)
    assert outcome.error is not None
    assert (outcome.error["code"], outcome.final) == ("part-failed", True)


def test_a_batch_of_nothing_is_refused(model_file: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for source, code in (("empty", "data-empty"), ("missing", "file-missing"), ("away.tar", "file-missing")):
        with refused(code, DataError):
            zoo.predict_batch(model_file, tmp_path / source, tmp_path / "out", format="csv")
        assert not (tmp_path / "out").exists(), "nothing is left of it"


def test_an_empty_folder_of_the_user_outlives_a_refusal(model_file: Path, tmp_path: Path) -> None:
    for name in ("empty", "out"):
        (tmp_path / name).mkdir()
    with refused("data-empty", DataError):
        zoo.predict_batch(model_file, tmp_path / "empty", tmp_path / "out", format="csv")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_cannot_be_listed_is_not_called_empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: Any) -> None:
        raise DataError("it cannot be read", code="file-unreadable")

    monkeypatch.setattr(sources, "expand", fail)
    with refused("file-unreadable", DataError):
        list(sources.list_images([str(tmp_path)], None))


def test_a_size_that_could_not_be_asked_for_does_not_hinder_a_resumed_call(
    model_file: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "names.tab"
    table.write_text("\n".join(["image\tsite", *(f"{path}\ta" for path in sorted(images.rglob("[1-9].png")))]))
    ask = functools.partial(zoo.predict_batch, model_file, table, tmp_path / "out", format="csv")
    assert ask().images == 9
    with monkeypatch.context() as patch:
        patch.setattr(sources, "size_of_source", lambda _: None)
        assert ask(resume=True).finished
    table.write_text(table.read_text() + "\n")
    with refused("resume-differs", ResumeError, what="sources"):
        ask(resume=True)


def test_a_table_gives_its_columns_to_a_model_that_takes_them(tmp_path: Path) -> None:
    make_file(tmp_path / "model.onnx")
    cells = {"age": ["61", "NA", "30"], "sex": ["F", "x", ""], "dose": ["2", "2.5", "1"]}
    table = write_table(tmp_path / "images", cells, ["benign", "malign", "benign"])
    runtime = Runtime.open(tmp_path / "model.onnx")
    given, rows = find_columns(runtime.manifest, [str(table)], None)
    list(predict_csv(runtime, given, tmp_path / "whole.csv", columns=rows))
    assert zoo.predict_batch(tmp_path / "model.onnx", table, tmp_path / "out", format="csv", part_size=2).finished
    assert rows_of(tmp_path / "out") == read_csv((tmp_path / "whole.csv").read_bytes())
    with refused("inputs-missing", DataError):
        zoo.predict_batch(tmp_path / "model.onnx", tmp_path / "images", tmp_path / "other", format="csv")


@pytest.mark.parametrize(("code", "answers"), [("image-memory", 4), ("image-decoder-killed", 3), ("image-damaged", 1)])
def test_a_resumed_batch_tries_again_what_may_be_sound(
    model_file: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, answers: int
) -> None:
    """Want of memory on one night was the last word on a scan, whatever was resumed."""
    expected, place, real, asked = (
        table_of(model_file, images, tmp_path / "whole.csv"),
        tmp_path / "out",
        Intake.read,
        [],
    )
    poor = sorted(images.rglob("*.png"))[3]

    def read(intake: Intake, source: Any, **how: Any) -> Any:
        if str(source) == str(poor):
            asked.append(source)
            raise ImageError(None, "failed", code=code)
        return real(intake, source, **how)

    def go() -> zoo.BatchResult:
        return zoo.predict_batch(model_file, images, place, format="csv", part_size=9, resume=True)

    with monkeypatch.context() as patch:
        patch.setattr(Intake, "read", read)
        for call in range(1, 5):
            done = go()
            assert (done.failed, done.finished, done.answered) == (2, True, 41 if call == 1 else 9 * (call <= answers))
            assert done.again == (code == "image-memory" or call < answers)
        assert len(asked) == answers
    done = go()
    assert (done.failed, done.again) == ((1, 0) if code == "image-memory" else (2, 0))
    assert (rows_of(place) == expected) is (code == "image-memory")
    assert len(part_files(place)) == 5
