"""What a model costs, with how sure that is; what it may cost, as a gate; and on what it really ran."""

from __future__ import annotations

import json
import math
import tempfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from edge_models import deep_manifest, make_model
from refusals import refused

from zoo.edge import Bench, Runtime, side_by_side
from zoo.edge import _bench as timing
from zoo.edge.__main__ import main
from zoo.edge._bench import median_interval
from zoo.edge._budget import KEYS, misses, parse
from zoo.edge._session import placement
from zoo.errors import ProviderError, UsageError
from zoo.spec import Intensity, Scale, Voi, Window

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def without_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cold starts are tested in test_bundles; here they would take seconds each."""
    monkeypatch.setattr(timing, "_child", lambda *_: (100.0, 50.0))


def measured(**changes: Any) -> Bench:
    known: dict[str, Any] = {
        "provider": "cpu", "p50_ms": 9.0, "p50_low_ms": 8.0, "p50_high_ms": 10.0, "p95_ms": 12.0, "p99_ms": 15.0,
        "peak_rss_mb": 80.0, "cold_start_ms": 300.0, "size_bytes": 20_000_000, "threads": 1, "runs": 50,
        "batch_size": 1, "images_per_second": 100.0, "image_size": (8, 8), "nodes": {},
    }  # fmt: skip
    return Bench(**(known | changes))


def test_the_interval_of_the_median_holds_it_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    for n in (10, 50, 101):
        found = [median_interval(random.exponential(size=n)) for _ in range(2000)]
        held = np.mean([low <= math.log(2) <= high for low, high in found])
        assert 0.93 <= held <= 0.985, n
    assert median_interval(np.array([3.0])) == (3, 3)
    assert median_interval(np.array([5.0, 1.0, 3.0])) == (1, 5)


@pytest.mark.parametrize("intensity", [Scale(maximum=0.5), Scale(maximum=60000), Voi(), Window(center=0, width=9)])
def test_noise_lies_in_the_range_that_the_model_takes(intensity: Intensity, tmp_path: Path) -> None:
    manifest = deep_manifest(dtype="float32")
    spec = msgspec.structs.replace(manifest.preprocess, intensity=intensity)
    model = make_model(msgspec.structs.replace(manifest, preprocess=spec))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    runtime = Runtime.open(tmp_path / "model.onnx")
    noise = timing._noise(runtime, (20, 30), 2)
    assert noise.shape == (2, 20, 30, 1)
    assert np.isfinite(runtime.logits(noise)).all()
    assert noise.std() > 0


@pytest.mark.usefixtures("without_children")
def test_several_models_are_timed_in_turns(model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, the second would be measured on a warmer machine."""
    other = tmp_path / "deep.onnx"
    other.write_bytes(make_model(deep_manifest()).SerializeToString())
    asked: list[str] = []
    real = Runtime.probabilities

    def spy(self: Runtime, batch: Any, columns: Any = None) -> Any:
        asked.append(self.path.stem)
        return real(self, batch, columns)

    monkeypatch.setattr(Runtime, "probabilities", spy)
    first, second = side_by_side([model_file, other], runs=4, threads=1, batch_size=3)
    assert asked[-8:] == ["model", "deep", "deep", "model"] * 2
    assert (first.size_bytes, second.size_bytes) == (model_file.stat().st_size, other.stat().st_size)
    for one in (first, second):
        assert one.p50_low_ms <= one.p50_ms <= one.p50_high_ms
        assert (one.runs, one.batch_size, one.threads, one.nodes) == (4, 3, 1, {})
        assert one.operators is None
    with refused("option-value", UsageError, batch_size=0):
        side_by_side([model_file], batch_size=0)


