"""`zoo data list`, `info`, `fetch` and `import`, and a training on a set that was imported."""

from __future__ import annotations

import json
import os
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli_running import run_zoo
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = {
    "name", "title", "task", "classes", "labels", "n", "splits", "channels", "sizes", "here", "status", "licence",
    "non_commercial", "patients", "citation", "page", "files", "checked_against",
}  # fmt: skip


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Tests are quiet."""


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is given out over HTTP in the place of every publisher."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    monkeypatch.setenv("ZOO_DATA_MIRROR", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.delenv("ZOO_OFFLINE")
    yield folder
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_list_says_whose_each_set_is() -> None:
    ran = run_zoo("data", "list")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert next(line for line in lines if line.startswith("dermamnist")).split()[-4:] == ["CC", "BY-NC", "4.0", "-"]
    assert next(line for line in lines if line.startswith("digits")).endswith("all")
    assert "any of 14" in ran.out


def test_the_list_fits_a_hundred_columns_whatever_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo.store import sets

    monkeypatch.setattr(sets, "sizes_here", lambda about, _: about.sizes[:3])
    *table, _, _ = run_zoo("data", "list").out.splitlines()
    assert table[2].split()[-3:] == ["28", "64", "128"]
    assert table[2].split().count("64") == 2
    assert max(map(len, table)) <= 100


def test_the_list_as_json_says_everything() -> None:
    rows = {row["name"]: row for row in run_zoo("data", "list", "--json").document}
    assert all(set(row) == KEYS for row in rows.values())
    row = rows["breastmnist"]
    assert (row["n"], row["classes"], row["sizes"], row["status"]) == (780, 2, [28, 64, 128, 224], "not fetched")
    assert row["files"]["28"]["checksum"] == "md5:750601b1f35ba3300ea97c75c52ff8f6"
    assert rows["digits"]["status"] == "built in"


def test_info_shows_licence_source_and_why_a_setting_is_asked_for() -> None:
    text = " ".join(run_zoo("data", "info", "dermamnist@64").out.split())
    for part in ("CC BY-NC", "commercial use", "HAM10000", "one patient", "fetch dermamnist@64"):
        assert part in text
    assert "augment none:" in " ".join(run_zoo("data", "info", "organamnist").out.split())
    document = run_zoo("data", "info", "organamnist@64", "--json").document
    assert (document["name"], document["size"], document["here"]) == ("organamnist@64", 64, False)
    assert document["set"]["train"] == {"augment": "none", "augment_flip": "none"}


def test_fetching_brings_a_set_with_its_licence_and_citation(mirror: Path, published: Path) -> None:
    shutil.copy(published, mirror / "breastmnist.npz")
    ran = run_zoo("data", "fetch", "breastmnist")
    assert ran.code == 0, ran.err
    assert "0.6 MB" in ran.err
    assert "CC BY 4.0" in ran.out
    assert "Al-Dhabyani" in ran.out
    assert "--data breastmnist" in ran.out
    (row,) = run_zoo("data", "fetch", "breastmnist", "--json").document
    assert Path(row["path"]).read_bytes() == published.read_bytes()
    (here,) = [row for row in run_zoo("data", "list", "--json").document if row["name"] == "breastmnist"]
    assert (here["here"], here["status"]) == ([28], "here")


def test_a_non_commercial_licence_is_the_first_thing_said(mirror: Path) -> None:
    (mirror / "dermamnist.npz").write_bytes(b"another file")
    ran = run_zoo("data", "fetch", "dermamnist", "--json")
    assert ran.code == 1
    first = ran.err.splitlines()[0]
    assert first.startswith("warning: dermamnist: ")
    assert "CC BY-NC" in first
    error = ran.document["error"]
    assert (error["code"], error["name"]) == ("set-hash", "dermamnist")
    assert error["expected"] == "md5:0744692d530f8e62ec473284d019b0c7"


def test_without_a_network_one_line_says_how_to_import() -> None:
    ran = run_zoo("data", "fetch", "breastmnist", "--json")
    assert ran.code == 1
    assert ran.err.count("\n") == 1
    assert "ZOO_OFFLINE" in ran.line
    assert "import breastmnist" in ran.line
    error = ran.document["error"]
    assert (error["type"], error["code"], error["name"]) == ("DataError", "set-not-fetched", "breastmnist")


def test_a_name_that_no_set_has_is_refused_before_anything_is_fetched(mirror: Path, published: Path) -> None:
    shutil.copy(published, mirror / "breastmnist.npz")
    ran = run_zoo("data", "fetch", "breastmnist", "brestmnist", "--json")
    assert ran.code == 1
    assert (ran.document["error"]["code"], ran.document["error"]["name"]) == ("set-unknown", "brestmnist")
    assert "mean breastmnist" in ran.line
    assert not list(Path(os.environ["ZOO_HOME"]).iterdir())


def test_ctrl_c_says_that_the_transfer_can_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo.store import sets

    def pressed(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sets, "fetch", pressed)
    ran = run_zoo("data", "fetch", "breastmnist")
    assert ran.code == 130
    assert ran.line.startswith("zoo: interrupted")
    assert "fetch breastmnist" in ran.line


LICENCE = "data licence: CC BY 4.0"


@pytest.mark.slow
def test_an_imported_set_trains_under_its_name_and_its_licence_is_on_record(elsewhere: Path, published: Path) -> None:
    assert run_zoo("data", "import", "breastmnist", published).code == 0
    ran = run_zoo("train", "simple_cnn", "--data", "breastmnist", "--epochs", "1", "--out", "run", "--json")
    assert ran.code == 0, ran.err
    assert set(ran.document["test"]["per_class"]) == {"malignant", "normal, benign"}
    record, report = (json.loads((elsewhere / "run" / name).read_text()) for name in ("run.json", "report.json"))
    assert record["source"] == "breastmnist"
    assert LICENCE in record["notes"]
    assert LICENCE in report["notes"]
    again = run_zoo("evaluate", "run", "--data", "breastmnist@28", "--json")
    assert again.document["data"] == report["data"]
    assert run_zoo("export", "run", "--onnx", "--bundle", "--out", "breast.zoo").code == 0
    assert LICENCE in (elsewhere / "breast.zoo" / "CARD.md").read_text()


def test_info_of_a_folder_says_what_it_holds_and_what_was_passed_over(tmp_path: Path) -> None:
    """Else the first word on photos that are not read comes after a training."""
    for label in "ab":
        for split in ("train", "val", "test"):
            (tmp_path / "set" / split / label).mkdir(parents=True)
            Image.new("L", (8, 8), 9 * len(split) + ord(label)).save(tmp_path / "set" / split / label / "0.png")
    (tmp_path / "set" / "train" / "a" / "1.jxl").write_bytes(b"x")
    found = run_zoo("data", "info", str(tmp_path / "set"), "--json").document
    assert (found["n"], found["classes"]) == (6, {"a": 3, "b": 3})
    assert found["splits"] == {"train": 2, "val": 2, "test": 2}
    assert any("1 .jxl" in note for note in found["notes"])
    assert "1 .jxl" in run_zoo("data", "info", str(tmp_path / "set")).out
