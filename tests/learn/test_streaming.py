"""Images that are decoded anew for each epoch: the same training, in little memory, of images that do not change."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from refusals import refused
from tiny_learning import CONFIG, SPEC, learn, new_run, tiny_net

from zoo.data import TRAINED_ON, Splits, digest_all, open_data, read_seen, write_seen
from zoo.data import _cache as cache
from zoo.data import _decode as decode
from zoo.data import _room as room
from zoo.errors import DataError
from zoo.learn import WEIGHTS_FILE
from zoo.learn._distributed import Peers
from zoo.learn._images import AHEAD, Feed, Part, decode_splits
from zoo.preprocess import resize_image
from zoo.spec import Percentile, PreprocessSpec
from zoo.store._places import cache_folder

if TYPE_CHECKING:
    pass

WAYS = ("disk", "memory", "stream")
CPU = torch.device("cpu")


@pytest.fixture
def stripes_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """SPLIT/CLASS/NUMBER.png of 20 × 24 px, so that resizing leaves no whole numbers; a cache that takes so few."""
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ZOO_CACHE_GB", "1")
    monkeypatch.setattr(decode, "WORTH_KEEPING", 0)
    monkeypatch.setattr(cache, "FEWEST", 1)
    random = np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 10), ("test", 2)):
        for name in ("along", "across", "none"):
            folder = tmp_path / "stripes" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                image = random.normal(100, 40, (20, 24))
                if name != "none":
                    image[(slice(None, None, 2), slice(None)) if name == "along" else np.s_[:, ::2]] += 60
                Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "stripes"


def told(data: Splits, spec: PreprocessSpec, way: str) -> tuple[Part, Part]:
    """Training and validation images, as the loop gets them."""
    config, run = msgspec.structs.replace(CONFIG, cache=way), SimpleNamespace(file=lambda _: Path("none"))
    peers = Peers(0, 1, CPU)
    return decode_splits(data, spec, config, run, SimpleNamespace(skip_bad=False), peers)[:2]  # type: ignore[arg-type]


def test_wherever_images_wait_the_weights_are_the_same_bytes(stripes_in_files: Path, tmp_path: Path) -> None:
    """Else a larger disk would give another model."""
    data, left = open_data(stripes_in_files), {}
    for way in (*WAYS, "stream"):  # a second time, from what the first look kept
        run = new_run(tmp_path / f"{way}{len(left)}", data)
        write_seen(run.file(TRAINED_ON), data)
        config = msgspec.structs.replace(CONFIG, epochs=2, cache=way)
        learn(tiny_net(), data, SPEC, config, run)
        seen = read_seen(run.file(TRAINED_ON))
        left[f"{way}{len(left)}"] = (run.file(WEIGHTS_FILE).read_bytes(), run.file(TRAINED_ON).read_bytes())
        assert seen.holds_pixels(digest_all(data.train), "train").all()
        assert seen.holds_pixels(digest_all(data.val), "val").all()
    assert len(left) == 4
    assert len(set(left.values())) == 1


def test_a_run_that_began_on_disk_ends_with_the_same_bytes_when_it_streams(
    stripes_in_files: Path, tmp_path: Path
) -> None:
    data, before = open_data(stripes_in_files), set(threading.enumerate())
    whole = new_run(tmp_path / "whole", data)
    learn(tiny_net(), data, SPEC, msgspec.structs.replace(CONFIG, epochs=4, cache="disk"), whole)
    parted = new_run(tmp_path / "parted", data)
    model, calls = tiny_net(), 0

    def stop(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 11:  # in the second of four epochs of three batches and two of validation
            raise KeyboardInterrupt

    model.stem.register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        learn(model, data, SPEC, msgspec.structs.replace(CONFIG, epochs=4, cache="disk"), parted)
    learn(tiny_net(), data, SPEC, msgspec.structs.replace(CONFIG, epochs=4, cache="stream"), parted, resuming=True)
    assert parted.file(WEIGHTS_FILE).read_bytes() == whole.file(WEIGHTS_FILE).read_bytes()
    left = [one for one in set(threading.enumerate()) - before if "ThreadPool" in one.name]
    assert not left, "a stopped epoch left its threads"


def test_rows_to_learn_from_take_half_and_are_within_a_256th_of_a_level(stripes_in_files: Path) -> None:
    data = open_data(stripes_in_files)
    train, val = told(data, SPEC, "memory")
    exact = np.stack([resize_image(data.train.read(i).pixels, SPEC) for i in range(len(data.train))])
    assert train.decoded.rows.take(np.arange(48)).nbytes * 2 == exact.nbytes
    (batch,) = Feed.of(train, SPEC, CPU).batches([torch.arange(48)])
    assert batch.dtype == torch.float32
    assert 0 < np.abs(batch.numpy() - exact).max() <= 1 / 256
    assert np.array_equal(train.decoded.pixels, batch.numpy())
    whole = np.stack([resize_image(data.val.read(i).pixels, SPEC) for i in range(len(data.val))])
    assert np.array_equal(val.decoded.pixels, whole), "what validates is exact"


def test_images_of_the_size_of_the_input_are_exact(stripes_in_files: Path) -> None:
    data = open_data(stripes_in_files)
    spec = msgspec.structs.replace(SPEC, size=(20, 24))
    (batch,) = Feed.of(told(data, spec, "stream")[0], spec, CPU).batches([torch.tensor([5, 0])])
    assert np.array_equal(batch.numpy()[1], data.train.read(0).pixels[:, :, :1])


def test_deep_images_for_a_network_of_colours_keep_one_plane_of_three_and_stay_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    for i in range(30):
        (tmp_path / "xrays" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        deep = np.random.default_rng(i).integers(0, 60_000, (9, 11)).astype(np.uint16)
        Image.fromarray(deep).save(tmp_path / "xrays" / "ab"[i % 2] / f"{i}.png")
    data = open_data(tmp_path / "xrays")
    spec = PreprocessSpec(size=(7, 7), intensity=Percentile(), mean=(0.5,) * 3, std=(0.5,) * 3)
    for way in WAYS:
        train = told(data, spec, way)[0]
        assert train.decoded.rows.shape[1:] == (7, 7, 1)
        (batch,) = Feed.of(train, spec, CPU).batches([torch.arange(3)])
        assert np.array_equal(
            batch.numpy(), np.stack([resize_image(data.train.read(i).pixels, spec) for i in range(3)])
        )


@pytest.mark.parametrize("damage", ["other pixels", "cut", "gone"])
def test_an_image_that_changes_while_it_is_trained_on_ends_the_training(stripes_in_files: Path, damage: str) -> None:
    """What the run records of its images would else be untrue from the second epoch on."""
    data = open_data(stripes_in_files)
    train = told(data, SPEC, "stream")[0]
    file = stripes_in_files / data.train.ids[7]
    whole = file.read_bytes()
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(whole[:70])
    else:
        Image.fromarray(np.full((20, 24), 7, np.uint8)).save(file)
    feed = Feed.of(train, SPEC, CPU)
    with refused("image-changed", DataError, image=data.train.ids[7]):
        list(feed.batches([torch.arange(3), torch.arange(5, 9)]))
    file.write_bytes(whole)
    assert len(list(feed.batches([torch.arange(3), torch.arange(5, 9)]))) == 2


@pytest.mark.parametrize("way", WAYS)
def test_bad_images_are_found_before_the_first_epoch_and_left_out(
    stripes_in_files: Path, tmp_path: Path, way: str
) -> None:
    for name in ("train/along/2", "train/none/0", "val/none/1"):
        (stripes_in_files / f"{name}.png").write_bytes((stripes_in_files / f"{name}.png").read_bytes()[:70])
    data = open_data(stripes_in_files, skip_bad=True)
    for _ in range(2):  # the second time from what is kept
        run = new_run(tmp_path / "run", data)
        with refused("images-unusable", DataError, unusable=2):
            learn(tiny_net(), data, SPEC, msgspec.structs.replace(CONFIG, cache=way), run)
        write_seen(run.file(TRAINED_ON), data)
        config = msgspec.structs.replace(CONFIG, epochs=1, cache=way, class_weight="balanced")
        learn(tiny_net(), data, SPEC, config, run, skip_bad=True)
        assert run.record.skipped == ("train/along/2.png", "train/none/0.png", "val/none/1.png")
        for file in (tmp_path / "run").iterdir():
            file.unlink()
        (tmp_path / "run").rmdir()


def test_a_set_without_room_streams_unasked_and_says_so_before_it_decodes(
    stripes_in_files: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data = open_data(stripes_in_files)
    monkeypatch.setenv("ZOO_CACHE_GB", "1e-7")  # 100 bytes
    monkeypatch.setattr(room, "IN_MEMORY", 25_000)  # of 48 images 24 576 bytes, of 30 exact ones 30 720
    said: list[str] = []
    real = decode.over_chunks
    monkeypatch.setattr(decode, "over_chunks", lambda *a, **k: (said.extend(caplog.messages), real(*a, **k))[1])
    with caplog.at_level(logging.INFO, "zoo"):
        train, val = told(data, SPEC, "auto")
    assert [type(part.decoded.rows).__name__ for part in (train, val)] == ["HeldRows", "StreamedRows"]
    line = [text for text in said if "48 training images" in text]
    assert any("24.6 kB in memory" in text and "anew" in text and "30.7 kB" in text for text in line)
    assert not [one for one in cache_folder("decoded").iterdir() if one.stat().st_size > 5000]


@pytest.mark.parametrize("way", ["disk", "memory"])
def test_room_that_was_asked_for_and_is_not_there_is_refused(
    stripes_in_files: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    data = open_data(stripes_in_files)
    monkeypatch.setenv("ZOO_CACHE_GB", "0")
    monkeypatch.setattr(room, "free_memory", lambda: 1000.0)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    code = {"disk": "output-full", "memory": "decoded-memory"}[way]
    with refused(code, needed=48 * 16 * 16 * 2):
        told(data, SPEC, way)


def test_batches_come_in_order_and_only_a_few_are_made_ahead(stripes_in_files: Path) -> None:
    """Made all at once they would fill the memory that streaming is to save."""
    data = open_data(stripes_in_files)
    train = told(data, SPEC, "stream")[0]
    asked: list[int] = []

    def order() -> Any:
        for start in range(0, 48, 4):
            asked.append(start)
            yield torch.arange(start, start + 4)

    batches = Feed.of(train, SPEC, CPU).batches(order())
    for number in range(1, 13):
        batch = next(batches)
        first = resize_image(data.train.read(4 * number - 4).pixels, SPEC)
        assert np.abs(batch[0].numpy() - first).max() <= 1 / 256
        assert len(asked) <= number + AHEAD
    batches.close()


def test_a_disk_that_fails_under_the_kept_images_is_an_error_and_no_crash(
    stripes_in_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A memory map ended the process with SIGBUS."""
    train = told(open_data(stripes_in_files), SPEC, "disk")[0]

    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    for broken in (fail, lambda *_: b""):
        monkeypatch.setattr("zoo.data._rows.os.pread", broken)
        with refused("decoded-read", DataError):
            list(Feed.of(train, SPEC, CPU).batches([torch.arange(3)]))
