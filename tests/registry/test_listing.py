"""Listing and finding: what is installed, told from metadata alone, with every defect as a row."""

from __future__ import annotations

import json
import subprocess
import sys

import msgspec
import pytest
from refusals import refused

from zoo import registry
from zoo.errors import CatalogueError
from zoo.registry import ENSEMBLE_PLUGIN

CARD = "{plugin: %s, needs: [%s], summary: A model, preprocess: {size: [8, 9], mean: [0, 0, 0], std: [1, 1, 1]}}"
KEYS = {
    "name",
    "family",
    "plugin",
    "distribution",
    "parameters",
    "macs",
    "latency_ms",
    "size",
    "pretrained",
    "licence",
    "weights_licence",
    "state",
    "status",
}
HEAVY = ("PIL", "filelock", "numpy", "onnx", "onnxruntime", "pandas", "rich", "scipy", "sklearn", "timm", "torch")


def text(*names: str, plugin: str = "p", needs: str = "") -> str:
    return "schema: 1\nmodels:\n" + "".join(f"  {name}: {CARD % (plugin, needs)}\n" for name in names)


def status(name: str) -> str:
    (row,) = (row for row in registry.models() if row.name == name)
    return row.status


@pytest.mark.usefixtures("ours")
def test_our_own_models_come_through_the_same_door() -> None:
    rows = {row.name: row for row in registry.models()}
    row = rows["resnet18"]
    assert (row.plugin, row.family, row.distribution, row.size) == ("resnet", "resnet", "edgezoo", (224, 224))
    assert row.pretrained
    assert not rows["simple_cnn"].pretrained
    assert set(msgspec.to_builtins(row)) == KEYS


@pytest.mark.usefixtures("ours")
def test_every_model_of_ours_names_a_plugin_of_ours() -> None:
    names = {row.name for row in registry.plugins() if row.distribution == "edgezoo"}
    # An ensemble has no row: it is made of finished runs, by their names.
    assert {row.plugin for row in registry.models() if row.distribution == "edgezoo"} == names - {ENSEMBLE_PLUGIN}


@pytest.mark.usefixtures("ours")
def test_listing_imports_no_plugin_and_nothing_heavy(install) -> None:
    """Otherwise `zoo list` takes ten seconds, and one broken plugin breaks it."""
    folder = install(
        "acme", models=text("acme-net"), code="raise SystemExit('imported')", plugins={"p": "acme.nothing:P"}
    )
    code = (
        "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from zoo import registry;"
        "rows = registry.models(); registry.find('acme-net'); registry.find('timm/resnet18.a1_in1k');"
        "registry.plugins(); print(json.dumps([[r.name for r in rows], sorted(sys.modules)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(sys.path)], capture_output=True, text=True, check=True
    )
    names, modules = json.loads(done.stdout)
    assert "acme-net" in names, folder
    loaded = {module.partition(".")[0] for module in modules}
    assert not loaded & {*HEAVY, "acme", "zoo_plugins"}


def test_a_model_of_a_third_party_is_listed_and_found(install) -> None:
    install("acme", models=text("acme-net"), plugins={"p": "acme:P"})
    assert status("acme-net") == "ok"
    assert registry.find("acme-net").preprocess.size == (8, 9)


def test_a_catalogue_in_a_package_below_another_is_found_without_importing_either(
    install,
) -> None:
    folder = install("deep", code="raise ImportError", plugins={"p": "deep:P"})
    (folder / "deep" / "data").mkdir()
    (folder / "deep" / "data" / "registry.yaml").write_text(text("deep-net"))
    points = folder / "deep-1.0.dist-info" / "entry_points.txt"
    points.write_text(points.read_text() + "\n[zoo.catalogues]\ndeep = deep.data\n")
    assert status("deep-net") == "ok"


def test_a_family_can_be_asked_for_and_an_unknown_one_is_refused(install) -> None:
    install("acme", models=text("acme-net", plugin="acme-family"))
    assert [row.name for row in registry.models("acme-family")] == ["acme-net"]
    with refused("family-unknown", CatalogueError, family="acme-famly") as caught:
        registry.models("acme-famly")
    assert "acme-family" in caught.value.fields["known"]


@pytest.mark.parametrize("asked", ["acme-famly", "ACME-Family", "acme-net"])
def test_a_family_that_is_misspelt_or_a_model_is_told_the_right_one(install, asked: str) -> None:
    install("acme", models=text("acme-net", plugin="acme-family"))
    with refused("family-unknown", CatalogueError, family=asked) as caught:
        registry.models(asked)
    assert str(caught.value).endswith("'acme-family'") or str(caught.value).endswith("'acme-family'?")


def test_a_family_asked_for_as_a_model_is_told_how_to_list_it(install) -> None:
    install("acme", models=text("acme-net", plugin="acme-family"))
    with pytest.raises(CatalogueError, match="--family acme-family"):
        registry.find("Acme-Family")


def test_two_owners_of_one_name_are_both_named_and_neither_is_taken(install) -> None:
    install("acme", "1.0", models=text("net", "alone"), plugins={"p": "acme:P"})
    install("other", "2.0", models=text("net"))
    rows = [row for row in registry.models() if row.name == "net"]
    assert {row.distribution for row in rows} == {"acme", "other"}
    for row in rows:
        assert row.state == "broken"
        assert "acme 1.0" in row.status
        assert "other 2.0" in row.status
    with refused("model-clash", CatalogueError, model="net") as caught:
        registry.find("net")
    assert set(caught.value.fields["distributions"]) == {"acme 1.0", "other 2.0"}
    assert status("alone") == "ok"


