"""A bundle is exactly the files its manifest lists, and it answers here as it did where it was made."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import numpy as np
import pytest
from edge_models import make_bundle, make_manifest, make_model, seal
from onnx import helper
from refusals import refused

from zoo.edge import Runtime, bench, verify
from zoo.edge.__main__ import main
from zoo.errors import GateError, ModelError, ProviderError, TamperedError
from zoo.spec import encode

if TYPE_CHECKING:
    from pathlib import Path


def refusal(bundle: Path) -> TamperedError:
    """Both doors refuse it, each with exit 3."""
    with pytest.raises(TamperedError) as opened:
        Runtime.open(bundle)
    with pytest.raises(GateError) as verified:
        verify(bundle)
    assert str(opened.value) == str(verified.value)
    assert "\n" not in str(opened.value)
    return opened.value


def test_a_good_bundle_is_verified(bundle: Path) -> None:
    result = verify(bundle)
    assert (result.files, result.images, result.provider) == (3, 4, "cpu")
    assert result.max_abs_logit <= result.tolerance
    assert Runtime.open(bundle).labels == ("red", "green", "blue")


def test_every_changed_file_is_listed_with_both_hashes(bundle: Path) -> None:
    for name in ("CARD.md", "golden.npz"):
        with (bundle / name).open("ab") as stream:
            stream.write(b"x")
    line = str(refusal(bundle))
    assert "CARD.md has sha256" in line
    assert "golden.npz has sha256" in line
    assert json.loads((bundle / "manifest.json").read_text())["files"]["CARD.md"] in line


def test_a_file_that_is_not_listed_is_refused(bundle: Path) -> None:
    (bundle / "extra.bin").write_bytes(b"x")
    problem = refusal(bundle)
    assert problem.code == "bundle-files"
    assert problem.fields["files"] == ["extra.bin"]


def test_a_missing_file_is_refused(bundle: Path) -> None:
    (bundle / "CARD.md").unlink()
    problem = refusal(bundle)
    assert problem.code == "bundle-files"
    assert problem.fields["files"] == ["CARD.md"]


def test_a_symbolic_link_is_refused(bundle: Path, tmp_path: Path) -> None:
    (bundle / "CARD.md").rename(tmp_path / "CARD.md")
    (bundle / "CARD.md").symlink_to(tmp_path / "CARD.md")
    assert "symbolic link" in str(refusal(bundle))


def test_a_hard_link_is_refused(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "again").hardlink_to(bundle / "model.onnx")
    assert refusal(bundle).code == "bundle-files"


@pytest.mark.skipif(os.name != "posix", reason="pipes are POSIX")
def test_a_pipe_in_a_bundle_does_not_make_the_device_wait(bundle: Path) -> None:
    (bundle / "CARD.md").unlink()
    os.mkfifo(bundle / "CARD.md")
    assert refusal(bundle).code == "bundle-files"


def test_names_that_are_one_on_other_systems_are_refused(bundle: Path) -> None:
    (bundle / "card.MD").write_text("two")
    seal(bundle)
    assert refusal(bundle).code == "bundle-files"


def test_a_linked_manifest_is_refused(bundle: Path, tmp_path: Path) -> None:
    (bundle / "manifest.json").rename(tmp_path / "m.json")
    (bundle / "manifest.json").symlink_to(tmp_path / "m.json")
    with pytest.raises(ModelError, match=r"manifest\.json"):
        Runtime.open(bundle)


def test_a_path_that_leads_out_of_the_bundle_is_never_opened(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"]["../secret"] = "0" * 64
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    problem = refusal(bundle)
    assert problem.code == "bundle-files"
    assert problem.fields["files"] == ["../secret"]


def test_labels_changed_in_the_manifest_alone_are_refused(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["labels"] = ["green", "red", "blue"]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with refused("bundle-manifest", TamperedError, field="labels"):
        Runtime.open(bundle)


def test_a_network_that_answers_otherwise_fails_with_every_mismatch(bundle: Path) -> None:
    model = make_model()
    matrix = np.frombuffer(model.graph.initializer[0].raw_data, np.float32).reshape(3, 3)
    model.graph.initializer[0].raw_data = matrix[:, [1, 0, 2]].tobytes()
    (bundle / "model.onnx").write_bytes(model.SerializeToString())
    seal(bundle)
    with pytest.raises(GateError) as caught:
        verify(bundle)
    line = str(caught.value)
    assert caught.value.exit_code == 3
    assert "\n" not in line
    assert all(f"image_{i:04d}: logit of" in line for i in range(4))
    assert "expected" in line
    assert "actual" in line


def test_a_network_that_answers_not_a_number_fails(bundle: Path) -> None:
    model = make_model()  # its weights are finite, its answers are roots of negative numbers
    model.graph.node.insert(2, helper.make_node("Neg", ["mean"], ["negative"]))
    model.graph.node.insert(3, helper.make_node("Sqrt", ["negative"], ["root"]))
    model.graph.node[4].input[0] = "root"
    (bundle / "model.onnx").write_bytes(model.SerializeToString())
    seal(bundle)
    with refused("golden-mismatch", GateError):
        verify(bundle)


def test_a_golden_set_that_is_a_pickle_is_refused(bundle: Path) -> None:
    np.savez(
        bundle / "golden.npz",
        logits=np.array([{}], dtype=object),
        tolerance=1e-4,
        image_0000=np.zeros((2, 2, 3)),
    )
    seal(bundle)
    with refused("golden-damaged", ModelError):
        verify(bundle)


def test_a_golden_set_that_is_no_archive_or_empty_is_refused(bundle: Path) -> None:
    (bundle / "golden.npz").write_bytes(b"PK not really")
    seal(bundle)
    with refused("golden-damaged", ModelError):
        verify(bundle)
    np.savez(bundle / "golden.npz", logits=np.zeros((0, 3), np.float32), tolerance=np.float32(1e-4))
    seal(bundle)
    with refused("golden-damaged", ModelError, images=0):
        verify(bundle)


def test_a_lone_file_can_not_be_verified(model_file: Path) -> None:
    with refused("bundle-expected", ModelError):
        verify(model_file)


def test_a_bundle_without_a_golden_set_can_not_be_verified(bundle: Path) -> None:
    (bundle / "golden.npz").unlink()
    seal(bundle)
    with refused("golden-missing", ModelError):
        verify(bundle)


def test_the_command_exits_3_when_the_gate_refuses(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(bundle), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 4
    (bundle / "CARD.md").write_text("changed")
    assert main(["verify", str(bundle)]) == 3
    assert capsys.readouterr().err.count("\n") == 1


def test_info_prints_the_manifest(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(bundle), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["labels"] == ["red", "green", "blue"]


def test_an_absent_provider_is_refused_with_the_package_to_install(bundle: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA; test_cuda_answers_as_the_cpu_did runs instead")
    with refused("provider-missing", ProviderError, provider="cuda"):
        Runtime.open(bundle, provider="cuda")
    with refused("provider-unknown", ProviderError, provider="gpu"):
        Runtime.open(bundle, provider="gpu")


def test_a_provider_that_quietly_becomes_the_cpu_is_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    real = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda model, options, **_: real(model, options, ["CPUExecutionProvider"]),
    )
    with refused("provider-replaced", ProviderError, taken=["cpu"]):
        Runtime.open(bundle, provider="cuda")


@pytest.mark.gpu
def test_cuda_answers_as_the_cpu_did(bundle: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("the installed onnxruntime has no CUDA provider")
    try:
        result = verify(bundle, provider="cuda")
    except ProviderError as problem:
        pytest.skip(f"no CUDA device: {problem}")
    assert result.provider == "cuda"


def test_bench_measures_a_fresh_process(bundle: Path) -> None:
    result = bench(bundle, runs=5, threads=1, image_size=(16, 12))
    assert 0 < result.p50_ms <= result.p95_ms <= result.p99_ms
    assert result.size_bytes == (bundle / "model.onnx").stat().st_size
    assert result.cold_start_ms > 50  # an interpreter, numpy and onnxruntime cannot be loaded faster
    # less than this test process, which holds the whole test suite's imports
    assert result.peak_rss_mb is None or 20 < result.peak_rss_mb < 250
    assert (result.threads, result.image_size) == (1, (16, 12))


def test_a_manifest_of_other_files_is_not_taken_for_this_one(bundle: Path, tmp_path: Path) -> None:
    other = make_bundle(tmp_path / "other.zoo", tolerance=2e-4)
    (bundle / "manifest.json").write_bytes((other / "manifest.json").read_bytes())
    assert refusal(bundle).code == "bundle-files"
    (bundle / "manifest.json").write_bytes(encode(make_manifest()))
    assert refusal(bundle).code == "bundle-files"
