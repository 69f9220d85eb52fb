"""WebDataset shards, read where they lie."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from noted import noted
from PIL import Image
from refusals import refused

from zoo.data import _cache as cache
from zoo.data import _decode as decode
from zoo.data import decode_all, open_data
from zoo.data._sources import tar_headers, tars
from zoo.errors import DataError, ImageError
from zoo.spec import PreprocessSpec
from zoo.store._places import cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from zoo.data import Splits

Members = "Iterable[tuple[str, bytes | tarfile.TarInfo]]"
SPEC = PreprocessSpec(size=(8, 8), mean=(0.5,) * 3, std=(0.5,) * 3)


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def write(path: Path, members: Members, form: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in members:
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def samples(labels: Iterable[Any], *, first: int = 0, form: str = "cls") -> list[tuple[str, bytes]]:
    members = []
    for i, label in enumerate(labels, first):
        text = str(label) if form == "cls" else json.dumps({form: label})
        members += [(f"{i:04}.png", png(i)), (f"{i:04}.{'cls' if form == 'cls' else 'json'}", text.encode())]
    return members


def opened(path: Path, **options: bool) -> Splits:
    return open_data(path, for_training=False, **options)


def refusal(path: Path, **options: bool) -> DataError:
    with pytest.raises(DataError) as caught:
        opened(path, **options)
    text = str(caught.value)
    assert "\n" not in text
    return caught.value


def test_shards_give_the_images_a_folder_gives(leaky: Path, tmp_path: Path) -> None:
    """The same files, classes and splits, once as a folder and once as tars: the same data set."""
    folder = leaky
    expected = open_data(folder, for_training=False)
    for split in ("train", "test"):
        members = []
        for path in sorted((folder / split).rglob("*.jpg")):
            key = f"{path.parent.name}/{path.stem}"
            members += [(f"{key}.jpg", path.read_bytes()), (f"{key}.cls", path.parent.name.encode())]
        for part in range(2):
            half = members[:80] if part == 0 else members[80:]
            write(tmp_path / "leaky" / f"{split}-{part:06}.tar", half)
    found = open_data(tmp_path / "leaky", for_training=False)
    assert found.labels == expected.labels
    assert found.fingerprint == expected.fingerprint
    assert (found.kind, found.gray, found.largest_side) == (expected.kind, expected.gray, expected.largest_side)
    assert found.test.ids[0] == "test-000000.tar/east/" + found.test.ids[0].rsplit("/", 1)[1]
    by_digest = {bytes(digest): i for i, digest in enumerate(expected.test.digests)}
    for i in range(0, len(found.test), 9):
        twin = by_digest[bytes(found.test.digests[i])]
        np.testing.assert_array_equal(found.test.read(i).pixels, expected.test.read(twin).pixels)


def test_a_lone_tar_without_splits_is_divided(tmp_path: Path) -> None:
    splits = open_data(write(tmp_path / "pets.tar", samples(["cat", "dog"] * 20)))
    assert splits.fingerprint.name == "pets"
    assert splits.labels == ("cat", "dog")
    assert splits.fingerprint.splits == {"train": 28, "val": 6, "test": 6}
    assert decode_all(splits.train, SPEC).pixels.shape == (28, 8, 8, 3)


def test_split_folders_and_many_names_of_splits(tmp_path: Path) -> None:
    for i, folder in enumerate(("Training", "valid", "test")):
        write(tmp_path / "a" / folder / "0.tar", samples("xy", first=10 * i))
        write(tmp_path / "b" / f"{folder}_{i}.tar", samples("xy", first=10 * i))
    (tmp_path / "b" / "README.md").write_text("how it was made")
    assert opened(tmp_path / "a").fingerprint.splits == {"train": 2, "val": 2, "test": 2}
    assert opened(tmp_path / "b").fingerprint.splits == {"train": 2, "val": 2, "test": 2}
    write(tmp_path / "b" / "more.tar", samples("xy", first=50))
    problem = refusal(tmp_path / "b")
    assert problem.code == "shard-splits"
    assert problem.fields["shards"] == ["more.tar"]


def test_a_folder_with_images_beside_a_tar_stays_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "pets" / "backup.tar", samples("xy"))
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir()
        (tmp_path / "pets" / name / "1.png").write_bytes(png(1))
    assert opened(tmp_path / "pets").labels == ("cat", "dog")


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_tar_with_long_names(tmp_path: Path, form: int) -> None:
    deep = "/".join(["a folder with a long name"] * 3) + "/a file with quite a long name too, and more of it to come"
    if form != tarfile.USTAR_FORMAT:
        deep = "Jürgen/" * 30 + deep
    found = opened(write(tmp_path / "x.tar", [(f"./{deep}.png", png(1)), (f"./{deep}.cls", b"7")], form))
    assert list(found.test.ids) == [f"x.tar/{deep}"]
    assert found.labels == tuple("01234567")


def test_labels_are_numbers_names_or_lists(tmp_path: Path) -> None:
    numbers = opened(write(tmp_path / "n.tar", samples([2, 0, 2])))
    assert (numbers.labels, numbers.test.targets.tolist()) == (("0", "1", "2"), [2, 0, 2])
    names = opened(write(tmp_path / "s.tar", samples(["b 10", "b 9", "b 10\n"])))
    assert (names.labels, names.test.targets.tolist()) == (("b 9", "b 10"), [1, 0, 1])
    for form in ("label", "cls"):
        told = opened(write(tmp_path / f"{form}.tar", samples([1, 0], form=form)))
        assert told.test.targets.tolist() == [1, 0]
    several = opened(write(tmp_path / "m.tar", samples([["mass", "nodule"], [], ["nodule"]], form="labels")))
    assert several.task == "multilabel"
    assert several.labels == ("mass", "nodule")
    assert several.test.targets.tolist() == [[1, 1], [0, 0], [0, 1]]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("classes.txt", "dog\ncat\n"),
        ("labels.json", '["dog", "cat"]'),
        ("labels.json", '{"0": "dog", "1": "cat"}'),
        ("labels.json", '{"cat": 1, "dog": 0}'),
    ],
)
def test_classes_beside_the_shards_name_and_order_them(tmp_path: Path, file: str, text: str) -> None:
    write(tmp_path / "set" / "0.tar", samples(["cat", "dog"]))
    write(tmp_path / "set" / "1.tar", samples([0, 1], first=2))
    (tmp_path / "set" / file).write_text(text)
    found = opened(tmp_path / "set")
    assert (found.labels, found.test.targets.tolist()) == (("dog", "cat"), [1, 0, 0, 1])
    write(tmp_path / "set" / "2.tar", samples(["bird", 2], first=4))
    problem = refusal(tmp_path / "set")
    assert problem.code == "label-unknown"
    assert problem.fields["labels"] == ["2", "bird"]
    (tmp_path / "set" / file).write_text("dog\ndog" if file == "classes.txt" else "{")
    assert file in str(refusal(tmp_path / "set"))


def test_labels_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    assert refusal(write(tmp_path / "a.tar", samples([1, "cat"]))).code == "shard-labels"
    mixed = samples([1]) + samples([["a"]], first=1, form="labels")
    assert refusal(write(tmp_path / "b.tar", mixed)).code == "shard-labels"
    problem = refusal(write(tmp_path / "c.tar", samples([99999999])))
    assert problem.code == "shard-labels"
    assert problem.fields["high"] == 99999999
    unlabelled = write(tmp_path / "d.tar", [*samples([1, 2]), ("x.png", png(9)), ("y.png", png(8)), ("y.json", b"{}")])
    text = str(refusal(unlabelled))
    assert "d.tar/x: no label" in text
    assert "d.tar/y.json: no label" in text
    assert len(opened(unlabelled, skip_bad=True).skipped) == 2


def test_which_member_is_the_image(tmp_path: Path) -> None:
    mask, picture = png(1), png(2)
    cases = {
        "plain": [("1.seg.png", mask), ("1.png", picture), ("1.cls", b"0")],
        "content": [("1.txt", b"P1 is a note"), ("1.img", picture), ("1.cls", b"0")],
        "upper": [("1.PNG", picture), ("1.CLS", b"0")],
    }
    for name, members in cases.items():
        found = opened(write(tmp_path / f"{name}.tar", members))
        assert found.test.read(0).pixels.tobytes() == np.asarray(Image.open(io.BytesIO(picture))).tobytes()
    two = [("1.png", mask), ("1.jpg", picture), ("1.cls", b"0")]
    assert refusal(write(tmp_path / "two.tar", two)).code == "images-unusable"
    assert refusal(write(tmp_path / "none.tar", [("1.txt", b"x"), ("1.cls", b"0")])).code == "data-empty"


def special(name: str, kind: bytes, target: str = "") -> tuple[str, tarfile.TarInfo]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return name, info


def test_links_and_devices_are_no_data(tmp_path: Path) -> None:
    """Followed, a link in a shard from elsewhere would read any file of this machine."""
    odd = [
        special("9.png", tarfile.SYMTYPE, "/etc/passwd"),
        special("8.png", tarfile.LNKTYPE, "0000.png"),
        special("7.png", tarfile.CHRTYPE),
        special("6.png", tarfile.FIFOTYPE),
        special("folder", tarfile.DIRTYPE),
    ]
    found = opened(write(tmp_path / "x.tar", [*samples([0, 1]), *odd]))
    assert len(found.test) == 2
    assert noted(found.notes, "4 members", "ignored", "links")


@pytest.mark.parametrize("name", ["/etc/1.png", "../1.png", "a/../../1.png", "C:\\1.png", "a\\..\\1.png"])
def test_names_that_lead_out_condemn_the_shard(tmp_path: Path, name: str) -> None:
    assert refusal(write(tmp_path / "x.tar", [(name, png(1)), ("1.cls", b"0")])).code == "shard-member"


def test_names_that_break_a_line_and_samples_in_two_places_are_refused(tmp_path: Path) -> None:
    assert refusal(write(tmp_path / "x.tar", [("a\nb.png", png(1))])).code == "shard-member"
    twice = [*samples([0]), *samples([1], first=1), ("0000.txt", b"again")]
    problem = refusal(write(tmp_path / "y.tar", twice))
    assert problem.code == "shard-sample-twice"
    assert problem.fields["sample"] == "0000"


def test_compressed_and_damaged_shards_are_refused_with_what_to_do(tmp_path: Path) -> None:
    whole = write(tmp_path / "x.tar", samples([0, 1, 0, 1])).read_bytes()
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(whole))
    problem = refusal(tmp_path / "x.tar.gz")
    assert problem.code == "shard-compressed"
    assert problem.fields["program"] == "gunzip"
    headers = [i for i in range(0, len(whole), 512) if whole[i + 257 : i + 262] == b"ustar"]
    damages = {
        "not a tar": b"hello" * 1000,
        "empty": b"",
        "cut in an image": whole[: headers[4] + 700],
        "cut in a header": whole[: headers[4] + 100],
        "cut between samples": whole[: headers[4]],
        "a damaged header": whole[: headers[4]] + b"x" * 100 + whole[headers[4] + 100 :],
        "two tars": whole + whole,
    }
    for name, data in damages.items():
        path = tmp_path / "set" / "x.tar"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        text = str(refusal(path.parent))
        assert text.startswith("x.tar: "), (name, text)
        assert "restore it" in text or "tar --concatenate" in text, (name, text)


def test_a_damaged_image_is_named_by_shard_and_key(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar", [*samples([0, 1]), ("bad.png", b"hello"), ("bad.cls", b"0")])
    problem = refusal(path)
    assert problem.code == "images-unusable"
    assert problem.fields["unusable"] == 1
    assert problem.fields["images"] == 3
    assert opened(path, skip_bad=True).skipped[0].startswith("x.tar/bad: ")


def test_threads_read_each_their_own_image(tmp_path: Path) -> None:
    images = opened(write(tmp_path / "x.tar", samples([0] * 40))).test
    expected = [images.read(i).pixels.copy() for i in range(40)]
    wrong: list[int] = []

    def work(seed: int) -> None:
        order = np.random.default_rng(seed).integers(0, 40, 100).tolist()
        wrong.extend(i for i in order if not np.array_equal(images.read(i).pixels, expected[i]))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_shard_that_went_or_shrank_is_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar", samples([0] * 4))
    images = opened(path).test
    os.truncate(path, 600)
    with refused("image-truncated", ImageError):
        images.read(3)
    path.unlink()
    with refused("image-io", ImageError):
        images.read(3)


def listed(data: bytes) -> list[tar_headers.Member] | str:
    try:
        return list(tar_headers.members(io.BytesIO(data)))
    except tarfile.TarError as problem:
        return type(problem).__name__


def made(form: int, names: list[str], mtime: float) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        for i, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.mtime, info.size = mtime, i * 300
            tar.addfile(info, io.BytesIO(bytes([i]) * info.size))
    return stream.getvalue()


NAMES = ["a/1.png", "a/1.cls", "Jürgen.png", "long/" * 25 + "x.png", "long/" * 60 + "x.png", "folder/"]
TARS = [
    made(form, NAMES[:4] if form == tarfile.USTAR_FORMAT else NAMES, mtime)
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
    for mtime in (1, 1.5)  # a fraction makes a pax header for each member, as WebDataset's writer has it
]


@pytest.mark.parametrize("data", TARS)
def test_members_are_what_pythons_tarfile_says(data: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        expected = [(one.name, one.isreg(), one.isdir(), one.offset_data, one.size) for one in tar]
    assert [tuple(one)[:5] for one in listed(data)] == expected


@settings(max_examples=300)
@given(data=st.sampled_from(TARS), at=st.integers(0, 6000), new=st.binary(min_size=1, max_size=4))
def test_damaged_headers_are_read_as_pythons_tarfile_reads_them(data: bytes, at: int, new: bytes) -> None:
    damaged = data[:at] + new + data[at + len(new) :]
    quick = listed(damaged)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tar_headers, "_quick", lambda *_: None)
        assert listed(damaged) == quick


def test_a_member_of_negative_size_does_not_go_round_in_a_circle() -> None:
    data = bytearray(TARS[0])
    data[124:136] = b"-0000001000\0"
    data[148:156] = b"%06o\0 " % (sum(data[:148]) + 8 * 32 + sum(data[156:512]))
    assert listed(bytes(data)) == "ReadError"


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache; the present is later than the last change of any file."""
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ZOO_CACHE_GB", "1")
    monkeypatch.setattr(tars.time, "time_ns", lambda now=tars.time.time_ns: now() + 10**10)


