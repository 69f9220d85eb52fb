"""The C++ and Rust samples: compiled where compiler and library are at hand, and held to the golden answers."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from runtime_cases import decide_by_all, leaves_nothing_behind, write_picture

import zoo

pytestmark = pytest.mark.slow

SAMPLES = Path(__file__).resolve().parents[2] / "examples/native"
RUNTIME_HEADER = "onnxruntime_cxx_api.h"


def package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        pytest.skip(f"{name} is not here")
    return Path(found.origin).parent


def compiled(command: list[str | Path], program: Path) -> Path:
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is not here")
    done = subprocess.run(list(map(str, [*command, "-o", program])), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, "an example that compiles with warnings teaches them"
    return program


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("native")


@pytest.fixture(scope="module")
def rust(folder: Path) -> list[Path]:
    """On the library of the Python wheel, which this process runs, too."""
    library = next(iter(sorted(package("onnxruntime").glob("capi/libonnxruntime.so*"))), None)
    if library is None:
        pytest.skip("this onnxruntime comes without a library of its own")
    sample = SAMPLES / "onnxruntime.rs"
    return [compiled(["rustc", "--edition", "2021", "-O", sample], folder / "rust"), library]


@pytest.fixture(scope="module")
def openvino(folder: Path) -> list[Path]:
    home = package("openvino")
    libraries = sorted((home / "libs").glob("libopenvino.so*"))
    if not libraries or not (home / "include/openvino/openvino.hpp").is_file():
        pytest.skip("this openvino comes without headers")
    sample = SAMPLES / "openvino.cpp"
    paths = [f"-I{home / 'include'}", libraries[0], f"-Wl,-rpath,{home / 'libs'}"]
    return [compiled(["g++", "-std=c++17", "-Wall", sample, *paths], folder / "openvino")]


@pytest.fixture(scope="module")
def cpp(folder: Path) -> list[Path]:
    named = os.environ.get("ONNXRUNTIME")
    homes = [Path(named)] if named else [Path("/usr"), Path("/usr/local")]
    headers = [path for home in homes for path in sorted((home / "include").rglob(RUNTIME_HEADER))]
    if not headers:
        pytest.skip(f"{RUNTIME_HEADER} is not here; the wheel has none, set ONNXRUNTIME to an unpacked release")
    lib = next(home for home in homes if headers[0].is_relative_to(home)) / "lib"
    sample = SAMPLES / "onnxruntime.cpp"
    paths = [f"-I{headers[0].parent}", f"-L{lib}", "-lonnxruntime", f"-Wl,-rpath,{lib}"]
    return [compiled(["g++", "-std=c++17", "-Wall", sample, *paths], folder / "cpp")]


def test_nothing_is_reported_home(rust: list[Path], photographs: Path, folder: Path, tmp_path: Path) -> None:
    leaves_nothing_behind([*rust, photographs / "default.zoo", a_picture(folder)], tmp_path)


def test_nothing_is_reported_home_from_cpp(cpp: list[Path], photographs: Path, folder: Path, tmp_path: Path) -> None:
    leaves_nothing_behind([*cpp, photographs / "default.zoo", a_picture(folder)], tmp_path)


def a_picture(folder: Path) -> Path:
    return write_picture(folder / "grey", np.full((70, 80, 3), 90, np.uint8))


def held_to_golden(
    program: list[Path], bundle: Path, folder: Path, *, decides: bool, names_versions: bool = False
) -> None:
    """The first six golden images, as files, through the program; its last two arguments are bundle and picture."""
    runtime = zoo.open(bundle)
    labels = runtime.labels
    with np.load(bundle / "golden.npz", allow_pickle=False) as golden:
        for index in range(6):
            picture = write_picture(folder / "picture", golden[f"image_{index:04d}"])
            done = subprocess.run([*program, bundle, picture], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            if names_versions:
                oldest = runtime.manifest.runtime
                assert oldest is not None
                assert f" here, the file is proven from {oldest.onnxruntime} on\n" in done.stderr
            rows = [line.split("\t") for line in done.stdout.splitlines()]
            if decides:
                answer = runtime.answer(golden[f"image_{index:04d}"]).row()
                held = ["|".join(answer.get("set", []))]
                called = ["|".join(label for label, reached in answer.get("operating", {}).items() if reached)]
                assert rows.pop() == ["answer", answer["label"], answer.get("decision", ""), "", *called, *held]
            assert [row[2] for row in rows] == list(labels)
            logits, probabilities = np.array([row[:2] for row in rows], float).T
            expected = golden["logits"][index]
            assert (np.abs(logits - expected) / np.maximum(1, np.abs(expected))).max() <= golden["tolerance"]
            assert probabilities == pytest.approx(
                runtime.probabilities(golden[f"image_{index:04d}"][None])[0], abs=1e-3
            )


@pytest.mark.parametrize("model", ["photographs", "deep"])
@pytest.mark.parametrize(("sample", "form"), [("rust", "default"), ("cpp", "default"), ("openvino", "portable")])
def test_golden_answers_come_again(
    request: pytest.FixtureRequest, folder: Path, sample: str, form: str, model: str
) -> None:
    program = request.getfixturevalue(sample)
    bundle = request.getfixturevalue(model) / f"{form}.zoo"
    held_to_golden(program, bundle, folder, decides=sample != "rust", names_versions=sample == "cpp")


@pytest.mark.parametrize(("sample", "form"), [("cpp", "default"), ("openvino", "portable")])
def test_decisions_are_those_of_predict(
    request: pytest.FixtureRequest, folder: Path, sample: str, form: str, photographs: Path, tmp_path: Path
) -> None:
    """By a manifest whose file has points, sets and a score; half of the golden images are above its threshold."""
    program = request.getfixturevalue(sample)
    held_to_golden(program, decide_by_all(photographs / f"{form}.zoo", tmp_path / "all.zoo"), folder, decides=True)


def test_a_bad_picture_is_an_error(openvino: list[Path], rust: list[Path], photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.ppm").write_bytes(b"P6\n9 9\n255\n" + bytes(100))
    for program in (openvino, rust):
        done = subprocess.run(
            [*program, photographs / "portable.zoo", tmp_path / "cut.ppm"], capture_output=True, check=False
        )
        assert done.returncode
        assert not done.stdout


def built(source: Path, folder: Path, *options: str) -> Path:
    """What CMake makes of a project, warnings as errors."""
    for program in ("cmake", "g++"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not here")
    flags = "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror"
    for command in (["cmake", "-S", source, "-B", folder, flags, *options], ["cmake", "--build", folder]):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_cmake_builds_the_sample_which_gives_the_golden_answers(photographs: Path, tmp_path: Path) -> None:
    home = package("openvino")
    if not (home / "cmake").is_dir():
        pytest.skip("this openvino comes without its files for CMake")
    program = built(SAMPLES, tmp_path / "build", f"-DOpenVINO_DIR={home / 'cmake'}") / "predict_openvino"
    held_to_golden([program], photographs / "portable.zoo", tmp_path, decides=True)


def test_a_project_of_its_own_links_to_the_library(photographs: Path, tmp_path: Path) -> None:
    """No runtime is found, and the target is there all the same."""
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(own LANGUAGES CXX)\n"
        "set(CMAKE_DISABLE_FIND_PACKAGE_OpenVINO ON)\nset(CMAKE_DISABLE_FIND_PACKAGE_onnxruntime ON)\n"
        f'add_subdirectory("{SAMPLES.as_posix()}" native)\n'
        "add_executable(own own.cpp other.cpp)\ntarget_link_libraries(own zoo::zoo)\n"
    )
    (tmp_path / "other.cpp").write_text('#include "zoo.hpp"\n')  # twice in one program: nothing may be defined twice
    (tmp_path / "own.cpp").write_text(
        '#include "zoo.hpp"\n#include <iostream>\nint main(int, char** given) {\n'
        "  for (const auto& label : read_labels(read_manifest(given[1]))) std::cout << label << '\\n';\n"
        "  std::cout << read_picture(given[2]).width << '\\n';\n}\n"
    )
    program = built(tmp_path, tmp_path / "build") / "own"
    command = [program, photographs / "portable.zoo/manifest.json", a_picture(tmp_path)]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    assert done.stdout.split() == [*zoo.open(photographs / "portable.zoo").labels, "80"]


@pytest.mark.parametrize("sample", ["onnxruntime.cpp", "onnxruntime.rs", "openvino.cpp"])
def test_a_sample_is_short_enough_to_be_read(sample: str) -> None:
    assert len((SAMPLES / sample).read_text().splitlines()) < 80
