"""Small models made here: the mean colour of an image, times a matrix, is its logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from zoo._support.files import sha256_file
from zoo.spec import (
    NOVELTY,
    Abstention,
    ConformalSets,
    ErrorControl,
    Fingerprint,
    InputSpec,
    Interval,
    Manifest,
    Novelty,
    OperatingPoint,
    PluginOrigin,
    PreprocessSpec,
    Provenance,
    Scale,
    TrainConfig,
    encode,
)

if TYPE_CHECKING:
    from pathlib import Path

LABELS = ("red", "green", "blue")


def make_manifest(**changes: Any) -> Manifest:
    known: dict[str, Any] = {
        "schema": 1,
        "name": "mean-colour",
        "labels": LABELS,
        "preprocess": PreprocessSpec(size=(8, 8), resize="stretch", mean=(0.0,) * 3, std=(1.0,) * 3),
        "input": InputSpec(name="image", dtype="uint8", channels=3),
        "outputs": ("probabilities", "logits"),
        "temperature": 1.0,
        "parity": None,
        "report": None,
        "provenance": Provenance(
            run="none",
            model="mean-colour",
            created="2026-01-01T00:00:00Z",
            plugin=PluginOrigin(name="none", distribution="none", version="0"),
            versions={},
            data=Fingerprint(name="none", sha256="0" * 64, n=1, splits={"train": 1}),
            config=TrainConfig(),
            weights=None,
        ),
        "licence": "unknown",
        "intended_use": "tests",
    }
    return Manifest(**(known | changes))


def make_point(label: str, threshold: float) -> OperatingPoint:
    some = Interval(value=0.9, low=0.8, high=0.95)
    return OperatingPoint(
        label=label,
        rule="sensitivity=0.9",
        threshold=threshold,
        low=threshold,
        high=threshold,
        sensitivity=some,
        specificity=some,
        n=300,
        positives=40,
    )


def make_sets(*quantiles: float, method: str = "lac", coverage: float = 0.9) -> ConformalSets:
    return ConformalSets(
        method=method,  # type: ignore[arg-type]
        coverage=coverage,
        per_class=len(quantiles) > 1,
        quantiles=quantiles,
        n=(300,) * len(quantiles),
    )


def deciding_manifest(**changes: Any) -> Manifest:
    """Of the mean colour: blue is called from 0.2 on, sets hold what has 0.3, images brighter than 200 are unlike."""
    abstention = Abstention(
        sets=make_sets(0.7),
        novelty=Novelty(kind="features", threshold=200.0, share=0.01, n=300),
        error=ErrorControl(error=0.05, delta=0.1, threshold=0.8, n=300),
    )
    known: dict[str, Any] = {
        "outputs": ("probabilities", "logits", NOVELTY),
        "operating": (make_point("blue", 0.2),),
        "abstention": abstention,
    }
    return make_manifest(**(known | changes))


COLOURS = {"red.png": (255, 0, 0), "purple.png": (160, 0, 130), "grey.png": (60, 60, 50), "white.png": (255, 255, 255),
           "dim.png": (95, 20, 20)}  # fmt: skip
"""Images of `deciding_manifest`: red; called blue, a set of two; a set of three; unlike; red, but below 0.8."""


def make_model(manifest: Manifest | None = None, *, width: int | None = None, opset: int = 18) -> onnx.ModelProto:
    """Cast, mean over the pixels, times 8 × the identity, softmax; `width`: number of classes.

    Of a multilabel manifest the logits are lowered by 4 and go through a sigmoid: a colour is given from half on.
    Novelty, where the manifest lists it, is the brightness.
    """
    manifest = manifest or make_manifest()
    width = width or len(manifest.labels)
    kind = {"uint8": TensorProto.UINT8, "uint16": TensorProto.UINT16, "float32": TensorProto.FLOAT}
    tensor, new = manifest.input.stage == "tensor", NOVELTY in manifest.outputs
    channels = manifest.input.channels
    maximum = np.float32(1 if tensor else getattr(manifest.preprocess.intensity, "maximum", 1))
    matrix = (8 * np.eye(channels, width) / maximum).astype(np.float32)
    shape = ["N", channels, "H", "W"] if tensor else ["N", "H", "W", channels]
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
            *_head(manifest),
            *([helper.make_node("ReduceMean", ["mean", "channels"], [NOVELTY], keepdims=0)] if new else []),
        ],
        "mean_colour",
        [helper.make_tensor_value_info("image", kind[manifest.input.dtype], shape)],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", width]),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", width]),
            *([helper.make_tensor_value_info(NOVELTY, TensorProto.FLOAT, ["N"])] if new else []),
        ],
        initializer=[
            numpy_helper.from_array(matrix, "matrix"),
            numpy_helper.from_array(np.float32(4), "half"),
            numpy_helper.from_array(np.array([1], np.int64), "channels"),
            numpy_helper.from_array(np.array([2, 3] if tensor else [1, 2], np.int64), "axes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    helper.set_model_props(model, {"zoo": encode(manifest).decode()})
    return model


def _head(manifest: Manifest) -> list[onnx.NodeProto]:
    if manifest.task == "multiclass":
        return [
            helper.make_node("MatMul", ["mean", "matrix"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ]
    return [
        helper.make_node("MatMul", ["mean", "matrix"], ["product"]),
        helper.make_node("Sub", ["product", "half"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["probabilities"]),
    ]


def make_bundle(
    folder: Path, *, images: int = 4, tolerance: float = 1e-4, manifest: Manifest | None = None, shift: float = 0.0
) -> Path:
    """A bundle whose golden set was answered by numpy, not by the runtime under test; wrongly, by `shift`."""
    manifest = manifest or make_manifest()
    folder.mkdir()
    (folder / "model.onnx").write_bytes(make_model(manifest).SerializeToString())
    random = np.random.default_rng(0)
    channels, most = manifest.input.channels, getattr(manifest.preprocess.intensity, "maximum", 1)
    raw = [random.integers(0, int(most) + 1, (5 + i, 7, channels)).astype(manifest.input.dtype) for i in range(images)]
    lowered = 4 if manifest.task == "multilabel" else 0
    matrix = 8 * np.eye(channels, len(manifest.labels)) / most
    means = np.stack([image.mean(axis=(0, 1)) for image in raw])
    logits = (means @ matrix - lowered + shift).astype(np.float32)
    arrays = {f"image_{i:04d}": image for i, image in enumerate(raw)}
    if NOVELTY in manifest.outputs:
        arrays[NOVELTY] = (means.mean(axis=1) + shift).astype(np.float32)
    np.savez(folder / "golden.npz", logits=logits, tolerance=np.float32(tolerance), **arrays)
    (folder / "CARD.md").write_text("# mean colour\n")
    seal(folder, manifest)
    return folder


def seal(folder: Path, manifest: Manifest | None = None) -> None:
    """Write the manifest that lists every file as it is now."""
    files = sorted(path for path in folder.iterdir() if path.name != "manifest.json")
    manifest = msgspec.structs.replace(
        manifest or make_manifest(),
        files={path.name: sha256_file(path) for path in files},
        sizes={path.name: path.stat().st_size for path in files},
    )
    (folder / "manifest.json").write_bytes(encode(manifest))


def paint(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (6, 4)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def deep_manifest(stage: str = "raw", dtype: str = "uint16") -> Manifest:
    """For 16-bit images: one channel, values to 4095."""
    return make_manifest(
        labels=("dark",),
        preprocess=PreprocessSpec(
            size=(8, 8),
            channels="gray",
            resize="stretch",
            intensity=Scale(maximum=4095),
            mean=(0.0,),
            std=(1.0,),
        ),
        input=InputSpec(name="image", dtype=dtype, channels=1, stage=stage),  # type: ignore[arg-type]
    )
