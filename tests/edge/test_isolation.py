"""A proof may take so much time and memory; a model that wants more harms its own process only."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from edge_models import make_bundle, make_model, seal
from onnx import TensorProto, helper, numpy_helper
from refusals import refused

from zoo.edge import Runtime, verify
from zoo.edge import _isolation as isolation
from zoo.edge.__main__ import main
from zoo.errors import GateError, LimitError, ModelError, UsageError, ZooError

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx


def the_child_runs(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """In place of the proof."""
    monkeypatch.setattr(isolation, "command", lambda *_: [sys.executable, "-P", "-c", program])


KILLED = -signal.SIGKILL if os.name == "posix" else 1
"""Status of a process that another one killed."""


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Every process that a proof starts."""
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(isolation.subprocess, "Popen", start)
    return started


def resident() -> int:
    found = isolation._resident(os.getpid())
    assert found is not None
    return found


def replace_model(bundle: Path, model: onnx.ModelProto) -> None:
    (bundle / "model.onnx").write_bytes(model.SerializeToString())
    seal(bundle)


def doubling(times: int) -> onnx.ModelProto:
    """Each node is innocent; together they ask for 2**times copies of the image's mean, under two names each."""
    model = make_model()
    nodes, name = [], "mean"
    for step in range(times):
        nodes.append(helper.make_node("Identity", [name], [f"again{step}"]))
        nodes.append(helper.make_node("Concat", [name, f"again{step}"], [f"twice{step}"], axis=1))
        name = f"twice{step}"
    nodes.append(helper.make_node("ReduceMax", [name, "sides"], ["most"], keepdims=1))
    nodes.append(helper.make_node("Mul", ["mean", "most"], ["large"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "sides"))
    for place, node in enumerate(nodes):
        model.graph.node.insert(2 + place, node)
    model.graph.node[2 + len(nodes)].input[0] = "large"
    return model


def slow(products: int) -> onnx.ModelProto:
    """Minutes of products of matrices, of a few megabytes."""
    model = make_model()
    side = numpy_helper.from_array(np.array([2500, 2500], np.int64), "side")
    model.graph.initializer.append(side)
    zero = numpy_helper.from_array(np.array([0], np.int64), "zero")
    model.graph.initializer.append(zero)
    nodes = [
        helper.make_node("ReduceMean", ["mean", "zero"], ["level"], keepdims=0),
        helper.make_node("ReduceMax", ["level", "zero"], ["one"], keepdims=0),
        helper.make_node("Expand", ["one", "side"], ["p0"]),
    ]
    nodes += [helper.make_node("MatMul", [f"p{i}", "p0"], [f"p{i + 1}"]) for i in range(products)]
    nodes += [
        helper.make_node("ReduceMax", [f"p{products}"], ["end"], keepdims=0),
        helper.make_node("Add", ["mean", "end"], ["late"]),
    ]
    for place, node in enumerate(nodes):
        model.graph.node.insert(2 + place, node)
    model.graph.node[2 + len(nodes)].input[0] = "late"
    return model


def test_a_model_that_eats_memory_is_stopped_and_the_caller_keeps_its_own(bundle: Path) -> None:
    replace_model(bundle, doubling(33))
    before = resident()
    with refused("proof-memory", LimitError, megabytes=500):
        verify(bundle, memory_limit=500)
    assert resident() - before < 50e6


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc"), "model-memory"),
        (MemoryError(), "model-memory"),
        (RuntimeError("[ONNXRuntimeError] : 1 : FAIL : shapes differ"), "model-run"),
    ],
)
def test_a_failure_for_want_of_memory_has_its_own_code(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception, code: str
) -> None:
    def fail(*_: object) -> None:
        raise problem

    runtime = Runtime.open(bundle)
    monkeypatch.setattr(runtime, "_session", SimpleNamespace(run=fail))
    with refused(code, ModelError):
        runtime.logits(np.zeros((1, 8, 8, 3), np.uint8))


def test_memory_is_watched_from_outside_where_the_process_does_not_limit_itself(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, children: list[subprocess.Popen[bytes]]
) -> None:
    """As for accelerators, and on macOS."""
    order = isolation._Order(str(bundle), {}, 60, 300)
    the_child_runs(monkeypatch, "import time\nheld = bytearray(400_000_000)\ntime.sleep(600)")
    with refused("proof-memory", LimitError, megabytes=300):
        isolation._run(order)
    assert [child.returncode for child in children] == [KILLED], "it was ended, not waited for"


def test_a_model_that_takes_too_long_is_stopped(bundle: Path, children: list[subprocess.Popen[bytes]]) -> None:
    replace_model(bundle, slow(2_000))
    with refused("proof-time", LimitError, seconds=2) as caught:
        verify(bundle, threads=1, time_limit=2)
    assert caught.value.exit_code == 3
    assert [child.returncode for child in children] == [KILLED], "it was ended, not waited for"


