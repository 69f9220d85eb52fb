"""`zoo doctor`: what this machine has, what is missing, and what is broken. Asks no network."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo._support.text import join_lines
from zoo.errors import ZooError
from zoo_cli.options import Json
from zoo_cli.output import document, fields, format_count, format_table, put

if TYPE_CHECKING:
    from zoo.registry import EntryRow

__all__ = ["doctor"]

OWN = "edgezoo"
EXTRA = "train"
CPU_FLAGS = {
    "bf16": ("avx512_bf16", "amx_bf16"),
    "int8 dot products (vnni)": ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp"),
}
"""What speeds up training and int8 models, by the names Linux gives the instructions."""
WAIT = 7.0
"""Seconds for all that is imported in other processes; with the rest an answer comes in ten."""
_NO_CUDA: dict[str, Any] = {"built_for": None, "available": False, "devices": []}

_CUDA = """
import json, torch
there = torch.cuda.is_available()
print(json.dumps({
    "built_for": torch.version.cuda,
    "available": there,
    "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if there else [],
}))
"""


def doctor(
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=0, help="For plugins and torch to be imported.")
    ] = WAIT,
    as_json: Json = False,
) -> None:
    """Check what is installed and what this machine can do.

    Every plugin is really loaded, in another process. What takes longer than --wait is shown as "not checked" and is
    not a defect. Exit status 1 when something installed is broken.
    """
    with ThreadPoolExecutor(4) as pool:
        found = _examine(wait, pool)
    if as_json:
        document(found)
    else:
        put(_text(found))
    if found["problems"]:
        raise typer.Exit(1)


def _examine(wait: float, pool: ThreadPoolExecutor) -> dict[str, Any]:
    from zoo.registry import catalogue, check_callbacks, check_plugins, check_readers
    from zoo.store.weights import folder, lock

    cuda = pool.submit(_cuda, wait)
    loaded, read = pool.submit(check_plugins, wait), pool.submit(check_readers, wait)
    told = pool.submit(check_callbacks, wait)
    problems: list[str] = []
    packages = _packages()
    problems += [f"{row['name']}: {row['status']}" for row in packages if row["broken"]]
    everything = catalogue()
    problems += [broken.error for broken in everything.broken]
    onnxruntime = _onnxruntime(problems)
    store: dict[str, Any] = {"folder": str(folder()), "files": None, "bytes": None, "lock": "ok"}
    try:
        rows = lock(entry.card for owners in everything.entries.values() for entry in owners)
        store |= {"files": len(rows), "bytes": sum(row.size for row in rows)}
    except ZooError as problem:
        store["lock"] = str(problem)
        problems.append(f"weights: {problem}")
    plugins, readers, callbacks, of_torch = loaded.result(), read.result(), told.result(), cuda.result()
    entries: list[EntryRow] = [*plugins, *readers, *callbacks]
    problems += [one.status for one in entries if one.state == "broken"]
    if isinstance(of_torch, str):
        problems.append(of_torch)
        of_torch = _NO_CUDA
    switches = [name for name in ("ZOO_OFFLINE", "HF_HUB_OFFLINE") if os.environ.get(name)]
    return {
        "zoo": version(OWN),
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "packages": packages,
        "cpu": _cpu(),
        "onnxruntime": onnxruntime,
        "cuda": of_torch,
        "plugins": plugins,
        "readers": readers,
        "callbacks": callbacks,
        "models": len(everything.entries),
        "weights": store,
        "offline": {"switches": switches, "hub": os.environ.get("HF_ENDPOINT") or "https://huggingface.co"},
        "problems": list(dict.fromkeys(problems)),  # a file that cannot be read costs plugins and catalogue
    }


def _packages() -> list[dict[str, Any]]:
    """Our requirements, as our own metadata states them: base, then those of the extra `train`."""
    rows = []
    for line in requires(OWN) or ():
        requirement, _, marker = line.partition(";")
        if marker and f"'{EXTRA}'" not in marker.replace('"', "'"):
            continue
        match = re.match(r"([A-Za-z0-9._-]+)\s*(?:>=\s*([\d.]+))?", requirement.strip())
        if match is None:
            continue
        name, least = match.groups()
        row = {
            "name": name,
            "version": None,
            "needs": f">={least}" if least else "any",
            "extra": EXTRA if marker else None,
        }
        try:
            row["version"] = version(name)
        except PackageNotFoundError:
            remedy = f"pip install '{OWN}[{EXTRA}]'" if marker else f"pip install {name}"
            rows.append({**row, "status": f"not installed: {remedy}", "broken": not marker})
            continue
        old = least is not None and _numbers(row["version"]) < _numbers(least)
        status = f"too old: pip install --upgrade '{name}>={least}'" if old else "ok"
        rows.append({**row, "status": status, "broken": old})
    return rows


def _numbers(text: str | None) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", (text or "").partition("+")[0])[:3])


def _cpu() -> dict[str, Any]:
    from zoo._support.machine import cores, processor

    cpu = processor()
    known = {
        name: bool(cpu.flags.intersection(any_of)) or (False if cpu.complete else None)
        for name, any_of in CPU_FLAGS.items()
    }
    return {"name": cpu.name, "threads": cores(), "flags": known}


def _onnxruntime(problems: list[str]) -> dict[str, Any]:
    try:
        import onnxruntime
    except Exception as problem:  # a broken binary can raise anything
        said = join_lines(problem)
        problems.append(f"onnxruntime cannot be imported: {said}; pip install --force-reinstall onnxruntime")
        return {"version": None, "providers": []}
    return {"version": onnxruntime.__version__, "providers": onnxruntime.get_available_providers()}


def _cuda(wait: float) -> dict[str, Any] | str | None:
    """What torch says of GPUs, asked in a process of its own: a broken driver can end it. None: no torch.

    A text: what is wrong with torch. "available" is None where torch was not imported in time.
    """
    try:
        version("torch")
    except PackageNotFoundError:
        return None
    try:
        asked = subprocess.run(
            [sys.executable, "-P", "-c", _CUDA], capture_output=True, text=True, timeout=wait, check=False
        )
        answer: dict[str, Any] = json.loads(asked.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {**_NO_CUDA, "available": None}
    except (OSError, ValueError, IndexError):
        return "torch is installed and cannot be imported; pip install --force-reinstall torch"
    return answer


def _text(found: dict[str, Any]) -> str:
    packages = [
        (row["name"], row["version"] or "-", row["needs"], row["extra"] or "base", row["status"])
        for row in found["packages"]
    ]
    plugins = [
        (
            row.name,
            f"{row.distribution} {row.version}",
            row.status.partition(";")[0] if row.state == "slow" else row.status,
        )
        for row in (*found["plugins"], *found["readers"], *found["callbacks"])
    ]
    cpu, store, offline = found["cpu"], found["weights"], found["offline"]
    providers = found["onnxruntime"]["providers"]
    flags = ", ".join(f"{name} {_yes(value)}" for name, value in cpu["flags"].items())
    files = "unknown files" if store["files"] is None else format_count(store["files"], "file")
    switches = ", ".join(offline["switches"])
    lines = {
        "zoo": f"{found['zoo']}, {found['models']} models in the catalogue",
        "python": f"{found['python']} on {found['platform']}",
        "cpu": f"{cpu['name']}, {cpu['threads']} threads; {flags}",
        "onnxruntime": ", ".join(name.removesuffix("ExecutionProvider") for name in providers) or "broken",
        "cuda": _cuda_line(found["cuda"], providers),
        "weights": f"{files} in {store['folder']}; lock: {store['lock']}",
        "network": f"off: {switches} is set" if switches else f"allowed; weights come from {offline['hub']}",
    }
    problems = found["problems"]
    sections = [
        fields(lines),
        format_table(("package", "version", "needs", "for", "status"), packages),
        format_table(("plugin", "from", "status"), plugins),
        "\n".join(f"broken: {problem}" for problem in problems) or _sum_up(found),
    ]
    return "\n\n".join(sections)


def _sum_up(found: dict[str, Any]) -> str:
    slow = sum(row.state == "slow" for row in (*found["plugins"], *found["readers"], *found["callbacks"]))
    if not slow:
        return "nothing that is installed is broken"
    return f"nothing is known to be broken; {format_count(slow, 'plugin')} not checked, 'zoo doctor --wait 300' waits"


def _yes(value: bool | None) -> str:
    return "unknown" if value is None else "yes" if value else "no"


def _cuda_line(cuda: dict[str, Any] | None, providers: list[str]) -> str:
    if cuda is None:
        return f"unknown: torch is not installed (pip install '{OWN}[{EXTRA}]'); running models does not need it"
    if cuda["available"] is None:
        return "not checked, because torch was not imported in time; 'zoo doctor --wait 300' waits longer"
    if not cuda["available"]:
        built = (
            f"torch is built for CUDA {cuda['built_for']}" if cuda["built_for"] else "this torch is for the CPU only"
        )
        return f"no GPU that torch can use; {built}"
    line = f"{', '.join(cuda['devices'])} (torch for CUDA {cuda['built_for']})"
    if "CUDAExecutionProvider" in providers:
        return line
    return f"{line}; for exported models too: pip uninstall onnxruntime && pip install onnxruntime-gpu"
