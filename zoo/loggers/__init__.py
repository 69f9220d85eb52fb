"""`--log`: callbacks that write a training down for the programs in which people compare runs.

Each writes to this machine alone, unless the user's own environment names a server. None takes along where the images
lie, nor a picture of them. Those of other packages are found by the entry-point group `zoo.callbacks`.
"""

from __future__ import annotations

from zoo.loggers._find import BUILT_IN, claims_of, find_callbacks, load_maker

__all__ = ["BUILT_IN", "claims_of", "find_callbacks", "load_maker"]


def __dir__() -> list[str]:
    return __all__
