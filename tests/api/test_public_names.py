"""What `import zoo` and `zoo.edge` offer: sorted, there, and with a docstring each."""

from __future__ import annotations

from types import ModuleType

import pytest

import zoo
from zoo import api, edge


@pytest.mark.parametrize("module", [zoo, edge], ids=lambda module: module.__name__)
def test_every_public_name_is_sorted_there_and_documented(module: ModuleType) -> None:
    assert list(module.__all__) == sorted(module.__all__)
    for name in module.__all__:
        value = getattr(module, name)
        assert not isinstance(value, ModuleType), f"{name} is a module, not what it is called for"
        assert name == "Result" or value.__doc__, f"{name} says nothing of itself"


def test_whatever_the_verbs_call_is_offered() -> None:
    assert set(zoo.__all__) == {*api.__all__, "ZooError"}
