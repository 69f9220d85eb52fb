"""The output "novelty": numpy's score as nodes, proven by the gate, in float32 beside an int8 network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import onnxruntime
import pytest
from refusals import refused

from zoo.artefact import TrainedNetwork, assemble, core_predict, has_features, prove, with_features, with_novelty
from zoo.artefact.quantize._convert import to_half
from zoo.artefact.quantize._core import core_of
from zoo.data import open_data
from zoo.errors import GateError
from zoo.evaluation import FeatureSpace, fit_space, score_novelty
from zoo.spec import NOVELTY
from zoo.workflow._unlike import learn_space

if TYPE_CHECKING:
    from export_cases import Case


@pytest.fixture(scope="module")
def space(case: Case) -> FeatureSpace:
    pictures = np.random.default_rng(0).normal(size=(60, 3, 32, 32)).astype(np.float32)
    found = fit_space(case.trained.features(pictures))  # type: ignore[attr-defined]
    assert found is not None
    return found


def _made(case: Case, space: FeatureSpace) -> Any:
    core = with_novelty(with_features(case.fresh_core()), space)
    manifest = case.manifest
    return assemble(core, manifest.preprocess, case.given, temperature=manifest.temperature, novelty=True)


def _proven(case: Case, model: Any, novelty: Any) -> float | None:
    manifest = msgspec.structs.replace(case.manifest, outputs=("probabilities", "logits", NOVELTY))
    return prove(
        model,
        manifest,
        spec=manifest.preprocess,
        labels=manifest.labels,
        reference=case.trained.predict,
        images=case.images[:5],
        novelty=novelty,
    ).max_abs_novelty


def test_nodes_give_the_score_of_numpy(case: Case, space: FeatureSpace) -> None:
    core = case.fresh_core()
    assert has_features(core)
    pictures = np.random.default_rng(1).normal(size=(9, 3, 32, 32)).astype(np.float32) * 3
    got = core_predict(with_novelty(core, space).SerializeToString(), "core", output=NOVELTY)(pictures)
    expected = score_novelty(case.trained.features(pictures), space)  # type: ignore[attr-defined]
    assert got.shape == (9,)
    assert got == pytest.approx(expected, rel=1e-3)


def test_nodes_give_a_finite_score_for_hostile_features(case: Case, space: FeatureSpace) -> None:
    core = with_novelty(with_features(case.fresh_core()), space)
    for value in (0.0, 1e18, -1e18):
        pictures = np.full((1, 3, 32, 32), value, np.float32)
        assert np.isfinite(core_predict(core.SerializeToString(), "core", output=NOVELTY)(pictures)).all()


def test_the_gate_passes_the_score_of_the_networks_features_and_refuses_another(
    case: Case, space: FeatureSpace
) -> None:
    model = _made(case, space)

    def reference(batch: Any) -> Any:
        return score_novelty(case.trained.features(batch), space)  # type: ignore[attr-defined]

    found = _proven(case, model, reference)
    assert found is not None
    assert found < 1e-3
    with refused("parity-answers", GateError):
        _proven(case, model, lambda batch: reference(batch) * 1.05)
    with refused("parity-statement", GateError, differs="outputs"):
        _proven(case, model, None)


def test_what_is_quantised_keeps_the_score_in_float32(case: Case, space: FeatureSpace) -> None:
    core = core_of(_made(case, space))
    assert [one.name for one in core.model.graph.output] == ["logits", NOVELTY]
    scoring = {node.name for node in core.model.graph.node if node.name.startswith("core/novelty")}
    assert {"MatMul", "Gemm"} <= {node.op_type for node in core.model.graph.node if node.name in scoring}
    assert scoring <= set(core.head)
    assert not scoring & set(core.layers)


def test_an_fp16_network_computes_score_and_logits_in_float32(case: Case, space: FeatureSpace) -> None:
    """The squares of this score add up to more than fp16 holds."""
    narrow = FeatureSpace(mean=space.mean, axes=space.axes, spread=space.spread / 1e3, rest=space.rest / 1e3)
    core = core_of(_made(case, narrow))
    pictures = np.random.default_rng(1).normal(size=(9, 3, 32, 32)).astype(np.float32)
    for name in ("logits", NOVELTY):
        full, half = (
            onnxruntime.InferenceSession(one.SerializeToString()).run([name], {core.input: pictures})[0]
            for one in (core.model, to_half(core))
        )
        assert half == pytest.approx(full, rel=0.02, abs=0.02)
        assert not np.array_equal(half, half.astype(np.float16))


def test_a_network_that_names_no_features_has_no_score(case: Case) -> None:
    class Unnamed:
        predict = case.trained.predict

        def to_onnx(self) -> Any:
            return case.fresh_core()

    trained = TrainedNetwork(Unnamed(), case.run.record.card, "multiclass")
    notes = learn_space(trained, open_data(case.run.record.source).train, seed=0)
    assert trained.space is None
    assert any("unlike training" in note for note in notes)
