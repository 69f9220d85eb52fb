"""`--data s3://…`: what is read from a store is what is read from the disk."""

from __future__ import annotations

import io
import json
import os
from http.server import SimpleHTTPRequestHandler
from typing import TYPE_CHECKING

import buckets
import numpy as np
import pytest
from PIL import Image

import zoo
from zoo.data import describe_data, open_data
from zoo.data._sources.remote import bring_listed
from zoo.errors import ZooError
from zoo.workflow._images import lasting_source

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ZOO_CACHE_GB", "1")


def test_a_folder_in_a_store_has_the_fingerprint_and_the_splits_of_the_disk(
    bucket: buckets.Bucket, scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = bucket.put_folder(scenes, "sets/scenes")
    here, there = open_data(scenes), open_data(url)
    assert there.fingerprint == here.fingerprint
    assert list(there.train.ids) == list(here.train.ids)
    assert np.array_equal(there.test.digests, here.test.digests)
    assert describe_data(f"{url}/train").splits == {}
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    assert open_data(url).fingerprint == here.fingerprint


def test_a_table_in_a_store_brings_the_images_it_names_and_no_others(
    bucket: buckets.Bucket, tabled: Path, tmp_path: Path
) -> None:
    url = bucket.put_folder(tabled, "tables/one")
    bucket.put("tables/one/other/large.bin", bytes(100_000))
    assert open_data(f"{url}/labels.csv").fingerprint == open_data(tabled / "labels.csv").fingerprint
    assert not list((tmp_path / "home").rglob("large.bin"))


def test_a_table_on_a_web_server_brings_its_images(tabled: Path) -> None:
    with buckets.serve_files(tabled) as address:
        mark = open_data(tabled / "labels.csv").fingerprint
        assert open_data(f"{address}/labels.csv").fingerprint == mark
        assert open_data(f"{address}/").fingerprint.sha256 == open_data(tabled).fingerprint.sha256


@pytest.mark.parametrize("place", ["here", "there"])
def test_a_table_may_name_images_by_addresses(bucket: buckets.Bucket, tabled: Path, tmp_path: Path, place: str) -> None:
    bucket.put_folder(tabled, "tables/full")
    header, *lines = (tabled / "labels.csv").read_text("utf-8").splitlines()
    text = "\n".join([header, *(f"s3://{bucket.name}/tables/full/{line}" for line in lines)])
    table: str | Path = tmp_path / "labels.csv"
    (tmp_path / "labels.csv").write_text(text, "utf-8")
    if place == "there":
        bucket.put("elsewhere/labels.csv", text.encode())
        table = f"s3://{bucket.name}/elsewhere/labels.csv"
    assert open_data(table).fingerprint == open_data(tabled / "labels.csv").fingerprint


class _ByQuery(SimpleHTTPRequestHandler):
    """Serves a picture of the shade that the query asks for: one path, and no mark that tells them apart."""

    def do_GET(self) -> None:
        data = io.BytesIO()
        Image.new("RGB", (8, 8), (int(self.path.partition("id=")[2].partition(",")[0]),) * 3).save(data, "bmp")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(data.getvalue())


def test_addresses_that_differ_in_their_query_are_different_images(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    with buckets.serve_files(tmp_path, _ByQuery) as address:
        site = address.replace("http://", "http://me:secret@")
        for shades in ((0, 40, 80, 120), (40, 0, 80, 120), (200,), (100,)):
            lines = (f'"{site}/get.png?id={shade},secret",{"ab"[at % 2]}\n' for at, shade in enumerate(shades))
            table.write_text("image,label\n" + "".join(lines), "utf-8")
            again = bring_listed(table)
            assert again is not None
            text = again.read_text("utf-8")
            names = [line.partition(",")[0] for line in text.splitlines()[1:]]
            found = [Image.open(again.parent / name).getpixel((0, 0)) for name in names]
            assert found == [(shade,) * 3 for shade in shades]
            assert "secret" not in text


def test_splits_of_a_store_are_written_as_addresses(bucket: buckets.Bucket, scenes: Path, tmp_path: Path) -> None:
    url = bucket.put_folder(scenes / "train", "loose")
    made = zoo.split(url, tmp_path / "splits.csv")
    assert f"{url}/china/" in (tmp_path / "splits.csv").read_text("utf-8")
    assert open_data(made.path).fingerprint.splits == made.parts
    names = sorted(path.relative_to(scenes / "train").as_posix() for path in (scenes / "train").rglob("*.jpg"))
    lines = ["image,label", *(f"{name},{name.partition('/')[0]}" for name in names)]
    bucket.put("loose/labels.csv", "\n".join(lines).encode())
    for source in (f"{url}/labels.csv", url):  # a table, and a folder that is the table in it
        zoo.split(source, tmp_path / "splits.csv", overwrite=True)
        assert f"{url}/china/" in (tmp_path / "splits.csv").read_text("utf-8")


def test_an_archive_comes_from_memory_too(published: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("memory").pipe_file("/sets/one.npz", published.read_bytes())
    assert open_data("memory://sets/one.npz").fingerprint.sha256 == open_data(published).fingerprint.sha256
    assert open_data(f"file://{published}").fingerprint == open_data(published).fingerprint


def test_a_run_of_a_store_records_its_address_and_is_judged_by_it(
    bucket: buckets.Bucket, scenes: Path, tmp_path: Path
) -> None:
    url = bucket.put_folder(scenes, "sets/trained")
    result = zoo.train("logistic_regression", url, size=8, out=tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_bytes())
    assert record["source"] == url
    assert record["data"]["sha256"] == open_data(scenes).fingerprint.sha256
    assert zoo.evaluate(result.run).data == open_data(url).fingerprint


def test_the_audit_finds_a_copy_that_rotted_with_its_time_kept(
    bucket: buckets.Bucket, scenes: Path, tmp_path: Path
) -> None:
    url = bucket.put_folder(scenes, "audited")
    open_data(url)
    path = next((tmp_path / "home").rglob("*.jpg"))
    then, sound = path.stat(), path.read_bytes()
    path.write_bytes(bytes(len(sound)))
    os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))
    assert not [one for one in zoo.check(url).findings if one.kind == "unreadable"]
    assert path.read_bytes() == sound


def test_an_address_is_recorded_without_its_secrets() -> None:
    assert lasting_source("https://me:secret@host/a.npz?signature=secret") == "https://host/a.npz"


def test_missing_data_in_a_store_is_one_typed_error(bucket: buckets.Bucket) -> None:
    with pytest.raises(ZooError) as caught:
        open_data(f"s3://{bucket.name}/sets/nothing")
    assert caught.value.code == "remote-missing"
