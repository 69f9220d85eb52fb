"""What many plugins cost `zoo list`: python benchmarks/listing.py [--plugins 50] [--rounds 15].

Made-up distributions come before the installed ones. Each has a plugin that must not be imported and a catalogue of
two models. Commands with and without them alternate in one run, so that a busy machine slows both; CPU time is
given beside wall time, because it does not grow with the load. The first round does not count.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BAR = 0.25
COMMAND = shutil.which("zoo", path=Path(sys.executable).parent) or "zoo"
"""That of the interpreter that runs this."""

CARD = """  p{i}_net{c}:
    plugin: p{i}
    summary: A network of a third party, with a sentence on when to take it.
    parameters: 1.5e5
    preprocess: {{size: [64, 64], channels: rgb, intensity: {{type: scale, maximum: 255}}, resize: crop, interpolation: bicubic, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}}
    train: {{epochs: 20, batch_size: 32, lr: 0.002}}
    needs: [torch]
    licence: apache-2.0
"""  # noqa: E501 - a line of a catalogue


def write_plugins(folder: Path, count: int) -> None:
    for i in range(count):
        package = folder / f"zoo_p{i}"
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "model.py").write_text("raise SystemExit('listing imported a plugin')\n")
        cards = "".join(CARD.format(i=i, c=c) for c in range(2))
        (package / "registry.yaml").write_text(f"schema: 1\nmodels:\n{cards}")
        info = folder / f"zoo_p{i}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: zoo-p{i}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            f"[zoo.plugins]\np{i} = zoo_p{i}.model:Net\n\n[zoo.catalogues]\nzoo-p{i} = zoo_p{i}\n"
        )


def once(environment: dict[str, str]) -> tuple[float, float]:
    """Wall and CPU seconds of one `zoo list`."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([COMMAND, "list"], env=environment, stdout=subprocess.DEVNULL, check=True)
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plugins", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--smallest", action="store_true", help="a run of seconds whose numbers say nothing")
    asked = parser.parse_args()
    if asked.smallest:
        asked.plugins, asked.rounds = 2, 1
    with tempfile.TemporaryDirectory() as name:
        site, home = Path(name) / "site", Path(name) / "home"
        site.mkdir()
        write_plugins(site, asked.plugins)
        path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(site))))
        plain = {**os.environ, "ZOO_HOME": str(home)}
        crowd = {**plain, "PYTHONPATH": path}
        once(crowd)
        times = [(once(plain), once(crowd)) for _ in range(asked.rounds)]
    alone, many = ([pair[side] for pair in times] for side in (0, 1))
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs; bar: {BAR} s")
    for what, runs in (("as installed", alone), (f"{asked.plugins} plugins more", many)):
        walls, cpu = zip(*runs, strict=True)
        print(
            f"{what}: wall {statistics.median(walls):.3f} s (best {min(walls):.3f}), CPU {statistics.median(cpu):.3f} s"
        )
    ratio = statistics.median(b[1] / a[1] for a, b in times)
    print(f"CPU, with / without: {ratio:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
