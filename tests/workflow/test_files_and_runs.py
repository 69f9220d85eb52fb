"""Whole files or none, and finding runs again."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from refusals import refused
from stopping import full_disk, stopping_at

import zoo
from zoo._support.files import atomic_path, atomic_write, sha256_bytes, sha256_file
from zoo.errors import OutputError, TrainingError, UsageError, WeightsError
from zoo.runs import (
    RunRecord,
    check_learnt,
    create_run,
    find_run,
    hash_learnt,
    new_id,
    open_run,
    replaced_run,
    settle,
)
from zoo.spec import Fingerprint, PluginOrigin


def record(name: str = "svm-1", **changes: Any) -> RunRecord:
    fields: dict[str, Any] = {
        "id": name,
        "status": "training",
        "started": "2026-01-01T00:00:00Z",
        "card": zoo.info("svm"),
        "labels": ("a", "b"),
        "kind": "uint8",
        "source": "digits",
        "data": Fingerprint(name="digits", sha256="0" * 64, n=0, splits={}),
        "plugin": PluginOrigin(name="svm", distribution="edgezoo", version="0"),
        "versions": {},
    }
    return RunRecord(**(fields | changes))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class TestFiles:
    @pytest.mark.parametrize("problem", [KeyboardInterrupt, ValueError])
    def test_an_interrupted_write_leaves_the_old_file(self, problem: type[BaseException]) -> None:
        target = Path("a.txt")
        target.write_text("old")
        with pytest.raises(problem), atomic_path(target) as temporary:  # noqa: PT012
            temporary.write_text("half")
            raise problem
        assert target.read_text() == "old"
        assert list(Path().iterdir()) == [target]

    def test_a_full_disk_is_one_line(self) -> None:
        with refused("output-unwritable", OutputError, path="a"), atomic_path(Path("a")):
            raise OSError(28, os.strerror(28))
        assert not list(Path().iterdir())

    def test_a_folder_in_the_way_is_one_line(self) -> None:
        Path("a").mkdir()
        with refused("output-unwritable", OutputError, path="a"):
            atomic_write(Path("a"), b"x")
        assert [path.name for path in Path().iterdir()] == ["a"]

    def test_a_file_where_a_folder_should_be_is_one_line(self) -> None:
        Path("a").write_text("x")
        with refused("output-unwritable", OutputError, path="a/b"):
            atomic_write(Path("a/b"), b"x")

    def test_written_files_have_the_usual_rights(self) -> None:
        """A report on a shared disk must be readable by colleagues, as other files are."""
        before = os.umask(0o022)
        try:
            atomic_write(Path("deep/er/a"), "ä")
        finally:
            os.umask(before)
        assert stat.S_IMODE(Path("deep/er/a").stat().st_mode) == 0o644
        assert Path("deep/er/a").read_bytes() == "ä".encode()

    def test_hashes_agree(self) -> None:
        Path("a").write_bytes(b"abc")
        assert sha256_file(Path("a")) == sha256_bytes(b"abc")
        assert sha256_bytes(b"abc").startswith("ba7816bf")


class TestRuns:
    def test_two_runs_of_one_second_get_two_directories(self) -> None:
        first, second = create_run(None, record()), create_run(None, record())
        assert first.path != second.path
        assert second.record.id == second.path.name
        assert find_run(None) == second.path.resolve()

    def test_a_run_elsewhere_is_latest_too(self, tmp_path: Path) -> None:
        run = create_run(tmp_path / "else/where", record())
        assert find_run(None) == run.path.resolve()
        assert not [p for p in Path("runs").iterdir() if p.name != "latest"]

    def test_a_run_is_found_by_path_and_by_id(self) -> None:
        run = create_run(None, record())
        assert find_run(run.path) == find_run(run.record.id) == find_run("latest") == run.path.resolve()

    def test_no_run_is_said_with_what_to_do(self) -> None:
        with refused("run-none", UsageError) as caught:
            find_run(None)
        assert "zoo train" in str(caught.value)
        with refused("run-unknown", UsageError, run="x"):
            find_run("x")

    def test_a_record_survives_the_disk(self) -> None:
        run = create_run(None, record(labels=("ä", "b c")))
        run.update(status="done", epochs_done=3)
        assert open_run(run.path).record == run.record

    @pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema": 1, "unknown": 2}', "\xff"])
    def test_a_damaged_record_is_one_line(self, text: str) -> None:
        Path("run.json").write_text(text, encoding="latin-1")
        with pytest.raises(TrainingError, match=r"run\.json") as refused:
            open_run(Path())
        assert "\n" not in str(refused.value)

    def test_a_run_is_replaced_only_when_asked(self) -> None:
        run = create_run(Path("r"), record())
        run.file("weights.safetensors").write_text("x")
        with pytest.raises(TrainingError, match="--overwrite"):
            create_run(Path("r"), record())
        assert run.file("weights.safetensors").exists()
        create_run(Path("r"), record(), overwrite=True)
        assert [path.name for path in Path("r").iterdir()] == ["run.json"]

    def test_a_killed_replacement_does_not_cost_the_finished_run(self) -> None:
        """A second --overwrite once removed the run that the first had moved aside."""
        create_run(Path("r"), record(status="done")).file("weights.safetensors").write_text("x")
        create_run(Path("r"), record(), overwrite=True)  # and killed here
        settle(create_run(Path("r"), record(), overwrite=True), kept=False)
        assert open_run(Path("r")).record.status == "done"
        assert Path("r/weights.safetensors").read_text() == "x"

    def test_an_old_run_waits_until_the_new_one_is_done(self) -> None:
        create_run(Path("r"), record(status="done")).file("weights.safetensors").write_text("x")
        for _ in range(3):  # each is killed
            create_run(Path("r"), record(), overwrite=True)
            assert replaced_run(Path("r")) == Path(".r.replaced")
        assert (Path(".r.replaced") / "weights.safetensors").read_text() == "x"
        run = open_run(Path("r"))
        run.file("state.safetensors").write_text("x")
        run.file(".report.json.x.part").write_text("x")
        run.update(status="done")
        assert replaced_run(Path("r")) is None  # killed here: what lies there is a leftover
        settle(run, kept=True)
        assert sorted(path.name for path in Path().iterdir()) == ["r", "runs"]
        assert [path.name for path in run.path.iterdir()] == ["run.json"]

    @pytest.mark.parametrize("left", [None, "", ".run.json.abc.part"])
    def test_a_run_that_was_moved_aside_and_not_replaced_comes_back(self, left: str | None) -> None:
        create_run(Path("my r"), record(status="done"))
        Path("my r").rename(".my r.replaced")
        if left is not None:
            Path("my r").mkdir()
        if left:
            Path("my r", left).write_text("x")
        with refused("run-aside", UsageError, replaced=".my r.replaced"):
            find_run("my r")
        with refused("run-occupied", TrainingError, holds="run"):
            create_run(Path("my r"), record())
        assert find_run("my r") == Path("my r").resolve()
        assert not Path(".my r.replaced").exists()

    def test_files_of_somebody_else_are_not_removed_for_a_run_that_waits(self) -> None:
        create_run(Path("r"), record(status="done"))
        Path("r").rename(".r.replaced")
        Path("r").mkdir()
        Path("r/mine").write_text("x")
        with refused("run-occupied", TrainingError, holds="other"):
            create_run(Path("r"), record(), overwrite=True)
        assert Path("r/mine").read_text() == "x"
        assert Path(".r.replaced/run.json").is_file()

    def test_a_run_json_that_cannot_be_written_leaves_the_old_run_in_its_place(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        create_run(Path("r"), record(status="done"))
        with stopping_at(monkeypatch, 1, full_disk()), refused("output-unwritable", OutputError):
            create_run(Path("r"), record(), overwrite=True)
        assert open_run(Path("r")).record.status == "done"
        assert replaced_run(Path("r")) is None

    def test_a_file_that_holds_what_was_learnt_is_held_against_its_hash(self) -> None:
        run = create_run(Path("r"), record())
        run.write("core.onnx", b"abc")
        run.update(learnt=hash_learnt(run))
        check_learnt(run)
        run.write("core.onnx", b"abd")
        with refused("weights-hash", WeightsError, path="r/core.onnx"):
            check_learnt(run)
        run.file("core.onnx").unlink()
        with refused("weights-hash", WeightsError, path="r/core.onnx", found=None):
            check_learnt(run)

    def test_the_run_behind_a_link_is_replaced_and_not_the_link(self) -> None:
        create_run(Path("runs/a"), record(status="done"))
        settle(create_run(Path("runs/latest"), record(), overwrite=True), kept=True)
        assert Path("runs/latest").is_symlink()
        assert open_run(Path("runs/a")).record.status == "training"
        assert sorted(path.name for path in Path("runs").iterdir()) == ["a", "latest"]

    @pytest.mark.parametrize("changes", [{"schema": 2}, {"epochs_done": -5}])
    def test_a_record_that_cannot_be_is_refused(self, changes: dict[str, int]) -> None:
        run = create_run(Path("r"), record())
        document = json.loads(run.file("run.json").read_text())
        run.file("run.json").write_text(json.dumps(document | changes))
        with pytest.raises(TrainingError):
            open_run(Path("r"))

    def test_a_file_in_the_way_is_one_line(self) -> None:
        Path("r").write_text("x")
        with refused("out-name", UsageError):
            create_run(Path("r"), record())

    def test_a_real_folder_called_latest_is_left_alone(self) -> None:
        """And no half-made link lies about."""
        Path("runs/latest").mkdir(parents=True)
        Path("runs/latest/mine").write_text("x")
        create_run(None, record())
        assert Path("runs/latest/mine").read_text() == "x"
        assert sorted(path.name for path in Path("runs").iterdir()) == ["latest", "svm-1"]

    def test_ids_are_names_of_directories(self) -> None:
        assert "/" not in new_id("timm/resnet18.a1_in1k")
