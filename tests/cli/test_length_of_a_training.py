"""`--epochs auto|N` and `--budget TIME`: what is typed by mistake is refused before any image is read."""

from __future__ import annotations

import json

import pytest
from cli_running import run_zoo


@pytest.mark.parametrize("value", ["ten", "1.5", "", "-", "Auto", "0", "-3"])
def test_a_number_of_epochs_that_is_none_is_a_usage_error(value: str) -> None:
    assert run_zoo("train", "simple_cnn", f"--epochs={value}", "--json").code == 2


@pytest.mark.parametrize("value", ["10", "m", "10 minutes", "0s", "-5m", "10m30s", "1d", ""])
def test_a_time_without_a_unit_is_a_usage_error(value: str) -> None:
    ran = run_zoo("train", "simple_cnn", f"--budget={value}", "--json")
    assert ran.code == 2
    assert json.loads(ran.out)["error"]["code"] == "setting-value"


def test_epochs_and_a_time_exclude_each_other() -> None:
    ran = run_zoo("train", "simple_cnn", "--epochs", "3", "--budget", "10m", "--json")
    assert (ran.code, json.loads(ran.out)["error"]["code"]) == (2, "option-conflict")
    ran = run_zoo("train", "simple_cnn", "--epochs", "auto", "--budget", "0.001s", "--data", "nowhere", "--json")
    assert json.loads(ran.out)["error"]["code"] == "data-missing"  # auto goes with it


@pytest.mark.parametrize(
    ("setting", "code"),
    [
        ("steps=0", "setting-value"),
        ("probe=1", "setting-value"),
        ("probe=0.2", "probe-scratch"),
        ("sam=-1", "setting-value"),
        ("drop_path=1", "setting-value"),
        ("average=swa", "setting-value"),
        ("augment=trivial", "setting-value"),
        ("augment_flip=vertical", "setting-value"),
        ("colour=yes", "setting-value"),
        ("erase=25", "setting-value"),
        ("cutmix=-0.1", "setting-value"),
        ("flips=yes", "setting-value"),
        ("flips=1", "setting-value"),
        ("flip=true", "setting-unknown"),
        ("tta=true", "setting-unknown"),
    ],
)
def test_a_slip_in_the_recipe_is_named(setting: str, code: str) -> None:
    ran = run_zoo("train", "simple_cnn", "--set", setting, "--json")
    assert (ran.code, json.loads(ran.out)["error"]["code"]) == (2, code)


def test_mirror_images_of_digits_are_refused() -> None:
    """The set says that they are never mirrored; so the user need not know it."""
    ran = run_zoo("train", "simple_cnn", "--set", "flips=true", "--json")
    assert (ran.code, json.loads(ran.out)["error"]["code"]) == (2, "flips-unwanted")
