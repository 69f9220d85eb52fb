"""From the proven float32 file to int8 or fp16; operating points and sets of labels are settled on its own answers.

So is the reference of `zoo monitor`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from zoo.artefact import set_manifest
from zoo.artefact.quantize import climb, confirm
from zoo.evaluation import predict_set
from zoo.spec import FEATURES
from zoo.workflow._decide import choose_anew, judge_decisions
from zoo.workflow._judge import judge
from zoo.workflow._prove import compare_features
from zoo.workflow._refer import draw_reference
from zoo.workflow._seen import list_seen, sift_start, start_of
from zoo.workflow._unlike import ScoredAnswers, judge_again, settle_anew

if TYPE_CHECKING:
    import onnx

    from zoo.data import Splits
    from zoo.evaluation import Predict
    from zoo.plugin import ModelPlugin
    from zoo.runs import RunFolder
    from zoo.spec import Manifest, QuantizedKind, Target

__all__ = ["quantise"]


def quantise(
    run: RunFolder,
    plugin: ModelPlugin,
    splits: Splits,
    proven: tuple[onnx.ModelProto, Manifest],
    *,
    kind: QuantizedKind,
    target: Target | None,
) -> tuple[onnx.ModelProto, Manifest, Predict]:
    """The quantised file with decisions and a report of its own, and how it answers raw images.

    Args:
        run: its record says how it was trained.
        plugin: plugin of its model.
        splits: training images calibrate, validation images choose, test images confirm and judge.
        proven: the float32 file and its manifest.
        kind: int8 or fp16.
        target: machine that it is for; None: this one.

    Raises:
        QuantizationError: no rung passed the guard.
        DataError: the file's answers cannot follow the rule of an operating point.
    """
    model, manifest = proven
    taken = climb(model, manifest, splits, kind=kind, target=target, seed=run.record.card.train.seed)
    if manifest.operating or manifest.abstention is not None:
        scored = ScoredAnswers(taken.runtime)
        manifest = choose_anew(manifest, predict_set(scored.logits, splits.val), splits.val)
        if scored.scores:
            manifest = settle_anew(manifest, np.concatenate(scored.scores))
    if run.record.card.train.fold != "none":  # else it has learnt from its validation images, too
        manifest = msgspec.structs.replace(manifest, reference=draw_reference(taken.runtime, manifest, splits.val))
    splits, seen = sift_start(
        splits, list_seen(run), run.record.card.train.leaks, run.record.notes, start=start_of(run.record)
    )
    float32 = judge(plugin, taken.float32, splits, "test", seen=seen, look=False)  # its logits are all that is asked
    own = judge(plugin, taken.runtime, splits, "test", seen=seen)
    made, record = confirm(taken, own.images, float32.logits, own.logits)
    if FEATURES in manifest.outputs:
        note = compare_features(taken.float32, taken.runtime, splits.val)
        record = msgspec.structs.replace(record, notes=(*record.notes, note))
    report = judge_again(own.report, own.scores, manifest, own.images)
    report = judge_decisions(report, own.logits, own.images, manifest, operating=manifest.operating, scores=own.scores)
    manifest = msgspec.structs.replace(manifest, quantization=record, report=report)
    return made, set_manifest(made, manifest), taken.runtime.logits
