"""What the page says and computes, module by module, in node: no browser is needed for that."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import struct
import subprocess
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from edge_models import LABELS, deep_manifest, make_manifest, make_model

from zoo.edge._explain import VISIBLE, VISIBLE_EVIDENCE, map_occlusion
from zoo.edge._runtime import Runtime
from zoo.edge.page import INDEX, assets
from zoo.readers import from_array, read
from zoo.spec import encode

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.spec import Manifest


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    for name, content in assets().items():
        (folder / name).write_bytes(content)
    (folder / "package.json").write_text('{"type": "module"}')
    return folder


def node(modules: Path, script: str, given: Any = None) -> Any:
    """What a script prints as JSON; `given` is what it reads as such."""
    if (program := shutil.which("node")) is None:
        pytest.skip("node is not installed")
    path = modules / "asked.js"
    path.write_text("const given = JSON.parse((await import('node:fs')).readFileSync(0, 'utf8'));\n" + script)
    done = subprocess.run([program, str(path)], input=json.dumps(given), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.replace("\u00a0", " "))  # which keeps a sign with its number


_MEAN_COLOUR = """
import { occlusion } from "./explain.js";
const kinds = { uint8: Uint8Array, uint16: Uint16Array, float32: Float32Array };
const { manifest, shape: [height, width, channels], pixels, dtype, most, label } = given;
const answer = async ({ data, height, width, channels }) => {
  const mean = new Array(channels).fill(0);
  data.forEach((value, at) => { mean[at % channels] += (8 * value) / most / (height * width); });
  const logits = manifest.labels.map((_, at) => mean[at] ?? 0);
  const largest = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - largest));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
};
const image = { data: kinds[dtype].from(pixels), height, width, channels };
console.log(JSON.stringify(await occlusion(image, manifest, answer, { label })));
"""


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((40, 52, 3), "uint8"),
        ((131, 202, 3), "uint8"),  # averaged over blocks first
        ((1, 300, 3), "uint8"),
        ((2, 2, 3), "uint8"),
        ((70, 31, 1), "uint16"),
        ((70, 31, 1), "float32"),
    ],
)
def test_heat_map_in_javascript_is_the_one_in_python(
    modules: Path, tmp_path: Path, shape: tuple[int, int, int], dtype: str
) -> None:
    manifest = _two_labels(dtype) if shape[2] == 1 else make_manifest()
    (tmp_path / "model.onnx").write_bytes(make_model(manifest).SerializeToString())
    most = 4095 if shape[2] == 1 else 255
    pixels = np.random.default_rng(1).integers(0, most + 1, shape).astype(dtype)
    pixels[: shape[0] // 2, : shape[1] // 2, 0] = most
    heat = map_occlusion(Runtime.open(tmp_path / "model.onnx"), from_array(pixels), manifest.labels[0])
    found = node(
        modules,
        _MEAN_COLOUR,
        {
            "manifest": json.loads(encode(manifest)),
            "shape": shape,
            "pixels": pixels.ravel().tolist(),
            "dtype": dtype,
            "most": most,
            "label": manifest.labels[0],
        },
    )
    assert (found["label"], found["height"], found["width"]) == (heat.label, heat.height, heat.width)
    assert found["base"] == pytest.approx(heat.base, abs=1e-6)
    assert np.allclose(found["values"], heat.values, atol=1e-6)


def _two_labels(dtype: str) -> Manifest:
    deep = deep_manifest(dtype=dtype)
    return make_manifest(labels=("bright", "dark"), preprocess=deep.preprocess, input=deep.input)


def test_same_map_is_drawn_at_full_strength_on_both_sides(modules: Path) -> None:
    assert node(modules, 'import { VISIBLE } from "./explain.js"; console.log(VISIBLE);') == VISIBLE


def test_a_map_of_the_file_itself_is_told_and_drawn_as_such(modules: Path) -> None:
    script = 'import { VISIBLE_EVIDENCE, top } from "./heat.js"; import { meaning } from "./words.js";'
    script += "console.log(JSON.stringify([VISIBLE_EVIDENCE, top(given), meaning(given, 0.05)]));"
    faint, strong = (
        {"label": "red", "base": 0.9, "values": [[value, -1.0]], "method": "evidence"} for value in (0.2, 3)
    )
    least, drawn, words = node(modules, script, faint)
    assert least == drawn == VISIBLE_EVIDENCE
    assert "The model's own map of evidence for red" in words
    assert "covered" not in words
    assert node(modules, script, strong)[1] == 3


_EXIF = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # orientation 6 alone
_UPRIGHT = _EXIF.replace(b"\x01\0\x06", b"\x01\0\x01")
_RAW = b"\nexif\n      26\n" + _EXIF.hex().encode() + b"\n"


def _png(before: bytes = b"", behind: bytes = b"") -> bytes:
    """A gray picture of 3 x 2 pixels, with chunks before and behind its pixels."""
    rows = _chunk(b"IDAT", zlib.compress(bytes(2 * 4)))
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 2, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + before + rows + behind + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize(
    ("chunk", "turns"),
    [
        (_chunk(b"eXIf", _EXIF), True),
        (_chunk(b"eXIf", _UPRIGHT), False),
        (_chunk(b"tEXt", b"Raw profile type exif\0" + _RAW), True),
        (_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(_RAW)), True),
        (_chunk(b"tEXt", b"Raw profile type exif of no kind\0"), False),
        (b"", False),
    ],
    ids=["eXIf", "eXIf upright", "tEXt", "zTXt", "another text", "none"],
)
@pytest.mark.parametrize("place", ["before", "behind"])
def test_a_png_that_exif_turns_is_not_given_to_a_browser(
    modules: Path, chunk: bytes, place: str, *, turns: bool
) -> None:
    """A browser may show it as it lies; the device turns it."""
    data = _png(**{place: chunk})
    assert read(data).pixels.shape[:2] == ((3, 2) if turns else (2, 3))
    script = 'import { defect } from "./decode.js"; console.log(JSON.stringify(defect(Uint8Array.from(given))));'
    assert (node(modules, script, list(data)) is not None) == turns


def test_known_files_have_the_pixels_that_our_readers_make_of_them(modules: Path) -> None:
    script = 'import { KNOWN } from "./known.js"; console.log(JSON.stringify(KNOWN));'
    known = node(modules, script)
    assert [one["form"] for one in known] == ["JPEG", "PNG", "WebP"]
    for one in known:
        found = read(base64.b64decode(one["file"])).pixels
        assert found.shape == (one["height"], one["width"], 3)
        expected = np.frombuffer(base64.b64decode(one["pixels"]), np.uint8).reshape(found.shape)
        assert np.abs(found.astype(int) - expected).max() <= one["most"], one["form"]


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ("", None),
        ("if (one.form === 'JPEG') data[5] += data[5] > 99 ? -2 : 2;", None),  # a decoder that rounds otherwise
        ("if (one.form === 'JPEG') data[5] += data[5] > 99 ? -9 : 9;", "JPEG"),
        ("if (one.form === 'PNG') data[5] += data[5] > 99 ? -1 : 1;", "PNG"),
        ("if (one.form === 'WebP') data[5] += data[5] > 99 ? -1 : 1;", "WebP"),
        ("[height, width] = [width, height];", "JPEG"),
    ],
    ids=["the same", "rounded", "other colours", "gamma", "lossy", "turned"],
)
def test_a_browser_that_decodes_otherwise_is_refused(modules: Path, change: str, refused: str | None) -> None:
    script = f"""
        import {{ checkDecoders }} from "./decode.js";
        import {{ KNOWN }} from "./known.js";
        const decoder = async (bytes) => {{
          const one = KNOWN.find((known) => atob(known.file).length === bytes.length);
          const data = Uint8Array.from(atob(one.pixels), (letter) => letter.charCodeAt(0));
          let {{ height, width }} = one;
          {change}
          return {{ data, height, width }};
        }};
        console.log(JSON.stringify(await checkDecoders(decoder).then(() => null, (problem) => problem.message)));
    """
    said = node(modules, script)
    assert said is None if refused is None else refused in said


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 1000])
def test_hash_is_sha256(modules: Path, size: int) -> None:
    data = bytes(np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8))
    script = 'import { sha256 } from "./sha256.js"; console.log(JSON.stringify(sha256(Uint8Array.from(given))));'
    assert node(modules, script, list(data)) == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("values", "task", "fits"),
    [
        ([0.2, 0.3, 0.5], "multiclass", True),
        ([0.2, 0.3, 0.4], "multiclass", False),
        ([-3.0, 3.0, 1.0], "multiclass", False),
        ([None, 0.5, 0.5], "multiclass", False),
        ([0.9, 0.9, 0.1], "multilabel", True),
        ([0.9, 1.1, 0.1], "multilabel", False),
    ],
)
def test_answers_that_are_no_probabilities_are_refused(
    modules: Path, values: list[float | None], task: str, fits: bool
) -> None:
    script = """
        import { checkProbabilities } from "./bundle.js";
        const values = given.values.map((value) => value ?? NaN);
        try { checkProbabilities(values, given.task); console.log(true); } catch { console.log(false); }
    """
    assert node(modules, script, {"values": values, "task": task}) is fits


def test_manifest_inside_the_model_is_found(modules: Path) -> None:
    model = make_model().SerializeToString()
    script = 'import { metadata } from "./bundle.js";'
    script += "console.log(metadata(Uint8Array.from(given)).get('zoo'));"
    assert node(modules, script, list(model))["labels"] == list(LABELS)


def _interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": min(1.0, value + 0.05)}


def _manifest(**changes: Any) -> dict[str, Any]:
    """Of 100 test images 50 were red; 42 were called red, 39 of them rightly."""
    report = {
        "n": 100,
        "split": "test",
        "per_class": {
            "red": {"n": 50, "sensitivity": _interval(0.78), "ppv": _interval(0.93)},
            "green": {"n": 40, "sensitivity": _interval(0.9), "ppv": _interval(0.8)},
            "blue": {"n": 10, "sensitivity": _interval(0.5)},
        },
        "confusion": {"labels": list(LABELS), "counts": [[39, 11, 0], [2, 38, 0], [1, 9, 0]]},
        "calibration": {"ece": 0.041, "n": 100},
        "clusters": None,
    }
    return {"labels": list(LABELS), "task": "multiclass", "report": report | changes.pop("report", {})} | changes


def _said(modules: Path, label: str, manifest: dict[str, Any]) -> list[str]:
    script = 'import { evidence, always } from "./words.js";'
    script += "const [label, manifest] = given;"
    script += "console.log(JSON.stringify([...evidence(label, manifest), ...always(manifest)].map((one) => one.text)));"
    return list(node(modules, script, [label, manifest]))


def test_shares_are_told_with_interval_and_number_of_images(modules: Path) -> None:
    said = _said(modules, "red", _manifest())
    assert said[0] == "Of the 42 test images that it called red, 93 % (83–98 %) were red."
    assert said[1] == "Of the 50 test images of red, it found 78 % (68–83 %)."
    assert said[2] == "50 of 100 test images were red. Where it is rarer, fewer of its calls are right."
    assert any("off by 4.1 points on average" in line for line in said)
    assert any("one of its 3 labels for any image" in line for line in said)
    assert not any("rough" in line for line in said)


def test_intervals_say_what_they_take_for_granted(modules: Path) -> None:
    assert any("too narrow" in line for line in _said(modules, "red", _manifest()))
    grouped = _said(modules, "red", _manifest(report={"clusters": 12}))
    assert any("resampling 12 groups, such as patients" in line for line in grouped)
    assert not any("too narrow" in line for line in grouped)


def test_label_that_was_hardly_tested_is_warned_of(modules: Path) -> None:
    said = _said(modules, "blue", _manifest())
    assert said[0] == "It called no test image blue: how often that is right is not known."
    assert "From so few images (10) the shares of blue are rough." in said


def test_model_without_a_report_is_warned_of(modules: Path) -> None:
    said = _said(modules, "red", {"labels": list(LABELS), "task": "multiclass", "report": None})
    assert said[0] == "No evaluation came with this model. How often it is right is not known."


def test_images_called_so_are_counted_for_several_labels_too(modules: Path) -> None:
    """Such a report has no confusion matrix: right ones over the share that is right."""
    said = _said(modules, "red", _manifest(task="multilabel", report={"confusion": None}))
    assert said[0] == "Of the 42 test images that it called red, 93 % (83–98 %) were red."


def _point(**changes: Any) -> dict[str, Any]:
    """Of 100 test images 50 were red; 80 reach the point, 47 of them are red."""
    counts = {"n": 100, "tp": 47, "fp": 33, "tn": 17, "fn": 3}
    shares = {"sensitivity": 0.94, "ppv": 0.59, "specificity": 0.34, "npv": 0.85}
    held = {name: _interval(value) for name, value in shares.items()}
    return {"label": "red", "rule": "sensitivity=0.9", "threshold": 0.1} | counts | held | changes


def _pointed(judged: dict[str, Any] | None, **changes: Any) -> dict[str, Any]:
    """`_manifest` with a point of red at 10 %, and what its report says of that."""
    operating = None if judged is None else {"points": [judged], "curves": []}
    point = {"label": "red", "rule": "sensitivity=0.9", "threshold": 0.1, "n": 60, "positives": 20}
    return _manifest(report={"operating": operating}, operating=[point], **changes)


def test_shares_of_a_label_with_a_point_are_those_from_its_point_on(modules: Path) -> None:
    """Not those of the most probable label: a clinic would trust a call twice as much as its test says."""
    said = _said(modules, "red", _pointed(_point()))
    assert said[:4] == [
        "red is called from 10 % on, by the rule sensitivity=0.9.",
        "Of the 80 test images that it called red, 59 % (49–64 %) were red.",
        "Of the 50 test images of red, it found 94 % (84–99 %).",
        "50 of 100 test images were red. Where it is rarer, fewer of its calls are right.",
    ]


@pytest.mark.parametrize("judged", [None, {"threshold": 0.2}, {"label": "blue"}])
def test_a_point_that_the_report_does_not_judge_has_no_shares(modules: Path, judged: dict[str, Any] | None) -> None:
    said = _said(modules, "red", _pointed(None if judged is None else _point(**judged)))
    assert said[1] == "Its evaluation does not say how often it is right to call red from there on."
    assert not any("test images" in line for line in said[:2])
    assert "calibrated" in said[2]


def test_a_label_without_a_point_is_told_beside_those_of_others(modules: Path) -> None:
    said = _said(modules, "green", _pointed(_point()))
    assert said[0].startswith("Of the 58 test images whose most probable label is green, 80 % ")
    assert said[3].startswith("Other labels have operating points.")
    several = _said(modules, "green", _pointed(_point(), task="multilabel"))
    assert "that it called green" in several[0]
    assert not any("Other labels" in line for line in several)


def test_of_two_labels_the_point_of_one_tells_both(modules: Path) -> None:
    """The other one is the answer where the first does not reach its point."""
    said = _said(modules, "green", _pointed(_point(), labels=["red", "green"]))
    assert said[0].startswith("Of the 20 test images that it called green, 85 % ")
    assert said[1].startswith("Of the 50 test images of green, it found 34 % ")


@pytest.mark.parametrize("pointed", [False, True])
def test_accuracy_that_knows_no_operating_point_is_called_so(modules: Path, pointed: bool) -> None:
    manifest = _pointed(_point()) if pointed else _manifest()
    manifest["report"]["metrics"] = {"accuracy": _interval(0.77)}
    found = node(
        modules, 'import { overall } from "./words.js"; console.log(JSON.stringify(overall(given)));', manifest
    )
    assert found == {"Accuracy without operating points" if pointed else "Accuracy": "77 % (67–82 %)"}


def test_a_report_without_calibration_is_said(modules: Path) -> None:
    said = _said(modules, "red", _manifest(report={"calibration": None}))
    assert "How well its probabilities are calibrated is not known." in said


@pytest.mark.parametrize(
    ("probabilities", "task", "title"),
    [
        ([0.7, 0.2, 0.1], "multiclass", "red"),
        ([0.45, 0.40, 0.15], "multiclass", "Too close to call: red or green"),
        ([0.34, 0.33, 0.33], "multiclass", "Too close to call: red, green or blue"),
        ([0.9, 0.1, 0.8], "multilabel", "red, blue"),
        ([0.2, 0.1, 0.3], "multilabel", "No label"),
        ([0.9, 0.1, 0.48], "multilabel", "red"),
    ],
)
def test_headline_names_no_winner_where_there_is_none(
    modules: Path, probabilities: list[float], task: str, title: str
) -> None:
    row = {
        "label": "red",
        "probability": max(probabilities),
        "probabilities": dict(zip(LABELS, probabilities, strict=True)),
    }
    if task == "multilabel":
        row["labels"] = [label for label, p in zip(LABELS, probabilities, strict=True) if p >= 0.5]
    script = 'import { verdict } from "./words.js"; console.log(JSON.stringify(verdict(...given)));'
    found = node(modules, script, [row, _manifest(task=task)])
    assert found["title"] == title
    unclear = [p for p in probabilities if task == "multilabel" and abs(2 * p - 1) < 0.1]
    assert (found["close"] is not None) == ("close" in title or bool(unclear))


def test_a_set_of_another_label_than_the_answer_is_told_as_such(modules: Path) -> None:
    """An operating point may call what the set rules out; the file has no largest error to speak of."""
    row = {
        "label": "blue",
        "probability": 0.2,
        "probabilities": dict(zip(LABELS, (0.7, 0.1, 0.2), strict=True)),
        "decision": "uncertain",
        "set": ["red"],
        "operating": {"blue": True},
    }
    script = 'import { verdict } from "./words.js"; console.log(JSON.stringify(verdict(...given)));'
    found = node(modules, script, [row, _manifest() | {"abstention": {"sets": {"coverage": 0.9}}}])
    assert found["title"] == "Uncertain: red"
    assert "the set has 1 label." in found["close"]
    assert "blue reaches its operating point" in found["close"]


def test_few_groups_let_more_pass_than_was_asked_for(modules: Path) -> None:
    given = {"abstention": {"novelty": {"threshold": 1.5, "share": 0.02, "n": 10, "grouped": True}}}
    row = {"decision": "unlike training", "novelty": 2, "label": "red"}
    script = (
        'import { decisions, verdict } from "./words.js";\n'
        "console.log(JSON.stringify([decisions(given[1]), verdict(...given)]));"
    )
    told, shown = node(modules, script, [row, given])
    assert "at most 9.09" in told["Not answered"]
    assert "10 groups of validation images" in told["Not answered"]
    assert "at most 9.09" in shown["close"]


@pytest.mark.parametrize("source", ["validation", "recalibration"])
def test_images_that_settled_decisions_are_those_of_the_site_where_it_recalibrated(modules: Path, source: str) -> None:
    point = {"label": "red", "threshold": 0.1, "rule": "sensitivity=0.9", "n": 40, "positives": 20}
    means = {"sets": {"coverage": 0.9, "n": [1]}, "error": {"threshold": 0.5, "error": 0.1, "n": 30}}
    given = {"operating": [point], "abstention": means, "reference": {"source": source}}
    script = 'import { decisions } from "./words.js"; console.log(JSON.stringify(decisions(given)));'
    said = node(modules, script, given)
    site = source == "recalibration"
    assert ("40 images of the site" if site else "40 validation images") in said["Called from"]
    assert ("1 independent image of the site" if site else "1 independent validation image") in said["Uncertain"]
    assert ("30 images of the site" if site else "30 validation images") in said["Uncertain"]


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.0, "<0.1 %"), (0.034, "3.4 %"), (0.0996, "10 %"), (0.714, "71 %"), (0.9896, "99.0 %"), (1.0, ">99.9 %")],
)
def test_nothing_is_ever_certain(modules: Path, p: float, text: str) -> None:
    assert (
        node(modules, 'import { percent } from "./words.js"; console.log(JSON.stringify(percent(given)));', p) == text
    )


def test_map_in_which_nothing_matters_says_so(modules: Path) -> None:
    script = 'import { meaning } from "./words.js"; console.log(JSON.stringify(meaning(given, 0.05)));'
    heat = {"label": "red", "base": 0.9, "values": [[0.01, -0.2], [0.0, 0.002]]}
    assert "by less than 5 points: no single place decides" in node(modules, script, heat)
    heat["values"] = [[0.31, 0.0]]
    said = node(modules, script, heat)
    assert "from 90 % by up to 31 points" in said
    assert "not where a disease is" in said


def test_page_is_whole_and_runs_nothing_inline() -> None:
    files = assets()
    page = files[INDEX].decode()
    assert {"app.js", "style.css", "golden.js", "mode.js", "explain.js"} <= set(files)
    assert '<script type="module" src="assets/app.js"></script>' in page
    assert page.count("<script") == 1
    assert "style=" not in page
    assert " on" not in page.split("<body>")[1].split("<p>")[0]
    known = (b"http://localhost", b"http://www.w3.org/2000/svg")  # words on the page, and the name of a language
    for name, content in files.items():
        for address in known:
            content = content.replace(address, b"")  # noqa: PLW2901 - what is left is judged
        assert b"://" not in content, f"{name} names another place"