def test_one_broken_catalogue_is_one_row_and_the_others_stay(install) -> None:
    install("acme", models="schema: 1\nmodels: {x: {plugin: p}}")
    install("empty-handed", models="")
    (install("gone", models="") / "gone" / "registry.yaml").unlink()
    install("fine", models=text("fine-net"), plugins={"p": "fine:P"})
    rows = {row.name: row for row in registry.models()}
    for name, said in {"(acme)": "'summary'", "(empty-handed)": "'schema: 1'", "(gone)": "'gone'"}.items():
        assert rows[name].state == "broken"
        assert said in rows[name].status
    assert rows["fine-net"].state == "ok"
    with refused("model-unknown", CatalogueError, model="x") as caught:
        registry.find("x")
    assert "acme 1.0" in caught.value.fields["unread"]


def test_what_is_missing_is_told_with_its_remedy(install) -> None:
    install(
        "acme",
        models=text("no-module", needs="json, surely_not_installed_1")
        + f"  no-plugin: {CARD % ('nobody', '')}\n"
        + f"  no-submodule: {CARD % ('p', '__main__')}\n",
        plugins={"p": "acme:P"},
    )
    rows = {row.name: row for row in registry.models()}
    assert rows["no-module"].state == "missing"
    assert "surely_not_installed_1" in rows["no-module"].status
    assert "pip install" not in rows["no-module"].status, "the name on an index may be a stranger's"
    assert rows["no-plugin"].state == "broken"
    assert "'nobody'" in rows["no-plugin"].status


@pytest.mark.usefixtures("ours")
def test_our_missing_frameworks_are_one_pip_install_away(monkeypatch: pytest.MonkeyPatch) -> None:
    find = registry._installed.importlib.util.find_spec
    monkeypatch.setattr(
        registry._installed.importlib.util,
        "find_spec",
        lambda name, *rest: None if name in {"torch", "timm"} else find(name, *rest),
    )
    assert "torch, timm" in status("resnet18")
    assert "edgezoo[train]" in status("resnet18")
    assert {row.state for row in registry.models("resnet")} == {"missing"}
    assert "edgezoo[train]" not in status("svm")


def test_the_allow_list_shows_in_the_listing(install, monkeypatch: pytest.MonkeyPatch) -> None:
    install(
        "acme",
        models=text("a", plugin="one") + f"  b: {CARD % ('two', '')}\n",
        plugins={"one": "x:y", "two": "x:y"},
    )
    monkeypatch.setenv("ZOO_PLUGINS", "one, three")
    assert {row.name: row.state for row in registry.models() if row.name in {"a", "b"}} == {"a": "ok", "b": "forbidden"}
    assert "ZOO_PLUGINS" in status("b")
    monkeypatch.setenv("ZOO_PLUGINS", "")
    assert {row.state for row in registry.models()} == {"forbidden"}


def test_a_plugin_with_two_owners_is_a_clash_in_the_listing(install) -> None:
    install("acme", models=text("net"), plugins={"p": "acme:P"})
    install("other", "2.0", plugins={"p": "other:P"})
    assert [row.state for row in registry.models() if row.name == "net"] == ["broken"]
    assert "plugin 'p'" in status("net")


@pytest.mark.usefixtures("ours")
def test_an_unknown_name_gets_the_nearest_ones() -> None:
    with refused("model-unknown", CatalogueError, model="resnet81") as caught:
        registry.find("resnet81")
    assert "resnet18" in caught.value.fields["near"]


@pytest.mark.usefixtures("ours")
def test_any_model_of_timm_has_a_card() -> None:
    card = registry.find("timm/resnet10t.c3_in1k")
    assert (card.plugin, card.arch, card.needs) == ("timm", "resnet10t.c3_in1k", ("torch", "timm"))
    assert card.weights is not None
    assert card.weights.source == "hf-hub:timm/resnet10t.c3_in1k"
    assert card.weights.licence.startswith("unknown")
    assert card.preprocess.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("name", ["timm/", "timm/../../x", "timm/a/b", "timm/a b"])
def test_a_name_that_could_leave_the_hub_is_refused(name: str) -> None:
    with refused("model-unknown", CatalogueError, model=name):
        registry.find(name)


def test_a_half_removed_distribution_is_listed_instead_of_crashing(install) -> None:
    """pip killed in the middle leaves entry points without metadata."""
    folder = install("acme", models=text("acme-net"), plugins={"p": "acme:P"})
    (folder / "acme-1.0.dist-info" / "METADATA").unlink()
    assert status("acme-net") == "ok"
    (row,) = (row for row in registry.plugins() if row.name == "p")
    assert (row.distribution, row.version) == ("an unknown distribution", "(no version)")


def test_a_distribution_hidden_by_a_newer_one_brings_nothing(install) -> None:
    """An import finds the first on sys.path: models of the other would be trained with code that is not theirs."""
    install("acme", "1.0", models=text("old-net"))
    install("acme", "2.0", models=text("new-net"))
    names = {row.name for row in registry.models()}
    assert "new-net" in names
    assert "old-net" not in names
