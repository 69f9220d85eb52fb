"""What is said of a climb: the notes of the file that was taken, and why none was."""

from __future__ import annotations

from zoo.artefact.quantize._guard import find_missed_speed
from zoo.artefact.quantize._images import ENOUGH
from zoo.errors import QuantizationError
from zoo.spec import Bars, Quantization, QuantizedKind, Target

__all__ = ["explain_refusal", "note_bars", "note_making"]


def explain_refusal(record: Quantization, kind: QuantizedKind, images: int, *, fp16_here: bool) -> QuantizationError:
    """Why no rung was taken, and what to do: of one that may well be sound, more than of one that is not."""
    unknown = [rung for rung in record.rungs if rung.verdict == "cannot tell" and not find_missed_speed(rung.speed)]
    shown = (unknown or record.rungs)[0]
    why = f"{shown.name}: {'; '.join(shown.refused)}"
    gpu = "; fp16 is for GPUs: name --target gpu" if fp16_here else ""
    if unknown:
        return QuantizationError(
            f"{kind} refused: {images} validation images are too few to tell whether it can replace the float32 file "
            f"({why}); nothing was written, give it more images, or ship it as it is with --accept-unproven, which its "
            f"manifest and its card will say{gpu}",
            quantization=record,
            code="quantise-unproven",
            split="val",
        )
    return QuantizationError(
        f"{kind} refused: none of {len(record.rungs)} rungs can replace the float32 file on {images} validation "
        f"images ({why}); nothing was written, ship the float32 file with 'zoo export --onnx'{gpu}",
        quantization=record,
        code="quantise-answers",
        split="val",
    )


def note_bars(bars: Bars) -> list[str]:
    """Each bar that is lower than the usual one: nobody should have to compare numbers to see it."""
    usual = Bars()
    agreed = {"agreement": bars.agreement < usual.agreement}
    looser = {name: getattr(bars, name) > getattr(usual, name) for name in bars.__struct_fields__} | agreed
    return [
        f"the bar on {name} was loosened from {getattr(usual, name):g} to {getattr(bars, name):g}"
        for name, is_looser in looser.items()
        if is_looser
    ]


def note_making(target: Target, here: Target | None, calibrated: int, kind: QuantizedKind) -> tuple[str, ...]:
    notes = []
    if calibrated < ENOUGH and kind == "int8":
        notes.append(f"calibrated on {calibrated} training images only; {ENOUGH} or more are usual")
    if target != here:
        notes.append(
            f"made for {target} on a machine that is {here or 'none of the known targets'}: speed was not measured "
            "and is not claimed, and the kernels of the target were not run"
        )
    return tuple(notes)
