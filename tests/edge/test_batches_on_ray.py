"""A batch on Ray has the rows of one without, whoever is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from batches import painted, read_rows, rows_of, s3_bucket, table_of

import zoo
from zoo.edge.bundle import open_model
from zoo.workflow._batch.engines import Answerer, Outcome
from zoo.workflow._batch.listing import Part
from zoo.workflow._batch.part import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc"),
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Ray warns of its own settings
]

ROOT = Path(__file__).resolve().parents[2]

_DYING = """
import os, sys
if any("default_worker.py" in one for one in sys.orig_argv):
    from zoo.edge import Runtime
    real = Runtime.answers
    def answers(self, items, **how):
        def passed():
            for name, source in items:
                if name.endswith("fatal.png"):
                    os.kill(os.getpid(), 9)
                yield name, source
        return real(self, passed(), **how)
    Runtime.answers = answers
"""


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A bucket, and Ray on this machine whose workers find it, and die over an image called fatal.png."""
    pytest.importorskip("ray", reason="--engine ray needs ray")
    from zoo.workflow._ray import connect

    folder = tmp_path_factory.mktemp("dying")
    (folder / "sitecustomize.py").write_text(_DYING)
    with s3_bucket() as system, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH")))))
        with connect():
            yield system


def actors() -> list[int]:
    """Processes of this batch that answer."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and b"MapBatches(Answerer)" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def test_an_actor_that_is_killed_costs_no_row(model_file: Path, tmp_path: Path, bucket: Any) -> None:
    images, place = painted(tmp_path / "images", 200), "s3://bucket/out"
    bucket.put(str(images), "bucket/images", recursive=True)
    killed: list[int] = []

    def kill() -> None:
        until = time.monotonic() + 300
        while time.monotonic() < until and len(bucket.glob("bucket/out/part-*")) < 5:
            time.sleep(0.1)
        for pid in actors():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    thread = threading.Thread(target=kill)
    thread.start()
    done = zoo.predict_batch(model_file, "s3://bucket/images", place, engine="ray", format="csv", part_size=4)
    thread.join()
    assert killed
    assert (done.images, done.done, done.failures) == (201, 51, ())
    _, *rows = read_rows(lambda name: bucket.cat(f"{place}/{name}"))
    _, *expected = table_of(model_file, images, tmp_path / "whole.csv")
    assert len({row[0] for row in rows}) == 201
    assert sorted(row[1:] for row in rows) == sorted(row[1:] for row in expected)


@pytest.mark.usefixtures("bucket")
def test_an_image_over_which_every_process_dies_costs_its_part_alone(model_file: Path, tmp_path: Path) -> None:
    images = painted(tmp_path / "images", 20)
    (images / "1" / "fatal.png").write_bytes((images / "1" / "1.png").read_bytes())
    done = zoo.predict_batch(model_file, images, tmp_path / "out", engine="ray", format="csv", part_size=4)
    assert [failure.code for failure in done.failures] == ["part-lost"]
    assert (done.done, done.parts) == (5, 6)
    assert zoo.predict_batch(model_file, images, tmp_path / "out", format="csv", resume=True).finished
    assert rows_of(tmp_path / "out") == table_of(model_file, images, tmp_path / "whole.csv")


def test_a_worker_of_another_version_is_refused(model_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="--engine ray needs ray")
    import msgspec

    worker = Answerer(Job(place=str(tmp_path), form="csv"), open_model(model_file), "9.9")
    part = msgspec.json.encode(Part(0, 0, 0, 0, 0, ""))
    outcome = msgspec.json.decode(worker({"part": [part]})["outcome"][0], type=Outcome)
    assert outcome.error is not None
    assert (outcome.error["code"], outcome.error["type"], outcome.final) == ("engine-version", "UsageError", True)
    assert (outcome.error["found"], outcome.error["expected"]) == (zoo.__version__, "9.9")


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["driver", "node"])
def test_a_killed_driver_or_node_costs_no_row(model_file: Path, tmp_path: Path, victim: str) -> None:
    pytest.importorskip("ray", reason="--engine ray needs ray")
    images, place = painted(tmp_path / "images", 200), tmp_path / "out"
    verb = [sys.executable, "-m", "zoo_cli", "predict", str(model_file), str(images), "--out", str(place)]
    verb += ["--format", "csv", "--part-size", "2", "--resume"]
    child = subprocess.Popen([*verb, "--engine", "ray"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while child.poll() is None and len(list(place.glob("part-*"))) < 5:
        time.sleep(0.01)
    for pid in [child.pid] if victim == "driver" else raylets(child.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    child.communicate(timeout=300)
    assert child.returncode
    assert not (place / "manifest.json").exists()
    while actors():  # Ray's processes follow their driver or their node
        time.sleep(0.1)
    subprocess.run([*verb, "--engine", "ray"], cwd=ROOT, check=False, timeout=600)
    assert rows_of(place) == table_of(model_file, images, tmp_path / "whole.csv")


def raylets(driver: int) -> list[int]:
    """Ray's process that is the node, of those that a driver started."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == driver and b"raylet" in (entry / "cmdline").read_bytes().split(b"\0")[0]:
                found.append(int(entry.name))
    return found
