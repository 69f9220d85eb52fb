"""What a run over folds was begun with, as the run keeps it: a resumed one repeats it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from zoo._support.text import quote_path
from zoo.errors import TrainingError
from zoo.spec import parse_duration
from zoo.workflow._settings import settings_of, words_of

if TYPE_CHECKING:
    from zoo.runs import RunFolder
    from zoo.spec import Budget

__all__ = ["FOLDS_REQUEST", "FoldsRequest", "Then", "check_unchanged", "read_request", "share_time", "spell_budget"]

FOLDS_REQUEST = "folds.json"
"""In a run over folds: what was asked for, which a resumed run repeats."""

Then = Literal["none", "all", "ensemble"]


class FoldsRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`FOLDS_REQUEST`: what a run over folds was begun with."""

    model: str
    skip_bad: bool
    then: Then
    budget: dict[str, Any]
    """What the user said of the recipe; fields of `Budget`, paths as text."""
    folds: tuple[int, ...]
    """Numbers of the folds, in the order of `RunRecord.folds`."""


def spell_budget(budget: Budget) -> dict[str, Any]:
    """What was said, as JSON gives it back."""
    said = {name: value for name, value in budget.items() if value is not None}
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(said, enc_hook=str))
    return decoded


def read_request(run: RunFolder) -> FoldsRequest:
    """What a run over folds was begun with.

    Raises:
        TrainingError: it is not one over folds, or its `FOLDS_REQUEST` is gone.
    """
    if not run.record.folds:
        raise TrainingError(
            f"{quote_path(run.path)} is one training, not one over folds; leave --folds out, or name another --out",
            code="run-other-kind",
            run=str(run.path),
        )
    try:
        return msgspec.json.decode(run.file(FOLDS_REQUEST).read_bytes(), type=FoldsRequest)
    except (OSError, msgspec.DecodeError):  # a value that does not fit is one, too
        raise TrainingError(
            f"{quote_path(run.file(FOLDS_REQUEST))} is missing or damaged; train it again with --overwrite",
            code="run-incomplete",
            path=str(run.file(FOLDS_REQUEST)),
        ) from None


def check_unchanged(asked: FoldsRequest, model: str, budget: Budget, *, skip_bad: bool) -> None:
    """Refuse to continue with other words than those that the run began with.

    Raises:
        TrainingError: names the first that differs.
    """
    from zoo.runs import refuse_changed

    now = words_of({"model": model, "skip_bad": skip_bad, **spell_budget(budget)})
    before = words_of({"model": asked.model, "skip_bad": asked.skip_bad, **asked.budget})
    for name in dict.fromkeys((*now, *before)):
        was, given = before.get(name), now.get(name)
        if was != given and (was or given or name == "keep_na"):  # 0 and nothing are the defaults
            raise refuse_changed(f"--{name.replace('_', '-')}", was, given)


def share_time(budget: dict[str, Any], count: int) -> dict[str, Any]:
    """`budget` for one of so many trainings: a time that all may take is shared out."""
    settings = settings_of(budget)
    whole = settings.get("budget", budget.get("budget"))
    seconds = parse_duration(str(whole))
    if seconds is None:
        return budget
    left = {name: value for name, value in settings.items() if name != "budget"}
    return {**budget, "budget": f"{max(1, round(seconds / count))}s", "settings": left}
