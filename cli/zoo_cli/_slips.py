"""What a person meant whose command was refused: one line, and the commands to type instead.

It is asked after a refusal only, so no right command pays for it. A mechanism comes before a list: an unexpected word
is a path, a model or an option; an unknown option belongs to another verb, or is a setting. What other programs call
things is in `_elsewhere`.

What this module does not know: how the line is printed, and the exit status.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.errors import ModelError, UsageError, ZooError
from zoo_cli import _elsewhere
from zoo_cli._typed import (
    EXPORT,
    MODELS,
    Command,
    Line,
    capital,
    find_option_by_value,
    inner_verbs,
    is_behind,
    is_model_name,
    is_set_name,
    kind_of,
    model_of,
    options_of,
    quote,
    read,
    value_behind,
    without,
)

__all__ = ["Advice", "advise"]

_DASHES = ("\N{EN DASH}", "\N{EM DASH}")
"""What programs for text make of two hyphens."""
_NO_MODEL = (
    "bundle-expected",
    "bundle-manifest-missing",
    "export-again",
    "file-missing",
    "model-format",
    "model-malformed",
)
"""Codes of what is raised where a model was expected."""
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.+)")


@dataclass(frozen=True, slots=True)
class Advice:
    """What to say after a refusal.

    Attributes:
        said: what was found.
        commands: what to type instead; words in capitals are for the user to fill in.
        remark: what must be known beside it.
    """

    said: str
    commands: tuple[str, ...] = ()
    remark: str = ""

    def line(self) -> str:
        """All of it on one line, the commands last so that they can be copied."""
        said = f"{self.said} ({self.remark})" if self.remark else self.said
        return f"{said}; did you mean: {'  or: '.join(self.commands)}" if self.commands else said


def advise(problem: Exception, given: Sequence[str], root: Command) -> Advice | None:
    """What was meant; None: the refusal says all there is.

    Args:
        problem: what was raised, by Typer or by the verb.
        given: the words behind `zoo`.
        root: the application with all its verbs.
    """
    line = read(given, root)
    if (advice := _assignments(line, problem)) is not None:
        return advice
    if isinstance(problem, ZooError):
        return _wrong_model(problem, line)
    if hasattr(problem, "possibilities"):
        return _unknown_option(line, str(problem.option_name), tuple(problem.possibilities or ()))  # type: ignore[attr-defined]
    if (option := getattr(problem, "option_name", None)) is not None:
        return _without_value(line, str(option))
    if line.is_group:
        return _unknown_verb(line) if line.rest else _list_verbs(line)
    if hasattr(problem, "param_type"):
        return _missing(line, getattr(problem, "param", None))
    if line.extra:
        return _extra(line)
    named = find_option_by_value(line, getattr(problem, "param", None))
    return named and Advice(f"not a value of {named[0]}: {named[1]!r}", (named[2],))


def _assignments(line: Line, problem: Exception) -> Advice | None:
    """`train model=resnet18 data=images epochs=3`, as ultralytics and Hydra have it."""
    placed = [*line.words(), *line.extra] if not line.is_group else []
    found = [match for word in placed if (match := _ASSIGNMENT.fullmatch(word)) and not Path(word).exists()]
    if not found or (
        isinstance(problem, ZooError) and problem.code not in ("model-unknown", "file-missing", "run-unknown")
    ):
        return None
    front: list[str] = []
    behind: list[str] = []
    for match in found:
        words = _translate(line, match[1], match[2])
        if words is None:
            return None
        (behind if words[0].startswith("-") else front).extend(words)
    kept = [word for word in line.rest if not any(word == match[0] for match in found)]
    typed = line.typed([*front, *kept, *behind])
    return Advice(f"{found[0][0]!r}: names and values are not joined by '='", (typed,))


def _unknown_option(line: Line, option: str, near: tuple[str, ...]) -> Advice | None:
    said = f"no such option: {option}"
    if line.is_group and not line.verbs:
        return _before_the_verb(line, said)
    options, key = options_of(line.command), option.lstrip("-").replace("-", "_")
    for word in line.rest:  # -data is read as -d -a -t -a
        flag, equals, behind = word.partition("=")
        if re.fullmatch(r"-[a-z]\w+", flag) and f"-{flag}" in options:
            return Advice(f"no such option: {flag}", (line.retype([word], [f"-{flag}{equals}{behind}"]),))
    value = value_behind(line.rest, option)
    old = [word for word in (option, value) if word is not None]
    said_so = next((why for names, why in _elsewhere.NEEDLESS.items() if key in names), None)
    if said_so is not None:
        return Advice(said, remark=said_so)
    ours = next((words for names, words in _elsewhere.FLAGS.items() if key in names), None)
    if ours is not None and ours[0] in options:
        return Advice(said, (line.retype(old if (value or "").isdigit() else [option], ours),))
    if old[0] not in line.rest:  # --name=value
        old = [f"{option}={value}"]
    if value is not None and f"--{value}" in options:
        return Advice(said, (line.retype(old, [f"--{value}"]),))
    words = None if option.strip("-") in {"help", "version"} else _translate(line, option.lstrip("-"), value or "VALUE")
    if words is not None:
        typed = line.retype(old if value is not None else [option], words)
        if not words[0].startswith("-") and not line.words():  # the model comes first
            typed = line.typed([*words, *without(line.rest, old)])
        return Advice(said, (typed,))
    if not line.is_group and (elsewhere := _verbs_with(line, option, value)):
        return Advice(f"{said} of '{line.name}'", elsewhere)
    if not option.startswith("--"):
        near = tuple(name for name in options_of(line.command) if name.startswith(f"--{option.lstrip('-')[:1]}"))
    likely = difflib.get_close_matches(option, near, n=1, cutoff=0.7) or ([] if option.startswith("--") else near[:3])
    if not likely:
        return Advice(f"{said}; see '{line.name} --help'")
    return Advice(said, tuple(line.retype([option], [name]) if option in line.rest else name for name in likely))


def _before_the_verb(line: Line, said: str) -> Advice | None:
    at = next((at for at, word in enumerate(line.rest) if word in line.command.commands), None)
    if at is None:
        return None
    typed = line.typed([*line.rest[at:], *line.rest[:at]])
    return Advice(f"{said}; options follow the verb", (typed,))


def _without_value(line: Line, option: str) -> Advice | None:
    there = options_of(line.command).get(option)
    if there is None:
        return None
    value = there.make_metavar(line.context())
    return Advice(f"option {option} needs a value, as in '{line.name} {option} {value}'; see '{line.name} --help'")


def _unknown_verb(line: Line) -> Advice:
    word = line.rest[0]
    said = f"no such command: '{line.name} {word}'" if line.verbs else f"no such command: {word!r}"
    behind = [*map(quote, line.rest[1:])]
    if line.verbs and word in line.root.commands:
        return Advice(said, (" ".join(("zoo", word, *behind)),))
    known = _elsewhere.meant_by(word)
    if line.verbs and word == "ls":
        known = _elsewhere.Meant((), (f"{line.name} list",))
    if known is not None:
        there = tuple(typed for typed in known.commands if _elsewhere.is_there(line, typed))
        if there or (known.remark and not line.verbs):
            return Advice(said, tuple(_elsewhere.fill(line, typed) for typed in there), known.remark)
    inside = [(group, name) for group, name in inner_verbs(line.root) if not line.verbs or group == line.verbs[0]]
    exact = tuple(
        " ".join(("zoo", group, name, *behind))
        for group, name in sorted(inside, key=lambda one: one[0])
        if name == word and not line.verbs
    )
    if exact:
        return Advice(said, exact)
    if kind := kind_of(word):
        return Advice(f"{word!r} is {kind}, not a command", _uses(line, word, kind))
    if not line.verbs and is_model_name(word):
        return Advice(f"{word!r} is a model, not a command", (f"zoo info {word}", f"zoo train {word}"))
    if is_set_name(word):
        return Advice(f"{word!r} is a data set, not a command", (f"zoo data info {word}",))
    names = [*(name for _, name in inside)] if line.verbs else [*line.root.commands, "help", "version"]
    if near := difflib.get_close_matches(word.lower(), names, n=2):
        return Advice(said, tuple(" ".join((line.name, name, *behind)) for name in near))
    return _list_verbs(line, said)


def _list_verbs(line: Line, said: str = "") -> Advice:
    """The commands of a group, where none was named."""
    names = ", ".join(line.command.commands)
    return Advice(f"{said or f'{line.name!r} needs a command'}; there are {names}; see '{line.name} --help'")


def _missing(line: Line, missing: Any) -> Advice | None:
    """An argument that was not given; of a model and images, the one word is looked at."""
    words = line.words()
    if missing.param_type_name != "argument":
        return None
    first = line.arguments()[0]
    kind = kind_of(words[0]) if words else ""
    if words and first.name == "model" and kind and kind not in MODELS:
        return _no_model(line, words, kind)
    example = (line.command.epilog or "").removeprefix("Example: ")
    lacks = f"missing argument {missing.human_readable_name!r}, expected '{line.usage()}'"
    return Advice(lacks + (f"; for example: {example}" if example else ""))


def _extra(line: Line) -> Advice:
    """A word too many: a path, a model or an option without its name."""
    word = line.extra[0]
    options, takes = options_of(line.command), line.usage()
    if word.startswith(_DASHES):
        rest = [f"--{one[1:]}" if one.startswith(_DASHES) else one for one in line.rest]
        return Advice(f"unexpected {word!r}: it begins with a dash of print", (line.typed(rest),))
    if f"--{word}" in options:
        return Advice(f"unexpected {word!r}", (line.retype([word], [f"--{word}"]),))
    kind = kind_of(word)
    if "--out" in options and (
        any(flag in line.rest and is_behind(line.rest, flag, word) for flag in ("--resume", "--overwrite"))
        or (word.endswith((".onnx", ".zoo", ".zoo.zip")) and not Path(word).exists())
    ):
        return Advice(f"unexpected {word!r}", (line.retype([word], ["--out", word]),))
    if "--model" in options and kind_of(first := line.words()[0]) in MODELS:
        return Advice(f"{first!r} is a model", (line.retype([first], ["--model", first], last=True),))
    models = kind in MODELS or is_model_name(word)
    if models and "--models" in options:
        return Advice(f"unexpected {word!r}, a model", (line.retype([word], ["--models", word], last=True),))
    if models and line.words():
        verb = "compare" if line.verbs[0] in {"train", "evaluate", "compare"} else line.verbs[0]
        every = " ".join(map(quote, [*line.words(), *line.extra]))
        typed = f"zoo {verb} {every}" if verb == "compare" else line.retype([word], [])
        return Advice(f"unexpected {word!r}: '{line.name}' takes one model", (typed,))
    named = is_set_name(word)
    if (kind or named or "/" in word) and "--data" in options and not line.values.get("data"):
        what = kind or ("a data set" if named else "a path that is not here")
        return Advice(f"unexpected {word!r}, {what}", (line.retype([word], ["--data", word], last=True),))
    return Advice(f"unexpected {word!r}: expected '{takes}'", (line.retype([word], []),))


def _wrong_model(problem: ZooError, line: Line) -> Advice | None:
    """A path in the place of a model, a model in the place of a path, a setting by another name."""
    if line.is_group or "--model" in options_of(line.command):  # the first word is not a model then
        return None
    if problem.code == "setting-unknown":
        return _other_setting(problem, line)
    if problem.code == "setting-form":
        return _setting_without_value(str(problem.fields.get("pair", "")), line)
    if problem.code == "model-unknown":
        return _path_for_name(problem, line)
    if problem.code not in _NO_MODEL or not isinstance(problem, ModelError | UsageError):
        return None
    words = line.words()
    kind = kind_of(words[0]) if words and Path(words[0]).exists() else ""
    if kind == "a run" and line.verbs == ("verify",):
        typed = f"zoo export {quote(words[0])} --onnx --bundle"
        return Advice(f"{words[0]!r} is a run; what proves itself is a bundle of it", (typed,))
    return _no_model(line, words, kind) if kind and kind not in MODELS else None


def _no_model(line: Line, words: Sequence[str], kind: str) -> Advice:
    """A verb that begins with a model got another path there."""
    said = f"{words[0]!r} is {kind}, not a model"
    swapped = next((word for word in words[1:] if kind_of(word) in MODELS), None)
    if swapped is not None:
        return Advice(f"{said}; MODEL comes first", (line.typed([swapped, *without(line.rest, [swapped])]),))
    model = "runs/latest" if Path("runs/latest").exists() else "MODEL"
    takes_images = any(one.name == "images" for one in line.arguments())
    if kind == EXPORT or (kind == "an image" and not takes_images):
        verb = "verify" if kind == EXPORT else f"predict {model}"
        return Advice(said, (f"zoo {verb} {quote(words[0])}",))
    if not takes_images and "--data" not in options_of(line.command):
        return Advice(said)
    if takes_images and kind not in {"an image", "a folder"}:  # a table holds no pixels
        typed = line.retype([words[0]], [model]) if len(words) > 1 else f"zoo evaluate {model} --data {quote(words[0])}"
        return Advice(said, (typed,))
    if "--data" in options_of(line.command):
        if kind_of(str(line.values.get("data") or "")) in MODELS:
            rest = without(without(line.rest, [words[0]]), ["--data", str(line.values["data"])])
            turned = [str(line.values["data"]), *rest, "--data", words[0]]
            return Advice(f"{said}; MODEL comes first", (line.typed(turned),))
        data = [] if line.values.get("data") else ["--data", words[0]]
        return Advice(said, (line.retype([words[0]], [model, *data]),))
    return Advice(said, (line.typed([model, *line.rest]),))


def _path_for_name(problem: ZooError, line: Line) -> Advice | None:
    name = str(problem.fields.get("model", ""))
    kind = kind_of(name)
    if not kind or not line.arguments():
        return None
    said = f"no model {name!r}: that is {kind}"
    data = str(line.values.get("data") or "")
    if line.verbs in {("train",), ("tune",)} and kind not in MODELS:
        if is_model_name(data):
            rest = without(without(line.rest, [name]), ["--data", data])
            return Advice(said, (line.typed([data, *rest, "--data", name]),))
        return Advice(said, (line.retype([name], ["MODEL", "--data", name]),))
    if line.verbs == ("train",) and kind == "a run":
        if "--resume" in line.rest and "--out" not in line.rest:
            return Advice(said, (line.retype([name], [model_of(name), "--out", name]),))
        return Advice(said, (line.retype([name], ["MODEL", "--weights", name]),))
    return Advice(said, _uses(line, name, kind))


def _other_setting(problem: ZooError, line: Line) -> Advice | None:
    """`--set learning_rate=…` is --lr here."""
    name = str(problem.fields.get("name", ""))
    pair = next((word for word in line.rest if word.partition("=")[0].strip() == name), None)
    words = _translate(line, name, pair.partition("=")[2]) if pair is not None else None
    if pair is None or words is None or "--set" not in line.rest or not words[0].startswith("-"):
        return None
    return Advice(f"--set {name}: no such setting", (line.retype(["--set", pair], words),))


def _setting_without_value(name: str, line: Line) -> Advice | None:
    """`--set class_weight`, by any of its names."""
    words = _translate(line, name, "VALUE")
    if words is None:
        return None
    return Advice(f"--set {name}: no value was given", (line.retype(["--set", name], words),))


def _translate(line: Line, name: str, value: str) -> list[str] | None:
    """A name and a value of another program as words of this verb; None: it knows no such thing."""
    from zoo.spec import TrainConfig
    from zoo.workflow._settings import choices_of

    key = name.replace("-", "_")
    every = [key, *(ours for ours, theirs in _elsewhere.OPTIONS.items() if key in theirs)]
    options = options_of(line.command)
    table = ["csv"] if "out" in every else []  # what 'zoo predict' writes
    for one in (*table, *every) if value.endswith(".csv") else (*every, *table):
        if (flag := f"--{one.replace('_', '-')}") in options:
            return [flag] if options[flag].is_flag else [flag, value]
    ours = every[min(1, len(every) - 1)]
    for argument in line.arguments():
        if key in {str(argument.name), f"{argument.name}s"} or (ours == "data" and argument.name in {"images", "path"}):
            return [value]
    setting = key if key in TrainConfig.__struct_fields__ else ours
    if "--set" in options and setting in TrainConfig.__struct_fields__:
        value = (choices_of(setting) or [value])[-1] if value == "VALUE" else value
        return ["--set", f"{setting}={value}"]
    return None


def _verbs_with(line: Line, option: str, value: str | None) -> tuple[str, ...]:
    """Other verbs that have an option of this name, with the data that was named."""
    key = option.lstrip("-").replace("-", "_")
    ours = next((f"--{ours}" for ours, theirs in _elsewhere.OPTIONS.items() if key in theirs), option)
    found = []
    for name, command in [*line.root.commands.items(), *_inner_commands(line.root)]:
        there = {} if hasattr(command, "commands") else options_of(command)
        if ours in there:
            data = str(line.values.get("data") or "")
            places = [one for one in command.params if one.param_type_name == "argument" and one.required]
            words = [quote(data) if data and one.name == "path" else capital(one) for one in places]
            given = [] if there[ours].is_flag else [quote(value or "VALUE")]
            found.append(" ".join(("zoo", name, *words, ours, *given)))
    return tuple(found[:2])


def _inner_commands(root: Command) -> Iterator[tuple[str, Command]]:
    for group, name in inner_verbs(root):
        yield f"{group} {name}", root.commands[group].commands[name]


def _uses(line: Line, word: str, kind: str) -> tuple[str, ...]:
    """What can be done with a path."""
    typed = quote(word)
    if line.verbs[:1] == ("runs",):
        return (f"zoo runs {'show' if kind == 'a run' else 'list'} {typed}",)
    if kind in MODELS:
        return f"zoo evaluate {typed}", f"zoo predict {typed} IMAGE…"
    if kind == "an image":
        return (f"zoo predict MODEL {typed}",)
    if line.verbs[:1] == ("data",):
        return f"zoo data info {typed}", f"zoo data check {typed}"
    return f"zoo data check {typed}", f"zoo train MODEL --data {typed}"
