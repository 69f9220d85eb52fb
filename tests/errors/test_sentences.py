"""What errors say: the one table that holds whole sentences, over all packages, and the form that each must have.

Every other test holds codes and fields, so that a sentence can be improved here and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zoo
from zoo import registry
from zoo._support.files import atomic_write
from zoo.contract import choose
from zoo.contract.scaffold import new
from zoo.data import open_data
from zoo.data._labels import align, check_classes
from zoo.errors import ZooError
from zoo.evaluation.comparison import Contender, compare
from zoo.readers import read
from zoo.registry._catalogue import parse
from zoo.runs import find_run, open_run
from zoo.store import sets, weights

FILE = "registry.yaml of acme 1.0"
LOGITS, TARGETS = np.zeros((4, 2)), np.array([0, 1, 0, 1])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with one broken thing of each kind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    monkeypatch.delenv("ZOO_PLUGINS", raising=False)
    for name in ("w.pt", "w.safetensors", "g.onnx", "no.png", "bad.npz"):
        Path(name).write_bytes(b"x")
    Path("folder").mkdir()
    gray = Image.fromarray(np.zeros((8, 8), np.uint8))
    for name in ("flat/1.png", "flat/2.png", "one/cat/1.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        gray.save(name)
    gray.convert("CMYK").save("cmyk.jpg")
    Path("cut.png").write_bytes(Path("flat/1.png").read_bytes()[:-30])
    return tmp_path


def card(*fields: str) -> bytes:
    return f"schema: 1\nmodels: {{x: {{{', '.join(fields)}}}}}".encode()


def check_target() -> None:
    with choose("nosuch", Path("metadata")):
        pass


def of_breastmnist(act: Callable[[sets.Variant], object]) -> object:
    return act(sets.find("breastmnist"))


SENTENCES: dict[str, tuple[Callable[[], object], str]] = {
    # registry and contract
    "an unknown model": (
        lambda: registry.find("resnet81"),
        (
            "no model 'resnet81'; did you mean 'resnet18' or 'resnet18d' or 'resnet14t'? 'zoo list' shows them all, "
            "'timm/NAME' takes any of timm's"
        ),
    ),
    "a name that is not timm's": (
        lambda: registry.find("timm/a b"),
        "'timm/a b' is not a name of timm; expected 'timm/ARCH' or 'timm/ARCH.TAG'",
    ),
    "a model for a family": (
        lambda: registry.models("resnet18"),
        "no model of family 'resnet18': that is a model, of family 'resnet'",
    ),
    "an unknown plugin": (
        lambda: registry.load("nobody"),
        "no plugin 'nobody' is installed; 'zoo plugin list' shows what is",
    ),
    "an ensemble of one": (
        lambda: registry.find("ensemble:a"),
        "ensemble:a: expected at least two runs, separated by commas, such as ensemble:runs/a,runs/b",
    ),
    "an empty catalogue": (lambda: parse(b"", FILE), f"{FILE}: expected 'schema: 1' and a table 'models'"),
    "another schema": (
        lambda: parse(b"schema: 2\nmodels: {}", FILE),
        f"{FILE}: schema is 2, expected 1; update edgezoo or the catalogue",
    ),
    "a missing field": (lambda: parse(card("plugin: p"), FILE), f"{FILE}: model 'x': field 'summary' is missing"),
    "an unknown field": (
        lambda: parse(card("sumary: s"), FILE),
        f"{FILE}: model 'x': unknown field 'sumary'; did you mean 'summary'?",
    ),
    "a target that is nothing": (
        check_target,
        (
            "'nosuch' is not an installed model, distribution, plugin or module, and not a folder with a "
            "pyproject.toml; 'zoo plugin list' shows what is installed"
        ),
    ),
    "a project over a folder": (
        lambda: new("zoo-new", "torch", Path("folder")),
        "folder is there already; nothing was written, choose another folder with --out",
    ),
    # runs and workflow
    "no run": (
        lambda: find_run(None),
        "no run named and no runs/latest here; train one with 'zoo train simple_cnn' or name a run folder",
    ),
    "a folder for a run": (
        lambda: open_run(Path("folder")),
        "folder is not a run: it has no run.json; expected a directory made by 'zoo train'",
    ),
    "one model to compare": (
        lambda: zoo.compare(["svm"]),
        "1 model to compare, expected at least two runs, bundles, files or model names; to judge one: zoo evaluate",
    ),
    "a file that is not there": (
        lambda: zoo.open("nothing.onnx"),
        "nothing.onnx: no such file; expected an .onnx file, a bundle NAME.zoo or a run",
    ),
    "a folder for a bundle": (
        lambda: zoo.open("folder"),
        "folder is a folder without manifest.json; expected an .onnx file, a bundle NAME.zoo or a run",
    ),
    "an impossible size": (
        lambda: zoo.train("svm", "digits", size=0),
        "size is 0x0, expected 1 to 4096 pixels a side",
    ),
    "a size below the smallest": (
        lambda: zoo.train("vgg11_bn", "digits", size=16),
        "size 16x16: vgg11_bn needs at least 32 pixels a side",
    ),
    "a device that a model has not": (
        lambda: zoo.train("svm", "digits", device="cuda"),
        "svm trains on the cpu only, --device cuda was asked for",
    ),
    "an unknown setting": (
        lambda: zoo.train("svm", "digits", settings={"epoch": 3}),
        "--set epoch: no such setting; did you mean epochs?",
    ),
    "a run over files of the user": (
        lambda: zoo.train("svm", "digits", out="flat"),
        "flat holds files that are not a run; choose an empty directory with --out",
    ),
    # store
    "an unknown set": (
        lambda: sets.find("brestmnist"),
        "no set is called 'brestmnist'; did you mean breastmnist or chestmnist?",
    ),
    "an unknown size of a set": (
        lambda: sets.find("breastmnist@32"),
        "breastmnist@32: breastmnist is published at 28, 64, 128, 224 pixels; choose one, as in breastmnist@224",
    ),
    "a set without a network": (
        lambda: of_breastmnist(sets.fetch),
        (
            "breastmnist is not here and ZOO_OFFLINE is set; get "
            "https://zenodo.org/records/10519652/files/breastmnist.npz?download=1 elsewhere and run "
            "'zoo data import breastmnist FILE'"
        ),
    ),
    "a model without weights": (
        lambda: weights.resolve(zoo.info("svm")),
        "svm has no pretrained weights; train without --pretrained or give --weights FILE",
    ),
    "weights without a network": (
        lambda: weights.resolve(zoo.info("resnet18")),
        (
            "weights for resnet18: ZOO_OFFLINE is set; get "
            "https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors elsewhere and run "
            "'zoo weights import resnet18 FILE', or give a file with --weights FILE, or train without --pretrained"
        ),
    ),
    "half a name of the hub": (
        lambda: weights.describe("hf-hub:net"),
        "'hf-hub:net' names nothing on the hub; expected hf-hub:ORGANISATION/NAME",
    ),
    "a folder of weights that is not there": (
        lambda: weights.describe("local-dir:nowhere"),
        "local-dir:nowhere: no such folder; expected one with config.json and model.safetensors",
    ),
    "a pickle": (
        lambda: weights.resolve(zoo.info("resnet18"), "w.pt"),
        "weights for resnet18: w.pt is not safetensors; torch pickles can run code; convert it to safetensors",
    ),
    "weights that are not safetensors": (
        lambda: weights.resolve(zoo.info("resnet18"), "w.safetensors"),
        "weights for resnet18: w.safetensors is not a safetensors file; expected one, as timm's pages offer",
    ),
    # evaluation
    "two models of one name": (
        lambda: compare([Contender("m", LOGITS), Contender("m", LOGITS)], TARGETS, "ab"),
        "m is named twice; name each model once",
    ),
    "no resample": (
        lambda: compare([Contender("m", LOGITS), Contender("k", LOGITS)], TARGETS, "ab", resamples=0),
        "0 resamples asked for, expected 1 to 100000 (1000 is usual)",
    ),
    "targets beyond the classes": (
        lambda: compare([Contender("m", LOGITS), Contender("k", LOGITS)], TARGETS + 1, "ab"),
        "targets run from 1 to 2, expected 0 to 1; align the classes of the data with those of the model",
    ),
    # data and readers
    "data that are not there": (
        lambda: open_data("nowhere"),
        (
            "no data set, folder or file 'nowhere', looked in HERE; expected a path or 'digits', 'pathmnist', "
            "'chestmnist' and 12 more"
        ),
    ),
    "classes that a model does not know": (
        lambda: align(open_data("digits"), ("0", "1", "two")),
        (
            "digits: classes '2', '3', '4', '5', '6' and 3 more are unknown to the model, which knows '0', '1', 'two'; "
            "rename them in the data, or take a model trained on these classes"
        ),
    ),
    "a class that is missing in one spelling": (
        lambda: check_classes(("basal cell", "basal_cell"), np.array([0, 1]), {"val": np.array([1])}, name="skin"),
        (
            "skin: class 'basal cell' has no image in val; classes 'basal cell', 'basal_cell' differ only in spelling; "
            "make them one, or rename them"
        ),
    ),
    "images without a class": (
        lambda: open_data("flat"),
        (
            "flat: 2 images lie in the folder itself, without a class; expected CLASS/image files, or train, val "
            "and test folders of them"
        ),
    ),
    "one class": (lambda: open_data("one"), "one: one class only ('cat'), expected at least two"),
    "an archive that is none": (
        lambda: open_data("bad.npz"),
        "bad.npz: holds pickled objects, which could run code and are never loaded; save plain arrays with numpy.savez",
    ),
    "a file that is not an image": (
        lambda: read(Path("no.png")),
        (
            "no.png: not an image by its first bytes; expected DICOM, PNG, JPEG, BMP, TIFF, WebP, GIF, PPM, AVIF, "
            "HEIC, JPEG 2000 or NumPy"
        ),
    ),
    "half an image": (
        lambda: read(Path("cut.png")),
        "cut.png: the header is damaged; restore the file or leave it out",
    ),
    "colours of a printer": (
        lambda: read(Path("cmyk.jpg")),
        "cmyk.jpg: CMYK colours, expected gray or RGB; convert the file with a known colour profile",
    ),
    # edge and support
    "a model that is none": (
        lambda: zoo.open("g.onnx"),
        "g.onnx: a text file, expected an ONNX model; export one with 'zoo export --onnx'",
    ),
    "a file over a folder": (
        lambda: atomic_write(Path("folder"), b"x"),
        "cannot write folder: it exists and is not a file; choose another place",
    ),
}
"""What was done, and what is said of it."""


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("name", SENTENCES)
def test_an_error_says_what_was_found_what_was_expected_and_what_to_do(name: str) -> None:
    act, sentence = SENTENCES[name]
    with pytest.raises(ZooError) as caught:
        act()
    assert str(caught.value).replace(str(Path.cwd()), "HERE") == sentence


@pytest.mark.parametrize("sentence", [sentence for _, sentence in SENTENCES.values()])
def test_a_sentence_has_the_form_of_the_house(sentence: str) -> None:
    """One line in lower case; a name that someone gave may begin it as it is spelt."""
    assert "\n" not in sentence
    assert sentence[0].islower() or sentence[0] in "'-0123456789"
    assert "`" not in sentence
    assert not re.search(r"\bcan\s+not\b", sentence), "one word"
    assert not sentence.endswith((".", "!")), "a line is not a paragraph"
