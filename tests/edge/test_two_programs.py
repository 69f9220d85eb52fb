"""`zoo` and `python -m zoo.edge` are two doors to one program: same options, same words, same exit status."""

from __future__ import annotations

import contextlib
import inspect
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import typer
from edge_models import make_bundle, make_manifest, paint

from zoo.edge import Runtime, _verbs
from zoo.edge import _bench as timing
from zoo.edge.__main__ import VERBS, _parser
from zoo.edge.__main__ import main as edge_main
from zoo.edge._options import Option, parameters
from zoo.errors import ModelError
from zoo.spec import MODEL_JSON, FormatManifest, encode
from zoo_cli.main import application
from zoo_cli.main import main as zoo_main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Both = Callable[..., tuple[int, str, str]]

RED, GREEN = (255, 0, 0), (0, 255, 0)


@pytest.fixture
def both(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Both:
    """Run both programs; they must leave the same. Times, which no two runs share, are made equal beforehand."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str, clean: Callable[[], None] = lambda: None) -> tuple[int, str, str]:
        left = []
        capfd.readouterr()
        for main in (zoo_main, edge_main):
            code = main(list(words))
            left.append((code, *capfd.readouterr()))
            clean()
        assert left[0] == left[1]
        return left[0]

    return run


@pytest.fixture
def bundle(tmp_path: Path) -> str:
    make_bundle(tmp_path / "mean.zoo")
    return "mean.zoo"


@pytest.fixture
def pictures(tmp_path: Path) -> str:
    folder = tmp_path / "pictures"
    folder.mkdir()
    paint(folder / "red.png", RED)
    paint(folder / "green.png", GREEN)
    for i in range(12):
        (folder / f"text{i}.png").write_text("no image")
    return "pictures"


@pytest.mark.parametrize("more", [(), ("--json",), ("--top", "2")])
def test_the_same_answers_and_a_dozen_equal_errors_are_folded(
    both: Both, bundle: str, pictures: str, more: Any
) -> None:
    code, out, err = both("predict", bundle, pictures, *more)
    assert code == 1
    assert out.count("red.png") == 1
    assert err.count("no image") <= 11
    assert "2 more images: " in err
    assert err.endswith("12 of 14 images got no answer\n")


def test_the_same_table_and_how_many_rows_are_in_it(both: Both, bundle: str, pictures: str, tmp_path: Path) -> None:
    table = tmp_path / "out.csv"
    rows: list[bytes] = []

    def take() -> None:
        rows.append(table.read_bytes())
        table.unlink()

    _, out, err = both("predict", bundle, pictures, "--csv", "out.csv", clean=take)
    assert out == ""
    assert "14 rows in out.csv" in err
    assert rows[0] == rows[1]


def test_the_same_maps(both: Both, bundle: str, pictures: str) -> None:
    code, out, _ = both("explain", bundle, f"{pictures}/red.png", "--out", "maps", "--label", "red", "--overwrite")
    assert (code, out.count("\t")) == (0, 2)
    both("explain", bundle, f"{pictures}/red.png", "--out", "maps", "--json", "--overwrite")


@pytest.mark.parametrize("more", [(), ("--json",), ("--operators",), ("--budget", "size_mb=0.0001")])
def test_the_same_fields_of_a_measurement(both: Both, bundle: str, monkeypatch: pytest.MonkeyPatch, more: Any) -> None:
    one = timing.side_by_side([bundle], runs=1, operators="--operators" in more)
    monkeypatch.setattr(timing, "side_by_side", lambda paths, **_: one * len(paths))
    both("bench", bundle, bundle, *more)
    code, out, _ = both("bench", bundle, *more)
    assert code == (3 if "--budget" in more else 0)
    assert "p50" in out


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_the_same_proof_and_the_same_self_description(both: Both, bundle: str, more: Any) -> None:
    assert both("verify", bundle, *more)[0] == 0
    assert both("info", bundle, *more)[0] == 0


def test_the_same_keys_signatures_and_refusals(both: Both, bundle: str, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    assert edge_main(["sign", "--new-key", "my.key"]) == 0
    assert zoo_main(["sign", "--new-key", "other.key"]) == 0
    both("verify", bundle, "--key", "my.key.pub")
    both("verify", bundle, "--require-signature", "--json")
    assert both("sign", bundle, "--key", "my.key")[0] == 0
    assert both("verify", bundle, "--key", "my.key.pub")[0] == 0
    assert both("verify", bundle, "--key", "other.key.pub", "--json")[0] == 3
    assert both("sign", bundle)[0] == 2
    (tmp_path / "text.onnx").write_text("no model")
    assert both("predict", "text.onnx", "a.png", "--json")[0] == 1


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_of_one_program_is_one_of_the_other(verb: str) -> None:
    device = {
        flag
        for action in _parser([verb])._subparsers._group_actions[0].choices[verb]._actions  # type: ignore
        for flag in action.option_strings
    }
    command = typer.main.get_command(application([verb])).commands[verb]  # type: ignore[attr-defined]
    typed = {flag for one in command.params for flag in (*one.opts, *one.secondary_opts) if flag.startswith("-")}
    batch = {"--out", "--engine", "--address", "--format", "--part-size"}  # which needs Ray or fsspec
    only_zoo = {"explain": {"--gradcam"}, "predict": batch}.get(verb, set())  # what needs more than a device has
    assert typed | {"-h", "--help"} == device | only_zoo
    assert not only_zoo & device


def test_the_table_says_something_of_every_parameter_in_plain_sentences() -> None:
    for name in _verbs.__all__:
        verb = getattr(_verbs, name)
        table = parameters(verb)
        hidden = set(inspect.signature(verb).parameters) - {one.name for one in table}
        assert hidden <= {"find", "open_gradcam", "prove_format"}
        for one in table:
            assert re.fullmatch(r"[A-Zc0][^\n]+\.", one.said.help), one.said.help
            if isinstance(one.said, Option):
                assert one.said.flag.startswith("--")


@pytest.mark.parametrize("verb", ["predict", "bench"])
def test_only_zoo_offers_a_run_and_says_so_in_one_sentence(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = {}
    for main in (zoo_main, edge_main):
        with pytest.raises(SystemExit) if main is edge_main else contextlib.nullcontext():
            main([verb, "--help"])
        said[main] = " ".join(re.findall(r"[\w.,]+", capsys.readouterr().out))
    found = {"predict": "An .onnx file, a bundle or a run.", "bench": "Files, bundles and runs, side by side."}[verb]
    assert found in said[zoo_main]
    assert found not in said[edge_main]


def test_a_model_of_another_runtime_is_called_so(both: Both, pictures: str, tmp_path: Path) -> None:
    of = make_manifest()
    same = ("schema", "name", "labels", "task", "preprocess", "input", "temperature", "provenance", "licence")
    facts = {name: getattr(of, name) for name in (*same, "intended_use")}
    facts |= {"format": "openvino", "file": "model.xml", "shape": (1, 3, 2, 2), "outputs": ("probabilities",)}
    facts |= {"onnx": "", "client": "", "converter": "", "statement": "", "proof": None, "parity": None, "golden": None}
    (tmp_path / "x.openvino").mkdir()
    (tmp_path / "x.openvino" / MODEL_JSON).write_bytes(encode(FormatManifest(**facts)))
    for typed in (["predict", "x.openvino", pictures], ["bench", "x.openvino"], ["serve", "x.openvino", "--port", "0"]):
        code, out, _ = both(*typed, "--json")
        error = json.loads(out)["error"]
        assert (code, error["code"], error["format"]) == (1, "model-other-runtime", "openvino"), typed
        assert "commands" not in error, "no other model is meant"
    (tmp_path / "x.openvino" / MODEL_JSON).write_text("{}")  # of another program
    with pytest.raises(ModelError) as caught:
        Runtime.open(tmp_path / "x.openvino")
    assert caught.value.code == "bundle-manifest-missing"
