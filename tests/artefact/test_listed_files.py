"""A folder of another format holds the files that its model.json lists, and no other that its runtime may read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from refusals import refused

from zoo.artefact.formats._folder import prove_folder, write_folder
from zoo.artefact.formats._protocol import ConverterInput
from zoo.edge.bundle import MANIFEST
from zoo.errors import ModelError, TamperedError
from zoo.spec import MODEL_JSON
from zoo_cli.main import main

if TYPE_CHECKING:
    from export_cases import Case

    from zoo.artefact.formats import Answer
    from zoo.spec import FormatName


@dataclass
class Written:
    """A format of two files. Nothing opens them: its golden set is none."""

    file: str = "model.xml"
    here: bool = True
    name: FormatName = "openvino"
    takes: Literal["onnx", "torch"] = "onnx"
    converter: str = "numpy"
    runtime: str = "numpy"
    remark: str = "none"

    def require(self) -> None:
        """Nothing."""

    def runs_here(self) -> bool:
        return self.here

    def convert(self, source: ConverterInput, folder: Path) -> None:  # noqa: ARG002 - as the protocol has it
        for name in ("model.xml", "weights/model.bin"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(name)

    def open(self, folder: Path) -> Answer:
        raise NotImplementedError(folder)


@pytest.fixture
def written(case: Case, tmp_path: Path) -> Path:
    folder = tmp_path / "colours.openvino"
    source = ConverterInput(b"", ("probabilities", "logits"))
    given = case.manifest.input
    write_folder(folder, Written(here=False), source, case.manifest, b"golden", given=given, notes=(), remedy="")
    return folder


def test_a_folder_as_it_was_written_goes_on_to_its_golden_set(written: Path) -> None:
    for form in (Written(), Written(file="weights")):
        with refused("golden-damaged", ModelError):
            prove_folder(written, form)


@pytest.mark.parametrize("name", ["model.bin", "weights/more.bin", ".hidden", "weights/link", "dangling"])
def test_a_file_that_is_not_listed_is_refused(written: Path, name: str) -> None:
    """OpenVINO reads model.bin beside model.xml, whether model.json lists it or not."""
    if name in {"weights/link", "dangling"}:
        (written / name).symlink_to(written.parent if name == "weights/link" else "nowhere")
    else:
        (written / name).write_bytes(b"other weights")
    with refused("bundle-files", TamperedError, files=[name]):
        prove_folder(written, Written())


def test_the_file_that_is_run_must_be_listed(written: Path) -> None:
    said = json.loads((written / MODEL_JSON).read_text())
    for part in ("files", "sizes"):
        del said[part]["model.xml"]
    (written / MODEL_JSON).write_text(json.dumps(said))
    with refused("bundle-files", TamperedError, files=["model.xml"]):
        prove_folder(written, Written())
    (written / "model.xml").unlink()
    with refused("bundle-files", TamperedError, files=["model.xml"]):
        prove_folder(written, Written())
    with refused("bundle-files", TamperedError, files=["model"]):
        prove_folder(written, Written(file="model"))


def test_a_bundle_is_proven_as_one_whatever_lies_in_it(
    written: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a file that is put into it would be proven in place of the model that `zoo predict` runs."""
    asked: list[object] = []
    monkeypatch.setattr("zoo.workflow.formats.verify_format", asked.append)
    (written / MANIFEST).write_text("{}")
    assert main(["verify", str(written), "--json"]) != 0
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "document-malformed"
    assert asked == []
