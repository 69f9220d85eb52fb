"""registry.yaml: what is refused, and that the refusal tells the author where to look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from refusals import refused

from zoo.errors import CatalogueError
from zoo.registry._catalogue import Distribution, own_file, parse, read
from zoo.spec import Latency, PackagedWeights, Scale, Weights, Window

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


def refusal(data: bytes) -> CatalogueError:
    with pytest.raises(CatalogueError) as caught:
        parse(data, WHAT)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(WHAT)
    return caught.value


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
    error = refusal(one(*kept))
    assert (error.code, error.fields["model"], error.fields["field"]) == ("catalogue-field-missing", "x", field)


def test_an_unknown_field_names_file_model_field_and_its_likeliest_meaning() -> None:
    error = refusal(one("plugin: p", "summary: s", "prepocess: {}"))
    assert (error.code, error.fields["field"], error.fields["near"]) == (
        "catalogue-field-unknown",
        "prepocess",
        ["preprocess"],
    )
    assert "model 'x'" in str(error)


@pytest.mark.parametrize(
    ("line", "code", "field", "word"),
    [
        ("train: {epoch: 3}", "catalogue-field-unknown", "epoch", "'epochs'"),
        ("train: {epochs: many}", "catalogue-field", "train.epochs", "many"),
        ("train: {lr: 0}", "catalogue-field", "train", "lr"),
        ("weights: {source: 'hf-hub:a/b', license: mit}", "catalogue-field-unknown", "license", "'licence'"),
        ("weights: {source: 'http://a/b', licence: mit}", "catalogue-field", "weights.source", "hf-hub"),
        ("weights: {source: 'hf-hub:../b', licence: mit}", "catalogue-field", "weights.source", "hf-hub"),
        ("weights: {source: 'hf-hub:a/b', licence: mit, sha256: abc}", "catalogue-field", "weights.sha256", "64"),
        (f"{PACKAGE}, file: ../f, sha256: '{'0' * 64}'}}}}", "catalogue-field", "weights.package.file", ".."),
        (f"{PACKAGE}, file: f, sha256: '0'}}}}", "catalogue-field", "weights.package.sha256", "64"),
        ("needs: [os.path]", "catalogue-field", "needs", "top-level"),
        ("parameters: .nan", "catalogue-yaml", None, "finite"),
        ("parameters: -1", "catalogue-field", "parameters", "expected"),
        ("name: y", "catalogue-field-unknown", "name", "known"),
        ("licence: [mit]", "catalogue-field", "licence", "str"),
    ],
)
def test_a_wrong_value_is_refused_where_it_stands(line: str, code: str, field: str | None, word: str) -> None:
    error = refusal(good(line))
    assert (error.code, error.fields.get("field")) == (code, field)
    assert word in str(error)


def test_a_plugin_can_not_be_an_import_path() -> None:
    """A data file that could name a module could run code."""
    error = refusal(one("plugin: os:system", "summary: s", PREPROCESS))
    assert (error.code, error.fields["field"]) == ("catalogue-field", "plugin")


@pytest.mark.parametrize("name", ["ResNet", "a b", "'../x'", "-x", "timm/x", "'*'"])
def test_a_model_name_that_no_command_line_could_take_is_refused(name: str) -> None:
    error = refusal(one("plugin: p", "summary: s", PREPROCESS, name=name))
    assert (error.code, error.fields["model"]) == ("catalogue-model", name.strip("'"))


def test_a_model_written_twice_is_refused_instead_of_the_last_one_winning() -> None:
    data = good() + good().partition(b"models:\n")[2]
    error = refusal(data)
    assert (error.code, error.fields["line"]) == ("catalogue-yaml", 7)
    assert "'x'" in str(error)


def test_a_field_written_twice_is_refused() -> None:
    error = refusal(good("licence: mit", "licence: gpl-3.0"))
    assert error.code == "catalogue-yaml"
    assert "'licence'" in str(error)


def test_an_alias_bomb_is_refused_before_it_unfolds() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    error = refusal("\n".join(lines).encode())
    assert (error.code, error.fields["line"]) == ("catalogue-yaml", 1)
    assert "aliases" in str(error)


@pytest.mark.parametrize(
    ("data", "code", "word"),
    [
        (b"", "catalogue-form", "schema"),
        (b"[1, 2]", "catalogue-form", "schema"),
        (b"schema: 1\nmodels: {}\nextra: 1", "catalogue-field-unknown", "'extra'"),
        (b"schema: 2\nmodels: {}", "catalogue-schema", "2"),
        (b"schema: 1\nmodels: {x: 3}", "catalogue-model", "table"),
        (b"schema: 1\nmodels: {on: {}}", "catalogue-yaml", "'on'"),
        (b"schema: 1\nmodels: {x: {<<: {plugin: p}}}", "catalogue-yaml", "merge keys"),
        (b"schema: 1\nmodels: {x: !!python/object/apply:os.system [ls]}", "catalogue-yaml", "tags"),
        (b"schema: 1\nmodels: {x: \xff}", "catalogue-yaml", "utf-8"),
        (b"schema: 1\nmodels: {x: ", "catalogue-yaml", "line 3"),
        (b"schema: 1\n---\nschema: 1\n", "catalogue-yaml", "another document"),
        (b"[" * 100_000, "catalogue-yaml", "nest"),
        (b"schema: " + b"9" * 5000, "catalogue-yaml", "integer"),
        (b"# " + b"x" * 2_000_000, "catalogue-form", "1,000,000 bytes"),
        (b"schema: true\nmodels: {}", "catalogue-schema", "True"),
        (b"schema: yes\nmodels: {}", "catalogue-yaml", "'yes'"),
        (b"schema: 1\nmodels: {7: {}}", "catalogue-yaml", "'7'"),
    ],
)
def test_a_document_that_is_no_catalogue_is_one_line(data: bytes, code: str, word: str) -> None:
    error = refusal(data)
    assert error.code == code
    assert word in str(error)


FAMILIES = """\
schema: 1
families:
  seen:
    plugin: p
    preprocess: {size: [8, 9], intensity: {type: window, center: 40, width: 400}, mean: [0, 0, 0], std: [1, 1, 1]}
    train: {epochs: 3, lr: 0.01}
    latency: {machine: m}
    weights: {licence: mit, package: {distribution: d, file: f}}
    needs: [torch]
    licence: apache-2.0
