"""Right labels by name, in order, for every image that can be read, and a row for every one that cannot."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edge_models import LABELS, deep_manifest, make_manifest, make_model, paint
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from refusals import refused

from zoo import preprocess
from zoo._support.text import natural_key, spell_name
from zoo.edge import Failure, Prediction, Runtime, write_csv
from zoo.edge.__main__ import main
from zoo.edge._intake import Intake
from zoo.edge._stream import batches, decode_ahead, expand
from zoo.errors import DataError, ImageError, OutputError
from zoo.spec import InputSpec, Intensity, PreprocessSpec, Scale, Voi, Window

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def labels_of(results: Any) -> list[str]:
    return [result.label if isinstance(result, Prediction) else "failure" for result in results]


def edge(*arguments: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        [sys.executable, "-m", "zoo.edge", *arguments], capture_output=True, text=True, check=False, cwd=root
    )


def test_a_folder_is_answered_in_natural_order_with_its_subfolders(model_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    for name, colour in {"i10.png": BLUE, "i2.png": GREEN, "I1.jpg": RED, "sub/a.png": GREEN}.items():
        paint(folder / name, colour)
    (folder / "notes.txt").write_text("not an image")
    paint(folder / ".hidden.png", RED)
    results = list(Runtime.open(model_file).predict(folder))
    assert [Path(one.image).name for one in results] == ["I1.jpg", "i2.png", "i10.png", "a.png"]
    assert labels_of(results) == ["red", "green", "blue", "green"]


def test_a_folder_of_very_many_names_takes_few_bytes_for_each(tmp_path: Path) -> None:
    """A million images in one directory is what an archive exports; a list of paths and sort keys took 700 bytes."""
    first = paint(tmp_path / "images" / "img_0000000.png", RED)
    n = 5000
    for i in range(1, n):
        (first.parent / f"img_{i:07d}.png").hardlink_to(first)
    tracemalloc.start()
    try:
        found = expand(first.parent)
        assert Path(next(found)[0]).name == "img_0000000.png"
        assert tracemalloc.get_traced_memory()[1] / n < 150
        assert [Path(name).name for name, _ in found] == [f"img_{i:07d}.png" for i in range(1, n)]
        assert tracemalloc.get_traced_memory()[0] / n < 150
    finally:
        tracemalloc.stop()


def test_folders_and_files_stand_in_one_natural_order(tmp_path: Path) -> None:
    names = ["A2/x.png", "a2.png", "a10.png", "a/x.png", "a.png", "b/1/2.png", "b/1.png", "B0.png", "\u00fc.png"]
    for name in names:
        paint(tmp_path / name, RED)
    found = [Path(name).relative_to(tmp_path) for name, _ in expand(tmp_path)]
    assert found == sorted(found, key=lambda path: [natural_key(part) for part in path.parts])
    assert len(found) == len(names)


def test_probabilities_are_by_name_unrounded_and_sum_to_one(model_file: Path) -> None:
    pixels = np.full((3, 5, 3), (10, 200, 30), np.uint8)
    (result,) = Runtime.open(model_file).predict(pixels)
    assert isinstance(result, Prediction)
    assert list(result.probabilities) == list(LABELS)
    assert sum(result.probabilities.values()) == pytest.approx(1, abs=1e-6)
    assert result.probability == result.probabilities["green"]
    exact = np.exp(8 * np.array([10, 200, 30]) / 255)
    assert result.probability == pytest.approx(exact[1] / exact.sum(), rel=1e-5)
    assert set(result.row()) == {"image", "label", "probability", "probabilities"}
    assert list(result.row(top=2)["probabilities"]) == ["green", "blue"]


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_a_bad_image_is_a_row_and_the_others_keep_their_own_answers(
    model_file: Path, tmp_path: Path, batch_size: int
) -> None:
    good = [paint(tmp_path / f"{i}.png", colour) for i, colour in enumerate([RED, GREEN, BLUE])]
    bad = tmp_path / "bad.png"
    bad.write_bytes(good[0].read_bytes()[:50])
    sources = [good[0], bad, good[1], tmp_path / "missing.png", good[2]]
    results = list(Runtime.open(model_file).predict(sources, batch_size=batch_size))
    assert labels_of(results) == ["red", "failure", "green", "failure", "blue"]
    assert [one.image for one in results] == [str(source) for source in sources]
    failures = [one for one in results if isinstance(one, Failure)]
    assert [one.blame for one in failures] == ["image", "either"]
    assert all(set(one.row()) - {"blame"} == {"image", "error"} and "\n" not in one.error for one in failures)
    assert not failures[0].error.startswith(str(bad))  # the row names the image already


def test_sizes_may_change_from_image_to_image(model_file: Path, tmp_path: Path) -> None:
    sizes = [(4, 4), (4, 4), (9, 2), (9, 2), (4, 4)]
    colours = [RED, GREEN, BLUE, RED, GREEN]
    paths = [paint(tmp_path / f"{i}.png", colours[i], size) for i, size in enumerate(sizes)]
    assert labels_of(Runtime.open(model_file).predict(paths, batch_size=8)) == [
        "red",
        "green",
        "blue",
        "red",
        "green",
    ]


def test_equal_neighbours_share_a_run_and_others_do_not() -> None:
    small, large = np.zeros((2, 2, 3)), np.zeros((3, 2, 3))
    items = [("a", small), ("b", small), ("c", small), ("d", large), ("e", "broken"), ("f", large)]
    assert [names for names, _ in batches(items, 2)] == [["a", "b"], ["c"], ["d"], ["e"], ["f"]]


def test_an_explicit_file_is_tried_whatever_its_suffix(model_file: Path, tmp_path: Path) -> None:
    path = paint(tmp_path / "x.png", BLUE).rename(tmp_path / "x.scan")
    assert labels_of(Runtime.open(model_file).predict(path)) == ["blue"]


def test_a_folder_without_images_is_an_error_and_a_row_among_others(model_file: Path, tmp_path: Path) -> None:
    runtime = Runtime.open(model_file)
    empty = tmp_path / "empty"
    empty.mkdir()
    with refused("data-empty", DataError):
        list(runtime.predict(empty))
    image = paint(tmp_path / "x.png", RED)
    assert labels_of(runtime.predict([empty, image])) == ["failure", "red"]


def test_sources_are_read_as_needed_and_not_all_at_once(model_file: Path) -> None:
    taken = 0

    def endless() -> Any:
        nonlocal taken
        while True:
            taken += 1
            yield np.zeros((2, 2, 3), np.uint8)

    results = Runtime.open(model_file).predict(endless())
    for _ in range(5):
        next(results)
    results.close()
    assert taken < 40


def test_decoding_ahead_holds_few_images_when_they_are_large() -> None:
    taken = 0

    def many() -> Any:
        nonlocal taken
        for i in range(100):
            taken += 1
            yield f"{i}", np.zeros((1, 1, 3), np.uint8)

    large = np.zeros(40 * 2**20, np.uint8)
    stream = decode_ahead(many(), lambda *_: large)
    for _ in range(4):
        next(stream)
    assert taken <= 4 + 4  # a thread holds one image, not sixteen images of 40 MB
    stream.close()


def test_a_kind_of_image_the_model_was_not_made_for_is_refused(model_file: Path, tmp_path: Path) -> None:
    deep = tmp_path / "deep.png"
    Image.fromarray(np.full((4, 4), 3000, np.uint16)).save(deep)
    (result,) = Runtime.open(model_file).predict([deep])
    assert isinstance(result, Failure)
    assert "uint16" in result.error
    with pytest.raises(ImageError, match="uint16"):
        Runtime.open(model_file).logits(np.zeros((1, 4, 4, 1), np.uint16))


def test_values_above_the_declared_range_are_refused_and_not_clipped(tmp_path: Path) -> None:
    path = tmp_path / "deep.onnx"
    path.write_bytes(make_model(deep_manifest()).SerializeToString())
    good, bad = np.full((4, 4), 4095, np.uint16), np.full((4, 4), 5000, np.uint16)
    results = list(Runtime.open(path).predict([good, bad]))
    assert labels_of(results) == ["dark", "failure"]


@pytest.mark.parametrize("stage", ["resized", "tensor"])
def test_raw_images_go_in_whatever_the_file_leaves_to_the_device(tmp_path: Path, stage: str) -> None:
    declared = InputSpec(
        name="image",
        dtype="float32",
        channels=3,
        stage=stage,  # type: ignore[arg-type]
    )
    manifest = make_manifest(input=declared)
    path = tmp_path / "m.onnx"
    path.write_bytes(make_model(manifest).SerializeToString())
    runtime = Runtime.open(path)
    raw = np.random.default_rng(0).integers(0, 256, (2, 20, 13, 3), dtype=np.uint8)
    expected = [8 * preprocess.apply(image, manifest.preprocess).mean(axis=(1, 2)) for image in raw]
    assert runtime.logits(raw) == pytest.approx(np.stack(expected), abs=1e-4)
    assert labels_of(runtime.predict(raw)) == [LABELS[int(np.argmax(row))] for row in expected]


def test_a_file_of_an_older_release_takes_what_its_intensity_allows() -> None:
    def kinds(intensity: Intensity, **declared: Any) -> tuple[str, ...]:
        spec = PreprocessSpec(size=(8, 8), channels="gray", intensity=intensity, mean=(0.0,), std=(1.0,))
        known = {"name": "image", "dtype": "float32", "channels": 1, "stage": "tensor"}
        return make_manifest(preprocess=spec, input=InputSpec(**(known | declared))).kinds

    assert kinds(Scale(maximum=255)) == ("uint8",)
    assert kinds(Scale(maximum=4095)) == ("float32", "uint16")
    assert kinds(Voi()) == ("float32",)
    assert kinds(Window(center=40, width=400)) == ("float32", "uint16", "uint8")
    assert kinds(Scale(maximum=1), kind="float32") == ("float32",)
    assert kinds(Scale(maximum=255), stage="raw") == ("float32",)


def test_batches_of_the_wrong_shape_are_refused(model_file: Path) -> None:
    runtime = Runtime.open(model_file)
    for shape in [(4, 4, 3), (1, 4, 4, 1), (1, 3, 4, 4), (0, 4, 4, 3)]:
        with pytest.raises(ImageError, match="expected"):
            runtime.logits(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("ask", ["logits", "probabilities", "logits_and_probabilities", "decisive"])
@pytest.mark.parametrize(
    ("value", "code"), [(-1, "image-range"), (4096, "image-range"), (np.nan, "image-not-finite"), (0, None)]
)
@pytest.mark.parametrize("stage", ["raw", "tensor"])
def test_a_batch_is_held_to_the_range_of_the_model(
    tmp_path: Path, ask: str, value: float, code: str | None, stage: str
) -> None:
    """As `predict` does: else two ways to ask give two answers to one image."""
    manifest = deep_manifest(dtype="float32", stage=stage)
    (tmp_path / "m.onnx").write_bytes(make_model(manifest).SerializeToString())
    runtime = Runtime.open(tmp_path / "m.onnx")
    batch = np.full((2, 8, 8, 1), 7, np.float32)
    batch[1, 3, 3] = value
    if code is None:
        assert getattr(runtime, ask)(batch) is not None
        return
    with refused(code, ImageError):
        getattr(runtime, ask)(batch)
    assert [type(one) for one in runtime.predict(list(batch))] == [Prediction, Failure]


def test_a_csv_holds_no_cell_that_a_spreadsheet_would_run(model_file: Path, tmp_path: Path) -> None:
    results = [
        Prediction("=cmd()", "red", 0.1 + 0.2, {"red": 0.1 + 0.2, "green": 0.0, "blue": 0.7}),
        Failure("+1.png", "@broken"),
        *Runtime.open(model_file).predict([np.zeros((2, 2, 3), np.uint8)]),
    ]
    target = tmp_path / "out.csv"
    assert write_csv(target, results, make_manifest()) == 3
    with target.open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["image", "label", "probability", "p_red", "p_green", "p_blue", "error"]
    assert rows[1][0] == "'=cmd()"
    assert float(rows[1][2]) == 0.1 + 0.2
    assert rows[2] == ["'+1.png", "", "", "", "", "", "'@broken"]


def original(cell: str) -> str:
    """As docs/ship.md says it."""
    if not re.search(r"\\x[0-9a-f]{2}", cell):
        return cell
    data = re.sub(
        rb"\\(\\|x[0-9a-f]{2})",
        lambda found: b"\\" if found[1] == b"\\" else bytes.fromhex(found[1][1:].decode()),
        cell.encode(),
    )
    return data.decode("utf-8", "surrogateescape")


@given(
    st.binary(max_size=20)
    | st.sampled_from([b"a\x1b[31m", b"\xff", b"a\\x1b", b"\\\\xff", b"\\", b"\xc2\x9b", b"\x7f"])
)
def test_every_name_of_a_file_can_be_told_from_a_table(data: bytes) -> None:
    name = data.decode("utf-8", "surrogateescape")
    cell = spell_name(name)
    assert original(cell) == name
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", cell), "no terminal or reader is steered by it"
    cell.encode()  # all of it is text


def test_a_name_with_odd_bytes_is_spelt_out_in_the_table(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    write_csv(target, [Failure("a\x1b[31m\udcff.png", "no")], make_manifest())
    assert b"a\\x1b[31m\\xff.png" in target.read_bytes()


def test_an_interrupted_csv_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("old")

    def failing() -> Any:
        yield Failure("a", "b")
        raise DataError("stop")

    with pytest.raises(DataError):
        write_csv(target, failing(), make_manifest(), overwrite=True)
    assert target.read_text() == "old"
    with refused("out-occupied", OutputError, path=str(target)):
        write_csv(target, iter(()), make_manifest())
    assert target.read_text() == "old"
    assert list(tmp_path.glob(".*.part")) == []


def test_the_command_prints_one_json_document_and_says_failures_by_its_status(model_file: Path, tmp_path: Path) -> None:
    good, missing = str(paint(tmp_path / "g.png", GREEN)), str(tmp_path / "missing.png")
    target = tmp_path / "out.csv"
    done = edge("predict", str(model_file), good, missing, "--json", "--top", "1", "--csv", str(target))
    assert done.returncode == 1
    rows = json.loads(done.stdout)
    assert [row["image"] for row in rows] == [good, missing]
    assert list(rows[0]["probabilities"]) == ["green"]
    assert set(rows[1]) == {"image", "error", "blame"}, "a share may be away"
    assert len(target.read_text().splitlines()) == 3
    done = edge("predict", str(model_file), good)
    assert (done.returncode, done.stderr) == (0, "")  # ONNX Runtime adds nothing to stderr
    assert done.stdout.startswith(f"{good}\tgreen ")


def test_the_command_answers_errors_in_one_line_and_usage_with_2(tmp_path: Path) -> None:
    done = edge("info", str(tmp_path / "missing.onnx"))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("zoo: ")
    done = edge("info", str(tmp_path / "missing.onnx"), "--json")
    error = json.loads(done.stdout)["error"]
    assert (error["type"], f"zoo: {error['message']}\n") == ("ModelError", done.stderr)
    assert edge("predict").returncode == 2


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux alone")
def test_a_file_name_that_is_no_text_does_not_break_the_document(model_file: Path, tmp_path: Path) -> None:
    odd = os.fsdecode(bytes(paint(tmp_path / "g.png", GREEN).parent) + b"/caf\xe9.png")
    (tmp_path / "g.png").rename(odd)
    done = edge("predict", str(model_file), odd, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    (row,) = json.loads(done.stdout)
    assert (row["image"], row["label"]) == (f"{tmp_path}/caf\\xe9.png", "green")


def test_importing_and_running_loads_no_training_framework(model_file: Path, tmp_path: Path) -> None:
    image = paint(tmp_path / "x.png", RED)
    program = f"""
