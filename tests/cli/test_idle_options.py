"""An option that would change nothing is refused: its user believes that it did something."""

from __future__ import annotations

import pytest
from cli_running import run_zoo


@pytest.mark.parametrize(
    ("words", "idle"),
    [
        (("export", "--onnx", "--ort-web", "ort.tgz"), ["--ort-web"]),
        (("export", "--onnx", "--fetch", "--ort-web", "ort.tgz"), ["--ort-web", "--fetch"]),
        (("export", "--onnx", "--no-seen"), ["--no-seen"]),
        (("export", "--web", "page", "--no-seen"), ["--no-seen"]),
        (("train", "svm", "--data", "digits", "--overwrite"), ["--overwrite"]),
        (("train", "svm", "--data", "digits", "--folds", "3", "--overwrite"), ["--overwrite"]),
        (("report", "--overwrite"), ["--overwrite"]),
        (("compare", "svm", "knn", "--data", "digits", "--overwrite"), ["--overwrite"]),
        (("data", "check", "digits", "--overwrite"), ["--overwrite"]),
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("at_work")
def test_an_option_without_what_it_is_about_is_refused(words: tuple[str, ...], idle: list[str]) -> None:
    ran = run_zoo(*words, "--json")
    assert ran.code == 2, ran.err
    assert (ran.document["error"]["code"], ran.document["error"]["options"]) == ("option-ignored", idle)
