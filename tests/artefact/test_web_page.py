"""`zoo export --web`: the folder, whose it is, and where onnxruntime-web comes from."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from refusals import refused

import zoo
from zoo._support.files import sha256_file
from zoo.artefact import _ort_web as ort_web
from zoo.artefact._web import write_web
from zoo.edge.bundle._keys import new_key
from zoo.edge.bundle._signing import sign
from zoo.errors import OutputError, UsageError

ENGINE = {"ort.wasm.bundle.min.mjs": b"// loads it", "ort-wasm-simd-threaded.wasm": b"\0asm runs it"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a network that takes 8-bit pictures."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        zoo.train("simple_cnn", "digits", epochs=1, batch_size=128, out="run")
    return folder / "run"


@pytest.fixture(scope="module")
def bundle(run: Path) -> Path:
    zoo.export(run, bundle=True, out=run.parent / "digits.zoo")
    return run.parent / "digits.zoo"


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A package as npm packs it, with pins that fit; nobody has it in a store, and there is no network."""
    packed = tmp_path / "onnxruntime-web.tgz"
    _pack(packed, ENGINE)
    digest = base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode()
    monkeypatch.setattr(ort_web, "_INTEGRITY", f"sha512-{digest}")
    monkeypatch.setattr(
        ort_web, "_FILES", {name: hashlib.sha256(content).hexdigest() for name, content in ENGINE.items()}
    )
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    return packed


