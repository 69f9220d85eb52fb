"""onnxruntime-web, which runs a model inside a browser: where its two files come from, offline first.

They are looked for where the user says, then in the local store. Only on demand they are got by the user's own npm,
with whatever registry it is set up for. Nothing is unpacked or used before its hash is the one pinned here.

What this module does not know: pages, models.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import logging
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from zoo._support.files import replace_folder, sha256_bytes
from zoo._support.text import join_lines
from zoo.errors import OutputError
from zoo.store._download import offline
from zoo.store._places import data_folder

__all__ = ["MEGABYTES", "NAME", "VERSION", "engine_files", "is_stored"]

log = logging.getLogger("zoo")

NAME = "onnxruntime-web"
VERSION = "1.30.0"
_INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""Of the package as npm publishes it (Subresource Integrity, as in a package-lock.json)."""
_FILES = {  # WebAssembly on the CPU only, the loader in one module
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
"""Name in the package's folder dist to sha256."""
MEGABYTES = 33
"""Size of the package."""
_MOST_BYTES = 128 * 2**20
_NPM_SECONDS = 300
_HTTP = re.compile(r"^npm http .*$", re.MULTILINE)
_ORIGIN = re.compile(r"^npm http (?:fetch|cache) .*\.tgz.*\(cache (hit|miss|updated|revalidated)\)", re.MULTILINE)
"""Where npm says that a package came from."""


def engine_files(given: Path | None = None, *, fetch: bool = False) -> dict[str, bytes]:
    """Name to bytes of what a page needs to run a model.

    Args:
        given: the package: npm's tarball, or its folder as in node_modules. None: the store.
        fetch: where the store has none, call npm, which may ask the network.

    Raises:
        OutputError: the files are not available, or differ from the pinned ones; the message says what to do.
    """
    if given is not None:
        found = _of_folder(given) if given.is_dir() else _of_tarball(given)
        _keep(found)
        return found
    if (stored := _load_stored()) is not None:
        return stored
    if not fetch:
        raise _absent(offline() or "npm was not allowed to get it (--fetch allows it)")
    found = _from_npm()
    _keep(found)
    return found


def is_stored() -> bool:
    """Whether an earlier call has kept the package here."""
    return _store().is_dir()


def _store() -> Path:
    return data_folder(NAME) / VERSION


def _load_stored() -> dict[str, bytes] | None:
    folder = _store()
    if not folder.is_dir():
        return None
    return _check({name: _read(folder / name) for name in _FILES}, f"{folder} (remove it to have it made again)")


def _keep(files: dict[str, bytes]) -> None:
    """Into the store; a page can be written without it."""
    if not _store().is_dir():
        try:
            replace_folder(_store(), files)
        except OutputError as problem:
            log.warning("%s", problem)


def _of_folder(folder: Path) -> dict[str, bytes]:
    inner = folder / "dist" if (folder / "dist").is_dir() else folder
    return _check({name: _read(inner / name) for name in _FILES}, str(folder))


def _of_tarball(path: Path) -> dict[str, bytes]:
    data = _read(path)
    actual = f"sha512-{base64.b64encode(hashlib.sha512(data).digest()).decode()}"
    if actual != _INTEGRITY:
        raise OutputError(
            f"{path}: integrity is {actual[:19]}…, expected {_INTEGRITY[:19]}… of {NAME} {VERSION}; "
            f"get that version: npm pack {NAME}@{VERSION}",
            code="ort-web-file",
            path=str(path),
            found=actual,
            expected=_INTEGRITY,
        )
    found = {}
    with contextlib.suppress(tarfile.TarError, OSError, EOFError), tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for name in _FILES:
            member = archive.getmember(f"package/dist/{name}") if _holds(archive, name) else None
            if member is not None and member.isreg() and member.size <= _MOST_BYTES:
                stream = archive.extractfile(member)
                found[name] = stream.read() if stream else b""
    return _check(found, str(path))


def _holds(archive: tarfile.TarFile, name: str) -> bool:
    return f"package/dist/{name}" in archive.getnames()


def _from_npm() -> dict[str, bytes]:
    npm = shutil.which("npm")
    reason = offline() or (None if npm else "npm is not on the PATH")
    if reason is not None or npm is None:
        raise _absent(str(reason))
    log.info("getting %s %s with npm (%d MB)", NAME, VERSION, MEGABYTES)
    with tempfile.TemporaryDirectory() as folder:
        command = [
            npm,
            "pack",
            f"{NAME}@{VERSION}",
            "--pack-destination",
            folder,
            "--ignore-scripts",
            "--loglevel=http",
        ]
        try:
            done = subprocess.run(
                [*command, "--fetch-retries=0", "--fetch-timeout=30000"],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_NPM_SECONDS,
                cwd=folder,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as problem:
            raise _absent(f"npm failed ({type(problem).__name__})") from None
        packed = sorted(Path(folder).glob("*.tgz"))
        if done.returncode != 0 or not packed:
            said = join_lines(_HTTP.sub("", done.stderr), 120)
            raise _absent(f"npm could not get it{f' ({said})' if said else ''}")
        if origins := set(_ORIGIN.findall(done.stderr)):
            log.info("npm had it %s", "in its cache" if origins == {"hit"} else "from the network")
        return _of_tarball(packed[0])


def _absent(reason: str) -> OutputError:
    return OutputError(
        f"{NAME} {VERSION}, which runs the model in the browser, is not here and {reason}; "
        f"run 'npm pack {NAME}@{VERSION}' where there is a network and give the file with --ort-web PATH",
        code="ort-web-missing",
        package=NAME,
        version=VERSION,
    )


def _read(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # a pipe or a device may never end
            raise OutputError(
                f"{path}: not a regular file, expected one of {NAME} {VERSION}", code="ort-web-file", path=str(path)
            )
        if path.stat().st_size > _MOST_BYTES:
            raise OutputError(
                f"{path}: {path.stat().st_size} bytes, expected at most {_MOST_BYTES}: not {NAME}",
                code="ort-web-file",
                path=str(path),
                limit=_MOST_BYTES,
            )
        return path.read_bytes()
    except OSError as problem:
        reason = (problem.strerror or str(problem)).lower()
        raise OutputError(
            f"{path}: cannot be read ({reason}); expected a file of {NAME} {VERSION}",
            code="ort-web-file",
            path=str(path),
        ) from None


def _check(files: dict[str, bytes], shown: str) -> dict[str, bytes]:
    for name, expected in _FILES.items():
        if name not in files:
            raise OutputError(
                f"{shown}: no dist/{name} in it, expected {NAME} {VERSION}",
                code="ort-web-file",
                path=str(shown),
                member=name,
            )
        actual = sha256_bytes(files[name])
        if actual != expected:
            raise OutputError(
                f"{shown}: {name} has sha256 {actual[:8]}…, expected {expected[:8]}… of {NAME} {VERSION}; "
                "give that version with --ort-web PATH",
                code="ort-web-file",
                path=str(shown),
                member=name,
                found=actual,
                expected=expected,
            )
    return files
