"""Weights rounded by what their layer gives: nearer answers, on the very grid that the int8 file has."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from zoo.artefact.quantize._convert import to_integers
from zoo.artefact.quantize._core import Core, core_of
from zoo.artefact.quantize._layers import read_layers
from zoo.artefact.quantize._ranges import watch
from zoo.artefact.quantize._rounding import _round, round_layers, with_rounded
from zoo.artefact.quantize._running import session_of
from zoo.artefact.quantize._sensitivity import errors
from zoo.artefact.quantize._targets import SCHEMES
from zoo.learn import fit_integers, module_to_onnx
from zoo.learn._integers import _Watching


class _Network(nn.Module):
    """Every kind of layer: strided, dilated, depthwise, grouped, of tokens, without a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
            nn.Conv2d(16, 16, 3, padding=2, dilation=2, groups=16),
            nn.ReLU(),
            nn.Conv2d(16, 24, (3, 1), padding=(1, 0), groups=4, bias=False),
            nn.ReLU(),
        )
        self.tokens = nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 24, bias=False), nn.ReLU())
        self.head = nn.Linear(24, 5)

    def forward(self, images: Any) -> Any:
        tokens = self.maps(images).flatten(2).transpose(1, 2)
        return self.head(self.tokens(tokens).mean(dim=1))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return _Network().eval()


@pytest.fixture(scope="module")
def core(network: nn.Module) -> Core:
    return core_of(module_to_onnx(network, channels=3, size=(16, 16)))


@pytest.fixture(scope="module")
def images() -> list[Any]:
    """Smooth, so that neighbouring values say much of each other, as in photographs."""
    rng = np.random.default_rng(0)
    coarse = rng.random((96, 3, 4, 4)).astype(np.float32)
    noise = 0.05 * rng.random((96, 3, 16, 16)).astype(np.float32)
    return list((np.repeat(np.repeat(coarse, 4, axis=2), 4, axis=3) + noise)[:, None])


@pytest.mark.parametrize("steps", [127, 64])
def test_what_a_layer_gives_is_nearer_than_with_weights_rounded_to_the_nearest(steps: int) -> None:
    rng = np.random.default_rng(0)
    inputs = (rng.normal(size=(2000, 6)) @ rng.normal(size=(6, 200)) + 0.1 * rng.normal(size=(2000, 200))).astype(
        np.float32
    )
    weights = rng.normal(size=(30, 200)).astype(np.float32)
    scale = np.abs(weights).max(axis=1, keepdims=True) / steps
    made = _round(weights, inputs.T @ inputs / 2000, steps)
    assert np.abs(made / scale - np.rint(made / scale)).max() < 1e-3
    assert np.abs(made).max() == np.abs(weights).max()
    own, nearest = (
        float((((weights - other) @ inputs.T) ** 2).mean()) for other in (made, np.rint(weights / scale) * scale)
    )
    assert own < 0.1 * nearest


@pytest.mark.parametrize("target", ["avx512", "avx2"])
def test_the_file_holds_exactly_the_rounded_weights(core: Core, images: list[Any], target: Any) -> None:
    scheme = SCHEMES[target]
    rounded = round_layers(core, images, scheme.steps)
    assert set(rounded) == set(core.layers)
    made = to_integers(with_rounded(core, rounded), watch(core, images).ranges("minmax"), scheme)
    constants = {one.name: numpy_helper.to_array(one) for one in made.graph.initializer}
    makers = {node.output[0]: node for node in made.graph.node}
    for layer in read_layers(core.model, core.layers):
        node = next(node for node in made.graph.node if node.name == layer.node.name)
        whole, scale, _ = (constants[name] for name in makers[node.input[1]].input)
        axis = next(one.i for one in makers[node.input[1]].attribute if one.name == "axis")
        shape = [1] * whole.ndim
        shape[axis] = -1
        wanted = rounded[layer.node.name][layer.weight]
        assert np.abs(whole * scale.reshape(shape) - wanted).max() < 1e-6
        assert np.abs(whole.astype(int)).max() == scheme.steps


def test_inputs_that_hardly_vary_around_large_numbers_and_constant_ones_can_be_rounded(core: Core) -> None:
    rng = np.random.default_rng(2)
    narrow = [1000 + 1e-3 * rng.random((1, 3, 16, 16)).astype(np.float32) for _ in range(40)]
    for images in (narrow, [np.zeros((1, 3, 16, 16), np.float32)] * 2):
        rounded = with_rounded(core, round_layers(core, images, 127))
        found = errors(core, [("rounded", rounded.model)], images[:4], reference=False, task="multilabel")
        assert found["rounded"] < 0.02


def test_sums_that_are_not_a_covariance_are_rounded_one_by_one() -> None:
    weights = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    broken = np.array([[1, 0, 0], [0, -5, 0], [0, 0, 1]], np.float32)
    made = _round(weights, broken, 127)
    scale = np.abs(weights).max(axis=1, keepdims=True) / 127
    assert np.abs(made - np.rint(weights / scale) * scale).max() < 1e-6