def _pack(target: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(target, "w:gz") as archive:
        for name, content in {**files, "../../evil.js": b"never written"}.items():
            entry = tarfile.TarInfo(f"package/dist/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def _hashes(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in folder.rglob("*") if path.is_file()}


def test_folder_holds_the_page_the_bundle_and_what_runs_it(run: Path, pinned: Path, tmp_path: Path) -> None:
    result = zoo.export(run, web=tmp_path / "page", ort_web=pinned)
    found = _hashes(tmp_path / "page")
    listing = json.loads((tmp_path / "page" / "web.json").read_bytes())
    assert found.pop("web.json")
    assert listing["files"] == found
    assert {"index.html", "assets/app.js", "assets/ort/ort-wasm-simd-threaded.wasm", "model.zoo/golden.npz"} <= set(
        found
    )
    assert b'MODE = "browser"' in (tmp_path / "page" / "assets" / "mode.js").read_bytes()
    assert result.parity.flips == 0
    assert zoo.verify(tmp_path / "page" / "model.zoo").images >= 32
    assert result.size_bytes == sum(path.stat().st_size for path in (tmp_path / "page").rglob("*") if path.is_file())


def test_same_bundle_gives_the_same_bytes_wherever_it_is_written(bundle: Path, pinned: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        zoo.export(bundle, web=tmp_path / name, ort_web=pinned)
    assert _hashes(tmp_path / "one") == _hashes(tmp_path / "two")


def test_own_page_is_replaced_and_another_folder_is_not(bundle: Path, pinned: Path, tmp_path: Path) -> None:
    target = tmp_path / "page"
    zoo.export(bundle, web=target, ort_web=pinned)
    (target / "assets" / "old").mkdir()
    with refused("out-occupied", OutputError, path=str(target), holds="page"):
        zoo.export(bundle, web=target)
    assert (target / "assets" / "old").exists()
    zoo.export(bundle, web=target, overwrite=True)
    assert not (target / "assets" / "old").exists()
    (target / "letter.txt").write_text("mine")
    before = _hashes(target)
    for overwrite in (False, True):
        with refused("out-occupied", OutputError, file="letter.txt"):
            zoo.export(bundle, web=target, overwrite=overwrite)
    assert _hashes(target) == before
    (tmp_path / "home.txt").write_text("mine")
    with refused("out-occupied", OutputError, path=str(tmp_path / "home.txt")):
        zoo.export(bundle, web=tmp_path / "home.txt")


@pytest.mark.skipif(os.name != "posix", reason="devices are POSIX")
def test_what_was_changed_or_never_was_a_page_is_not_replaced(bundle: Path, pinned: Path, tmp_path: Path) -> None:
    edited = tmp_path / "page"
    zoo.export(bundle, web=edited, ort_web=pinned)
    (edited / "index.html").write_text("<p>of our ward</p>")
    with refused("out-occupied", OutputError, file="index.html"):
        zoo.export(bundle, web=edited)
    claimed = tmp_path / "thesis"
    claimed.mkdir()
    (claimed / "thesis.txt").write_text("three years")
    (claimed / "web.json").write_text(json.dumps({"files": {"thesis.txt": "0" * 64}}))
    with refused("out-occupied", OutputError, file="thesis.txt"):
        zoo.export(bundle, web=claimed)
    (claimed / "web.json").unlink()
    (claimed / "web.json").symlink_to("/dev/zero")
    (claimed / "thesis.txt").unlink()
    with refused("out-occupied", OutputError, file="web.json"):
        zoo.export(bundle, web=claimed)
    assert (edited / "index.html").read_text() == "<p>of our ward</p>"


@pytest.mark.skipif(os.name != "posix", reason="pipes are POSIX")
def test_package_that_never_ends_is_refused_and_not_read(pinned: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ENGINE:
        (tmp_path / "folder" / name).symlink_to("/dev/zero")
    for given in (tmp_path / "pipe", Path("/dev/zero"), tmp_path / "folder"):
        with refused("ort-web-file", OutputError):
            ort_web.engine_files(given)
    assert ort_web.engine_files(pinned) == ENGINE


def test_engine_is_kept_for_the_next_time(bundle: Path, pinned: Path, tmp_path: Path) -> None:
    zoo.export(bundle, web=tmp_path / "one", ort_web=pinned)
    pinned.unlink()
    zoo.export(bundle, web=tmp_path / "two")
    kept = tmp_path / "home" / ort_web.NAME / ort_web.VERSION / "ort.wasm.bundle.min.mjs"
    kept.write_bytes(b"// spoilt")
    with refused("ort-web-file", OutputError, member=kept.name) as caught:
        zoo.export(bundle, web=tmp_path / "three")
    assert "remove it" in str(caught.value)
    assert not (tmp_path / "three").exists()


def test_installed_package_is_taken_as_a_folder(pinned: Path, tmp_path: Path) -> None:
    assert pinned.is_file()
    (tmp_path / "node_modules" / "dist").mkdir(parents=True)
    for name, content in ENGINE.items():
        (tmp_path / "node_modules" / "dist" / name).write_bytes(content)
    assert ort_web.engine_files(tmp_path / "node_modules") == ENGINE


@pytest.mark.usefixtures("pinned")
def test_changed_package_is_refused_before_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _pack(tmp_path / "other.tgz", ENGINE | {"ort.wasm.bundle.min.mjs": b"// other"})
    monkeypatch.setattr(tarfile, "open", lambda **_: pytest.fail("a package that is not the pinned one was opened"))
    with refused("ort-web-file", OutputError, path=str(tmp_path / "other.tgz")):
        ort_web.engine_files(tmp_path / "other.tgz")


@pytest.mark.usefixtures("pinned")
def test_without_a_network_the_ways_out_are_named_before_anything_is_built(bundle: Path, tmp_path: Path) -> None:
    with refused("ort-web-missing", OutputError, package="onnxruntime-web") as caught:
        zoo.export(bundle, web=tmp_path / "page")
    line = str(caught.value)
    assert "ZOO_OFFLINE" in line
    assert "--ort-web PATH" in line
    assert "npm pack onnxruntime-web@" in line
    assert "\n" not in line
    assert not (tmp_path / "page").exists()


def test_npm_that_fails_is_said_in_one_line(
    pinned: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pinned.is_file()
    monkeypatch.delenv("ZOO_OFFLINE")
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text("#!/bin/sh\necho 'network request\n failed' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}:/usr/bin:/bin")
    with refused("ort-web-missing", OutputError) as caught:
        zoo.export(bundle, web=tmp_path / "page", fetch=True)
    assert "request failed" in str(caught.value)


def test_npm_is_not_called_unless_it_is_allowed(
    pinned: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("ZOO_OFFLINE")
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    said = "npm http fetch GET 200 https://example.org/onnxruntime-web-1.30.0.tgz 8ms (cache hit)"
    npm.write_text(f"#!/bin/sh\ntouch {tmp_path}/called\necho '{said}' >&2\ncp {pinned} \"$4\"\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}:/usr/bin:/bin")
    with refused("ort-web-missing", OutputError):
        zoo.export(bundle, web=tmp_path / "page")
    assert not (tmp_path / "called").exists()
    with caplog.at_level("INFO", "zoo"):
        zoo.export(bundle, web=tmp_path / "page", fetch=True)
    assert (tmp_path / "called").exists()
    assert any("its cache" in record.getMessage() for record in caplog.records)


def test_what_does_not_go_together_is_said(run: Path, tmp_path: Path) -> None:
    with refused("option-conflict", UsageError, options=["--web"]):
        zoo.export(run, web=tmp_path / "page", bundle=True)
    with refused("option-conflict", UsageError, options=["--web"]):
        zoo.export(run, web=tmp_path / "page", preprocess="none")


@pytest.mark.slow
def test_model_for_deep_images_is_not_made_a_page(pinned: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {f"{part}_images": rng.integers(0, 4096, (24, 8, 8), dtype=np.uint16) for part in ("train", "val", "test")}
    arrays |= {f"{part}_labels": np.tile([[0], [1]], (12, 1)) for part in ("train", "val", "test")}
    np.savez(tmp_path / "deep.npz", **arrays)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        made = zoo.train(
            "simple_cnn",
            tmp_path / "deep.npz",
            epochs=1,
            out=tmp_path / "run",
            settings={"preprocess.intensity.maximum": 4095},
        ).run
    with refused("web-unsupported", UsageError, dtype="uint16"):
        zoo.export(made, web=tmp_path / "page", ort_web=pinned)
    assert not (tmp_path / "page").exists()


def test_bundle_is_not_exported_anew_in_silence(bundle: Path, tmp_path: Path) -> None:
    with refused("export-again", UsageError, path=str(bundle)):
        zoo.export(bundle, web=tmp_path / "page", portable=True)


def test_bundle_becomes_a_page_without_the_training_packages(bundle: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'onnx', 'sklearn', 'timm', 'requests')))\n"
        "import zoo; from zoo.artefact import _ort_web; _ort_web.engine_files = lambda given, fetch: {}\n"
        f"zoo.export({str(bundle)!r}, web={str(tmp_path / 'page')!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page" / "index.html").is_file()


def test_lone_file_becomes_no_page(run: Path, pinned: Path, tmp_path: Path) -> None:
    assert pinned.is_file()
    with refused("web-unsupported", UsageError):
        zoo.export(run / "model.onnx", web=tmp_path / "page", ort_web=pinned)


def test_signature_stays_with_the_bundle(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="cryptography is not installed")
    signed = tmp_path / "signed.zoo"
    zoo.export(run, bundle=True, seen=False, out=signed)
    new_key(tmp_path / "key")
    sign(signed, tmp_path / "key")
    write_web(tmp_path / "page", signed, ENGINE)
    assert zoo.verify(tmp_path / "page" / "model.zoo", key=tmp_path / "key.pub").images >= 32