def test_a_cold_start_imports_nothing_of_the_working_directory(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = tmp_path / "here"
    hostile.mkdir()
    (hostile / "msgspec.py").write_text("raise SystemExit('imported from the working directory')")
    monkeypatch.chdir(hostile)
    (done,) = side_by_side([model_file], runs=1)
    assert done.cold_start_ms > 0


@pytest.mark.usefixtures("without_children")
def test_every_node_of_the_graph_is_in_the_operators_and_nothing_is_left_on_disk(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (one,) = side_by_side([model_file], runs=2, operators=True)
    assert one.operators is not None
    assert {part.operator: part.calls for part in one.operators} == {
        "Cast": 1, "ReduceMean": 1, "MatMul": 1, "Softmax": 1,
    }  # fmt: skip
    assert sum(part.share for part in one.operators) == pytest.approx(1)
    assert [part.ms for part in one.operators] == sorted((part.ms for part in one.operators), reverse=True)
    assert {part.provider for part in one.operators} == {"cpu"}
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_budget_names_every_miss_with_what_was_found_and_what_is_allowed() -> None:
    generous = parse(
        "latency_ms=10, p95_ms=12,p99_ms=15,cold_start_ms=300,memory_mb=80,size_mb=20,images_per_second=100"
    )
    assert tuple(generous) == KEYS
    assert misses(measured(), generous) == ()
    tight = {key: value * (1.01 if key == "images_per_second" else 0.99) for key, value in generous.items()}
    assert [(miss.key, miss.found, round(miss.allowed, 2)) for miss in misses(measured(), tight)] == [
        ("latency_ms", 10, 9.9),
        ("p95_ms", 12, 11.88),
        ("p99_ms", 15, 14.85),
        ("cold_start_ms", 300, 297),
        ("memory_mb", 80, 79.2),
        ("size_mb", 20, 19.8),
        ("images_per_second", 100, 101),
    ]


def test_a_latency_that_is_only_perhaps_within_the_budget_is_not() -> None:
    assert [miss.found for miss in misses(measured(p50_ms=9.0, p50_high_ms=10.4), {"latency_ms": 10})] == [10.4]


def test_memory_that_can_not_be_measured_is_not_within_the_budget() -> None:
    (miss,) = misses(measured(peak_rss_mb=None), {"memory_mb": 1000})
    assert "not known" in str(miss)


@pytest.mark.parametrize(
    "text", ["", "latency", "speed=3", "size_mb=", "size_mb=ten", "size_mb=0", "size_mb=-1", "size_mb=nan",
             "size_mb=inf", "size_mb=1,size_mb=2", "size_mb=1,"]
)  # fmt: skip
def test_a_budget_that_can_not_be_meant_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="budget"):
        parse(text)


@pytest.mark.usefixtures("without_children")
def test_the_command_measures_first_and_then_exits_3(model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bench", str(model_file), "--runs", "3", "--json", "--operators"]
    assert main([*arguments, "--budget", "latency_ms=0.000001,size_mb=1000"]) == 3
    told = capsys.readouterr()
    assert json.loads(told.out)["p50_ms"] > 0
    assert "latency_ms" in told.err
    assert "size_mb" not in told.err
    assert main([*arguments, "--budget", "latency_ms=100000"]) == 0
    assert main([*arguments, "--budget", "furlongs=1"]) == 2
    capsys.readouterr()
    assert main(["bench", str(model_file), "--runs", "3", "--operators"]) == 0
    rows = [line.split()[:3] for line in capsys.readouterr().out.splitlines()]
    known = {"Cast", "ReduceMean", "MatMul", "Softmax"}  # those of a hundredth of the time and more have a row
    assert [row[1:] for row in rows if row and row[0] in known]
    assert all(row[1:] == ["cpu", "1"] for row in rows if row and row[0] in known)


class Placed:
    """What a session with an accelerator looks like to the check; no accelerator is needed."""

    def __init__(self, **nodes: list[str]) -> None:
        names = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}
        self._parts = [
            SimpleNamespace(ep_name=names[name], get_nodes=lambda of=of: [SimpleNamespace(op_type=one) for one in of])
            for name, of in nodes.items()
        ]

    def get_provider_graph_assignment_info(self) -> list[Any]:
        return self._parts

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]


@pytest.fixture
def placed(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Open a session whose nodes lie where they are said to."""
    import onnxruntime

    from zoo.edge._session import open_session

    def opened(allow_fallback: bool = False, **nodes: list[str]) -> Any:
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
        monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
        monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: Placed(**nodes))
        return open_session(
            model_file.read_bytes(), "m.onnx", provider="cuda", threads=1, allow_fallback=allow_fallback
        )

    return opened


def test_shapes_on_the_cpu_are_no_fallback(placed: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "zoo"):
        session = placed(cuda=["Conv", "Conv", "Gemm"], cpu=["Shape", "Gather"])
    assert "3 of 5 nodes" in caplog.text
    assert placement(session) == {"cuda": Counter(Conv=2, Gemm=1), "cpu": Counter(Shape=1, Gather=1)}


@pytest.mark.parametrize("nodes", [{"cuda": ["Conv"], "cpu": ["Resize", "Shape"]}, {"cpu": ["Shape"]}])
def test_work_left_to_the_cpu_is_refused_unless_it_is_allowed(
    placed: Any, caplog: pytest.LogCaptureFixture, nodes: dict[str, list[str]]
) -> None:
    """ONNX Runtime says nothing of it: the accelerator is still first in its list."""
    with refused("provider-fallback", ProviderError, provider="cuda"):
        placed(**nodes)
    placed(allow_fallback=True, **nodes)
    assert caplog.records[-1].levelname == "WARNING"
    assert "the CPU runs" in caplog.text


def test_a_runtime_that_can_not_tell_says_so(placed: Any, caplog: pytest.LogCaptureFixture) -> None:
    placed()
    assert "not tell" in caplog.text


def test_openvino_leaves_resizing_to_the_cpu_and_that_is_said(tmp_path: Path) -> None:
    import onnxruntime

    if "OpenVINOExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("the installed onnxruntime has no OpenVINO provider; it needs an environment of its own")
    path = tmp_path / "m.onnx"
    path.write_bytes(make_model().SerializeToString())
    runtime = Runtime.open(path, provider="openvino")
    assert runtime.nodes["openvino"] >= 1
    assert runtime.probabilities(np.zeros((1, 4, 4, 3), np.uint8)).shape == (1, 3)


def test_bench_keeps_the_keys_that_others_read(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_child", lambda *_: (100.0, None))
    (one,) = side_by_side([model_file], runs=1)
    keys = {"provider", "p50_ms", "p95_ms", "p99_ms", "peak_rss_mb", "cold_start_ms", "size_bytes"}
    assert keys <= set(msgspec.to_builtins(one))
    assert one.peak_rss_mb is None