def test_what_is_excluded_keeps_its_own_weights(core: Core, images: list[Any]) -> None:
    rounded = round_layers(core, images, 127)
    kept = with_rounded(core, rounded, excluded=core.layers[:1])
    before, after = (
        {one.name: numpy_helper.to_array(one) for one in model.graph.initializer} for model in (core.model, kept.model)
    )
    for place, layer in enumerate(read_layers(core.model, core.layers)):
        assert np.array_equal(before[layer.weight], after[layer.weight]) == (place == 0)


def test_patches_are_what_the_convolution_multiplies(core: Core, images: list[Any]) -> None:
    layers = list(read_layers(core.model, core.layers))
    shown = onnx.ModelProto()
    shown.CopyFrom(core.model)
    names = [name for layer in layers for name in (layer.input, layer.node.output[0])]
    del shown.graph.output[:]
    for name in dict.fromkeys(name for name in names if name != core.input):
        shown.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    got = session_of(shown.SerializeToString(), reference=False).run(None, {core.input: images[0]})
    values = dict(zip([one.name for one in shown.graph.output], got, strict=True)) | {core.input: images[0]}
    constants = {one.name: numpy_helper.to_array(one) for one in core.model.graph.initializer}
    assert len(layers) == 5
    for layer in layers:
        weights = constants[layer.weight]
        patches = layer.patches(values[layer.input], weights.shape[2:], 10_000, np.random.default_rng(0))
        sums = np.einsum("gnd,god->gno", patches, layer.matrices(weights)).mean(axis=1).reshape(-1)
        added = 0 if layer.bias is None or layer.transposed else constants[layer.bias]
        wanted = values[layer.node.output[0]]
        wanted = wanted[0].reshape(len(wanted[0]), -1).mean(axis=1) if wanted.ndim == 4 else wanted[0].mean(axis=0)
        assert np.allclose(sums + added, wanted, atol=1e-5)
        assert np.array_equal(layer.weights(layer.matrices(weights), weights), weights)


def test_a_short_training_brings_the_integers_nearer(network: nn.Module) -> None:
    rng = np.random.default_rng(1)
    images = list(np.repeat(np.repeat(rng.normal(size=(96, 1, 3, 4, 4)), 4, axis=3), 4, axis=4).astype(np.float32))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    tuned = fit_integers(network, images[:64], signed=False, seed=0, rounds=100, rate=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    plain, other = (core_of(module_to_onnx(one, channels=3, size=(16, 16))) for one in (network, tuned))
    pair = [
        (name, to_integers(one, watch(one, images[:64]).ranges("minmax"), SCHEMES["avx512"]))
        for name, one in (("plain", plain), ("tuned", other))
    ]
    found = errors(plain, pair, images[64:], reference=True, task="multiclass")
    assert 0 < found["tuned"] < found["plain"]


def test_of_operators_that_become_one_only_what_the_last_gives_is_an_integer() -> None:
    """A sum in place, a bound in place: three functions give the same tensor."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)
            self.norm = nn.BatchNorm2d(3)

        def forward(self, images: Any) -> Any:
            made = self.norm(self.conv(images))  # calls 0 and 1
            made += images  # call 2
            return torch.relu_(made)  # call 3

    watching = _Watching()
    with torch.inference_mode(), watching:
        Block().eval()(torch.rand(1, 3, 4, 4))
    assert set(watching.values) == {1, 3}


def test_values_are_seen_before_they_are_changed_in_place() -> None:
    watching = _Watching()
    with torch.inference_mode(), watching:
        made = nn.functional.batch_norm(torch.full((1, 1, 2, 2), -3.0), torch.zeros(1), torch.ones(1))
        nn.functional.hardswish(made, inplace=True)
    assert watching.values[0].min() < -2.9
    assert watching.values[1].min() > -0.1


def _gemm(bias: Any, *, twice: bool = False, constant: bool = True) -> onnx.ModelProto:
    """input (1, 4) → Gemm → logits (1, 3), and the same bias once more, or from outside."""
    given = [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 4])]
    nodes = [helper.make_node("Gemm", ["input", "w", "b"], ["a"], name="first")]
    nodes.append(
        helper.make_node("Add" if twice else "Identity", ["a", "b"] if twice else ["a"], ["logits"], name="last")
    )
    constants = {"w": np.ones((4, 3), np.float32)} | ({"b": np.asarray(bias, np.float32)} if constant else {})
    if not constant:
        given.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, [3]))
    made = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3])
    return helper.make_model(helper.make_graph(nodes, "g", given, [logits], initializer=made))


@pytest.mark.parametrize(
    ("model", "bias"),
    [
        (_gemm([1, 2, 3]), "b"),
        (_gemm(1.0), None),
        (_gemm([1, 2, 3], twice=True), None),
        (_gemm(None, constant=False), None),
    ],
    ids=["its own", "one number", "another reads it", "from outside"],
)
def test_a_bias_is_corrected_only_where_it_is_the_layers_own(model: onnx.ModelProto, bias: str | None) -> None:
    (layer,) = read_layers(model, ["first"])
    assert layer.bias == bias
