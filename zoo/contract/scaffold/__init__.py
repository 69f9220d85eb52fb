"""A new plugin as a complete little project: `zoo plugin new`.

The files are in `templates/`: `common/` for every framework, and a folder for each. A project gets them as they are;
only `{{words}}` are filled in and the ending `.template` is left out. It keeps tools from taking them for code of ours.
"""

from __future__ import annotations

import keyword
import re
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from zoo._support.files import replace_folder
from zoo._support.versions import find_version
from zoo.errors import OutputError, UsageError
from zoo.registry import catalogue, plugins

__all__ = ["FRAMEWORKS", "Framework", "Names", "names_for", "new", "project_files"]

Framework = Literal["torch", "sklearn", "other"]
FRAMEWORKS: tuple[Framework, ...] = get_args(Framework)

TEMPLATES = Path(__file__).with_name("templates")
ENDING = ".template"

_MODELS: dict[Framework, str] = {"torch": "net", "sklearn": "forest", "other": "softmax"}
"""What the model in the templates is, as the end of its name."""

_DISTRIBUTION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
"""PEP 508, names."""
_TAKEN = frozenset({"zoo", "zoo_cli", "zoo_plugins", "test", "tests"})
_LONGEST = 60
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])")
"""Windows opens a device where a file or folder of such a name is meant."""
_NO_TEXT = re.compile(r"null|nan|yes|no|on|off|y|n|true|false|[0-9][0-9_]*(e[0-9]+)?|0x[0-9a-f_]+|0b[01_]+")
"""What YAML reads as nothing, a truth value or a number, and catalogues name plugins in YAML."""


@dataclass(frozen=True, slots=True)
class Names:
    """What a project is called in each place.

    Attributes:
        distribution: name as pip knows it, normalised (PEP 503): "zoo-acme".
        package: name as Python imports it: "zoo_acme".
        plugin: name of the entry point: "acme".
        model: name in the catalogue: "acme_net".
        kind: name of the plugin's class: "Acme".
    """

    distribution: str
    package: str
    plugin: str
    model: str
    kind: str


def new(name: str, framework: Framework, out: Path | None = None) -> tuple[Path, Names]:
    """Write a project that installs and holds to the contract without a change; all of it or nothing.

    Args:
        name: name of the distribution.
        framework: whose half of a plugin it builds on; "other" trains by itself.
        out: the project's folder, which must not be there yet; None: the distribution's name, here.

    Returns:
        The folder, and what everything is called.

    Raises:
        UsageError: the name cannot be used, or something installed has it already.
        OutputError: the folder is there already, or cannot be written.
    """
    names = names_for(name, framework)
    _refuse_clashes(names)
    folder = Path(names.distribution) if out is None else out
    if folder.exists() or folder.is_symlink():
        raise OutputError(
            f"{folder} is there already; nothing was written, choose another folder with --out",
            code="out-occupied",
            path=str(folder),
        )
    replace_folder(folder, {path: text.encode() for path, text in project_files(names, framework).items()})
    return folder, names


def names_for(name: str, framework: Framework) -> Names:
    """What the parts of a project called `name` are called.

    Raises:
        UsageError: pip or Python could not take it.
    """
    if not _DISTRIBUTION.fullmatch(name) or len(name) > _LONGEST:
        raise UsageError(
            f"{name[:80]!r} cannot be a distribution; expected up to {_LONGEST} of a-z, 0-9 and '-', such as zoo-acme",
            code="name-invalid",
            name=name[:80],
        )
    distribution = re.sub(r"[-_.]+", "-", name).lower()
    package = distribution.replace("-", "_")
    if not package.isidentifier():
        raise UsageError(
            f"a package called {package!r} cannot be imported; let the name begin with a letter",
            code="name-invalid",
            name=package,
        )
    if keyword.iskeyword(package) or package in sys.stdlib_module_names or package in _TAKEN:
        raise UsageError(
            f"{package!r} is a name of Python or of the zoo itself; choose another, such as zoo-{package}",
            code="name-invalid",
            name=package,
        )
    if _DEVICES.fullmatch(package):
        raise UsageError(
            f"{package!r} is a device on Windows, no folder; choose another, such as zoo-{package}",
            code="name-invalid",
            name=package,
        )
    stem = package.removeprefix("zoo_") or package
    if _NO_TEXT.fullmatch(stem):
        raise UsageError(
            f"a plugin called {stem!r} would be no text in a catalogue; choose another, such as zoo-my-{stem}",
            code="name-invalid",
            name=stem,
        )
    return Names(
        distribution=distribution,
        package=package,
        plugin=stem,
        model=f"{stem}_{_MODELS[framework]}",
        kind="".join(part.capitalize() for part in f"zoo_{stem}".split("_")[0 if stem[0].isdigit() else 1 :]),
    )


def project_files(names: Names, framework: Framework) -> dict[str, str]:
    """Every file of the project: path below its folder, with "/", to text."""
    from zoo.plugin import API

    words = {
        "distribution": names.distribution,
        "package": names.package,
        "plugin": names.plugin,
        "model": names.model,
        "class": names.kind,
        "api": str(API),
    }
    files = {}
    for part in ("common", framework):
        root = TEMPLATES / part
        for path in sorted(root.rglob(f"*{ENDING}")):
            target = path.relative_to(root).as_posix().removesuffix(ENDING).replace("PACKAGE", names.package)
            files[target] = re.sub(r"\{\{(\w+)\}\}", lambda match: words[match[1]], path.read_text(encoding="utf-8"))
    return dict(sorted(files.items()))


def _refuse_clashes(names: Names) -> None:
    """A name that two distributions claim is nobody's: the zoo would refuse to load either."""
    if (here := find_version(names.distribution)) is not None:
        raise UsageError(
            f"{names.distribution} {here} is installed already; choose another name",
            code="name-taken",
            name=names.distribution,
        )
    there = find_spec(names.package)
    if there is not None and there.origin is not None:  # by a distribution of another name, as yaml is by PyYAML
        raise UsageError(
            f"a package {names.package!r} is installed already; choose another name",
            code="name-taken",
            name=names.package,
        )
    for row in plugins():
        if row.name == names.plugin:
            raise UsageError(
                f"plugin {names.plugin!r} is defined by {row.distribution} {row.version} already; choose another name",
                code="name-taken",
                name=names.plugin,
                by=str(row.distribution),
            )
    for entry in catalogue().entries.get(names.model, ()):
        raise UsageError(
            f"model {names.model!r} is defined by {entry.distribution} already; choose another name",
            code="name-taken",
            name=names.model,
            by=str(entry.distribution),
        )
