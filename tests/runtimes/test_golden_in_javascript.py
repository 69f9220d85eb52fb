"""golden.js: it reads what numpy writes, and it refuses answers that are wrong."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

GOLDEN = Path(__file__).resolve().parents[2] / "zoo/edge/page/golden.js"

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not here")


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes, str], Any]:
    """What an expression of JavaScript says of a file: `bytes` is its content, `golden` the module."""
    folder = tmp_path_factory.mktemp("golden")
    shutil.copy(GOLDEN, folder / "golden.mjs")

    def answer(content: bytes, expression: str) -> Any:
        (folder / "file").write_bytes(content)
        (folder / "ask.mjs").write_text(
            'import { readFileSync } from "node:fs";\nimport * as golden from "./golden.mjs";\n'
            'const bytes = new Uint8Array(readFileSync("file"));\n'
            "let said;\ntry { said = await (" + expression + "); } catch (problem) { said = problem.message; }\n"
            'console.log(JSON.stringify(said, (_, value) => typeof value === "bigint" ? Number(value) : value));\n'
        )
        done = subprocess.run(["node", "ask.mjs"], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return answer


ARRAYS = "golden.readNpz(bytes).then((all) => [...all].map(([name, a]) => [name, a.kind, a.shape, Array.from(a.data)]))"


def arrays() -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(0)
    made = {kind: rng.integers(0, 100, (3, 4, 2)).astype(kind) for kind in ("u1", "i1", "u2", "i4", "i8", "f4", "f8")}
    made["swapped"] = made["u2"].astype(">u2")
    made["fortran"] = np.asfortranarray(made["f4"])
    made["number"] = np.float32(0.001)
    made["row"] = np.arange(5)
    return made


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_read_as_numpy_wrote_them(ask: Callable[[bytes, str], Any], save: Any) -> None:
    stream = io.BytesIO()
    save(stream, **arrays())
    said = ask(stream.getvalue(), ARRAYS)
    assert [name for name, *_ in said] == list(arrays())
    for name, kind, shape, values in said:
        expected = arrays()[name]
        assert kind == expected.dtype.str[1:]
        assert tuple(shape) == expected.shape
        assert np.array_equal(np.array(values, expected.dtype).reshape(shape), expected), name


def test_damaged_files_are_refused(ask: Callable[[bytes, str], Any]) -> None:
    stream = io.BytesIO()
    np.savez(stream, image_0000=np.zeros((4, 4, 3), np.uint8), logits=np.zeros((1, 2), np.float32), tolerance=0.001)
    whole = stream.getvalue()
    changed = bytearray(whole)
    changed[whole.index(b"\n") + 1] ^= 1  # the first pixel
    assert "checksum" in ask(bytes(changed), "golden.readGolden(bytes)")
    assert "not a zip" in ask(whole[: len(whole) // 2], "golden.readGolden(bytes)")
    assert "not a zip" in ask(b"", "golden.readGolden(bytes)")
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("image_0000.npy", bytes(100_000))
    lie = bytearray(bomb.getvalue())
    at = lie.rindex(b"PK\x01\x02")
    lie[at + 24 : at + 28] = (1000).to_bytes(4, "little")
    assert "more than the 1000 bytes" in ask(bytes(lie), "golden.readGolden(bytes)")


def test_arrays_of_objects_are_refused(ask: Callable[[bytes, str], Any]) -> None:
    """An object array is a pickle: nothing that a reader of pictures may touch."""
    stream = io.BytesIO()
    np.savez(stream, image_0000=np.array([{}], object))
    assert "expected whole numbers or floats" in ask(stream.getvalue(), "golden.readGolden(bytes)")


REPLAY = "golden.replay(bytes, ({ data }) => %s, { labels: ['cat', 'dog'], task: '%s' })"


def replayed(ask: Callable[[bytes, str], Any], answer: str, task: str = "multiclass") -> Any:
    stream = io.BytesIO()
    images = {f"image_{i:04d}": np.full((2, 3, 1), i, np.uint16) for i in range(3)}
    logits = np.float32([[i, 2.5 - 2 * i] for i in range(3)])
    np.savez_compressed(stream, logits=logits, tolerance=np.float32(0.001), **images)
    return ask(stream.getvalue(), REPLAY % (answer, task))


def test_right_answers_pass(ask: Callable[[bytes, str], Any]) -> None:
    said = replayed(ask, "[data[0] + 0.0001, 2.5 - 2 * data[0]]")
    assert said["images"] == 3
    assert said["mismatches"] == []
    assert said["max_abs_logit"] == pytest.approx(1e-4, rel=1e-2)
    assert said["tolerance"] == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("[data[0], 0.5]", "image_0000: logit of 'dog' expected 2.50000, actual 0.500000"),
        ("[NaN, 2.5 - 2 * data[0]]", "image_0000: logit of 'cat' expected 0.00000, actual NaN"),
        ("[data[0]]", "image_0000: expected 2 logits, actual 1"),
        ("[3, 2.5 - 2 * data[0]]", "image_0000: label expected 'dog', actual 'cat'"),
    ],
)
def test_wrong_answers_are_named(ask: Callable[[bytes, str], Any], answer: str, says: str) -> None:
    assert says in replayed(ask, answer)["mismatches"]


def test_scores_of_novelty_are_compared_where_both_have_them(ask: Callable[[bytes, str], Any]) -> None:
    stream = io.BytesIO()
    images = {f"image_{i:04d}": np.full((2, 3, 1), i, np.uint16) for i in range(3)}
    np.savez(
        stream,
        logits=np.float32([[i, 9] for i in range(3)]),
        novelty=np.float32([0, 100, 200]),
        tolerance=np.float32(0.001),
        **images,
    )
    replay = "golden.replay(bytes, ({ data }) => (%s))"
    right = ask(stream.getvalue(), replay % "{ logits: [data[0], 9], novelty: [100.05 * data[0]] }")
    assert right["mismatches"] == []
    assert right["max_abs_novelty"] == pytest.approx(5e-4, rel=1e-2)
    wrong = ask(stream.getvalue(), replay % "{ logits: [data[0], 9], novelty: [data[0] ? NaN : 0] }")
    assert [line.partition(":")[0] for line in wrong["mismatches"]] == ["image_0001", "image_0002"]
    assert ask(stream.getvalue(), replay % "[data[0], 9]")["max_abs_novelty"] is None


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_probabilities_must_be_those_of_the_logits(ask: Callable[[bytes, str], Any], task: str) -> None:
    """Answers are made of them: a page whose softmax is wrong must not call itself proven."""
    stream = io.BytesIO()
    images = {f"image_{i:04d}": np.full((2, 3, 1), i, np.uint16) for i in range(3)}
    np.savez(stream, logits=np.float32([[i, 2.5 - 2 * i] for i in range(3)]), tolerance=np.float32(0.001), **images)
    powers = "logits.map((x) => Math.exp(x / T)).map((e, _, all) => e / all.reduce((a, b) => a + b))"
    step = powers if task == "multiclass" else "logits.map((x) => 1 / (1 + Math.exp(-x / T)))"
    replay = (
        "golden.replay(bytes, ({ data }) => { const T = %s, logits = [data[0], 2.5 - 2 * data[0]];"
        " return { logits, probabilities: (%s).slice(0, %d) }; }, { temperature: 1.5, task: '%s' })"
    )
    assert ask(stream.getvalue(), replay % ("1.5", step, 2, task))["mismatches"] == []
    for temperature, places in (("1.51", 2), ("NaN", 2), ("1.5", 1)):
        lines = ask(stream.getvalue(), replay % (temperature, step, places, task))["mismatches"]
        assert [line.partition(":")[0] for line in lines] == [f"image_{i:04d}" for i in range(3)]


def test_a_label_of_several_that_the_tolerance_leaves_open_is_counted(ask: Callable[[bytes, str], Any]) -> None:
    stream = io.BytesIO()
    images = {f"image_{i:04d}": np.full((2, 3, 1), i, np.uint16) for i in range(2)}
    np.savez(stream, logits=np.float32([[0.4, -3], [0.0004, 3]]), tolerance=np.float32(0.3), **images)
    replay = "golden.replay(bytes, ({ data }) => [data[0] ? -0.0004 : -0.08, data[0] ? 3 : -3], { task: 'multilabel' })"
    found = ask(stream.getvalue(), replay)
    assert [line.partition(" '")[0] for line in found["mismatches"]] == [
        "image_0000: logit of",
        "image_0000: label expected",
    ]
    assert found["open_labels"] == 1
    stream = io.BytesIO()
    np.savez(stream, logits=np.float32([[0.4, -3], [0.0004, 3]]), tolerance=np.float32(0.5), **images)
    found = ask(stream.getvalue(), replay)
    assert (found["mismatches"], found["open_labels"]) == ([], 2)


def test_a_label_of_several_has_no_rank(ask: Callable[[bytes, str], Any]) -> None:
    """Where each label is given by its own logit, two near each other may change places."""
    stream = io.BytesIO()
    images = {f"image_{i:04d}": np.full((2, 3, 1), i, np.uint16) for i in range(2)}
    np.savez(stream, logits=np.float32([[1, 1.0005]] * 2), tolerance=np.float32(0.001), **images)
    replay = "golden.replay(bytes, () => [1.0005, 1], { task: '%s' })"
    for task, still in (("multilabel", 0), ("multiclass", 2)):
        found = ask(stream.getvalue(), replay % task)
        assert (found["mismatches"], found["open_labels"]) == ([], still)


def test_the_example_takes_the_version_that_is_tested() -> None:
    root = GOLDEN.parents[3]
    tested, example = (
        json.loads((root / folder / "package.json").read_text())["dependencies"]
        for folder in ("tests/runtimes", "examples/node")
    )
    assert example["onnxruntime-node"] == tested["onnxruntime-node"] == tested["onnxruntime-web"]
    assert tested["onnxruntime-node"] in (root / "examples/README.md").read_text()
