"""Listing and finding: what is installed, told from metadata alone, with every defect as a row."""

from __future__ import annotations

import json
import subprocess
import sys

import msgspec
import pytest

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
    "status",
}
HEAVY = ("PIL", "numpy", "onnx", "onnxruntime", "pandas", "rich", "scipy", "sklearn", "timm", "torch")


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
    with pytest.raises(CatalogueError, match=r"no model of family 'acme-famly'; families are .*acme-family"):
        registry.models("acme-famly")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("acme-famly", "did you mean 'acme-family'"),
        ("ACME-Family", "did you mean 'acme-family'"),
        ("acme-net", "that is a model, of family 'acme-family'"),
    ],
)
def test_a_family_that_is_misspelt_or_a_model_is_told_the_right_one(install, asked: str, said: str) -> None:
    install("acme", models=text("acme-net", plugin="acme-family"))
    with pytest.raises(CatalogueError, match=said):
        registry.models(asked)


def test_a_family_asked_for_as_a_model_is_told_how_to_list_it(install) -> None:
    install("acme", models=text("acme-net", plugin="acme-family"))
    with pytest.raises(CatalogueError, match="that is a family; 'zoo list --family acme-family'"):
        registry.find("Acme-Family")


def test_two_owners_of_one_name_are_both_named_and_neither_is_taken(install) -> None:
    install("acme", "1.0", models=text("net", "alone"), plugins={"p": "acme:P"})
    install("other", "2.0", models=text("net"))
    rows = [row for row in registry.models() if row.name == "net"]
    assert {row.distribution for row in rows} == {"acme", "other"}
    for row in rows:
        assert row.status.startswith("clash: defined by ")
        assert "acme 1.0" in row.status
        assert "other 2.0" in row.status
    with pytest.raises(
        CatalogueError, match=r"model 'net' is defined by (acme 1.0 and other 2.0|other 2.0 and acme 1.0)"
    ):
        registry.find("net")
    assert status("alone") == "ok"


def test_one_broken_catalogue_is_one_row_and_the_others_stay(install) -> None:
    install("acme", models="schema: 1\nmodels: {x: {plugin: p}}")
    install("empty-handed", models="")
    (install("gone", models="") / "gone" / "registry.yaml").unlink()
    install("fine", models=text("fine-net"), plugins={"p": "fine:P"})
    rows = {row.name: row for row in registry.models()}
    assert rows["(acme)"].status == "registry.yaml of acme 1.0: model 'x': field 'summary' is missing"
    assert "expected 'schema: 1'" in rows["(empty-handed)"].status
    assert "package 'gone' does not hold it" in rows["(gone)"].status
    assert rows["fine-net"].status == "ok"
    with pytest.raises(CatalogueError, match=r"the catalogue of .*acme 1.0.* could not be read"):
        registry.find("x")


def test_what_is_missing_is_told_with_its_remedy(install) -> None:
    install(
        "acme",
        models=text("no-module", needs="json, surely_not_installed_1")
        + f"  no-plugin: {CARD % ('nobody', '')}\n"
        + f"  no-submodule: {CARD % ('p', '__main__')}\n",
        plugins={"p": "acme:P"},
    )
    assert status("no-module") == "needs surely_not_installed_1: not installed; see the documentation of acme"
    assert status("no-plugin") == "no plugin 'nobody' is installed; 'zoo plugin list' shows what is"


@pytest.mark.usefixtures("ours")
def test_our_missing_frameworks_are_one_pip_install_away(monkeypatch: pytest.MonkeyPatch) -> None:
    find = registry._installed.importlib.util.find_spec
    monkeypatch.setattr(
        registry._installed.importlib.util,
        "find_spec",
        lambda name, *rest: None if name in {"torch", "timm"} else find(name, *rest),
    )
    assert status("resnet18") == "needs torch, timm: pip install 'edgezoo[train]'"
    assert "edgezoo[train]" not in status("svm")


def test_the_allow_list_shows_in_the_listing(install, monkeypatch: pytest.MonkeyPatch) -> None:
    install(
        "acme",
        models=text("a", plugin="one") + f"  b: {CARD % ('two', '')}\n",
        plugins={"one": "x:y", "two": "x:y"},
    )
    monkeypatch.setenv("ZOO_PLUGINS", "one, three")
    assert status("a") == "ok"
    assert status("b") == "not allowed by ZOO_PLUGINS"
    monkeypatch.setenv("ZOO_PLUGINS", "")
    assert status("a") == "not allowed by ZOO_PLUGINS"


def test_a_plugin_with_two_owners_is_a_clash_in_the_listing(install) -> None:
    install("acme", models=text("net"), plugins={"p": "acme:P"})
    install("other", "2.0", plugins={"p": "other:P"})
    assert status("net").startswith("clash: plugin 'p' is defined by ")


@pytest.mark.usefixtures("ours")
def test_an_unknown_name_gets_the_nearest_ones() -> None:
    with pytest.raises(CatalogueError, match=r"no model 'resnet81'; did you mean .*'resnet18'.*'zoo list'"):
        registry.find("resnet81")


@pytest.mark.usefixtures("ours")
def test_any_model_of_timm_has_a_card() -> None:
    card = registry.find("timm/resnet10t.c3_in1k")
    assert (card.plugin, card.arch, card.needs) == ("timm", "resnet10t.c3_in1k", ("torch", "timm"))
    assert card.weights is not None
    assert card.weights.source == "hf-hub:timm/resnet10t.c3_in1k"
    assert card.weights.licence == "unknown (see the model page)"
    assert card.preprocess.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("name", ["timm/", "timm/../../x", "timm/a/b", "timm/a b"])
def test_a_name_that_could_leave_the_hub_is_refused(name: str) -> None:
    with pytest.raises(CatalogueError, match="not a name of timm"):
        registry.find(name)


def test_a_half_removed_distribution_is_listed_instead_of_crashing(install) -> None:
    """pip killed in the middle leaves entry points without metadata."""
    folder = install("acme", models=text("acme-net"), plugins={"p": "acme:P"})
    (folder / "acme-1.0.dist-info" / "METADATA").unlink()
    assert status("acme-net") == "ok"
    (row,) = (row for row in registry.plugins() if row.name == "p")
    assert (row.distribution, row.version) == ("an unknown distribution", "(no version)")
