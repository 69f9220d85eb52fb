"""`zoo evaluate --corruptions`: a shipped file on corrupted copies of raw images that it has not seen."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from zoo._support.files import atomic_write
from zoo._support.text import format_count
from zoo.errors import UsageError
from zoo.spec import SCHEMA, Robustness, encode
from zoo.workflow._find import MODEL_FILE, read_report
from zoo.workflow.evaluate import leave_out_seen, open_target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    from numpy.typing import NDArray

    from zoo.data import ImageSet
    from zoo.edge import Runtime
    from zoo.evaluation import Cases, Images
    from zoo.evaluation.robustness import AnsweredSet
    from zoo.readers import RawImage
    from zoo.spec import EvalReport, Reading

__all__ = ["IMAGES", "ROBUSTNESS_FILE", "are_alike", "stress"]

log = logging.getLogger("zoo")

IMAGES = 100
"""Images that are corrupted where nobody says how many: an accuracy within .1, and minutes."""
ROBUSTNESS_FILE = "robustness.json"
_TRIED = 8
"""Images by which the time is foretold."""
_HELD = 512 * 2**20
"""Bytes of decoded images that are kept; of more each is decoded again for every copy."""


def stress(
    target: str | Path | None = None,
    data: str | Path | None = None,
    *,
    kinds: Sequence[str] | None = None,
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    images: int = IMAGES,
    seed: int = 0,
    split: str = "test",
    provider: str = "cpu",
    skip_bad: bool = False,
    key: str | Path | None = None,
    include_seen: bool = False,
    **reading: Unpack[Reading],
) -> Robustness:
    """Judge a shipped file on corrupted copies of images that it has not seen.

    The result is written to robustness.json of a run where it is of the run's own file and test images. Else a note
    says that it is not kept.

    Args:
        target: a run, a bundle, or an .onnx file; None: the last run.
        data: images; None: those the run was trained with.
        kinds: names of corruptions, see `zoo.evaluation.CORRUPTIONS`; None: those that suit the images.
        severities: strengths, 1 to 5.
        images: how many are drawn; all where there are fewer.
        seed: seed of the draw and of the corruptions.
        split: train, val or test.
        provider: execution provider.
        skip_bad: leave out images that cannot be read, and rows without a label.
        key: file of a public key: only a bundle signed by it is judged.
        include_seen: judge images too that the model was trained or validated on.
        **reading: way to read the data, see `zoo.evaluate`.

    Raises:
        ZooError: as `zoo.evaluate`. UsageError: no such kind or severity, or fewer than one image.
    """
    import numpy as np

    from zoo.evaluation import check_corruptions, corruptions_for, predict_set
    from zoo.evaluation.robustness import CorruptedImages, find_drop, mean_accuracy, row_of, summarise
    from zoo.workflow._images import check_in_range
    from zoo.workflow._inputs import select_columns
    from zoo.workflow._judge import check_takes

    check_corruptions(("noise",) if kinds is None else kinds, severities)
    if images < 1:
        raise UsageError(
            f"--images {images}, expected at least 1", code="option-value", option="--images", value=images
        )
    found = open_target(target, data, split=split, provider=provider, skip_bad=skip_bad, key=key, **reading)
    splits, seen = leave_out_seen(found, split, include=include_seen)
    runtime, manifest = found.runtime, found.runtime.manifest
    splits = check_takes(manifest, splits)
    chosen, notes = select_columns(splits.split(split), manifest.table)
    whole = check_in_range(chosen, manifest.views)
    drawn = np.sort(np.random.default_rng(seed).permutation(len(whole))[:images])
    sample = _Held(whole.subset(drawn))
    kinds = corruptions_for(sample.read(0).pixels) if kinds is None else tuple(kinds)

    start = time.monotonic()
    few = CorruptedImages(_Held(whole.subset(drawn[:_TRIED])), kinds[0], severities[0], seed)
    predict_set(runtime.logits, few)
    copies = len(kinds) * len(severities)
    seconds = (time.monotonic() - start) / len(few) * len(sample) * copies
    log.info("%s, %d corrupted copies of each: about %.0f s", format_count(len(sample), "image"), copies, seconds)
    before = _answer(runtime, sample, sample)
    rows, after = [], []
    for kind in kinds:
        for severity in severities:
            after.append(_answer(runtime, CorruptedImages(sample, kind, severity, seed), sample))
            rows.append(row_of(kind, severity, before, after[-1]))
        log.info("%s: accuracy %s", kind, ", ".join(f"{row.accuracy.value:.3f}" for row in rows[-len(severities) :]))
    result = Robustness(
        schema=SCHEMA,
        model=manifest.name,
        split=split,
        n=len(sample),
        of=len(whole),
        seed=seed,
        **summarise(before),
        rows=tuple(rows),
        mean={"accuracy": mean_accuracy(after), "drop": find_drop(before, after)},
        data=splits.fingerprint,
        seconds=time.monotonic() - start,
        notes=(*([] if seen is None else [seen.note]), *notes),
    )
    if found.run is None:
        return result
    judged = read_report(found.run)
    if runtime.path.name == MODEL_FILE and judged is not None and are_alike(result, judged):
        atomic_write(found.run.file(ROBUSTNESS_FILE), encode(result))
        return result
    note = f"not kept: {ROBUSTNESS_FILE} of the run is of its own file and test images"
    return msgspec.structs.replace(result, notes=(*result.notes, note))


def are_alike(found: Robustness, judged: EvalReport) -> bool:
    """Whether corrupted copies are of the images of a report."""
    return (found.data.sha256, found.split, found.of) == (judged.data.sha256, judged.split, judged.n)


def _answer(runtime: Runtime, asked: Images, sample: _Held) -> AnsweredSet:
    """What the file answers to images, which are `sample` or copies of it, and what it withholds of them."""
    import numpy as np

    from zoo.edge import decide
    from zoo.evaluation.robustness import answer_set
    from zoo.workflow._unlike import ScoredAnswers

    scored, manifest = ScoredAnswers(runtime), runtime.manifest

    def withhold(cases: Cases) -> NDArray[np.bool_]:
        made = decide(cases.probabilities, np.concatenate(scored.scores) if scored.scores else None, manifest)
        return np.array([one != "label" for one in made.decisions or ()])

    return answer_set(
        scored.logits,
        asked,
        sample.targets,
        temperature=manifest.temperature,
        groups=sample.groups,
        withhold=None if manifest.abstention is None else withhold,
    )


class _Held:
    """Images that stay decoded as long as there is room."""

    def __init__(self, images: ImageSet) -> None:
        self._images = images
        self._pixels: dict[int, RawImage] = {}
        self._room = _HELD
        self.ids, self.columns = images.ids, images.columns
        self.targets, self.groups = images.targets, images.groups

    def __len__(self) -> int:
        return len(self._images)

    def read(self, i: int) -> RawImage:
        found = self._pixels.get(i)
        if found is None:
            found = self._images.read(i)
            if self._room >= found.pixels.nbytes:
                self._room -= found.pixels.nbytes
                self._pixels[i] = found
        return found
