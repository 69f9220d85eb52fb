"""The verb `monitor` of a device: it parses nothing, calls one function and prints what it found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from zoo.edge._monitor import ALPHA, LABEL
from zoo.edge._options import Argument, Find, Json, Option
from zoo.edge._print import document, fields, format_count, format_table, put
from zoo.errors import GateError
from zoo.spec import Interval

__all__ = ["monitor"]

_LABELS = 12
"""Labels without an alarm that are shown."""


def monitor(
    answers: Annotated[Path, Argument("ANSWERS", "The table that 'predict --csv' wrote, in the order of time.")],
    *,
    against: Annotated[Path, Option("--against", "The model whose answers these are.", "MODEL")],
    alpha: Annotated[
        float, Option("--alpha", "Most that the probability of a false alarm, ever, may be.", "P")
    ] = ALPHA,
    group: Annotated[
        str | None,
        Option("--group", "Finds the patient in an image's name, 'patient([0-9]+)'; the first image counts.", "REGEX"),
    ] = None,
    shuffle: Annotated[
        bool, Option("--shuffle", "Mix the rows, where their order is not that of time; for one look.")
    ] = False,
    fail: Annotated[bool, Option("--fail", "Exit 3 where drift is found.")] = False,
    as_json: Json = False,
    find: Find = Path,
) -> int:
    """Say whether a site's images are still like those that the model was made for.

    Compares answers, one after the other, with those to the validation images, which the model file remembers. The
    test may be repeated on a growing table as often as wished.
    """
    from zoo.edge._monitor import monitor as compare

    found = compare(answers, find(against), alpha=alpha, group=group, shuffle=shuffle)
    if as_json:
        document(found)
    else:
        quiet = [one for one in found.statistics if one.alarm is None and one.name.startswith(LABEL)]
        hidden = {one.name for one in quiet[_LABELS:]}
        rows = [
            (
                one.name,
                f"{one.reference:.4g}",
                str(one.site) if isinstance(one.site, Interval) else f"{one.site:.4g}",
                f"{one.evidence:.1f} of {one.threshold:.1f}",
                "-" if one.alarm is None else f"image {one.alarm}, since about {one.since}",
            )
            for one in found.statistics
            if one.name not in hidden
        ]
        put(found.headline())
        put("\n" + format_table(("statistic", "reference", "here", "evidence", "alarm"), rows, right=(1,)))
        if hidden:
            put(f"{format_count(len(hidden), 'further label')} without an alarm")
        about = {"evidence": "decimal logarithm; an alarm from the second number on"}
        about |= {"false alarms": f"at most {alpha:g} in all, however often this is asked"}
        about |= {f"note {at}": note for at, note in enumerate(found.notes, 1)}
        put("\n" + fields(about))
    return GateError.exit_code if fail and found.alarms else 0
