"""Loading a plugin: exactly the one asked for, and whatever a stranger's module does stays one line."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from zoo import registry
from zoo.errors import PluginError
from zoo.plugin import API, OLDEST_API, ModelPlugin
from zoo.registry._checking import _checked

GOOD = """
from zoo.plugin import ModelPlugin
class P(ModelPlugin):
    def train(self, card, data, config, run): ...
    def load(self, card, run): ...
"""


def refusal(name: str) -> str:
    with pytest.raises(PluginError) as caught:
        registry.load(name)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_loading_imports_the_plugin_asked_for_and_no_other(install) -> None:
    install("acme", "1.2", code=GOOD, plugins={"acme": "acme:P"})
    install("other", code=GOOD, plugins={"other": "other:P"})
    loaded = registry.load("acme")
    assert type(loaded.plugin).__name__ == "P"
    assert (loaded.origin.name, loaded.origin.distribution, loaded.origin.version) == ("acme", "acme", "1.2")
    assert "other" not in sys.modules


def test_an_unknown_plugin_is_refused() -> None:
    assert refusal("nobody") == "no plugin 'nobody' is installed; 'zoo plugin list' shows what is"


def test_two_distributions_with_one_plugin_name_are_both_named(install) -> None:
    install("acme", "1.0", code=GOOD, plugins={"p": "acme:P"})
    install("other", "2.0", code=GOOD, plugins={"p": "other:P"})
    message = refusal("p")
    assert "acme 1.0" in message
    assert "other 2.0" in message
    assert not {"acme", "other"} & set(sys.modules)


@pytest.mark.parametrize(
    ("code", "part"),
    [
        (
            "raise ValueError('first line\\nsecond line')",
            "can not be imported: ValueError: first line second line",
        ),
        ("import sys; sys.exit(3)", "it ended the program (exit 3)"),
        ("import sys; sys.exit('first line\\nsecond line')", "it ended the program (exit first line second line)"),
        ("class Odd(BaseException): ...\nraise Odd('no reason')", "can not be imported: Odd: no reason"),
        ("class Mute(Exception):\n    def __str__(self): return 1 / 0\nraise Mute", "can not be imported: Mute"),
        ("raise ValueError('y' * 10**7)", "yyy…"),
        (GOOD + "    api = 'y' * 10**7", "yyy…, expected the version"),
        (
            "import surely_not_installed_1",
            "needs surely_not_installed_1: not installed; see the documentation of acme",
        ),
        ("this is no python", "SyntaxError"),
        ("", "AttributeError"),
        ("P = 3", "acme:P is not a subclass of zoo.plugin.ModelPlugin"),
        ("class P: ...", "is not a subclass of zoo.plugin.ModelPlugin"),
        (
            "from zoo.plugin import ModelPlugin as P",
            "acme:P does not define load() and train(); write them there",
        ),
        (
            "from zoo.plugin import SklearnPlugin\nclass P(SklearnPlugin):\n    def biuld(self): ...",
            "acme:P does not define build(); is biuld() meant to be it?",
        ),
        (GOOD + "    def __init__(self): raise SystemExit", "can not be built: it ended the program"),
    ],
)
def test_a_failing_plugin_is_one_line_with_its_distribution(install, code: str, part: str) -> None:
    install("acme", "1.0", code=code, plugins={"p": "acme:P"})
    message = refusal("p")
    assert message.startswith("plugin 'p' of acme 1.0")
    assert part in message


def test_a_plugin_that_is_nearly_named_right_is_shown(install) -> None:
    install("acme", code=GOOD, plugins={"acme_net": "acme:P"})
    assert refusal("acmenet").startswith("no plugin 'acmenet' is installed; did you mean 'acme_net'?")


def test_a_plugin_that_leaves_the_users_folder_is_brought_back(install) -> None:
    install("acme", code=f"import os\nos.chdir({os.sep!r}){GOOD}", plugins={"p": "acme:P"})
    before = Path.cwd()
    registry.load("p")
    assert Path.cwd() == before


def test_a_plugin_that_closes_the_output_is_named_by_the_check(install) -> None:
    install("acme", "1.0", code=f"import sys\nsys.stdout.close(){GOOD}", plugins={"p": "acme:P"})
    row = next(row for row in registry.plugins() if row.name == "p")
    assert "acme 1.0 closes the output of the program" in _checked(row, 60).status


def test_a_framework_of_ours_that_is_missing_is_one_pip_install_away(install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    install("acme", code="import skl2onnx", plugins={"p": "acme:P"})
    assert refusal("p").endswith("needs skl2onnx: pip install 'edgezoo[train]'")


def test_an_entry_point_to_a_module_that_is_not_there_says_so(install) -> None:
    install("acme", plugins={"p": "acme.missing:P"})
    assert "No module named 'acme.missing'; reinstall acme" in refusal("p")


def test_what_a_plugin_prints_on_import_does_not_reach_stdout(install, capsys: pytest.CaptureFixture[str]) -> None:
    """stdout holds the JSON document of --json and nothing else."""
    install("acme", code="print('hello')" + GOOD, plugins={"p": "acme:P"})
    registry.load("p")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "hello\n")


@pytest.mark.parametrize("listed", ["", "other", "pp"])
def test_a_plugin_outside_the_allow_list_is_not_imported(install, monkeypatch: pytest.MonkeyPatch, listed: str) -> None:
    install("acme", code=GOOD, plugins={"p": "acme:P"})
    monkeypatch.setenv("ZOO_PLUGINS", listed)
    assert refusal("p") == "plugin 'p' is not allowed by ZOO_PLUGINS"
    assert "acme" not in sys.modules


def test_a_plugin_for_a_later_contract_says_what_to_upgrade(install) -> None:
    install("acme", code=GOOD + "P.api = 7\n", plugins={"p": "acme:P"})
    assert refusal("p") == (
        "plugin 'p' of acme 1.0: written for version 7 of the plugin contract, "
        f"this edgezoo knows up to {API}; upgrade edgezoo"
    )


def test_a_plugin_for_a_contract_that_is_gone_says_what_to_upgrade(install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.plugin.OLDEST_API", 3)
    monkeypatch.setattr("zoo.plugin.API", 4)
    install("acme", code=GOOD + "P.api = 2\n", plugins={"p": "acme:P"})
    assert refusal("p") == (
        "plugin 'p' of acme 1.0: written for version 2 of the plugin contract, "
        "this edgezoo needs 3 or newer; upgrade acme"
    )


@pytest.mark.parametrize("api", ["'1'", "True", "0", "None"])
def test_a_version_of_the_contract_that_is_none_is_refused(install, api: str) -> None:
    install("acme", code=GOOD + f"P.api = {api}\n", plugins={"p": "acme:P"})
    assert f"its 'api' is {api}, expected the version of the plugin contract" in refusal("p")


def test_this_release_takes_the_contract_of_the_one_before() -> None:
    """The policy of docs/plugins.md: nobody has to release on the same day as we do."""
    assert max(1, API - 1) >= OLDEST_API
    assert ModelPlugin.api == 1, "a plugin that does not say was written for the first version, whatever ours is"


def test_plugins_are_listed_by_their_metadata(install) -> None:
    install("acme", "1.0", code="raise SystemExit", plugins={"p": "acme:P"})
    (row,) = (row for row in registry.plugins() if row.name == "p")
    assert (row.distribution, row.version, row.target, row.status) == ("acme", "1.0", "acme:P", "ok")


def test_doctor_survives_plugins_that_print_raise_exit_die_and_hang(install, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = {
        "good": "print('x' * 100_000)" + GOOD,
        "raises": "raise RuntimeError('no licence key')",
        "exits": "raise SystemExit(0)",
        "dies": "import os; os._exit(0)",
        "hangs": "import time; time.sleep(60)",
    }
    for name, code in codes.items():
        install(f"x{name}", code=code, plugins={name: f"x{name}:P"})
    monkeypatch.setenv("ZOO_PLUGINS", ",".join(codes))  # leaves ours out: they take seconds each
    begun = time.monotonic()
    status = {row.name: row.status for row in registry.check_plugins(limit_s=8)}
    assert time.monotonic() - begun < 40
    assert status["good"] == f"works, but prints while it is imported: {'x' * 60!r}"
    assert "RuntimeError: no licence key" in status["raises"]
    assert "it ended the program (exit 0)" in status["exits"]
    assert "ended the process while it was imported" in status["dies"]
    late = "plugin 'hangs' of xhangs 1.0 was still being imported after 8 s"
    assert status["hangs"] == f"{late}; tell its author, or uninstall it"
