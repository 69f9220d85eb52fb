"""answers.npz of a run that a disk or another program has damaged: a typed error, and `zoo report` makes it anew."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from refusals import refused

import zoo
from zoo.errors import TrainingError
from zoo.testing import colour_folder
from zoo.workflow._folds import ANSWERS, read_answers


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> zoo.FoldsResult:
    place = tmp_path_factory.mktemp("runs")
    colours = colour_folder(place / "colours", per_class=12, side=12)
    return zoo.train_folds("logistic_regression", colours, folds=3, out=place / "over")


def spoil(good: bytes) -> Iterator[bytes]:
    """What a disk, a copy that broke off or another program makes of an archive."""
    yield b""
    yield good[:-1]
    yield good[: len(good) // 2]
    for at in (good.index(b"\x93NUMPY"), good.index(b"\x93NUMPY") + 200, good.index(b"PK\x01\x02") + 10):
        yield good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :]
    with np.load(io.BytesIO(good)) as archive:
        arrays = dict(archive)
    less = {name: value for name, value in arrays.items() if name != "logits"}
    for changed in (less, arrays | {"fold": arrays["fold"][1:]}, arrays | {"targets": np.int64(0)}):
        buffer = io.BytesIO()
        np.savez(buffer, **changed)
        yield buffer.getvalue()


def test_damaged_answers_are_refused_and_made_anew_by_the_command_that_is_named(
    done: zoo.FoldsResult, tmp_path: Path
) -> None:
    """Of the pooled answers, and of one fold's, whose file is asked again."""
    whole = shutil.copytree(done.run, tmp_path / "whole")
    wanted, kept = zoo.find_suspects(whole), (whole / ANSWERS).read_bytes()
    for place in (whole, whole / "fold-1"):
        good = (place / ANSWERS).read_bytes()
        for spoilt in spoil(good):
            (place / ANSWERS).write_bytes(spoilt)
            with refused("run-incomplete", TrainingError, path=str(place / ANSWERS)):
                read_answers(place)
        zoo.report(place)
        assert (place / ANSWERS).read_bytes() == good
    (whole / ANSWERS).write_bytes(kept[:-1])
    with refused("run-incomplete", TrainingError):
        zoo.find_suspects(whole)
    fold = whole / "fold-1" / ANSWERS
    fold.unlink()
    with refused("run-incomplete", TrainingError, path=str(fold)):
        zoo.report(whole)
    zoo.report(fold.parent)
    zoo.report(whole)
    assert zoo.find_suspects(whole) == wanted
