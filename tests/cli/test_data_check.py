"""`zoo data check` as a user types it: text, document, page, exit status."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pytest
from cli_running import command, run_zoo
from dying import FATAL, compressed_tiff, python_path
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Two classes in two splits, twelve different pictures each."""
    for k, folder in enumerate(("train/cat", "train/dog", "test/cat", "test/dog")):
        (tmp_path / "pets" / folder).mkdir(parents=True)
        for i in range(12):
            coarse = np.random.default_rng(100 * k + i).integers(10, 240, (7, 7), np.uint8)
            Image.fromarray(coarse).resize((40, 40)).save(tmp_path / "pets" / folder / f"{i}.png")
    return tmp_path / "pets"


@pytest.fixture
def leaking(pets: Path) -> Path:
    (pets / "test/cat/again.png").write_bytes((pets / "train/cat/5.png").read_bytes())
    return pets


def test_a_clean_set_ends_with_0_and_says_what_to_do_next(pets: Path) -> None:
    ran = run_zoo("data", "check", pets)
    assert ran.code == 0, ran.err
    assert ran.out.startswith("pets: clean")
    assert "train  test" in ran.out
    assert "zoo train" in ran.out


def test_a_leak_ends_with_3_and_names_the_pair(leaking: Path) -> None:
    ran = run_zoo("data", "check", leaking)
    assert ran.code == 3
    assert ran.out.startswith("pets: leak")
    assert "train/cat/5.png, test/cat/again.png" in ran.out


def test_a_defect_within_a_split_ends_with_0(pets: Path) -> None:
    (pets / "train/cat/again.png").write_bytes((pets / "train/cat/5.png").read_bytes())
    ran = run_zoo("data", "check", pets)
    assert (ran.code, ran.out.split(",")[0]) == (0, "pets: defects")


def test_the_document_is_all_of_stdout_also_when_it_refuses(leaking: Path) -> None:
    ran = run_zoo("data", "check", leaking, "--json")
    assert ran.code == 3
    assert ran.document["verdict"] == "leak"
    assert ran.document["splits"] == {"train": 24, "test": 25}
    assert ran.document["classes"]["cat"] == {"train": 12, "test": 13}
    assert ran.document["findings"][0]["files"] == ["train/cat/5.png", "test/cat/again.png"]
    assert str(leaking.parent) not in ran.out


def test_the_page_is_written_where_it_was_asked_for(leaking: Path, tmp_path: Path) -> None:
    ran = run_zoo("data", "check", leaking, "--html", tmp_path / "new" / "audit.html", "--json")
    assert ran.code == 3
    text = (tmp_path / "new" / "audit.html").read_text()
    assert "<title>Audit of pets</title>" in text
    assert "again.png" in text
    again = run_zoo("data", "check", leaking, "--html", tmp_path / "new" / "audit.html", "--json")
    assert (again.code, again.document["error"]["code"]) == (1, "out-occupied")
    assert run_zoo("data", "check", leaking, "--html", tmp_path / "new" / "audit.html", "--overwrite").code == 3


def test_a_group_pattern_finds_a_patient_in_two_splits(pets: Path) -> None:
    ran = run_zoo("data", "check", pets, "--group", r"/(\d+)\.png", "--json")
    assert ran.code == 3
    assert {finding["kind"] for finding in ran.document["findings"]} == {"group_leak"}


def test_twenty_findings_are_shown_and_the_rest_counted(leaking: Path) -> None:
    for i in range(12):
        for split in ("train", "test"):
            (leaking / split / "dog" / f"x{i}.png").write_bytes((leaking / "train/cat" / f"{i}.png").read_bytes())
    ran = run_zoo("data", "check", leaking)
    shown = [line for line in ran.out.splitlines() if line.startswith(("  error", "  warning", "  note"))]
    assert len(shown) == 20
    assert f"… and {len(run_zoo('data', 'check', leaking, '--json').document['findings']) - 20} more" in ran.out


def test_what_is_no_set_is_one_line(tmp_path: Path) -> None:
    ran = run_zoo("data", "check", tmp_path / "nowhere", "--json")
    assert (ran.code, ran.document["error"]["type"]) == (1, "DataError")
    assert "nowhere" in ran.line


def test_groups_by_a_pattern_lead_to_a_training_that_keeps_them_whole(pets: Path) -> None:
    """Training without the pattern would part what it holds together."""
    ran = run_zoo("data", "check", pets / "train", "--group", r"/(\d)")
    assert ran.code == 0, ran.err
    assert "10 groups" in ran.out
    assert "24 images" in ran.out
    assert f"zoo train MODEL --data {pets / 'train'} --group '/(\\d)'" in ran.out


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_a_file_over_which_a_decoder_dies_is_one_finding(pets: Path, tmp_path: Path) -> None:
    (tmp_path / "dying").mkdir()
    target = sorted(pets.rglob("*.png"))[0]
    target.with_name("fatal.tif").write_bytes(compressed_tiff(FATAL))
    environment = {**os.environ, "PYTHONPATH": python_path(tmp_path / "dying")}
    asked = [*command(), "data", "check", str(pets), "--json"]
    done = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False)
    found = [one for one in json.loads(done.stdout)["findings"] if one["kind"] == "unreadable"]
    assert len(found) == 1
    assert "SIGSEGV" in found[0]["detail"]
    assert "Traceback" not in done.stderr


def test_what_is_said_of_many_images_is_one_line(pets: Path) -> None:
    rows = [f"{path.relative_to(pets)},{path.parent.name}" for path in sorted(pets.rglob("*.png"))]
    gone = [f"gone_{number},cat" for number in range(9)]
    (pets.parent / "list.csv").write_text("\n".join(["image,label", *(f"{pets.name}/{row}" for row in rows), *gone]))
    lines = run_zoo("data", "check", pets.parent / "list.csv").out.splitlines()
    assert [line.partition(":")[0] for line in lines if "error" in line] == ["  error unreadable"]
    assert any("gone_0" in line and "(9)" in line for line in lines)
