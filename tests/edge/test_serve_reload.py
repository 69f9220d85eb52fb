"""A newer bundle, or other keys, while requests are answered: none is lost, and what is wrong changes nothing."""

from __future__ import annotations

import contextlib
import shutil
import signal
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from edge_models import make_bundle, make_manifest, seal
from serving import Server, png, read_answer, request, serving

from zoo.edge import Runtime, sign
from zoo.edge.bundle._keys import new_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")
pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")

OLD, NEW = ("red", "green", "blue"), ("rot", "gruen", "blau")
ALICE, BOB, CAROL = ("alice-0123456789abcdef", "bob-0123456789abcdef", "carol-0123456789abcdef")


def _put(bundle: Path, labels: tuple[str, ...]) -> None:
    """Another bundle in the place of one, at once, as docs/deploy.md says."""
    fresh = make_bundle(bundle.with_suffix(".new"), manifest=make_manifest(labels=labels))
    with contextlib.suppress(FileNotFoundError):
        bundle.rename(bundle.with_suffix(f".{time.monotonic_ns()}"))
    fresh.rename(bundle)


def _reloads(server: Server, outcome: str, token: str | None = None) -> float:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    text = server.ask("GET", "/metrics", **headers).body.decode()
    (line,) = [line for line in text.splitlines() if line.startswith(f'zoo_reloads_total{{outcome="{outcome}"}}')]
    return float(line.rpartition(" ")[2])


def _reload(server: Server, outcome: str, token: str | None = None) -> None:
    """Ask for it and wait until it came to `outcome` once more."""
    before = _reloads(server, outcome, token)
    server.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 30
    while _reloads(server, outcome, token) == before:
        assert time.monotonic() < deadline
        time.sleep(0.02)


class _Load:
    """Clients that ask without a pause, each on a connection that it keeps."""

    def __init__(self, server: Server, clients: int = 4) -> None:
        self.seen: list[tuple[int, str]] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(server,)) for _ in range(clients)]

    def _ask(self, server: Server) -> None:
        with server.connect() as connection:
            while not self._over.is_set():
                connection.sendall(request("POST", "/predict", png()))
                answer = read_answer(connection)
                self.seen.append((answer.status, answer.json.get("label", "") if answer.status else ""))

    def wait(self, more: int) -> None:
        """Until so many further answers came."""
        most = len(self.seen) + more
        deadline = time.monotonic() + 30
        while len(self.seen) < most:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join()


def test_a_newer_bundle_takes_the_place_without_a_lost_request(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "mean.zoo", manifest=make_manifest(labels=OLD))
    with serving(bundle) as server:
        load = _Load(server)
        with load.running():
            for labels in (NEW, OLD, NEW):
                _put(bundle, labels)
                _reload(server, "changed")
                answer = server.ask("POST", "/predict", png())
                assert answer.json["label"] == labels[0]
                assert answer.headers["zoo-model-version"] == Runtime.open(bundle).mark
                assert server.ask("GET", "/models").json[0]["verified"] == 4
                assert server.ask("GET", "/model").json["labels"] == list(labels)
                load.wait(40)
        assert server.leave()[0] == 0
    assert {status for status, _ in load.seen} == {200}
    assert {label for _, label in load.seen} == {"red", "rot"}, "each answer is of one whole model"


