"""What a person asks of runs: which there are, in what state, how they differ; and that cleaning up loses nothing."""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from made_runs import DATA, make_report, make_run
from refusals import refused

import zoo
from zoo.errors import OutputError, TrainingError, UsageError
from zoo.registry import find
from zoo.runs import RunFolder, create_run, find_run, hold_run, open_run, settle
from zoo.spec import Teacher
from zoo.workflow._find import model_file
from zoo.workflow._folds_request import FOLDS_REQUEST, FoldsRequest, read_request
from zoo.workflow.remove import check_removal, remove_run
from zoo.workflow.rename import rename_run
from zoo.workflow.runs import compare_runs, show_run
from zoo_cli.main import main


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def point(target: str) -> None:
    Path("runs").mkdir(exist_ok=True)
    Path("runs/latest").unlink(missing_ok=True)
    Path("runs/latest").symlink_to(target, target_is_directory=True)


class TestList:
    def test_nothing_is_an_empty_list(self) -> None:
        assert zoo.list_runs() == []

    @pytest.mark.parametrize(
        ("status", "state"),
        [("done", "finished"), ("trained", "trained"), ("interrupted", "interrupted"), ("training", "interrupted")],
    )
    def test_each_run_says_what_it_is(self, status: str, state: str) -> None:
        make_run("runs/a", status=status)
        (row,) = zoo.list_runs()
        assert (row.id, row.path, row.state, row.moved) == ("a", "runs/a", state, ())
        assert ("macro_auroc" in row.test) is (state == "finished")

    def test_a_finished_run_without_its_file_is_not_called_finished(self) -> None:
        (make_run("runs/a") / "model.onnx").unlink()
        assert [row.state for row in zoo.list_runs()] == ["trained"]

    def test_one_that_a_process_trains_says_so(self) -> None:
        with hold_run(make_run("runs/a", status="training")):
            assert [row.state for row in zoo.list_runs()] == ["training"]

    def test_the_newest_comes_first_and_the_last_one_is_marked_wherever_it_is(self) -> None:
        make_run("runs/old")
        make_run("runs/new", started="2026-02-01T00:00:00Z")
        make_run("elsewhere/newest", started="2026-03-01T00:00:00Z")
        point("../elsewhere/newest")
        found = [(row.path, row.latest) for row in zoo.list_runs()]
        assert found == [("elsewhere/newest", True), ("runs/new", False), ("runs/old", False)]

    def test_what_has_moved_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "images").mkdir()
        make_run("runs/there", source=str(tmp_path / "images"))
        make_run("runs/gone", source=str(tmp_path / "gone"), id="another")
        assert {row.id: row.moved for row in zoo.list_runs()} == {"there": (), "gone": ("data", "folder")}

    @pytest.mark.parametrize("damage", ['{"x', "", "3", '{"schema": 1}', "\xff"])
    def test_a_damaged_run_is_one_row_and_hides_no_other(self, damage: str) -> None:
        make_run("runs/a")
        (make_run("runs/b") / "run.json").write_text(damage, encoding="latin-1")
        (make_run("runs/c") / "report.json").write_text(damage, encoding="latin-1")
        found = {row.id: row.state for row in zoo.list_runs()}
        assert found == {"a": "finished", "b": "damaged", "c": "damaged"}

    def test_places_are_runs_ids_and_folders_of_runs(self) -> None:
        make_run("runs/a")
        make_run("archive/b")
        make_run("archive/c")
        assert {row.path for row in zoo.list_runs("archive", "a")} == {"archive/b", "archive/c", "runs/a"}
        assert [row.path for row in zoo.list_runs("archive/b", "archive/b")] == ["archive/b"]
        with refused("run-unknown", UsageError, run="nowhere", known=["a"]):
            zoo.list_runs("nowhere")

    def test_a_row_holds_plain_values_for_a_document(self) -> None:
        make_run("runs/a")
        (row,) = json.loads(json.dumps(zoo.list_runs().to_dict()))
        assert row["test"]["macro_auroc"]["low"] == 0.8
        assert row["best"] == {"epoch": 1, "metric": "val_macro_auroc", "value": 0.91}
        assert row["size_bytes"] == sum(file.stat().st_size for file in Path("runs/a").iterdir())


