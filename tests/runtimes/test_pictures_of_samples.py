"""Pictures that the samples read themselves: as `zoo predict` reads them, or not at all.

What would be wrong with the product: one file, and two answers to one picture.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

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


@pytest.mark.slow
def test_rust_and_cpp_take_and_refuse_the_same_pictures(tmp_path: Path) -> None:
    """Neither needs a model to say so: the Rust sample reads the picture before it looks for a bundle."""
    if shutil.which("rustc") is None or shutil.which("g++") is None:
        pytest.skip("rustc and g++ are not both here")
    source, cpp, rust = tmp_path / "read.cpp", tmp_path / "cpp", tmp_path / "rust"
    source.write_text('#include "zoo.hpp"\nint main(int, char** given) { read_picture(given[1]); }\n')
    native = EXAMPLES / "native"
    subprocess.run(["g++", "-std=c++17", f"-I{native}", source, "-o", cpp], check=True)
    subprocess.run(["rustc", "--edition", "2021", native / "onnxruntime.rs", "-o", rust], check=True)
    for kind, largest in (*TAKEN, *REFUSED, ("P5", 255)):
        path = picture(tmp_path / "picture.pnm", kind, largest)
        taken = subprocess.run([cpp, path], capture_output=True, check=False).returncode == 0
        said = subprocess.run([rust, "none", tmp_path, path], capture_output=True, text=True, check=False).stderr
        assert ("no manifest.json" in said) is taken is ((kind, largest) in TAKEN), (kind, largest, said)
