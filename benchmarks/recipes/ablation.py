"""One change of the recipe at a time, several seeds, judged on validation images alone.

`python benchmarks/recipes/ablation.py OUT.jsonl breast=PATH pbc=PATH --model resnet18 --seeds 3` trains the base recipe
and each change on every set. Each training that is finished is one line of OUT.jsonl, and a line that is there is not
trained again: stop it at any moment, start it again, give it more seeds or changes later. `--minutes` ends it between
trainings. `--table` only prints.

Test images are taken away as soon as a set is open, which leaves copies of them out of training; no number depends on
their labels. Where validation has fewer than 200 images, the answers of K folds over training and validation images are
pooled, copies and groups kept together. A change is set against the base of the same seed; ± is the standard deviation
over seeds, of that difference, too.

A change is `NAME: FIELD=VALUE FIELD=VALUE`, fields as `--set` takes them, and size; CHANGES holds those with a name.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import math
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoo import registry
from zoo.data import ImageSet, Splits, decode_all, open_data
from zoo.data._several import Several
from zoo.errors import ZooError
from zoo.learn._objective import score
from zoo.preprocess import normalize_batch
from zoo.runs import TrainContext, create_run
from zoo.spec import Budget, ModelCard, to_builtins
from zoo.store.weights import resolve as resolve_weights
from zoo.workflow._begin import create_record
from zoo.workflow._find import weights_file
from zoo.workflow._recipe import configure, resolve
from zoo.workflow.train import read_settings

BASE = "base"
CHANGES: dict[str, dict[str, Any]] = {
    BASE: {},
    "lr 1e-4": {"lr": 1e-4},
    "lr 3e-3": {"lr": 3e-3},
    "layer decay .9": {"layer_decay": 0.9},
    "300 steps": {"steps": 300},
    "1000 steps": {"steps": 1000},
    "3000 steps": {"steps": 3000},
    "probe first": {"probe": 0.2},
    "soup": {"average": "soup"},
    "no average": {"average": "none"},
    "no label smoothing": {"label_smoothing": 0.0},
    "weight decay .3": {"weight_decay": 0.3},
    "no augmentation": {"augment": "none"},
    "TrivialAugment": {"augment": "strong"},
    "erase .25": {"erase": 0.25},
    "mixup .2": {"mixup": 0.2},
    "cutmix 1": {"cutmix": 1.0},
    "SAM .05": {"sam": 0.05},
    "drop path .1": {"drop_path": 0.1},
    "flips": {"flips": True},
    "64 px": {"size": 64},
    "112 px": {"size": 112},
}
FEW = 200
"""Validation images below which folds are pooled."""
FOLDS = 5
KEPT = 5
"""Digits of a logit in a line."""
COLUMNS = ("AUROC", "accuracy", "NLL")

Line = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="file of results, one JSON document a line")
    parser.add_argument("sets", nargs="+", metavar="NAME=PATH", help="data as zoo train takes it")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--weights", help="pretrained weights to start from: a file, or a run")
    parser.add_argument("--changes", nargs="*", help="names of changes below; default: all")
    parser.add_argument("--change", action="append", default=[], metavar="'NAME: FIELD=VALUE …'", help="one more")
    parser.add_argument("--base", nargs="*", default=[], metavar="FIELD=VALUE", help="of every training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folds", type=int, default=FOLDS, help=f"of a set with under {FEW} validation images")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no training after these")
    parser.add_argument("--table", action="store_true", help="train nothing")
    parser.add_argument("--smallest", action="store_true", help="a run of seconds whose numbers say nothing")
    given = parser.parse_args()
    if given.smallest:
        given.base = [*given.base, "size=16", "epochs=1"]
        given.changes, given.seeds, given.folds = [BASE, "SAM .05"], 2, 2
    changes = {name: CHANGES[name] for name in given.changes} if given.changes else dict(CHANGES)
    changes = {BASE: {}} | changes | dict(map(read_change, given.change))
    base = read_settings(given.base)
    sets = dict(part.partition("=")[::2] for part in given.sets)
    end = time.monotonic() + 60 * given.minutes
    done = read_lines(given.out)
    if not given.table:
        logging.basicConfig(level=logging.WARNING)
        for name, path in sets.items():
            data = without_test(open_data(path))
            for seed in range(given.seeds):  # the table is whole for one seed before the next begins
                for change, fields in changes.items():
                    for fold, parts in enumerate(deal(data, given.folds)):
                        key = [name, given.model, given.weights, change, base | fields, seed, fold]
                        if any(line["key"] == key for line in done):
                            continue
                        if time.monotonic() > end:
                            break
                        try:
                            line = {"key": key, **learn(parts, given.model, given.weights, base | fields, seed)}
                        except ZooError as problem:  # a network without it
                            print(f"{name}, {change}: {problem.code}: {problem}", flush=True)
                            break
                        done.append(line)
                        with given.out.open("a", encoding="utf-8") as stream:
                            stream.write(json.dumps(line) + "\n")
                        print(f"{name}, {change}, seed {seed}, fold {fold}: {line['seconds']:.0f} s", flush=True)
    for name in sets:
        chosen = [line for line in done if line["key"][:3] == [name, given.model, given.weights]]
        wanted = {change: json.loads(json.dumps(base | fields)) for change, fields in changes.items()}
        chosen = [line for line in chosen if wanted.get(line["key"][3]) == line["key"][4]]
        print(f"\n{name}, {given.model}{' pretrained' if given.weights else ''}\n\n{table(chosen, list(changes))}")


def read_change(text: str) -> tuple[str, dict[str, Any]]:
    """'NAME: FIELD=VALUE …' to its name and fields."""
    name, _, fields = text.partition(":")
    return name.strip(), read_settings(fields.split())


def read_lines(path: Path) -> list[Line]:
    """Every finished training; a last line that a stop cut off is none, and goes."""
    if not path.is_file():
        return []
    lines: list[Line] = []
    for text in path.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            lines.append(json.loads(text) if text.endswith("\n") else {}["cut off"])
        except (ValueError, KeyError):
            print(f"{path}: a line was cut off; its training is done again")
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return lines


def without_test(data: Splits) -> Splits:
    """The set, with its validation images in the place of test: nothing below can look at a test image or label."""
    return dataclasses.replace(data, test=data.val)


def deal(data: Splits, folds: int) -> Iterator[Splits]:
    """The set itself; or where validation is small, train and validation images in K ways."""
    if len(data.val) >= FEW:
        yield data
        return
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    both = join(data.train, data.val)
    units = both.groups if both.groups is not None else np.unique(both.digests, axis=0, return_inverse=True)[1].ravel()
    kind = StratifiedGroupKFold if both.targets.ndim == 1 else GroupKFold
    dealer = kind(folds, shuffle=True, random_state=0)  # the same for every seed and change
    for rest, held in dealer.split(np.zeros(len(both)), both.targets, units):
        val = both.subset(held)
        yield dataclasses.replace(data, train=both.subset(rest), val=val, test=val)


def join(first: ImageSet, second: ImageSet) -> ImageSet:
    """Both sets as one."""
    sizes = len(first), len(second)
    rows = np.concatenate([first.rows, second.rows])
    return dataclasses.replace(
        first,
        ids=[*first.ids, *second.ids],
        targets=np.concatenate([first.targets, second.targets]),
        source=Several((first.source, second.source), np.repeat([0, 1], sizes), rows),
        rows=np.arange(sum(sizes)),
        digests=np.concatenate([first.digests, second.digests]),
        groups=None if first.groups is None else np.concatenate([first.groups, second.groups]),  # type: ignore[list-item]
    )


def learn(data: Splits, model: str, weights: str | None, fields: dict[str, Any], seed: int) -> Line:
    """Train once; the answers on validation images are those of the weights that would ship."""
    settings = dict(fields)
    size = settings.pop("size", None)
    budget = Budget(seed=seed, pretrained=weights is not None)
    card: ModelCard = registry.find(model)
    loaded = registry.load(card.plugin)
    config = configure(card, budget, settings)
    card = resolve(loaded.plugin, card, data, config, size=size, settings=settings).card
    data = data.read_for(card.preprocess)
    loaded.plugin.check(card, data)
    start = None
    if weights is not None:
        start = resolve_weights(loaded.plugin.starts_from(card), weights_file(weights)).path
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        record = create_record(card, data, loaded, source="ablation", skipped=(), notes=())
        run = create_run(Path(folder) / "run", record)
        trained = loaded.plugin.train(card, data, card.train, run, TrainContext(pretrained=start))
        seconds = time.monotonic() - began
        held = decode_all(data.val, card.preprocess)
        logits = trained.predict(normalize_batch(held.pixels, card.preprocess))  # type: ignore[union-attr]
        return {
            "epochs": run.record.epochs_done,
            "seconds": seconds,
            "targets": held.targets.tolist(),
            "logits": np.round(logits.astype(float), KEPT).tolist(),
            "config": to_builtins(card.train),
        }


def judge(lines: Sequence[Line]) -> tuple[float, float, float] | None:
    """AUROC, accuracy and NLL of the pooled answers of a training's folds."""
    logits = np.concatenate([np.asarray(line["logits"], np.float32) for line in lines])
    targets = np.concatenate([np.asarray(line["targets"], np.int64) for line in lines])
    found = score(torch.from_numpy(logits), torch.from_numpy(targets))
    return None if found.macro_auroc is None else (found.macro_auroc, found.accuracy, found.loss)


