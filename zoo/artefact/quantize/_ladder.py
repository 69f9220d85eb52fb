"""From the proven float32 file to the smallest change of it that passes the guard.

The ladder for int8: all layers; without the most sensitive eighth, quarter and half of them; for avx2, whose weights
have seven bits, all layers with unsigned weights of eight, which do not saturate and take longer; fp16. The first rung
that passes is taken; when none does, the float32 file is what remains and the export is refused.

Which images say what:

    training      ranges of activations, the choice among calibrations, the order of layers
    validation    which rung: each is held against the guard on them, and without labels on training images and
                  mirrored copies, too. The float32 file's best epoch was chosen on the validation images, which
                  flatters it and not the file it is compared with
    test          nothing is chosen. The one rung that was taken is measured on them, which is what is reported,
                  and refused where they show that a bar is broken: its whole interval lies beyond. No other rung
                  is then tried, because that would be choosing
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from zoo.artefact.quantize._convert import LARGEST_HALF, to_half, to_integers
from zoo.artefact.quantize._core import core_of, with_core
from zoo.artefact.quantize._guard import (
    compare,
    compare_labelled,
    find_broken_bars,
    find_doubts,
    find_missed_speed,
    judge,
)
from zoo.artefact.quantize._images import Finetune, draw, draw_several, group_copies
from zoo.artefact.quantize._notes import explain_refusal, note_bars, note_making
from zoo.artefact.quantize._ranges import METHODS, watch
from zoo.artefact.quantize._rounding import round_layers, with_rounded
from zoo.artefact.quantize._running import open_file
from zoo.artefact.quantize._sensitivity import errors, wobble, worst_first
from zoo.artefact.quantize._speed import measure
from zoo.artefact.quantize._targets import DEFAULT_TARGET, SCHEMES, WHOLE_BITS, this_machine
from zoo.errors import QuantizationError
from zoo.evaluation import predict_set
from zoo.spec import Alike, Bars, Guard, Manifest, Quantization, QuantizedKind, Rung, Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx
    from numpy.typing import NDArray

    from zoo.artefact.quantize._core import Core
    from zoo.artefact.quantize._images import Tensors
    from zoo.artefact.quantize._ranges import Activations, Ranges
    from zoo.artefact.quantize._rounding import Rounded
    from zoo.data import ImageSet, Splits
    from zoo.edge import Runtime

__all__ = ["Finetune", "Taken", "climb", "confirm"]

_PARTS = (1 / 8, 1 / 4, 1 / 2)
"""Shares of the layers that stay in float32 on the rungs after the first."""
_TIMED = 8
"""Validation images that are timed in turn."""
_STEADY = 0.01
"""Least tolerance of a golden logit: kernels of other CPUs have not been seen by this machine."""
_UNSTEADY = 0.5
"""Largest: a golden set that lets logits move further could not tell a fault from rounding."""

_EVERY = {False: 4000, True: 600}
"""Images on which answers are compared without labels, at most; fewer where the kernels of another machine are
imitated. A number, not a time: the same run must be judged by the same images on every machine."""
_FEW = 1000
"""So many are asked first, and a rung that they show to be worse is not asked of the others; fewer than these get
mirrored copies beside them."""

_HALF = "fp16 weights and activations; input and head in float32"

log = logging.getLogger("zoo")


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """A rung that passed on the validation images.

    Attributes:
        model: the quantised file.
        float32: the proven file it came from, opened.
        runtime: the quantised file, opened.
        record: what was tried and measured; `test` is still empty.
    """

    model: onnx.ModelProto
    float32: Runtime
    runtime: Runtime
    record: Quantization


def climb(
    model: onnx.ModelProto,
    manifest: Manifest,
    data: Splits,
    *,
    kind: QuantizedKind,
    target: Target | None = None,
    seed: int = 0,
    bars: Bars | None = None,
    accept_unproven: bool = False,
    finetune: Finetune | None = None,
) -> Taken:
    """The first rung that is shown to be as good as the float32 file.

    Args:
        model: the proven float32 file.
        manifest: manifest of the float32 file.
        data: its training images calibrate, its validation images choose, its test images are not touched.
        kind: int8 climbs the whole ladder, fp16 is one rung.
        target: the machine it is made for; None: this one, or avx2 where this one is not known.
        seed: seed that draws the training images.
        bars: how much may be lost; None: as `Bars` has it.
        accept_unproven: where no rung is, take the first of which nobody can tell.
        finetune: trains the network for int8, where rounding all layers is not enough.

    Raises:
        QuantizationError: no rung can be taken; its details hold the table.
        UsageError: the model has nothing to quantise.
        DataError: the validation split holds no image.
    """
    here = this_machine()
    chosen = target or here or DEFAULT_TARGET
    bars = bars or Bars()
    ladder = _Ladder(model, manifest, data, chosen, bars=bars, seed=seed, reference=chosen != here, finetune=finetune)
    calibrate, others = draw(data.train, manifest.preprocess, seed)
    record = Quantization(
        kind=kind,
        target=chosen,
        scheme=SCHEMES[chosen].text if kind == "int8" else _HALF,
        measured="reference" if ladder.reference else "kernels",
        calibration=None,
        calibration_images=len(calibrate),
        compared_images=len(others),
        calibration_errors={},
        layers=len(ladder.core.layers),
        excluded=(),
        rungs=(),
        bars=bars,
        val=None,
        test=None,
        speed=None,
        size_ratio=None,
        tolerance=None,
        notes=(*note_making(chosen, here, len(calibrate), kind), *note_bars(bars)),
        verdict=None,
        alike=None,
    )
    rungs: list[Rung] = []
    doubtful: Taken | None = None
    for candidate in ladder.candidates(calibrate, others, record):
        rung, runtime, whole = ladder.judge(candidate)
        rungs.append(rung)
        record = msgspec.structs.replace(candidate.record, rungs=tuple(rungs))
        log.info("quantisation, %s: %s", rung.name, rung.verdict or "not run")  # why is in the record, shown at the end
        doubt = (
            accept_unproven and doubtful is None and rung.verdict == "cannot tell" and not find_missed_speed(rung.speed)
        )
        if runtime is None or whole is None or (rung.refused and not doubt):
            continue
        moved = wobble(ladder.core, candidate.core, others, reference=ladder.reference or rung.kind == "fp16")
        if 2 * moved > _UNSTEADY:
            why = f"rounding alone moves a logit by {moved:.2g} of its size, at most {_UNSTEADY / 2:g} is allowed"
            rungs[-1] = msgspec.structs.replace(rung, refused=(why,))
            record = msgspec.structs.replace(record, rungs=tuple(rungs))
            continue
        if rung.kind == "fp16":
            record = msgspec.structs.replace(record, scheme=_HALF, calibration=None)
        record = msgspec.structs.replace(
            record,
            kind=rung.kind,
            excluded=rung.excluded,
            verdict=rung.verdict,
            alike=rung.alike,
            val=rung.val,
            speed=rung.speed,
            size_ratio=ladder.size / rung.size_bytes,
            tolerance=max(2 * moved, _STEADY),
        )
        taken = Taken(whole, ladder.float32, runtime, record)
        if not doubt:
            return taken
        doubtful = taken
    if doubtful is not None:
        why = f"accepted although: {'; '.join(doubtful.record.rungs[-1].refused)}"
        tried = (*(rung for rung in rungs if rung != doubtful.record.rungs[-1]), doubtful.record.rungs[-1])
        notes = (*doubtful.record.notes, why)
        return replace(doubtful, record=msgspec.structs.replace(doubtful.record, rungs=tried, notes=notes))
    raise explain_refusal(record, kind, len(data.val), fp16_here=kind == "fp16" and not ladder.reference)


def confirm(
    taken: Taken, images: ImageSet, float32: NDArray[Any], quantised: NDArray[Any]
) -> tuple[onnx.ModelProto, Quantization]:
    """Measure the rung that was taken on the test images; a bar that is not met there, yet not broken, is noted.

    Args:
        taken: from `climb`.
        images: the test images.
        float32: (n, K) logits of the float32 file for them.
        quantised: (n, K) logits of the quantised one.

    Raises:
        QuantizationError: they show that a bar is broken; no other rung is tried.
    """
    manifest = taken.runtime.manifest
    guard = compare_labelled(
        float32,
        quantised,
        images.targets,
        manifest.labels,
        split="test",
        temperature=manifest.temperature,
        groups=images.groups,
    )
    kind = taken.record.kind
    broken = find_broken_bars(guard, kind, taken.record.bars)
    missed = () if broken else find_doubts(guard, taken.record.bars)
    beyond = tuple(f"on the {guard.n} test images {why}; they are too few to tell" for why in missed)
    record = msgspec.structs.replace(taken.record, test=guard, notes=(*taken.record.notes, *beyond))
    if broken:
        raise QuantizationError(
            f"{kind} refused: {record.rungs[-1].name} passed on the validation images but not on {guard.n} test images "
            f"({'; '.join(broken)}); no other is tried, since test images choose nothing; nothing was written, ship "
            "the float32 file with 'zoo export --onnx'",
            quantization=record,
            code="quantise-answers",
            split="test",
        )
    return taken.model, record


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    name: str
    kind: QuantizedKind
    core: onnx.ModelProto
    excluded: tuple[str, ...]
    record: Quantization
    """What is known by now."""
    broken: str | None = None
    """Why it cannot be used at all."""


class _Ladder:
    """The float32 file and its answers, and the rungs that are held against them."""

    def __init__(
        self,
        model: onnx.ModelProto,
        manifest: Manifest,
        data: Splits,
        target: Target,
        *,
        bars: Bars,
        seed: int,
        reference: bool,
        finetune: Finetune | None,
    ) -> None:
        self.finetune, self.train = finetune, data.train
        self.model, self.manifest, self.scheme, self.reference = model, manifest, SCHEMES[target], reference
        self.bars = bars
        self.core: Core = core_of(model)
        self.images = data.split("val")
        self.float32 = open_file(model, manifest, reference=False)
        self.size = model.ByteSize()
        self.answers = predict_set(self.float32.logits, self.images)
        most = _EVERY[reference]
        self.others = draw_several(self.images, data.train, most, seed, few=min(_FEW, most))[1:]
        self.other_answers: list[NDArray[np.float32]] = []

    def candidates(self, calibrate: Tensors, others: Tensors, record: Quantization) -> Iterator[_Candidate]:
        """The rungs, from the lowest; each is made when it is asked for."""
        integers = record.kind == "int8"
        activations = watch(self.core, calibrate, histograms=integers)
        if integers:
            rounded = round_layers(self.core, calibrate, self.scheme.steps)
            how = f"weights of {len(rounded)} of {record.layers} layers rounded by what they give"
            record = msgspec.structs.replace(record, scheme=f"{self.scheme.text}; {how}")
            best, made, record = self._calibrated(with_rounded(self.core, rounded), activations, others, record)
            yield _Candidate("int8, all layers", "int8", made, (), record)
            if self.finetune is not None:
                yield self._finetuned(self.finetune, calibrate, others, record)
            yield from self._partly(rounded, activations.ranges(best), others, record)
            if self.scheme.seven_bits:  # a bit more of every weight, for half of the speed
                whole = msgspec.structs.replace(record, scheme=WHOLE_BITS.text)
                network = to_integers(self.core, activations.ranges(best), WHOLE_BITS)
                yield _Candidate("int8, all layers, 8-bit unsigned weights", "int8", network, (), whole)
        largest = activations.largest
        broken = (
            f"an activation reaches {largest:.3g}, fp16 ends at {LARGEST_HALF:g}" if largest > LARGEST_HALF else None
        )
        yield _Candidate("fp16", "fp16", to_half(self.core), (), record, broken)

    def _calibrated(
        self, core: Core, activations: Activations, others: Tensors, record: Quantization
    ) -> tuple[str, onnx.ModelProto, Quantization]:
        """The method whose ranges cost the float32 file's logits least, the network with them, and what is known."""
        task = self.manifest.task
        made = {method: to_integers(core, activations.ranges(method), self.scheme) for method in METHODS}
        costs = errors(self.core, made.items(), others, reference=self.reference, task=task)
        best = min(METHODS, key=lambda method: costs[method])
        log.info("calibration: %s, error of the logits %.3g", best, costs[best])
        return best, made[best], msgspec.structs.replace(record, calibration=best, calibration_errors=costs)

    def _finetuned(self, finetune: Finetune, calibrate: Tensors, others: Tensors, record: Quantization) -> _Candidate:
        """Trained on all training images but those that calibrations are compared on."""
        kept = set(others.rows)
        rows = tuple(row for row in range(len(self.train)) if row not in kept) or calibrate.rows
        images = replace(calibrate, rows=rows)
        core = core_of(finetune(images, signed=self.scheme.activations == "int8"))
        rounded = with_rounded(core, round_layers(core, calibrate, self.scheme.steps))
        _, made, record = self._calibrated(rounded, watch(core, calibrate), others, record)
        record = msgspec.structs.replace(record, scheme=f"{record.scheme}, after a training for int8")
        return _Candidate("int8, all layers, fine-tuned", "int8", made, (), record)

    def _partly(self, rounded: Rounded, ranges: Ranges, others: Tensors, record: Quantization) -> Iterator[_Candidate]:
        order = worst_first(self.core, ranges, self.scheme, others, reference=self.reference, task=self.manifest.task)
        layers = len(order)
        for count in dict.fromkeys(max(1, round(layers * part)) for part in _PARTS):
            if count == layers:
                return
            excluded = order[:count]
            core = with_rounded(self.core, rounded, excluded=excluded)
            network = to_integers(core, ranges, self.scheme, excluded=excluded)
            yield _Candidate(f"int8, {count} of {layers} layers in float32", "int8", network, excluded, record)

    def judge(self, candidate: _Candidate) -> tuple[Rung, Runtime | None, onnx.ModelProto | None]:
        """The rung's numbers, and the file where it is whole."""
        whole = with_core(self.model, candidate.core)
        rung = Rung(
            name=candidate.name,
            kind=candidate.kind,
            excluded=candidate.excluded,
            size_bytes=whole.ByteSize(),
            val=None,
            alike=None,
            verdict=None,
            speed=None,
            refused=(),
        )
        if candidate.broken:
            return msgspec.structs.replace(rung, refused=(candidate.broken,)), None, None
        # fp16 has no kernels to replace: its answers are the same either way.
        runtime = open_file(whole, self.manifest, reference=self.reference and candidate.kind == "int8")
        answers = predict_set(runtime.logits, self.images)
        guard: Guard = compare_labelled(
            self.answers,
            answers,
            self.images.targets,
            self.manifest.labels,
            split="val",
            temperature=self.manifest.temperature,
            groups=self.images.groups,
        )
        if broken := find_broken_bars(guard, candidate.kind, self.bars):
            return msgspec.structs.replace(rung, val=guard, verdict="worse", refused=broken), None, None
        for alike in self._compare(answers, runtime):
            verdict, why = judge(guard, alike, candidate.kind, self.bars)
            if verdict == "worse":
                break
        speed = None if self.reference or verdict == "worse" else measure(self.float32, runtime, self._some())
        refused = (*why, *find_missed_speed(speed))
        judged = msgspec.structs.replace(rung, alike=alike, val=guard, verdict=verdict, speed=speed, refused=refused)
        return judged, runtime, whole

    def _compare(self, answers: NDArray[np.float32], runtime: Runtime) -> Iterator[Alike]:
        """The file beside float32 on the first images that may choose, then on all where there are more.

        `answers` are those to the validation images.
        """
        own: list[NDArray[np.float32]] = []
        copies = sum(int((one.turns > 0).sum()) for one in self.others)
        for count in dict.fromkeys((len(self.others) if copies else min(1, len(self.others)), len(self.others))):
            asked = self.others[:count]
            for one in asked[len(self.other_answers) :]:
                self.other_answers.append(predict_set(self.float32.logits, one))
            own += [predict_set(runtime.logits, one) for one in asked[len(own) :]]
            yield compare(
                np.concatenate([self.answers, *self.other_answers[:count]]),
                np.concatenate([answers, *own]),
                temperature=self.manifest.temperature,
                task=self.manifest.task,
                copies=copies,
                groups=group_copies(self.images, asked),
            )

    def _some(self) -> list[NDArray[Any]]:
        return [self.images.read(row).pixels for row in range(min(_TIMED, len(self.images)))]
