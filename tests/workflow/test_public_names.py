"""What `import zoo` and `zoo.edge` offer: sorted, there, and with a docstring each."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import zoo
from zoo import edge


@pytest.mark.parametrize("module", [zoo, edge], ids=lambda module: module.__name__)
def test_every_public_name_is_sorted_there_and_documented(module: ModuleType) -> None:
    assert list(module.__all__) == sorted(module.__all__)
    for name in module.__all__:
        value = getattr(module, name)
        assert not isinstance(value, ModuleType), f"{name} is a module, not what it is called for"
        assert name == "Result" or value.__doc__, f"{name} says nothing of itself"


EAGER = {"zoo": {"ZooError"}, "zoo.edge": set[str]()}
"""Names that are not loaded at their first use."""
PUBLIC = (
    "artefact",
    "artefact.formats",
    "data",
    "data.audit",
    "edge",
    "errors",
    "evaluation",
    "learn",
    "plugin",
    "preprocess",
    "readers",
)
PUBLIC += ("registry", "runs", "spec", "testing")


@pytest.mark.parametrize("name", PUBLIC)
def test_completion_offers_the_public_names_and_nothing_else(name: str) -> None:
    """A trial found `os`, `sys` and private modules among what `zoo.` offers after Tab."""
    module = importlib.import_module(f"zoo.{name}")
    assert dir(module) == sorted(module.__all__)
    assert dir(zoo) == sorted([*zoo.__all__, "__version__"])
    assert getattr(zoo, name.partition(".")[0]), "what is not offered can still be reached"


def test_a_function_and_the_package_behind_it_are_both_reached_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages once bore the names of functions, and an import could turn `zoo.evaluate` into a module."""
    import zoo.evaluation.comparison
    import zoo.evaluation.intervals as iv
    from zoo.evaluation.comparison import Comparison

    assert iv.RESAMPLES > 0
    assert zoo.evaluation.comparison.Comparison is Comparison
    monkeypatch.setattr("zoo.evaluation.comparison.MOST_RESAMPLES", 10)
    for name in ("bench", "compare", "evaluate", "explain", "export", "train", "verify"):
        assert callable(getattr(zoo, name)), name
    for name in ("bench", "verify"):
        assert callable(getattr(edge, name)), name


@pytest.mark.parametrize("package", [zoo, edge], ids=lambda module: module.__name__)
def test_the_type_checker_sees_the_names_that_the_interpreter_finds(package: ModuleType) -> None:
    """A name in one of the two places only would be an import error, or an error of the type checker."""
    tree = ast.parse(Path(str(package.__file__)).read_text(encoding="utf-8"))
    blocks = [node.body for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    imports = [node for body in blocks for node in body if isinstance(node, ast.ImportFrom)]
    seen = {alias.name: str(node.module) for node in imports for alias in node.names}
    assert sorted({*seen, *EAGER[package.__name__]}) == package.__all__
    for name, home in seen.items():
        assert getattr(package, name) is getattr(importlib.import_module(home), name)


@pytest.mark.parametrize("package", [zoo, edge], ids=lambda module: module.__name__)
def test_no_other_name_is_there(package: ModuleType) -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = package.trian


@pytest.mark.parametrize("call", ["train", "compare", "check", "evaluate"])
def test_a_name_that_is_no_argument_is_refused_and_not_passed_over(call: str) -> None:
    """`zoo.train(model, epoch=50)` would train with the epochs of the card."""
    calls: dict[str, Callable[[], object]] = {
        "train": lambda: zoo.train("svm", "digits", epoch=50),  # type: ignore[call-arg]
        "compare": lambda: zoo.compare("svm", "knn", budget={"epoch": 50}),  # type: ignore[typeddict-unknown-key]
        "check": lambda: zoo.check("digits", column="x"),  # type: ignore[call-arg]
        "evaluate": lambda: zoo.evaluate("nowhere", "digits", column="x"),  # type: ignore[call-arg]
    }
    with pytest.raises(TypeError, match="is not an argument; expected"):
        calls[call]()
