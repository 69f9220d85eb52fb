"""`zoo export --format`: a file for another runtime is kept when that runtime gave the golden answers, and else not."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import onnx
import pytest
from beside_images import write_table
from refusals import refused

import zoo
import zoo.plugin
from zoo.artefact import set_manifest
from zoo.artefact.formats import FORMATS, read_folder
from zoo.artefact.formats._network import CalibratedNetwork
from zoo.edge.bundle import open_model
from zoo.errors import GateError, ModelError, OutputError, ProviderError, TamperedError, UsageError, ZooError
from zoo.runs import open_run
from zoo.spec import (
    MODEL_JSON,
    Abstention,
    Bars,
    FormatManifest,
    Quantization,
    decode,
)
from zoo.workflow._golden import write_proven_bundle
from zoo_cli.main import main

if TYPE_CHECKING:
    from export_cases import Case

    from zoo.spec import FormatName, QuantizedKind

PACKAGES = {
    "openvino": "openvino",
    "litert": "litert_torch",
    "executorch": "executorch",
    "coreml": "coremltools",
}
RUNNING: tuple[FormatName, ...] = ("openvino", "litert", "executorch")
OF_TORCH: tuple[FormatName, ...] = ("litert", "executorch")


def need(form: str) -> None:
    if importlib.util.find_spec(PACKAGES[form]) is None:
        pytest.skip(f"{PACKAGES[form]} is not installed: pip install 'edgezoo[{form}]'")


@pytest.fixture
def core(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The core that was exported once, so that the tests need not wait for the exporter."""
    monkeypatch.setattr(zoo.plugin._torch._TorchTrained, "to_onnx", lambda _: case.fresh_core())


@pytest.fixture(scope="module")
def bundles(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """default.zoo and portable.zoo of the same run."""
    root = tmp_path_factory.mktemp("formats")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zoo.plugin._torch._TorchTrained, "to_onnx", lambda _: case.fresh_core())
        zoo.export(case.run.path, bundle=True, out=root / "default.zoo")
        zoo.export(case.run.path, bundle=True, portable=True, out=root / "portable.zoo")
    return root


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
@pytest.mark.usefixtures("core")
@pytest.mark.parametrize("form", RUNNING)
def test_its_own_runtime_gives_the_golden_answers(case: Case, form: FormatName, tmp_path: Path) -> None:
    need(form)
    made = zoo.export_format(case.run.path, format=form, out=tmp_path / f"colours.{form}")
    assert read_folder(made.path).format == form
    assert made.parity is not None
    assert made.parity.images >= 32
    assert made.parity.flips == 0
    assert made.parity.max_abs_logit <= 1e-4
    assert left(tmp_path) == [f"colours.{form}"]
    said = decode((Path(made.path) / MODEL_JSON).read_bytes(), FormatManifest, MODEL_JSON, ModelError)
    assert (said.labels, said.preprocess, said.temperature) == (
        case.manifest.labels,
        case.manifest.preprocess,
        case.manifest.temperature,
    )
    assert said.proof == made.parity
    assert said.input.stage == ("raw" if form == "openvino" else "resized")
    again = zoo.verify_format(made.path)
    assert again.proof.flips == 0
    assert again.files == len(said.files) >= 2
    file = next(Path(made.path).glob("model.[!j]*"))
    file.write_bytes(file.read_bytes()[:-1] + b"\0\0")
    with refused("bundle-files", TamperedError, files=[file.name]):
        zoo.verify_format(made.path)


