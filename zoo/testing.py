"""The contract as tests: a plugin author subclasses `PluginContract`, names a model, and runs pytest.

```python
from zoo.testing import PluginContract

class TestAcmeNet(PluginContract):
    model = "acme_net"
```

A reader of an image format is held to `ReaderContract`, with files of its format:

```python
from zoo.testing import ReaderContract

class TestAcmeFormat(ReaderContract):
    reader = "acme"

    @pytest.fixture(scope="class")
    @classmethod
    def files(cls) -> list[Path]:
        return sorted(Path("samples").glob("*.acme"))
```

The checks are in `zoo.contract`; `zoo plugin check acme_net` runs them without pytest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from zoo.contract import (
    CHECKS,
    EPOCHS,
    READER_CHECKS,
    SIZE,
    Check,
    NotTried,
    ReaderCheck,
    ReaderSubject,
    Subject,
    colour_folder,
)
from zoo.readers._others import load_reader

__all__ = ["PluginContract", "ReaderContract", "colour_folder"]


def __dir__() -> list[str]:
    return __all__


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


class ReaderContract:
    """What every reader of an image format must hold to.

    Set `reader` to the name of an entry point in the group zoo.readers, and write the fixture `files`. Each failure
    says what to change.
    """

    reader: ClassVar[str]

    @pytest.fixture(scope="class")
    @classmethod
    def files(cls) -> Sequence[Path]:
        """Small files of the format, one of each kind that it takes; a test class gives its own."""
        return ()

    @pytest.fixture(scope="class")
    @classmethod
    def subject(cls, files: Sequence[Path]) -> ReaderSubject:
        """The reader as its entry point names it, with the files."""
        return ReaderSubject(load_reader(cls.reader).reader, tuple(files))

    @pytest.mark.parametrize("check", READER_CHECKS, ids=str)
    def test_contract(self, subject: ReaderSubject, check: ReaderCheck) -> None:
        """One promise of `zoo.contract.READER_CHECKS`."""
        try:
            check.hold(subject)
        except NotTried as reason:
            pytest.skip(str(reason))
