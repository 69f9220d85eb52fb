"""How a card becomes the card of a run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import zoo
from zoo import registry
from zoo.errors import DataError, ImageError, UsageError
from zoo.preprocess import normalized
from zoo.readers import RawImage
from zoo.recipe import configured, parse_settings, resolve
from zoo.spec import Percentile, PreprocessSpec, Scale, Voi, Window


class Pictures:
    """Stands for a training split: two halves of pixels, one of them unreadable now and then."""

    def __init__(self, *pixels: np.ndarray, bad: tuple[int, ...] = ()) -> None:
        self.pixels, self.bad, self.asked = pixels, bad, set[int]()

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, index: int) -> RawImage:
        self.asked.add(index)
        if index in self.bad:
            raise ImageError("damaged")
        return RawImage(self.pixels[index], "float32")


CT = Pictures(np.linspace(-1000, 3000, 400, dtype=np.float32).reshape(20, 20, 1))


def recipe(model: str = "resnet18", *, side: int = 300, kind: str = "uint8", gray: bool = False, **given: Any) -> Any:
    card = zoo.info(model)
    settings = given.pop("settings", {})
    more = {"voi": given.pop("voi", False), "train": given.pop("train", CT), "task": given.pop("task", "multiclass")}
    data = SimpleNamespace(kind=kind, gray=gray, largest_side=side, **more)
    config = configured(card, given.pop("budget", {}), settings)
    return resolve(registry.load(card.plugin).plugin, card, data, config, settings=settings, **given)  # type: ignore[arg-type]


def test_large_images_take_the_cards_size() -> None:
    assert recipe().card.preprocess.size == (224, 224)


def test_small_images_keep_their_own_size_and_it_is_said() -> None:
    """28 px cells blown up to 224 cost 64 times as much and show nothing more."""
    found = recipe(side=28)
    assert found.card.preprocess.size == (28, 28)
    assert any("28 px" in note and "224" in note for note in found.notes)


def test_a_family_has_a_smallest_size() -> None:
    assert recipe("vgg11_bn", side=28).card.preprocess.size == (32, 32)
    with pytest.raises(UsageError, match="at least 32"):
        recipe("vgg11_bn", size=28)
    with pytest.raises(UsageError, match="at least 32"):
        recipe("vgg11_bn", settings={"preprocess.size": 16})


def test_the_size_can_be_said_in_two_ways_but_not_at_once() -> None:
    assert recipe(size=96).card.preprocess.size == (96, 96)
    assert recipe(settings={"preprocess.size": [64, 96]}).card.preprocess.size == (64, 96)
    assert recipe(side=20, settings={"preprocess.size": 96}).card.preprocess.size == (96, 96)
    with pytest.raises(UsageError, match="one of them"):
        recipe(size=96, settings={"preprocess.size": 64})


@pytest.mark.parametrize("size", [0, -5, 100_000])
def test_an_impossible_size_is_one_line(size: int) -> None:
    with pytest.raises(UsageError, match="size"):
        recipe("svm", size=size)


def test_gray_images_get_one_channel() -> None:
    found = recipe(gray=True)
    spec = found.card.preprocess
    assert (spec.channels, len(spec.mean)) == ("gray", 1)
    assert spec.mean[0] == pytest.approx((0.485 + 0.456 + 0.406) / 3, abs=1e-6)
    assert recipe(gray=True, settings={"preprocess.channels": "rgb"}).card.preprocess.channels == "rgb"
    assert recipe(settings={"preprocess.channels": "gray"}).card.preprocess.mean == spec.mean


@pytest.mark.parametrize("kind", ["uint16", "float32"])
def test_deep_images_need_a_declared_range(kind: str) -> None:
    with pytest.raises(DataError, match=r"--set preprocess\.intensity\.maximum"):
        recipe(kind=kind, gray=True)
    stated = recipe(kind=kind, gray=True, settings={"preprocess.intensity.maximum": 4095})
    assert stated.card.preprocess.intensity == Scale(maximum=4095)
    free = recipe(kind=kind, gray=True, settings={"preprocess.intensity": {"type": "percentile"}})
    assert free.card.preprocess.intensity == Percentile()


def test_images_that_bring_a_window_are_read_through_it_and_it_is_said() -> None:
    found = recipe(kind="float32", gray=True, voi=True)
    assert found.card.preprocess.intensity == Voi()
    assert any("voi" in note and "window" in note for note in found.notes)
    stated = recipe(kind="float32", gray=True, voi=True, settings={"preprocess.intensity": "percentile"})
    assert stated.card.preprocess.intensity == Percentile()
    assert not stated.notes[1:]
    assert recipe(voi=True).card.preprocess.intensity == Scale(maximum=255)  # 8-bit pictures need none


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_window_of_the_file_needs_one_in_every_file(kind: str) -> None:
    with pytest.raises(DataError, match="not every image is a DICOM file with a VOI LUT or window"):
        recipe(kind=kind, gray=True, settings={"preprocess.intensity": "voi"})


def test_ct_without_a_window_is_refused_with_its_range_and_the_ways_out() -> None:
    with pytest.raises(DataError) as refused:
        recipe(kind="float32", gray=True)
    for said in ("-1000 to 3000", "intensity.maximum=", "type: window", "=fitted", "=percentile", "voi is for DICOM"):
        assert said in str(refused.value)


def test_fitted_window_lies_between_two_percentiles_of_training_pixels() -> None:
    """Fixed at training, it is arithmetic in the graph; of test images it would be a leak."""
    rng = np.random.default_rng(0)
    train = Pictures(*(rng.normal(40, 200, (30, 20, 1)).astype(np.float32) for _ in range(600)), bad=(0, 599))
    found = recipe(kind="float32", gray=True, train=train, settings={"preprocess.intensity": "fitted"})
    window = found.card.preprocess.intensity
    assert isinstance(window, Window)
    used = [train.pixels[i].ravel() for i in sorted(train.asked - {0, 599})]
    low, high = np.percentile(np.concatenate(used), [0.5, 99.5])
    unit = normalized(np.array([low, (low + high) / 2, high]).reshape(1, 1, 3, 1), unit_spec(window)).ravel()
    np.testing.assert_allclose(unit, [0, 0.5, 1], atol=1e-6)
    assert len(train.asked) == 256
    assert any(f"{low:g} to {high:g}" in note and "254 training images" in note for note in found.notes)


@pytest.mark.parametrize("train", [Pictures(np.zeros((4, 4, 1), np.float32)), Pictures(np.eye(4)[..., None], bad=(0,))])
def test_window_can_not_be_fitted_to_nothing(train: Pictures) -> None:
    with pytest.raises(DataError, match="no two values"):
        recipe(kind="float32", gray=True, train=train, settings={"preprocess.intensity": "fitted"})


def unit_spec(window: Window) -> PreprocessSpec:
    return PreprocessSpec(size=(1, 3), channels="gray", intensity=window, mean=(0,), std=(1,))


def test_pretrained_weights_are_tuned_more_gently() -> None:
    card = zoo.info("resnet18")
    assert configured(card, {"pretrained": True}, {}).lr == pytest.approx(0.3 * card.train.lr)
    assert configured(card, {"pretrained": True, "lr": 0.01}, {}).lr == 0.01
    assert configured(card, {"pretrained": True}, {"lr": 0.02}).lr == 0.02
    assert configured(card, {"pretrained": None}, {}).lr == card.train.lr


def test_labels_that_may_come_together_are_learned_without_smoothing_unless_it_was_asked_for() -> None:
    """Smoothing draws probabilities towards one half: a finding of one film in a hundred would seem likelier."""
    found = recipe(task="multilabel")
    assert found.card.train.label_smoothing == 0
    (note,) = found.notes
    assert note == "label_smoothing 0 (the card says 0.1): smoothing lifts the probability of rare labels"
    for settings in ({"label_smoothing": 0.1}, {"train.label_smoothing": 0.1}):
        asked = recipe(task="multilabel", settings=settings)
        assert (asked.card.train.label_smoothing, asked.notes) == (0.1, ())
    one = recipe()
    assert (one.card.train.label_smoothing, one.notes) == (0.1, ())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"epoch": 3}, "no such setting"),
        ({"epochs": "many"}, "epochs"),
        ({"epochs": 0}, "epochs is 0"),
        ({"split_seed": "x"}, "split_seed"),
        ({"preprocess.sizes": 3}, "no such setting"),
        ({"preprocess.size.width": 3}, "has no field"),
        ({"preprocess.intensity.maximum": -1}, "maximum is -1"),
        ({"preprocess.denoise": {"type": "median", "k": 4}}, "4"),
        ({"preprocess.mean": [0.5]}, "mean has 1"),
    ],
)
def test_what_can_not_be_set_is_one_line(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        recipe(settings=settings)
    assert "\n" not in str(refused.value)


def test_settings_are_read_as_yaml() -> None:
    found = parse_settings(["lr=0.01", "preprocess.intensity={type: percentile, low: 1}", "augment=none", "ema=0"])
    assert found == {
        "lr": 0.01,
        "preprocess.intensity": {"type": "percentile", "low": 1},
        "augment": "none",
        "ema": 0,
    }


@pytest.mark.parametrize("pair", ["lr", "=3", "lr={", ""])
def test_a_pair_that_is_none_is_refused(pair: str) -> None:
    with pytest.raises(UsageError, match="--set"):
        parse_settings([pair])


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"preprocess.intensity": "foo"}, "preprocess.intensity.type: 'foo' is no intensity, expected one of scale, "),
        ({"preprocess.intensity.maximum": "abc"}, "preprocess.intensity.maximum: expected `float`"),
        ({"preprocess.intensity.maximum": -3}, "preprocess.intensity: scale: maximum is -3.0"),
    ],
)
def test_a_setting_that_does_not_fit_is_named_with_what_would(setting: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        recipe(settings=setting)
    assert said in str(refused.value)
    assert "$" not in str(refused.value)