def table(lines: Sequence[Line], changes: Sequence[str]) -> str:
    """Markdown: mean ± standard deviation over seeds, and the difference from the base of the same seed."""
    folds = 1 + max((line["key"][6] for line in lines), default=0)
    found: dict[str, dict[int, tuple[float, float, float]]] = {}
    seconds: dict[str, float] = {}
    for change in changes:
        own = [line for line in lines if line["key"][3] == change]
        for seed in sorted({line["key"][5] for line in own}):
            parts = [line for line in own if line["key"][5] == seed]
            if len(parts) == folds and (judged := judge(parts)) is not None:
                found.setdefault(change, {})[seed] = judged
        if own:
            seconds[change] = statistics.mean(line["seconds"] for line in own)
    head = ["change", "seeds", *COLUMNS, *(f"Δ {name}" for name in COLUMNS), "s a training"]
    rows = [head, ["---"] * len(head)]
    for change, by_seed in found.items():
        both = sorted(by_seed.keys() & found.get(BASE, {}).keys())
        cells = [spread([by_seed[seed][k] for seed in by_seed]) for k in range(3)]
        cells += [
            "" if change == BASE else spread([by_seed[seed][k] - found[BASE][seed][k] for seed in both], sign=True)
            for k in range(3)
        ]
        rows.append([change, str(len(by_seed)), *cells, f"{seconds[change]:.0f}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def spread(values: Sequence[float], *, sign: bool = False) -> str:
    """Mean ± standard deviation; of one value itself, of none nothing."""
    if not values:
        return ""
    mean = f"{statistics.mean(values):{'+' if sign else ''}.4f}"
    return f"{mean} ± {statistics.stdev(values):.4f}" if len(values) > 1 else mean


if __name__ == "__main__":
    main()
