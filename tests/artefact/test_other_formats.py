"""`zoo export --format`: a file for another runtime is kept when that runtime gave the golden answers, and else not."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from refusals import refused

import zoo
import zoo.plugin
from zoo.artefact.formats import FORMATS
from zoo.artefact.formats._network import CalibratedNetwork
from zoo.artefact.formats._proof import prepare, replay_golden
from zoo.edge._replay import Golden
from zoo.errors import GateError, ModelError, OutputError, ProviderError, TamperedError, UsageError, ZooError
from zoo.preprocess import normalize_batch
from zoo.runs import open_run
from zoo.spec import (
    MODEL_JSON,
    Abstention,
    FormatManifest,
    InputSpec,
    Percentile,
    PreprocessSpec,
    Scale,
    Voi,
    Window,
    decode,
)
from zoo_cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from export_cases import Case
    from numpy.typing import NDArray

    from zoo.spec import FormatName, Intensity, Task

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
    with refused("format-mismatch", GateError):
        zoo.export_format(bundles / "default.zoo", format="openvino", out=tmp_path / "colours.openvino")
    assert left(tmp_path) == []
    made = zoo.export_format(bundles / "portable.zoo", format="openvino", out=tmp_path / "colours.openvino")
    assert made.parity is not None
    assert made.parity.flips == 0


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
    for option in ("--onnx", "--int8", "--portable", "--bundle"):
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


INTENSITIES: list[Intensity] = [Scale(maximum=1000), Voi(), Window(center=300, width=500)]
STACK = Window(center=(100.0, 400.0), width=(50.0, 900.0))


@pytest.mark.parametrize("intensity", [*INTENSITIES, STACK], ids=["scale", "voi", "window", "windows"])
@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_the_steps_around_the_network_are_those_of_the_reference(intensity: Intensity, task: Task) -> None:
    import torch

    channels: Any = 2 if intensity is STACK else "gray"
    numbers = (0.3,) * (2 if channels == 2 else 1)
    spec = PreprocessSpec(size=(4, 5), channels=channels, intensity=intensity, mean=numbers, std=numbers)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(20 * len(numbers), 3))
    shift = (0.5, -1.0, 2.0)
    whole = CalibratedNetwork(network, spec, stage="resized", temperature=1.7, task=task, shift=shift)
    low, high = (0, 1) if isinstance(intensity, Voi) else (-100, 900)
    pixels = np.random.default_rng(0).uniform(low, high, whole.shape).astype(np.float32)
    with torch.inference_mode():
        found = {name: one.numpy() for name, one in whole(torch.from_numpy(pixels)).items()}
        own = network(torch.from_numpy(normalize_batch(pixels, spec))).numpy() + np.float32(shift)
    assert found["logits"] == pytest.approx(own, abs=1e-5)
    scaled = own / 1.7
    expected = 1 / (1 + np.exp(-scaled)) if task == "multilabel" else softmax(scaled)
    assert found["probabilities"] == pytest.approx(expected, abs=1e-5)


def test_a_percentile_inside_the_network_is_never_passed_over() -> None:
    import torch

    spec = PreprocessSpec(size=(4, 4), channels="gray", intensity=Percentile(), mean=(0.0,), std=(1.0,))
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    whole = CalibratedNetwork(network, spec, stage="resized", temperature=1, task="multiclass")
    with pytest.raises(TypeError):
        whole(torch.zeros(whole.shape))


GRAY = PreprocessSpec(size=(2, 2), channels="gray", intensity=Scale(maximum=255), mean=(0.0,), std=(1.0,))
GIVEN = InputSpec(name="image", dtype="float32", channels=1, stage="resized")


def golden_set(logits: list[list[float]], novelty: list[float] | None = None) -> Golden:
    images = [np.full((3, 3, 3), at, np.uint8) for at in range(len(logits))]
    none = np.zeros((0, 2), np.float32)
    scores = np.asarray(novelty or [], np.float32)
    names = [f"image_{at:04d}" for at in range(len(logits))]
    return Golden(names, images, np.asarray(logits, np.float32), none, none, scores, 1e-3, None)


def judged(change: Callable[[NDArray[Any]], Mapping[str, NDArray[Any]]], task: Task = "multiclass", **more: Any) -> Any:
    """Replay two images of a model whose answers are `change` of the golden ones."""
    golden = golden_set([[2.0, 1.0], [0.5, -0.5]], more.pop("novelty", None))
    rows: Iterator[NDArray[Any]] = iter(golden.logits)
    return replay_golden(
        lambda _: dict(change(next(rows)[None])),
        golden,
        what="it",
        runtime="a runtime",
        labels=("a", "b"),
        spec=GRAY,
        given=GIVEN,
        temperature=1.0,
        task=task,
        outputs=more.pop("outputs", ("probabilities", "logits")),
    )


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    return np.exp(logits) / np.exp(logits).sum()


def test_equal_answers_pass() -> None:
    proof = judged(lambda row: {"logits": row, "probabilities": softmax(row)})
    assert (proof.images, proof.flips) == (2, 0)
    assert proof.max_abs_logit == 0
    scored = judged(
        lambda row: {"logits": row, "probabilities": softmax(row), "novelty": np.float32([3])},
        outputs=("probabilities", "logits", "novelty"),
        novelty=[3, 3],
    )
    assert scored.max_abs_novelty == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda row: {"logits": row + 0.01, "probabilities": softmax(row)},
        lambda row: {"logits": row, "probabilities": softmax(row / 1.1)},
        lambda row: {"logits": row * np.nan, "probabilities": softmax(row)},
        lambda row: {"logits": row, "probabilities": softmax(row) * np.nan},
        lambda row: {"logits": row[:, ::-1], "probabilities": softmax(row[:, ::-1])},
        lambda row: {"logits": row[:, :1], "probabilities": softmax(row)[:, :1]},
        lambda row: {"logits": row, "probabilities": 1 / 0},
    ],
    ids=["logits", "temperature", "nan", "nan probability", "labels", "shape", "crash"],
)
def test_any_other_answer_is_refused(change: Callable[[NDArray[Any]], Mapping[str, NDArray[Any]]]) -> None:
    with refused("format-mismatch", GateError, mismatches=2, images=2):
        judged(change)


def test_a_score_of_unlike_images_that_differs_is_refused() -> None:
    with refused("format-mismatch", GateError, mismatches=1):
        judged(
            lambda row: {"logits": row, "probabilities": softmax(row), "novelty": np.float32([3])},
            outputs=("probabilities", "logits", "novelty"),
            novelty=[3, 4],
        )


def test_what_the_client_does_is_done_by_the_reference() -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    resized = prepare(image, GRAY, GIVEN)
    assert (resized.shape, resized.dtype) == ((1, 2, 2, 1), np.float32)
    tensor = prepare(image, GRAY, msgspec.structs.replace(GIVEN, stage="tensor"))
    assert tensor == pytest.approx(zoo.preprocess.apply(image, GRAY)[None])
    raw = prepare(image, GRAY, msgspec.structs.replace(GIVEN, stage="raw", dtype="uint8", channels=3))
    assert (raw[0] == image).all()


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
