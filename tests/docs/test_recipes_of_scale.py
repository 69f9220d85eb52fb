"""The recipes of docs/scale/: clusters take them, what they start exists, and nobody gets more rights than needed.

No cluster runs here. Manifests are held against Kubernetes' own schemas, strictly, and against the fields of KubeRay.
Scripts run under bash, with shell functions in the place of the programs of a cluster.
"""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from page_blocks import ROOT
from test_commands import check_words

SCALE = ROOT / "docs" / "scale"
MANIFESTS = sorted((SCALE / "kubernetes").glob("*.yaml"))
SCRIPTS = sorted((SCALE / "slurm").glob("*.sbatch"))
TASKS = sorted((SCALE / "skypilot").glob("*.yaml"))
KUBERNETES = ("1.33", "1.37")
"""The oldest version and the newest that are tried."""
DOCKER = {path.name.split(".")[0]: path.read_text() for path in (ROOT / "docker").glob("*.Dockerfile")}

RAY_JOB = {
    "entrypoint": str, "submissionMode": str, "backoffLimit": int, "activeDeadlineSeconds": int,
    "shutdownAfterJobFinishes": bool, "ttlSecondsAfterFinished": int, "rayClusterSpec": dict,
}  # fmt: skip
RAY_CLUSTER = {"rayVersion": str, "authOptions": dict, "headGroupSpec": dict, "workerGroupSpecs": list}
RAY_GROUP = {
    "groupName": str, "replicas": int, "minReplicas": int, "maxReplicas": int, "rayStartParams": dict, "template": dict,
}  # fmt: skip
"""Fields of ray.io/v1 that a recipe may have, and their types: KubeRay API reference, version 1.5.1 (Apache-2.0)."""

RECORD = r"""
record() { printf '%s\037' "$@" >> "$RECORD"; printf '\036' >> "$RECORD"; }
pip() { record pip "$@"; }
zoo() { record zoo "$@"; }
torchrun() { record torchrun "$@"; }
env() { while [[ $1 == *=* ]]; do shift; done; "$@"; }
ray() { record ray "$@"; while [[ $1 != -- ]]; do shift; done; shift; "$@"; }
srun() { record srun "$@"; while [[ $1 == --* ]]; do shift; done; "$@"; }
scontrol() { printf 'node-1\nnode-2\n'; }
"""
"""Programs of a cluster that write down how they were called, and start what they were to start."""
SLURM = {
    "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "node-[1-2]", "SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "16",
    "SLURM_GPUS_ON_NODE": "4",
}  # fmt: skip
SKY = {
    "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_RANK": "0",
    "SKYPILOT_NUM_GPUS_PER_NODE": "8", "RAY_AUTH_TOKEN": "t",
}  # fmt: skip


@cache
def _documents() -> tuple[tuple[str, dict[str, Any]], ...]:
    return tuple(
        (f"{path.name}, {one['kind']}", one) for path in MANIFESTS for one in yaml.safe_load_all(path.read_text())
    )


def _kinds(*kinds: str) -> list[dict[str, Any]]:
    return [one for _, one in _documents() if one["kind"] in kinds]


