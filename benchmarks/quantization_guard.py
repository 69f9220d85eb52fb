"""What `zoo export --int8` makes of several trained runs: which rung the guard takes, how fast it is, what it changes.

    python benchmarks/quantization_guard.py RUN RUN … [--data D]

One row a run: the first rung that was taken or, where none was, the verdict on int8 in all layers. Speed is the ratio
of interleaved pairs with the float32 file, from raw pixels; 'kept' is the share of labels that stay where float32 is
sure.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import zoo
from zoo._support.machine import cores, processor
from zoo.artefact.quantize import this_machine
from zoo.errors import QuantizationError
from zoo.spec import Interval, Quantization


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data", help="the runs' images, if they have moved")
    parser.add_argument("--smallest", action="store_true", help="as it is: one small run takes seconds")
    asked = parser.parse_args()
    print(f"{processor().name}, target {this_machine()}, {cores()} threads, load {os.getloadavg()[0]:.1f}\n")
    print("| model | taken | speed (95 %) | size | kept (95 %) | macro AUROC, test (95 %) | s |")
    print("|---|---|---|---|---|---|---|")
    accepted = 0
    for run in asked.runs:
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            try:
                made = zoo.export(run, quantize="int8", data=asked.data, out=Path(folder) / "model.onnx")
                record, taken = made.quantization, True
            except QuantizationError as problem:
                record, taken = problem.fields["quantization"], False
        if record is None:
            raise SystemExit(f"{run}: the file says nothing of how it was made smaller")
        accepted += taken and record.kind == "int8"
        name = zoo.open(run / "model.onnx").manifest.name
        print(f"| {name} | {describe(record, taken)} | {time.monotonic() - begun:.0f} |", flush=True)
    print(f"\nint8 was taken of {accepted} of {len(asked.runs)}; load at the end {os.getloadavg()[0]:.1f}")


def describe(record: Quantization, taken: bool) -> str:
    """The cells of a row but the first and the last."""
    rung = record.rungs[-1] if taken else record.rungs[0]
    said = rung.name if taken else f"none: {rung.name}: {rung.verdict}; {'; '.join(rung.refused)}"
    speed = rung.speed.ratio if rung.speed else None
    kept = rung.alike.kept if rung.alike else None
    size = f"{record.size_ratio:.1f} × smaller" if record.size_ratio else "-"
    auroc = record.test.macro_auroc if record.test else None
    return f"{said} | {shown(speed, 2)} | {size} | {shown(kept, 4)} | {shown(auroc, 4)}"


def shown(value: Interval | None, digits: int) -> str:
    """A number with its interval."""
    return "-" if value is None else f"{value.value:.{digits}f} ({value.low:.{digits}f} to {value.high:.{digits}f})"


if __name__ == "__main__":
    main()
