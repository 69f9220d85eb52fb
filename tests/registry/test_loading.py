"""Loading a plugin: exactly the one asked for, and whatever a stranger's module does stays one line."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zoo import registry
from zoo.errors import PluginError
from zoo.plugin import API, OLDEST_API, ModelPlugin
from zoo.registry._checking import _check_group

GOOD = """
from zoo.plugin import ModelPlugin
class P(ModelPlugin):
    def train(self, card, data, config, run, context): ...
    def load(self, card, run): ...
"""


def refusal(name: str) -> PluginError:
    with pytest.raises(PluginError) as caught:
        registry.load(name)
    assert "\n" not in str(caught.value)
    assert caught.value.fields["plugin"] == name
    return caught.value


def test_loading_imports_the_plugin_asked_for_and_no_other(install) -> None:
    install("acme", "1.2", code=GOOD, plugins={"acme": "acme:P"})
    install("other", code=GOOD, plugins={"other": "other:P"})
    loaded = registry.load("acme")
    assert type(loaded.plugin).__name__ == "P"
    assert (loaded.origin.name, loaded.origin.distribution, loaded.origin.version) == ("acme", "acme", "1.2")
    assert "other" not in sys.modules


def test_an_unknown_plugin_is_refused() -> None:
    assert refusal("nobody").code == "plugin-unknown"


def test_two_distributions_with_one_plugin_name_are_both_named(install) -> None:
    install("acme", "1.0", code=GOOD, plugins={"p": "acme:P"})
    install("other", "2.0", code=GOOD, plugins={"p": "other:P"})
    error = refusal("p")
    assert error.code == "plugin-clash"
    assert set(error.fields["distributions"]) == {"acme 1.0", "other 2.0"}
    assert not {"acme", "other"} & set(sys.modules)


@pytest.mark.parametrize(
    ("code", "expected", "fields", "word"),
    [
        ("raise ValueError('one\\ntwo')", "plugin-import", {"raised": "ValueError"}, "one two"),
        ("import sys; sys.exit(3)", "plugin-import", {"raised": "SystemExit"}, "exit 3"),
        ("import sys; sys.exit('one\\ntwo')", "plugin-import", {"raised": "SystemExit"}, "one two"),
        ("class Odd(BaseException): ...\nraise Odd('reason')", "plugin-import", {"raised": "Odd"}, "reason"),
        (
            "class Mute(Exception):\n    def __str__(self): return 1 / 0\nraise Mute",
            "plugin-import",
            {"raised": "Mute"},
            "Mute",
        ),
        ("raise ValueError('y' * 10**7)", "plugin-import", {"raised": "ValueError"}, "yyy…"),
        (GOOD + "    api = 'y' * 10**7", "plugin-api", {"found": None}, "yyy…"),
        ("import surely_not_installed_1", "plugin-needs", {"package": "surely_not_installed_1"}, "acme"),
        ("this is no python", "plugin-import", {"raised": "SyntaxError"}, "SyntaxError"),
        ("", "plugin-import", {"raised": "AttributeError"}, "AttributeError"),
        ("P = 3", "plugin-contract", {"found": "acme:P"}, "subclass"),
        ("class P: ...", "plugin-contract", {"found": "acme:P"}, "subclass"),
        (
            "from zoo.plugin import ModelPlugin as P",
            "plugin-contract",
            {"missing": ["load", "train"]},
            "load() and train()",
        ),
        (
            "from zoo.plugin import SklearnPlugin\nclass P(SklearnPlugin):\n    def biuld(self): ...",
            "plugin-contract",
            {"missing": ["build"]},
            "biuld()",
        ),
        (GOOD + "    def __init__(self): raise SystemExit", "plugin-import", {"raised": "SystemExit"}, "built"),
    ],
)
def test_a_failing_plugin_is_one_line_with_its_distribution(
    install, code: str, expected: str, fields: dict[str, object], word: str
) -> None:
    install("acme", "1.0", code=code, plugins={"p": "acme:P"})
    error = refusal("p")
    assert error.code == expected
    assert fields.items() <= error.fields.items()
    assert "acme 1.0" in str(error)
    assert word in str(error)


def test_a_plugin_that_is_nearly_named_right_is_shown(install) -> None:
    install("acme", code=GOOD, plugins={"acme_net": "acme:P"})
    assert "'acme_net'" in str(refusal("acmenet"))


def test_a_plugin_that_leaves_the_users_folder_is_brought_back(install) -> None:
    install("acme", code=f"import os\nos.chdir({os.sep!r}){GOOD}", plugins={"p": "acme:P"})
    before = Path.cwd()
    registry.load("p")
    assert Path.cwd() == before


def test_a_plugin_that_closes_the_output_is_named_by_the_check(install) -> None:
    install("acme", "1.0", code=f"import sys\nsys.stdout.close(){GOOD}", plugins={"p": "acme:P"})
    row = next(row for row in registry.plugins() if row.name == "p")
    (found,) = _check_group([row], time.monotonic() + 60)
    assert found.state == "broken"
    assert "acme 1.0" in found.status


def test_a_framework_of_ours_that_is_missing_is_one_pip_install_away(install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    install("acme", code="import skl2onnx", plugins={"p": "acme:P"})
    error = refusal("p")
    assert (error.code, error.fields["package"]) == ("plugin-needs", "skl2onnx")
    assert "edgezoo[train]" in str(error)


def test_an_entry_point_to_a_module_that_is_not_there_says_so(install) -> None:
    install("acme", plugins={"p": "acme.missing:P"})
    error = refusal("p")
    assert (error.code, error.fields["raised"]) == ("plugin-import", "ModuleNotFoundError")
    assert "reinstall acme" in str(error)


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
    assert refusal("p").code == "plugin-forbidden"
    assert [row.state for row in registry.plugins() if row.name == "p"] == ["forbidden"]
    assert "acme" not in sys.modules


def test_a_plugin_for_a_later_contract_says_what_to_upgrade(install) -> None:
    install("acme", code=GOOD + "P.api = 7\n", plugins={"p": "acme:P"})
    error = refusal("p")
    assert (error.code, error.fields["found"], error.fields["known"]) == ("plugin-api", 7, [OLDEST_API, API])
    assert "upgrade edgezoo" in str(error)


def test_a_plugin_for_a_contract_that_is_gone_says_what_to_upgrade(install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.plugin.OLDEST_API", 3)
    monkeypatch.setattr("zoo.plugin.API", 4)
    install("acme", code=GOOD + "P.api = 2\n", plugins={"p": "acme:P"})
    error = refusal("p")
    assert (error.code, error.fields["found"], error.fields["known"]) == ("plugin-api", 2, [3, 4])
    assert "upgrade acme" in str(error)


@pytest.mark.parametrize("api", ["'1'", "True", "0", "None"])
def test_a_version_of_the_contract_that_is_none_is_refused(install, api: str) -> None:
    install("acme", code=GOOD + f"P.api = {api}\n", plugins={"p": "acme:P"})
    error = refusal("p")
    assert error.code == "plugin-api"
    assert f"'api' is {api}" in str(error)


def test_this_release_takes_the_contract_of_the_one_before() -> None:
    """The policy of docs/plugins.md: nobody has to release on the same day as we do."""
    assert max(1, API - 1) >= OLDEST_API
    assert ModelPlugin.api == 1, "a plugin that does not say was written for the first version, whatever ours is"


def test_plugins_are_listed_by_their_metadata(install) -> None:
    install("acme", "1.0", code="raise SystemExit", plugins={"p": "acme:P"})
    (row,) = (row for row in registry.plugins() if row.name == "p")
    assert (row.distribution, row.version, row.target, row.state) == ("acme", "1.0", "acme:P", "ok")


@pytest.mark.slow
def test_doctor_survives_plugins_that_print_raise_exit_die_and_hang(
    install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    codes = {
        "good": "print('x' * 100_000)" + GOOD,
        "raises": "raise RuntimeError('needs a licence key, not allowed by ZOO_PLUGINS')",
        "lacks": "import surely_not_installed_1",
        "exits": "raise SystemExit(0)",
        "dies": "import os; os._exit(0)",
        "hangs": f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)",
    }
    for name, code in codes.items():
        install(f"x{name}", code=code, plugins={name: f"x{name}:P"})
    monkeypatch.setenv("ZOO_PLUGINS", ",".join(codes))  # leaves ours out: they take seconds each
    rows = {row.name: row for row in registry.check_plugins(limit_s=8)}
    if os.name == "posix" and pid.is_file():  # on a busy machine it may have been ended before it got so far
        with pytest.raises(ProcessLookupError):  # it was ended, not waited for
            os.kill(int(pid.read_text()), 0)
    assert {name: rows[name].state for name in codes} == {
        "good": "prints",
        "raises": "broken",  # whatever its own words are
        "lacks": "missing",
        "exits": "broken",
        "dies": "broken",
        "hangs": "slow",  # as every plugin is on a busy machine
    }
    said = {"good": repr("x" * 60), "raises": "RuntimeError", "exits": "exit 0", "dies": "xdies 1.0", "hangs": "8 s"}
    assert {name: word in rows[name].status for name, word in said.items()} == dict.fromkeys(said, True)


def test_plugins_of_one_distribution_share_a_process_and_each_answers_for_itself(
    install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch takes seconds to import, and once is enough; what one of them prints or breaks is not another's."""
    started = []
    real = subprocess.run

    def counted(*arguments, **how):
        started.append(arguments)
        return real(*arguments, **how)

    monkeypatch.setattr(subprocess, "run", counted)
    code = f"{GOOD}\nclass Q(P): pass\nclass R(P):\n    def __init__(self): print('hello')\n"
    code += "class S(P):\n    def __init__(self): raise RuntimeError('no')\n"
    install("acme", code=code, plugins={name: f"acme:{name.upper()}" for name in "pqrs"})
    monkeypatch.setenv("ZOO_PLUGINS", "p,q,r,s")
    rows = {row.name: row for row in registry.check_plugins() if row.name in set("pqrs")}
    assert {name: row.state for name, row in rows.items()} == {"p": "ok", "q": "ok", "r": "prints", "s": "broken"}
    assert len(started) == 1


def test_a_plugin_that_ends_the_shared_process_leaves_the_others_their_answers(
    install, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"{GOOD}\nclass Q(P):\n    def __init__(self): import os; os._exit(3)\nclass R(P): pass\n"
    install("acme", code=code, plugins={name: f"acme:{name.upper()}" for name in "pqr"})
    monkeypatch.setenv("ZOO_PLUGINS", "p,q,r")
    rows = {row.name: row for row in registry.check_plugins() if row.name in set("pqr")}
    assert {name: row.state for name, row in rows.items()} == {"p": "ok", "q": "broken", "r": "ok"}
    assert "exit 3" in rows["q"].status
