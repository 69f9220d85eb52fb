"""`--columns` on every verb that takes a table, and `zoo data info` of all kinds of data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_running import run_zoo
from PIL import Image

BINDING = {"n", "columns", "ignored", "classes", "groups", "splits", "notes"}


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Dark and bright pictures; the column of classes is called so that nobody would find it."""
    monkeypatch.chdir(tmp_path)
    rows = ["image,label,what is seen,ward"]
    for i in range(60):
        pixels = np.random.default_rng(i).integers(0, 100, (8, 8), np.uint8) + 120 * (i % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(f"{i}.png")
        rows.append(f"{i}.png,{i % 3},{'dark' if i % 2 == 0 else 'bright'},w{i // 2}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    return "t.csv"


CHOSEN = ("--columns", "label=what is seen,group=ward")


def test_columns_are_recorded_and_the_models_own_data_is_opened_the_same_way(table: str) -> None:
    trained = run_zoo("train", "svm", "--data", table, *CHOSEN, "--size", "8", "--out", "run", "--json")
    assert trained.code == 0, trained.err
    record = json.loads(Path("run/run.json").read_text())
    assert record["card"]["train"]["columns"] == {"label": "what is seen", "group": "ward"}
    assert record["labels"] == ["bright", "dark"]
    report = trained.document["test"]
    for arguments in ((), ("--data", table), ("--data", table, *CHOSEN)):
        again = run_zoo("evaluate", "run", *arguments, "--json")
        assert again.code == 0, again.err
        assert (again.document["n"], again.document["data"]) == (report["n"], report["data"])
    other = run_zoo("evaluate", "run", "--data", table, "--columns", "label=label", "--json")
    assert other.code == 1, "three other classes"
    shutil.copytree("run", "twin")
    compared = run_zoo("compare", "run", "twin", "--data", table, *CHOSEN, "--group", "ward", "--keep-na", "--json")
    assert compared.code == 0, compared.err
    assert compared.document["clusters"] == report["clusters"]
    useless = run_zoo("evaluate", "run", *CHOSEN, "--json")
    assert (useless.code, useless.document["error"]["code"]) == (2, "option-ignored")


def test_check_split_and_info_take_columns(table: str) -> None:
    assert set(run_zoo("data", "check", table, *CHOSEN, "--json").document["classes"]) == {"bright", "dark"}
    made = run_zoo("data", "split", table, *CHOSEN, "--out", "s.csv", "--json").document
    assert (made["labels"], made["groups"]) == (["bright", "dark"], 30)
    for said in ("--keep-na", "--no-keep-na"):
        assert f" {said}" in run_zoo("data", "split", table, *CHOSEN, said, "--out", f"{said}.csv").out
    found = run_zoo("data", "info", table, *CHOSEN, "--json").document
    assert found["columns"] == {"image": "image", "label": "what is seen", "group": "ward"}
    assert found["ignored"] == {"label": "'what is seen' was taken for the label"}
    shown = run_zoo("data", "info", table, *CHOSEN).out
    assert "what is seen" in shown
    assert "0.png" in shown


@pytest.mark.parametrize(("name", "code"), [("digits", "columns-without-table"), ("dermamnist@64", "set-not-fetched")])
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_what_is_said_of_columns_of_a_named_set_is_not_ignored(
    name: str, code: str, form: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path))
    ran = run_zoo("data", "info", name, "--columns", "label=x", *form)
    assert ran.code == 1
    assert not form or ran.document["error"]["code"] == code


@pytest.mark.parametrize("text", ["image", "label=a,label=b", "=x", "label="])
def test_columns_that_cannot_be_read_are_a_usage_error(table: str, text: str) -> None:
    ran = run_zoo("data", "info", table, "--columns", text, "--json")
    assert (ran.code, ran.document["error"]["code"]) == (2, "option-value")


def test_info_has_the_same_keys_for_all_kinds_of_data(table: str, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8), np.uint8)
    np.savez(tmp_path / "a.npz", train_images=images, train_labels=np.arange(6) % 2)
    for i in range(4):
        (tmp_path / "folder" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[i]).save(tmp_path / "folder" / "ab"[i % 2] / f"{i}.png")
    for data, classes in ((table, 3), ("a.npz", 2), ("folder", 2), ("digits", 10), ("dermamnist@64", 7)):
        found = run_zoo("data", "info", data, "--json").document
        assert set(found) >= BINDING, data
        assert len(found["classes"]) == classes, data
        assert isinstance(found["columns"], dict), data
        assert run_zoo("data", "info", data).code == 0
