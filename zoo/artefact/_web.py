"""A folder that any web server can hand out: the page, a bundle, and what runs it inside the browser.

    DIR/index.html, DIR/assets/     the page, in the mode that asks no server
    DIR/assets/ort/                 onnxruntime-web
    DIR/model.zoo/                  the bundle, without what tells which images the model has seen: 'zoo verify
                                    DIR/model.zoo' proves it
    DIR/web.json                    every file's sha256: whose folder this is

The same bundle gives the same bytes: no dates, no paths. A signature of the bundle stays with it.

What this module does not know: runs, training, where the engine's files come from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from zoo._support.files import replace_folder, sha256_bytes, sha256_file
from zoo.artefact._bundle import without_seen
from zoo.artefact._ort_web import VERSION
from zoo.data import SEEN
from zoo.edge.bundle import GOLDEN, MANIFEST, MODEL, open_model
from zoo.edge.bundle._signature import SIGNATURE
from zoo.edge.page import INDEX, assets
from zoo.errors import OutputError, UsageError
from zoo.spec import encode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from zoo.spec import Manifest

__all__ = ["LISTING", "check_fits", "check_place", "write_web"]

LISTING = "web.json"
_BUNDLE = "model.zoo"
_MODE = b"""// Who answers: the model in this browser.
export const MODE = "browser";
"""


def write_web(target: Path, bundle: Path, engine: Mapping[str, bytes]) -> Manifest:
    """Write the folder, whole or not at all. It replaces an earlier page at that place.

    Args:
        target: the folder.
        bundle: folder or zip of the model; it must hold a golden set.
        engine: files of ONNX Runtime Web, as `zoo.artefact._ort_web.engine_files` returns them.

    Returns:
        The manifest of the bundle.

    Raises:
        OutputError: the folder holds something else, or cannot be written.
        UsageError: the bundle has no golden set, or would tell the web what the model has seen.
        ModelError: the bundle cannot be trusted.
    """
    check_place(target)
    listed = open_model(bundle).manifest.files
    contents = open_model(bundle, keep=(*listed, SIGNATURE))
    if SEEN in listed and SIGNATURE in contents.files:
        raise UsageError(
            f"{bundle} is signed and holds {SEEN}, by which everybody on the web could test whether an image was "
            "trained on; export and sign it with --no-seen, or name the run, whose page holds none",
            code="web-seen",
            path=str(bundle),
        )
    if GOLDEN not in contents.files:
        raise UsageError(
            f"{bundle} has no golden set; a page needs one to prove itself: export it again",
            code="web-unsupported",
            path=str(bundle),
        )
    model: dict[str, bytes] = {MODEL: contents.model, MANIFEST: contents.document, **contents.files}
    if SEEN in listed:
        model = without_seen(contents)
    page = assets() | {"mode.js": _MODE}
    files = {
        INDEX: page.pop(INDEX),
        **{f"assets/{name}": data for name, data in page.items()},
        **{f"assets/ort/{name}": data for name, data in engine.items()},
        **{f"{_BUNDLE}/{name}": data for name, data in model.items()},
    }
    hashes = {name: sha256_bytes(data) for name, data in sorted(files.items())}
    listing = {"schema": 1, "model": contents.manifest.name, "onnxruntime_web": VERSION, "files": hashes}
    replace_folder(target, {**files, LISTING: encode(listing)})
    return contents.manifest


def check_fits(manifest: Manifest) -> None:
    """Refuse models whose images a browser would change before the page sees them.

    Raises:
        UsageError: it takes other images than 8-bit pictures, or prepared ones.
    """
    given = manifest.input
    if given.dtype != "uint8":
        raise UsageError(
            f"{manifest.name} takes {given.dtype} images, which browsers would cut to 8 bits; "
            "use 'zoo serve', whose page hands over the file as it is",
            code="web-unsupported",
            model=manifest.name,
            dtype=given.dtype,
        )
    if isinstance(manifest.preprocess.channels, int):
        raise UsageError(
            f"{manifest.name} takes stacks of {given.channels} channels, which browsers do not open; "
            "use 'zoo serve', which takes TIFF and .npy files",
            code="web-unsupported",
            model=manifest.name,
            channels=given.channels,
        )
    if manifest.table is not None:
        raise UsageError(
            f"{manifest.name} takes {', '.join(manifest.table.names)} beside the image, which the page does not ask "
            "for; use 'zoo predict --table', or 'zoo serve' and its query",
            code="inputs-unsupported",
            model=manifest.name,
            columns=list(manifest.table.names),
        )
    if given.stage != "raw":
        raise UsageError(
            f"{manifest.name} does not preprocess by itself; --web needs --preprocess full",
            code="web-unsupported",
            model=manifest.name,
        )


def check_place(target: Path) -> None:
    """Refuse a folder that would lose something of the user's.

    Raises:
        OutputError: it is not a folder, or it holds a file that our page does not list or that has changed.
    """
    if not target.exists():
        return
    if not target.is_dir() or target.is_symlink():
        raise OutputError(
            f"{target} is a file or a link, not a folder; choose another place for --web",
            code="out-occupied",
            path=str(target),
        )
    own = _own(target)
    for path in target.rglob("*"):  # the first is enough: a folder of the user's may hold millions
        name = path.relative_to(target).as_posix()
        if path.is_dir() and not path.is_symlink():
            continue
        if name == LISTING and own:
            continue
        if name not in own or path.is_symlink() or not path.is_file():
            raise OutputError(
                f"{target} holds {name!r}, which no page of ours lists; choose another place for --web",
                code="out-occupied",
                path=str(target),
                file=name,
            )
        if sha256_file(path) != own[name]:
            raise OutputError(
                f"{target} holds {name!r}, which was changed since it was written; "
                f"choose another place for --web, or remove {target}",
                code="out-occupied",
                path=str(target),
                file=name,
            )


def _own(target: Path) -> dict[str, str]:
    """Name to sha256 of what is listed; nothing where no regular file lists it."""
    path = target / LISTING
    if path.is_symlink() or not path.is_file():
        return {}
    try:
        listing: dict[str, Any] = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        return msgspec.convert(listing.get("files"), dict[str, str])
    except (OSError, msgspec.MsgspecError):
        return {}
