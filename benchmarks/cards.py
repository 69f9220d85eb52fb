"""Fill the cards of registry.yaml: parameters, multiply-adds, latency; and prove that every card exports.

    python benchmarks/cards.py [MODEL ...] --pictures FOLDER [--prove] [--again] [--work DIR]

Without names, all torch cards. Each is built for 1000 classes and exported at its default size, and the file passes
the parity gate on real pictures from FOLDER; an int8 form is made beside it, all layers but the head, calibrated by
minmax on them. No guard looks at the int8 answers: untrained answers say nothing, and only its time is taken.
With --prove it ends there, and a busy machine does no harm.

Then both networks are timed, for which the machine must be quiet: alone, without the preprocessing, one image, in
turns after a warm-up, medians. The numbers go into registry.yaml, comments and order untouched, and into cards.csv
and cards.md under DIR, where the networks and what was found are kept. What is there, or in a card that was timed
on this machine, is not done again without --again. Each step of each card is a process of its own; one that fails is
one line on stderr, and the exit status is then 1.

Networks are untrained, but none of their parts is idle: timm begins with residual branches multiplied by 0 or 1e-6,
which would make a gate vacuous. Factors and biases are drawn at random, those branches open to a fifth (at full
strength the 33 of a ResNet-101 magnify rounding itself beyond the gate), and the statistics of BatchNorm are then
taken from those pictures, so that activations keep the size that they have in a trained network: a picture far from
the statistics gives logits of thousands, of which no two orders of summation agree on the third digit.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo._support.machine import processor
from zoo._support.text import join_lines
from zoo.artefact.quantize._targets import DEFAULT_TARGET, SCHEMES, this_machine
from zoo.edge._session import open_session

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from zoo.spec import ModelCard

ROOT = Path(__file__).resolve().parents[1]
REGISTRY = ROOT / "registry.yaml"
CLASSES = 1000
SECONDS = 3.0
"""Both networks of a card are timed for about this long, within RUNS."""
RUNS = (7, 60)
WARM_UP = 3
CLOSED = 1e-3
"""Factors below it multiply a residual branch that an untrained network keeps closed."""
WRITING = Lock()
FIELDS = ("model", "parameters", "macs", "size", "fp32_ms", "int8_ms", "images", "max_abs_logit", "note")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--pictures", type=Path, default=ROOT.parent / "shared" / "data" / "photos")
    parser.add_argument("--images", type=int, default=8, help="how many of the gate's 98 images are looked at")
    parser.add_argument("--threads", type=int, default=2, help="of ONNX Runtime while it is timed")
    parser.add_argument("--work", type=Path, default=Path("runs/cards"))
    parser.add_argument("--jobs", type=int, default=2, help="cards that are exported at once; one is timed at a time")
    parser.add_argument("--prove", action="store_true", help="export and gate only, nothing is timed")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--catalogue", type=Path, default=REGISTRY, help="the file whose cards are filled")
    parser.add_argument("--smallest", action="store_true", help="a run of seconds whose numbers say nothing")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.smallest:
        asked.models, asked.images = asked.models or ["simple_cnn"], 2
    if asked.task:
        do = {"prove": prove, "time": measure}[asked.task]
        sys.stdout.write(json.dumps(do(asked)))
        return 0

    from zoo.registry._catalogue import Distribution, read

    asked.work.mkdir(parents=True, exist_ok=True)
    cards = read(asked.catalogue, Distribution("edgezoo", "of this checkout"))
    names = asked.models or [name for name, card in cards.items() if "torch" in card.needs]
    if unknown := [name for name in names if name not in cards]:
        parser.error(f"no card {', '.join(unknown)} in {asked.catalogue}")
    with ThreadPoolExecutor(asked.jobs) as pool:
        good = list(pool.map(lambda name: _proven(name, asked), names))
    failed = [name for name, proven in zip(names, good, strict=True) if not proven]
    if not asked.prove:
        here = machine(asked.threads)
        timed = {name for name, card in cards.items() if card.latency is not None and card.latency.machine == here}
        left = [name for name in names if name not in failed and (asked.again or name not in timed)]
        say(f"timing {len(left)} cards on {here}, about {len(left) * (SECONDS + 4) / 60:.0f} min; load {load()}")
        failed += [name for name in left if not _timed(name, asked)]
    table(names, asked.work)
    for name in failed:
        say(f"failed: {name}")
    return 1 if failed else 0


def _proven(name: str, asked: argparse.Namespace) -> bool:
    record = asked.work / f"{name}.json"
    there = asked.prove or (asked.work / f"{name}.fp32.onnx").is_file()  # the networks may have been cleared away
    if record.is_file() and there and not asked.again:
        return True
    found = child("prove", name, asked)
    if found is None:
        return False
    record.write_text(json.dumps(found), encoding="utf-8")
    with WRITING:
        write(asked.catalogue, name, {"parameters": str(found["parameters"]), "macs": str(found["macs"])})
    return True


def _timed(name: str, asked: argparse.Namespace) -> bool:
    record = asked.work / f"{name}.json"
    found = child("time", name, asked)
    if found is None:
        return False
    record.write_text(json.dumps(json.loads(record.read_text(encoding="utf-8")) | found), encoding="utf-8")
    int8 = "null" if found["int8_ms"] is None else f"{found['int8_ms']:.3g}"
    here = json.dumps(machine(asked.threads))
    write(asked.catalogue, name, {"latency": f"{{fp32_ms: {found['fp32_ms']:.3g}, int8_ms: {int8}, machine: {here}}}"})
    return True


def child(task: str, name: str, asked: argparse.Namespace) -> dict[str, Any] | None:
    """One task on one card in a process of its own; None: it failed, and its last line is on stderr."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, name, "--task", task, "--pictures", asked.pictures, "--images", str(asked.images),
         "--threads", str(asked.threads), "--work", asked.work, *(["--smallest"] if asked.smallest else [])],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    took = f"{time.perf_counter() - began:.0f} s"
    if done.returncode:
        say(f"{name}: {(done.stderr.strip().splitlines() or [f'exit {done.returncode}'])[-1]} ({took})")
        return None
    found: dict[str, Any] = json.loads(done.stdout)
    say(f"{name}: {', '.join(f'{key} {value}' for key, value in found.items())} ({took})")
    return found


