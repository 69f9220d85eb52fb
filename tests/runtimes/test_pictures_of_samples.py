"""Pictures that the samples read themselves: as `zoo predict` reads them, or not at all.

What would be wrong with the product: one file, and two answers to one picture.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zoo.readers import read

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TAKEN = [("P6", 255), ("P5", 4095), ("P5", 65535)]
REFUSED = [("P6", 100), ("P6", 65535), ("P5", 100), ("P5", 1)]


def picture(path: Path, kind: str, largest: int) -> Path:
    values = np.arange(12 * (3 if kind == "P6" else 1)) % 100 % (largest + 1)
    header = f"{kind}\n4 3\n{largest}\n".encode()
    path.write_bytes(header + values.astype(">u2" if largest > 255 else "u1").tobytes())
    return path


def on_node(path: Path) -> tuple[str, np.ndarray] | None:
    """Type and (H, W, C) values of a picture; None: it is refused."""
    if (node := shutil.which("node")) is None:
        pytest.skip("node is not installed")
    script = (
        f"import {{ readPicture }} from {json.dumps((EXAMPLES / 'node/picture.mjs').as_uri())};"
        "import { readFileSync } from 'node:fs';"
        "let found = null;"
        "try { found = readPicture(readFileSync(process.argv[1])); } catch {}"
        "console.log(JSON.stringify(found && { ...found, data: [...found.data] }));"
    )
    done = subprocess.run(
        [node, "--input-type=module", "--eval", script, str(path)], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    return None if found is None else (found["dtype"], np.array(found["data"]).reshape(found["shape"]))


@pytest.mark.parametrize(("kind", "largest"), [*TAKEN, ("P5", 255)])
def test_node_reads_a_picture_as_predict_does(tmp_path: Path, kind: str, largest: int) -> None:
    path = picture(tmp_path / "picture.pnm", kind, largest)
    expected = read(path)
    found = on_node(path)
    assert found is not None
    assert found[0] == expected.kind
    assert np.array_equal(found[1], expected.pixels)


@pytest.mark.parametrize(("kind", "largest"), REFUSED)
def test_node_refuses_a_picture_whose_values_it_would_have_to_stretch(tmp_path: Path, kind: str, largest: int) -> None:
    assert on_node(picture(tmp_path / "picture.pnm", kind, largest)) is None


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Of C++ a program that reads a picture and holds it to a manifest, and the sample of Rust."""
    if shutil.which("rustc") is None or shutil.which("g++") is None:
        pytest.skip("rustc and g++ are not both here")
    folder, native = tmp_path_factory.mktemp("programs"), EXAMPLES / "native"
    source, cpp, rust = folder / "read.cpp", folder / "cpp", folder / "rust"
    source.write_text(
        '#include "zoo.hpp"\nint main(int count, char** given) {\n  const Picture picture = read_picture(given[1]);\n'
        "  if (count > 2) check_range(picture, read_manifest(given[2]));\n}\n"
    )
    subprocess.run(["g++", "-std=c++17", "-Wall", f"-I{native}", source, "-o", cpp], check=True)
    subprocess.run(["rustc", "--edition", "2021", native / "onnxruntime.rs", "-o", rust], check=True)
    return cpp, rust


@pytest.mark.slow
def test_rust_and_cpp_take_and_refuse_the_same_pictures(programs: tuple[Path, Path], tmp_path: Path) -> None:
    """Neither needs a model to say so: the Rust sample reads the picture before it looks for a bundle."""
    cpp, rust = programs
    for kind, largest in (*TAKEN, *REFUSED, ("P5", 255)):
        path = picture(tmp_path / "picture.pnm", kind, largest)
        taken = subprocess.run([cpp, path], capture_output=True, check=False).returncode == 0
        said = subprocess.run([rust, "none", tmp_path, path], capture_output=True, text=True, check=False).stderr
        assert ("no manifest.json" in said) is taken is ((kind, largest) in TAKEN), (kind, largest, said)


def scaled(*maxima: float | None) -> dict[str, Any]:
    """The part of a manifest that says the range: of one network, or of each member; None: any value."""
    intensities = [{"type": "percentile"} if one is None else {"type": "scale", "maximum": one} for one in maxima]
    specs = [{"preprocess": {"intensity": intensity}} for intensity in intensities]
    return specs[0] | {"members": specs if len(specs) > 1 else []}


RANGES = [(scaled(4095), False), (scaled(65535), True), (scaled(None), True), (scaled(None, 4095), False)]


@pytest.mark.parametrize(("manifest", "taken"), RANGES)
def test_node_refuses_a_picture_beyond_the_range(tmp_path: Path, manifest: dict[str, Any], *, taken: bool) -> None:
    """`zoo predict` refuses it, because the network never saw such a value."""
    if (node := shutil.which("node")) is None:
        pytest.skip("node is not installed")
    path = bright(tmp_path / "picture.pgm")
    script = (
        f"import {{ checkRange, readPicture }} from {json.dumps((EXAMPLES / 'node/picture.mjs').as_uri())};"
        "import { readFileSync } from 'node:fs';"
        "checkRange(readPicture(readFileSync(process.argv[1])), JSON.parse(process.argv[2]));"
    )
    command = [node, "--input-type=module", "--eval", script, str(path), json.dumps(manifest)]
    assert (subprocess.run(command, capture_output=True, check=False).returncode == 0) == taken


@pytest.mark.slow
@pytest.mark.parametrize(("manifest", "taken"), RANGES)
def test_rust_and_cpp_refuse_a_picture_beyond_the_range(
    programs: tuple[Path, Path], tmp_path: Path, manifest: dict[str, Any], *, taken: bool
) -> None:
    path = bright(tmp_path / "picture.pgm")
    (tmp_path / "manifest.json").write_text(json.dumps({"labels": ["a"], **manifest}))
    cpp, rust = programs
    done = subprocess.run([cpp, path, tmp_path / "manifest.json"], capture_output=True, check=False)
    assert (done.returncode == 0) == taken
    said = subprocess.run([rust, "none", tmp_path, path], capture_output=True, text=True, check=False).stderr
    assert ("none cannot be opened" in said) == taken, said


def bright(path: Path) -> Path:
    values = np.array([0, 1, 5000, 4095], ">u2")
    path.write_bytes(b"P5\n2 2\n65535\n" + values.tobytes())
    return path
