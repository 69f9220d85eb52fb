"""The rungs of a quantisation as a table, for those that passed and for those that were refused."""

from __future__ import annotations

from zoo.spec import Alike, Guard, Interval, Quantization, Rung
from zoo_cli.output import format_count, format_table, megabytes, sample

__all__ = ["rung_table"]

_HEADER = ("on", "rung", "size", "speed", "macro AUROC", "worst sensitivity", "sure labels kept", "")


def rung_table(found: Quantization, *, refused: bool = False) -> str:
    """Every rung on the validation images, and the one that was taken on the test images.

    Args:
        found: what was tried.
        refused: an error follows, which says why the first rung cannot be taken.
    """
    rows = [_row("val", rung, rung.val, _say_verdict(rung)) for rung in found.rungs]
    if found.test is not None:
        rows.append(_row("test", found.rungs[-1], found.test, ""))
    images = ", ".join(
        f"{guard.split}: {sample(guard.n, guard.clusters)}"
        for guard in (next((rung.val for rung in found.rungs if rung.val), None), found.test)
        if guard is not None
    )
    lines = [
        format_table(_HEADER, rows, right=(2, 3)),
        f"Changes against float32 with 95 % intervals, on {images}"
        + (
            f"; ranges from {format_count(found.calibration_images, 'training image')}"
            if found.calibration_images
            else ""
        )
        + (f", by {found.calibration}." if found.calibration else "."),
    ]
    told = found.rungs[1:] if refused and found.test is None else found.rungs
    lines += [f"{rung.name}: {'; '.join(rung.refused)}." for rung in told if rung.refused]
    lines += [f"Note: {note}." for note in found.notes]
    return "\n".join(lines)


def _row(where: str, rung: Rung, guard: Guard | None, verdict: str) -> tuple[str, ...]:
    speed = f"{rung.speed.ratio.value:.2f}x" if rung.speed else "-"
    if guard is None:
        return (where, rung.name, megabytes(rung.size_bytes), speed, "-", "-", "-", verdict)
    return (
        where,
        rung.name,
        megabytes(rung.size_bytes),
        speed,
        _change(guard.macro_auroc),
        "-" if guard.sensitivity is None else f"{guard.sensitivity.value:+.3f} {guard.sensitivity_label}",
        _kept(guard if where == "test" or rung.alike is None else rung.alike),
        verdict,
    )


def _say_verdict(rung: Rung) -> str:
    """A rung that is as good may be too slow, or its logits may move too far."""
    refused = ", refused" if rung.refused and rung.verdict == "as good" else ""
    return f"{rung.verdict or 'not run'}{refused}"


def _kept(alike: Alike) -> str:
    return "none is sure" if alike.kept is None else f"{alike.kept.value:.1%} of {alike.sure}"


def _change(value: Interval | None) -> str:
    return "undefined" if value is None else f"{value.value:+.4f} ({value.low:+.4f} to {value.high:+.4f})"
