"""The audit on made sets: each kind of finding once, with what must and what must not be said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from noted import noted
from PIL import Image
from refusals import refused

from zoo.data._named import index
from zoo.data.audit import audit, page
from zoo.errors import DataError
from zoo.spec import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from zoo.data.audit import Audit, Finding


def picture(seed: int, side: int = 40) -> NDArray[np.uint8]:
    """Smooth blobs, as photographs are; each seed another picture."""
    coarse = np.random.default_rng(seed).integers(10, 240, (7, 7), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


@pytest.fixture
def make_set(tmp_path: Path) -> Callable[[dict[str, NDArray[np.generic] | bytes]], Path]:
    def make(files: dict[str, NDArray[np.generic] | bytes]) -> Path:
        root = tmp_path / "set"
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                Image.fromarray(content).save(path)
        return root

    return make


def filled(folders: tuple[str, ...], each: int = 12, *, start: int = 0) -> dict[str, NDArray[np.uint8]]:
    """`each` different pictures in each folder."""
    return {f"{f}/{i}.png": picture(start + 1000 * k + i) for k, f in enumerate(folders) for i in range(each)}


def only(found: Audit, kind: str) -> Finding:
    (finding,) = (f for f in found.findings if f.kind == kind)
    return finding


SOUND = filled(("train/cat", "train/dog", "test/cat", "test/dog"))


def test_a_sound_set_has_no_finding(make_set: Callable[..., Path]) -> None:
    found = audit(make_set(SOUND))
    assert found.findings == ()
    assert found.verdict == "clean"


def test_the_same_pixels_in_another_format_are_a_copy(make_set: Callable[..., Path]) -> None:
    found = audit(make_set({**SOUND, "test/cat/copy.bmp": SOUND["train/cat/3.png"]}))
    copy = only(found, "duplicate")
    assert copy.files == ("train/cat/3.png", "test/cat/copy.bmp")
    assert (copy.across_splits, copy.severity, found.verdict) == (True, "error", "leak")


def test_a_copy_within_a_split_is_a_defect_and_no_leak(make_set: Callable[..., Path]) -> None:
    found = audit(make_set({**SOUND, "train/cat/copy.png": SOUND["train/cat/3.png"]}))
    assert (only(found, "duplicate").across_splits, found.verdict) == (False, "defects")


def test_a_copy_under_another_class_is_a_conflict(make_set: Callable[..., Path]) -> None:
    found = audit(make_set({**SOUND, "train/dog/copy.png": SOUND["train/cat/3.png"]}))
    conflict = only(found, "label_conflict")
    assert conflict.files == ("train/cat/3.png", "train/dog/copy.png")
    assert "'cat' and 'dog'" in conflict.detail


@pytest.mark.parametrize("move", [np.fliplr, np.flipud, np.rot90, np.transpose, lambda p: (p * 0.7 + 20).round()])
def test_a_copy_that_was_moved_or_brightened_is_a_near_duplicate(
    make_set: Callable[..., Path], move: Callable[[NDArray[np.uint8]], NDArray[np.generic]]
) -> None:
    copy = np.ascontiguousarray(move(SOUND["train/cat/3.png"])).astype(np.uint8)
    found = audit(make_set({**SOUND, "test/cat/copy.png": copy}))
    near = only(found, "near_duplicate")
    assert set(near.files) == {"train/cat/3.png", "test/cat/copy.png"}
    assert found.verdict == "leak"
    assert not found.of_kind("duplicate")


def test_a_set_without_splits_says_nothing_across_splits(make_set: Callable[..., Path]) -> None:
    pictures = filled(("cat", "dog"))
    found = audit(make_set({**pictures, "cat/copy.png": pictures["cat/3.png"]}))
    assert not any(finding.across_splits for finding in found.findings)
    assert found.verdict == "defects"
    assert found.splits == {"all": 25}
    assert any("brings no splits" in note for note in found.notes)


def test_truncated_and_empty_files_are_findings_and_not_the_end(make_set: Callable[..., Path], photos: Path) -> None:
    jpeg = (photos / "china.jpg").read_bytes()
    found = audit(make_set({**SOUND, "train/cat/cut.jpg": jpeg[: len(jpeg) // 2], "train/cat/empty.png": b""}))
    assert {f.files for f in found.of_kind("unreadable")} == {("train/cat/cut.jpg",), ("train/cat/empty.png",)}
    assert (found.n, found.skipped, found.verdict) == (48, 2, "defects")


def test_nothing_but_damaged_files_is_an_error(make_set: Callable[..., Path]) -> None:
    with refused("class-unreadable", DataError):
        audit(make_set({"cat/a.png": b"", "dog/b.png": b"nothing"}))


def test_patients_in_two_splits_are_found_by_a_pattern(make_set: Callable[..., Path]) -> None:
    files = {name.replace("/0.png", "/p7_0.png"): pixels for name, pixels in SOUND.items()}
    found = audit(make_set(files), group=r"p(\d+)_")
    leak = only(found, "group_leak")
    assert len(leak.files) == 4
    assert "test (2)" in leak.detail
    assert found.verdict == "leak"


@pytest.mark.parametrize(
    ("group", "code", "fields"),
    [
        ("p(", "group-pattern", {}),
        ("p", "group-pattern", {"groups": 0}),
        (r"q(\d+)", "group-unmatched", {"without": 48}),
    ],
)
def test_a_group_that_fits_nothing_is_refused(
    make_set: Callable[..., Path], group: str, code: str, fields: dict[str, int]
) -> None:
    with refused(code, DataError, group=group, **fields):
        audit(make_set(SOUND), group=group)


def test_rare_classes_are_an_imbalance(make_set: Callable[..., Path]) -> None:
    found = audit(make_set({**filled(("train/cat",), 60), **filled(("train/dog",), 3, start=5000)}))
    texts = [finding.detail for finding in found.of_kind("imbalance")]
    assert noted(texts, "10 to 1", "'dog' (3 images)")
    assert any("fewer than 10" in text for text in texts)


def test_a_class_missing_in_a_split_is_a_shift_of_labels(make_set: Callable[..., Path]) -> None:
    found = audit(make_set(filled(("train/cat", "train/dog", "test/dog"))))
    mismatch = only(found, "label_mismatch")
    assert mismatch.across_splits
    assert noted([mismatch.detail], "'cat'", "no image", "test")
    assert found.verdict == "defects"


def test_a_file_named_after_another_class_is_a_mismatch(make_set: Callable[..., Path]) -> None:
    pictures = filled(("no_tumor", "tumor"))
    names = {
        "no_tumor/tumor_7.png": picture(70),
        "no_tumor/No-Tumor 8.png": picture(80),
        "tumor/Tumor9.png": picture(90),
    }
    mismatch = only(audit(make_set({**pictures, **names})), "label_mismatch")
    assert mismatch.files == ("no_tumor/tumor_7.png",)


def test_classes_that_differ_in_spelling_only_are_a_mismatch(make_set: Callable[..., Path]) -> None:
    found = audit(make_set(filled(("type_a", "type a", "grade 1.2", "grade 12"))))
    assert "in spelling" in only(found, "label_mismatch").detail


def test_constant_clipped_and_empty_images_are_saturated(make_set: Callable[..., Path]) -> None:
    clipped, empty = picture(1).copy(), picture(2).copy()
    clipped[:20] = 255
    empty[:30] = 0
    odd = {"cat/constant.png": np.full((40, 40), 90, np.uint8), "cat/clipped.png": clipped, "cat/empty.png": empty}
    found = audit(make_set({**filled(("cat", "dog")), **odd}))
    assert [f.files for f in found.of_kind("saturated")] == [
        ("cat/constant.png",),
        ("cat/clipped.png",),
        ("cat/empty.png",),
    ]


def test_images_with_a_black_background_are_not_called_empty(make_set: Callable[..., Path]) -> None:
    framed = {
        name: np.where(np.indices((40, 40))[0] < 26, 0, pixels).astype(np.uint8) for name, pixels in SOUND.items()
    }
    assert not audit(make_set(framed)).of_kind("saturated")


def deep(pixels: NDArray[np.uint8], factor: int) -> NDArray[np.uint16]:
    return pixels.astype(np.uint16) * np.uint16(factor)


def test_sixteen_bit_files_say_how_many_bits_they_use(make_set: Callable[..., Path]) -> None:
    found = audit(make_set({name: deep(pixels, 16) for name, pixels in SOUND.items()}))
    depth = only(found, "bit_depth")
    assert depth.severity == "note"
    assert "12-bit values" in depth.detail
    assert "divide by 4095" in depth.detail
    assert "--set preprocess.intensity.maximum=4095" in depth.detail
    assert found.verdict == "clean"


def test_sixteen_bit_files_with_eight_bits_inside_are_a_defect(make_set: Callable[..., Path]) -> None:
    found = audit(make_set({name: deep(pixels, 1) for name, pixels in SOUND.items()}))
    assert "8 bits" in only(found, "bit_depth").detail
    assert found.verdict == "defects"


def test_mixed_pixel_types_are_a_finding_that_names_the_rare_ones(make_set: Callable[..., Path]) -> None:
    found = audit(make_set({**SOUND, "train/cat/deep.png": deep(picture(7), 200)}))
    mixed = only(found, "bit_depth")
    assert mixed.severity == "error"
    assert mixed.files == ("train/cat/deep.png",)


def test_fields_with_personal_data_are_named_and_their_values_are_not(make_set: Callable[..., Path]) -> None:
    root = make_set(SOUND)
    exif = Image.Exif()
    exif[0x013B] = "CANARY^NAME"  # Artist
    Image.fromarray(picture(9)).convert("RGB").save(root / "train/cat/9.jpg", exif=exif, quality=95)
    pool = index(root, skip_bad=True, as_is=True)
    found = audit(pool)
    personal = only(found, "personal_data")
    assert personal.files == ("train/cat/9.jpg",)
    assert "Artist" in personal.detail
    assert b"CANARY" not in encode(found)
    assert "CANARY" not in page(found, pool)


def test_the_document_has_the_keys_that_were_promised_and_no_path(make_set: Callable[..., Path]) -> None:
    root = make_set({**SOUND, "test/cat/copy.png": SOUND["train/cat/3.png"]})
    text = encode(audit(root)).decode()
    document = json.loads(text)
    assert {"n", "classes", "splits", "findings", "verdict"} <= document.keys()
    assert document["findings"][0].keys() == {"kind", "severity", "across_splits", "files", "detail"}
    assert str(root.parent) not in text
    assert document["n"] == 49


def test_a_file_name_can_not_bring_markup_into_the_page(make_set: Callable[..., Path]) -> None:
    evil = "<script>alert(1)<&#47;script>\" onerror='x'"
    root = make_set({**SOUND, f"test/<b>cat/{evil}.png": SOUND["train/cat/3.png"]})
    pool = index(root, skip_bad=True, as_is=True)
    text = page(audit(pool), pool)
    assert "<script" not in text
    assert "<b>cat" not in text
    assert "&lt;script&gt;" in text
    assert "default-src 'none'" in text


def test_the_page_shows_pairs_side_by_side_and_reaches_for_no_network(make_set: Callable[..., Path]) -> None:
    root = make_set({**SOUND, "test/cat/copy.png": SOUND["train/cat/3.png"]})
    pool = index(root, skip_bad=True, as_is=True)
    text = page(audit(pool), pool)
    assert text.count('src="data:image/png;base64,') == 2
    assert "http" not in text.replace("http-equiv", "")
    assert str(root.parent) not in text


def test_deep_and_constant_images_have_thumbnails_too(make_set: Callable[..., Path]) -> None:
    files = {name: deep(pixels, 16) for name, pixels in SOUND.items()}
    root = make_set(
        {**files, "train/cat/flat.png": np.full((40, 40), 9, np.uint16), "test/dog/x.png": files["train/dog/0.png"]}
    )
    pool = index(root, skip_bad=True, as_is=True)
    assert page(audit(pool), pool).count("data:image/png") == 3


def test_the_first_files_of_a_finding_across_splits_come_from_each_split(make_set: Callable[..., Path]) -> None:
    copies = {f"train/cat/copy{i}.png": SOUND["train/cat/3.png"] for i in range(7)}
    found = audit(make_set({**SOUND, **copies, "test/cat/copy.png": SOUND["train/cat/3.png"]}))
    assert [name.split("/")[0] for name in only(found, "duplicate").files[:3]] == ["train", "test", "train"]
    assert "missing one" in only(found, "duplicate").detail


def test_a_near_duplicate_of_a_copy_in_another_split_counts_across(make_set: Callable[..., Path]) -> None:
    """The picture stands in train and test; what resembles it in train resembles a test image too."""
    original = SOUND["train/cat/3.png"]
    found = audit(
        make_set({**SOUND, "test/cat/copy.png": original, "train/cat/mirrored.png": original[:, ::-1].copy()})
    )
    near = only(found, "near_duplicate")
    assert near.across_splits
    assert set(near.files) == {"train/cat/3.png", "test/cat/copy.png", "train/cat/mirrored.png"}