# --- one card: export, gate, int8 -------------------------------------------------------------------


def prove(asked: argparse.Namespace) -> dict[str, Any]:
    """Count, export, prove, quantise; both networks are left under `work`.

    Raises:
        ZooError: the card does not build, does not export, or its file is refused.
    """
    import torch

    from zoo import info
    from zoo.artefact import assemble, parity_images, set_manifest
    from zoo.artefact import prove as gate
    from zoo.edge import Runtime
    from zoo.learn import module_to_onnx, torch_predict
    from zoo.learn._counting import count
    from zoo.preprocess import normalize_batch, resize_image
    from zoo.registry import load
    from zoo.spec import InputSpec

    (name,) = asked.models
    card, spec = info(name), info(name).preprocess
    torch.manual_seed(0)
    module = load(card.plugin).plugin.build(card, classes=CLASSES, channels=3)
    counted = count(module, channels=3, size=spec.size)
    every = parity_images(pictures(asked.pictures))
    chosen = np.unique(np.linspace(0, len(every) - 1, asked.images).astype(int)).tolist()  # the black one is the last
    images = [every[index] for index in chosen]
    tensors = [normalize_batch(resize_image(image, spec)[None], spec) for image in images]
    awaken(module, tensors)
    spread = float(np.std(torch_predict(module)(np.concatenate(tensors))))
    temperature = spread / 3  # as sure as a trained network; where all classes are equally likely nothing can flip
    given = InputSpec(name="image", dtype="uint8", channels=3, stage="raw")
    model = assemble(module_to_onnx(module, channels=3, size=spec.size), spec, given, temperature=temperature)
    manifest = stated(card, given, temperature)
    parity = gate(model, manifest, spec=spec, labels=manifest.labels, reference=torch_predict(module), images=images)
    set_manifest(model, manifest)
    whole = asked.work / f"{name}.onnx"
    whole.write_bytes(model.SerializeToString())
    Runtime.open(whole)  # its operators are those that a device lets in
    whole.unlink()
    return {
        "parameters": counted.parameters,
        "macs": counted.macs,
        "size": list(spec.size),
        "images": parity.images,
        "max_abs_logit": parity.max_abs_logit,
        "max_abs_probability": parity.max_abs_probability,
        "note": keep(model, tensors, asked.work / name),
    }


