"""The page of `zoo serve` in Chromium, against the real server: answers, heat maps and refusals come from there."""

from __future__ import annotations

import shutil
import signal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from browsing import Page, chromium, shown
from edge_models import COLOURS, deciding_manifest, deep_manifest, make_bundle, make_manifest, paint
from PIL import Image
from serving import serving

from zoo.edge._explain import map_occlusion
from zoo.edge._runtime import Runtime
from zoo.readers import read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow  # a browser and servers are started

pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")

TOKEN = "a-token-that-is-long-enough-to-be-one"  # noqa: S105 - of these tests


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "corner.png"
    pixels = np.full((4, 4, 3), 10, np.uint8)
    pixels[2:, 2:] = (250, 30, 20)
    Image.fromarray(pixels).save(path)
    return path


def _address(started: dict[str, Any]) -> str:
    return f"http://{started['host']}:{started['port']}/"


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_page_shows_what_the_server_answers(browser: Any, picture: Path, tmp_path: Path, task: str) -> None:
    bundle = make_bundle(tmp_path / "mean.zoo", manifest=make_manifest(task=task))
    runtime = Runtime.open(bundle)
    expected = runtime.answer(picture).row()
    with serving(bundle) as server:
        page = Page(browser, _address(server.started))
        page.choose(picture)
        assert page.bars() == {label: shown(p) for label, p in expected["probabilities"].items()}
        page.explain()
        heat = map_occlusion(runtime, read(picture), page.page.input_value("#of"))
        assert f"by up to {100 * heat.peak[0]:.0f} points" in page.text("#meaning")
        assert page.strength(0.9, 0.9) > 230
        page.page.click("#card-box summary")
        assert page.text("#card") == "mean colour"
        assert not page.page.is_visible("#test"), "a server proves itself when it starts"
        assert (page.complaints, page.foreign()) == ([], [])
        page.page.close()


def test_page_says_first_that_there_is_no_answer(browser: Any, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "mean.zoo", manifest=deciding_manifest())
    files = [paint(tmp_path / name, colour) for name, colour in COLOURS.items()]
    with serving(bundle) as server:
        page = Page(browser, _address(server.started))
        page.choose(*files)
        assert page.text("#status") == "2 of 5 images answered, 2 uncertain, 1 unlike training."
        page.page.locator("#rows button").nth(list(COLOURS).index("white.png")).click()
        assert page.text("#verdict") == "Not answered: unlike the images it was trained on"
        assert page.page.locator("#bars .chosen").count() == 0
        page.page.locator("#rows button").nth(list(COLOURS).index("grey.png")).click()
        assert page.text("#verdict") == "Uncertain: red or green"
        assert (page.complaints, page.foreign()) == ([], [])
        page.page.close()


