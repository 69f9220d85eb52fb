"""Ranges and number types, on networks small enough to know what they must give."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from refusals import refused

from zoo._support.machine import Processor
from zoo.artefact.quantize import _targets as targets
from zoo.artefact.quantize._convert import to_integers
from zoo.artefact.quantize._core import Core, core_of, with_core
from zoo.artefact.quantize._ranges import METHODS, watch
from zoo.artefact.quantize._running import session_of
from zoo.artefact.quantize._sensitivity import errors, wobble, worst_first
from zoo.artefact.quantize._targets import SCHEMES, this_machine
from zoo.errors import UsageError


def _network(weights: Any, second: Any | None = None) -> onnx.ModelProto:
    """image (N, C, 8, 8) float32 → Conv 3×3 → Relu [→ Conv 1×1 → Relu] → mean over pixels → Gemm → logits (N, 2)."""
    channels = weights.shape[0] if second is None else second.shape[0]
    head = np.linspace(-1, 1, 2 * channels, dtype=np.float32).reshape(2, channels)
    constants = {"w": weights, "head": head, "axes": np.array([2, 3])}
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"], name="core/first", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"], name="core/relu"),
    ]
    if second is not None:
        constants["w2"] = second
        nodes += [
            helper.make_node("Conv", ["r", "w2"], ["c2"], name="core/second"),
            helper.make_node("Relu", ["c2"], ["r2"], name="core/relu2"),
        ]
    nodes += [
        helper.make_node("ReduceMean", [nodes[-1].output[0], "axes"], ["m"], name="core/mean", keepdims=0),
        helper.make_node("Gemm", ["m", "head"], ["logits"], name="core/head", transB=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"], name="post/softmax", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", weights.shape[1], 8, 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2]) for name in ("probabilities", "logits")],
        initializer=[numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _weights(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(scale=0.3, size=shape).astype(np.float32)


def _images(channels: int, count: int = 24) -> list[Any]:
    rng = np.random.default_rng(3)
    return [rng.random((1, channels, 8, 8)).astype(np.float32) for _ in range(count)]


@pytest.fixture(scope="module")
def core() -> Core:
    return core_of(_network(_weights(16, 3, 3, 3), _weights(16, 16, 1, 1, seed=1)))


def test_the_head_is_found_and_is_no_layer(core: Core) -> None:
    assert core.layers == ("core/first", "core/second")
    assert core.head == ("core/head",)
    assert core.input == "image"


def test_a_head_alone_has_nothing_to_quantise() -> None:
    model = _network(_weights(4, 3, 3, 3))
    kept = [node for node in model.graph.node if node.op_type != "Conv"]
    kept[0].input[0] = "image"
    del model.graph.node[:]
    model.graph.node.extend(kept)
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.ones((2, 3), np.float32), "head"))
    with refused("quantise-nothing", UsageError):
        core_of(model)


def test_another_network_goes_back_between_the_same_nodes(core: Core) -> None:
    model = _network(_weights(16, 3, 3, 3), _weights(16, 16, 1, 1, seed=1))
    whole = with_core(model, core.model)
    image = _images(3, 1)[0]
    before, after = (session_of(one.SerializeToString(), reference=False) for one in (model, whole))
    assert np.allclose(before.run(None, {"image": image})[0], after.run(None, {"image": image})[0], atol=1e-6)
    assert [one.name for one in whole.graph.output] == ["probabilities", "logits"]


def test_ranges_hold_zero_and_what_was_seen(core: Core) -> None:
    images = _images(3)
    seen = watch(core, images)
    assert seen.images == len(images)
    stacked = np.concatenate(images)
    assert seen.ends["image"] == pytest.approx((float(stacked.min()), float(stacked.max())))
    for method in METHODS:
        for name, (low, high) in seen.ranges(method).items():
            assert min(seen.ends[name][0], 0) <= low <= 0 <= high <= max(seen.ends[name][1], 0)


def test_percentiles_cut_outliers_that_minmax_keeps(core: Core) -> None:
    images = _images(3, 40)
    images[0][0, 0, 0, 0] = 1000.0
    seen = watch(core, images)
    high = {method: seen.ranges(method)["image"][1] for method in METHODS}
    assert high["minmax"] == 1000
    assert high["percentile 99.9"] < 2
    assert high["percentile 99.9"] <= high["percentile 99.99"] <= high["percentile 99.999"] <= high["minmax"]
    assert high["entropy"] < 250


def test_a_tensor_that_is_always_zero_has_a_range() -> None:
    core = core_of(_network(-np.abs(_weights(4, 3, 3, 3))))  # Relu lets nothing through
    seen = watch(core, _images(3, 4))
    for method in METHODS:
        network = to_integers(core, seen.ranges(method), SCHEMES["avx2"])
        found = session_of(network.SerializeToString(), reference=True).run(None, {"image": _images(3, 1)[0]})[0]
        assert np.isfinite(found).all()


def test_int8_is_near_float_for_every_target(core: Core) -> None:
    ranges = watch(core, _images(3)).ranges("minmax")
    for scheme in SCHEMES.values():
        network = to_integers(core, ranges, scheme)
        found = errors(core, [("all", network)], _images(3, 8), reference=True, task="multilabel")["all"]
        assert 1e-5 < found < 0.05


def test_what_is_excluded_stays_in_float(core: Core) -> None:
    ranges = watch(core, _images(3)).ranges("minmax")
    graph = to_integers(core, ranges, SCHEMES["avx2"], excluded=["core/first"]).graph
    kinds = {one.name: one.data_type for one in graph.initializer}
    nodes = {node.name: node for node in graph.node}
    assert kinds[nodes["core/first"].input[1]] == TensorProto.FLOAT
    assert nodes["core/second"].input[1] not in kinds  # made by a DequantizeLinear


def test_the_layer_with_an_outlier_channel_comes_first(core: Core) -> None:
    first, second = _weights(16, 3, 3, 3), _weights(16, 16, 1, 1, seed=1)
    first[0] *= 2000  # the same function: what is made larger here is made smaller there
    second[:, 0] /= 2000
    spoilt = core_of(_network(first, second))
    images = _images(3)
    for one, expected in ((core, None), (spoilt, "core/second")):
        ranges = watch(one, images).ranges("minmax")
        cost = errors(
            one, [("all", to_integers(one, ranges, SCHEMES["avx2"]))], images, reference=True, task="multilabel"
        )["all"]
        order = worst_first(one, ranges, SCHEMES["avx2"], images, reference=True, task="multilabel")
        if expected is None:
            assert cost < 0.05
        else:
            assert cost > 0.1
            assert order[0] == expected
            kept = to_integers(one, ranges, SCHEMES["avx2"], excluded=order[:1])
            assert errors(one, [("k", kept)], images, reference=True, task="multilabel")["k"] < 0.1 * cost


def test_seven_bit_weights_do_not_saturate_on_avx2() -> None:
    if this_machine() != "avx2":
        pytest.skip(f"needs AVX2 without VNNI, this machine is {this_machine()}")
    core = core_of(_network(np.full((8, 8, 3, 3), 0.5, np.float32)))
    bright = [np.full((1, 8, 8, 8), 1.0, np.float32)]
    ranges = watch(core, bright).ranges("minmax")
    wrong = {}
    for target in ("avx512", "avx2"):
        network = to_integers(core, ranges, SCHEMES[target])
        wrong[target] = errors(core, [(target, network)], bright, reference=False, task="multilabel")[target]
        assert errors(core, [("r", network)], bright, reference=True, task="multilabel")["r"] < 0.02
    assert wrong["avx512"] > 0.2  # two products of 255 and 127 are more than 16 bits hold
    assert wrong["avx2"] < 0.02


def test_rounding_is_found_to_move_logits_a_little(core: Core) -> None:
    ranges = watch(core, _images(3)).ranges("minmax")
    moved = wobble(core, to_integers(core, ranges, SCHEMES["avx2"]), _images(3, 8), reference=False)
    assert 0 <= moved < 0.05


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx2 avx512f avx512_vnni", "avx512"),
        ("fpu avx2 avx_vnni", "avx512"),
        ("fpu avx2 avx512f avx512bw", "avx2"),
        ("fpu avx2", "avx2"),
        ("fpu sse4_2", None),
    ],
)
def test_the_target_follows_from_the_flags_of_the_cpu(
    flags: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "processor", lambda: Processor("Some CPU", frozenset(flags.split()), complete=True))
    monkeypatch.setattr(targets.platform, "machine", lambda: "x86_64")
    assert this_machine() == expected


def test_arm_is_told_by_its_name_and_an_unreadable_cpu_is_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "processor", lambda: Processor("", frozenset(), complete=False))
    for name, expected in (("aarch64", "arm64"), ("arm64", "arm64"), ("x86_64", None)):
        monkeypatch.setattr(targets.platform, "machine", lambda name=name: name)
        assert this_machine() == expected
