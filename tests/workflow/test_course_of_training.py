"""How long a training lasts and how it learns is chosen for the images, said in one line, recorded, and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from pictures import class_folder
from refusals import refused

import zoo
from zoo import registry
from zoo.edge import Runtime
from zoo.errors import UsageError
from zoo.runs import open_run
from zoo.spec import TrainConfig
from zoo.workflow._course import settle_course
from zoo.workflow._recipe import configure


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return class_folder(tmp_path_factory.mktemp("course") / "set")


@pytest.fixture(scope="module")
def flipped(folder: Path) -> Path:
    result = zoo.train(
        "simple_cnn", folder, size=16, batch_size=10, out=folder.parent / "run", settings={"steps": 12, "flips": True}
    )
    return Path(result.run)


def test_the_number_of_epochs_and_the_reasons_are_in_the_record(flipped: Path) -> None:
    """`epochs: auto` in run.json could not be repeated."""
    record = open_run(flipped).record
    assert record.card.train.epochs == 3  # 40 images are 4 steps
    (line,) = [note for note in record.notes if note.startswith("recipe: ")]
    assert "3 epochs of 40 images in batches of 10, 12 steps" in line
    assert "\n" not in line


def test_the_file_answers_an_image_and_its_mirror_image_alike_and_says_its_price(flipped: Path) -> None:
    """What is evaluated is what ships: flips are nodes of the graph, and pass the gate."""
    runtime = Runtime.open(flipped / "model.onnx")
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3)).astype(np.uint8)
    answers, mirrored = (runtime.logits(batch) for batch in (images, images[:, :, ::-1].copy()))
    np.testing.assert_allclose(answers, mirrored, atol=1e-4)
    assert runtime.manifest.parity is not None
    (note,) = [note for note in runtime.manifest.provenance.notes if note.startswith("flips: ")]
    assert note.count(" ms") == 2


def test_a_repeat_with_the_number_gives_the_same_weights_and_a_loaded_run_the_same_file(
    flipped: Path, folder: Path
) -> None:
    settings = {"flips": True}
    again = zoo.train(
        "simple_cnn", folder, size=16, batch_size=10, epochs=3, out=folder.parent / "b", settings=settings
    )
    assert (Path(again.run) / "weights.safetensors").read_bytes() == (flipped / "weights.safetensors").read_bytes()
    zoo.export(flipped, out=folder.parent / "again.onnx")  # through the gate, from the weights


def test_every_way_to_say_how_long_excludes_the_others() -> None:
    card = zoo.info("resnet18")
    for budget, settings in (
        ({"epochs": 3, "budget": "1m"}, {}),
        ({"epochs": 3}, {"steps": 10}),
        ({"epochs": 3}, {"budget": "1m"}),
    ):
        with refused("option-conflict", UsageError):
            configure(card, budget, settings)  # type: ignore[arg-type]
    own = msgspec.structs.replace(card, train=TrainConfig(epochs=20))  # as a card of a third party may say
    assert configure(own, {}, {}).epochs == 20
    assert configure(own, {"epochs": "auto"}, {}).epochs == "auto"
    assert configure(own, {}, {"steps": 100}).epochs == "auto"
    assert configure(own, {"budget": "10m"}, {}).epochs == "auto"


def test_a_head_learns_first_only_over_pretrained_weights() -> None:
    card = zoo.info("resnet18")
    probing = msgspec.structs.replace(card, train=TrainConfig(probe=0.2))
    assert configure(probing, {}, {}).probe == 0
    assert configure(probing, {"pretrained": True}, {}).probe == 0.2
    with refused("probe-scratch", UsageError, probe=0.2):
        configure(card, {}, {"probe": 0.2})


def test_a_model_does_not_answer_by_mirror_images_where_sides_matter() -> None:
    card = zoo.info("resnet18")
    with refused("flips-unwanted", UsageError):
        configure(card, {}, {"flips": True, "augment_flip": "none"})
    assert configure(card, {}, {"flips": True}).flips


def test_what_is_fitted_in_one_step_has_one_epoch_and_no_line() -> None:
    card = zoo.info("svm")
    plugin = registry.load(card.plugin).plugin
    settled, line = settle_course(TrainConfig(), plugin, 500, card.preprocess, frozenset())
    assert (settled.epochs, line) == (1, "")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"augment_flip": "none"}, "never mirrored, as sides matter"),
        ({"augment": "strong", "colour": "diagnostic"}, "colour left as it is"),
        ({"augment": "none"}, "images as they are"),
        ({"sam": 0.05, "average": "soup"}, "sharpness-aware, radius 0.05; mean of the best three epochs"),
        ({"budget": "10m"}, "as far as 10m allow"),
    ],
)
def test_the_line_says_what_was_chosen_and_why(settings: dict[str, Any], words: str) -> None:
    card = zoo.info("resnet18")
    config = configure(card, {}, settings)
    line = settle_course(config, registry.load(card.plugin).plugin, 500, card.preprocess, frozenset(settings))[1]
    assert words in line


@pytest.mark.parametrize(
    ("model", "able"), [("resnet10t", True), ("mobilenetv3_small_050", True), ("vgg11", False), ("simple_cnn", False)]
)
def test_drop_path_is_for_networks_that_have_it(model: str, able: bool, folder: Path) -> None:
    """A setting that does nothing would be a silent lie in the table."""
    from zoo.data import open_data

    card = zoo.info(model)
    card = msgspec.structs.replace(card, train=msgspec.structs.replace(card.train, drop_path=0.2))
    plugin = registry.load(card.plugin).plugin
    if able:
        plugin.check(card, open_data(folder))
    else:
        with refused("drop-path-unsupported", UsageError, model=model):
            plugin.check(card, open_data(folder))


def test_small_pictures_train_enlarged_where_a_size_is_asked_for() -> None:
    """28 px pictures at 64: the size is the user's, so that no note says that it is the images' own."""
    from zoo.data import open_data
    from zoo.workflow._recipe import resolve

    card = zoo.info("resnet10t")
    data = open_data("digits")
    own = resolve(registry.load(card.plugin).plugin, card, data, configure(card, {}, {}), settings={})
    large = resolve(registry.load(card.plugin).plugin, card, data, configure(card, {}, {}), size=64, settings={})
    assert any(note.startswith("input size") for note in own.notes)
    assert large.card.preprocess.size == (64, 64)
    assert not any(note.startswith("input size") for note in large.notes)
