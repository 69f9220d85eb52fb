"""From the proven float32 file to int8 or fp16; operating points and sets of labels are settled on its own answers.

So is the reference of `zoo monitor`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from zoo.artefact import set_manifest
from zoo.artefact.quantize import climb, confirm
from zoo.spec import EVIDENCE, FEATURES
from zoo.workflow._answered import answer_images
from zoo.workflow._decide import choose_anew
from zoo.workflow._images import share_unread
from zoo.workflow._judge import judge
from zoo.workflow._prove import compare_features
from zoo.workflow._refer import draw_reference
from zoo.workflow._seen import list_seen, sift_start, start_of
from zoo.workflow._unlike import settle_anew

if TYPE_CHECKING:
    import onnx

    from zoo.artefact import TrainedNetwork
    from zoo.artefact.quantize import Finetune
    from zoo.artefact.quantize._images import Tensors
    from zoo.data import Splits
    from zoo.evaluation import Predict
    from zoo.plugin import ModelPlugin
    from zoo.runs import RunFolder
    from zoo.spec import Bars, Manifest, QuantizedKind, Target

__all__ = ["quantise"]

log = logging.getLogger("zoo")


def quantise(
    run: RunFolder,
    plugin: ModelPlugin,
    splits: Splits,
    proven: tuple[onnx.ModelProto, Manifest],
    *,
    kind: QuantizedKind,
    target: Target | None,
    bars: Bars | None = None,
    accept_unproven: bool = False,
    finetune: TrainedNetwork | None = None,
) -> tuple[onnx.ModelProto, Manifest, Predict]:
    """The quantised file with decisions and a report of its own, and how it answers raw images.

    Args:
        run: its record says how it was trained.
        plugin: plugin of its model.
        splits: training images calibrate, validation images choose, test images confirm and judge.
        proven: the float32 file and its manifest.
        kind: int8 or fp16.
        target: machine that it is for; None: this one.
        bars: how much may be lost; None: the usual.
        accept_unproven: take a rung of which nobody can tell, where none is shown to be as good.
        finetune: the run's model, to be trained for int8 on training images where rounding is not enough.

    Raises:
        QuantizationError: no rung passed the guard.
        DataError: the file's answers cannot follow the rule of an operating point.
    """
    model, manifest = proven
    config = run.record.card.train
    taken = climb(
        model,
        manifest,
        splits,
        kind=kind,
        target=target,
        seed=config.seed,
        bars=bars,
        accept_unproven=accept_unproven,
        finetune=None if finetune is None else _tuner(finetune, manifest, config.seed),
    )
    answered = answer_images(taken.runtime, splits.val, config.seed)
    manifest, notes = choose_anew(manifest, answered.logits, splits.val)
    if answered.scores is not None:
        manifest = settle_anew(manifest, answered.scores, splits.val.groups)
    unread = share_unread(splits, "val")
    manifest = msgspec.structs.replace(manifest, reference=draw_reference(answered, manifest, unread=unread))
    splits, seen = sift_start(splits, list_seen(run), config.leaks, run.record.notes, start=start_of(run.record))
    float32 = judge(plugin, taken.float32, splits, "test", seen=seen, look=False)  # its logits are all that is asked
    own = judge(plugin, taken.runtime, splits, "test", seen=seen, manifest=manifest)
    made, record = confirm(taken, own.images, float32.logits, own.logits)
    if FEATURES in manifest.outputs:
        notes = (*notes, compare_features(taken.float32, taken.runtime, splits.val))
    if notes:
        record = msgspec.structs.replace(record, notes=(*record.notes, *notes))
    manifest = msgspec.structs.replace(manifest, quantization=record, report=own.report)
    return made, set_manifest(made, manifest), taken.runtime.logits


def _tuner(trained: TrainedNetwork, manifest: Manifest, seed: int) -> Finetune:
    """What trains the network for int8 and gives its file with the stages and outputs of the float32 file."""

    def tune(images: Tensors, *, signed: bool) -> onnx.ModelProto:
        log.info("fine-tuning for int8 on %d training images", len(images))
        tuned = trained.for_integers(images, signed=signed, seed=seed)
        return tuned.assemble(
            manifest.input,
            temperature=manifest.temperature,
            portable=manifest.portable,
            evidence=EVIDENCE in manifest.outputs,
            features=FEATURES in manifest.outputs,
        ).model

    return tune
