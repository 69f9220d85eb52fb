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


def test_the_type_checker_sees_the_names_of_the_device_that_the_interpreter_finds() -> None:
    """A name in one of the two places only would be an import error, or an error of the type checker."""
    tree = ast.parse(Path(edge.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    assert sorted(alias.name for node in imports for alias in node.names) == edge.__all__
    for node in imports:
        for alias in node.names:
            assert getattr(edge, alias.name) is getattr(importlib.import_module(str(node.module)), alias.name)


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
