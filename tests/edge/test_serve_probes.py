"""What docs/scale/kubernetes/serve.yaml asks a server, and how: by the pod's address, and without a token."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from serving import serving

pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")

MANIFEST = Path(__file__).resolve().parents[2] / "docs" / "scale" / "kubernetes" / "serve.yaml"


def test_a_kubelet_without_a_token_is_answered(bundle: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("site 0123456789abcdef0123456789abcdef\n")
    deployment = next(one for one in yaml.safe_load_all(MANIFEST.read_text()) if one["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    asked = [container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")]
    named = [word for word in container["args"] if word.startswith(("--host", "--allow-host"))]
    with serving(bundle, "--token-file", str(keys), *named) as server:
        for path in asked:
            assert server.ask("GET", path, Host="10.1.2.3:8000").status == 200, path
        assert server.ask("POST", "/predict", b"", Host="10.1.2.3:8000").status == 401
