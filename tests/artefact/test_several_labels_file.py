"""The file of a multilabel model: a sigmoid for each label, proven by the gate as a softmax is."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from export_cases import Case
from refusals import refused

import zoo
from zoo.artefact import assemble, prove
from zoo.artefact._card import model_card
from zoo.artefact._differences import Worst
from zoo.edge._session import open_session
from zoo.errors import GateError
from zoo.evaluation import report
from zoo.spec import Manifest, decode, encode


@pytest.fixture(scope="module")
def several(case: Case) -> Manifest:
    return msgspec.structs.replace(case.manifest, task="multilabel", temperature=1.3)


def made(case: Case, manifest: Manifest, **changes: Any) -> Any:
    given = {"temperature": manifest.temperature, "task": manifest.task} | changes
    return assemble(case.fresh_core(), manifest.preprocess, case.given, **given)


def proven(case: Case, manifest: Manifest, model: Any, **changes: Any) -> zoo.Parity:
    return prove(
        model,
        manifest,
        spec=manifest.preprocess,
        labels=manifest.labels,
        images=case.images,
        **({"reference": case.trained.predict, "task": "multilabel"} | changes),
    )


def test_the_graph_ends_in_a_sigmoid_of_the_calibrated_logits(case: Case, several: Manifest) -> None:
    model = made(case, several)
    assert [node.op_type for node in model.graph.node][-2:] == ["Div", "Sigmoid"]
    session = open_session(model.SerializeToString(), "x", provider="cpu", threads=1)
    logits, probabilities = session.run(["logits", "probabilities"], {"image": case.images[0][None]})
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-logits / np.float32(1.3))), atol=1e-6)


def test_a_faultless_file_passes(case: Case, several: Manifest) -> None:
    parity = proven(case, several, made(case, several))
    assert parity.max_abs_logit <= 1e-5
    assert parity.max_abs_probability <= 1e-5
    assert parity.flips == 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"task": "multiclass"}, "same logits"),
        ({"temperature": 1.4}, "temperature"),
    ],
    ids=["softmax", "temperature"],
)
def test_a_file_with_another_end_is_refused(case: Case, several: Manifest, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(GateError, match=says):
        proven(case, several, made(case, several, **changes))


def test_a_file_that_states_another_task_than_the_training_is_refused(case: Case, several: Manifest) -> None:
    with refused("parity-statement", GateError, differs="task", found="multilabel", expected="multiclass"):
        proven(case, several, made(case, several), task="multiclass")


def test_every_label_that_changes_is_counted_not_only_the_likeliest(several: Manifest) -> None:
    worst = Worst(several.preprocess, "multilabel")
    worst.see_end(np.array([[0.9, 0.8, 0.2], [0.9, 0.1, 0.2]]), np.array([[0.9, 0.3, 0.7], [0.9, 0.1, 0.2]]))
    worst.see_logits(np.zeros((1, 3)), np.zeros((1, 3)))
    assert worst.flips == 2
    with refused("parity-answers", GateError, images=2) as caught:
        worst.refuse(2)
    assert any(found.startswith("2 labels") for found in caught.value.fields["found"])


@pytest.mark.parametrize(("expected", "got", "flips"), [(0.504, 0.4999, 0), (0.506, 0.4999, 1), (0.494, 0.501, 1)])
def test_a_decision_at_the_edge_may_fall_either_way(several: Manifest, expected: float, got: float, flips: int) -> None:
    """|2p - 1| <= 0.01: rounding decides there, as between two classes of nearly equal probability."""
    worst = Worst(several.preprocess, "multilabel")
    worst.see_end(np.array([[got, 0.9, 0.9]]), np.array([[expected, 0.9, 0.9]]))
    assert worst.flips == flips


def test_the_card_says_that_labels_stand_alone_and_what_was_resampled(several: Manifest) -> None:
    rng = np.random.default_rng(0)
    found = report(
        rng.normal(size=(90, 3)),
        rng.integers(0, 2, (90, 3)),
        several.labels,
        model="m",
        split="test",
        temperature=1.3,
        fingerprint=several.provenance.data,
        groups=np.arange(90) // 2,
        resamples=50,
    )
    card = model_card(msgspec.structs.replace(several, report=found))
    assert "any number" in card
    assert all(part in card for part in ("90 images", "45 groups", "resampled whole"))
    assert "| label |" in card
    plain = model_card(msgspec.structs.replace(several, task="multiclass"))
    assert "any number" not in plain
    assert "resampled whole" not in plain  # it holds another report, of single images


def test_a_manifest_of_an_earlier_version_is_of_one_label_an_image(case: Case) -> None:
    """Files of the first release name no task."""
    document = msgspec.json.decode(encode(case.manifest))
    del document["task"]
    assert decode(msgspec.json.encode(document), Manifest, "manifest", GateError).task == "multiclass"