@pytest.mark.usefixtures("kept")
def test_an_unchanged_shard_is_not_read_again_and_a_changed_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(2):
        write(tmp_path / "set" / f"{i}.tar", samples([0, 1], first=2 * i))
    read: list[str] = []
    real = tars._read
    monkeypatch.setattr(tars, "_read", lambda path, name: (read.append(name), real(path, name))[1])
    first = opened(tmp_path / "set")
    assert opened(tmp_path / "set").fingerprint == first.fingerprint
    assert read == ["0.tar", "1.tar"]
    write(tmp_path / "set" / "1.tar", samples([1, 0], first=2))
    changed = opened(tmp_path / "set")
    assert read == ["0.tar", "1.tar", "1.tar"]
    assert changed.test.targets.tolist() == [0, 1, 1, 0]
    for path in cache_folder("index").iterdir():
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    assert opened(tmp_path / "set").fingerprint == changed.fingerprint
    assert len(read) == 5


@pytest.mark.usefixtures("kept")
def test_decoded_shards_are_kept_and_go_when_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "WORTH_KEEPING", 0)
    monkeypatch.setattr(cache, "FEWEST", 1)
    path = write(tmp_path / "x.tar", samples([0] * 8))
    first, second = (decode_all(opened(path).test, SPEC) for _ in range(2))
    assert (first.fresh, second.fresh) == (True, False)
    assert first.pixels.tobytes() == second.pixels.tobytes()
    images = opened(path).test
    write(path, samples([0] * 8, first=8))
    assert decode_all(images, PreprocessSpec(size=(9, 9), mean=(0.5,) * 3, std=(0.5,) * 3), skip_bad=True).kept is None
    assert decode_all(opened(path).test, SPEC).fresh
