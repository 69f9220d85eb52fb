"""The golden set replayed by OpenVINO: the portable file passes, the default one must be refused there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from runtime_cases import replayed

if TYPE_CHECKING:
    from pathlib import Path

openvino = pytest.importorskip("openvino", reason="openvino is not here", exc_type=ImportError)

pytestmark = pytest.mark.slow


def on_openvino(bundle: Path) -> tuple[float, list[str]]:
    """Largest relative difference of a logit, and the images that are further off than the tolerance."""
    core = openvino.Core()
    # On CPUs that have bfloat16 it would be taken without being asked for.
    compiled = core.compile_model(core.read_model(bundle / "model.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def logits(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.asarray(compiled({"image": image[None]})["logits"])[0]

    return replayed(bundle, logits)


@pytest.mark.parametrize("model", ["photographs", "deep", "findings"])
@pytest.mark.parametrize("form", ["portable", "own"])
def test_the_portable_file_gives_the_golden_answers(request: pytest.FixtureRequest, model: str, form: str) -> None:
    worst, mismatches = on_openvino(request.getfixturevalue(model) / f"{form}.zoo")
    assert mismatches == []
    assert worst <= 1e-3


@pytest.mark.parametrize("model", ["photographs", "deep", "findings"])
def test_the_default_file_is_refused(request: pytest.FixtureRequest, model: str) -> None:
    """OpenVINO ignores antialias without a word; a proof that let this pass would prove nothing."""
    worst, mismatches = on_openvino(request.getfixturevalue(model) / "default.zoo")
    assert mismatches
    assert worst > 1e-2
