"""A real browser on a page of ours, and what it must never do."""

from __future__ import annotations

import contextlib
import functools
import http.server
import shutil
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ENGINE = "onnxruntime-web"
_SECONDS = 90.0


@contextlib.contextmanager
def handed_out(folder: Path) -> Iterator[str]:
    """The folder as `python -m http.server` hands it out; the address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium; the test is skipped where playwright or a browser is absent."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    with playwright.sync_playwright() as driver:
        try:
            browser = driver.chromium.launch(
                executable_path=path, args=["--no-sandbox", "--disable-background-networking"]
            )
        except playwright.Error as problem:
            pytest.skip(f"no Chromium: {str(problem).splitlines()[0][:100]}")
        yield browser
        browser.close()


class Page:
    """A page under watch: its requests, and what it complained of."""

    def __init__(self, browser: Any, address: str, *, ready: str = "#trouble") -> None:
        """Open it and wait until it is ready, or shows the element `ready`."""
        self.address = address
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page = browser.new_page(viewport={"width": 1200, "height": 900})
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda problem: self.complaints.append(str(problem)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(address)
        self.until(lambda: self.text("#status") == "Ready." or self.page.is_visible(ready))

    def _heard(self, said: Any) -> None:
        # `strength` reads the canvas, which the page itself never does
        if said.type in {"error", "warning"} and "getImageData" not in said.text:
            self.complaints.append(said.text)

    def text(self, selector: str) -> str:
        return " ".join(str(self.page.inner_text(selector)).split())

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait; not by Playwright's own function, which the page's security policy forbids."""
        end = time.monotonic() + _SECONDS
        while not holds():
            assert time.monotonic() < end, f"still waiting; status: {self.text('#status')!r}"
            self.page.wait_for_timeout(50)

    def choose(self, *files: Path | dict[str, Any]) -> None:
        self.page.set_input_files("#files", list(files))
        self.until(lambda: not self.text("#status").startswith(("Looking", "Ready")))

    def bars(self) -> dict[str, str]:
        """Label to probability, as they are read."""
        if self.page.is_visible("#more") and "all" in self.text("#more"):
            self.page.click("#more")
        names = [text.strip() for text in self.page.locator("#bars th").all_inner_texts()]
        shares = [" ".join(text.split()) for text in self.page.locator("#bars .number").all_inner_texts()]
        return dict(zip(names, shares, strict=True))

    def explain(self) -> None:
        self.page.click("#explain")
        self.until(lambda: self.page.is_visible("#shown"))

    def strength(self, x: float, y: float) -> int:
        """Alpha of the heat map at a share of its width and height."""
        script = "([x, y]) => { const c = document.getElementById('heat'); return c.getContext('2d').getImageData("
        return int(self.page.evaluate(f"{script}x * c.width, y * c.height, 1, 1).data[3]; }}", [x, y]))

    def test(self) -> str:
        self.page.click("#test")
        self.until(lambda: self.text("#tested").startswith(("Passed", "Failed")))
        return self.text("#tested")

    def foreign(self) -> list[str]:
        """Requests to anywhere but where the page came from."""
        return [url for url in self.asked if not url.startswith(self.address)]


def shown(p: float) -> str:
    """A probability as the page writes it."""
    if p > 0.999:
        return ">99.9 %"
    if p < 0.001:
        return "<0.1 %"
    return f"{100 * p:.{0 if 0.0995 <= p < 0.9895 else 1}f} %"
