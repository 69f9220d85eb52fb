"""The unit and the compose file of `examples/deploy`: what they start exists, and stays shut in.

Neither systemd nor a container engine runs here. The unit is read by systemd's own checker where it is installed.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from zoo.edge.__main__ import _parser

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "examples" / "deploy"
UNIT = DEPLOY / "zoo-serve.service"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
LONGEST = 30 + 120
"""Seconds: a body, then the heat map of it."""


def _unit() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def _asked(arguments: list[str]) -> dict[str, Any]:
    return vars(_parser(["serve"]).parse_args(arguments))


def test_both_start_a_server_that_guards_itself() -> None:
    (line,) = _unit()["ExecStart"]
    python, module, name, *arguments = shlex.split(line)
    assert (Path(python).name, module, name) == ("python", "-m", "zoo.edge")
    for asked in (_asked(arguments), _asked(COMPOSE["zoo"]["command"])):
        assert asked["host"] == "127.0.0.1", "TLS and client certificates are the proxy's"
        assert asked["port"] == 8000
        assert asked["key"] is not None
        assert asked["token_file"] is not None
        assert asked["allow_host"] == ["zoo.example.org"]
        assert len(asked["models"]) == 2


def test_both_give_what_was_begun_its_time() -> None:
    assert int(_unit()["TimeoutStopSec"][0]) >= LONGEST
    assert int(COMPOSE["zoo"]["stop_grace_period"].removesuffix("s")) >= LONGEST
    waits = [int(seconds) for seconds in re.findall(r"proxy_read_timeout +(\d+)s", (DEPLOY / "nginx.conf").read_text())]
    assert max(waits) >= 120


def test_the_compose_file_builds_the_image_that_is_there_and_shuts_it_in() -> None:
    zoo, proxy = COMPOSE["zoo"], COMPOSE["proxy"]
    context = (DEPLOY / zoo["build"]["context"]).resolve()
    assert context == ROOT
    assert (context / zoo["build"]["dockerfile"]).is_file()
    assert zoo["read_only"] is True
    assert zoo["cap_drop"] == ["ALL"]
    assert zoo["security_opt"] == ["no-new-privileges:true"]
    assert all(volume.endswith(":ro") for service in COMPOSE.values() for volume in service["volumes"])
    assert proxy["network_mode"] == "service:zoo"
    assert (DEPLOY / "nginx.conf").is_file()


def test_the_unit_passes_systemds_own_check_and_is_shut_in(tmp_path: Path) -> None:
    if (program := shutil.which("systemd-analyze")) is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/zoo/bin/python", sys.executable))
    done = subprocess.run([program, "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    judged = subprocess.run(
        [program, "security", "--offline=true", "--threshold=15", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unrecognized option" in judged.stderr:
        pytest.skip("systemd before 250 judges no file")
    assert judged.returncode == 0, judged.stdout[-2000:] + judged.stderr
