"""`zoo data shard`: shards with an index are the set that they were made of, and nothing else passes for it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from typing import TYPE_CHECKING, Any

import buckets
import msgspec
import numpy as np
import pytest
from noted import noted
from painted import write_dicom
from PIL import Image
from refusals import refused

import zoo
from zoo.data import _cache, _decode, carry_out, decode_all, open_data, plan_decoding
from zoo.data._named import index
from zoo.data._sources import tars
from zoo.data._sources.shard_index import Listing
from zoo.data._stream import StreamedRows
from zoo.errors import DataError, ImageError, OutputError, UsageError, ZooError
from zoo.spec import PreprocessSpec, Reading, Scale

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.data import Splits

SMALL = PreprocessSpec(
    size=(8, 8), channels="rgb", intensity=Scale(255), resize="stretch", mean=(0.5,) * 3, std=(0.5,) * 3
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ZOO_CACHE_GB", "1")


@pytest.fixture(scope="module")
def sharded(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes in shards of 9 images; not to be changed."""
    out = tmp_path_factory.mktemp("sharded") / "set"
    zoo.shard(scenes, out, images=9)
    return out


@pytest.fixture
def own(sharded: Path, tmp_path: Path) -> Path:
    """The same shards, to be changed."""
    (tmp_path / "own").mkdir()
    for path in sharded.iterdir():
        (tmp_path / "own" / path.name).write_bytes(path.read_bytes())
    return tmp_path / "own"


def _all(splits: Splits) -> list[Any]:
    return [
        (name, list(map(bytes, images.digests)), images.targets.tolist())
        for name, images in (("train", splits.train), ("val", splits.val), ("test", splits.test))
    ]


def test_shards_are_the_set_that_they_were_made_of(scenes: Path, sharded: Path) -> None:
    here, there = open_data(scenes), open_data(sharded)
    assert there.fingerprint == here.fingerprint
    assert sorted(there.train.ids) == sorted(here.train.ids)
    assert list(there.train.ids) != list(here.train.ids)  # mixed
    for name, digests, _ in _all(there):
        assert sorted(digests) == sorted(map(bytes, here.split(name).digests))
    assert there.train.blocks is not None
    assert np.unique(there.train.blocks).tolist() == [0, 1, 2, 3, 4]
    assert here.train.blocks is None


def test_files_keep_their_bytes_and_any_program_reads_the_shards(scenes: Path, sharded: Path) -> None:
    wanted = {hashlib.sha256(path.read_bytes()).digest() for path in scenes.rglob("*.jpg")}
    found = set()
    for path in sharded.glob("*.tar"):
        with tarfile.open(path) as tar:
            names = tar.getnames()
            for image, label in zip(names[::2], names[1::2], strict=True):
                assert image.partition(".")[0] == label.partition(".")[0]
                assert (image.endswith(".jpg"), label.endswith(".cls")) == (True, True)
                stream = tar.extractfile(image)
                assert stream is not None
                found.add(hashlib.sha256(stream.read()).digest())
    assert found == wanted
    assert (sharded / "classes.txt").read_text("utf-8").split() == list(open_data(scenes).labels)


def test_without_the_index_they_are_plain_webdataset_shards(scenes: Path, own: Path) -> None:
    (own / "index.json").unlink()
    assert open_data(own).fingerprint.sha256 == open_data(scenes).fingerprint.sha256


def test_one_seed_gives_the_same_bytes_and_another_seed_others(scenes: Path, sharded: Path, tmp_path: Path) -> None:
    zoo.shard(scenes, tmp_path / "again", images=9)
    zoo.shard(scenes, tmp_path / "other", images=9, seed=1)
    for path in sharded.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
    first = "train-000000.tar"
    assert (tmp_path / "other" / first).read_bytes() != (sharded / first).read_bytes()
    assert open_data(tmp_path / "other").fingerprint == open_data(sharded).fingerprint


def test_opening_reads_no_shard(sharded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tars, "_read", lambda *_: pytest.fail("a shard was read"))
    opened = []
    real = type(sharded).open
    monkeypatch.setattr(type(sharded), "open", lambda self, *a, **k: opened.append(self.name) or real(self, *a, **k))
    open_data(sharded)
    assert not [name for name in opened if name.endswith(".tar")]


