"""Every command that a hint shows can be pasted: a real sh takes each path for one word."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from cli_running import run_zoo
from PIL import Image

from zoo.edge._print import TYPED, fields
from zoo.runs import open_run, remedy
from zoo.spec import EvalReport
from zoo_cli.train import _report

PLACE = "läufe/mein Lauf & Co"
STUB = 'zoo() { for word; do printf \'%s\\n\' "$word"; done; }; python() { zoo "$@"; }; chmod() { zoo "$@"; }; '

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a shell of POSIX is needed")


def words(command: str) -> list[str]:
    """The words that `zoo` would get."""
    ran = subprocess.run(["sh", "-c", STUB + command], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, ""), command
    return ran.stdout.splitlines()


def shown(text: str) -> list[str]:
    """The commands of the fields that hold one."""
    rows = (line.partition("  ") for line in text.splitlines())
    found = [value.strip() for name, _, value in rows if name in TYPED]
    found += [line.removeprefix("next: ") for line in text.splitlines() if line.startswith("next: ")]
    assert found, text
    return found


@pytest.fixture
def place(copied: Callable[[str], Path]) -> str:
    """A finished run in a folder with a name that a shell takes apart."""
    run = copied("runs/tiny")
    Path(PLACE).parent.mkdir()
    run.rename(PLACE)
    return PLACE


def test_what_follows_a_training(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    test = msgspec.json.decode((Path(place) / "report.json").read_bytes(), type=EvalReport)
    result: Any = SimpleNamespace(
        model="simple_cnn", run=place, test=test, members=(), best=None, seconds=None, images_per_second=None,
        comparison=None, before_after=None, class_weight="none", loss="cross_entropy", epochs=1,
    )  # fmt: skip
    _report(result, named=True)
    export, evaluate = shown(capsys.readouterr().out)
    assert words(export) == ["export", place, "--onnx"]
    assert words(evaluate) == ["evaluate", place]


def test_what_follows_an_export(place: str) -> None:
    (file,) = shown(run_zoo("export", place, "--onnx").out)
    assert words(file) == ["predict", f"{place}/export/simple_cnn.onnx", "IMAGES"]
    (bundle,) = shown(run_zoo("export", place, "--bundle").out)
    assert words(bundle) == ["verify", f"{place}/export/simple_cnn.zoo"]
    assert Path(words(bundle)[1]).is_dir()


def test_what_mends_a_run(place: str) -> None:
    record = open_run(Path(place)).record
    for status in ("done", "trained", "training"):
        said = remedy(msgspec.structs.replace(record, status=status), Path(place))
        command = said[said.index("'zoo ") + 1 : said.rindex("' ")]
        assert {place, str(Path(place).resolve())} & {*words(command)}, command


def test_what_follows_a_split_and_an_audit(elsewhere: Path) -> None:
    data, rng = elsewhere / PLACE / "Bilder", np.random.default_rng(0)
    for label in ("cat", "dog"):
        (data / label).mkdir(parents=True)
        for i in range(12):
            Image.fromarray(rng.integers(0, 256, (32, 32), np.uint8)).save(data / label / f"{label} {i}.png")
    table = f"{PLACE}/Teilung.csv"
    (split,) = shown(run_zoo("data", "split", data, "--folds", "3", "--out", table).out)
    assert words(split) == ["train", "simple_cnn", "--data", table, "--fold", "0"]
    (clean,) = shown(run_zoo("data", "check", f"{PLACE}/Bilder", "--group", r"(\w+) \d").out)
    assert words(clean) == ["train", "MODEL", "--data", f"{PLACE}/Bilder", "--group", r"(\w+) \d"]


def test_a_refused_folder_names_its_table(elsewhere: Path) -> None:
    folder = elsewhere / PLACE
    (folder / "images").mkdir(parents=True)
    rows = ["file,label"]
    for i in range(4):
        Image.new("L", (8, 8), i * 60).save(folder / "images" / f"{i}.png")
        rows.append(f"{i}.png,{'ab'[i % 2]}")
    for name in ("erste Tabelle.csv", "zweite.csv"):
        (folder / name).write_text("\n".join(rows))
    line = run_zoo("data", "info", PLACE).line
    first = line[line.index("--data") :].partition(" or ")[0]
    assert words(f"zoo train MODEL {first}") == ["train", "MODEL", "--data", f"{PLACE}/erste Tabelle.csv"]


@pytest.mark.parametrize("name", [PLACE, "-x", "it's", "a$b", "c`d`", "e*"])
def test_a_slip_with_a_path(elsewhere: Path, name: str) -> None:
    (elsewhere / name).mkdir(parents=True)
    ran = run_zoo("train", "svm", f"./{name}", "--json")
    (command,) = ran.document["error"]["commands"]
    assert words(command) == ["train", "svm", "--json", "--data", f"./{name}"]


def test_what_follows_a_key(elsewhere: Path) -> None:
    pytest.importorskip("cryptography")
    (next_,) = shown(run_zoo("sign", "--new-key", elsewhere / "mein Schlüssel").out)
    assert words(next_) == ["sign", "BUNDLE", "--key", "mein Schlüssel"]


def test_a_command_stays_on_its_line_however_long_it_is() -> None:
    command = f"zoo train timm/resnet18.{'a' * 100} --pretrained --data FOLDER"
    for field in TYPED:
        assert fields({field: command}) == f"{field}  {command}"
