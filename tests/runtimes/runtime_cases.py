"""Pictures to train on: cuts of real photographs in many sizes, or drawn ones where those are not."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import onnx
from PIL import Image

import zoo
from zoo import preprocess
from zoo._support.files import sha256_file
from zoo.artefact import draw_golden, look_of, set_manifest
from zoo.artefact.quantize._convert import to_half, to_integers
from zoo.artefact.quantize._core import core_of, with_core
from zoo.artefact.quantize._ranges import watch
from zoo.artefact.quantize._running import session_of
from zoo.artefact.quantize._sensitivity import wobble
from zoo.artefact.quantize._targets import SCHEMES
from zoo.spec import NOVELTY, Abstention, ConformalSets, Interval, Novelty, OperatingPoint, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from zoo.spec import Manifest, Target

PHOTOS = Path(__file__).resolve().parents[3] / "shared/data/photos"


def pictures(root: Path) -> Path:
    """A folder of three classes, 24 pictures each, 60 to 400 px a side; the class is the photograph."""
    rng = np.random.default_rng(0)
    for label, picture in zip(("one", "three", "two"), _photographs(), strict=True):
        (root / label).mkdir(parents=True)
        for index in range(24):
            cut = _cut(picture, rng)
            Image.fromarray(cut).save(root / label / f"{index:02d}.png")
    return root


def deep_pictures(root: Path) -> Path:
    """The same in 16 bit and grey, with values that 8 bits cannot hold."""
    rng = np.random.default_rng(1)
    for label, picture in zip(("one", "three", "two"), _photographs(), strict=True):
        (root / label).mkdir(parents=True)
        for index in range(24):
            cut = _cut(picture, rng).astype(np.uint16) @ np.uint16([76, 150, 29])
            Image.fromarray(cut + rng.integers(0, 256, cut.shape, np.uint16)).save(root / label / f"{index:02d}.png")
    return root


def two_findings(folder: Path) -> Path:
    """28 × 28 pictures with a bright corner, stripes, both or none, in noise."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {"label_names": np.array(["bright corner", "stripes"])}
    for split, n in (("train", 96), ("val", 40), ("test", 40)):
        targets = (rng.random((n, 2)) < 0.45).astype(np.uint8)
        pixels = rng.normal(110, 30, (n, 28, 28))
        pixels[targets[:, 0] == 1, 4:14, 4:14] += 50
        pixels[targets[:, 1] == 1, 16::3] += 50
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = pixels.clip(0, 255).astype(np.uint8), targets
    folder.mkdir()
    np.savez(folder / "chest.npz", **arrays)
    return folder / "chest.npz"


def small_pictures(root: Path) -> Path:
    """The same three classes in 20 to 48 px: for machines that are emulated."""
    rng = np.random.default_rng(3)
    for label, picture in zip(("one", "three", "two"), _photographs(), strict=True):
        (root / label).mkdir(parents=True)
        for index in range(24):
            top, left = (int(rng.integers(side - 48)) for side in picture.shape[:2])
            height, width = rng.integers(20, 49, 2).tolist()
            Image.fromarray(picture[top : top + height, left : left + width]).save(root / label / f"{index:02d}.png")
    return root


def quantised_bundles(bundle: Path, root: Path) -> Path:
    """The network of a bundle in int8 and in fp16."""
    # Seven bits, so that CPUs without VNNI do not saturate: the answers are then whole-number arithmetic everywhere.
    quantised_bundle(bundle, root / "int8.zoo", "avx2")
    quantised_bundle(bundle, root / "fp16.zoo", None)
    return root


def quantised_bundle(bundle: Path, target: Path, machine: Target | None) -> Path:
    """A copy in int8 for that kind of machine, None: in fp16, with golden answers by ONNX Runtime's reference kernels.

    The tolerance is the ladder's, and the images are drawn anew so that no answer changes within it.
    """
    model, manifest = onnx.load(bundle / "model.onnx"), zoo.open(bundle).manifest
    core = core_of(model)
    with np.load(bundle / "golden.npz", allow_pickle=False) as golden:
        images = {name: golden[name] for name in golden.files if name.startswith("image_")}
    prepared = [preprocess.apply(image, manifest.preprocess)[None] for image in images.values()]
    ranges = watch(core, prepared, histograms=False).ranges("minmax")
    network = to_half(core) if machine is None else to_integers(core, ranges, SCHEMES[machine])
    made = with_core(model, network)
    session = session_of(made.SerializeToString(), reference=True)

    def predict(batch: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(["logits"], {"image": batch})[0])

    tolerance = max(1e-3, 2 * wobble(core, network, prepared, reference=machine != "avx2"))
    clear = draw_golden(look_of(manifest), predict, count=32, tolerance=tolerance, task=manifest.task)
    logits = np.concatenate([predict(image[None]) for image in clear])
    named = {f"image_{at:04d}": image for at, image in enumerate(clear)}
    shutil.copytree(bundle, target)
    np.savez_compressed(target / "golden.npz", logits=logits, tolerance=np.float32(tolerance), **named)
    return _reseal(target, made, manifest)


