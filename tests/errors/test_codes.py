"""docs/errors.md lists every code that the code can raise, with its class and exit status, and no other."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

from zoo import errors

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("zoo", "cli", "plugins")
CLASSES = {name: getattr(errors, name) for name in errors.__all__}
FORM = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
ROW = re.compile(r"\| `(?P<code>[a-z0-9-]+)` \| (?P<classes>[^|]*) \| (?P<exits>[^|]*) \| (?P<meaning>[^|]+) \|")
OF_THE_COMMAND_LINE = {"package-missing", "interrupted", "memory", "os", "defect"}
"""What `zoo.edge._print` prints of errors that are not the zoo's own."""


def raised() -> dict[str, set[str]]:
    """Every literal `code="…"` of a call, with what is called."""
    found: dict[str, set[str]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                for keyword in node.keywords:
                    if keyword.arg == "code" and isinstance(keyword.value, ast.Constant):
                        found.setdefault(keyword.value.value, set()).add(ast.unparse(node.func))
    return found


def listed() -> dict[str, list[re.Match[str]]]:
    """The tables of the page: the codes of classes, and those of causes."""
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    of_classes, of_causes = text.split("## Codes of causes")
    return {"classes": list(ROW.finditer(of_classes)), "causes": list(ROW.finditer(of_causes))}


def test_the_page_lists_every_code_and_no_other() -> None:
    rows = [row["code"] for row in listed()["causes"]]
    assert rows == sorted(set(rows)), "one row a code, in order"
    codes = set(raised())
    assert (codes - set(rows), set(rows) - codes) == (set(), set()), "not on the page, and not in the code"


def test_the_page_names_class_and_exit_status_of_each() -> None:
    found = raised()
    for row in listed()["causes"]:
        kinds = sorted(found[row["code"]] & set(CLASSES))
        assert row["classes"] == ", ".join(f"`{kind}`" for kind in kinds), row["code"]
        exits = sorted({CLASSES[kind].exit_code for kind in kinds})
        assert row["exits"] == ", ".join(map(str, exits)), row["code"]


def test_the_code_of_every_class_is_on_the_page() -> None:
    own = {kind.default_code: (name, kind.exit_code) for name, kind in CLASSES.items() if "default_code" in vars(kind)}
    rows = {row["code"]: (row["classes"].strip("`"), int(row["exits"])) for row in listed()["classes"]}
    assert rows == own


def test_a_code_is_a_thing_and_what_is_wrong_with_it() -> None:
    codes = set(raised())
    assert {code for code in codes if not FORM.fullmatch(code) or "-" not in code} == set()
    assert not codes & {kind.default_code for kind in CLASSES.values()}, "a class has its code without being told"


def test_the_codes_of_the_command_line_are_on_the_page() -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    main = (ROOT / "zoo" / "edge" / "_print.py").read_text(encoding="utf-8")
    for code in OF_THE_COMMAND_LINE:
        assert f"`{code}`" in text
        assert f'"{code}"' in main


def test_a_field_of_any_kind_can_be_printed() -> None:
    """A stranger's plugin may give a path or a number of numpy; `--json` once ended in a traceback."""
    import numpy as np

    from zoo.edge._document import as_json

    problem = errors.TrainingError("x", path=Path("q"), n=np.int64(3), several={"a": (1, Path("b"))})
    document = json.loads(as_json({"error": problem.document()}))["error"]
    assert (document["path"], document["n"], document["several"]) == ("q", "3", {"a": [1, "b"]})
    assert list(document)[:3] == ["type", "code", "message"]
