"""Images unlike those of training: the space of features, kept in the run, and the threshold, settled on validation."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np

from zoo._support.text import format_count, name_places
from zoo.errors import ImageError, PluginError
from zoo.spec import NOVELTY, Abstention

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from zoo.artefact import Shippable, TrainedNetwork
    from zoo.data import ImageSet
    from zoo.edge import Runtime
    from zoo.evaluation import Predict
    from zoo.runs import RunFolder
    from zoo.spec import Manifest, Novelty, NoveltyReport

__all__ = [
    "SPACE",
    "ScoredAnswers",
    "add_novelty",
    "choose_rows",
    "judge_unlike",
    "keep_space",
    "learn_space",
    "restore_space",
    "settle_anew",
    "settle_threshold",
]

SPACE = "novelty.npz"
"""In the run: mean, axes, spread and rest of `zoo.evaluation.FeatureSpace`."""

_MOST = 256
"""Training images whose features are computed: 1000 gained 0.004 of AUROC, in four times the time."""

_NO_SCORE = "no score says how unlike training an image is"

log = logging.getLogger("zoo")


def learn_space(trained: TrainedNetwork, images: ImageSet, seed: int) -> tuple[str, ...]:
    """Let the model remember where features of training images lie; notes say why where it cannot.

    Args:
        trained: changed in place.
        images: training images; of more than 256 as many of each class as there can be.
        seed: seed of their choice.
    """
    from zoo.evaluation import count_axes, fit_space, predict_set

    probe = trained.raw_features(images.read(0).pixels[None])
    if probe is None:
        return (f"{_NO_SCORE}: the network makes its logits of no one row of features",)
    space = None
    if count_axes(len(images), probe.shape[1]):
        chosen = images.subset(choose_rows(images.targets, seed))
        space = fit_space(predict_set(cast("Predict", trained.raw_features), chosen))  # the probe had some
    if space is None:
        said = f"{format_count(len(images), 'training image')} with {format_count(probe.shape[1], 'feature')} each"
        return (f"{_NO_SCORE}: {said} say nothing of it",)
    trained.remember(space)
    return ()


def settle_threshold(
    scores: NDArray[np.float32] | None, groups: NDArray[np.int64] | None
) -> tuple[Novelty | None, tuple[str, ...]]:
    """The threshold by the (n,) scores of validation images, and notes on it; without scores there is none.

    `groups` are equal for images of one patient, where known.
    """
    from zoo.evaluation import settle_novelty

    if scores is None:
        return None, ()
    novelty = settle_novelty(scores, groups=groups)
    if novelty.n + 1 >= 1 / novelty.share:
        return novelty, ()
    known = f"all of {format_count(novelty.n, 'validation image')}"
    if novelty.grouped:
        known = f"all validation images of {format_count(novelty.n, 'group')}"
    note = (
        f"unlike training is what scores above {known}: too few for "
        f"{novelty.share:.0%}, so about 1 in {novelty.n + 1} of images like them scores higher"
    )
    return novelty, (note,)


def keep_space(run: RunFolder, trained: Shippable) -> None:
    """Write the space down, without which the file could not be exported again."""
    if trained.space is None:
        return
    space, stream = trained.space, io.BytesIO()
    np.savez(stream, mean=space.mean, axes=space.axes, spread=space.spread, rest=np.float32(space.rest))
    run.write(SPACE, stream.getvalue())


def restore_space(run: RunFolder, trained: Shippable) -> None:
    """Let the model of a finished run remember what it kept.

    Raises:
        PluginError: the run says that it has a score, and the file is missing or holds something else.
    """
    from zoo.artefact import TrainedNetwork
    from zoo.evaluation import FeatureSpace

    abstention = run.record.abstention
    if abstention is None or abstention.novelty is None or not isinstance(trained, TrainedNetwork):
        return
    place = run.file(SPACE)
    try:
        with np.load(io.BytesIO(place.read_bytes()), allow_pickle=False) as held:
            parts = {name: np.asarray(held[name], np.float32) for name in ("mean", "axes", "spread")}
            trained.remember(FeatureSpace(**parts, rest=float(held["rest"])))
    except (OSError, KeyError, ValueError) as problem:
        raise PluginError(
            f"{place} cannot be read ({problem}); bring a good copy back, or train again",
            code="run-incomplete",
            path=str(place),
        ) from None


def settle_anew(manifest: Manifest, scores: NDArray[np.float32], groups: NDArray[np.int64] | None) -> Manifest:
    """The manifest of a quantised file with the threshold that its own scores give.

    Args:
        manifest: manifest of the float32 file, which decides by novelty.
        scores: (n,) what the quantised file says of validation images.
        groups: (n,) int, equal for images of one patient, where known.
    """
    from zoo.evaluation import settle_novelty

    abstention = manifest.abstention
    assert abstention is not None and abstention.novelty is not None  # noqa: S101, PT018 - scores were given
    novelty = settle_novelty(scores, abstention.novelty.share, groups)
    return msgspec.structs.replace(manifest, abstention=msgspec.structs.replace(abstention, novelty=novelty))


def add_novelty(abstention: Abstention | None, novelty: Novelty | None) -> Abstention | None:
    """The same with this threshold beside what else it says."""
    if novelty is None:
        return abstention
    return msgspec.structs.replace(abstention or Abstention(), novelty=novelty)


class ScoredAnswers:
    """How an opened file answers raw images, with the novelty scores of the images that it was asked.

    `manifest` says what the file decides by, where that is not what it holds.

    Attributes:
        runtime: the file.
        scores: (n,) of each batch, in the order in which they were asked.
    """

    def __init__(self, runtime: Runtime, manifest: Manifest | None = None) -> None:
        self.runtime = runtime
        self.scores: list[NDArray[np.float32]] = []
        self.novelty = (manifest or runtime.manifest).novelty

    def logits(self, batch: NDArray[Any], columns: Any = None) -> NDArray[np.float32]:
        """As `Runtime.logits`."""
        if self.novelty is None:
            return self.runtime.logits(batch, columns)
        found = self.runtime.decisive(batch, columns)
        self.scores.append(found[NOVELTY])
        return found["logits"]


def judge_unlike(
    scored: ScoredAnswers, images: ImageSet, unlike: Sequence[str | Path], *, skip_bad: bool = False
) -> NoveltyReport | None:
    """How many of the judged images are called unlike training, and of images that are not of the model's kind.

    Args:
        scored: what has answered `images`, each once, or it answers them again.
        images: images under evaluation.
        unlike: files or folders of other images.
        skip_bad: leave out those of them that cannot be read.

    Returns:
        None: the file makes no such score.

    Raises:
        UsageError: other images are named, and the file makes no such score.
        DataError: a place holds no image.
        ImageError: one of them cannot be read, or the model does not take it; or all of a folder with `skip_bad`.
    """
    from zoo.edge._asking import check_output
    from zoo.evaluation import judge_novelty, predict_set

    runtime, novelty = scored.runtime, scored.novelty
    if novelty is None:
        if unlike:
            check_output(str(runtime.path), runtime.manifest, NOVELTY)
        return None
    if sum(map(len, scored.scores)) != len(images):  # a plugin may have asked for some only, or twice
        scored.scores.clear()
        predict_set(scored.logits, images)
    places = list(dict.fromkeys(Path(place).resolve() for place in unlike))
    others = {
        name: _score_folder(runtime, place, skip_bad=skip_bad)
        for name, place in zip(name_places(places), places, strict=True)
    }
    return judge_novelty(np.concatenate(scored.scores), novelty, others, images.groups)


def _score_folder(runtime: Runtime, place: Path, *, skip_bad: bool) -> NDArray[np.float32]:
    """Scores of a file, or of all images below a folder."""
    from zoo.edge._stream import expand

    found, bad = [], []
    for name, source in expand(place):
        try:
            if isinstance(source, ImageError):
                raise source
            image = runtime.read(source, name=name)
        except ImageError as problem:
            if not skip_bad:
                raise
            bad.append(problem)
            continue
        runtime.check(image)
        found.append(runtime.novelty(image.pixels[None], runtime.draw_columns(1)))
    if not found:
        raise bad[0]
    if bad:
        log.warning("%s: %s left out, which cannot be read: %s", place, format_count(len(bad), "image"), bad[0])
    return np.concatenate(found)


def choose_rows(targets: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Positions of at most 256 images, in order; of single labels as equally many of each class as there can be."""
    n = len(targets)
    order = np.random.default_rng(seed).permutation(n)
    if n > _MOST and targets.ndim == 1:
        rank = np.empty(n, np.int64)  # of each image among those of its class
        for label in np.unique(targets):
            own = order[targets[order] == label]
            rank[own] = np.arange(len(own))
        order = order[np.argsort(rank[order], kind="stable")]
    return np.sort(order[:_MOST])