def keep(model: Any, tensors: list[NDArray[np.float32]], stem: Path) -> str:
    """Write the network in float32 and in int8; returns why an int8 form cannot be made, or ''."""
    from zoo.artefact.quantize._convert import to_integers
    from zoo.artefact.quantize._core import core_of
    from zoo.artefact.quantize._ranges import watch
    from zoo.errors import ZooError

    core = core_of(model)
    Path(f"{stem}.fp32.onnx").write_bytes(core.model.SerializeToString())
    int8 = Path(f"{stem}.int8.onnx")
    int8.unlink(missing_ok=True)
    try:
        ranges = watch(core, tensors, histograms=False).ranges("minmax")
        made = to_integers(core, ranges, SCHEMES[this_machine() or DEFAULT_TARGET])
    except (ZooError, ValueError, KeyError) as problem:
        return f"no int8: {join_lines(problem, 120)}"
    int8.write_bytes(made.SerializeToString())
    return ""


def awaken(module: nn.Module, tensors: list[NDArray[np.float32]]) -> None:
    """Random factors and biases, and BatchNorm statistics from pictures: every branch computes something."""
    import torch

    with torch.no_grad():
        for name, values in module.named_parameters():
            if values.ndim != 1:
                continue
            if name.endswith("bias"):
                values.normal_(0, 0.1)
            else:
                low, high = (0.1, 0.3) if float(values.abs().max()) < CLOSED else (0.5, 1.5)
                values.uniform_(low, high)
        norms = [one for one in module.modules() if isinstance(one, torch.nn.modules.batchnorm._BatchNorm)]  # noqa: SLF001
        momenta = [one.momentum for one in norms]
        for one in norms:
            one.momentum = 1.0  # the statistics of this batch, and nothing of the start
        module.train()(torch.from_numpy(np.concatenate(tensors)))
        for one, momentum in zip(norms, momenta, strict=True):
            one.momentum = momentum
        module.eval()


def stated(card: ModelCard, given: Any, temperature: float) -> Any:
    """A manifest for a file that leaves no one's machine."""
    from zoo.runs import versions
    from zoo.spec import SCHEMA, Fingerprint, Manifest, PluginOrigin, Provenance

    provenance = Provenance(
        run="benchmark", model=card.name, created="1970-01-01T00:00:00Z",
        plugin=PluginOrigin(name=card.plugin, distribution="edgezoo", version="0"),
        versions=versions(), data=Fingerprint(name="none", sha256="0" * 64, n=0, splits={}),
        config=card.train, weights=None,
    )  # fmt: skip
    return Manifest(
        schema=SCHEMA, name=card.name, labels=tuple(f"class {k}" for k in range(CLASSES)), preprocess=card.preprocess,
        input=given, outputs=("probabilities", "logits"), temperature=temperature, parity=None, report=None,
        provenance=provenance, licence=card.licence, intended_use="None: untrained.",
    )  # fmt: skip


def pictures(folder: Path) -> list[NDArray[np.uint8]]:
    """The 8-bit pictures of a folder, (H, W, 3) each, at most 32."""
    from zoo.errors import ImageError
    from zoo.readers import read

    found = []
    for path in sorted(folder.rglob("*"))[:32]:
        try:
            pixels = read(path).pixels
        except ImageError:
            continue
        if pixels.dtype == np.uint8:
            found.append(pixels)
    if not found:
        sys.exit(f"{folder} holds no 8-bit picture; name a folder of photographs with --pictures")
    return found


