"""Words in a stranger's file, names and labels, cannot pass for words of ours on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from edge_models import make_bundle, make_manifest, paint
from refusals import refused

from zoo.edge.__main__ import main as edge_main
from zoo.edge.bundle import open_model
from zoo.errors import ModelError, TamperedError
from zoo.spec import Manifest, decode, encode
from zoo_cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FORGED = make_manifest(
    name="lungs\nsigned: valid\x1b[8m",
    labels=("red\nb.png\tblue 0.9999", "gr\x1b[2Keen", "blue\u202e"),
    intended_use="all\nsignature  valid, by key 00\x9b1A",
)


@pytest.fixture
def forged(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "forged.zoo", manifest=FORGED)


@pytest.mark.parametrize("run", [main, edge_main])
@pytest.mark.parametrize("verb", ["verify", "info", "predict"])
def test_a_name_or_label_forges_no_line_and_no_colour(
    forged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], run: Callable[[list[str]], int], verb: str
) -> None:
    images = [str(paint(tmp_path / "a.png", (255, 0, 0)))] if verb == "predict" else []
    assert run([verb, str(forged), *images]) == 0
    said = capsys.readouterr().out
    assert all(line.isprintable() for line in said.replace("\t", " ").split("\n"))
    assert not any(line.startswith(("signed: valid", "signature  valid", "b.png")) for line in said.split("\n"))
    if verb == "predict":
        assert said.count("\n") == 1


def test_json_keeps_every_character(forged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(forged), "--json"]) == 0
    assert msgspec.json.decode(capsys.readouterr().out, type=Manifest).labels == FORGED.labels


@pytest.mark.parametrize("run", [main, edge_main])
def test_a_refusal_quotes_no_control_character(
    forged: Path, capsys: pytest.CaptureFixture[str], run: Callable[[list[str]], int]
) -> None:
    listed = decode((forged / "manifest.json").read_bytes(), Manifest, "m", ModelError)
    files = listed.files | {"a\n\x1b[2Kverified": "0" * 64}
    (forged / "manifest.json").write_bytes(encode(msgspec.structs.replace(listed, files=files)))
    assert run(["verify", str(forged)]) == 3
    said = capsys.readouterr().err
    assert said.endswith("\n")
    assert said[:-1].isprintable()


def test_a_bundle_of_very_many_files_is_refused_at_once_and_briefly(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "m.zoo")
    listed = decode((bundle / "manifest.json").read_bytes(), Manifest, "m", ModelError)
    files = {f"file{i}": "0" * 64 for i in range(100_000)} | listed.files
    (bundle / "manifest.json").write_bytes(encode(msgspec.structs.replace(listed, files=files)))
    with refused("manifest-malformed", ModelError):
        open_model(bundle)
    (bundle / "manifest.json").write_bytes(encode(listed))
    for i in range(100):
        (bundle / f"file{i}").touch()
    with refused("bundle-files", TamperedError, files=[]):
        open_model(bundle)
