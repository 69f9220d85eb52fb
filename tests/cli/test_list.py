"""Listing is instant: it reads data and imports nothing that is not needed for that."""

from __future__ import annotations

import json
import subprocess
import sys

from cli_running import run_zoo

from zoo.registry import find

HEAVY = (
    "torch",
    "numpy",
    "onnxruntime",
    "PIL",
    "sklearn",
    "pandas",
    "rich",
    "scipy",
    "timm",
    "onnx",
    "zoo_plugins",
)


def test_listing_imports_no_plugin_no_framework_and_no_array_library() -> None:
    """One import at the top of one module would make every `zoo list`, and every completion, seconds slow."""
    code = (
        "import sys\nfrom zoo_cli.main import main\nstatus = main(['list', '--json'])\n"
        f"sys.exit(', '.join(name for name in {HEAVY!r} if name in sys.modules) or status)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(json.loads(ran.stdout)) > 20


def test_rows_have_the_promised_keys() -> None:
    rows = run_zoo("list", "--json").document
    keys = {
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
    assert all(set(row) == keys for row in rows)


def test_the_licence_of_weights_is_told_where_it_is_not_that_of_the_code() -> None:
    """Whoever takes weights for research only for a product learns it too late from a lawyer."""
    rows = {row["name"]: row for row in run_zoo("list", "--json").document}
    assert (rows["convnextv2_atto"]["licence"], rows["convnextv2_atto"]["weights_licence"]) == (
        "apache-2.0",
        "cc-by-nc-4.0",
    )
    assert rows["svm"]["weights_licence"] is None
    lines = {line.split()[0]: line for line in run_zoo("list").out.splitlines() if line}
    for name, row in rows.items():
        other = row["weights_licence"] not in {None, row["licence"]}
        assert (f"yes, {row['weights_licence']}" in lines[name]) is other, name
    assert "cc-by-nc-4.0, not for commercial use" in run_zoo("info", "convnextv2_atto").out
    assert "not for commercial use" not in run_zoo("info", "resnet18").out
    assert "cc-by-nc-4.0" in find("convnextv2_atto").headline()


def test_models_under_other_licences_can_be_left_out() -> None:
    """A firm may use the code of ConvNeXt V2 and not its weights."""
    rows = run_zoo("list", "--licence", "MIT, apache-2.0", "--json").document
    assert {row["licence"] for row in rows} == {"mit", "apache-2.0"}
    assert {row["weights_licence"] for row in rows} <= {"mit", "apache-2.0", None}
    whole = {row["name"]: row for row in run_zoo("list", "--json").document}
    assert whole["convnextv2_atto"]["licence"] in {"mit", "apache-2.0"}
    assert "convnextv2_atto" not in {row["name"] for row in rows}
    error = run_zoo("list", "--licence", "gpl-3.0,mit", "--json").document["error"]
    assert (error["code"], error["licence"]) == ("licence-unknown", ["gpl-3.0"])
    error = run_zoo("pick", "--data", "digits", "--licence", "gpl-3.0", "--json").document["error"]
    assert (error["code"], error["licence"]) == ("licence-unknown", ["gpl-3.0"])


def test_one_family_can_be_asked_for_and_an_unknown_one_is_refused_with_those_there_are() -> None:
    rows = run_zoo("list", "--family", "vgg", "--json").document
    assert rows
    assert {row["family"] for row in rows} == {"vgg"}
    ran = run_zoo("list", "--family", "vggg")
    assert ran.code == 1
    assert "resnet" in ran.err


def test_the_table_fits_a_terminal_and_holds_every_model() -> None:
    text, rows = run_zoo("list").out, run_zoo("list", "--json").document
    assert all(row["name"] in text for row in rows)
    assert max(map(len, text.splitlines())) <= 120


def test_a_model_that_can_not_run_here_says_why_and_how_to_get_it(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("ZOO_PLUGINS", "resnet")
    ran = run_zoo("list")
    assert ran.code == 0
    assert "no (1)" in ran.out
    assert "by ZOO_PLUGINS" in ran.out
    states = {row["name"]: row["state"] for row in run_zoo("list", "--json").document}
    assert (states["resnet18"], states["svm"]) == ("ok", "forbidden")


def test_a_card_is_shown_as_text_and_as_a_document() -> None:
    card = run_zoo("info", "resnet18", "--json").document
    assert {
        "name",
        "plugin",
        "arch",
        "family",
        "summary",
        "preprocess",
        "train",
        "weights",
        "needs",
        "licence",
    } <= set(card)
    assert card["weights"]["source"] in run_zoo("info", "resnet18").out


def test_plugins_and_named_sets_are_listed() -> None:
    plugins = run_zoo("plugin", "list", "--json").document
    assert {"name", "distribution", "version", "target", "status", "group"} <= set(plugins[0])
    assert len({frozenset(row) for row in plugins}) == 1, "plugins, readers and callbacks are told alike"
    assert all(row["name"] in run_zoo("plugin", "list").out for row in plugins)
    digits, *others = run_zoo("data", "list", "--json").document
    assert (digits["name"], digits["n"], digits["classes"]) == ("digits", 1797, 10)
    shown = run_zoo("data", "list").out
    assert "1 797" in shown
    assert all(row["name"] in shown for row in others)


def test_a_list_that_is_given_twice_is_refused() -> None:
    """Or the first is dropped, and models of another licence than asked for are shown."""
    ran = run_zoo("list", "--licence", "mit", "--licence=apache-2.0", "--json")
    assert ran.code == 2
    assert ran.document["error"]["code"] == "option-conflict"
    assert ran.document["error"]["options"] == ["--licence"]