class TestShow:
    @pytest.mark.parametrize(
        ("status", "command"),
        [("done", 'zoo export "runs/a b" --onnx'), ("trained", "--resume"), ("interrupted", "--resume")],
    )
    def test_it_says_what_can_be_done_next(self, status: str, command: str) -> None:
        make_run("runs/a b", status=status)
        assert any(command in said for said in show_run("a b").next)

    def test_data_that_moved_is_asked_for_in_the_command(self, tmp_path: Path) -> None:
        make_run("runs/a", source=str(tmp_path / "gone"))
        assert all("--data" in said for said in show_run("a").next)

    def test_all_files_are_there_with_their_sizes(self) -> None:
        make_run("runs/a")
        Path("runs/a/export").mkdir()
        Path("runs/a/export/a.onnx").write_bytes(b"123")
        files = show_run("a").files
        assert files["export/a.onnx"] == 3
        assert sum(files.values()) == show_run("a").summary.size_bytes


class TestCompare:
    def test_only_settings_that_differ_are_shown(self) -> None:
        card = find("svm")
        make_run("runs/a")
        make_run("runs/b", card=msgspec.structs.replace(card, train=msgspec.structs.replace(card.train, seed=7)))
        found = compare_runs("a", "b")
        assert found.differences == {"train.seed": (0, 7)}
        assert found.same_images
        assert [row["setting"] for row in found.tables()["settings"]] == ["train.seed"]

    def test_other_images_are_noticed(self) -> None:
        make_run("runs/a")
        make_run("runs/b", data=msgspec.structs.replace(DATA, sha256="1" * 64))
        assert not compare_runs("a", "b").same_images
        with refused("compare-too-few", UsageError, found=1):
            compare_runs("a")


class TestTheLastRun:
    """runs/latest points to a run that somebody renamed or removed."""

    @pytest.fixture(autouse=True)
    def _gone(self) -> None:
        make_run("runs/forest")
        make_run("runs/meine regression", id="b")
        point("b")

    @pytest.mark.parametrize(
        "use",
        [
            lambda: find_run(None),
            lambda: find_run("latest"),
            lambda: model_file(Path("runs/latest")),
            zoo.evaluate,
            lambda: zoo.open("runs/latest"),
            lambda: zoo.export(bundle=True),
            lambda: zoo.compare(["runs/latest", "forest"]),
            lambda: zoo.train("svm", resume=True),
            lambda: zoo.train("ensemble:latest,forest"),
            show_run,
        ],
        ids=["find", "latest", "file", "evaluate", "open", "export", "compare", "resume", "ensemble", "show"],
    )
    def test_every_verb_says_where_it_points_and_what_is_there(self, use: Any) -> None:
        known = ["forest", "meine regression"]
        with refused("run-gone", UsageError, run="runs/b", renamed="runs/meine regression", known=known):
            use()

    def test_without_any_link_the_runs_that_are_there_are_named(self) -> None:
        Path("runs/latest").unlink()
        with refused("run-none", UsageError, known=["forest", "meine regression"]):
            find_run(None)