def test_refusal_of_the_server_is_shown_in_its_words(browser: Any, picture: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("this is not a picture, whatever it is called")
    with serving(make_bundle(tmp_path / "mean.zoo")) as server:
        page = Page(browser, _address(server.started))
        page.choose(text)
        assert "not an image by its first bytes" in page.text("#trouble")
        assert not page.page.is_visible("#answer")
        page.choose(picture)
        assert page.page.is_visible("#answer"), "the page still answers after a refusal"
        server.leave()
        page.choose(picture)
        assert "the server does not answer; is it still running?" in page.text("#trouble")
        page.page.close()


def test_deep_image_is_answered_from_its_own_values(browser: Any, tmp_path: Path) -> None:
    """What the static page refuses: the server reads all 16 bits."""
    deep = deep_manifest()
    manifest = make_manifest(labels=("bright", "dark"), preprocess=deep.preprocess, input=deep.input)
    scan = tmp_path / "scan.png"
    Image.fromarray(np.full((6, 5), 1200, np.uint16)).save(scan)
    bundle = make_bundle(tmp_path / "deep.zoo", manifest=manifest)
    row = Runtime.open(bundle).answer(scan).row()
    assert 0.9 < row["probability"] < 0.99, "cut to 8 bits it would be almost a half"
    with serving(bundle) as server:
        page = Page(browser, _address(server.started))
        page.choose(scan)
        assert page.bars() == {label: shown(p) for label, p in row["probabilities"].items()}
        page.page.close()


def test_an_image_is_answered_by_the_model_that_was_chosen(browser: Any, picture: Path, tmp_path: Path) -> None:
    manifests = [make_manifest(name="skin"), make_manifest(name="chest", labels=("left", "middle", "right"))]
    bundles = tuple(make_bundle(tmp_path / f"{one.name}.zoo", manifest=one) for one in manifests)
    with serving(bundles) as server:
        page = Page(browser, _address(server.started))
        assert page.page.locator("#which option").all_inner_texts() == ["skin", "chest"]
        assert page.page.input_value("#which") == "skin"
        page.choose(picture)
        assert page.text("#verdict").startswith("red")
        page.page.focus("#which")
        page.page.keyboard.press("ArrowDown")
        page.until(lambda: page.text("#name") == "chest" and page.text("#status") == "Ready.")
        assert page.page.input_value("#which") == "chest"
        page.choose(picture)
        assert page.text("#verdict").startswith("left")
        page.explain()
        assert "version" in page.text("#facts").lower()
        assert (page.complaints, page.foreign()) == ([], [])
        page.page.close()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_a_page_that_was_open_tells_of_the_newer_version_that_answers(
    browser: Any, picture: Path, tmp_path: Path
) -> None:
    """The sentences beside an answer are the manifest's: those of the version before would be wrong."""
    bundle = make_bundle(tmp_path / "mean.zoo")
    with serving(bundle) as server:
        page = Page(browser, _address(server.started))
        page.choose(picture)
        assert page.text("#verdict").startswith("red")
        shutil.rmtree(bundle)
        make_bundle(bundle, manifest=make_manifest(labels=("rot", "gruen", "blau")))
        server.process.send_signal(signal.SIGHUP)
        page.until(lambda: server.metric("zoo_reloads_total") == 1)
        page.choose(picture)
        page.until(lambda: page.text("#status").startswith("2 of 2"))
        assert "rot, gruen, blau" in page.text("#facts")
        rows = page.page.locator("#rows tr td:nth-child(2)").all_inner_texts()
        assert rows == ["rot", "rot"], "what the older one had said is asked again"
        assert (page.complaints, page.foreign()) == ([], [])
        page.page.close()


def _log_in(page: Page, token: str) -> None:
    """By the keyboard alone."""
    page.until(lambda: bool(page.page.evaluate("document.activeElement.id === 'token'")))
    page.page.keyboard.press("Control+A")
    page.page.keyboard.type(token)
    page.page.keyboard.press("Enter")


def test_a_browser_logs_in_stays_so_and_logs_out(browser: Any, picture: Path, tmp_path: Path) -> None:
    with serving(make_bundle(tmp_path / "mean.zoo"), environment={"ZOO_SERVE_TOKEN": TOKEN}) as server:
        page = Page(browser, _address(server.started), ready="#locked")
        assert not page.page.is_visible("#choose")
        assert page.complaints == [], "asking whether a login is needed is no failure"
        _log_in(page, "wrong-0123456789abcdef")
        page.until(lambda: bool(page.text("#refused")))
        _log_in(page, TOKEN)
        page.until(lambda: page.page.is_visible("#choose"))
        assert not page.page.is_visible("#locked")
        page.choose(picture)
        assert page.text("#verdict").startswith("red")
        page.explain()
        assert page.page.evaluate("document.cookie") == "", "no script can read the session"
        (cookie,) = page.page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["secure"]) == (True, "Strict", False)
        page.page.reload()
        page.until(lambda: page.page.is_visible("#choose"))
        page.page.focus("#leave")
        page.page.keyboard.press("Enter")
        page.until(lambda: page.page.is_visible("#locked") and not page.page.is_visible("#choose"))
        assert page.page.context.cookies() == []
        assert page.foreign() == []
        page.page.close()


def test_a_login_that_is_over_is_asked_for_again_and_loses_no_image(
    browser: Any, picture: Path, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    file.write_text(f"alice {TOKEN}\nbob {TOKEN}-2\n")
    with serving(make_bundle(tmp_path / "mean.zoo"), "--token-file", str(file)) as server:
        page = Page(browser, _address(server.started), ready="#locked")
        _log_in(page, TOKEN)
        page.until(lambda: page.page.is_visible("#choose"))
        file.write_text(f"bob {TOKEN}-2\n")
        server.process.send_signal(signal.SIGHUP)
        page.until(lambda: server.ask("GET", "/model", Authorization=f"Bearer {TOKEN}").status == 401)
        page.page.set_input_files("#files", [picture])
        page.until(lambda: page.page.is_visible("#locked"))
        assert not page.page.is_visible("#answer")
        _log_in(page, f"{TOKEN}-2")
        page.until(lambda: page.page.is_visible("#answer"))
        assert page.text("#verdict").startswith("red")
        page.page.close()


def test_too_many_wrong_tokens_are_said(browser: Any, tmp_path: Path) -> None:
    with serving(make_bundle(tmp_path / "mean.zoo"), environment={"ZOO_SERVE_TOKEN": TOKEN}) as server:
        for i in range(10):
            assert server.ask("POST", "/login", b'{"token": "wrong-012345678-%d"}' % i).status == 401
        page = Page(browser, _address(server.started), ready="#locked")
        _log_in(page, TOKEN)
        page.until(lambda: "too many wrong tokens" in page.text("#refused"))
        page.page.close()


def test_the_login_fits_a_phone(browser: Any, tmp_path: Path) -> None:
    with serving(make_bundle(tmp_path / "mean.zoo"), environment={"ZOO_SERVE_TOKEN": TOKEN}) as server:
        page = Page(browser, _address(server.started), ready="#locked")
        page.page.set_viewport_size({"width": 320, "height": 568})
        assert page.page.evaluate("document.documentElement.scrollWidth") <= 320
        for selector in ("#token", "#locked button"):
            box = page.page.locator(selector).bounding_box()
            assert box["height"] >= 38, "wide enough for a finger"
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 320
        assert page.page.get_by_label("Token of this server").count() == 1
        page.page.close()
