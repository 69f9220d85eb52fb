"""What the columns of a table mean: by their names, by what a user says, and by their cells where names say nothing."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo._support.cells import IMAGE_COLUMNS, column_key
from zoo._support.text import brief
from zoo.data._sources.values import YES, read_mark
from zoo.errors import DataError, UsageError
from zoo.tabular import divide_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["ABOUT", "MARK", "NAMES", "Columns", "check_roles", "columns_of", "find_inputs", "position_of"]

NAMES: dict[str, tuple[str, ...]] = {
    "image": IMAGE_COLUMNS,
    "label": ("label", "class", "target", "diagnosis", "diagnostic", "dx"),
    "labels": ("labels", "finding_labels"),
    "split": ("split", "subset", "partition"),
    "fold": ("fold",),
    # a patient holds lesions and studies, and is what splits must not share
    "group": (
        "patient", "patient_id", "patientid", "patient_no", "patient_number", "pid", "mrn", "subject", "subject_id",
        "subjectid", "participant", "participant_id", "case_id", "group", "lesion", "lesion_id", "study", "study_id",
        "studyinstanceuid", "study_instance_uid",
    ),
    "frame": ("frame",),
    "site": ("site", "hospital", "institution"), "age": ("age", "patient_age"),
    "sex": ("sex", "gender", "patient_sex", "patient_gender"),
    "device": ("device", "scanner", "camera", "manufacturer"),
}  # fmt: skip
"""What a column is for, and the names it may have, compared in lower case with "_" for spaces and hyphens. Where more
than one of a kind is there, the plain name (image, label) decides, and for groups their cells do; see
`zoo.data._sources.group_columns`."""

_CLASSES = ("level", "grade", "category")
"""Names that a class column has where no column has a name of `NAMES["label"]`, as in EyePACS."""

MARK = "label:"
"""Begins the name of a column of zeros and ones that says whether an image has the label that follows."""

ABOUT = ("site", "age", "sex", "device")
"""Roles whose column may be given to a model; reports are divided by them."""

_NEARLY = 0.99  # a column with so large a share of zeros and ones is one, and its other cells are mistakes


@dataclass(frozen=True, slots=True)
class Columns:
    """Positions of the columns that mean something.

    Attributes:
        image: which file.
        label: its one class, or None.
        labels: its labels in one cell, joined by "|", or None.
        marks: (label, position) of columns of zeros and ones.
        guessed: the marks do not bear the prefix, and nobody named them; their cells make them marks.
        split: train, val or test.
        fold: a number.
        groups: (name, position) of columns of patients, lesions or studies: what the user names, then patients first.
        frame: which picture of a file with several, from 1.
        kept: (name, position) of columns with a role, such as age, that are kept beside the images.
        others: (name, position) of columns without a meaning here, kept for `zoo evaluate --by`.
        inputs: (name, position) of columns that a model is given beside the image.
        roles: what a column is for: its name, or those of several.
        ignored: the name of a column that means nothing: why.
    """

    image: int
    label: int | None
    labels: int | None
    marks: tuple[tuple[str, int], ...]
    guessed: bool
    split: int | None
    fold: int | None
    groups: tuple[tuple[str, int], ...]
    frame: int | None
    kept: tuple[tuple[str, int], ...]
    others: tuple[tuple[str, int], ...]
    inputs: tuple[tuple[str, int], ...]
    roles: Mapping[str, str | tuple[str, ...]]
    ignored: Mapping[str, str]


def check_roles(chosen: Mapping[str, str]) -> None:
    """Refuse what `chosen` cannot mean.

    Raises:
        UsageError: an unknown role, or a role without a column.
    """
    for role, name in chosen.items():
        if role not in NAMES:
            near = difflib.get_close_matches(role, NAMES, n=2)
            meant = f"did you mean {_or(near)}?" if near else f"expected {_or(tuple(NAMES))}"
            raise UsageError(
                f"--columns {role}={name}: {role!r} is not a role of a column; {meant}",
                code="option-value",
                option="--columns",
                value=role,
                near=near,
            )
        if not name.strip():
            raise UsageError(
                f"--columns {role}=: names no column; expected {role}=COLUMN",
                code="option-value",
                option="--columns",
                value=role,
            )


def position_of(name: str, header: Sequence[str], file: str, role: str) -> int:
    """Where the column lies that a user names for `role`.

    Raises:
        DataError: there is none of this name; similar ones are named.
    """
    exact = [at for at, one in enumerate(header) if one == name.strip()]
    found = exact or [at for at, one in enumerate(header) if one and column_key(one) == column_key(name)]
    if found:
        return found[0]
    spelled = {column_key(one): one for one in header if one}
    near = [spelled[one] for one in difflib.get_close_matches(column_key(name), spelled, n=3)]
    meant = f"did you mean {_or(near)}?" if near else f"expected one of {brief((one for one in header if one), 12)}"
    raise DataError(
        f"{file}: has no column {name!r} for {role}; {meant}",
        code="table-column-missing",
        role=role,
        column=name,
        near=near,
    )


def columns_of(
    header: Sequence[str],
    file: str,
    image: int,
    cells: Callable[[Sequence[int]], Iterable[tuple[int, tuple[str, ...]]]],
    *,
    chosen: Mapping[str, str] | None = None,
    also: str | None = None,
    inputs: Sequence[str] = (),
) -> Columns:
    """Find out what each column means.

    Args:
        header: names of the columns.
        file: name of the table, for errors.
        image: the column of images.
        cells: rows of the table, as `Cells.rows`; asked only where no name says what an image shows.
        chosen: what the user says, checked by `check_roles`: role to column. Several columns of zeros and ones are
            joined by commas or bars.
        also: one more column to keep, such as one to group by; it need not be there.
        inputs: columns that a model is to be given, see `TrainConfig.inputs`.

    Raises:
        DataError: no label column, several that could be it, both split and fold, no column that `chosen` or `inputs`
            names, or one of `inputs` that means something else.
    """
    chosen = chosen or {}
    where = {column_key(name): (at, name) for name, at in reversed(_list_named(header))}
    but_image = {name: place for name, place in where.items() if place[0] != image}
    found: dict[str, int | None] = {"image": image}
    marks = _take_marks(header, file, chosen)
    for role, names in NAMES.items():
        if role in chosen and not (role == "labels" and marks):
            found[role] = position_of(chosen[role], header, file, role)
        elif role not in found:
            found[role] = (
                None if _is_settled(role, chosen) else _one(role, names, where if role == "group" else but_image, file)
            )
    if found["split"] is not None and found["fold"] is not None:
        raise DataError(
            f"{file}: columns for split and for fold both divide the images; name one with --columns split=COLUMN",
            code="table-columns",
            role="split",
        )
    if not _is_settled("label", chosen):
        marks = tuple((name[len(MARK) :].strip(), at) for name, at in _list_named(header) if _is_mark(name))
        _check_marks(marks, file)
    given = [role for role in ("label", "labels") if found[role] is not None] + ([MARK] if marks else [])
    if len(given) > 1:
        raise DataError(
            f"{file}: columns {brief(given)} all say what an image shows; keep one of them, "
            "or name it with --columns label=COLUMN",
            code="table-columns",
            role="label",
            columns=list(given),
        )
    why: dict[str, str] = {}
    guessed = False
    if not given:
        found["label"] = _one("label", _CLASSES, but_image, file)
    taken = {at for at in found.values() if at is not None} | {at for _, at in marks}
    if not given and found["label"] is None:
        known = {where[name][0] for names in NAMES.values() for name in names if name in where}
        free = [(name, at) for name, at in _list_named(header) if at not in taken and at not in known]
        marks, why = _find_marks(free, file, cells)
        guessed = True
        taken |= {at for _, at in marks}
    groups = list(dict.fromkeys([found["group"], *(where[name][0] for name in NAMES["group"] if name in where)]))
    meant: dict[int | None, str] = {at: role for role, at in found.items() if role not in ABOUT}
    meant.update((at, "labels") for _, at in marks)
    meant.update((at, "group") for at in (groups[:1] if "group" in chosen else groups))
    kept = {role: found[role] for role in ABOUT}
    if also is not None and column_key(also) in where:
        kept[also] = where[column_key(also)][0]
        taken.add(where[column_key(also)][0])
    asked = find_inputs(inputs, header, file, found, meant)
    used = {*meant, *kept.values()}
    others = {name: at for name, at in _list_named(header) if at not in used and name not in kept}
    taken |= set(asked.values())
    roles: dict[str, str | tuple[str, ...]] = {role: header[at] for role, at in found.items() if at is not None}
    roles |= {"labels": tuple(header[at] for _, at in marks)} if marks else {}
    return Columns(
        image=image,
        label=found["label"],
        labels=found["labels"],
        marks=marks,
        guessed=guessed,
        split=found["split"],
        fold=found["fold"],
        groups=tuple((header[at], at) for at in groups if at is not None),
        frame=found["frame"],
        kept=tuple((name, at) for name, at in kept.items() if at is not None),
        others=tuple(others.items()),
        inputs=tuple(asked.items()),
        roles={role: roles[role] for role in NAMES if role in roles},
        ignored={name: _why(name, roles, why) for name, at in _list_named(header) if at not in taken},
    )


def find_inputs(
    inputs: Sequence[str],
    header: Sequence[str],
    file: str,
    found: Mapping[str, int | None],
    meant: Mapping[int | None, str],
) -> dict[str, int]:
    """Positions of the columns to be given to a model, by their names in the header; a role such as age is a name, too.

    Args:
        inputs: names, as in `TrainConfig.inputs`.
        header: names of the columns.
        file: name of the table.
        found: further names, and the positions that they mean.
        meant: columns that say what the answer is, or who it is: position to role.

    Raises:
        ZooError: no such column, one of `meant`, or one that is named twice.
    """
    asked: dict[str, int] = {}
    for text in inputs:
        name = divide_request(text)[0]
        role = found.get(column_key(name))
        try:
            at = role if role is not None and name not in header else position_of(name, header, file, "inputs")
        except DataError as problem:
            raise DataError(str(problem), code="inputs-missing", columns=[name], near=problem.fields["near"]) from None
        if name in asked or at in asked.values():
            raise UsageError(
                f"--inputs names {header[at]!r} twice; name each column once", code="inputs-twice", column=header[at]
            )
        if at in meant:
            raise DataError(
                f"{file}: column {name!r} is the {meant[at]}, which a model cannot be given beside the image; "
                "leave it out of --inputs",
                code="inputs-role",
                column=name,
                role=meant[at],
            )
        asked[name] = at
    return asked


def _is_settled(role: str, chosen: Mapping[str, str]) -> bool:
    """Whether what the user says leaves nothing to be found for a role."""
    alike = next((pair for pair in (("label", "labels"), ("split", "fold")) if role in pair), (role,))
    return any(one in chosen for one in alike)


def _one(role: str, names: Sequence[str], where: Mapping[str, tuple[int, str]], file: str) -> int | None:
    """`where`: the position and name of each column, by its plain name."""
    there = [name for name in names if name in where]
    if len(there) > 1 and role in {"label", "split"} and role not in there:
        given = [where[name][1] for name in there]
        raise DataError(
            f"{file}: columns {brief(given)} could each be the {role}; name the one that is meant with "
            f"--columns {role}=COLUMN",
            code="table-columns",
            role=role,
            columns=given,
        )
    return where[there[0]][0] if there else None


def _is_mark(name: str) -> bool:
    return name.lower().startswith(MARK)


def _take_marks(header: Sequence[str], file: str, chosen: Mapping[str, str]) -> tuple[tuple[str, int], ...]:
    """Several columns that the user names for labels; none where it is one."""
    text = chosen.get("labels", "")
    names = [name.strip() for name in re.split("[,|]", text)]
    if len(names) < 2 or text in header:
        return ()
    places = [position_of(name, header, file, "labels") for name in names]
    return tuple((header[at][len(MARK) :].strip() if _is_mark(header[at]) else header[at], at) for at in places)


def _check_marks(marks: Sequence[tuple[str, int]], file: str) -> None:
    if len({label for label, _ in marks}) < len(marks) or any(not label for label, _ in marks):
        raise DataError(
            f"{file}: columns that begin with {MARK!r} name a label twice, or none; rename them",
            code="table-columns",
            role="label",
        )


def _find_marks(
    free: Sequence[tuple[str, int]],
    file: str,
    cells: Callable[[Sequence[int]], Iterable[tuple[int, tuple[str, ...]]]],
) -> tuple[tuple[tuple[str, int], ...], dict[str, str]]:
    """Columns whose cells are all 1, 0, -1 or blank, with a 1 among them; and why others are none.

    Raises:
        DataError: fewer than two, or a column that holds hardly anything else.
    """
    names = dict(free)
    ones: Counter[str] = Counter()
    others: Counter[str] = Counter()
    first: dict[str, tuple[int, str]] = {}
    rows = 0
    for number, row in cells(list(names.values())):
        rows += 1
        for name, cell in zip(names, row, strict=True):
            mark = read_mark(cell)
            if mark == YES:
                ones[name] += 1
            elif mark is None:
                others[name] += 1
                first.setdefault(name, (number, cell))
    for name, n in others.items():
        if ones[name] and n <= (1 - _NEARLY) * rows:
            number, cell = first[name]
            raise DataError(
                f"{file}: column {name!r} holds zeros and ones, and row {number} holds {cell!r}; mend it, "
                "or name the columns of labels with --columns labels=A,B",
                code="table-rows",
                rows=n,
                column=name,
            )
    why = {name: f"holds {cell[:40]!r}, which is not 0 or 1" for name, (_, cell) in first.items()}
    why |= {name: "holds no 1" for name in names if name not in first and not ones[name]}
    marks = tuple((name, at) for name, at in free if name not in why)
    if len(marks) > 1:
        return marks, why
    tried = "; ".join(f"{name!r} {why.get(name, 'alone holds zeros and ones')}" for name in list(names)[:3])
    raise DataError(
        f"{file}: no column names the class{f' ({tried})' if tried else ''}; expected one called "
        f"{_or(NAMES['label'][:4])}, or columns of zeros and ones; name it with --columns label=COLUMN",
        code="table-column-missing",
        role="label",
        tried=list(names),
    )


def _why(name: str, roles: Mapping[str, str | tuple[str, ...]], why: Mapping[str, str]) -> str:
    """Why a column is ignored."""
    if name in why:
        return why[name]
    spelled = column_key(name)
    for role, known_names in NAMES.items():
        known = (
            spelled in known_names
            or (role == "label" and spelled in _CLASSES)
            or (role == "labels" and spelled.startswith(MARK))
        )
        if known:
            winner = roles.get(role) or roles.get({"label": "labels", "labels": "label", "split": "fold"}.get(role, ""))
            if winner is not None:
                names = [winner] if isinstance(winner, str) else winner
                return f"{brief(names, 3)} {'was' if len(names) == 1 else 'were'} taken for the {role}"
    return "its name has no meaning here"


def _list_named(header: Sequence[str]) -> list[tuple[str, int]]:
    return [(name, position) for position, name in enumerate(header) if name]


def _or(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:-1]) + (" or " if len(names) > 1 else "") + repr(names[-1])
