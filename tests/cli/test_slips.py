"""A slip is answered with the command that was meant: as exit status 2 and one line, and with --json as `commands`."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from cli_running import run_zoo

from zoo_cli._elsewhere import FLAGS, NEEDLESS, OPTIONS, WORDS, meant_by
from zoo_cli.main import VERBS


@pytest.fixture
def there(elsewhere: Path) -> Path:
    """A folder with data, an image, a text, a run that was not trained, a bundle that is none inside, and an export."""
    (elsewhere / "my images" / "cat").mkdir(parents=True)
    (elsewhere / "pictures").mkdir()
    (elsewhere / "scan.png").write_bytes(b"\x89PNG")
    (elsewhere / "table.csv").write_text("image,label\n")
    (elsewhere / "runs" / "a").mkdir(parents=True)
    (elsewhere / "runs" / "a" / "run.json").write_text("{}")
    (elsewhere / "net.zoo").mkdir()
    (elsewhere / "net.zoo" / "manifest.json").write_text("{}")
    (elsewhere / "net.openvino").mkdir()
    (elsewhere / "net.openvino" / "model.json").write_text("{}")
    return elsewhere


def commands(typed: str, status: int = 2) -> list[str]:
    """What a refusal says to type instead."""
    ran = run_zoo(*shlex.split(typed), "--json")
    assert ran.code == status, ran.err
    assert ran.err.count("\n") == 1, ran.err
    found: list[str] = ran.document["error"].get("commands", [])
    assert all(command in ran.err for command in found)
    return [command.removesuffix(" --json") for command in found]


SLIPS = {
    # a word too many
    "train simple_cnn pictures": ["zoo train simple_cnn --json --data pictures"],
    "train simple_cnn 'my images'": ["zoo train simple_cnn --json --data 'my images'"],
    "train simple_cnn gone/table.csv": ["zoo train simple_cnn --json --data gone/table.csv"],
    "train simple_cnn digits": ["zoo train simple_cnn --json --data digits"],
    "train simple_cnn svm": ["zoo compare simple_cnn svm"],
    "evaluate runs/a pictures": ["zoo evaluate runs/a --json --data pictures"],
    "evaluate runs/a net.zoo": ["zoo compare runs/a net.zoo"],
    "export runs/a onnx": ["zoo export runs/a --onnx"],
    "doctor now": ["zoo doctor"],
    "distill": ["zoo train MODEL --teacher RUN"],
    # a model that is none, or in the wrong place
    "predict scan.png": ["zoo predict MODEL scan.png"],
    "predict not-here.jpg": ["zoo predict MODEL not-here.jpg"],
    "predict pictures": ["zoo predict MODEL pictures"],
    "predict net.openvino": ["zoo verify net.openvino"],
    # options
    "train model=svm data=pictures epochs=3": ["zoo train svm --json --data pictures --epochs 3"],
    "train svm --n-splits 5": ["zoo train svm --folds 5"],
    "evaluate --csv t.csv": ["zoo predict MODEL IMAGE… --csv t.csv"],
    "--data pictures train simple_cnn": ["zoo train simple_cnn --json --data pictures"],
    "train simple_cnn --imgsz 64": ["zoo train simple_cnn --size 64"],
    "train simple_cnn --img-size=64": ["zoo train simple_cnn --size 64"],
    "train simple_cnn --learning-rate 0.1": ["zoo train simple_cnn --lr 0.1"],
    "train simple_cnn --weight-decay 0.1": ["zoo train simple_cnn --set weight_decay=0.1"],
    "train simple_cnn --wd 0.1": ["zoo train simple_cnn --set weight_decay=0.1"],
    "train simple_cnn -e 3": ["zoo train simple_cnn --epochs 3"],
    "train simple_cnn --ephocs 3": ["zoo train simple_cnn --epochs 3"],
    "train --model simple_cnn": ["zoo train simple_cnn"],
    "export runs/a --format onnx": ["zoo export runs/a --onnx"],
    "predict runs/a --source 'my images'": ["zoo predict runs/a 'my images'"],
    "train svm -data pictures": ["zoo train svm --data pictures"],
    "train svm --gpu": ["zoo train svm --device cuda"],
    "train svm --gpus 1": ["zoo train svm --device cuda"],
    "train svm --val-split 0.2": ["zoo data split PATH --val 0.2"],
    "train svm --num-classes 3": [],
    "train svm --criterion focal": ["zoo train svm --loss focal"],
    "train svm --ordinal": ["zoo train svm --task ordinal"],
    "train svm --set class_weight": ["zoo train svm --set class_weight=balanced"],
    "predict runs/a scan.png -o t.csv": ["zoo predict runs/a scan.png --csv t.csv"],
    "explain runs/a scan.png --output maps": ["zoo explain runs/a scan.png --out maps"],
    "predict table.csv": ["zoo evaluate MODEL --data table.csv"],
    "export scan.png --onnx": ["zoo predict MODEL scan.png"],
    "train svm \u2014epochs 3": ["zoo train svm --epochs 3"],
    "train svm --resume runs/a": ["zoo train svm --resume --out runs/a"],
    "export runs/a net.onnx": ["zoo export runs/a --out net.onnx"],
    # verbs
    "Train svm": ["zoo train svm"],
    "trian svm": ["zoo train svm"],
    "split pictures": ["zoo data split pictures"],
    "data train svm": ["zoo train svm"],
    "runs pictures": ["zoo runs list pictures"],
    "data pictures": ["zoo data info pictures", "zoo data check pictures"],
    "fit": ["zoo train MODEL --data FOLDER"],
    "fit svm --data pictures": ["zoo train svm --data pictures"],
    "fit pictures": ["zoo train MODEL --data FOLDER"],
    "eval runs/a": ["zoo evaluate runs/a"],
    "quantize runs/a": ["zoo export runs/a --json --onnx --int8"],
    "convert net.zoo": ["zoo export --onnx"],
    "classify runs/a scan.png": ["zoo predict runs/a scan.png"],
    "sweep svm --data pictures": ["zoo tune svm --data pictures"],
    "automl --data pictures": ["zoo pick --data pictures"],
    "pick resnet18 --data pictures": ["zoo pick --data pictures --json --models resnet18"],
    "pick pictures": ["zoo pick --json --data pictures"],
    "download resnet18": ["zoo data fetch NAME", "zoo weights fetch resnet18"],
    "rm runs/a": ["zoo runs remove runs/a"],
    "runs rm runs/a": ["zoo runs remove runs/a"],
    "runs mv runs/a b": ["zoo runs rename runs/a b"],
    "runs ls": ["zoo runs list"],
    "runs runs/a": ["zoo runs show runs/a"],
    "list-models": ["zoo list"],
    "Grad-CAM": ["zoo explain MODEL IMAGE…"],
    "resnet18": ["zoo info resnet18", "zoo train resnet18"],
    "digits": ["zoo data info digits"],
    "pictures": ["zoo data check pictures", "zoo train MODEL --data pictures"],
    "scan.png": ["zoo predict MODEL scan.png"],
    "net.zoo": ["zoo evaluate net.zoo", "zoo predict net.zoo IMAGE…"],
    "drift": ["zoo monitor ANSWERS --against MODEL"],
}


@pytest.mark.parametrize("typed", SLIPS)
@pytest.mark.usefixtures("there")
def test_a_slip_is_answered_with_the_command_that_was_meant(typed: str) -> None:
    assert commands(typed) == SLIPS[typed]


MODELS_THAT_ARE_NONE = {
    "train pictures": ["zoo train MODEL --data pictures"],
    "tune pictures": ["zoo tune MODEL --data pictures"],
    "train table.csv": ["zoo train MODEL --data table.csv"],
    "train pictures --data resnet18": ["zoo train resnet18 --json --data pictures"],
    "train runs/a": ["zoo train MODEL --weights runs/a"],
    "train runs/a --resume": ["zoo train MODEL --out runs/a --resume"],
    "verify runs/a": ["zoo export runs/a --onnx --bundle"],
    "verify scan.png": ["zoo predict MODEL scan.png"],
    "bench scan.png": ["zoo predict MODEL scan.png"],
    "evaluate scan.png": ["zoo predict MODEL scan.png"],
    "serve pictures": [],
    "info pictures": ["zoo data check pictures", "zoo train MODEL --data pictures"],
    "predict table.csv pictures": ["zoo predict MODEL pictures"],
    "predict pictures net.zoo": ["zoo predict net.zoo pictures"],
    "predict scan.png runs/a": ["zoo predict runs/a scan.png"],
    "evaluate pictures": ["zoo evaluate MODEL --data pictures"],
    "evaluate pictures --data net.zoo": ["zoo evaluate net.zoo --json --data pictures"],
}


@pytest.mark.parametrize("typed", MODELS_THAT_ARE_NONE)
@pytest.mark.usefixtures("there")
def test_what_is_no_model_is_said_with_the_command_that_was_meant(typed: str) -> None:
    """The status stays that of the refusal, which scripts rely on."""
    assert commands(typed, status=1) == MODELS_THAT_ARE_NONE[typed]


def test_the_last_run_is_named_where_it_is_here(there: Path) -> None:
    (there / "runs" / "latest").symlink_to("a")
    assert commands("predict scan.png") == ["zoo predict runs/latest scan.png"]


def test_a_setting_by_another_name_is_the_option(elsewhere: Path) -> None:
    assert commands("train svm --set learning_rate=0.1") == ["zoo train svm --lr 0.1"]
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("typed", ["help train", "train help", "--help train", "train --help"])
def test_help_of_a_verb_is_shown_however_it_is_asked_for(typed: str) -> None:
    assert run_zoo(*typed.split()) == run_zoo("train", "-h")
    assert run_zoo("help", "data", "split").out == run_zoo("data", "split", "--help").out
    assert run_zoo("help") == run_zoo()


def test_help_of_what_is_no_verb_is_refused() -> None:
    assert commands("help trian") == ["zoo train --json --help"]


@pytest.mark.parametrize("typed", ["version", "-v", "-V", "--version"])
def test_the_version_is_told_however_it_is_asked_for(typed: str) -> None:
    from zoo import __version__

    assert (run_zoo(typed).code, run_zoo(typed).out) == (0, f"zoo {__version__}\n")


@pytest.mark.parametrize(("group", "some"), [("data", "check"), ("weights", "fetch"), ("plugin", "new")])
def test_a_group_alone_names_its_commands(group: str, some: str) -> None:
    ran = run_zoo(group)
    assert ran.code == 2
    assert some in ran.err


def test_models_are_listed_by_a_part_of_their_name() -> None:
    rows = run_zoo("list", "EfficientNet", "--json").document
    assert {"efficientnet", "unet"} <= {row["family"] for row in rows}
    assert all("efficientnet" in f"{row['name']} {row['family']}" for row in rows)
    ran = run_zoo("list", "nothinglike", "--json")
    assert (ran.code, ran.document["error"]["code"]) == (1, "model-unknown")


def test_an_option_without_its_value_says_what_it_takes() -> None:
    ran = run_zoo("train", "svm", "--data")
    assert ran.code == 2
    assert "NAME|PATH" in ran.err
    assert "zoo train --help" in ran.err


def test_no_word_from_elsewhere_hides_a_verb_or_leads_to_none() -> None:
    """When a verb of that name is there at last, its row must go."""
    coming = {"runs", "help"}
    for one in WORDS:
        assert not {*one.words} & {*VERBS}, "the verb is there"
        assert one.commands or one.remark
        assert {command.split()[1] for command in one.commands} <= {*VERBS} | coming
        assert all(meant_by(word) is one for word in one.words if "-" not in word), "a word in two rows"
    names = [name for theirs in OPTIONS.values() for name in theirs]
    names += [name for table in (FLAGS, NEEDLESS) for theirs in table for name in theirs]
    assert len(names) == len({*names})


def test_a_right_command_is_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking costs the whole application, which `zoo list` must not build."""
    import sys

    for name in ("zoo_cli._slips", "zoo_cli._elsewhere", "zoo_cli.completion"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert run_zoo("list").code == 0
    assert not {"zoo_cli._slips", "zoo_cli._elsewhere", "zoo_cli.completion"} & sys.modules.keys()
