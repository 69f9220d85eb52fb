"""hf-hub: and local-dir:, whose config.json is a stranger's word: pinned, bounded, and never more than data."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from refusals import refused
from work import attempts

from zoo import registry
from zoo._support.files import sha256_bytes
from zoo.errors import CatalogueError, WeightsError
from zoo.store import weights

if TYPE_CHECKING:
    from zoo.spec import ModelCard

BASE = "/acme/net.v1/resolve/main/"
NAME = "hf-hub:acme/net.v1"
CONFIG: dict[str, Any] = {
    "architecture": "resnet10t",
    "num_classes": 7,
    "num_features": 512,
    "pretrained_cfg": {
        "tag": "v1",
        "input_size": [3, 176, 160],
        "interpolation": "bilinear",
        "crop_pct": 0.95,
        "crop_mode": "center",
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "license": "MIT",
    },
}


def changed(**fields: Any) -> bytes:
    """config.json with other values in pretrained_cfg, None leaving one out."""
    inner = {key: value for key, value in (CONFIG["pretrained_cfg"] | fields).items() if value is not None}
    return json.dumps(CONFIG | {"pretrained_cfg": inner}).encode()


@pytest.fixture
def served(hub, blob: bytes):
    hub.files |= {f"{BASE}config.json": changed(), f"{BASE}model.safetensors": blob}
    return hub


@pytest.fixture
def place(tmp_path: Path, blob: bytes) -> Path:
    made = tmp_path / "private project" / "my net"
    made.mkdir(parents=True)
    (made / "config.json").write_bytes(changed())
    (made / "model.safetensors").write_bytes(blob)
    return made


def refusal(name: str, code: str, force: bool = False) -> str:
    with refused(code, WeightsError) as caught:
        weights.describe(name, force=force)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_repository_becomes_a_card_and_its_weights_are_pinned(served, blob: bytes) -> None:
    card = registry.find(NAME)
    assert (card.name, card.plugin, card.arch, card.licence) == (NAME, "timm", "resnet10t", "mit")
    assert (card.preprocess.size, card.preprocess.interpolation) == ((176, 160), "bilinear")
    assert (card.preprocess.mean, card.preprocess.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    found = weights.resolve(card)
    assert (found.source, found.sha256, found.licence) == (NAME, sha256_bytes(blob), "mit")
    served.asked.clear()
    assert weights.resolve(registry.find(NAME)) == found
    assert served.asked == []  # what is pinned needs no network
    (row,) = weights.list_stored()
    assert (row.source, row.licence) == (NAME, "mit")
    assert weights.lock() == [row]


def test_a_repository_whose_files_changed_is_refused_until_the_change_is_wanted(served) -> None:
    weights.resolve(registry.find(NAME))
    served.files[f"{BASE}config.json"] = changed(mean=[0.5, 0.5, 0.5])
    kept = next(weights.folder().glob("*.json"))
    kept.unlink()  # as after a loss of the store: the lock remembers
    message = refusal(NAME, "weights-hash")
    assert "config.json" in message
    assert f"{NAME} --force" in message
    assert weights.describe(NAME, force=True).preprocess.mean == (0.5, 0.5, 0.5)
    kept.write_bytes(changed())  # the stored file itself
    refusal(NAME, "weights-hash")


@pytest.mark.parametrize(
    ("readme", "licence"),
    [
        (b"---\ntags:\n- timm\nlicense: cc-by-nc-4.0\n---\n# Net\nlicense: mit\n", "cc-by-nc-4.0"),
        (b"---\r\nlicense: 'Apache-2.0'\r\n---\r\n", "apache-2.0"),
        (b"---\nlicense: other\nlicense_name: acme-research\n---\n", "acme-research"),
        (b"# Net\nlicense: mit\n", "unknown"),
        (b"---\nlicense: !!python/object:os.system [x]\n---\n", "unknown"),
        (b"\xff\xfe\x00", "unknown"),
        (None, "unknown"),
    ],
)
def test_the_licence_is_what_the_readme_states_and_else_said_to_be_unknown(
    served, readme: bytes | None, licence: str, caplog: pytest.LogCaptureFixture
) -> None:
    served.files[f"{BASE}config.json"] = changed(license=None)
    if readme is not None:
        served.files[f"{BASE}README.md"] = readme
    with caplog.at_level(logging.WARNING, logger="zoo"):
        assert registry.find(NAME).licence == licence
    assert weights.resolve(registry.find(NAME)).licence == licence
    assert ("licence unknown" in caplog.text) == (licence == "unknown")
    assert (f"{NAME} --force" in caplog.text) == (licence == "unknown")


@pytest.mark.parametrize(
    "name",
    [
        "hf-hub:",
        "hf-hub:net",
        "hf-hub:a/b/c",
        "hf-hub:../b",
        "hf-hub:a/..",
        "hf-hub:a/b?x=1",
        "hf-hub:a/b@v1",
        "hf-hub:a\n/b",
    ],
)
def test_a_name_that_could_lead_elsewhere_is_refused_before_the_network(hub, name: str) -> None:
    with refused("weights-source", WeightsError, name=name):
        weights.describe(name)
    assert hub.asked == []


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"{", "not valid"),
        (b"[]", "object"),
        (b"\xff", "not valid"),
        (b"[" * 100_000, "not valid"),
        (b'{"architecture": "a", "architecture": "b"}', "'architecture' appears twice"),
        (changed().replace(b"0.1", b"NaN"), "NaN"),
        (changed().replace(b"0.1", b"1e999"), "beyond 1000"),
        (changed().replace(b"resnet10t", b"hf-hub:evil/net"), "of timm"),
        (changed().replace(b"resnet10t", b"../../net"), "of timm"),
        (changed().replace(b'"resnet10t"', b"7"), "architecture is 7"),
        (changed(mean=None), "mean"),
        (changed(mean=["a", "b", "c"]), "mean"),
        (changed(mean=[0.5]), "mean has 1"),
        (changed(std=[0, 1, 1]), "outside"),
        (changed(input_size=[1, 28, 28]), "1 channels"),
        (changed(input_size=[3, 10**9, 9]), "1 to 4096"),
        (changed(interpolation="lanczos"), "bicubic or bilinear"),
        (changed(crop_mode="best"), "crop_mode is 'best'"),
        (json.dumps(CONFIG | {"model_args": {"num_heads": 3}}).encode(), "model_args num_heads"),
        (json.dumps(CONFIG | {"model_args": {"in_chans": 1}}).encode(), "model_args in_chans"),
        (json.dumps(CONFIG | {"model_args": ["img_size"]}).encode(), "model_args"),
        (b" " * 9_000_000, "more than 8"),
    ],
)
def test_a_config_that_is_not_timms_is_one_line_and_not_kept(served, place: Path, data: bytes, part: str) -> None:
    served.files[f"{BASE}config.json"] = data
    (place / "config.json").write_bytes(data)
    long = len(data) > 8_000_000
    assert part in refusal(NAME, "transfer-broken" if long else "weights-config")
    assert part in refusal(f"local-dir:{place}", "weights-too-large" if long else "weights-config")
    assert not (weights.folder() / "weights.lock").exists()


def test_many_keys_and_one_twice_are_refused_at_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count, compared = 3000, 0

    class Key(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return str.__eq__(self, other)

    def loads(data: bytes, object_pairs_hook: Any, **options: Any) -> Any:
        return real(data, object_pairs_hook=lambda pairs: object_pairs_hook([(Key(k), v) for k, v in pairs]), **options)

    real = json.loads
    monkeypatch.setattr(json, "loads", loads)
    keys = ", ".join(f'"{number}": 0' for number in range(count))
    (place / "config.json").write_text(f'{{{keys}, "last": 0, "last": 1}}')
    assert "'last'" in refusal(f"local-dir:{place}", "weights-config")
    assert 0 < compared < 10 * count, "each is looked at once"


def test_a_folder_of_a_user_who_is_not_there_is_one_line() -> None:
    refusal("local-dir:~nobody-of-this-name/net", "weights-file-missing")


def test_the_form_of_older_repositories_is_read(served) -> None:
    flat = {"architecture": "resnet10t", "num_classes": 7} | CONFIG["pretrained_cfg"]
    served.files[f"{BASE}config.json"] = json.dumps(flat).encode()
    assert registry.find(NAME).preprocess.size == (176, 160)


def test_without_a_network_the_ways_out_are_there_at_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = attempts(monkeypatch)
    message = refusal(NAME, "weights-unreachable")
    assert len(asked.places) == 1
    assert f"zoo weights import {NAME} FOLDER" in message
    assert "local-dir:FOLDER" in message
    found = weights.import_folder(NAME, place)
    assert weights.resolve(registry.find(NAME)) == found
    assert registry.find(NAME).licence == "mit"


def test_a_repository_without_safetensors_is_refused(served) -> None:
    del served.files[f"{BASE}model.safetensors"]
    served.files[f"{BASE}pytorch_model.bin"] = b"\x80\x04anything"
    card = registry.find(NAME)
    with refused("weights-closed", WeightsError, status=404) as caught:
        weights.resolve(card)
    assert caught.value.fields["url"].endswith("/model.safetensors")
    assert not any("pytorch" in asked for asked in served.asked)


def test_a_redirect_to_a_file_of_this_machine_is_not_followed(served, place: Path) -> None:
    served.redirects[f"{BASE}config.json"] = f"file://{place}/config.json"
    refusal(NAME, "transfer-broken")


def test_a_folder_is_pinned_and_its_path_stays_on_this_machine(place: Path, blob: bytes) -> None:
    card = registry.find(f"local-dir:{place}")
    found = weights.resolve(card)
    assert (card.name, found.source, found.sha256) == ("local-dir:my-net", "local-dir:my-net", sha256_bytes(blob))
    assert "private" not in msgspec.json.encode(card).decode()
    (place / "model.safetensors").write_bytes(blob + b" ")
    with refused("weights-hash", WeightsError, expected=sha256_bytes(blob)) as caught:
        weights.resolve(card)
    assert f"'local-dir:{place}' --force" in str(caught.value)


def test_a_folder_that_changed_is_taken_with_force(place: Path) -> None:
    weights.resolve(registry.find(f"local-dir:{place}"))
    (place / "config.json").write_bytes(changed(license="gpl-3.0"))
    assert "config.json" in refusal(f"local-dir:{place}", "weights-hash")
    weights.describe(f"local-dir:{place}", force=True)
    card = registry.find(f"local-dir:{place}")
    assert weights.fetch(card, force=True).licence == "gpl-3.0"
    assert weights.fetch(card).licence == "gpl-3.0"


def test_two_folders_of_one_name_do_not_meet(place: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "my net"
    shutil.copytree(place, other)
    (other / "config.json").write_bytes(changed(license="gpl-3.0"))
    assert [weights.resolve(registry.find(f"local-dir:{folder}")).licence for folder in (place, other)] == [
        "mit",
        "gpl-3.0",
    ]


@pytest.mark.parametrize(
    ("missing", "file"), [(".", None), ("config.json", "config.json"), ("model.safetensors", "model.safetensors")]
)
def test_what_a_folder_lacks_is_named(place: Path, missing: str, file: str | None) -> None:
    if missing == ".":
        shutil.rmtree(place)
    else:
        (place / missing).unlink()
    with refused("weights-file-missing", WeightsError, file=file):
        weights.resolve(registry.find(f"local-dir:{place}"))


def test_a_pickle_that_is_called_safetensors_is_not_opened(place: Path) -> None:
    (place / "model.safetensors").write_bytes(b"\x80\x04anything")
    with refused("weights-pickle", WeightsError):
        weights.resolve(registry.find(f"local-dir:{place}"))
    assert not list(weights.folder().glob("*.safetensors"))


def test_weights_from_elsewhere_must_be_of_the_same_architecture(card: ModelCard, served) -> None:
    assert served.asked == []
    with refused("weights-other-network", WeightsError, found="resnet10t", expected="net"):
        weights.resolve(card, NAME)
    same = msgspec.structs.replace(card, arch="resnet10t")
    assert weights.resolve(same, NAME).source == NAME


def test_an_architecture_that_timm_has_not_is_one_line(served) -> None:
    pytest.importorskip("timm")
    served.files[f"{BASE}config.json"] = changed().replace(b"resnet10t", b"resnet10zz")
    card = registry.find(NAME)
    with refused("model-unknown", CatalogueError, arch="resnet10zz"):
        registry.load(card.plugin).plugin.preprocess(card)


@pytest.mark.slow
def test_a_folder_that_timm_saved_is_trained_from_and_leaves_no_path_in_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way: what timm writes is what is read, and the run says whose weights and which licence."""
    timm = pytest.importorskip("timm")
    import zoo
    from zoo.testing import colour_folder

    place = tmp_path / "secret place" / "tiny"
    network = timm.create_model("resnet10t", num_classes=5)
    timm.models.save_for_hf(network, place, safe_serialization=True)
    monkeypatch.chdir(tmp_path)
    data = colour_folder(tmp_path / "colours", per_class=8)
    result = zoo.train(f"local-dir:{place}", data, pretrained=True, epochs=1, batch_size=8, size=32)
    text = (Path(result.run) / "run.json").read_text()
    assert Path(result.run).name.startswith("local-dir-tiny-")
    record = json.loads(text)
    assert record["weights"].startswith("local-dir:tiny sha256:")
    assert any(note.startswith("head fc") for note in record["notes"])
    manifest = msgspec.json.encode(zoo.open(result.run).manifest).decode()
    assert "secret" not in text.replace(str(data), "") + manifest


