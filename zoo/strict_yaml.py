"""YAML that is only data: text keys, none twice, no aliases, finite numbers, not deep.

Importing PyYAML is felt in `zoo list`, so this is imported only where a file has to be parsed.
"""

from __future__ import annotations

import math
import re
from typing import Any, NoReturn

import yaml

from zoo.errors import CatalogueError

__all__ = ["load"]

MAX_DEPTH = 16
"""A card nests four deep; libyaml's composer is recursive and dies of a segmentation fault at 100 000."""

_Fastest: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Fastest):  # type: ignore[misc]  # which of the two is known at run time only
    """Plain values only: text keys, none twice, no merge keys, finite numbers."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                _refuse(key, f"key {getattr(key, 'value', '')!r} is not text; put it in quotes")
            if key.value in seen:
                _refuse(key, f"key {key.value!r} stands twice")
            seen.add(key.value)
        mapping: dict[str, Any] = super().construct_mapping(node, deep)
        return mapping

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        value: float = super().construct_yaml_float(node)
        if not math.isfinite(value):
            _refuse(node, f"{node.value} is not a finite number")
        return value


_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)
# YAML 1.1 takes 11.7e6 and 1e-3 for text; everyone who writes them means numbers, as YAML 1.2 says.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def load(data: bytes, what: str) -> Any:
    """The document in `data`, which is called `what` in errors.

    Raises:
        CatalogueError: not valid YAML, an alias, a repeated key, a number without a value, or too deep.
    """
    try:
        text = data.decode("utf-8")
        _check_events(text)
        return yaml.load(text, Loader=_Loader)  # noqa: S506  # a subclass of the safe loader
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        reason = getattr(problem, "problem", None) or str(problem)
        where = f" (line {mark.line + 1})" if mark is not None else ""
        raise CatalogueError(f"{what}: {' '.join(reason.split())}{where}") from None
    except ValueError as problem:  # not UTF-8, or a number of more digits than Python converts
        raise CatalogueError(f"{what}: {' '.join(str(problem).split())}") from None


def _refuse(place: Any, problem: str) -> NoReturn:
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)


def _check_events(text: str) -> None:
    """Refuse aliases (a few lines of them unfold to gigabytes) and depth before anything is built."""
    depth = 0
    for event in yaml.parse(text, Loader=_Fastest):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            _refuse(event, "anchors and aliases are not allowed; write the value out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                _refuse(event, f"nested more than {MAX_DEPTH} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