def _templates(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The pods that a document makes."""
    if document["kind"] == "RayJob":
        cluster = document["spec"]["rayClusterSpec"]
        return [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
    return [document["spec"]["template"]] if document["kind"] in {"Job", "Deployment"} else []


PODS = [pytest.param(one, id=f"{name} {k}") for name, doc in _documents() for k, one in enumerate(_templates(doc))]


def _validate(document: dict[str, Any], version: str) -> None:
    """Raise where Kubernetes would refuse it, unknown fields included."""
    kubernetes = pytest.importorskip("kubernetes_validate")
    if document["apiVersion"] == "ray.io/v1":
        for template in _templates(document):
            whole = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "any"}, "template": template}
            kubernetes.validate(whole, version, strict=True)
    else:
        kubernetes.validate(document, version, strict=True)


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("document", [pytest.param(one, id=name) for name, one in _documents()])
def test_kubernetes_takes_every_manifest(document: dict[str, Any], version: str) -> None:
    _validate(document, version)


@pytest.mark.parametrize("pod", PODS)
def test_a_slip_in_a_pod_is_seen(pod: dict[str, Any]) -> None:
    """Else the test above would pass whatever is written."""
    kubernetes = pytest.importorskip("kubernetes_validate")
    slip = copy.deepcopy(pod)
    slip["spec"]["containers"][0]["readinessProb"] = {}
    whole = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "any"}, "template": slip}
    with pytest.raises(kubernetes.ValidationError):
        kubernetes.validate(whole, KUBERNETES[0], strict=True)


def test_kuberay_knows_every_field_of_the_ray_job() -> None:
    (job,) = _kinds("RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    groups = [(one, RAY_GROUP) for one in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
    for found, known in ((job["spec"], RAY_JOB), (cluster, RAY_CLUSTER), *groups):
        assert set(found) <= set(known)
        assert all(type(value) is known[name] for name, value in found.items())
    assert all(type(value) is str for group, _ in groups for value in group["rayStartParams"].values())
    assert job["spec"]["submissionMode"] in {"K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"}
    assert cluster["authOptions"] == {"mode": "token"}
    assert f'"ray[default]=={cluster["rayVersion"]}"' in DOCKER["training"]


@pytest.mark.parametrize("pod", PODS)
def test_no_pod_has_more_rights_than_it_needs(pod: dict[str, Any]) -> None:
    spec, user = pod["spec"], pod["spec"]["securityContext"]
    assert spec["automountServiceAccountToken"] is False
    assert user["runAsNonRoot"] is True
    assert user["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert not any("hostPath" in volume for volume in spec["volumes"])
    for container in spec["containers"]:
        locked = container["securityContext"]
        assert locked["allowPrivilegeEscalation"] is False
        assert locked["readOnlyRootFilesystem"] is True
        assert locked["capabilities"] == {"drop": ["ALL"]}
        assert not any("value" in one and "KEY" in one["name"] for one in container.get("env", ())), "a secret in plain"


@pytest.mark.parametrize("pod", PODS)
def test_images_and_users_are_those_of_docker(pod: dict[str, Any]) -> None:
    for container in pod["spec"]["containers"]:
        name, _, tag = container["image"].rpartition("/")[2].partition(":")
        assert tag not in {"", "latest"}
        text = DOCKER[name.removeprefix("zoo-")]
        assert f"-t {name} " in text
        user = pod["spec"]["securityContext"]
        assert f"USER {user['runAsUser']}:{user['runAsGroup']}" in text


@pytest.mark.parametrize("pod", PODS)
def test_every_pod_says_what_it_takes_and_has_room_for_its_volumes(pod: dict[str, Any]) -> None:
    (container,) = pod["spec"]["containers"]
    limits, requests = container["resources"]["limits"], container["resources"]["requests"]
    assert {"cpu", "memory", "ephemeral-storage"} <= set(limits)
    assert limits == requests, "a pod that takes more than it asked for is ended first"
    empty = [volume["emptyDir"] for volume in pod["spec"]["volumes"] if "emptyDir" in volume]
    memory = sum(_bytes(one["sizeLimit"]) for one in empty if one.get("medium") == "Memory")
    assert memory < _bytes(limits["memory"]), "they count as memory of the pod"
    assert sum(_bytes(one["sizeLimit"]) for one in empty) - memory < _bytes(limits["ephemeral-storage"])
    assert {mount["name"] for mount in container["volumeMounts"]} == {one["name"] for one in pod["spec"]["volumes"]}
    assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}  # noqa: S108


def _bytes(quantity: str) -> int:
    return int(quantity[:-2]) * 1024 ** "KMG".index(quantity[-2]) * 1024


def test_what_runs_for_long_is_probed_and_what_is_reached_is_fenced() -> None:
    for document in _kinds("Deployment", "RayJob"):
        for template in _templates(document):
            for container in template["spec"]["containers"]:
                ports = {port["name"] for port in container["ports"]}
                probes = [container[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")]
                assert {(one.get("httpGet") or one["tcpSocket"])["port"] for one in probes} <= ports
    fences = {policy["metadata"]["name"]: policy["spec"] for policy in _kinds("NetworkPolicy")}
    for document in _kinds("Deployment", "RayJob", "Job"):
        fence = fences[document["metadata"]["name"]]
        for template in _templates(document):
            assert template["metadata"]["labels"] == fence["podSelector"]["matchLabels"]
        assert fence["policyTypes"] == ["Ingress", "Egress"]
        assert all(rule.get("from") for rule in fence["ingress"])


def test_nodes_of_a_training_meet_under_a_name_that_is_theirs() -> None:
    (job,) = _kinds("Job")
    service = next(one for one in _kinds("Service") if one["metadata"]["name"] == job["metadata"]["name"])
    (container,) = job["spec"]["template"]["spec"]["containers"]
    asked = _parse_torchrun(container["args"])
    host, _, port = asked.rdzv_endpoint.partition(":")
    assert host == f"{job['metadata']['name']}-0.{service['metadata']['name']}"
    assert int(port) in {one["port"] for one in service["spec"]["ports"]}
    assert job["spec"]["template"]["spec"]["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert int(asked.nnodes.partition(":")[2]) == job["spec"]["completions"] == job["spec"]["parallelism"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    (out,) = (word.removeprefix("--out=") for word in container["args"] if word.startswith("--out="))
    assert Path(out).parent == Path(mounts["runs"]), "a run that dies with its pod cannot be continued"
    assert f"HOME={Path(out).parents[1]}" in DOCKER["training"]


def test_the_server_guards_itself_and_has_time_to_end() -> None:
    from zoo.edge.__main__ import _parser

    (deployment,) = _kinds("Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    asked = vars(_parser(["serve"]).parse_args(container["args"]))
    assert asked["token_file"] is not None
    assert asked["key"] is not None
    assert asked["port"] in {port["containerPort"] for port in container["ports"]}
    waits = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= waits + 30 + 120
    mounted = [mount["mountPath"] for mount in container["volumeMounts"] if mount.get("readOnly")]
    read = [asked["models"][0].partition("=")[2], asked["token_file"], asked["key"]]
    assert all(any(str(path).startswith(f"{place}/") for place in mounted) for path in read)


@cache
def _calls(script: str, name: str) -> tuple[tuple[str, ...], ...]:
    """Which programs a script calls with which words, once bash has put values in."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        record, start = Path(folder) / "record", Path(folder) / "sky_templates" / "ray" / "start_cluster"
        start.parent.mkdir(parents=True)
        start.write_text("#!/bin/sh\n")
        start.chmod(0o755)
        words = ("zoo", "list") if name == "ray.sbatch" else ()
        subprocess.run(
            ["bash", "-c", RECORD + script, name, *words],
            check=True,
            timeout=30,
            env={"PATH": os.environ["PATH"], "HOME": folder, "RECORD": str(record), **SLURM, **SKY},
        )
        return tuple(tuple(call.split("\x1f")[:-1]) for call in record.read_text().split("\x1e")[:-1])


def _parse_torchrun(words: list[str]) -> Any:
    from torch.distributed.run import parse_args

    asked = parse_args(list(words))
    assert (asked.module, asked.training_script) == (True, "zoo_cli")
    assert asked.rdzv_backend == "c10d"
    assert asked.max_restarts > 0
    check_words(asked.training_script_args)
    assert any(word.startswith("--out") for word in asked.training_script_args), "a restart must find the run again"
    return asked


def _scripts() -> list[Any]:
    told = [(path.name, path.read_text()) for path in SCRIPTS]
    for path in TASKS:
        task = yaml.safe_load(path.read_text())
        told += [(f"{path.name} {part}", f"set -euo pipefail\n{task[part]}") for part in ("setup", "run")]
    return [pytest.param(script, name, id=name) for name, script in told]


@pytest.mark.skipif(sys.platform == "win32", reason="bash")
@pytest.mark.parametrize(("script", "name"), _scripts())
def test_programs_take_the_words_that_scripts_give_them(script: str, name: str) -> None:
    subprocess.run(["bash", "-n", "-c", script], check=True)
    found = _calls(script, name)
    assert {call[0] for call in found} & {"zoo", "torchrun", "pip"}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for program, *words in found:
        if program == "zoo":
            check_words(words)
        elif program == "torchrun":
            _parse_torchrun(words)
        elif program == "pip":
            named = re.fullmatch(r"edgezoo\[([\w,]+)\]", words[-1])
            assert named is not None
            assert set(named[1].split(",")) <= set(extras)
        elif program == "ray":
            ray = pytest.importorskip("ray.scripts.scripts")
            command, *rest = words
            with ray.cli.commands[command].make_context(command, rest) as context:
                assert int(context.params["min_nodes"]) == 2


def test_the_entry_of_the_ray_job_is_accepted() -> None:
    (job,) = _kinds("RayJob")
    program, *words = job["spec"]["entrypoint"].split()
    assert program == "zoo"
    check_words(words)


@pytest.mark.parametrize(
    "words",
    re.findall(r"^#   sbatch ray\.sbatch zoo (.+)$", (SCALE / "slurm" / "ray.sbatch").read_text(), re.MULTILINE),
)
def test_commands_that_the_ray_script_names_are_accepted(words: str) -> None:
    check_words(words.split())


@pytest.mark.parametrize("path", [*SCRIPTS, *TASKS, *MANIFESTS], ids=lambda path: f"{path.parent.name} {path.name}")
def test_files_that_a_recipe_names_are_there(path: Path) -> None:
    named = re.findall(r"\b((?:docs|docker)/[\w./-]+\.\w+)", path.read_text())
    assert not [file for file in named if not (ROOT / file).is_file()]


@pytest.mark.skipif(sys.platform == "win32", reason="bash")
def test_slurm_reads_the_options_of_every_script() -> None:
    known = {
        "job-name", "nodes", "ntasks-per-node", "cpus-per-task", "gpus-per-node", "mem", "time", "requeue", "open-mode",
        "signal", "exclusive",
    }  # fmt: skip
    for path in SCRIPTS:
        lines = path.read_text().splitlines()
        asked = [line for line in lines if line.startswith("#SBATCH")]
        assert lines[0] == "#!/bin/bash"
        assert set(re.findall(r"^#SBATCH --([\w-]+)", "\n".join(asked), re.MULTILINE)) <= known
        first = next(k for k, line in enumerate(lines) if line and not line.startswith("#"))
        assert max(k for k, line in enumerate(lines) if line in asked) < first, "sbatch reads none after a command"
        assert "#SBATCH --requeue" in asked


@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.name)
def test_skypilot_takes_every_task(path: Path) -> None:
    """Its own schemas, where it is installed: pip install skypilot."""
    schemas = pytest.importorskip("sky.utils.schemas", reason="skypilot is not installed")
    import jsonschema

    task = yaml.safe_load(path.read_text())
    jsonschema.validate(task, schemas.get_task_schema())
    jsonschema.validate(task["resources"], schemas.get_resources_schema())
    for mount in task["file_mounts"].values():
        jsonschema.validate(mount, schemas.get_storage_schema())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="bash")
def test_the_training_of_slurm_trains_on_two_nodes(tmp_path: Path) -> None:
    """Its own lines, with torchrun as it is; both nodes are this machine."""
    import socket

    import zoo

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cluster = f"""
    torchrun() {{ {sys.executable} -m torch.distributed.run "$@"; }}
    scontrol() {{ echo 127.0.0.1; }}
    srun() {{
        while [[ $1 == --* ]]; do shift; done
        "$@" & local one=$!; "$@" & local other=$!
        wait $one && wait $other
    }}
    """
    asked = {
        "ZOO_DATA": "digits", "ZOO_RUN": str(tmp_path / "run"), "ZOO_PORT": str(port),
        "ZOO_RECIPE": "simple_cnn --epochs 1 --device cpu",
        "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "any", "SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "1",
    }  # fmt: skip
    script = (SCALE / "slurm" / "train.sbatch").read_text()
    done = subprocess.run(
        ["bash", "-c", cluster + script], env={**os.environ, **asked}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert zoo.evaluate(tmp_path / "run").metrics["accuracy"].value > 0.5
