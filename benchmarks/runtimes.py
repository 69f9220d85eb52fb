"""Which versions of ONNX Runtime give the golden answers of our files: a matrix of version and kind of file.

    python benchmarks/runtimes.py [VERSION ...] [--work DIR] [--models NAME ...] [--write | --add]

Files are made here, on the installed ONNX Runtime: of each network default, portable, int8 and fp16, and of a small one
the same with several labels, and each preprocessing. The networks are untrained and awake as in cards.py. Of each
classical family there is a trained run. All are bundles with the outputs "features" and "novelty" where they have them.
No guard looks at int8 and fp16: what is asked is whether another version gives the same answers.

Each version gets a virtual environment of its own under DIR, filled by pip from the registry. It holds what a device
needs and no more: onnxruntime, numpy, Pillow and msgspec. There this checkout's `zoo.edge.verify` proves every bundle,
as 'python -m zoo.edge verify' does in its child process. A version that crashes over a bundle goes on with the next.

The matrix holds the largest |difference| / max(1, |logit|) of all golden images, or how many files were refused or
answered otherwise. What is there already is not done again, so a stopped run is resumed by the same command. --write
puts the operators of the files that passed into zoo/artefact/runtimes.json, which is what an export goes by. --add
keeps what that table says of the files of earlier runs: an operator comes to it, or its version becomes newer.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import onnx
from cards import awaken, pictures, stated
from runtime_versions import VERSIONS, environment, known, replay, say

import zoo  # before onnxruntime, which reports to its maker otherwise
from zoo._support.machine import processor
from zoo.artefact import TrainedNetwork, set_manifest, write_bundle
from zoo.artefact._oldest import TABLE, ProvenOperators, list_operators
from zoo.artefact.quantize import this_machine
from zoo.artefact.quantize._convert import to_half, to_integers
from zoo.artefact.quantize._core import core_of, with_core
from zoo.artefact.quantize._ranges import watch
from zoo.artefact.quantize._running import open_file
from zoo.artefact.quantize._sensitivity import wobble
from zoo.artefact.quantize._targets import DEFAULT_TARGET, SCHEMES
from zoo.errors import ModelError, UsageError, ZooError
from zoo.evaluation.novelty import fit_space
from zoo.learn import find_last_layer as last_layer
from zoo.learn import module_to_onnx, torch_features, torch_predict
from zoo.preprocess import channels_of, normalize_batch, raw_channels, resize_image
from zoo.spec import FEATURES, NOVELTY, Bars, InputSpec, PreprocessSpec, Quantization, Task, decode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from zoo.edge import Runtime
    from zoo.spec import Manifest, ModelCard

ROOT = Path(__file__).resolve().parents[1]
MODELS = (
    "resnet10t", "mobilenetv3_small_050", "convnext_zepto_rms", "deit_tiny_patch16_224", "mobilevit_xxs",
    "unet_mobilenet_v2", "tinynet_e", "vig_mini", "cs3darknet_focus_s", "edgenext_xx_small", "ghostnet_100",
    "lcnet_050", "regnetx_002", "mnasnet_small", "densenet121", "ghostnetv2_100",
)  # fmt: skip
"""The smallest of each family of networks."""
CLASSICAL = ("svm", "logistic_regression", "knn", "random_forest", "gradient_boosting")
SMALL = "simple_cnn"
PREPROCESSING: dict[str, dict[str, Any]] = {
    "stretch": {"resize": "stretch", "interpolation": "bilinear"},
    "letterbox": {"resize": "letterbox"},
    "gray": {"channels": "gray", "denoise": zoo.spec.Median(k=3)},
    "gaussian": {"denoise": zoo.spec.Gaussian(sigma=1.0)},
    "percentile": {"intensity": zoo.spec.Percentile(low=1, high=99)},
    "padding": {"channels": "gray", "intensity": zoo.spec.Percentile(padding=((0.0, 0.0),))},
    "window": {"channels": "gray", "intensity": zoo.spec.Window(center=20_000, width=30_000)},
    "deep": {"intensity": zoo.spec.Scale(maximum=65_535), "resize": "letterbox"},
}
"""What the graph before a network is made of; the last two take pictures of 16 bits."""
DEEP = ("window", "deep")
IMAGES = 8
CLASSES = 10
KINDS = ("default", "portable", "int8", "fp16")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", nargs="*", metavar="VERSION", default=VERSIONS)
    parser.add_argument("--work", type=Path, default=Path("runs/runtimes"))
    parser.add_argument("--models", nargs="*", metavar="NAME", default=(*MODELS, *CLASSICAL))
    parser.add_argument("--pictures", type=Path, default=ROOT.parent / "shared" / "data" / "photos")
    table = parser.add_mutually_exclusive_group()
    table.add_argument("--write", action="store_true", help=f"put what passed into {TABLE.relative_to(ROOT)}")
    table.add_argument("--add", action="store_true", help="add it to what that table says")
    parser.add_argument("--smallest", action="store_true", help="one small network, the installed version alone")
    asked = parser.parse_args()
    if asked.smallest:
        asked.versions, asked.models = [installed()], []
    asked.work = asked.work.resolve()
    bundles = asked.work / "bundles"
    make_small(bundles, asked.pictures, smallest=asked.smallest)
    for name in asked.models:
        try:
            if name in CLASSICAL:
                make_classical(bundles, name, asked.pictures)
            else:
                make_network(bundles, zoo.info(name), asked.pictures)
        except ZooError as problem:
            say(f"{name}: {problem}")
    every = sorted(path.parent for path in bundles.glob("*/manifest.json"))
    results = asked.work / "results.jsonl"
    for version in asked.versions:
        python = Path(sys.executable) if asked.smallest else environment(asked.work / "versions", version)
        if python is not None:
            replay(python, version, [one for one in every if (version, one.name) not in known(results)], results)
    found = known(results)
    show(found, asked.versions)
    if asked.write or asked.add:
        before = decode(TABLE.read_bytes(), ProvenOperators, TABLE.name, ModelError) if asked.add else None
        write(found, asked.versions, bundles, before)
    return 0


# --- files ------------------------------------------------------------------------------------------


class Network:
    """An untrained network as a plugin would have trained it."""

    def __init__(self, card: ModelCard, tensors: list[NDArray[np.float32]]) -> None:
        import torch

        from zoo.registry import load

        torch.manual_seed(0)
        channels, size = channels_of(card.preprocess), card.preprocess.size
        self.module = load(card.plugin).plugin.build(card, classes=CLASSES, channels=channels)
        awaken(self.module, tensors)
        self.core = module_to_onnx(self.module, channels=channels, size=size)
        self.predict = torch_predict(self.module)
        layer = last_layer(self.module, channels=channels, size=size)
        self.features = None if layer is None else torch_features(self.module, layer)

    def to_onnx(self) -> onnx.ModelProto:
        """The core, which a caller may change."""
        copy = onnx.ModelProto()
        copy.CopyFrom(self.core)
        return copy


def make_small(bundles: Path, photographs: Path, *, smallest: bool) -> None:
    """The small network in all forms, and behind each preprocessing in both forms of the resize."""
    card = zoo.info(SMALL)
    make_network(bundles, card, photographs)
    if smallest:
        return
    several = msgspec.structs.replace(card, name=f"{SMALL}-multilabel")
    make_network(bundles, several, photographs, task="multilabel")
    for name, differs in PREPROCESSING.items():
        beside = (0.5,) * (1 if differs.get("channels") == "gray" else 3)
        spec = PreprocessSpec(size=(32, 32), mean=beside, std=beside, **differs)
        one = msgspec.structs.replace(card, name=f"{SMALL}-{name}", preprocess=spec)
        make_network(bundles, one, photographs, fewer_bits=False, deep=name in DEEP)


def make_network(
    bundles: Path,
    card: ModelCard,
    photographs: Path,
    *,
    fewer_bits: bool = True,
    deep: bool = False,
    task: Task = "multiclass",
) -> None:
    """The bundles NAME.KIND.zoo of a network; the last that is written is that of the portable file."""
    if (bundles / f"{card.name}.portable.zoo").is_dir():
        return
    say(f"making {card.name}")
    spec, images = card.preprocess, golden_images(photographs, deep=deep)
    tensors = [normalize_batch(resize_image(image, spec)[None], spec) for image in images]
    network = Network(card, tensors)
    trained = TrainedNetwork(network, card, task)
    dtype = "uint16" if deep else "uint8"
    given = InputSpec(name="image", dtype=dtype, channels=raw_channels(spec, dtype))
    features = trained.raw_features(images[0][None])
    space = None if features is None else fit_space(np.random.default_rng(0).normal(size=(400, features.shape[1])))
    if space is not None:
        trained.remember(space)
    further = {FEATURES: features is not None, NOVELTY: space is not None}
    temperature = float(np.std(network.predict(np.concatenate(tensors)))) / 3
    manifest = stated(card, given, temperature)
    outputs = (*manifest.outputs, *(name for name, there in further.items() if there))
    manifest = msgspec.structs.replace(manifest, labels=manifest.labels[:CLASSES], outputs=outputs, task=task)
    made = {
        portable: trained.assemble(
            given, temperature=temperature, portable=portable, features=features is not None
        ).model
        for portable in (False, True)
    }
    seal(bundles / f"{card.name}.default.zoo", made[False], manifest, images)
    if fewer_bits:
        core, target = core_of(made[False]), this_machine() or DEFAULT_TARGET
        ranges = watch(core, tensors, histograms=False).ranges("minmax")
        for kind, inner in (("int8", to_integers(core, ranges, SCHEMES[target])), ("fp16", to_half(core))):
            moved = wobble(core, inner, tensors, reference=kind == "fp16")
            record = quantised(kind, target, tolerance=min(0.5, max(0.01, 2 * moved)))
            said = msgspec.structs.replace(manifest, quantization=record)
            seal(bundles / f"{card.name}.{kind}.zoo", with_core(made[False], inner), said, images)
    said = msgspec.structs.replace(manifest, portable=True)
    seal(bundles / f"{card.name}.portable.zoo", made[True], said, images)


def golden_images(photographs: Path, *, deep: bool) -> list[NDArray[Any]]:
    """Cuts of photographs, each of another size, as uint8 RGB or as uint16."""
    rng, found = np.random.default_rng(0), []
    for picture in (pictures(photographs) * IMAGES)[:IMAGES]:
        height, width = picture.shape[:2]
        h, w = (min(side, int(rng.integers(40, 200))) for side in (height, width))
        top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
        cut = np.ascontiguousarray(picture[top : top + h, left : left + w])
        found.append((cut.mean(-1, keepdims=True) * 257).astype(np.uint16) if deep else cut)
    return found


def quantised(kind: Any, target: Any, *, tolerance: float) -> Quantization:
    """A record that says no more than what was made: nobody judged it."""
    return Quantization(
        kind=kind, target=target, scheme=SCHEMES[target].text, measured="kernels", calibration="minmax",
        calibration_images=IMAGES, compared_images=IMAGES, calibration_errors={}, layers=0, excluded=(), rungs=(),
        bars=Bars(), verdict=None, alike=None,
        val=None, test=None, speed=None, size_ratio=None, tolerance=tolerance, notes=(),
    )  # fmt: skip


def seal(target: Path, model: onnx.ModelProto, manifest: Manifest, images: list[NDArray[Any]]) -> None:
    """Write the bundle, its golden answers by the ONNX Runtime that is installed."""
    runtime: Runtime = open_file(model, manifest, reference=False)
    more: dict[str, Any] = {}
    if manifest.quantization is None:
        more |= {FEATURES: runtime.features} if runtime.has_features else {}
        more |= {NOVELTY: runtime.novelty} if NOVELTY in manifest.outputs else {}
    manifest = set_manifest(model, manifest)
    write_bundle(
        target, model.SerializeToString(), manifest, images=images, golden="public", predict=runtime.logits, more=more
    )


def make_classical(bundles: Path, name: str, photographs: Path) -> None:
    """The file of a run, and its portable form: two classes, which are two photographs."""
    if (bundles / f"{name}.portable.zoo").is_dir():
        return
    say(f"making {name}")
    from PIL import Image

    data = bundles.parent / "tiles"
    if not data.is_dir():
        for label, picture in zip(("one", "two", "three"), pictures(photographs), strict=False):
            (data / label).mkdir(parents=True)
            rng = np.random.default_rng(0)
            for index in range(24):
                top, left = (int(rng.integers(0, max(1, side - 64))) for side in picture.shape[:2])
                Image.fromarray(picture[top : top + 64, left : left + 64]).save(data / label / f"{index:02d}.png")
    run = zoo.train(name, data, size=16, out=bundles.parent / "trained" / name, overwrite=True).run
    for form in ("default", "portable"):
        zoo.export(run, bundle=True, portable=form == "portable", out=bundles / f"{name}.{form}.zoo")


# --- what came of it --------------------------------------------------------------------------------


def show(found: dict[tuple[str, str], dict[str, Any]], versions: list[str]) -> None:
    print(f"golden answers by onnxruntime {installed()}, {processor().name}\n")
    print(f"| onnxruntime | {' | '.join(KINDS)} |")
    print(f"|---|{'---|' * len(KINDS)}")
    for version in versions:
        cells = []
        for kind in KINDS:
            of_kind = [line for (one, name), line in found.items() if one == version and f".{kind}." in name]
            worst = max((line["apart"] for line in of_kind if "apart" in line), default=0.0)
            wrong = sum("why" in line for line in of_kind)
            cells.append(f"{worst:.1e}, {len(of_kind) - wrong} of {len(of_kind)} files" if of_kind else "not run")
        print(f"| {version} | {' | '.join(cells)} |")
    for (version, name), line in found.items():
        if "why" in line:
            say(f"{version}, {name}: {line['why']}")


def write(
    found: dict[tuple[str, str], dict[str, Any]], versions: list[str], bundles: Path, before: ProvenOperators | None
) -> None:
    """The table that exports go by: operator → the oldest version from which on all files with it passed.

    `before` is the table that these files are added to.
    """
    if before is not None and before.versions != tuple(versions):
        raise UsageError(
            f"versions {', '.join(versions)}, expected those of the table, {', '.join(before.versions)}; "
            "give these, or --write",
            code="option-value",
        )
    operators = {kind: dict(names) for kind, names in before.operators.items()} if before else {}
    opsets = dict(before.opsets) if before else {}
    formats = {before.ir_version} if before else set()
    for bundle, kind, model in _files(bundles):
        formats.add(model.ir_version)
        opsets |= {entry.domain: entry.version for entry in model.opset_import}
        oldest = None
        for version in reversed(versions):
            if "apart" not in found.get((version, bundle), {}):
                break
            oldest = version
        of_kind = operators.setdefault(kind, {})
        for name in list_operators(model):
            # a file that failed on the newest version says nothing good of any of its operators
            known_as = of_kind.get(name, oldest)
            newer = [one for one in (oldest, known_as) if one is not None]
            of_kind[name] = "" if len(newer) < 2 or "" in newer else max(newer, key=list(versions).index)
    if len(formats) != 1:
        raise UsageError(f"files of the formats {sorted(formats)}, expected one", code="option-value")
    table = ProvenOperators(
        command="python benchmarks/runtimes.py --write",
        versions=tuple(versions),
        ir_version=formats.pop(),
        opsets=opsets,
        operators={
            kind: {name: oldest for name, oldest in sorted(names.items()) if oldest}
            for kind, names in sorted(operators.items())
        },
    )
    TABLE.write_bytes(msgspec.json.format(msgspec.json.encode(table), indent=1) + b"\n")
    say(f"wrote {TABLE}")


def _files(bundles: Path) -> Iterator[tuple[str, str, onnx.ModelProto]]:
    for path in sorted(bundles.glob("*.zoo")):
        form = path.name.split(".")[-2]
        yield path.name, form if form in {"int8", "fp16"} else "float32", onnx.load(path / "model.onnx")


def installed() -> str:
    """The version of ONNX Runtime here."""
    import onnxruntime

    return str(onnxruntime.__version__)


if __name__ == "__main__":
    sys.exit(main())
