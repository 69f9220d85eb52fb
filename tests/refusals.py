"""A refusal as tests hold it: its code and fields, never its sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from zoo.errors import ZooError


@contextlib.contextmanager
def refused(code: str, kind: type[ZooError] = ZooError, **fields: Any) -> Iterator[pytest.ExceptionInfo[ZooError]]:
    """Fails unless the block raises a `kind` with this code, and with at least these fields."""
    with pytest.raises(kind) as caught:
        yield caught
    assert caught.value.code == code, f"{caught.value.code}: {caught.value}"
    assert {name: caught.value.fields.get(name) for name in fields} == fields
