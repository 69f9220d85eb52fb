"""The golden set replayed by onnxruntime-web (WebAssembly) in a headless Chromium."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not here", exc_type=ImportError)

pytestmark = pytest.mark.slow

NAMES = ("chromium", "chromium-browser", "google-chrome")

REPLAY = """async (bundle) => {
    const ort = await import("/node_modules/onnxruntime-web/dist/ort.wasm.min.mjs");
    const { replay } = await import("/zoo/edge/page/golden.js");
    ort.env.wasm.numThreads = 1;
    const fetched = async (name) => new Uint8Array(await (await fetch(`/${bundle}/${name}`)).arrayBuffer());
    const manifest = JSON.parse(new TextDecoder().decode(await fetched("manifest.json")));
    const session = await ort.InferenceSession.create(await fetched("model.onnx"), { executionProviders: ["wasm"] });
    const run = async ({ dtype, shape, data }) => {
        const image = new ort.Tensor(dtype, data, [1, ...shape]);
        const found = await session.run({ [manifest.input.name]: image }, ["logits", "probabilities"]);
        return { logits: found.logits.data, probabilities: found.probabilities.data };
    };
    return { ...await replay(await fetched("golden.npz"), run, manifest), version: ort.env.versions.web };
}"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing: the test says what went wrong."""


@pytest.fixture(scope="module")
def site(checkout: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The packages, golden.js and the bundles over HTTP on this machine."""
    links = []
    for model in ("photographs", "deep", "findings", "quantised"):
        links.append(checkout / model)
        links[-1].symlink_to(request.getfixturevalue(model))
    handler = functools.partial(Quiet, directory=str(checkout))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/package.json"
        server.shutdown()
    for link in links:
        link.unlink()


@pytest.fixture(scope="module")
def page(site: str) -> Iterator[Any]:
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("chromium is not here")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.goto(site)
        yield tab
        browser.close()


@pytest.mark.parametrize("model", ["photographs", "deep", "findings"])
@pytest.mark.parametrize("form", ["default", "portable", "own"])
def test_golden_answers_come_again(page: Any, model: str, form: str) -> None:
    said = page.evaluate(REPLAY, f"{model}/{form}.zoo")
    assert said["images"] >= 32
    assert said["mismatches"] == []
    assert said["max_abs_logit"] <= 1e-4


@pytest.mark.parametrize("kind", ["int8", "fp16"])
def test_a_quantised_file_gives_its_golden_answers(page: Any, kind: str) -> None:
    said = page.evaluate(REPLAY, f"quantised/{kind}.zoo")
    assert said["images"] >= 32
    assert said["mismatches"] == []
