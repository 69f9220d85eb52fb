"""The contract as tests: a plugin author subclasses `PluginContract`, names a model, and runs pytest.

```python
from zoo.testing import PluginContract

class TestAcmeNet(PluginContract):
    model = "acme_net"
```

What is checked stands in `zoo.contract`; `zoo plugin check acme_net` runs the same without pytest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from zoo.contract import CHECKS, EPOCHS, SIZE, Check, NotTried, Subject, colour_folder

__all__ = ["PluginContract", "colour_folder"]


class PluginContract:
    """What every model must hold to, from the catalogue to the shipped file.

    Set `model` to a name of the catalogue; the rest has defaults. Each failure says what to change.
    """

    model: ClassVar[str]
    size: ClassVar[int] = SIZE
    """Side of the pictures it is tried on."""
    epochs: ClassVar[int] = EPOCHS
    settings: ClassVar[dict[str, Any]] = {}
    """Passed to `zoo.train`."""

    @pytest.fixture(scope="class")
    @classmethod
    def subject(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
        """The model with one training run for all checks, in a folder of its own as the current directory."""
        folder = tmp_path_factory.mktemp("contract")
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            yield Subject(cls.model, folder, size=cls.size, epochs=cls.epochs, settings=cls.settings)

    @pytest.mark.parametrize("check", CHECKS, ids=str)
    def test_contract(self, subject: Subject, check: Check) -> None:
        """One promise of `zoo.contract.CHECKS`."""
        try:
            check.hold(subject)
        except NotTried as reason:
            pytest.skip(str(reason))
