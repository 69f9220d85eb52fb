"""The tests themselves: none of them fails because a machine is busy."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
CLOCKS = {
    "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time",
    "process_time_ns", "thread_time", "thread_time_ns", "default_timer", "now", "utcnow",
}  # fmt: skip
"""What reads a clock: functions of `time`, `timeit` and `datetime`."""


def timed_assertions(source: str) -> list[int]:
    """Lines of the assertions that hold a difference of two readings of a clock.

    A deadline is none: `assert time.monotonic() < deadline` compares two moments, and only ends a loop that waits.
    """
    found: list[int] = []
    for scope in ast.walk(ast.parse(source)):
        if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef | ast.Module):
            moments, spans = _names(scope)
            asserted = (node for node in ast.walk(scope) if isinstance(node, ast.Assert))
            found += [node.lineno for node in asserted if _is_span(node.test, moments, spans)]
    return sorted(set(found))


def _names(scope: ast.AST) -> tuple[set[str], set[str]]:
    """Names that hold a moment, and names that hold the time between two."""
    moments: set[str] = set()
    spans: set[str] = set()
    for _ in range(3):  # a name may be given to another one
        for node in ast.walk(scope):
            if isinstance(node, ast.Assign):
                pairs = [pair for target in node.targets for pair in _pairs(target, node.value)]
            elif isinstance(node, ast.NamedExpr | ast.AnnAssign | ast.AugAssign) and node.value is not None:
                pairs = _pairs(node.target, node.value)
            else:
                continue
            for name, value in pairs:
                if _is_span(value, moments, spans):
                    spans.add(name)
                elif _reads(value, moments):
                    moments.add(name)
    return moments, spans


def _pairs(target: ast.expr, value: ast.expr) -> list[tuple[str, ast.expr]]:
    """Each name of an assignment beside what it gets."""
    if isinstance(target, ast.Name):
        return [(target.id, value)]
    if isinstance(target, ast.Attribute):
        return [(target.attr, value)]
    if isinstance(target, ast.Tuple | ast.List):
        if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts):
            return [pair for one, its in zip(target.elts, value.elts, strict=True) for pair in _pairs(one, its)]
        return [pair for one in target.elts for pair in _pairs(one, value)]
    return []


def _is_span(tree: ast.expr, moments: set[str], spans: set[str]) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in spans:
            return True
        if isinstance(node, ast.Attribute) and node.attr in spans:
            return True
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and _reads(node, moments):
            return True
    return False


def _reads(tree: ast.expr, moments: set[str]) -> bool:
    """Whether a clock is read here, or was for one of these names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in moments:
            return True
        if isinstance(node, ast.Attribute) and node.attr in moments:
            return True
        if isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name in CLOCKS:
                return True
    return False


@pytest.mark.parametrize(
    "body",
    [
        "start = time.monotonic()\n work()\n assert time.monotonic() - start < 5",
        "start = perf_counter()\n work()\n took = perf_counter() - start\n assert took < 0.1",
        "start = time.process_time()\n took, peak = time.process_time() - start, 5\n assert peak < 9 and took < 2",
        "begun = datetime.now(UTC)\n assert (datetime.now(UTC) - begun).total_seconds() < 2",
        "assert time.time() - entry.used < 60",
    ],
)
def test_an_assertion_on_elapsed_time_is_found(body: str) -> None:
    assert timed_assertions(f"def test():\n {body}\n")


@pytest.mark.parametrize(
    "body",
    [
        "deadline = time.monotonic() + 5\n while waits():\n  assert time.monotonic() < deadline",
        "before = time.time()\n assert record.made >= before",
        "assert answer.p50_ms - answer.p50_low_ms >= 0",
    ],
)
def test_a_deadline_of_a_loop_that_waits_is_none(body: str) -> None:
    assert not timed_assertions(f"def test():\n {body}\n")


def test_no_test_asserts_how_long_something_took() -> None:
    """A busy machine would fail it, and a quick one would pass what is too slow."""
    found = {
        str(path.relative_to(TESTS)): lines
        for path in sorted(TESTS.rglob("*.py"))
        if (lines := timed_assertions(path.read_text(encoding="utf-8")))
    }
    assert not found


def test_few_tests_need_files_that_only_developers_have() -> None:
    """Whoever clones the project sees what passes, and not dozens of skipped tests."""
    using = [
        f"{path.relative_to(TESTS)}::{node.name}"
        for path in sorted(TESTS.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and "shared" in {argument.arg for argument in node.args.args}
    ]
    assert all("::test_" in name for name in using), "a fixture would hand it to any number of tests"
    assert len(using) <= 12, using
