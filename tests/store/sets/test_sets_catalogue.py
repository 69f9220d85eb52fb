"""The catalogue is complete: nobody fetches a set without knowing whose it is and what its file must be."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
from refusals import refused

from zoo.errors import DataError
from zoo.spec import TrainConfig
from zoo.store.sets import NamedSet, Variant, catalogue, find, lookup

PICTURES = ("path", "chest", "derma", "oct", "pneumonia", "retina", "breast", "blood", "tissue")
MEDMNIST = (*PICTURES, "organa", "organc", "organs")
SETS = [pytest.param(name, about, id=name) for name, about in catalogue().items()]


@pytest.mark.parametrize(("name", "about"), SETS)
def test_every_set_says_whose_it_is_and_what_to_cite(name: str, about: NamedSet) -> None:
    assert re.fullmatch(r"[a-z0-9_]+", name)
    assert about.licence in {"CC BY 4.0", "CC BY-NC 4.0", "MIT"}
    assert about.citation
    assert all(len(line) > 40 for line in about.citation)
    assert about.page.startswith("https://")
    assert about.title
    assert len(about.title) <= 18, "the list is made for 100 columns"


@pytest.mark.parametrize("about", catalogue().values(), ids=list(catalogue()))
def test_every_set_says_what_is_in_it(about: NamedSet) -> None:
    assert len(set(about.labels)) == len(about.labels) >= 2
    assert about.channels in {1, 3}
    assert not about.splits or list(about.splits) == ["train", "val", "test"]
    assert not about.splits or sum(about.splits.values()) == about.n
    assert set(about.train) <= set(TrainConfig.__struct_fields__)
    assert bool(about.train) == bool(about.because), "a setting that is asked for has a reason"
    assert bool(about.root) == (about.format == "zip")


@pytest.mark.parametrize(("name", "about"), SETS)
def test_every_file_has_an_address_and_a_checksum_from_somewhere(name: str, about: NamedSet) -> None:
    assert about.sizes == tuple(sorted(about.sizes))
    for size, file in about.files.items():
        if about.format == "embedded":
            assert file is None
            continue
        assert file is not None
        assert urlsplit(file.url).scheme == "https"
        assert re.fullmatch(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", file.checksum)
        assert file.size is None or file.size > 10_000
        assert about.checked_against
        variant = Variant(set_name=name, about=about, px=int(size))
        assert variant.file_name.endswith(f".{about.format}")
        assert lookup(variant.name) == variant


def test_no_file_and_no_checksum_stands_twice() -> None:
    files = [file for about in catalogue().values() for file in about.files.values() if file]
    assert len({file.url for file in files}) == len({file.checksum for file in files}) == len(files)


def test_the_twelve_flat_sets_of_medmnist_are_there_at_every_size() -> None:
    for name in MEDMNIST:
        about = catalogue()[f"{name}mnist"]
        assert about.sizes == (28, 64, 128, 224)
        assert "Scientific Data 2023;10:41" in about.citation[0]
        assert len(about.citation) > 1, "the source of the images is cited too"
    assert find("breastmnist").file.checksum == "md5:750601b1f35ba3300ea97c75c52ff8f6"
    assert catalogue()["chestmnist"].task == "multilabel"
    assert len(catalogue()["chestmnist"].labels) == 14


def test_one_licence_forbids_commercial_use() -> None:
    assert [name for name, about in catalogue().items() if about.non_commercial] == ["dermamnist"]


def test_sets_with_left_and_right_are_not_mirrored() -> None:
    for name, about in catalogue().items():
        if {"kidney-left", "kidney-right"} <= set(about.labels):
            assert about.train["augment_flip"] == "none", name


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("breastmnist", "breastmnist"),
        ("breastmnist@28", "breastmnist"),
        ("breastmnist@64", "breastmnist@64"),
        ("breastmnist_64", "breastmnist@64"),
        ("colorectal_histology", "colorectal_histology"),
    ],
)
def test_a_size_is_named_after_an_at_or_as_the_files_are(typed: str, meant: str) -> None:
    assert find(typed).name == meant


@pytest.mark.parametrize("name", ["pets", "breastmnist_large", "my_set_64", "", "@64", "../breastmnist"])
def test_other_names_are_no_sets(name: str) -> None:
    assert lookup(name) is None


def test_a_mistyped_name_or_size_is_answered_with_what_it_could_be() -> None:
    with refused("set-unknown", DataError, name="brestmnist") as caught:
        find("brestmnist")
    assert "breastmnist" in str(caught.value)
    with refused("set-size", DataError, name="breastmnist", sizes=[28, 64, 128, 224]):
        find("breastmnist@32")


def test_listing_imports_no_heavy_package() -> None:
    code = (
        "import sys; from zoo_cli.main import main; main(['data', 'list', '--json']); "
        "heavy = {'torch', 'numpy', 'onnxruntime', 'PIL', 'sklearn', 'pandas', 'requests', 'filelock', 'rich'}; "
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr.strip() == "[]"
    assert len(json.loads(ran.stdout)) == len(catalogue())
