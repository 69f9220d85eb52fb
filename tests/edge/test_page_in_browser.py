"""The static page in Chromium: the model answers inside the browser as it does in Python, and nothing leaves it."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from browsing import Page, chromium, handed_out, shown
from edge_models import COLOURS, deciding_manifest, deep_manifest, make_bundle, make_manifest, paint, seal
from PIL import Image

from zoo.artefact._ort_web import engine_files
from zoo.artefact._web import write_web
from zoo.edge._explain import map_occlusion
from zoo.edge._runtime import Runtime
from zoo.errors import OutputError
from zoo.readers import read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow  # a browser is started


@pytest.fixture(scope="module")
def engine() -> dict[str, bytes]:
    try:
        return engine_files(fetch=True)
    except OutputError as problem:
        pytest.skip(f"no onnxruntime-web: {problem}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, engine: dict[str, bytes]) -> Path:
    """The page of the mean-colour model; not to be changed."""
    folder = tmp_path_factory.mktemp("site")
    write_web(folder / "web", make_bundle(folder / "mean.zoo"), engine)
    return folder / "web"


@pytest.fixture(scope="module")
def page(browser: Any, site: Path) -> Iterator[Page]:
    with handed_out(site) as address:
        opened = Page(browser, address)
        yield opened
        assert opened.complaints == []
        assert opened.foreign() == [], "a request left the machine"
        opened.page.close()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    pixels = np.random.default_rng(2).integers(0, 30, (40, 52, 3), dtype=np.uint8)
    pixels[4:22, 6:28] = (250, 30, 20)
    Image.fromarray(pixels).save(folder / "square.png")
    Image.fromarray(pixels[2:6, 4:8]).save(folder / "corner.png")
    Image.fromarray(pixels).save(folder / "square.jpg", quality=80, exif=_turned())
    Image.fromarray(pixels).save(folder / "turned.webp", lossless=True, exif=_turned())
    Image.fromarray(pixels).convert("RGBA").save(folder / "opaque.png")
    Image.new("RGBA", (9, 9), (200, 0, 0, 120)).save(folder / "glass.png")
    Image.fromarray(np.full((9, 9), 4000, np.uint16)).save(folder / "deep.png")
    Image.fromarray(pixels).convert("CMYK").save(folder / "print.jpg")
    for name, options in {
        "half.jpg": {},
        "half_progressive.jpg": {"progressive": True},
        "half_restarts.jpg": {"restart_marker_blocks": 2},
    }.items():
        Image.fromarray(pixels).save(folder / name, quality=80, **options)
        whole = (folder / name).read_bytes()
        (folder / f"whole_{name[5:]}").write_bytes(whole + b"behind the end")
        (folder / name).write_bytes(whole[:-80].rstrip(b"\xff") + b"\xff\xd9")
    Image.fromarray(pixels).save(folder / "scan.tif")
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    frames[0].save(folder / "film.gif", save_all=True, append_images=frames[1:])
    (folder / "cut.png").write_bytes((folder / "square.png").read_bytes()[:500])
    (folder / "empty.png").write_bytes(b"")
    (folder / "scan.dcm").write_bytes(bytes(128) + b"DICM" + bytes(64))
    (folder / "text.png").write_text("this is not a picture, whatever it is called")
    return folder


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    return exif


@pytest.mark.parametrize(
    "name", ["square.png", "square.jpg", "opaque.png", "whole_progressive.jpg", "whole_restarts.jpg"]
)
def test_page_answers_as_predict_does(page: Page, site: Path, pictures: Path, name: str) -> None:
    """Every digit that the page shows; a JPEG is turned upright by its EXIF data on both sides."""
    expected = Runtime.open(site / "model.zoo").answer(pictures / name).row()
    page.choose(pictures / name)
    assert page.text("#verdict") == f"{expected['label']} {shown(expected['probability'])}"
    assert page.bars() == {label: shown(p) for label, p in expected["probabilities"].items()}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("text.png", "not an image by its first bytes; expected PNG, JPEG, WebP, GIF or BMP"),
        ("scan.dcm", "a DICOM file: a page in a browser cannot read it; give it to 'zoo predict'"),
        ("scan.tif", "a TIFF file: a page in a browser cannot read it"),
        ("deep.png", "16 bits a sample, which would be cut to 8"),
        ("glass.png", "partly transparent, expected opaque pixels"),
        ("print.jpg", "CMYK colours, expected grey or RGB"),
        ("film.gif", "holds 3 frames, expected one image"),
        ("turned.webp", "which browsers leave out; save it upright"),
        ("cut.png", "cannot be decoded; restore the file"),
        ("empty.png", "empty file (0 bytes)"),
        ("half.jpg", "truncated: the data end before the picture does"),
        ("half_progressive.jpg", "truncated: the data end before the picture does"),
        ("half_restarts.jpg", "truncated: the data end before the picture does"),
    ],
)
def test_file_that_would_be_read_otherwise_is_refused_in_words(
    page: Page, pictures: Path, name: str, words: str
) -> None:
    page.choose(pictures / name)
    assert page.text("#trouble").startswith(f"{name}: ") or page.page.is_visible("#several")
    assert words in page.text("#trouble")
    assert not page.page.is_visible("#answer"), "no answer of an earlier image stays beside an error"


def test_several_images_make_a_table(page: Page, pictures: Path) -> None:
    page.page.reload()
    page.until(lambda: page.text("#status") == "Ready.")
    page.choose(pictures / "square.png", pictures / "text.png", pictures / "square.jpg")
    assert page.text("#status") == "2 of 3 images answered."
    rows = [" ".join(row.split()) for row in page.page.locator("#rows tr").all_inner_texts()]
    assert rows[0].startswith("square.png red")
    assert rows[1].startswith("text.png not an image")
    page.page.locator("#rows button").nth(2).click()
    assert page.text("#file") == "square.jpg"


def test_images_are_decided_in_the_browser_as_by_predict(
    browser: Any, engine: dict[str, bytes], tmp_path: Path
) -> None:
    """By points, sets and a score that the graph gives there, and the self-test compares that score."""
    bundle = make_bundle(tmp_path / "mean.zoo", manifest=deciding_manifest())
    write_web(tmp_path / "web", bundle, engine)
    rows = [one.row() for one in Runtime.open(bundle).predict([paint(tmp_path / n, c) for n, c in COLOURS.items()])]
    with handed_out(tmp_path / "web") as address:
        page = Page(browser, address)
        page.choose(*(tmp_path / name for name in COLOURS))
        words = {"label": ("red", "blue"), "uncertain": ("uncertain: ",), "unlike training": ("not answered: unlike",)}
        said = [" ".join(text.split()) for text in page.page.locator("#rows td:nth-child(2)").all_inner_texts()]
        for row, text in zip(rows, said, strict=True):
            assert text.startswith(words[row["decision"]])
        assert {row["decision"] for row in rows} == set(words)
        page.page.set_viewport_size({"width": 390, "height": 800})
        assert page.page.evaluate("document.documentElement.scrollWidth") == 390
        assert page.test().startswith("Passed")
        assert (page.complaints, page.foreign()) == ([], [])
        page.page.close()
    with np.load(bundle / "golden.npz") as golden:
        arrays = dict(golden)
    np.savez(bundle / "golden.npz", **arrays | {"novelty": arrays["novelty"] + np.float32(1)})
    seal(bundle, deciding_manifest())
    write_web(tmp_path / "spoilt", bundle, engine)
    with handed_out(tmp_path / "spoilt") as address:
        page = Page(browser, address)
        assert "novelty expected" in page.test()
        page.page.close()


def test_heat_map_is_the_one_of_python(page: Page, site: Path, pictures: Path) -> None:
    """By what the page says of it, and by where it is strong."""
    page.choose(pictures / "corner.png")
    page.explain()
    heat = map_occlusion(Runtime.open(site / "model.zoo"), read(pictures / "corner.png"), "red")
    drop, y, x = heat.peak
    assert f"by up to {100 * drop:.{1 if drop < 0.1 else 0}f} points" in page.text("#meaning")
    assert "not where a disease is" in page.text("#meaning")
    assert (y, x) == (3, 3)
    assert page.strength(0.9, 0.9) > 230
    assert page.strength(0.1, 0.1) < 40
    page.page.uncheck("#overlay")
    assert not page.page.is_visible("#heat")


def test_paste_and_drop_are_taken_too(page: Page, pictures: Path) -> None:
    for kind, carrier in (("paste", "clipboardData"), ("drop", "dataTransfer")):
        script = f"""async ([bytes, kind]) => {{
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], `${{kind}}.png`));
            const event = new Event(kind, {{ bubbles: true }});
            Object.defineProperty(event, "{carrier}", {{ value: data }});
            document.body.dispatchEvent(event);
        }}"""
        page.page.evaluate(script, [list((pictures / "square.png").read_bytes()), kind])
        page.until(lambda kind=kind: page.text("#file") == f"{kind}.png")  # type: ignore[misc]
        assert page.text("#verdict").startswith("red")


def test_self_test_passes(page: Page) -> None:
    assert page.test().startswith("Passed: all 4 images")


def test_what_it_is_not_stays_in_sight(page: Page) -> None:
    page.page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    box = page.page.locator(".use").bounding_box()
    assert (box["y"], page.text(".use")) == (0, "Not a medical device. tests")


def test_nothing_overflows_a_narrow_screen(page: Page, pictures: Path) -> None:
    page.page.set_viewport_size({"width": 360, "height": 740})
    page.choose(pictures / "square.png")
    assert page.page.evaluate("document.documentElement.scrollWidth") == 360
    page.page.set_viewport_size({"width": 1200, "height": 900})


def test_every_control_is_reached_by_keyboard_and_has_a_name(page: Page, pictures: Path) -> None:
    page.choose(pictures / "square.png")
    page.page.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(20):
        page.page.keyboard.press("Tab")
        reached.append(page.page.evaluate("document.activeElement.id"))
    assert {"files", "explain", "of", "test"} <= set(reached)
    unnamed = "[...document.querySelectorAll('button, input, select, canvas[role]')].filter(e => "
    unnamed += "!e.labels?.length && !e.textContent.trim() && !e.getAttribute('aria-label')).map(e => e.id)"
    assert page.page.evaluate(unnamed) == []


@pytest.mark.parametrize("name", ["golden.npz", "model.onnx", "manifest.json"])
def test_changed_file_is_refused(browser: Any, site: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "web"
    shutil.copytree(site, folder)
    changed = folder / "model.zoo" / name
    data = bytearray(changed.read_bytes())
    if name == "manifest.json":
        manifest = json.loads(data)
        manifest["labels"].reverse()
        changed.write_text(json.dumps(manifest))
    else:
        data[len(data) // 2] ^= 1
        changed.write_bytes(data)
    with handed_out(folder) as address:
        page = Page(browser, address)
        if name == "golden.npz":
            assert "golden.npz has sha256" in page.test()
        elif name == "model.onnx":
            assert "model.onnx has sha256" in page.text("#trouble")
        else:
            assert "differ in 'labels'" in page.text("#trouble")
        assert page.page.is_visible("#choose") == (name == "golden.npz")
        page.page.close()


def test_wrong_answers_fail_the_self_test(browser: Any, engine: dict[str, bytes], tmp_path: Path) -> None:
    """Hashes that fit do not help a model that answers otherwise."""
    write_web(tmp_path / "web", make_bundle(tmp_path / "off.zoo", shift=0.01), engine)
    with handed_out(tmp_path / "web") as address:
        page = Page(browser, address)
        assert page.test().startswith("Failed: do not use this page")
        page.page.close()


def test_several_labels_are_answered_one_by_one(
    browser: Any, engine: dict[str, bytes], pictures: Path, tmp_path: Path
) -> None:
    bundle = make_bundle(tmp_path / "several.zoo", manifest=make_manifest(task="multilabel"))
    write_web(tmp_path / "web", bundle, engine)
    row = Runtime.open(bundle).answer(pictures / "square.png").row()
    with handed_out(tmp_path / "web") as address:
        page = Page(browser, address)
        page.choose(pictures / "square.png")
        assert page.bars() == {label: shown(p) for label, p in row["probabilities"].items()}
        assert page.text("#verdict").startswith(", ".join(row["labels"]) or "No label")
        assert page.complaints == []
        page.page.close()


MARKUP = "<img src=x onerror=window.taken=1>"


def test_names_that_are_markup_stay_text(
    browser: Any, engine: dict[str, bytes], pictures: Path, tmp_path: Path
) -> None:
    """Whoever makes a bundle or names a file writes text on the page, and nothing else."""
    labels = (MARKUP, "javascript:window.taken=2", "__proto__")
    manifest = make_manifest(
        name=MARKUP,
        labels=labels,
        licence=f"{MARKUP} licence",
        intended_use=f"{MARKUP}</div><script>window.taken=3</script>",
    )
    bundle = make_bundle(tmp_path / "hostile.zoo", manifest=manifest)
    card = f"# {MARKUP}\n\n{MARKUP} [go](javascript:window.taken=4) <script>window.taken=5</script>\n\n"
    card += f"| {MARKUP} |\n|-|\n| `{MARKUP}` |\n"
    (bundle / "CARD.md").write_text(card)
    seal(bundle, manifest)
    write_web(tmp_path / "web", bundle, engine)
    square = (pictures / "square.png").read_bytes()
    with handed_out(tmp_path / "web") as address:
        page = Page(browser, address)
        files = [
            {"name": f"{MARKUP}.png", "mimeType": "image/png", "buffer": square},
            {"name": f"{MARKUP}.txt", "mimeType": "text/html", "buffer": f"<script>{MARKUP}</script>".encode()},
        ]
        page.choose(*files)
        assert page.bars().keys() == set(labels)
        page.explain()
        page.page.click("#card-box summary")
        page.page.click("#rows tr:nth-child(2) button")
        assert page.text("#trouble").startswith(f"{MARKUP}.txt: ")
        assert page.text("h1") == MARKUP
        made = "img, script:not([src]), a:not(.skip), iframe, object"
        assert page.page.locator(made).count() == 0
        assert page.page.evaluate("window.taken") is None
        assert page.complaints == [], "nothing was even tried"
        assert page.foreign() == []
        page.page.close()


def test_policy_of_the_page_lets_nothing_out(browser: Any, site: Path) -> None:
    """Should text ever become markup after all: no script of its own runs, and nothing can be sent."""
    tried = """async () => {
      const add = (tag, set) => document.body.append(Object.assign(document.createElement(tag), set));
      add("script", { textContent: "window.taken = 1" });
      add("div", { innerHTML: "<img src=x onerror='window.taken = 2'>" });
      add("form", { action: "http://127.0.0.1:9/", method: "post" });
      document.body.lastElementChild.submit();
      let sent = null;
      try { sent = (await fetch("http://127.0.0.1:9/", { mode: "no-cors" })).type; } catch { sent = "refused"; }
      const beacon = await new Promise((done) => {
        document.addEventListener("securitypolicyviolation", () => done("refused"), { once: true });
        navigator.sendBeacon("http://127.0.0.1:9/", "x");
      });
      return [window.taken ?? null, sent, beacon];
    }"""
    with handed_out(site) as address:
        page = Page(browser, address)
        assert page.page.evaluate(tried) == [None, "refused", "refused"]
        page.page.close()


def test_model_for_deep_images_says_why_it_takes_none(browser: Any, engine: dict[str, bytes], tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "deep.zoo", manifest=deep_manifest())
    write_web(tmp_path / "web", bundle, engine)
    with handed_out(tmp_path / "web") as address:
        page = Page(browser, address)
        assert "takes 16-bit or DICOM images" in page.text("#trouble")
        assert not page.page.is_visible("#choose")
        page.page.close()


def test_unstarted_page_says_what_it_needs(browser: Any, site: Path) -> None:
    """Opened as a file, as everybody tries first."""
    page = browser.new_page()
    page.goto((site / "index.html").as_uri())
    page.wait_for_timeout(2300)
    assert "python -m http.server" in page.inner_text("#unstarted")
    assert page.is_visible("#unstarted")
    page.close()