def test_splits_that_are_made_groups_and_columns_are_those_of_the_table(tabled: Path, tmp_path: Path) -> None:
    lines = ["image,label,patient,site,age"]
    for number, path in enumerate(sorted((tabled / "train").rglob("*.png"))):
        lines.append(f"train/{path.parent.name}/{path.name},{path.parent.name},p{number // 2},s{number % 3},{number}")
    table = tabled / "grouped.csv"
    table.write_text("\n".join(lines), "utf-8")
    try:
        here = open_data(table)
        zoo.shard(table, tmp_path / "out", images=7)
    finally:
        table.unlink()
    there = open_data(tmp_path / "out")
    assert there.fingerprint == here.fingerprint
    assert set(there.test.ids) == set(here.test.ids)
    told = dict(zip(here.test.ids, zip(here.test.kept["site"], here.test.kept["age"], strict=True), strict=True))
    assert all(
        told[name] == (site, age)
        for name, site, age in zip(there.test.ids, there.test.kept["site"], there.test.kept["age"], strict=True)
    )
    assert there.train.groups is not None
    with tarfile.open(tmp_path / "out" / "data-000000.tar") as tar:
        stream = tar.extractfile(next(name for name in tar.getnames() if name.endswith(".json")))
        assert stream is not None
        assert {"patient", "site", "age"} <= json.loads(stream.read()).keys() | {"patient"}
    asked = open_data(tmp_path / "out", inputs=("age",))
    assert set(asked.train.columns) == {"age"}


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A table with columns beside its images, and shards of it; not to be changed."""
    root = tmp_path_factory.mktemp("described")
    rng = np.random.default_rng(0)
    lines = ["image,label,patient_id,split,Patient Age,ward,bmi,site,Hospital"]
    for at in range(24):
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(root / f"{at}.png")
        bmi = "NA" if at % 5 == 0 else 20 + at
        split = ("train", "train", "val", "test")[at // 6]
        lines.append(f"{at}.png,{'ab'[at % 2]},p{at // 3},{split},{40 + at},{at % 4},{bmi},s{at % 2},h{at % 3}")
    (root / "table.csv").write_text("\n".join(lines), "utf-8")
    zoo.shard(root / "table.csv", root / "set", images=7)
    return root / "table.csv", root / "set"


@pytest.mark.parametrize("keep_na", [None, True])
@pytest.mark.parametrize(
    "asked",
    [
        ("ward",),
        ("ward:category", "BMI:optional"),
        ("age",),
        ("Patient Age", "bmi"),
        ("patient_age:category",),
        ("hospital", "site"),
    ],
    ids=" ".join,
)
def test_shards_give_a_model_the_columns_of_their_table(
    described: tuple[Path, Path], asked: tuple[str, ...], keep_na: bool | None
) -> None:
    here, there = (index(place, inputs=asked, keep_na=keep_na) for place in described)
    told = [
        {name: dict(zip(pool.ids, cells, strict=True)) for name, cells in pool.inputs.items()} for pool in (here, there)
    ]
    assert told[0] == told[1]
    assert len(told[0]) == len(asked)
    assert noted(there.notes, "'NA'", "empty") == noted(here.notes, "'NA'", "empty")


@pytest.mark.parametrize(
    ("asked", "code", "fields"),
    [
        (("patient_id",), "inputs-role", {"role": "group"}),
        (("weight",), "inputs-missing", {"columns": ["weight"]}),
        (("bmi", "BMI:optional"), "inputs-twice", {"column": "bmi"}),
    ],
)
def test_shards_refuse_the_columns_that_their_table_refuses(
    described: tuple[Path, Path], asked: tuple[str, ...], code: str, fields: dict[str, Any]
) -> None:
    for place in described:
        with refused(code, **fields):
            index(place, inputs=asked)
    with refused("inputs-role", role="group"):
        index(described[1], inputs=("group",))


def test_arrays_and_several_labels_are_sharded_too(published: Path, tmp_path: Path) -> None:
    zoo.shard(published, tmp_path / "arrays", images=40)
    here, there = open_data(published), open_data(tmp_path / "arrays")
    assert there.fingerprint == here.fingerprint
    at = {bytes(digest): i for i, digest in enumerate(here.test.digests)}
    for i in range(5):
        wanted = here.test.read(at[bytes(there.test.digests[i])])
        assert np.array_equal(there.test.read(i).pixels, wanted.pixels)
    rng = np.random.default_rng(0)
    lines = ["image,label:one,label:two"]
    for number in range(40):
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{number % 2},{(number // 2) % 2 if number % 5 else -1}")
    (tmp_path / "labels.csv").write_text("\n".join(lines), "utf-8")
    zoo.shard(tmp_path / "labels.csv", tmp_path / "several", images=11)
    for uncertain in ("ignore", "positive"):
        read = {"uncertain": uncertain}
        mark = open_data(tmp_path / "labels.csv", **read).fingerprint  # type: ignore[arg-type]
        assert open_data(tmp_path / "several", **read).fingerprint == mark  # type: ignore[arg-type]


def test_size_bounds_a_shard(scenes: Path, tmp_path: Path) -> None:
    made = zoo.shard(scenes, tmp_path / "out", size=20_000)
    assert len(made.shards) > 3
    assert max(one.size for one in made.shards) < 24_000
    with pytest.raises(UsageError) as caught:
        zoo.shard(scenes, tmp_path / "two", size=1, images=1)
    assert caught.value.code == "option-conflict"


def _spoil(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_an_index_that_cannot_be_used_is_written_anew_where_that_is_asked_for(scenes: Path, own: Path) -> None:
    """The refusal of such an index names this command."""
    before = (own / "index.json").read_bytes()
    (own / "index.json").write_bytes(before.replace(b'"schema": 3', b'"schema": 1'))
    with pytest.raises(DataError):
        zoo.shard(scenes, own, images=9)
    zoo.shard(scenes, own, images=9, overwrite=True)
    assert (own / "index.json").read_bytes() == before


@pytest.mark.parametrize("name", ["index.json", "train-000000.index"])
def test_an_index_that_was_changed_is_refused(own: Path, name: str) -> None:
    text = (own / name).read_bytes()
    spoiled = text.replace(b'"images": 9', b'"images": 8', 1) if name == "index.json" else text[:-1] + b"\0"
    assert spoiled != text
    (own / name).write_bytes(spoiled)
    with pytest.raises(DataError) as caught:
        open_data(own)
    assert caught.value.code == "shard-index"


def test_a_shard_of_another_size_or_none_is_refused(own: Path) -> None:
    path = own / "val-000000.tar"
    path.write_bytes(path.read_bytes() + bytes(512))
    with pytest.raises(DataError) as caught:
        open_data(own)
    assert caught.value.code == "shard-changed"
    path.unlink()
    with pytest.raises(DataError) as caught:
        open_data(own)
    assert caught.value.code == "shard-missing"


def test_one_flipped_bit_of_an_image_is_found_when_it_is_read(own: Path) -> None:
    splits = open_data(own)
    source: Any = splits.train.source
    row = int(splits.train.rows[0])
    _spoil(own / source.shards[int(source.shard[row])], int(source.offsets[row] + source.sizes[row] - 40))
    with pytest.raises(ImageError) as caught:
        open_data(own).train.read(0)
    assert caught.value.code == "shard-changed"


def test_a_folder_with_something_else_is_left_alone(scenes: Path, own: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        zoo.shard(scenes, own, images=9)
    assert caught.value.code == "out-occupied"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("dear", "utf-8")
    with pytest.raises(OutputError) as caught:
        zoo.shard(scenes, tmp_path / "full", overwrite=True)
    assert caught.value.code == "out-occupied"
    before = (own / "train-000000.tar").read_bytes()
    zoo.shard(scenes, own, images=9, overwrite=True)
    assert (own / "train-000000.tar").read_bytes() == before
    zoo.shard(scenes, own, images=40, overwrite=True)
    assert len(list(own.glob("*.tar"))) == 3
    assert open_data(own).fingerprint == open_data(scenes).fingerprint


def test_an_image_that_cannot_be_decoded_is_refused_or_left_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(24):
        folder = tmp_path / "set" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(folder / f"{number}.png")
    broken = tmp_path / "set" / "a" / "4.png"
    broken.write_bytes(broken.read_bytes()[:300])  # its header is whole
    with pytest.raises(DataError):
        zoo.shard(tmp_path / "set", tmp_path / "out", images=10)
    assert not (tmp_path / "out" / "index.json").exists()
    made = zoo.shard(tmp_path / "set", tmp_path / "out", images=10, skip_bad=True)
    assert made.images == 23
    assert open_data(tmp_path / "out").fingerprint.n == 23


def test_a_kill_leaves_nothing_half_written_and_the_same_command_continues(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(300):
        folder = tmp_path / "set" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(folder / f"{number}.png")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "zoo_cli", "data", "shard", str(tmp_path / "set"), "--out", str(out)]
    process = subprocess.Popen([*command, "--images", "2"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while len(list(out.glob("data-*.index"))) < 5:
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    for listed in out.glob("data-*.index"):
        found = msgspec.msgpack.decode(listed.read_bytes(), type=Listing)
        assert hashlib.sha256(listed.with_suffix(".tar").read_bytes()).hexdigest() == found.sha256
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("data-*.index")}
    zoo.shard(tmp_path / "set", out, images=2)
    assert all((out / name).stat().st_mtime_ns == then for name, then in kept.items())
    zoo.shard(tmp_path / "set", tmp_path / "unbroken", images=2)
    for path in (tmp_path / "unbroken").iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes()


def test_shards_of_a_store_come_one_by_one_and_make_room(
    bucket: buckets.Bucket, scenes: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = f"s3://{bucket.name}/bounded"
    made = zoo.shard(scenes, url, images=9)
    splits = open_data(url)
    assert splits.fingerprint == open_data(scenes).fingerprint
    shelf = tmp_path / "home" / "cache" / "shards"
    assert not list(shelf.glob("*.shard"))
    most = 2 * max(one.size for one in made.shards)
    monkeypatch.setenv("ZOO_CACHE_GB", str(most / 1e9))
    for images in (splits.train, splits.val, splits.test):
        for i in range(len(images)):
            images.read(i)
            assert sum(path.stat().st_size for path in shelf.glob("*.shard")) <= most
    monkeypatch.setenv("ZOO_CACHE_GB", "0.00001")
    with pytest.raises(ZooError) as caught:
        splits.train.read(0)
    assert caught.value.code == "remote-too-large"


def test_a_shard_that_was_replaced_in_the_store_is_refused(
    bucket: buckets.Bucket, scenes: Path, tmp_path: Path
) -> None:
    url = f"s3://{bucket.name}/replaced"
    zoo.shard(scenes, url, images=9)
    splits = open_data(url)
    key = "replaced/train-000000.tar"
    body = bytearray(bucket.client.get_object(Bucket=bucket.name, Key=key)["Body"].read())
    body[700] ^= 1
    bucket.put(key, bytes(body))
    with pytest.raises(ZooError) as caught:
        splits.train.read(0)
    assert caught.value.code == "shard-changed"
    assert not list((tmp_path / "home").rglob("*.shard"))


def test_a_copy_that_rotted_here_is_fetched_again(bucket: buckets.Bucket, scenes: Path, tmp_path: Path) -> None:
    url = f"s3://{bucket.name}/rotten"
    zoo.shard(scenes, url, images=9)
    train = open_data(url).train
    pixels = train.read(0).pixels
    for path in (tmp_path / "home").rglob("*.shard"):
        path.write_bytes(bytes(path.stat().st_size))
    assert np.array_equal(train.read(0).pixels, pixels)


def test_a_stream_of_indexed_shards_decodes_nothing_before_the_first_batch(
    sharded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo.data import digest_all

    train = open_data(sharded).train
    taken = []
    source: Any = type(train.source)
    real = source.file
    monkeypatch.setattr(source, "file", lambda self, row: taken.append(row) or real(self, row))
    decoded = carry_out(plan_decoding(train, SMALL, exact=False, cache="stream"))
    assert len(taken) == 1  # which tells shape and kind
    assert isinstance(decoded.rows, StreamedRows)
    assert decoded.blocks is not None
    assert decoded.blocks.tolist() == (train.blocks if train.blocks is not None else np.empty(0)).tolist()
    assert np.array_equal(decoded.contents, digest_all(train))
    held = carry_out(plan_decoding(train, SMALL, exact=False, cache="memory"))
    some = np.array([3, 39, 0])
    assert np.array_equal(decoded.rows.take(some), held.rows.take(some))
    assert np.array_equal(held.blocks, decoded.blocks)  # else the place would change the order of an epoch


def test_the_next_shard_is_fetched_ahead(bucket: buckets.Bucket, scenes: Path, tmp_path: Path) -> None:
    url = f"s3://{bucket.name}/ahead"
    zoo.shard(scenes, url, images=9)
    decoded = carry_out(plan_decoding(open_data(url).train, SMALL, exact=False, cache="stream"))
    rows: Any = decoded.rows
    rows.expect(np.array([0, 30, 10, 39]))  # of shards 0, 3, 1, 4
    rows.take(np.array([0]))
    rows.take(np.array([30]))
    shelf = tmp_path / "home" / "cache" / "shards"
    until = time.monotonic() + 20
    while len(list(shelf.glob("*.shard"))) < 3:
        assert time.monotonic() < until
        time.sleep(0.02)
    wanted = json.loads((bucket.client.get_object(Bucket=bucket.name, Key="ahead/index.json")["Body"]).read())
    assert (shelf / f"{wanted['shards'][1]['sha256']}.shard").exists()


def test_without_the_index_unknown_labels_and_groups_are_the_same(tmp_path: Path) -> None:
    """Unknown labels became negatives, and patients were divided."""
    rng = np.random.default_rng(0)
    lines = ["image,label:one,label:two,patient"]
    for number in range(24):
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(tmp_path / f"{number}.png")
        patient = "" if number == 23 else f"p{number % 6}"
        lines.append(f"{number}.png,{number % 2},{-1 if number < 6 else (number // 2) % 2},{patient}")
    (tmp_path / "labels.csv").write_text("\n".join(lines), "utf-8")
    zoo.shard(tmp_path / "labels.csv", tmp_path / "set", images=11)
    here = open_data(tmp_path / "set", for_training=False).test
    for path in (*(tmp_path / "set").glob("*.index"), tmp_path / "set" / "index.json"):
        path.unlink()
    there = open_data(tmp_path / "set", for_training=False).test
    assert (here.targets == -1).sum() == 6
    order = [[bytes(digest) for digest in there.digests].index(bytes(digest)) for digest in here.digests]
    assert np.array_equal(there.targets[order], here.targets)
    assert here.groups is not None
    assert there.groups is not None
    assert len(np.unique(here.groups)) == 7
    assert len({*zip(here.groups.tolist(), there.groups[order].tolist(), strict=True)}) == 7
    assert len(np.unique(there.groups)) == 7


@pytest.mark.parametrize("group", ["acquisition", r"(\d+)\.dcm", None])
def test_without_the_index_groups_are_those_that_were_asked_for(tmp_path: Path, group: str | None) -> None:
    """The PatientID of the files took the place of `--group`, so other images met in training and test."""
    lines = ["image,label,acquisition"]
    for number in range(36):
        write_dicom(tmp_path / f"{number}.dcm", patient=f"P{number % 6}")
        lines.append(f"{number}.dcm,{'ab'[number % 2]},{'NA' if number % 18 == 3 else f'a{number % 18}'}")
    (tmp_path / "labels.csv").write_text("\n".join(lines), "utf-8")
    reading: Reading = {} if group is None else {"group": group, "keep_na": True}
    zoo.shard(tmp_path / "labels.csv", tmp_path / "set", images=11, **reading)
    here = index(tmp_path / "set")
    for path in (*(tmp_path / "set").glob("*.index"), tmp_path / "set" / "index.json"):
        path.unlink()
    there = index(tmp_path / "set")
    assert here.groups is not None
    assert there.groups is not None
    order = [[bytes(digest) for digest in there.digests].index(bytes(digest)) for digest in here.digests]
    pairs = {*zip(here.groups.tolist(), there.groups[order].tolist(), strict=True)}
    counts = {"acquisition": 18, None: 6}
    assert len(np.unique(here.groups)) == len(np.unique(there.groups)) == len(pairs) == counts.get(group, 36)


def test_a_sample_of_any_program_names_its_patient(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for number in range(12):
            image = io.BytesIO()
            Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(image, "PNG")
            about = json.dumps({"Patient ID": number % 3 or "unknown"}).encode()
            for suffix, data in (("png", image.getvalue()), ("cls", b"%d" % (number % 2)), ("json", about)):
                member = tarfile.TarInfo(f"{number:02}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    groups = open_data(tmp_path / "a.tar", for_training=False).test.groups
    assert groups is not None
    assert [len(np.unique(groups[start::3])) for start in range(3)] == [4, 1, 1]


def test_shards_of_arrays_are_sharded_again_and_their_decoded_images_kept(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Such an image is known by its pixels, and its shard holds PNG: neither is a change."""
    zoo.shard(published, tmp_path / "a", images=40)
    zoo.shard(tmp_path / "a", tmp_path / "b", images=30)
    here, there = open_data(tmp_path / "a"), open_data(tmp_path / "b")
    assert there.fingerprint == here.fingerprint == open_data(published).fingerprint
    monkeypatch.setattr(_decode, "WORTH_KEEPING", 0)
    monkeypatch.setattr(_cache, "FEWEST", 1)
    first = decode_all(there.train, SMALL, cache="disk")
    again = open_data(tmp_path / "b").train
    caplog.clear()
    second = decode_all(again, SMALL, cache="disk")
    assert first.fresh
    assert not second.fresh
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