@pytest.mark.slow
@pytest.mark.usefixtures("core")
@pytest.mark.parametrize("form", OF_TORCH)
def test_a_file_that_answers_otherwise_is_refused_and_not_kept(
    case: Case, form: FormatName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a converter would that loses a step of preprocessing: the converted file, not the network, is judged."""
    need(form)
    monkeypatch.setattr(CalibratedNetwork, "_normalize", lambda self, x: x / 255 - self.mean)
    with refused("format-mismatch", GateError):
        zoo.export_format(case.run.path, format=form, out=tmp_path / f"colours.{form}")
    assert left(tmp_path) == []


@pytest.mark.slow
def test_openvino_refuses_the_default_file_whose_resize_it_reads_otherwise(bundles: Path, tmp_path: Path) -> None:
    need("openvino")
    with refused("format-resize", GateError):  # whatever the golden images are: small ones would not show it
        zoo.export_format(bundles / "default.zoo", format="openvino", out=tmp_path / "colours.openvino")
    assert left(tmp_path) == []
    made = zoo.export_format(bundles / "portable.zoo", format="openvino", out=tmp_path / "colours.openvino")
    assert made.parity is not None
    assert made.parity.flips == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["int8", "fp16"])
def test_openvino_refuses_a_bundle_that_is_not_float32(bundles: Path, tmp_path: Path, kind: QuantizedKind) -> None:
    """Its folder would say float32, and the golden set of int8 allows what no float32 file may be off by."""
    need("openvino")
    made = Quantization(
        kind=kind, target="avx2", scheme="U8S8, weights of 7 bits", measured="kernels", calibration="minmax",
        calibration_images=256, compared_images=64, calibration_errors={}, layers=20, excluded=(), rungs=(),
        bars=Bars(), verdict=None, alike=None, val=None, test=None, speed=None, size_ratio=None, tolerance=0.01,
    )  # fmt: skip
    contents = open_model(bundles / "portable.zoo")
    model, golden = onnx.load_from_string(contents.model), zoo.open(bundles / "portable.zoo").logits
    plain = msgspec.structs.replace(contents.manifest, quantization=made, files={}, sizes={})
    manifest = set_manifest(model, plain)
    small = tmp_path / "small.zoo"
    write_proven_bundle(small, model.SerializeToString(), manifest, golden="generated", splits=None, predict=golden)
    with refused("format-quantized", UsageError, quantized=kind):
        zoo.export_format(small, format="openvino", out=tmp_path / "colours.openvino")
    assert left(tmp_path) == ["small.zoo"]


@pytest.mark.slow
def test_openvino_in_another_place_than_asked_for_goes_beside_the_bundle(bundles: Path) -> None:
    need("openvino")
    made = zoo.export_format(bundles / "portable.zoo", format="openvino")
    assert Path(made.path) == bundles / "portable.openvino"
    with refused("out-occupied", OutputError):
        zoo.export_format(bundles / "portable.zoo", format="openvino")
    (bundles / "portable.openvino/notes.txt").write_text("mine")
    with refused("out-occupied", OutputError):
        zoo.export_format(bundles / "portable.zoo", format="openvino", overwrite=True)
    assert (bundles / "portable.openvino/notes.txt").read_text() == "mine"
    (bundles / "portable.openvino/notes.txt").unlink()
    zoo.export_format(bundles / "portable.zoo", format="openvino", overwrite=True)


@pytest.mark.slow
def test_openvino_is_imported_without_its_reporter(bundles: Path, tmp_path: Path) -> None:
    """On import it sends an event to its maker and keeps an id in the home folder, except on CI."""
    need("openvino")
    program = (
        "import sys, zoo; zoo.export_format(sys.argv[1], format='openvino', out=sys.argv[2]); "
        "assert 'openvino' in sys.modules and 'openvino_telemetry' not in sys.modules"
    )
    command = [sys.executable, "-c", program, str(bundles / "portable.zoo"), str(tmp_path / "a.openvino")]
    home = tmp_path / "home"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in {"CI", "TF_BUILD", "JENKINS_URL"}}
    subprocess.run(command, env=kept | {"HOME": str(home)}, check=True, capture_output=True)
    assert [path.name for path in home.rglob("*") if path.is_file() and "intel" in str(path).lower()] == []


@pytest.mark.slow
@pytest.mark.usefixtures("core")
def test_core_ml_says_that_it_was_not_proven(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    need("coreml")
    if sys.platform == "darwin":
        pytest.skip("on a Mac it is proven")
    out = tmp_path / "colours.coreml"
    assert main(["export", str(case.run.path), "--format", "coreml", "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["parity"] is None
    assert "not proven here" in told["statement"]
    assert (out / "model.mlpackage/Manifest.json").is_file()
    assert (out / "golden.npz").is_file()
    assert main(["verify", str(out), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "format-elsewhere"


@pytest.mark.slow
@pytest.mark.usefixtures("core")
def test_the_client_may_do_all_of_the_preprocessing(case: Case, tmp_path: Path) -> None:
    need("executorch")
    made = zoo.export_format(case.run.path, format="executorch", preprocess="none", out=tmp_path / "colours.executorch")
    assert made.parity is not None
    assert made.parity.flips == 0
    said = json.loads((Path(made.path) / MODEL_JSON).read_text())
    assert said["input"]["stage"] == "tensor"
    assert said["shape"] == [1, 3, 32, 32]


@pytest.mark.slow
@pytest.mark.parametrize("form", RUNNING)
def test_a_residual_network_on_gray_percentiles(form: FormatName, colours: Path, tmp_path: Path) -> None:
    """Percentiles need sorting, which mobile runtimes lack, so there the client does them; OpenVINO sorts."""
    need(form)
    run = residual(colours, tmp_path)
    made = zoo.export_format(run, format=form, out=tmp_path / f"gray.{form}")
    assert made.parity is not None
    assert made.parity.flips == 0
    said = json.loads((Path(made.path) / MODEL_JSON).read_text())
    assert said["input"]["stage"] == ("raw" if form == "openvino" else "tensor")
    if form != "openvino":
        with refused("format-preprocess", UsageError, preprocess="normalize"):
            zoo.export_format(run, format=form, preprocess="normalize", out=tmp_path / f"other.{form}")


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from zoo.testing import colour_folder

    root = tmp_path_factory.mktemp("colours") / "colours"
    colour_folder(root, side=24)
    return root


def residual(data: Path, root: Path) -> str:
    settings = {"preprocess.channels": "gray", "preprocess.intensity": {"type": "percentile"}}
    return zoo.train("resnet10t", data, size=32, epochs=1, out=root / "run", settings=settings).run


@pytest.mark.slow
def test_a_classical_model_goes_through_onnx_alone(colours: Path, tmp_path: Path) -> None:
    need("openvino")
    run = zoo.train("logistic_regression", colours, size=8, out=tmp_path / "run").run
    made = zoo.export_format(run, format="openvino", out=tmp_path / "a.openvino")
    assert made.parity is not None
    assert made.parity.flips == 0


@pytest.mark.slow
def test_an_ensemble_goes_through_onnx_alone(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("openvino")
    runs = [zoo.train("logistic_regression", colours, size=size, out=tmp_path / f"{size}").run for size in (8, 12)]
    both = zoo.train(f"ensemble:{','.join(runs)}", out=tmp_path / "both").run
    made = zoo.export_format(both, format="openvino", out=tmp_path / "a.openvino")
    assert made.parity is not None
    assert made.parity.flips == 0
    monkeypatch.setattr(type(FORMATS["litert"]), "require", lambda _: None)
    with refused("format-network", UsageError):
        zoo.export_format(both, format="litert", out=tmp_path / "a.litert")


@pytest.mark.slow
def test_columns_beside_the_image_are_inputs_of_openvino(tmp_path: Path) -> None:
    need("openvino")
    labels = [("ill", "well")[at % 2] for at in range(60)]
    ages = [str(20 + at % 17) for at in range(60)]
    table = write_table(tmp_path / "data", {"age": ages, "sex": ["F", "F", "M"] * 20}, labels)
    run = zoo.train("simple_cnn", table, size=8, epochs=1, inputs=("age", "sex"), out=tmp_path / "run").run
    made = zoo.export_format(run, format="openvino", out=tmp_path / "a.openvino")
    assert made.parity is not None
    assert made.parity.flips == 0
    assert zoo.verify_format(made.path).proof.flips == 0
    said = json.loads((Path(made.path) / MODEL_JSON).read_text())
    assert [one["name"] for one in said["table"]["columns"]] == ["age", "sex"]
    with refused("inputs-unsupported", UsageError):
        zoo.export_format(run, format="executorch", out=tmp_path / "a.executorch")


@pytest.mark.parametrize("form", ["litert", "executorch", "coreml"])
def test_what_is_not_one_network_in_torch_is_refused_before_any_work(
    form: FormatName, bundles: Path, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(FORMATS[form]), "require", lambda _: None)
    with refused("format-network", UsageError, format=form):
        zoo.export_format(bundles / "portable.zoo", format=form)
    run = zoo.train("knn", colours, size=8, out=tmp_path / "run").run
    with refused("format-network", UsageError, format=form, model="knn"):
        zoo.export_format(run, format=form)


@pytest.mark.parametrize("form", list(PACKAGES))
def test_a_missing_package_is_one_line_before_any_work(
    case: Case, form: FormatName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, PACKAGES[form], None)
    for name in [name for name in sys.modules if name.startswith(f"{PACKAGES[form]}.")]:
        monkeypatch.delitem(sys.modules, name)
    with refused("package-missing", ZooError, extra=form) as caught:
        zoo.export_format(case.run.path, format=form, out=tmp_path / f"a.{form}")
    assert caught.value.exit_code == 1
    assert f"pip install 'edgezoo[{form}]'" in str(caught.value)
    assert left(tmp_path) == []


def test_tensorrt_is_known_and_says_where_its_files_are_made(case: Case) -> None:
    with refused("format-elsewhere", ProviderError, format="tensorrt"):
        zoo.export_format(case.run.path, format="tensorrt")


def test_wrong_calls_are_refused(case: Case, bundles: Path, tmp_path: Path) -> None:
    with refused("format-unknown", UsageError, format="onnx"):
        zoo.export_format(case.run.path, format="onnx")  # type: ignore[arg-type]
    with refused("out-name", UsageError):
        zoo.export_format(case.run.path, format="litert", out=tmp_path / "model.tflite")
    with refused("format-preprocess", UsageError, preprocess="full"):
        zoo.export_format(case.run.path, format="litert", preprocess="full")
    with refused("format-preprocess", UsageError, preprocess="none"):
        zoo.export_format(case.run.path, format="openvino", preprocess="none")
    with refused("export-again", UsageError):
        zoo.export_format(bundles / "portable.zoo", format="openvino", golden="own")
    with refused("file-missing", ModelError):
        zoo.verify_format(tmp_path)
    assert left(tmp_path) == []


def test_a_lone_file_has_no_golden_set_to_be_held_to(case: Case, tmp_path: Path) -> None:
    need("openvino")
    with refused("bundle-expected", ModelError):
        zoo.export_format(case.run.file("model.onnx"), format="openvino", out=tmp_path / "a.openvino")


def test_options_of_the_onnx_file_are_refused_beside_it(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ("--onnx", "--int8", "--portable", "--bundle", "--finetune"):
        assert main(["export", str(case.run.path), "--format", "openvino", option, "--json"]) == 2
        told = json.loads(capsys.readouterr().out)["error"]
        assert (told["code"], told["options"]) == ("option-conflict", ["--format", option])
    (tmp_path / MODEL_JSON).write_text("{}")
    assert main(["verify", str(tmp_path), "--require-signature", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["options"] == ["--require-signature"]


def test_formats_import_none_of_their_packages() -> None:
    program = (
        "import sys, zoo.artefact.formats, zoo.workflow.formats; "
        "print([name for name in ('torch', 'onnx', 'openvino', 'litert_torch', 'executorch', 'coremltools')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_a_format_cannot_say_is_told(case: Case) -> None:
    """A file from torch gives no score of images unlike training, so it must not claim to decide by one."""
    from zoo.spec import Novelty
    from zoo.workflow.formats import _fit

    decided = Abstention(novelty=Novelty(kind="features", threshold=1.0, share=0.05, n=20))
    manifest = msgspec.structs.replace(
        case.manifest, outputs=("probabilities", "logits", "features", "novelty"), abstention=decided
    )
    kept, lost = _fit(manifest, FORMATS["litert"])
    assert kept.outputs == ("probabilities", "logits")
    assert kept.abstention is not None
    assert kept.abstention.novelty is None
    assert len(lost) == 3
    kept, lost = _fit(manifest, FORMATS["openvino"])
    assert kept.outputs == ("probabilities", "logits", "novelty")
    assert kept.abstention == decided
    assert len(lost) == 1


@pytest.mark.slow
@pytest.mark.parametrize("form", OF_TORCH)
def test_a_run_that_moved_its_logits_is_converted_with_them(
    case: Case, form: FormatName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shift for rare classes is part of the network that ships."""
    need(form)
    monkeypatch.setattr(zoo.plugin._torch._TorchTrained, "to_onnx", lambda _: case.fresh_core())
    run = open_run(Path(shutil.copytree(case.run.path, tmp_path / "run")))
    run.update(shift=(0.3, -0.2, 0.1))
    made = zoo.export_format(run.path, format=form, out=tmp_path / f"colours.{form}")
    assert made.parity is not None
    assert made.parity.flips == 0