# --- one card: time ---------------------------------------------------------------------------------


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """Median milliseconds of both networks, in turns."""
    (name,) = asked.models
    record = json.loads((asked.work / f"{name}.json").read_text(encoding="utf-8"))
    sessions = {}
    for kind in ("fp32", "int8"):
        path = asked.work / f"{name}.{kind}.onnx"
        if path.is_file():
            sessions[kind] = open_session(path.read_bytes(), name, provider="cpu", threads=asked.threads)
    name = sessions["fp32"].get_inputs()[0].name
    image = np.random.default_rng(0).normal(size=(1, 3, *record["size"])).astype(np.float32)
    times: dict[str, list[float]] = {kind: [] for kind in sessions}
    once = 0.0
    for _ in range(WARM_UP):
        once = sum(_milliseconds(session, name, image) for session in sessions.values())
    count = 2 if asked.smallest else int(np.clip(SECONDS * 1e3 / once, *RUNS))
    for turn in range(count):
        for kind in sorted(sessions, reverse=turn % 2 == 1):  # neither always finds the other's caches
            times[kind].append(_milliseconds(sessions[kind], name, image))
    middle = {f"{kind}_ms": statistics.median(values) for kind, values in times.items()}
    return {"int8_ms": None} | middle | {"runs": count, "load": load()}


def _milliseconds(session: Any, name: str, image: NDArray[np.float32]) -> float:
    start = time.perf_counter()
    session.run(["logits"], {name: image})
    return (time.perf_counter() - start) * 1e3


def machine(threads: int) -> str:
    """What a latency was measured on, as the card says it."""
    from importlib.metadata import version

    return f"{processor().name}, {threads} threads, onnxruntime {version('onnxruntime')}"


def load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


# --- registry.yaml and the tables -------------------------------------------------------------------


def write(path: Path, name: str, values: dict[str, str]) -> None:
    """Set numbers of one card in the text of the catalogue; each field has a place in the last line of the card.

    A machine that the family names is left out. The file is read again before it is replaced, so a slip of the pen
    cannot leave a catalogue that does not load.
    """
    from zoo._support.files import atomic_write
    from zoo.registry._catalogue import parse
    from zoo.registry._strict_yaml import read

    text = path.read_text(encoding="utf-8")
    document = read(text)
    family = document["families"].get(document["models"][name].get("family"), {})
    lines = text.splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith(f"  {name}: {{"))
    last = next(at for at in range(first, len(lines)) if at + 1 == len(lines) or not lines[at + 1].startswith("    "))
    if not re.match(r"    (parameters|macs|latency):", lines[last]):  # nothing of this card was measured yet
        lines[last] = lines[last].removesuffix("}") + ","
        last += 1
        lines.insert(last, "    }")
    found = dict(re.findall(r"(parameters|macs|latency): (\{.*?\}|[^,}]+)", lines[last])) | values
    if shared := family.get("latency", {}).get("machine"):
        found["latency"] = found.get("latency", "").replace(f", machine: {json.dumps(shared)}", "")
    numbers = [f"{field}: {found[field]}" for field in ("parameters", "macs", "latency") if found.get(field)]
    lines[last] = f"    {', '.join(numbers)}}}"
    text = "\n".join(lines) + "\n"
    parse(text.encode(), str(path))
    if text != path.read_text(encoding="utf-8"):
        atomic_write(path, text.encode())


def table(names: list[str], work: Path) -> None:
    """Write cards.csv and cards.md from the records under `work`, and print the latter."""
    rows = []
    for name in names:
        record = work / f"{name}.json"
        if record.is_file():
            found = json.loads(record.read_text(encoding="utf-8"))
            rows.append({"model": name} | {key: found.get(key) for key in FIELDS[1:]})
    with (work / "cards.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    lines = [
        "| model | parameters | multiply-adds | px | fp32 | int8 | largest difference |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        times = ["-" if row[key] is None else f"{row[key]:.3g} ms" for key in ("fp32_ms", "int8_ms")]
        lines.append(
            f"| {row['model']} | {row['parameters'] / 1e6:.1f} M | {row['macs'] / 1e9:.2f} G | {row['size'][0]} | "
            f"{times[0]} | {times[1]} | {row['max_abs_logit']:.1e} |"
        )
    (work / "cards.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