@pytest.mark.slow
def test_real_weights_by_folder_name_a_real_cat(shared: Path, tmp_path: Path) -> None:
    """Chelsea is a cat: with ImageNet's 1000 classes the answer is one of its four kinds of house cat."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("timm")
    from zoo.learn import load_pretrained, read_tensors
    from zoo.preprocess import apply
    from zoo.readers import read

    place = tmp_path / "lite0"
    place.mkdir()
    shutil.copyfile(shared / "weights" / "tf_efficientnet_lite0.in1k.safetensors", place / "model.safetensors")
    inner = {
        "input_size": [3, 224, 224],
        "interpolation": "bicubic",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "license": "apache-2.0",
    }
    config = {"architecture": "tf_efficientnet_lite0", "num_classes": 1000, "pretrained_cfg": inner}
    (place / "config.json").write_text(json.dumps(config))
    card = registry.find(f"local-dir:{place}")
    module = registry.load(card.plugin).plugin.build(card, classes=1000, channels=3).eval()
    assert load_pretrained(module, read_tensors(weights.resolve(card).path)) == ()
    picture = read(shared / "data" / "photos" / "chelsea.png").pixels
    with torch.inference_mode():
        logits = module(torch.from_numpy(apply(picture, card.preprocess))[None])
    assert int(logits.argmax()) in {281, 282, 283, 285}  # tabby, tiger, Persian, Egyptian cat