@pytest.mark.parametrize(
    ("how", "code"),
    [("changed", "bundle-files"), ("golden", "golden-mismatch"), ("gone", "file-unreadable"), ("cut", "bundle-files")],
)
def test_a_bundle_that_fails_its_proof_leaves_the_old_one_in_place(tmp_path: Path, how: str, code: str) -> None:
    bundle = make_bundle(tmp_path / "mean.zoo", manifest=make_manifest(labels=OLD))
    with serving(bundle) as server:
        version = server.ask("GET", "/models").json[0]["version"]
        load = _Load(server)
        with load.running():
            _put(bundle, NEW)
            if how == "changed":
                (bundle / "CARD.md").write_text("# another\n")
            elif how == "cut":
                model = bundle / "model.onnx"
                model.write_bytes(model.read_bytes()[:-10])
            elif how == "gone":
                shutil.rmtree(bundle)
            else:
                _answer_otherwise(bundle)
            _reload(server, "refused")
        assert server.ask("GET", "/models").json[0]["version"] == version
        assert server.ask("POST", "/predict", png()).json["label"] == "red"
        status, _, err = server.leave()
    assert status == 0
    assert f"{code}: " in err
    assert "Traceback" not in err
    assert set(load.seen) == {(200, "red")}


def _answer_otherwise(bundle: Path) -> None:
    with np.load(bundle / "golden.npz") as found:
        arrays = {name: found[name] for name in found.files}
    arrays["logits"] = arrays["logits"] + 1
    np.savez(bundle / "golden.npz", **arrays)
    seal(bundle, make_manifest(labels=NEW))


def test_only_a_bundle_signed_by_the_key_takes_the_place(tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="signatures need cryptography")
    new_key(tmp_path / "ours")
    bundle = make_bundle(tmp_path / "mean.zoo", manifest=make_manifest(labels=OLD))
    sign(bundle, tmp_path / "ours")
    with serving(bundle, "--key", str(tmp_path / "ours.pub")) as server:
        _put(bundle, NEW)
        _reload(server, "refused")
        assert server.ask("POST", "/predict", png()).json["label"] == "red"
        sign(bundle, tmp_path / "ours")
        _reload(server, "changed")
        assert server.ask("POST", "/predict", png()).json["label"] == "rot"
        assert server.ask("GET", "/models").json[0]["signed"] == "valid"


def test_one_that_fails_does_not_keep_the_others_from_their_newer_file(tmp_path: Path) -> None:
    names = ("a", "b")
    a, b = (make_bundle(tmp_path / f"{name}.zoo", manifest=make_manifest(name=name)) for name in names)
    with serving((a, b)) as server:
        (a / "CARD.md").write_text("# another\n")
        shutil.rmtree(b)
        make_bundle(b, manifest=make_manifest(name="b", labels=NEW))
        _reload(server, "changed")
        assert [one["labels"] for one in server.ask("GET", "/models").json] == [list(OLD), list(NEW)]
        assert _reloads(server, "refused") == 1
        b.rename(tmp_path / "c.zoo")
        shutil.rmtree(a)
        shutil.copytree(tmp_path / "c.zoo", a)
        shutil.copytree(tmp_path / "c.zoo", b)
        _reload(server, "refused")
        assert [one["name"] for one in server.ask("GET", "/models").json] == ["a", "b"]
        assert "serve-model-twice: " in server.leave()[2]


def test_a_key_is_revoked_and_another_added_while_the_rest_stay(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# radiology\nalice {ALICE}\nbob {BOB}\n")
    with serving(bundle, "--token-file", str(file), "--access-log", str(tmp_path / "log")) as server:

        def status(token: str) -> int:
            return server.ask("POST", "/predict", png(), Authorization=f"Bearer {token}").status

        assert [status(token) for token in (ALICE, BOB, CAROL)] == [200, 200, 401]
        file.write_text(f"bob {BOB}\ncarol {CAROL}\n")
        _reload(server, "changed", BOB)
        assert [status(token) for token in (ALICE, BOB, CAROL)] == [401, 200, 200]
        file.write_text("\n")
        _reload(server, "refused", BOB)
        assert [status(token) for token in (ALICE, BOB, CAROL)] == [401, 200, 200]
        assert status("x" * 20) == 401, "a file without keys must not open the door"
        _, _, err = server.leave()
    assert "token-malformed: " in err
    assert "alice" in err
    text = err + (tmp_path / "log").read_text()
    assert not any(token in text for token in (ALICE, BOB, CAROL))
    assert '"key":"bob"' in text