import sys, zoo.edge
assert not {{"onnxruntime", "numpy", "PIL"}} & set(sys.modules), "importing is not light"
import zoo.edge.__main__
runtime = zoo.edge.Runtime.open({str(model_file)!r})
assert [one.label for one in runtime.predict({str(image)!r})] == ["red"]
from zoo.edge import bench, verify, write_csv
deny = {{
    "torch", "torchvision", "timm", "sklearn", "onnx", "typer", "rich", "scipy", "pandas",
    "matplotlib", "yaml",
}}
assert not deny & set(sys.modules), deny & set(sys.modules)
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=root)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("code", "blame"),
    [("package-missing", "machine"), ("image-memory", "machine"), ("image-decoder-killed", "either")],
)
def test_an_image_that_this_machine_cannot_answer_is_a_row_of_json(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, code: str,
    blame: str,
) -> None:  # fmt: skip
    def read(*_: Any, **__: Any) -> Any:
        raise ImageError(None, "not here", code=code)

    monkeypatch.setattr(Intake, "read", read)
    image = paint(tmp_path / "1.png", RED)
    assert main(["predict", str(model_file), str(image), "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == [{"image": str(image), "error": "not here", "blame": blame}]
    assert type(Runtime.open(model_file).answer(image).row()["error"]) is str


def test_a_folder_with_pictures_of_other_formats_says_so_on_stderr_and_in_json(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A study of 12 slides of which 2 are PNG would be reported as one of 2."""
    folder = tmp_path / "images"
    paint(folder / "1.png", RED)
    paint(folder / "@eaDir" / "1.png" / "SYNOPHOTO_THUMB_SM.jpg", RED)
    for name in ("a.svs", "b.SVS", "d.mp4"):
        (folder / name).write_bytes(b"II*\0" if name.lower().endswith(".svs") else b"x")
    (folder / "notes.txt").write_text("x")
    table = tmp_path / "answers.csv"
    assert main(["predict", str(model_file), str(folder), "--json", "--csv", str(table)]) == 0
    ran = capsys.readouterr()
    said = [line for line in ran.err.splitlines() if "passed over" in line]
    assert len(said) == 1
    assert "2 .svs and 1 .mp4" in said[0]
    assert "1 @eaDir" in said[0]
    *rows, last = json.loads(ran.out)
    assert [row["label"] for row in rows] == ["red"]
    assert last["image"] == str(folder)
    assert last["passed_over"] == {".svs": 2, ".mp4": 1, ".txt": 1}
    assert "passed over" in last["error"]
    assert len(table.read_text().splitlines()) == 2, "the table is of images"
    (folder / "1.png").unlink()
    with refused("data-empty", DataError) as caught:
        list(expand(folder))
    assert "2 .svs" in str(caught.value)
    for name in ("a.svs", "b.SVS", "d.mp4"):
        (folder / name).unlink()
    paint(folder / "1.png", RED)
    assert main(["predict", str(model_file), str(folder), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 1, "a text beside images is no picture left out"
