"""The contract of readers: the built-in ones hold to it, and each check fails where it must."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import numpy as np
import pydicom
import pytest
from PIL import Image

from zoo.contract import READER_CHECKS, NotTried, ReaderCheck, ReaderSubject
from zoo.contract._subject import Unmet
from zoo.errors import ImageError
from zoo.readers import Probe, RawImage, from_array
from zoo.readers._built_in import BUILT_IN, Dicom, Raster
from zoo_cli.main import main

ROOT = Path(__file__).resolve().parents[2]
DICOM = Path(pydicom.__path__[0]) / "data" / "test_files"
BY_NAME = {check.name: check for check in READER_CHECKS}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    folder = tmp_path_factory.mktemp("pictures")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    colour, gray = Image.fromarray(pixels), Image.fromarray(pixels[:, :, 0])
    for name in ("a.png", "a.jpg", "a.bmp", "a.tif", "a.webp", "a.gif", "a.ppm"):
        (gray if name == "a.gif" else colour).save(folder / name)
    Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 200).save(folder / "deep.png")
    Image.fromarray(pixels[:, :, 0].astype(np.float32)).save(folder / "real.tif")
    gray.save(folder / "pages.tif", save_all=True, append_images=[Image.fromarray(pixels[:, :, 1])])
    return tuple(sorted(folder.iterdir()))


@pytest.mark.parametrize("check", READER_CHECKS, ids=str)
def test_pictures_hold_to_the_contract_of_readers(check: ReaderCheck, pictures: tuple[Path, ...]) -> None:
    check.hold(ReaderSubject(Raster(), pictures, built_in=True))


@pytest.mark.parametrize("check", READER_CHECKS, ids=str)
def test_dicom_holds_to_the_contract_of_readers(check: ReaderCheck) -> None:
    files = tuple(
        DICOM / name for name in ("MR_small.dcm", "CT_small.dcm", "SC_rgb_rle_2frame.dcm", "SC_rgb_small_odd.dcm")
    )
    check.hold(ReaderSubject(Dicom(), files, built_in=True))


def test_a_head_is_recognised_by_one_built_in_reader_at_most(pictures: tuple[Path, ...]) -> None:
    for path in (*pictures, DICOM / "MR_small.dcm"):
        assert sum(reader.recognise(path.read_bytes()[:512]) for reader in BUILT_IN) == 1


class Sound:
    """ "ACME", width, height, number of pictures (a byte each), then gray values."""

    suffixes = frozenset({".acme"})

    def recognise(self, head: bytes) -> bool:
        return head.startswith(b"ACME")

    def probe(self, stream: IO[bytes], name: str) -> Probe:
        data = stream.read(7)
        if len(data) < 7 or data[:4] != b"ACME" or not all(data[4:]):
            raise ImageError(name, "its header is damaged")
        return Probe(data[4], data[5], "uint8", gray=True, frames=data[6])

    def read(self, stream: IO[bytes], name: str, *, frame: int | None, voi: bool) -> RawImage:
        header = self.probe(stream, name)
        number = 1 if frame is None and header.frames == 1 else frame
        if voi or number is None or not 1 <= number <= header.frames:
            raise ImageError(name, "no such picture, or no window")
        size = header.width * header.height
        stream.seek(7 + (number - 1) * size)
        data = stream.read(size)
        if len(data) < size:
            raise ImageError(name, "ends too early")
        return from_array(np.frombuffer(data, np.uint8).reshape(header.height, header.width))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, ...]:
    noise = np.random.default_rng(0).integers(1, 256, 600, np.uint8).tobytes()
    (tmp_path / "one.acme").write_bytes(b"ACME" + bytes([20, 30, 1]) + noise)
    (tmp_path / "two.acme").write_bytes(b"ACME" + bytes([20, 15, 2]) + noise)
    return tuple(sorted(tmp_path.iterdir()))


def test_a_sound_reader_passes_every_check(files: tuple[Path, ...]) -> None:
    for check in READER_CHECKS:
        check.hold(ReaderSubject(Sound(), files))


def test_without_files_what_needs_them_is_not_tried() -> None:
    tried = []
    for check in READER_CHECKS:
        try:
            check.hold(ReaderSubject(Sound(), ()))
            tried.append(check.name)
        except NotTried:
            pass
    assert tried == ["recognises its own files only", "refuses damage with an image error"]


class Greedy(Sound):
    def recognise(self, head: bytes) -> bool:  # noqa: ARG002
        return True


class Blind(Sound):
    def recognise(self, head: bytes) -> bool:  # noqa: ARG002
        return False


class Double(Sound):
    def read(self, stream: IO[bytes], name: str, *, frame: int | None, voi: bool) -> RawImage:
        image = super().read(stream, name, frame=frame, voi=voi)
        return RawImage(image.pixels / 255, "uint8")


class Turned(Sound):
    def read(self, stream: IO[bytes], name: str, *, frame: int | None, voi: bool) -> RawImage:
        image = super().read(stream, name, frame=frame, voi=voi)
        return RawImage(np.swapaxes(image.pixels, 0, 1), "uint8")


class Fickle(Sound):
    calls = 0

    def read(self, stream: IO[bytes], name: str, *, frame: int | None, voi: bool) -> RawImage:
        self.calls += 1
        image = super().read(stream, name, frame=frame, voi=voi)
        return RawImage(image.pixels + np.uint8(self.calls), "uint8")


class Guessing(Sound):
    def read(self, stream: IO[bytes], name: str, *, frame: int | None, voi: bool) -> RawImage:
        return super().read(stream, name, frame=frame or 1, voi=voi)


class Windowed(Sound):
    def read(self, stream: IO[bytes], name: str, *, frame: int | None, voi: bool) -> RawImage:  # noqa: ARG002
        return super().read(stream, name, frame=frame, voi=False)


class Padding(Sound):
    def read(self, stream: IO[bytes], name: str, *, frame: int | None, voi: bool) -> RawImage:
        data = stream.read()
        return super().read(io.BytesIO(data + bytes(2000)), name, frame=frame, voi=voi)


class Rough(Sound):
    def probe(self, stream: IO[bytes], name: str) -> Probe:  # noqa: ARG002
        data = stream.read(7)
        return Probe(data[4], data[5], "uint8", gray=True, frames=data[6])


class Anonymous(Sound):
    def probe(self, stream: IO[bytes], name: str) -> Probe:  # noqa: ARG002
        return super().probe(stream, "image")


@pytest.mark.parametrize(
    ("reader", "check"),
    [
        (Greedy(), "recognises its own files only"),
        (Blind(), "recognises its own files only"),
        (Double(), "gives the right kind and shape"),
        (Turned(), "header agrees with pixels"),
        (Fickle(), "gives the same pixels twice"),
        (Guessing(), "refuses a frame that is not there"),
        (Windowed(), "refuses a window that the file does not bring"),
        (Padding(), "refuses a truncated file"),
        (Rough(), "refuses damage with an image error"),
        (Anonymous(), "refuses damage with an image error"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Sound) else "",
)
def test_each_fault_fails_the_check_that_is_meant_for_it(reader: Any, check: str, files: tuple[Path, ...]) -> None:
    """A check that no fault can fail would promise nothing."""
    with pytest.raises(Unmet):
        BY_NAME[check].hold(ReaderSubject(reader, files))


@pytest.mark.skipif(find_spec("nibabel") is None, reason="nibabel is not installed")
def test_the_example_reads_volumes_and_passes_its_own_tests(tmp_path: Path) -> None:
    """A reader outside the package, through the door that anyone has."""
    example = ROOT / "examples" / "zoo-nifti"
    info = tmp_path / "site" / "zoo_nifti-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: zoo-nifti\nVersion: 0.1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[zoo.readers]\nnifti = zoo_nifti:READER\n", encoding="utf-8")
    path = os.pathsep.join(map(str, (ROOT, ROOT / "cli", ROOT / "plugins", example / "src", info.parent)))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "-p", "no:xdist"],
        cwd=example,
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.skipif(find_spec("nibabel") is None, reason="nibabel is not installed")
def test_plugin_check_holds_the_readers_of_a_project_to_the_contract(tmp_path: Path) -> None:
    import nibabel

    volume = np.random.default_rng(0).integers(0, 999, (9, 8, 3)).astype(np.uint16)
    nibabel.Nifti1Image(volume, np.eye(4)).to_filename(tmp_path / "x.nii.gz")
    out = io.StringIO()
    with redirect_stdout(out):
        status = main(["plugin", "check", str(ROOT / "examples" / "zoo-nifti"), "--files", str(tmp_path), "--json"])
    found = json.loads(out.getvalue())
    (reader,) = found["readers"]
    assert (status, found["passed"], found["models"]) == (0, True, []), reader
    assert [check["status"] for check in reader["checks"]] == ["passed"] * (1 + len(READER_CHECKS))


LIGHT = """
import numpy as np
from zoo.readers import Probe, from_array
class Light:
    suffixes = frozenset({".light"})
    def recognise(self, head): return head[:4] == b"LITE"
    def probe(self, stream, name): return Probe(4, 4, "uint8", gray=True)
    def read(self, stream, name, *, frame, voi): return from_array(np.zeros((4, 4), np.uint8))
reader = Light()
"""


def test_files_that_were_named_and_are_not_there_end_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slip in a script of CI would leave most checks untried, and the script green."""
    info = tmp_path / "site" / "zoo_light-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: zoo-light\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[zoo.readers]\nlight = zoo_light:reader\n")
    (info.parent / "zoo_light.py").write_text(LIGHT)
    monkeypatch.syspath_prepend(info.parent)
    monkeypatch.delenv("ZOO_PLUGINS", raising=False)
    (tmp_path / "empty").mkdir()

    def check(*options: str) -> tuple[int, str]:
        status = main(["plugin", "check", *options, "--json"])
        return status, json.loads(capsys.readouterr().out)["error"]["code"]

    assert check("light", "--files", str(tmp_path / "emtpy")) == (1, "file-missing")
    assert check("light", "--files", str(tmp_path / "empty")) == (1, "file-missing")
    assert check("light", "--size", "32") == (2, "option-ignored")
    assert check("light", "--epochs", "2") == (2, "option-ignored")
    assert check("svm", "--files", str(tmp_path / "empty")) == (2, "option-ignored")
    assert main(["plugin", "check", "light", "--json"]) == 0, "without files, what can be checked is checked"