@pytest.mark.slow
def test_a_loop_without_end_is_killed_even_with_no_list_of_operators(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list refuses Loop; were it off, the clock would still end it, in the middle of native code."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["x"], ["y"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [1]),
        ],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["", "true", "x"], ["y"], body=body)],
        "endless",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        initializer=[numpy_helper.from_array(np.array(True), "true")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    (tmp_path / "endless.onnx").write_bytes(model.SerializeToString())
    program = (
        "import numpy\n"
        "from onnxruntime import InferenceSession\n"
        f"session = InferenceSession({str(tmp_path / 'endless.onnx')!r}, providers=['CPUExecutionProvider'])\n"
        "session.run(None, {'x': numpy.zeros(1, 'f')})"
    )
    the_child_runs(monkeypatch, program)
    with refused("proof-time", LimitError, seconds=3):
        isolation._run(isolation._Order(str(bundle), {}, 3, 4096))


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("import os; os.abort()", -signal.SIGABRT),
        ("import ctypes; ctypes.string_at(0)", -signal.SIGSEGV),
        ("raise SystemExit('no such thing')", 1),
        ("print('[]')", None),
        ("", None),
    ],
    ids=["abort", "segfault", "exit", "other words", "silence"],
)
def test_a_crash_of_the_runtime_is_one_line_of_the_caller(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, program: str, status: int | None
) -> None:
    the_child_runs(monkeypatch, program)
    with refused("proof-crashed", LimitError, status=status) as caught:
        verify(bundle)
    assert "\n" not in str(caught.value)


def test_a_proof_needs_no_process_where_the_interpreter_cannot_start_itself(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As under an emulator, where the system cannot run the interpreter's file."""
    foreign = tmp_path / "python"
    foreign.write_bytes(b"\x7fELF of another machine")
    foreign.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(foreign))
    proof = verify(bundle)
    assert (proof.images, proof.isolated) == (4, False)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    with refused("proof-unstarted", GateError, lasting=True):
        verify(bundle, memory_limit=500)


def test_a_passing_want_of_processes_is_no_reason_to_give_up_the_limits(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", fail)
    with refused("proof-unstarted", GateError, lasting=False):
        verify(bundle)


@pytest.mark.parametrize("isolated", [True, False])
def test_the_child_says_what_the_caller_itself_would_say(bundle: Path, isolated: bool) -> None:
    proof = verify(bundle, isolated=isolated)
    assert (proof.images, proof.isolated) == (4, isolated)
    (bundle / "CARD.md").write_text("changed")
    with refused("bundle-files", GateError, files=["CARD.md"]):
        verify(bundle, isolated=isolated)
    (bundle / "manifest.json").unlink()
    with refused("bundle-manifest-missing", ModelError):
        verify(bundle, isolated=isolated)


def test_modules_beside_a_hostile_bundle_are_not_imported(bundle: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for name in ("json", "numpy", "zoo", "msgspec", "onnxruntime"):
        (tmp_path / f"{name}.py").write_text(f"open({str(canary)!r}, 'w')\nraise SystemExit\n")
    program = f"import sys; from zoo.edge import verify; print(verify({bundle.name!r}).images)"
    # -P: the caller itself was started as an installed command is, without the working directory on its path
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("4\n", 0), done.stderr
    assert not canary.exists()


@pytest.mark.parametrize("limits", [{"time_limit": 0}, {"time_limit": float("nan")}, {"memory_limit": -1}])
def test_a_limit_that_is_none_is_refused(bundle: Path, limits: dict[str, float]) -> None:
    with refused("option-value", UsageError):
        verify(bundle, **limits)  # type: ignore[arg-type]


def test_the_default_is_no_more_than_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 250_000}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)
    assert isolation._default_megabytes() == 768
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 10**9}.__getitem__)
    assert isolation._default_megabytes() == isolation.MEMORY_LIMIT


def test_both_commands_take_the_limits(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(bundle), "--time-limit", "60", "--memory-limit", "1000"]) == 0
    assert main(["verify", str(bundle), "--time-limit", "0.01"]) == 3
    assert "0.01 s" in capsys.readouterr().err
    command = [sys.executable, "-m", "zoo_cli", "verify", str(bundle), "--memory-limit", "20"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "20 MB" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_proof_leaves_no_process_behind(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "m.zoo")
    replace_model(bundle, slow(2_000))
    before = processes_started()
    with pytest.raises(ZooError):
        verify(bundle, threads=1, time_limit=1.5)
    assert processes_started() <= before


def processes_started() -> set[int]:
    """Processes of this one that were not waited for, the dead ones too: other tests may have left some."""
    tasks = Path("/proc/self/task").iterdir()
    return {int(pid) for task in tasks for pid in (task / "children").read_text(encoding="ascii").split()}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_proof_whose_caller_is_killed_ends_with_it(bundle: Path) -> None:
    """Native code would otherwise work for minutes more, for nobody."""
    replace_model(bundle, slow(2_000))
    program = f"from zoo.edge import verify; verify({str(bundle)!r}, threads=1)"
    with subprocess.Popen([sys.executable, "-c", program]) as caller:
        child = running(lambda: Path(f"/proc/{caller.pid}/task/{caller.pid}/children").read_text(encoding="ascii"))
        time.sleep(2)  # it is in the products
        caller.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while (process := Path(f"/proc/{child}/stat")).exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not process.exists() or process.read_text(encoding="ascii").split()[2] == "Z"


def running(children: Callable[[], str]) -> str:
    deadline = time.monotonic() + 20
    while not (found := children().split()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found[0]