def decide_by_all(bundle: Path, target: Path) -> Path:
    """A copy whose file decides by a point and by sets, and calls half of some golden images unlike training."""
    shutil.copytree(bundle, target)
    model = onnx.load(target / "model.onnx")
    with np.load(target / "golden.npz", allow_pickle=False) as golden:
        arrays = dict(golden)
    scores = arrays[NOVELTY]
    some = Interval(value=0.9, low=0.8, high=0.95)
    manifest = zoo.open(bundle).manifest
    p = zoo.open(bundle).probabilities(arrays["image_0000"][None])[0]
    manifest = msgspec.structs.replace(
        manifest,
        operating=(
            OperatingPoint(
                label=manifest.labels[int(p.argmin())],
                rule="youden",
                threshold=float(p.min()) / 2,
                low=0.0,
                high=1.0,
                sensitivity=some,
                specificity=some,
                n=9,
                positives=3,
            ),
        ),
        abstention=Abstention(
            sets=ConformalSets(method="aps", coverage=0.9, per_class=False, quantiles=(0.8,), n=(9,)),
            novelty=Novelty(kind="features", threshold=float(np.median(scores[:6])) + 1e-3, share=0.5, n=9),
        ),
    )
    np.savez_compressed(target / "golden.npz", **arrays)
    return _reseal(target, model, manifest)


def _reseal(bundle: Path, model: onnx.ModelProto, manifest: Manifest) -> Path:
    """Put another model and manifest into a bundle, which then holds these and its golden set."""
    manifest = set_manifest(model, msgspec.structs.replace(manifest, files={}, sizes={}, golden=None))
    onnx.save(model, bundle / "model.onnx")
    files = [bundle / name for name in ("model.onnx", "golden.npz")]
    for path in bundle.iterdir():
        if path not in files:
            path.unlink()
    listed = {path.name: sha256_file(path) for path in files}
    sizes = {path.name: path.stat().st_size for path in files}
    (bundle / "manifest.json").write_bytes(encode(msgspec.structs.replace(manifest, files=listed, sizes=sizes)))
    return bundle


def write_picture(path: Path, image: np.ndarray) -> Path:
    """A raw image as a PPM (8 bit, RGB) or a PGM (16 bit, which is big-endian)."""
    kind, brightest = ("P6", 255) if image.dtype == np.uint8 else ("P5", 65535)
    header = f"{kind}\n{image.shape[1]} {image.shape[0]}\n{brightest}\n".encode()
    path.write_bytes(header + (image if brightest == 255 else image.astype(">u2")).tobytes())
    return path


def leaves_nothing_behind(command: list[str | Path], home: Path, cwd: Path | None = None) -> None:
    """ONNX Runtime's packages keep a device id and send events, except where these say that it is being tested."""
    tested = {"CI", "TF_BUILD", "GITHUB_ACTIONS", "GITLAB_CI", "JENKINS_URL", "BUILD_ID", "ORT_DISABLE_TELEMETRY"}
    kept = {name: value for name, value in os.environ.items() if name not in tested}
    kept |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    subprocess.run(list(map(str, command)), cwd=cwd, env=kept, check=True, capture_output=True)
    assert [path.name for path in home.rglob("*") if path.is_file()] == []


def replayed(bundle: Path, logits: Callable[[np.ndarray], np.ndarray]) -> tuple[float, list[str]]:
    """What a runtime makes of a golden set: the largest relative difference, and the images beyond the tolerance."""
    worst, beyond = 0.0, []
    with np.load(bundle / "golden.npz", allow_pickle=False) as golden:
        names = sorted(name for name in golden.files if name.startswith("image_"))
        assert len(names) >= 32
        for name, expected in zip(names, golden["logits"], strict=True):
            apart = float((np.abs(logits(golden[name]) - expected) / np.maximum(1, np.abs(expected))).max())
            worst = max(worst, apart)
            if not apart <= golden["tolerance"]:
                beyond.append(name)
    return worst, beyond


def _photographs() -> list[np.ndarray]:
    found = [PHOTOS / name for name in ("chelsea.png", "coffee.png", "rocket.jpg")]
    if all(path.is_file() for path in found):
        return [np.asarray(Image.open(path).convert("RGB")) for path in found]
    y, x = np.mgrid[:400, :450]
    waves = [np.stack([np.sin(x / a) * np.cos(y / b) for b in (5, 17, 40)], axis=-1) for a in (6, 19, 45)]
    noise = np.random.default_rng(2).normal(0, 12, (400, 450, 3))
    return [(128 + 90 * wave + noise).clip(0, 255).astype(np.uint8) for wave in waves]


def _cut(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = (int(rng.integers(60, min(side, 400))) for side in picture.shape[:2])
    top, left = (int(rng.integers(have - want)) for have, want in zip(picture.shape, (height, width), strict=False))
    return np.ascontiguousarray(picture[top : top + height, left : left + width])
