"""What int8 and fp16 do to a trained run: speed, size and answers of every number scheme, on this machine.

    python benchmarks/quantization.py RUN [--data D] [--split test] [--images N]

Each variant is the run's own model.onnx with another network in it, calibrated by minmax on 256 training images; all
layers but the head are quantised and no guard chooses. Speed is the median ratio of interleaved pairs with the
float32 file: of whole files from raw pixels, and of the networks alone on the same images, preprocessed before. Of
ResNet-18 where there is VNNI the bars are 2.5 and 3. 'kernels' is the error of the logits with this CPU's int8 kernels,
'reference' that of the same file without them: where they differ, the kernels saturate.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from zoo._support.machine import cores, processor
from zoo.artefact.quantize import this_machine
from zoo.artefact.quantize._convert import to_half, to_integers
from zoo.artefact.quantize._core import core_of, with_core
from zoo.artefact.quantize._guard import compare_labelled
from zoo.artefact.quantize._images import draw
from zoo.artefact.quantize._ranges import watch
from zoo.artefact.quantize._rounding import round_layers, with_rounded
from zoo.artefact.quantize._running import open_file, session_of
from zoo.artefact.quantize._sensitivity import errors
from zoo.artefact.quantize._speed import measure
from zoo.artefact.quantize._targets import Scheme
from zoo.edge import Runtime
from zoo.evaluation import predict_set
from zoo.preprocess import normalize_batch, resize_image
from zoo.runs import open_run
from zoo.spec import Interval
from zoo.workflow._images import images_of, without_bad

if TYPE_CHECKING:
    from numpy.typing import NDArray

VARIANTS = {
    "U8S8": Scheme("uint8"),
    "U8S8, 7-bit weights": Scheme("uint8", seven_bits=True),
    "S8S8": Scheme("int8"),
    "U8U8": Scheme("uint8", weights="uint8"),
}


class Alone:
    """A network without preprocessing and last step."""

    def __init__(self, network: onnx.ModelProto) -> None:
        self.session = session_of(network.SerializeToString(), reference=False)
        self.input = self.session.get_inputs()[0].name

    def logits(self, tensors: NDArray[Any], /) -> NDArray[np.float32]:
        """(N, K) of (N, C, h, w) float32, preprocessed."""
        (found,) = self.session.run(["logits"], {self.input: tensors})
        return np.asarray(found, np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", help="the run's images, if they have moved")
    parser.add_argument("--split", default="test", choices=["val", "test"])
    parser.add_argument("--images", type=int, default=256, help="calibration images")
    parser.add_argument("--smallest", action="store_true", help="a run of seconds whose numbers say nothing")
    asked = parser.parse_args()
    if asked.smallest:
        asked.images = 4
    run = open_run(asked.run)
    splits = without_bad(images_of(run, asked.data), run.record.skipped)
    model = onnx.load(str(asked.run / "model.onnx"))
    float32 = Runtime.open(asked.run / "model.onnx")
    manifest, images = float32.manifest, splits.split(asked.split)
    core = core_of(model)
    calibrate, others = draw(splits.train, manifest.preprocess, run.record.card.train.seed)
    calibrate = type(calibrate)(calibrate.images, calibrate.rows[: asked.images], calibrate.spec)
    ranges = watch(core, calibrate, histograms=False).ranges("minmax")
    before = predict_set(float32.logits, images)
    some = [images.read(row).pixels for row in range(min(8, len(images)))]
    print(f"{manifest.name} on {manifest.provenance.data.name}, {asked.split}: {len(images)} images")
    print(f"{processor().name}, target {this_machine()}, {cores()} threads, load {os.getloadavg()[0]:.1f}")
    print(f"float32: {model.ByteSize() / 1e6:.2f} MB, {len(core.layers)} layers and the head\n")
    alone = Alone(core.model)
    tensors = [
        normalize_batch(resize_image(image, manifest.preprocess)[None], manifest.preprocess)[0] for image in some
    ]
    print(
        "| variant | size | speed from raw pixels (95 %) | ms | of the network alone (95 %) | ms | macro AUROC "
        "| agreement | kernels | reference |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    networks = {}
    for name, scheme in VARIANTS.items():
        networks[name] = to_integers(core, ranges, scheme)
        if scheme.weights == "int8":  # as files ship
            rounded = with_rounded(core, round_layers(core, calibrate, scheme.steps))
            networks[f"{name}, rounded by output"] = to_integers(rounded, ranges, scheme)
    networks["fp16"] = to_half(core)
    for name, network in networks.items():
        whole = with_core(model, network)
        runtime = open_file(whole, manifest, reference=False)
        speed = measure(float32, runtime, some)
        inner = measure(alone, Alone(network), tensors)
        guard = compare_labelled(
            before,
            predict_set(runtime.logits, images),
            images.targets,
            manifest.labels,
            split=asked.split,
            temperature=manifest.temperature,
            groups=images.groups,
        )
        wrong = [
            errors(core, [(name, network)], others, reference=reference, task=manifest.task)[name]
            for reference in (False, True)
        ]
        print(
            f"| {name} | {whole.ByteSize() / 1e6:.2f} MB, {model.ByteSize() / whole.ByteSize():.2f}x smaller "
            f"| {shown(speed.ratio, 2)} | {speed.ms:.1f} of {speed.float32_ms:.1f} "
            f"| {shown(inner.ratio, 2)} | {inner.ms:.1f} of {inner.float32_ms:.1f} "
            f"| {shown(guard.macro_auroc, 4)} | {guard.agreement.value:.1%} | {wrong[0]:.3f} | {wrong[1]:.3f} |",
            flush=True,
        )
    print(f"\nload at the end {np.round(os.getloadavg(), 1).tolist()}")


def shown(value: Interval | None, digits: int) -> str:
    if value is None:
        return "undefined"
    return f"{value.value:.{digits}f} ({value.low:.{digits}f} to {value.high:.{digits}f})"


if __name__ == "__main__":
    main()
