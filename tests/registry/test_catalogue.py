"""registry.yaml: what is refused, and that the refusal tells the author where to look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from zoo.catalogue import Distribution, own_file, parse, read
from zoo.errors import CatalogueError
from zoo.spec import Scale

if TYPE_CHECKING:
    from pathlib import Path

WHAT = "registry.yaml of acme 1.0"
PACKAGE = "weights: {source: 'hf-hub:a/b', licence: mit, package: {distribution: d"
PREPROCESS = "preprocess: {size: [8, 9], mean: [0, 0, 0], std: [1, 1, 1]}"


def one(*fields: str, name: str = "x") -> bytes:
    lines = "".join(f"    {field}\n" for field in fields)
    return f"schema: 1\nmodels:\n  {name}:\n{lines}".encode()


def good(*more: str) -> bytes:
    return one("plugin: p", "summary: s", PREPROCESS, *more)


def refusal(data: bytes) -> str:
    with pytest.raises(CatalogueError) as caught:
        parse(data, WHAT)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(WHAT)
    return message


def test_three_fields_are_enough_and_the_rest_follows_from_the_name() -> None:
    card = parse(good(), WHAT)["x"]
    assert (card.name, card.arch, card.family) == ("x", "x", "p")
    assert card.preprocess.size == (8, 9)
    assert card.preprocess.intensity == Scale(maximum=255)


@pytest.mark.parametrize("number", ["11.7e6", "1e3", "2E+4", "1.5", "12"])
def test_numbers_are_read_as_people_write_them(number: str) -> None:
    """YAML 1.1 takes 11.7e6 for text; a catalogue that says so would be refused without reason."""
    assert parse(good(f"parameters: {number}"), WHAT)["x"].parameters == float(number)


@pytest.mark.parametrize("field", ["plugin", "summary", "preprocess"])
def test_a_missing_field_is_named(field: str) -> None:
    kept = [line for line in ("plugin: p", "summary: s", PREPROCESS) if not line.startswith(field)]
    assert refusal(one(*kept)) == f"{WHAT}: model 'x': field '{field}' is missing"


def test_an_unknown_field_names_file_model_field_and_its_likeliest_meaning() -> None:
    message = refusal(one("plugin: p", "summary: s", "prepocess: {}"))
    assert message == f"{WHAT}: model 'x': unknown field 'prepocess'; did you mean 'preprocess'?"


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("train: {epoch: 3}", "train: unknown field 'epoch'; did you mean 'epochs'?"),
        ("train: {epochs: many}", "train.epochs: expected `int`, got `str`"),
        ("train: {lr: 0}", "train: lr is 0"),
        (
            "weights: {source: 'hf-hub:a/b', license: mit}",
            "weights: unknown field 'license'; did you mean 'licence'?",
        ),
        (
            "weights: {source: 'http://a/b', licence: mit}",
            "weights.source: expected 'hf-hub:ORGANISATION/NAME'",
        ),
        ("weights: {source: 'hf-hub:../b', licence: mit}", "weights.source"),
        ("weights: {source: 'hf-hub:a/b', licence: mit, sha256: abc}", "weights.sha256: expected 64"),
        (f"{PACKAGE}, file: ../f, sha256: '{'0' * 64}'}}}}", "weights.package.file"),
        (f"{PACKAGE}, file: f, sha256: '0'}}}}", "weights.package.sha256"),
        ("needs: [os.path]", "needs: expected names of importable top-level packages"),
        ("parameters: .nan", "not a finite number"),
        ("parameters: -1", "parameters: expected"),
        ("name: y", "unknown field 'name'"),
        ("licence: [mit]", "licence: expected `str`"),
    ],
)
def test_a_wrong_value_is_refused_where_it_stands(line: str, part: str) -> None:
    assert part in refusal(good(line))


def test_a_plugin_can_not_be_an_import_path() -> None:
    """A data file that could name a module could run code."""
    assert "not an import path" in refusal(one("plugin: os:system", "summary: s", PREPROCESS))


@pytest.mark.parametrize("name", ["ResNet", "a b", "'../x'", "-x", "timm/x", "'*'"])
def test_a_model_name_that_no_command_line_could_take_is_refused(name: str) -> None:
    assert "a name is made of" in refusal(one("plugin: p", "summary: s", PREPROCESS, name=name))


def test_a_model_written_twice_is_refused_instead_of_the_last_one_winning() -> None:
    data = good() + good().partition(b"models:\n")[2]
    assert "key 'x' stands twice (line 7)" in refusal(data)


def test_a_field_written_twice_is_refused() -> None:
    assert "key 'licence' stands twice" in refusal(good("licence: mit", "licence: gpl-3.0"))


def test_an_alias_bomb_is_refused_before_it_unfolds() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert "anchors and aliases are not allowed" in refusal("\n".join(lines).encode())


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"", "expected 'schema: 1'"),
        (b"[1, 2]", "expected 'schema: 1'"),
        (b"schema: 1\nmodels: {}\nextra: 1", "unknown field 'extra'"),
        (b"schema: 2\nmodels: {}", "schema is 2, expected 1"),
        (b"schema: yes\nmodels: {}", "schema is True"),
        (b"schema: 1\nmodels: {x: 3}", "model 'x': expected a table"),
        (b"schema: 1\nmodels: {on: {}}", "key 'on' is not text"),
        (b"schema: 1\nmodels: {x: {<<: {plugin: p}}}", "key '<<' is not text"),
        (
            b"schema: 1\nmodels: {x: !!python/object/apply:os.system [ls]}",
            "could not determine a constructor",
        ),
        (b"schema: 1\nmodels: {x: \xff}", "utf-8"),
        (b"schema: 1\nmodels: {x: ", "(line 3)"),
        (b"schema: 1\n---\nschema: 1\n", "another document"),
        (b"[" * 100_000, "nested more than"),
        (b"schema: " + b"9" * 5000, "integer string conversion"),
        (b"# " + b"x" * 2_000_000, "more than 1,000,000 bytes"),
    ],
)
def test_a_document_that_is_no_catalogue_is_one_line(data: bytes, part: str) -> None:
    assert part in refusal(data)


def test_a_missing_file_is_an_error_of_its_distribution(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"registry.yaml of acme 1.0: no such file.*reinstall acme"):
        read(tmp_path / "registry.yaml", Distribution("acme", "1.0"))


def test_a_wheel_brings_its_own_catalogue_inside_the_package(tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "zoo"
    package.mkdir(parents=True)
    (package / "registry.yaml").touch()
    (package.parent / "registry.yaml").touch()  # a stranger's file beside the package must not win
    assert own_file(package) == package / "registry.yaml"


def test_an_editable_install_reads_the_catalogue_at_the_repository_root(tmp_path: Path) -> None:
    package = tmp_path / "zoo"
    package.mkdir()
    (tmp_path / "registry.yaml").touch()
    assert own_file(package) == tmp_path / "registry.yaml"
