"""Which score tells images unlike those of training apart: python benchmarks/novelty.py RUN... --unlike NAME=PLACE.

Each run's network gives features and logits of up to 256 of its training images, of its validation images, of images
that are not of its kind, and of damaged copies of the validation images. Every score is fitted on the first and has its
AUROC between the second and the others. No test image is looked at for that. Behind it is printed how many test images
our threshold flags, and what our score costs in the file: bytes, and time by turns with the same file without it.
A NAME that is in the name of a run is left out for it, as its own kind.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from PIL import Image, ImageFilter
from sklearn.metrics import roc_auc_score

import zoo
from zoo.artefact.nodes import extract
from zoo.edge import Runtime
from zoo.edge._session import open_session
from zoo.edge._stream import expand
from zoo.evaluation import fit_space, score_novelty, settle_novelty
from zoo.readers import read
from zoo.runs import open_run
from zoo.spec import NOVELTY
from zoo.workflow._images import images_of
from zoo.workflow._unlike import choose_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Score = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]

CUTS = 11
"""Of a set of fewer than 50 pictures each is also cut so many times: else one picture says all."""
_DAMAGE = ("noise", "blur", "low contrast", "dark")


def main() -> None:
    options = _parse()
    most = 12 if options.smallest else options.images
    sets = {name: _open(Path(place), most) for name, _, place in (text.partition("=") for text in options.unlike)}
    table: dict[str, list[dict[str, float]]] = {}
    flagged: list[tuple[str, int, float, float]] = []
    for run in map(Path, options.runs):
        kept = {name: pictures for name, pictures in sets.items() if name not in run.name}
        rows = _answer(run, kept, most)
        for name, (score, found) in _scores(rows).items():
            table.setdefault(name, []).append(found)
            if name == "ours":
                own = settle_novelty(score(*rows["val"]))
                above = [float((score(*rows[key]) > own.threshold).mean()) for key in ("test", *found)]
                flagged.append((run.name, own.n, above[0], float(np.mean(above[1:]))))
    _print_table(table, [*sets, *_DAMAGE])
    print("\n| run | validation images | test images flagged | others flagged |\n|---|---|---|---|")
    for name, n, own, others in flagged:
        print(f"| {name} | {n} | {own:.3f} | {others:.3f} |")
    print("\n| run | file | score | time with / without |\n|---|---|---|---|")
    for run in map(Path, options.runs):
        _print_price(run, rounds=3 if options.smallest else options.rounds)


def _open(place: Path, most: int) -> list[NDArray[Any]]:
    """Pictures below a folder, spread evenly; of few also cuts."""
    found = [source for _, source in expand(place)]
    chosen: list[Any] = [found[at] for at in np.linspace(0, len(found) - 1, min(most, len(found))).astype(int)]
    pictures = [read(one).pixels for one in chosen]
    rng = np.random.default_rng(0)
    for picture in list(pictures) if len(pictures) < 50 else ():
        for _ in range(CUTS):
            side = int(min(picture.shape[:2]) * rng.uniform(0.4, 0.9))
            top, left = (int(rng.integers(length - side + 1)) for length in picture.shape[:2])
            pictures.append(np.ascontiguousarray(picture[top : top + side, left : left + side]))
    return pictures


def _damage(picture: NDArray[Any], how: str, rng: np.random.Generator) -> NDArray[Any]:
    values = picture.astype(np.float32)
    if how == "noise":
        values += rng.normal(0, 35, values.shape)
    elif how == "blur":
        radius = max(1.0, 0.03 * min(picture.shape[:2]))
        values = np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius)), np.float32)
    elif how == "low contrast":
        values = 0.35 * (values - values.mean()) + values.mean()
    else:
        values *= 0.45
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def _answer(run: Path, sets: dict[str, list[NDArray[Any]]], most: int) -> dict[str, Any]:
    """Of each set (n, D) features and (n, K) logits; and the targets of the training images."""
    data = images_of(open_run(run), None)
    with tempfile.TemporaryDirectory() as folder:
        zoo.export(run, features=True, out=Path(folder) / "features.onnx")
        runtime = Runtime.open(Path(folder) / "features.onnx")

    def answer(pictures: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        both = [(runtime.features(one[None])[0], runtime.logits(one[None])[0]) for one in pictures]
        features, logits = zip(*both, strict=True)
        return np.stack(features), np.stack(logits)

    def some(images: Any, count: int) -> list[NDArray[Any]]:
        return [images.read(at).pixels for at in np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)]

    chosen = data.train.subset(choose_rows(data.train.targets, seed=0))
    held_out = some(data.val, 2 * most)
    rng = np.random.default_rng(0)
    damaged = {how: [_damage(one, how, rng) for one in held_out[:most]] for how in _DAMAGE}
    parts = {"train": some(chosen, len(chosen)), "val": held_out, "test": some(data.test, 2 * most), **sets, **damaged}
    return {**{name: answer(pictures) for name, pictures in parts.items()}, "targets": chosen.targets}


def _scores(rows: dict[str, Any]) -> dict[str, tuple[Score, dict[str, float]]]:
    """Each score, and its AUROC for every set that is not of the kind of validation."""
    features, logits = rows["train"]
    own = fit_space(features)
    if own is None:
        raise SystemExit("too few training images or features; expected 20 images or more")
    k, unit = own.axes.shape[1], _unit(features)
    residual = _residual(features, k)
    scale = logits.max(axis=1).mean() / residual(features).mean()
    fitted: dict[str, Score] = {
        "ours": lambda x, _: score_novelty(x, own),
        "ours, length kept": _gaussian(features, None, k),
        "Mahalanobis by class": _gaussian(features, rows["targets"], k),
        "Mahalanobis by class, length 1": _of_unit(_gaussian(unit, rows["targets"], k)),
        "relative Mahalanobis": _relative(features, rows["targets"], k),
        "residual, length 1": _of_unit(lambda x, _: _residual(unit, k)(x)),
        "5th neighbour, length 1": _of_unit(lambda x, _: -np.sort(x @ unit.T, axis=1)[:, -5]),
        "ViM": lambda x, answers: scale * residual(x) - _energy(answers),
        "energy": lambda _, answers: -_energy(answers),
        "top probability": lambda _, answers: -np.exp(answers.max(axis=1) - _energy(answers)),
    }
    others = [name for name in rows if name not in {"train", "val", "test", "targets"}]
    result = {}
    for name, score in fitted.items():
        inside = score(*rows["val"])
        found = {other: _area(inside, score(*rows[other])) for other in others}
        result[name] = (score, found)
    return result


def _area(inside: NDArray[Any], outside: NDArray[Any]) -> float:
    return float(roc_auc_score(np.repeat([0, 1], [len(inside), len(outside)]), np.concatenate([inside, outside])))


def _unit(x: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))


def _of_unit(score: Score) -> Score:
    return lambda x, logits: score(_unit(x), logits)


def _energy(logits: NDArray[Any]) -> NDArray[Any]:
    """Logarithm of the sum of exponentials (Liu et al. 2020, arXiv 2010.03759)."""
    most = logits.max(axis=1, keepdims=True)
    return np.asarray((most + np.log(np.exp(logits - most).sum(axis=1, keepdims=True)))[:, 0])


def _axes(x: NDArray[Any], k: int) -> tuple[NDArray[Any], NDArray[Any]]:
    mean = x.mean(axis=0)
    return mean, np.linalg.svd(x - mean, full_matrices=False)[2][:k].T


def _residual(x: NDArray[Any], k: int) -> Callable[[NDArray[Any]], NDArray[Any]]:
    mean, axes = _axes(x, k)
    return lambda rows: np.linalg.norm((rows - mean) - (rows - mean) @ axes @ axes.T, axis=1)


def _gaussian(x: NDArray[Any], targets: NDArray[Any] | None, k: int) -> Score:
    """Nearest class (None: all are one) under one covariance: k axes, and one variance for the rest."""
    mean, axes = _axes(x, k)
    groups = np.zeros(len(x), np.int64) if targets is None or targets.ndim > 1 else targets
    centres = np.stack([x[groups == one].mean(axis=0) for one in np.unique(groups)])
    inside = (x - centres[np.unique(groups, return_inverse=True)[1]]) @ axes
    whiten = np.linalg.cholesky(np.linalg.pinv(inside.T @ inside / len(x)) + 1e-12 * np.eye(k))
    rest = _residual(x, k)
    size = max(float((rest(x) ** 2).mean()), 1e-12) / max(x.shape[1] - k, 1)

    def score(rows: NDArray[Any], _: NDArray[Any]) -> NDArray[Any]:
        away = ((rows - mean) @ axes)[:, None] - ((centres - mean) @ axes)[None]
        return np.asarray(((away @ whiten) ** 2).sum(axis=2).min(axis=1) + rest(rows) ** 2 / size)

    return score


def _relative(x: NDArray[Any], targets: NDArray[Any], k: int) -> Score:
    """Less the distance from all classes together (Ren et al. 2021, arXiv 2106.09022)."""
    near, far = _gaussian(x, targets, k), _gaussian(x, None, k)
    return lambda rows, logits: near(rows, logits) - far(rows, logits)


def _print_table(table: dict[str, list[dict[str, float]]], sets: list[str]) -> None:
    print(f"\n| score | {' | '.join(sets)} | mean | worst |\n|{'---|' * (len(sets) + 3)}")
    for name, runs in table.items():
        cells = [[run[one] for run in runs if one in run] for one in sets]
        every = [value for cell in cells for value in cell]
        shown = [f"{np.mean(cell):.3f}" if cell else "" for cell in cells]
        print(f"| {name} | {' | '.join(shown)} | {np.mean(every):.3f} | {min(every):.3f} |")


def _print_price(run: Path, rounds: int) -> None:
    """The run's own file beside the same without what only its score needs, in turn."""
    content = (run / "model.onnx").read_bytes()
    model = onnx.load_from_string(content)
    without = extract(model, "probabilities", "logits").SerializeToString()
    sessions = [open_session(one, run.name, provider="cpu", threads=None) for one in (content, without)]
    runtime = Runtime.open(run / "model.onnx")
    picture = images_of(open_run(run), None).val.read(0).pixels[None]
    feed = runtime.feed(picture)
    times = np.empty((2, rounds))
    for at in range(-2, rounds):
        for which, session in enumerate(sessions):
            start = time.perf_counter()
            session.run(["probabilities", *([NOVELTY] if which == 0 else [])], feed)
            if at >= 0:
                times[which, at] = 1e3 * (time.perf_counter() - start)
    spread = np.median(times[0] / times[1])
    size = (len(content) - len(without)) / 1e6
    print(f"| {run.name} | {len(content) / 1e6:.1f} MB | {size:.2f} MB | {np.median(times[0]):.2f} ms, {spread:.3f} |")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--unlike", action="append", default=[], metavar="NAME=PLACE", help="pictures of another kind")
    parser.add_argument("--images", type=int, default=150, help="most pictures of a set")
    parser.add_argument("--rounds", type=int, default=200, help="of the measurement of time")
    parser.add_argument("--smallest", action="store_true", help="a run of seconds whose numbers say nothing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