class TestRename:
    def test_folder_id_and_last_run_have_the_new_name(self) -> None:
        make_run("runs/a")
        point("a")
        assert rename_run("a", "first try").id == "first try"
        assert not Path("runs/a").exists()
        assert find_run(None) == Path("runs/first try").resolve()
        assert open_run(find_run(None)).record.id == "first try"
        assert [(row.moved, row.latest) for row in zoo.list_runs()] == [((), True)]

    def test_an_ensemble_beside_it_knows_its_member_by_the_new_name(self) -> None:
        members = tuple(str(make_run(f"runs/{name}").resolve()) for name in "ab")
        make_run("runs/both", card=msgspec.structs.replace(find("svm"), members=members))
        (make_run("runs/damaged") / "run.json").write_text("{")
        rename_run("a", "c")
        kept = open_run(Path("runs/both")).record.card.members
        assert kept == (str(Path("runs/c").resolve()), members[1])
        assert Path("runs/damaged/run.json").read_text() == "{"

    def test_what_a_run_over_folds_holds_knows_the_new_place(self) -> None:
        """Its ensemble names the folds by their folders; another run may continue the model that it ships."""
        over = make_run("runs/over", folds=("fold-0", "fold-1")).resolve()
        members = tuple(str(make_run(f"runs/over/{name}").resolve()) for name in ("fold-0", "fold-1"))
        make_run("runs/over/ensemble", card=msgspec.structs.replace(find("svm"), members=members))
        make_run("runs/next", continues=str(over / "ensemble"))
        rename_run("over", "cv")
        moved = over.with_name("cv")
        assert open_run(moved / "ensemble").record.card.members == (str(moved / "fold-0"), str(moved / "fold-1"))
        assert open_run(Path("runs/next")).record.continues == str(moved / "ensemble")

    @pytest.mark.parametrize(
        ("said", "after"),
        [("a", "b"), ("runs/a", "runs/b"), ("runs/a/weights", "runs/b/weights"), ("x/a", "x/a")],
    )
    def test_an_unfinished_run_over_folds_finds_its_teacher_again(self, said: str, after: str) -> None:
        make_run("runs/a")
        over = make_run("runs/over", folds=("fold-0",), status="interrupted")
        budget = {"teacher": said, "settings": {"mixup": 0.2}}
        asked = FoldsRequest(model="svm", skip_bad=False, then="none", budget=budget, folds=(0,))
        (over / FOLDS_REQUEST).write_bytes(msgspec.json.encode(asked))
        rename_run("a", "b")
        assert read_request(open_run(over)).budget == {**budget, "teacher": after}

    def test_a_run_that_another_folder_knows_by_its_name_keeps_it(self) -> None:
        make_run("runs/over", folds=("fold-0",))
        make_run("runs/over/fold-0")
        make_run("runs/over/all")
        make_run("runs/pick-x/trials/first")
        Path("runs/pick-x/request.json").write_text("{}")
        for name in ("over/fold-0", "over/all", "pick-x/trials/first"):
            with refused("run-inside", UsageError, run=str(Path("runs", name).resolve())):
                rename_run(f"runs/{name}", "mine")
        assert rename_run(make_run("runs/over/copy"), "mine").id == "mine"

    @pytest.mark.parametrize(
        "name",
        ["", "x/y", "..", ".", "latest", ".hidden", "-x", "../x", " ", "x\ny", "x\0", "\udce9", "\x1b[31m"],
    )
    def test_what_is_no_name_is_refused(self, name: str) -> None:
        make_run("runs/a")
        with refused("run-name", UsageError, name=name):
            rename_run("a", name)
        assert open_run(Path("runs/a")).record.id == "a"

    def test_a_full_disk_changes_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        make_run("runs/a")
        point("a")

        def fail(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(tempfile, "mkstemp", fail)
            with refused("output-unwritable", OutputError):
                rename_run("a", "b")
        assert [(row.path, row.moved, row.latest) for row in zoo.list_runs()] == [("runs/a", (), True)]

    def test_no_file_and_no_run_is_replaced(self) -> None:
        make_run("runs/a")
        make_run("runs/b")
        Path("runs/c").write_text("mine")
        for name in ("b", "c", "a"):
            with refused("out-occupied", OutputError):
                rename_run("a", name)
        assert {row.id for row in zoo.list_runs()} == {"a", "b"}

    def test_a_run_that_is_being_trained_keeps_its_name_and_its_files(self) -> None:
        path = make_run("runs/a", status="training")
        with hold_run(path):
            with refused("run-busy", TrainingError):
                rename_run("a", "b")
            with refused("run-busy", TrainingError):
                remove_run("a")
        assert (path / "weights.safetensors").is_file()


class TestRemove:
    def test_a_run_that_it_was_to_replace_is_back_in_its_place(self) -> None:
        make_run("runs/a", status="interrupted")
        make_run("runs/.a.replaced", id="a")
        point("a")
        assert any("runs/.a.replaced" in said for said in show_run("a").next)
        assert rename_run("a", "b").state == "interrupted"
        remove_run("b")
        assert [(row.id, row.state) for row in zoo.list_runs()] == [("b", "finished")]
        assert not Path("runs/.a.replaced").exists()
        assert find_run(None) == Path("runs/b").resolve()

    def test_the_folder_goes_and_the_newest_that_is_left_is_the_last_run(self) -> None:
        make_run("runs/old")
        make_run("runs/new", started="2026-02-01T00:00:00Z")
        make_run("runs/newest", started="2026-03-01T00:00:00Z")
        point("newest")
        size = show_run("newest").summary.size_bytes
        assert remove_run("latest").size_bytes == size
        assert find_run(None) == Path("runs/new").resolve()
        remove_run("old")
        assert find_run(None) == Path("runs/new").resolve()
        remove_run("new")
        assert not Path("runs/latest").is_symlink()

    def test_what_a_link_leads_to_is_not_touched(self) -> None:
        Path("mine").mkdir()
        Path("mine/photo.png").write_text("x")
        run = make_run("runs/a")
        (run / "photos").symlink_to(Path("mine").resolve(), target_is_directory=True)
        (run / "photo.png").symlink_to(Path("mine/photo.png").resolve())
        remove_run("a")
        assert Path("mine/photo.png").read_text() == "x"
        assert not run.exists()

    def test_a_folder_that_is_not_a_run_stays(self) -> None:
        Path("photos").mkdir()
        Path("photos/a.png").write_text("x")
        with refused("run-unknown", UsageError):
            remove_run("photos")
        (make_run("runs/a") / "run.json").write_text('{"name": "of another program"}')
        with refused("run-damaged", TrainingError, run=str(Path("runs/a").resolve())):
            remove_run("runs/a")
        assert Path("photos/a.png").is_file()
        assert Path("runs/a/weights.safetensors").is_file()

    def test_a_run_that_holds_others_or_the_working_folder_stays(self, monkeypatch: pytest.MonkeyPatch) -> None:
        make_run("runs")
        make_run("runs/a")
        with refused("run-holds-more", UsageError):
            remove_run("runs")
        monkeypatch.chdir("runs/a")
        with refused("run-holds-more", UsageError):
            remove_run(".")
        assert Path("model.onnx").is_file()

    def test_a_fold_and_a_trial_go_with_the_whole_alone(self) -> None:
        """Without it `zoo runs show` offers a file that is gone, and the run over folds is finished all the same."""
        make_run("runs/over", folds=("fold-0",))
        for name in ("fold-0", "all", "ensemble", "copy"):
            make_run(f"runs/over/{name}")
        make_run("runs/pick-x/trials/first")
        Path("runs/pick-x/request.json").write_text("{}")
        for name, holder in {"over/fold-0": "over", "pick-x/trials/first": "pick-x"}.items():
            whole = str(Path("runs", holder).resolve())
            with refused("run-inside", UsageError, run=str(Path("runs", name).resolve()), holder=whole):
                remove_run(f"runs/{name}")
            assert Path("runs", name, "run.json").is_file()
        for name in ("all", "ensemble", "copy", "."):  # a run over folds ships one model; another may take its place
            remove_run(f"runs/over/{name}")
        assert not Path("runs/over").exists()

    def test_runs_that_were_made_with_it_are_named(self, capsys: pytest.CaptureFixture[str]) -> None:
        teacher = Teacher(name="svm", run="a", sha256="0" * 64, licence="mit", data="0" * 64, seen="known")
        place = str(make_run("runs/a").resolve())
        make_run("runs/both", card=msgspec.structs.replace(find("svm"), members=(place,)))
        make_run("runs/next", continues="a")
        make_run("runs/small", teacher=teacher)
        make_run("runs/alone")
        assert main(["runs", "remove", "alone", "--yes"]) == 0
        assert "warning" not in capsys.readouterr().err
        assert main(["runs", "remove", "a", "small", "--json"]) == 2
        assert Path("runs/a").is_dir()
        said = capsys.readouterr().err
        for line in ("runs/both is an ensemble of runs/a", "runs/next continues runs/a"):
            assert line in said
        assert "has learnt" not in said, "it goes, too"
        assert main(["runs", "remove", "a", "--yes"]) == 0
        assert "runs/small has learnt from runs/a" in capsys.readouterr().err

    def test_of_several_none_goes_when_one_is_refused(self) -> None:
        make_run("runs/a")
        with refused("run-unknown", UsageError, run="b"):
            check_removal("a", "b")
        assert [run.id for run in check_removal("a", "runs/a")] == ["a"]

    def test_a_removal_that_was_stopped_can_be_repeated(self, monkeypatch: pytest.MonkeyPatch) -> None:
        (make_run("runs/a") / "export").mkdir()
        with monkeypatch.context() as patch:

            def fail(path: Path) -> None:
                raise OSError(5, "Input/output error", str(path))

            patch.setattr(shutil, "rmtree", fail)
            with refused("output-unwritable", OutputError):
                remove_run("a")
        assert [row.id for row in zoo.list_runs()] == ["a"]
        remove_run("a")
        assert zoo.list_runs() == []


def test_a_report_of_an_earlier_training_is_not_shown_as_this_ones() -> None:
    run = make_run("runs/a", report=make_report(n=9))
    opened = open_run(run)
    opened.update(status="interrupted")
    assert zoo.list_runs()[0].test == {}


@pytest.mark.parametrize("started", ["", "yesterday", "2026-13-45", "2026-01-01T00:00:00"])
def test_a_time_that_is_none_makes_one_damaged_row_and_not_a_broken_list(started: str) -> None:
    make_run("runs/a")
    record = make_run("runs/b") / "run.json"
    record.write_text(record.read_text().replace("2026-01-01T00:00:00Z", started))
    assert {row.id: row.state for row in zoo.list_runs()} == {"a": "finished", "b": "damaged"}
    with refused("document-malformed", TrainingError):
        show_run("b")


def test_images_in_a_place_that_no_system_takes_have_moved() -> None:
    """One such row must not hide the others."""
    make_run("runs/a", source=f"/{'x' * 300}")
    make_run("runs/b")
    assert {row.id: row.moved for row in zoo.list_runs()} == {"a": ("data",), "b": ()}


def test_the_root_of_the_disk_is_refused_as_a_run() -> None:
    with refused("run-unknown", UsageError, run="/"):
        remove_run("/")


def test_a_run_is_not_renamed_over_one_that_waits_for_its_replacement() -> None:
    make_run("runs/a", status="interrupted")
    make_run("runs/.a.replaced", id="a")
    make_run("runs/.b.replaced", id="b")
    with refused("out-occupied", OutputError):
        rename_run("a", "b")
    assert {path.name for path in Path("runs").iterdir()} == {"a", ".a.replaced", ".b.replaced"}


class TestReplace:
    """Files that bear the name under which a replaced run waits, and are none, are somebody's."""

    def begin(self, *, overwrite: bool) -> RunFolder:
        record = open_run(make_run("other")).record
        shutil.rmtree("other")
        return create_run(Path("runs/a"), record, overwrite=overwrite)

    @pytest.mark.parametrize("kept", [True, False])
    @pytest.mark.parametrize("folder", [True, False])
    def test_they_stay_where_they_are(self, *, kept: bool, folder: bool) -> None:
        place = Path("runs/.a.replaced")
        place.parent.mkdir()
        mine = place / "mine.txt" if folder else place
        mine.parent.mkdir(exist_ok=True)
        mine.write_text("mine")
        settle(self.begin(overwrite=False), kept=kept)
        assert Path("runs/a").is_dir() is kept
        assert mine.read_text() == "mine"

    def test_a_run_that_waits_does_not_come_back_onto_a_file(self) -> None:
        make_run("runs/.a.replaced", id="a")
        Path("runs/a").write_text("mine")
        with refused("run-unknown", TrainingError):
            zoo.train("svm", out="runs/a", resume=True)
        assert Path("runs/a").read_text() == "mine"

    def test_a_run_is_not_moved_onto_them(self) -> None:
        make_run("runs/a")
        Path("runs/.a.replaced").write_text("mine")
        with refused("run-occupied", TrainingError, holds="other"):
            self.begin(overwrite=True)
        assert [row.state for row in zoo.list_runs()] == ["finished"]
        assert Path("runs/.a.replaced").read_text() == "mine"
