"""A batch takes what `zoo data shard` wrote beside its shards, and reads no shard to list it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import buckets
import pytest
from batches import read_csv, rows_of, table_of
from refusals import refused

import zoo
from zoo.errors import DataError
from zoo.workflow._batch import sources

if TYPE_CHECKING:
    from batches import Rows


@pytest.fixture
def sharded(scenes: Path, tmp_path: Path) -> Path:
    zoo.shard(scenes, tmp_path / "set", images=9)
    return tmp_path / "set"


def answers_of(rows: Rows, start: str) -> dict[str, list[str]]:
    """The rows by the name that each image has in its set."""
    return {row[0].removeprefix(start).partition(".tar/")[2] or row[0].removeprefix(start): row[1:] for row in rows}


@pytest.mark.parametrize("form", ["{}", "{}/*.tar", "{}/train-000000.tar"])
def test_the_index_of_shards_lists_them(
    model_file: Path, scenes: Path, sharded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    _, *expected = table_of(model_file, scenes, tmp_path / "whole.csv")
    whole = answers_of(expected, f"{scenes}/")
    with monkeypatch.context() as patch:
        patch.setattr(sources, "_list_members", lambda _: pytest.fail("a shard was read"))
        source = f"file://{form.format(sharded)}" if "*" in form else form.format(sharded)
        done = zoo.predict_batch(model_file, source, tmp_path / "out", format="csv", part_size=7)
    assert done.failed == 0
    _, *rows = rows_of(tmp_path / "out")
    found = answers_of(rows, f"{sharded}/")
    assert len(rows) == len(found) == (9 if "000000" in form else len(whole))
    assert found.items() <= whole.items()


def test_listing_shards_of_a_store_fetches_few_bytes(
    bucket: buckets.Bucket, sharded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    url = bucket.put_folder(sharded, "set")
    wire = buckets.Wire(bucket.address)
    monkeypatch.setenv("AWS_ENDPOINT_URL", wire.address)
    s3fs.S3FileSystem.clear_instance_cache()
    there = list(sources.list_images([url], None))
    s3fs.S3FileSystem.clear_instance_cache()
    wire.close()
    assert wire.passed < sum(path.stat().st_size for path in sharded.glob("*.tar")) / 3
    here = list(sources.list_images([str(sharded)], None))
    assert [(one.start, one.size) for one in there] == [(one.start, one.size) for one in here]
    assert [one.image.removeprefix(url) for one in there] == [one.image.removeprefix(str(sharded)) for one in here]


def test_a_shard_of_another_size_or_a_changed_index_is_refused(model_file: Path, sharded: Path, tmp_path: Path) -> None:
    first = sharded / "train-000000.tar"
    first.write_bytes(first.read_bytes() + bytes(512))
    with refused("shard-changed", DataError):
        zoo.predict_batch(model_file, sharded, tmp_path / "out", format="csv")
    listed = sharded / "val-000000.index"
    listed.write_bytes(listed.read_bytes()[:-1] + b"\0")
    with refused("shard-index", DataError):
        zoo.predict_batch(model_file, sharded / "val-000000.tar", tmp_path / "out", format="csv")
    assert not (tmp_path / "out").exists()


def test_shards_without_their_index_are_listed_by_their_headers(
    model_file: Path, sharded: Path, tmp_path: Path
) -> None:
    (sharded / "index.json").unlink()
    done = zoo.predict_batch(model_file, sharded, tmp_path / "out", format="csv")
    assert (done.images, done.failed) == (80, 0)
    assert read_csv(next((tmp_path / "out").glob("part-*")).read_bytes())[1][0].endswith("/000000000.jpg")
