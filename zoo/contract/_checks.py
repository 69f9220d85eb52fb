"""The one list of checks of a model, and what becomes of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

from zoo.contract import _trained as trained
from zoo.contract import _without_training as untrained
from zoo.contract._subject import Subject

__all__ = ["CHECKS", "Check", "Outcome"]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one check."""

    check: str
    status: Literal["passed", "failed", "not tried"]
    message: str = ""
    """failed: what was found and what the author must change. not tried: why."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Check:
    """One promise.

    Attributes:
        name: what is promised, in words.
        hold: raises `Unmet` where the promise is not kept, `NotTried` where it does not apply.
    """

    name: str
    hold: Callable[[Subject], None]

    def __str__(self) -> str:
        return self.name


CHECKS = (
    Check("loads, and speaks this version of the contract", untrained.loads),
    Check("listing imports nothing heavy", untrained.listing_imports_nothing_heavy),
    Check("card is honest", untrained.card_is_honest),
    Check("card names what it needs", untrained.declares_what_it_needs),
    Check("builds for 2 and 10 classes, 1, 3 and 5 channels", untrained.builds_for_any_classes_and_channels),
    Check("trains", trained.trains),
    Check("learns", trained.learns),
    Check("answers any batch", trained.answers_any_batch),
    Check("answers with logits", trained.answers_with_logits),
    Check("file gives the trained answers", trained.file_gives_the_trained_answers),
    Check("run loads again", trained.run_loads_again),
    Check("bundle verifies", trained.bundle_verifies),
    Check("same seed, same model", trained.same_seed_same_model),
    Check("trains on gray pictures and many classes", trained.trains_on_gray_and_many_classes),
    Check("several labels are learnt or refused", trained.several_labels_or_a_refusal),
    Check("keeps stdout clean", trained.leaves_stdout_alone),
    Check("leaves the process as it was", trained.leaves_the_process_alone),
    Check("writes into its run only", trained.writes_into_its_run_only),
    Check("keeps no pickle", trained.keeps_no_pickle),
)
"""In the order of the work: what fails early explains what fails later."""
