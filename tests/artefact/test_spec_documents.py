"""Value types survive the file, and a file that is not quite ours is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.errors import ModelError
from zoo.spec import (
    Gaussian,
    Interval,
    Manifest,
    Median,
    Percentile,
    PreprocessSpec,
    Scale,
    TrainConfig,
    Voi,
    Window,
    decode,
    encode,
    from_builtins,
    to_builtins,
)

if TYPE_CHECKING:
    from export_cases import Case

real = st.floats(-1e6, 1e6)
above = st.floats(1e-6, 1e6)
intensities = st.one_of(
    st.builds(Scale, maximum=above),
    st.builds(Window, center=real, width=st.floats(1.001, 1e6)),
    st.builds(
        Percentile,
        low=st.floats(0, 49),
        high=st.floats(50, 100),
        padding=st.lists(st.tuples(st.floats(-9e4, 0), st.floats(0, 9e4)), max_size=3).map(tuple),
    ),
    st.builds(Voi),
)
denoise = st.one_of(
    st.none(), st.builds(Median, k=st.sampled_from([3, 5])), st.builds(Gaussian, sigma=st.floats(0.01, 5))
)


@st.composite
def specs(draw: st.DrawFn) -> PreprocessSpec:
    channels = draw(st.sampled_from(["rgb", "gray"]))
    n = 3 if channels == "rgb" else 1
    return PreprocessSpec(
        size=draw(st.tuples(st.integers(1, 4096), st.integers(1, 4096))),
        channels=channels,
        intensity=draw(intensities),
        denoise=draw(denoise),
        resize=draw(st.sampled_from(["stretch", "crop", "letterbox"])),
        interpolation=draw(st.sampled_from(["bicubic", "bilinear"])),
        mean=tuple(draw(st.lists(real, min_size=n, max_size=n))),
        std=tuple(draw(st.lists(above, min_size=n, max_size=n))),
    )


@given(spec=specs())
def test_a_preprocessing_survives_the_file(spec: PreprocessSpec) -> None:
    assert decode(encode(spec), PreprocessSpec, "x", ModelError) == spec
    assert from_builtins(to_builtins(spec), PreprocessSpec, "x", ModelError) == spec


@given(
    config=st.builds(
        TrainConfig,
        epochs=st.integers(1, 10**6),
        lr=st.floats(1e-9, 99),
        seed=st.integers(0, 2**31),
        device=st.text(max_size=20),
    )
)
def test_a_configuration_survives_the_file(config: TrainConfig) -> None:
    assert decode(encode(config), TrainConfig, "x", ModelError) == config


@given(labels=st.lists(st.text(max_size=8), min_size=1, max_size=5, unique=True), value=st.floats(0, 1))
def test_a_manifest_survives_the_file(case: Case, labels: list[str], value: float) -> None:
    """Any name of a class, in any script."""
    report = case.manifest.report
    assert report is not None
    metrics = {"accuracy": Interval(value=value, low=0.0, high=1.0, method="wilson")}
    manifest = msgspec.structs.replace(
        case.manifest, labels=tuple(labels), report=msgspec.structs.replace(report, metrics=metrics)
    )
    assert decode(encode(manifest), Manifest, "x", ModelError) == manifest


def test_every_unknown_field_is_refused(case: Case) -> None:
    """At any depth: a later version's file is never half understood."""
    whole = to_builtins(case.manifest)
    places: list[dict[str, Any]] = [
        whole,
        whole["preprocess"],
        whole["preprocess"]["intensity"],
        whole["input"],
        whole["parity"],
        whole["report"],
        whole["report"]["data"],
        whole["report"]["confusion"],
        whole["provenance"],
        whole["provenance"]["config"],
        whole["provenance"]["plugin"],
    ]
    for place in places:
        place["surprise"] = 1
        with pytest.raises(ModelError, match="surprise") as refused:
            decode(json.dumps(whole), Manifest, "manifest.json", ModelError)
        assert "\n" not in str(refused.value)
        del place["surprise"]
    assert decode(json.dumps(whole), Manifest, "manifest.json", ModelError) == case.manifest


@pytest.mark.parametrize(
    "change",
    [
        {"size": [0, 5]},
        {"size": [5, 5000]},
        {"size": [5]},
        {"mean": [0.5, 0.5]},
        {"std": [0.0, 1, 1]},
        {"std": [float("nan"), 1, 1]},
        {"intensity": {"type": "scale", "maximum": 0}},
        {"intensity": {"type": "window", "center": 1, "width": 1}},
        {"intensity": {"type": "percentile", "low": 5, "high": 5}},
        {"intensity": {"type": "gamma"}},
        {"denoise": {"type": "median", "k": 4}},
        {"denoise": {"type": "gaussian", "sigma": 9}},
        {"interpolation": "nearest"},
    ],
)
def test_an_impossible_preprocessing_is_refused(change: dict[str, Any]) -> None:
    good = to_builtins(PreprocessSpec(size=(8, 8), mean=(0.5,) * 3, std=(0.5,) * 3))
    with pytest.raises(ModelError):
        from_builtins(good | change, PreprocessSpec, "card", ModelError)


@pytest.mark.parametrize("document", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"schema": 99}'])
def test_a_damaged_document_is_one_line(document: bytes) -> None:
    with pytest.raises(ModelError, match=r"manifest\.json") as refused:
        decode(document, Manifest, "manifest.json", ModelError)
    assert "\n" not in str(refused.value)
