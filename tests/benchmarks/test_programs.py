"""Every program of benchmarks/ runs: a program that nobody starts for months crashes on the day it is needed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pictures import class_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the programs read /proc"),
]

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {
    path.relative_to(ROOT / "benchmarks").with_suffix("").as_posix()
    for path in (ROOT / "benchmarks").rglob("*.py")
    if "__main__" in path.read_text(encoding="utf-8")
}
TABLES = {
    "recipes/ablation": (r"^\| base \| 2 \| [\d.]+ ± ", r"^\| SAM \.05 \| 2 \| .* \| [+-][\d.]+ ± "),
    "recipes/time_to_auroc": (r"^\| ours \| 0 \| \d+ \| [\d.]+ \| 2 \| ", r"^\| timm \| 0 \| \d+ "),
    "audit": (r"^JPEG, quality 75 +4 of 4 ", r"^\S+set: 80 images, "),
    "batch": (
        r"^\| ray \| 2 \| [\d.]+ \| [\d.]+ \|$",
        r"^two workers / two threads: [\d.]+, bar 0.85$",
        r"^\| 40 \| [\d.]+ \| \d+ MB \| \d+ MB \|$",
    ),
    "batch_kills": (r"^1 kills \(.*\) in \d+ batches: 0 rows lost, 0 doubled, 0 differ$",),
    "cards": (r"^\| simple_cnn \| [\d.]+ M \| .* ms \| ",),
    "companion": (r"^1 threads, with / without: wall ", r"^\d threads, without companions: "),
    "coverage": (r"^\| AUROC 0.95 \| 60 patients \| [\d.]+% \| ", r"^\| 0.98 \| 30 \+ 30 \| [\d.]+% \| "),
    "data": (r"^60 PNGs, index, reading it +\S+ files/s", r"^tar shards / files, decode +\S+ x"),
    "distillation": (r"^\| 1 \| 16 \| .* to .*\) \|$", r"^macro_auroc: alone .* over 2 seeds, p "),
    "edge": (r"^predict, steady / ", r"^edge imports +\S+ s", r"^zoo list, heavy imports +none", r"^streaming into a "),
    "file_formats": (
        r"^\| openvino \| openvino [\d.]+ \| raw \| 32 \| \S+ \| \S+ \| 0 \| .* MB \| .* ms \| [\d.]+ \|$",
    ),
    "finishing": (r"^simple_cnn, 16 px, ", r"^prove +[\d.]+ / [\d.]+$", r"^in all +[\d.]+ / [\d.]+$"),
    "formats": (r"^\| simple_cnn, 8, 2 \| \d+ ms \| .* \| [\d.]+ \|$",),
    "gallery": (r"^\S*gallery\.md$", r"^\S*tiles\.svg$"),
    "judging": (
        r"^\| cnn \| 0\.9 \| [\d.]+ \(",
        r"^\| cnn \| \d+ flowers \| [\d.]+ \(",
        r"^\| cnn \| noise \| [\d.]+ \(",
        r"^\| cnn \| (none|brightness|\w+) \|",
    ),
    "kill_runs": (r"^training, 2 epochs +1 +1 ", r"^--overwrite of a run that is done +1 +1 "),
    "listing": (r"^2 plugins more: wall ", r"^CPU, with / without: "),
    "memory": (r"^ +120  stream .* MB ", r"^stream: [\d.]+ GB at most, bar 2.00 met$"),
    "novelty": (
        r"^\| ours \| [\d.]+ \| .* \|$",
        r"^\| energy \| [\d.]+ ",
        r"^\| cnn \| \d+ \| [\d.]+ \| [\d.]+ \|$",
        r"^\| cnn \| [\d.]+ MB \| [\d.]+ MB \| [\d.]+ ms, [\d.]+ \|$",
    ),
    "quantization_guard": (r"^\| simple_cnn \| ", r"^int8 was taken of [01] of 1; "),
    "quantization": (
        r"^\| U8S8 \| .* MB, .* \| [\d.]+ \([\d.]+ to [\d.]+\) \| [\d.]+ of [\d.]+ \| [\d.]+ \([\d.]+ to [\d.]+\) \| ",
        r"^\| fp16 \| .* MB, ",
    ),
    "ranks": (r"^\| 1 \| [\d.]+ \| [\d.]+ \| [\d.]+ \|$", r"^2 processes of one thread / one of 2: [\d.]+ \("),
    "reader_trials": (r"^damaged copies: 10 in ", r"^the process lived$"),
    "reports": (r"^\| 2 \| [\d.]+ \| [\d.]+ \|$", r"^\| 10 \| "),
    "runtimes": (r"^\| [\d.]+ \| 0.0e\+00, 1 of 1 files \| .* \| .* \| .* \|$",),
    "same_bytes": (r"^1 different of 2 runs of knn$",),
    "scale": (
        r"^\| 64 \| 16 cores \| a table of paths \| ",
        r"^\| 8 \| 96 cores, 8 A100 \| [\d.]+ ",
        r"^\| report with its bootstrap, processor time \| ",
    ),
    "serve": (r"^served / bare: ", r"^20 idle connections: a request among them 200 "),
    "training": (r"^ours +\S+$", r"^ours / synthetic +[\d.]+ ", r"^streamed / ours +[\d.]+ "),
    "waiting": (
        r"^\| simple_cnn, 8, 2 \| nothing, load .* \|$",
        r"^\| simple_cnn, 8, 2 \| simple_cnn, 8, 2, load .* \|$",
    ),
    "watching": (
        r"^\| all of them answered, each later one \| 50 \| [\d.]+ \| \d+ MB \|$",
        r"^an image answered: [\d.]+ ms, ",
    ),
}
"""What each program prints, by its lines."""


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return class_folder(tmp_path_factory.mktemp("benchmarks") / "set")


@pytest.fixture(scope="session")
def run(images: Path) -> Path:
    """A trained run of the smallest network."""
    import zoo

    return Path(zoo.train("simple_cnn", images, size=16, epochs=1, out=images.parent / "cnn").run)


@pytest.fixture(scope="session")
def other(images: Path) -> Path:
    """A trained run of another family."""
    import zoo

    return Path(zoo.train("random_forest", images, size=8, out=images.parent / "forest").run)


def printed(program: str, *arguments: str | Path, place: Path) -> str:
    """What the program prints; it ends well."""
    command = [sys.executable, str(ROOT / "benchmarks" / f"{program}.py"), *map(str, arguments)]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    _assert_lines(done.stdout, TABLES[program])
    return done.stdout


def _assert_lines(text: str, patterns: Sequence[str]) -> None:
    missing = [pattern for pattern in patterns if not re.search(pattern, text, re.MULTILINE)]
    assert not missing, text


def test_every_program_is_started_here() -> None:
    assert set(TABLES) == PROGRAMS


def test_kill_runs(tmp_path: Path) -> None:
    printed("kill_runs", "--smallest", place=tmp_path)


def test_audit(images: Path, tmp_path: Path) -> None:
    printed("audit", images, images, "--buckets", images, "--smallest", place=tmp_path)


def test_novelty(run: Path, images: Path, tmp_path: Path) -> None:
    printed("novelty", run, "--unlike", f"flowers={images / 'test' / 'flower'}", "--smallest", place=tmp_path)


def test_judging(run: Path, images: Path, tmp_path: Path) -> None:
    printed("judging", run, "--unlike", f"flowers={images / 'test' / 'flower'}", "--smallest", place=tmp_path)


def test_cards(images: Path, tmp_path: Path) -> None:
    catalogue = Path(shutil.copy(ROOT / "registry.yaml", tmp_path))
    printed(
        "cards", "--smallest", "--pictures", images, "--work", tmp_path / "work", "--catalogue", catalogue,
        place=tmp_path,
    )  # fmt: skip
    assert (tmp_path / "work" / "cards.csv").is_file()


def test_ablation(images: Path, tmp_path: Path) -> None:
    """A second start trains nothing again, and another label of a test image changes no number."""
    other = shutil.copytree(images, tmp_path / "other")
    names = sorted(path.name for path in (other / "test").iterdir())
    for name, new in zip(names, [*names[1:], names[0]], strict=True):
        (other / "test" / name).rename(other / f"moved-{new}")
    for name in names:
        (other / f"moved-{name}").rename(other / "test" / name)
    out = tmp_path / "lines.jsonl"
    asked = (out, f"tiles={images}", f"other={other}", "--model", "simple_cnn", "--smallest")
    first = printed("recipes/ablation", *asked, place=tmp_path)
    rows = [line for line in first.splitlines() if line.startswith(("| base |", "| SAM .05 |"))]
    told = [row.rpartition("|")[0].rpartition("|")[0] for row in rows]  # the last column is of seconds
    assert len(told) == 4
    assert told[:2] == told[2:]
    lines = out.read_text(encoding="utf-8")
    out.write_text(lines + lines[:40], encoding="utf-8")  # as a stop in the middle of a line leaves it
    again = printed("recipes/ablation", *asked, place=tmp_path)
    assert out.read_text(encoding="utf-8") == lines
    assert [line for line in again.splitlines() if line in rows] == rows


def test_time_to_auroc(images: Path, tmp_path: Path) -> None:
    printed("recipes/time_to_auroc", images, "--smallest", place=tmp_path)


def test_coverage(tmp_path: Path) -> None:
    printed("coverage", "--smallest", place=tmp_path)


def test_companion(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    printed("companion", "--smallest", place=tmp_path)


def test_reader_trials(tmp_path: Path) -> None:
    printed("reader_trials", "--smallest", place=tmp_path)


def test_data(images: Path, tmp_path: Path) -> None:
    printed("data", images, "--smallest", "--scratch", tmp_path, place=tmp_path)


def test_distillation(images: Path, other: Path, tmp_path: Path) -> None:
    printed("distillation", images, "--teacher", other, "--smallest", place=tmp_path)


def test_edge(run: Path, images: Path, tmp_path: Path) -> None:
    model = run / "model.onnx"
    flat = shutil.copytree(images / "test" / "china", tmp_path / "images")
    printed("edge", model, flat, "--stream", model, flat, "--smallest", place=tmp_path)


@pytest.mark.ray
def test_batch(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="--engine ray needs ray")
    printed("batch", run / "model.onnx", "--smallest", "--place", tmp_path, place=tmp_path)
    printed("batch_kills", run / "model.onnx", "--smallest", place=tmp_path)


def test_watching(run: Path, tmp_path: Path) -> None:
    printed("watching", run / "model.onnx", "--smallest", "--place", tmp_path, place=tmp_path)


def test_memory(tmp_path: Path) -> None:
    printed("memory", "--smallest", place=tmp_path)


def test_finishing(images: Path, tmp_path: Path) -> None:
    printed("finishing", images, "--smallest", place=tmp_path)


def test_waiting(tmp_path: Path) -> None:
    printed("waiting", "--smallest", place=tmp_path)


def test_ranks(tmp_path: Path) -> None:
    printed("ranks", "--smallest", place=tmp_path)


def test_formats(tmp_path: Path) -> None:
    printed("formats", "--smallest", place=tmp_path)


def test_gallery(run: Path, other: Path, tmp_path: Path) -> None:
    printed("gallery", "--docs", tmp_path / "docs", "measure", "tiles", run, other, place=tmp_path)
    page = (tmp_path / "docs" / "gallery.md").read_text(encoding="utf-8")
    assert "## Measured on tiles" in page
    assert "simple_cnn" in page


def test_listing(tmp_path: Path) -> None:
    printed("listing", "--smallest", place=tmp_path)


def test_file_formats(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino", exc_type=ImportError)
    printed("file_formats", run, "openvino", "--smallest", place=tmp_path)


def test_quantization(run: Path, tmp_path: Path) -> None:
    printed("quantization", run, "--smallest", place=tmp_path)


def test_quantization_guard(run: Path, tmp_path: Path) -> None:
    printed("quantization_guard", run, "--smallest", place=tmp_path)


def test_reports(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="the extra 'dicom-sr' is not installed")
    printed("reports", run / "model.onnx", "--smallest", place=tmp_path)


def test_runtimes(images: Path, tmp_path: Path) -> None:
    printed("runtimes", "--smallest", "--pictures", images, "--work", tmp_path / "work", place=tmp_path)


def test_same_bytes(images: Path, tmp_path: Path) -> None:
    printed("same_bytes", "knn", "--data", images, "--epochs", "0", "--runs", "2", "--jobs", "2", place=tmp_path)


@pytest.mark.ray
def test_scale(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra 'scale' is not installed")
    printed("scale", "--smallest", "--rates", tmp_path / "rates.json", place=tmp_path)


def test_serve(run: Path, images: Path, tmp_path: Path) -> None:
    pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")
    printed("serve", run / "model.onnx", images / "test", "--smallest", place=tmp_path)


def test_training(images: Path, tmp_path: Path) -> None:
    printed("training", images, "--smallest", place=tmp_path)
