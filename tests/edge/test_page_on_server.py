"""The page of `zoo serve` in Chromium, against the real server: answers, heat maps and refusals come from there."""

from __future__ import annotations

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


def test_token_is_asked_for_and_used(browser: Any, picture: Path, tmp_path: Path) -> None:
    token = "a-token-that-is-long-enough-to-be-one"  # noqa: S105
    with serving(make_bundle(tmp_path / "mean.zoo"), environment={"ZOO_SERVE_TOKEN": token}) as server:
        page = Page(browser, _address(server.started), ready="#locked")
        for given in ("wrong", token):
            page.page.fill("#token", given)
            page.page.click("#locked button")
            page.until(lambda: page.page.is_visible("#choose") or "Bearer" in page.text("#refused"))
        page.until(lambda: page.page.is_visible("#choose"))
        page.choose(picture)
        assert page.text("#verdict").startswith("red")
        page.page.close()