models:
  x:
    family: seen
    summary: s
"""


def of_family(*fields: str, family: str = "seen") -> bytes:
    lines = "".join(f"    {field}\n" for field in fields)
    return (FAMILIES.replace("family: seen", f"family: {family}") + lines).encode()


def test_what_a_family_shares_is_written_once() -> None:
    card = parse(of_family(), WHAT)["x"]
    assert (card.family, card.plugin, card.arch, card.needs, card.licence) == (
        "seen",
        "p",
        "x",
        ("torch",),
        "apache-2.0",
    )
    assert (card.preprocess.size, card.train.epochs) == ((8, 9), 3)
    assert (card.weights, card.latency) == (None, None)  # a part of them says nothing of a model that has none


def test_tables_are_merged_at_every_depth_and_other_values_replaced() -> None:
    digest = "0" * 64
    card = parse(
        of_family(
            "preprocess: {size: [4, 4], intensity: {center: 50}}",
            "train: {lr: 0.1}",
            "needs: []",
            "latency: {fp32_ms: 2}",
            f"weights: {{source: 'hf-hub:a/b', package: {{sha256: '{digest}'}}}}",
        ),
        WHAT,
    )["x"]
    assert card.preprocess.size == (4, 4)
    assert card.preprocess.intensity == Window(center=50, width=400)
    assert (card.train.epochs, card.train.lr, card.needs) == (3, 0.1, ())
    assert card.latency == Latency(fp32_ms=2, machine="m")
    package = PackagedWeights(distribution="d", file="f", sha256=digest)
    assert card.weights == Weights(source="hf-hub:a/b", licence="mit", package=package)


def test_a_table_of_another_type_takes_the_place_of_the_familys_whole() -> None:
    card = parse(of_family("preprocess: {intensity: {type: scale, maximum: 7}}"), WHAT)["x"]
    assert card.preprocess.intensity == Scale(maximum=7)


def test_null_takes_the_place_of_what_the_family_says() -> None:
    assert parse(of_family("weights: null", "latency: null"), WHAT)["x"].weights is None
    assert refusal(of_family("preprocess: null")).fields["field"] == "preprocess"


def test_models_of_one_family_do_not_change_one_another() -> None:
    other = "  y: {family: seen, summary: s}\n"
    cards = parse(of_family("train: {epochs: 9}", "needs: [timm]") + other.encode(), WHAT)
    assert (cards["x"].train.epochs, cards["y"].train.epochs, cards["y"].needs) == (9, 3, ("torch",))


@pytest.mark.parametrize(
    ("data", "code", "word"),
    [
        (of_family(family="sen"), "catalogue-family", "'seen'?"),
        (of_family(family="[seen]"), "catalogue-family", "['seen']"),
        (FAMILIES.replace("needs:", "need:").encode(), "catalogue-field-unknown", "'needs'?"),
        (FAMILIES.replace("epochs:", "epoch:").encode(), "catalogue-field-unknown", "'epochs'?"),
        (FAMILIES.replace("licence: apache-2.0", "summary: s").encode(), "catalogue-field-unknown", "'summary'"),
        (b"schema: 1\nfamilies: [a]\nmodels: {}", "catalogue-form", "families"),
        (b"schema: 1\nfamilies: null\nmodels: {}", "catalogue-form", "families"),
        (b"schema: 1\nfamilies: {a: 3}\nmodels: {}", "catalogue-family", "'a'"),
    ],
)
def test_a_family_that_can_not_be_meant_is_refused(data: bytes, code: str, word: str) -> None:
    error = refusal(data)
    assert error.code == code
    assert word in str(error)


def test_without_a_table_of_families_a_family_is_a_label() -> None:
    """Catalogues from before that table are read as they were."""
    assert parse(good("family: anything"), WHAT)["x"].family == "anything"


@pytest.mark.parametrize("word", ["010", "1:30", "1_000", "0x1F", "no", "On"])
def test_a_word_of_two_meanings_is_refused_and_in_quotes_is_text(word: str) -> None:
    assert f"'{word}'" in str(refusal(good(f"licence: {word}")))
    assert parse(good(f"licence: '{word}'"), WHAT)["x"].licence == word


def test_a_missing_file_is_an_error_of_its_distribution(tmp_path: Path) -> None:
    with refused("catalogue-unreadable", CatalogueError, distribution="acme"):
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
