"""What every model of the zoo must hold to, from the catalogue to the shipped file, as a list of checks.

There is one list. `zoo.testing.PluginContract` runs it under pytest, `zoo plugin check` runs it in a process of its own
(`examine`), so this package needs no pytest. A check that fails says what the author of the plugin must change.
"""

from __future__ import annotations

from zoo.contract._checks import CHECKS, Check, Outcome
from zoo.contract._examine import LIMIT_S, examine, work
from zoo.contract._pictures import colour_folder
from zoo.contract._readers import READER_CHECKS, READER_LIMIT_S, ReaderCheck, ReaderSubject, examine_reader, find_files
from zoo.contract._subject import EPOCHS, SIZE, NotTried, Subject, Unmet
from zoo.contract._targets import Chosen, ChosenReader, choose

__all__ = [
    "CHECKS",
    "EPOCHS",
    "LIMIT_S",
    "READER_CHECKS",
    "READER_LIMIT_S",
    "SIZE",
    "Check",
    "Chosen",
    "ChosenReader",
    "NotTried",
    "Outcome",
    "ReaderCheck",
    "ReaderSubject",
    "Subject",
    "Unmet",
    "choose",
    "colour_folder",
    "examine",
    "examine_reader",
    "find_files",
    "work",
]
