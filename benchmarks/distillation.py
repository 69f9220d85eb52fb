"""What a teacher adds to a student: python benchmarks/distillation.py DATA --teacher RUN|MODEL --student MODEL.

For each seed the student is trained twice with the same budget, with the labels alone and with the teacher's answers
too. Both files then answer the same images: a paired bootstrap over the images for each seed (`zoo.compare`), and a
paired t-test over the seeds. A teacher that is the name of a model is trained first. Images of --split val choose the
epochs too, so that they favour both alike; --split test is for the proof, once nothing is left to choose.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from scipy.stats import ttest_rel

import zoo
from zoo.workflow.train import read_settings

METRICS = ("macro_auroc", "accuracy")


def main() -> None:
    options = _parse()
    if options.smallest:
        options.seeds, options.epochs, options.teacher_epochs, options.size = 2, 1, 1, 16
    out = Path(options.out)
    common: dict[str, Any] = {"size": options.size}
    teacher = options.teacher
    if not Path(teacher).exists():
        began = time.perf_counter()
        zoo.train(
            teacher, options.data, out=out / "teacher", resume="auto", epochs=options.teacher_epochs,
            pretrained=options.pretrained, **common,
        )  # fmt: skip
        print(f"teacher {teacher}, {time.perf_counter() - began:.0f} s")
        teacher = str(out / "teacher")
    taught = read_settings(options.set)
    rows: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        budget: dict[str, Any] = {**common, "epochs": options.epochs, "seed": seed}
        runs = [out / f"{kind}-{seed}" for kind in ("alone", "taught")]
        zoo.train(options.student, options.data, out=runs[0], resume="auto", **budget)
        zoo.train(options.student, options.data, out=runs[1], resume="auto", teacher=teacher, settings=taught, **budget)
        found = zoo.compare([runs[0], runs[1], teacher], split=options.split, include_seen=True, per_class=False)
        values = [{name: one.metrics[name].value for name in METRICS if name in one.metrics} for one in found.models]
        pair = next(one for one in found.pairs if one.metric == "macro_auroc" and {one.a, one.b} == set(_names(found)))
        sign = -1 if pair.a == _names(found)[0] else 1  # a pair says how much a is above b
        low, high = sorted((sign * pair.low, sign * pair.high))
        rows.append(
            {"seed": seed, "models": values, "delta": sign * pair.delta, "low": low, "high": high, "n": found.n}
        )
        _print_row(rows[-1])
    _print_end(rows, options)
    (out / "distillation.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _names(found: Any) -> list[str]:
    return [one.name for one in found.models[:2]]


def _print_row(row: dict[str, Any]) -> None:
    alone, taught, teacher = ([f"{one[name]:.4f}" for name in METRICS if name in one] for one in row["models"])
    if row["seed"] == 0:
        print(f"\n| seed | n | alone: {', '.join(METRICS)} | taught | teacher | AUROC, taught less alone |")
        print("|---|---|---|---|---|---|")
    shown = f"{row['delta']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})"
    cells = (row["seed"], row["n"], " ".join(alone), " ".join(taught), " ".join(teacher), shown)
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def _print_end(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    for name in METRICS:
        pairs = [(row["models"][0][name], row["models"][1][name]) for row in rows if name in row["models"][0]]
        if not pairs:
            continue
        alone, taught = zip(*pairs, strict=True)
        gains = [b - a for a, b in pairs]
        spread = statistics.stdev(gains) if len(gains) > 1 else float("nan")
        p = float(ttest_rel(taught, alone).pvalue) if len(gains) > 1 else float("nan")
        print(
            f"{name}: alone {statistics.mean(alone):.4f}, taught {statistics.mean(taught):.4f}, gain "
            f"{statistics.mean(gains):+.4f} ± {spread:.4f} over {len(gains)} seeds, p {p:.3f} ({options.split})"
        )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--teacher", required=True, help="a run, file or bundle, or a model that is trained first")
    parser.add_argument("--student", default="simple_cnn")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--teacher-epochs", type=int, default=10)
    parser.add_argument("--pretrained", action="store_true", help="the teacher that is trained starts from its weights")
    parser.add_argument("--size", type=int)
    parser.add_argument("--split", default="val", choices=["val", "test"])
    parser.add_argument("--set", action="append", default=[], help="of the taught student, such as teacher_weight=0.5")
    parser.add_argument("--smallest", action="store_true", help="a run of seconds whose numbers say nothing")
    parser.add_argument("--out", default="distillation", help="runs are kept here and taken up again")
    return parser.parse_args()


if __name__ == "__main__":
    main()
