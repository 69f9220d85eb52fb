"""Readers of other packages: asked when a file needs them, held to their word, and never a crash."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reader_packages import READER, Bring, acme, bring, install

from zoo.data import open_data
from zoo.errors import ImageError, PluginError
from zoo.readers import image_suffixes, is_image, probe, read
from zoo.readers._others import load_reader, others
from zoo.readers._walk import Walk
from zoo.registry import check_readers, readers
from zoo.store._cachedir import reader_version
from zoo_cli.main import main

__all__ = ["bring"]

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> tuple[int, str, str]:
    out, errors = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(errors):
        status = main(list(arguments))
    return status, out.getvalue(), errors.getvalue()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "files" / "x.acme"
    path.parent.mkdir()
    path.write_bytes(acme())
    return path


def test_a_format_of_another_package_is_read_probed_walked_and_trained_on(bring: Bring, file: Path) -> None:
    before = reader_version()
    bring("zoo-guest")
    assert read(file).pixels[:, :, 0].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert (probe(file).width, probe(file.read_bytes()).height) == (3, 2)
    assert is_image(file)
    assert ".acme" in image_suffixes()
    other = file.rename(file.with_name("IM0001"))
    damaged = file.with_name("y.acme")
    damaged.write_bytes(b"?")
    walk = Walk(str(file.parent))
    assert list(walk.images()) == [other.name, damaged.name]  # the damaged one is an answer that is missing
    for label in "ab":
        (file.parent / "set" / label).mkdir(parents=True)
        for i in range(3):
            data = acme(3, 2 + i) if label == "a" else acme(4, 2 + i)
            (file.parent / "set" / label / f"{i}.acme").write_bytes(data)
    assert open_data(file.parent / "set", for_training=False).fingerprint.n == 6
    reader_version.cache_clear()
    try:
        assert reader_version() != before  # decoded images of another reader are not taken from the cache
    finally:
        reader_version.cache_clear()


def test_no_reader_is_imported_for_ordinary_pictures(tmp_path: Path) -> None:
    """Else every prediction would pay for the largest package that anybody installed."""
    site = install(tmp_path / "site", "zoo-guest", "raise SystemExit('imported')", {"acme": "zoo_guest:reader"})
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.png")
    program = (
        "import sys, zoo.readers; from zoo.readers._walk import Walk\n"
        "zoo.readers.read(sys.argv[1] + '/a.png'); zoo.readers.probe(sys.argv[1] + '/a.png')\n"
        "assert next(Walk(sys.argv[1]).images()) == 'a.png'\n"
        "print(*{'zoo_guest', 'importlib.metadata'} & set(sys.modules))"
    )
    path = f"{site}:{ROOT}"
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": path, "PATH": ""},
    )
    assert "zoo_guest" not in done.stdout


def test_two_readers_of_one_suffix_are_named_and_neither_wins(bring: Bring, file: Path) -> None:
    bring("zoo-guest")
    bring("zoo-rival", READER, rival="zoo_rival:reader")
    assert others().readers == ()
    for line in others().broken.values():
        assert "zoo-guest 1.0" in line
        assert "zoo-rival 1.0" in line
    with pytest.raises(ImageError) as caught:
        read(file)
    assert caught.value.code == "image-format"
    assert "zoo doctor" in caught.value.reason
    assert list(Walk(str(file.parent)).images()) == ["x.acme"]  # an image that cannot be read, not one left out
    assert [row.state for row in check_readers()] == ["broken", "broken"]


def test_two_readers_that_recognise_one_file_are_named(bring: Bring, file: Path) -> None:
    bring("zoo-guest")
    bring("zoo-rival", READER.replace('".acme"', '".rival"'), rival="zoo_rival:reader")
    assert read(file).kind == "uint8"  # its suffix decides
    with pytest.raises(ImageError) as caught:
        read(acme())
    assert (caught.value.code, caught.value.fields) == ("image-reader-clash", {"readers": ["acme", "rival"]})


def test_one_name_of_two_packages_is_an_error_that_names_both(bring: Bring) -> None:
    bring("zoo-guest")
    bring("zoo-rival", acme="zoo_rival:reader")
    with pytest.raises(PluginError) as caught:
        load_reader("acme")
    assert caught.value.code == "reader-clash"
    assert caught.value.fields["owners"] == ["zoo-rival 1.0", "zoo-guest 1.0"]
    assert {row.state for row in readers()} == {"broken"}


BROKEN = {
    "fails": "raise RuntimeError('boom')",
    "exits": "raise SystemExit(3)",
    "lacks a package": "import a_package_that_nobody_has",
    "has no object": "",
    "has no suffixes": READER.replace("suffixes =", "endings ="),
    "has odd suffixes": READER.replace('".acme"', '"ACME"'),
    "claims ours": READER.replace('".acme"', '".acme", ".png"'),
    "is a class": READER + "reader = Acme",
    "lacks a method": READER.replace("def probe", "def look"),
}


@pytest.mark.parametrize("code", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_reader_is_a_row_and_never_a_crash(
    code: str, bring: Bring, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bring("zoo-guest", code)
    (file.parent / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    walk = Walk(str(file.parent))
    assert list(walk.images()) == ["a.png"]
    assert walk.passed.others == {".acme": 1}
    with pytest.raises(ImageError):
        read(file)
    assert [("zoo-guest 1.0" in record.getMessage(), record.levelname) for record in caplog.records] == [
        (True, "WARNING")
    ]  # once, not for every file
    assert [row.state for row in readers()] == ["ok"]  # listing imports nothing
    (row,) = check_readers()
    assert row.state == "broken"
    assert "zoo-guest" in row.status


def test_a_reader_that_leaves_the_users_folder_is_brought_back(bring: Bring) -> None:
    bring("zoo-guest", f"import os\nos.chdir({os.sep!r})\n{READER}")
    before = Path.cwd()
    load_reader("acme")
    assert Path.cwd() == before


def test_a_reader_that_ends_the_process_is_a_row_of_the_doctor(bring: Bring) -> None:
    bring("zoo-guest", "import os; os._exit(7)")
    (row,) = check_readers()
    assert (row.state, "exit 7" in row.status) == ("broken", True)


def test_a_reader_that_hangs_is_a_row_of_the_doctor(bring: Bring) -> None:
    bring("zoo-guest", "import time; time.sleep(600)")
    (row,) = check_readers(limit_s=2)
    assert row.state == "slow", "a busy machine looks the same, and nobody uninstalls what is only slow"


def test_plugin_list_and_doctor_show_readers(bring: Bring, monkeypatch: pytest.MonkeyPatch) -> None:
    bring("zoo-guest")
    bring("zoo-broken", "raise RuntimeError('boom')", other="zoo_broken:reader")
    rows = [row for row in json.loads(run("plugin", "list", "--json")[1]) if row.get("group") == "zoo.readers"]
    assert [(row["name"], row["distribution"], row["status"]) for row in rows] == [
        ("acme", "zoo-guest", "ok"),
        ("other", "zoo-broken", "ok"),
    ]
    monkeypatch.setattr("zoo.registry.check_plugins", lambda _: [])  # each of ours takes seconds
    status, out, _ = run("doctor", "--wait", "60", "--json")
    found = json.loads(out)
    assert status == 1
    assert [(row["name"], row["state"]) for row in found["readers"]] == [("acme", "ok"), ("other", "broken")]
    assert found["readers"][0]["suffixes"] == [".acme"]
    assert any("boom" in problem for problem in found["problems"])


def test_zoo_plugins_restricts_readers(bring: Bring, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring("zoo-guest")
    monkeypatch.setenv("ZOO_PLUGINS", "resnet")
    assert not is_image(file)
    with pytest.raises(PluginError) as caught:
        load_reader("acme")
    assert caught.value.code == "reader-forbidden"
    assert [row.state for row in check_readers()] == ["forbidden"]
    monkeypatch.setenv("ZOO_PLUGINS", "resnet,acme")
    assert is_image(file)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("header = self.probe(stream, name)", "raise KeyError('Doe')"),
        ("header = self.probe(stream, name)", "raise SystemExit(1)"),
        ("return from_array(", "return ("),
        ("return from_array(", "import zoo.readers as z; return z.RawImage(kind='uint8', pixels="),
        ("return from_array(", "import zoo.readers as z; return z.RawImage(kind='float64', pixels=0.5 * "),
    ],
)
def test_whatever_a_reader_does_is_an_image_error_that_names_it(old: str, new: str, bring: Bring, file: Path) -> None:
    """One image fails, the other million are answered."""
    bring("zoo-guest", READER.replace(old, new))
    with pytest.raises(ImageError) as caught:
        read(file)
    assert caught.value.code == "image-reader-failed"
    assert caught.value.fields == {"reader": "acme", "distribution": "zoo-guest"}
    assert caught.value.name == str(file)
    assert "Doe" not in str(caught.value)


@pytest.mark.parametrize(
    "header",
    ["'x', 2", "2, -3", "10**9, 10**9", "2, 2, padding=(1, 'x')", "2, 2, padding=(0, 1e300)", "2, 2, padding=(1, 0)"],
)
def test_a_header_that_cannot_be_is_an_image_error_that_names_the_reader(header: str, bring: Bring, file: Path) -> None:
    """An index once ended with 'this is a defect' over a width that was text."""
    made = f"import zoo.readers as z; return z.Probe({header}, kind='uint8', gray=True)"
    bring(
        "zoo-guest", READER.replace("def probe(self, stream, name):", f"def probe(self, stream, name):\n        {made}")
    )
    with pytest.raises(ImageError) as caught:
        probe(file)
    assert caught.value.code == "image-reader-failed"


def test_what_a_reader_refuses_is_said_in_its_own_words(bring: Bring) -> None:
    bring("zoo-guest")
    with pytest.raises(ImageError) as caught:
        read(acme()[:-1], name="x")
    assert (caught.value.name, caught.value.reason) == ("x", "ends before its last pixel; restore it")


def test_a_reader_that_fails_to_recognise_recognises_nothing(bring: Bring, file: Path) -> None:
    bring("zoo-guest", READER.replace('return head.startswith(b"ACME")', "return 1 / 0"))
    file.with_name("notes.txt").write_text("x")
    walk = Walk(str(file.parent))
    assert list(walk.images()) == ["x.acme"]
    assert walk.passed.others == {".txt": 1}


def test_what_a_reader_prints_while_it_is_imported_is_kept_from_stdout(bring: Bring, file: Path) -> None:
    bring("zoo-guest", "print('hello')\n" + READER)
    out = StringIO()
    with redirect_stdout(out):
        read(file)
    assert out.getvalue() == ""
