"""How a card becomes the card of a run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from refusals import refused

import zoo
from zoo import registry
from zoo.errors import DataError, ImageError, UsageError
from zoo.preprocess import normalize_batch
from zoo.readers import RawImage
from zoo.spec import Percentile, PreprocessSpec, Scale, Voi, Window
from zoo.workflow._recipe import configure, refuse_options, resolve
from zoo.workflow._settings import settings_of, words_of
from zoo.workflow.train import read_settings, spell_setting


class Pictures:
    """Stands for a training split: two halves of pixels, one of them unreadable now and then."""

    def __init__(
        self, *pixels: np.ndarray, bad: tuple[int, ...] = (), padding: tuple[float, float] | None = None
    ) -> None:
        self.pixels, self.bad, self.padding, self.asked = pixels, bad, padding, set[int]()

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, index: int) -> RawImage:
        self.asked.add(index)
        if index in self.bad:
            raise ImageError(None, "damaged")
        return RawImage(self.pixels[index], "float32", self.padding)


CT = Pictures(np.linspace(-1000, 3000, 400, dtype=np.float32).reshape(20, 20, 1))


def recipe(model: str = "resnet18", *, side: int = 300, kind: str = "uint8", gray: bool = False, **given: Any) -> Any:
    card = zoo.info(model)
    settings = given.pop("settings", {})
    more = {"voi": given.pop("voi", False), "train": given.pop("train", CT), "task": given.pop("task", "multiclass")}
    more["paddings"] = given.pop("paddings", {})
    data = SimpleNamespace(kind=kind, gray=gray, channels=None, largest_side=side, **more)
    config = configure(card, given.pop("budget", {}), settings)
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
    with refused("size-too-small", UsageError, model="vgg11_bn", expected=32):
        recipe("vgg11_bn", size=28)
    with refused("size-too-small", UsageError, model="vgg11_bn", expected=32):
        recipe("vgg11_bn", settings={"preprocess.size": 16})


def test_the_size_can_be_said_in_two_ways_but_not_at_once() -> None:
    assert recipe(size=96).card.preprocess.size == (96, 96)
    assert recipe(settings={"preprocess.size": [64, 96]}).card.preprocess.size == (64, 96)
    assert recipe(side=20, settings={"preprocess.size": 96}).card.preprocess.size == (96, 96)
    with refused("option-conflict", UsageError, options=["--size", "--set preprocess.size"]):
        recipe(size=96, settings={"preprocess.size": 64})


@pytest.mark.parametrize(
    ("budget", "settings", "option"),
    [
        ({"lr": 0.01}, {"lr": 0.0001}, "--lr"),
        ({"epochs": 5}, {"train.epochs": 7}, "--epochs"),
        ({"operating": ["youden:a"]}, {"operating": ["youden:b"]}, "--operating"),
        ({"pretrained": True}, {"pretrained": False}, "--pretrained"),
        ({"weights": "w.safetensors"}, {"pretrained": False}, "--weights"),
        ({"leaks": "refuse"}, {"leaks": "keep"}, "--strict"),
    ],
)
def test_a_setting_does_not_beat_the_option_of_its_name(budget: Any, settings: dict[str, Any], option: str) -> None:
    """The setting once won without a word: weights that were named were not trained from."""
    name = next(iter(settings)).removeprefix("train.")
    with refused("option-conflict", UsageError, options=[option, f"--set {name}"]):
        configure(zoo.info("resnet18"), {**budget, "settings": settings}, settings)


def test_a_field_is_set_once_with_its_prefix_or_without() -> None:
    with refused("setting-value", UsageError, name="lr", value=2.0):
        settings_of({"settings": {"lr": 1.0, "train.lr": 2.0}})


def test_that_words_are_no_class_is_said_too() -> None:
    """`--no-keep-na` was dropped with the switches that are off, so its own advice did nothing."""
    assert words_of({"keep_na": False, "pretrained": False, "lr": None, "seed": 0, "settings": {}}) == {
        "keep_na": False, "seed": 0,
    }  # fmt: skip
    with refused("option-ignored", UsageError):
        refuse_options({"keep_na": False}, why="nothing is read")


def test_the_same_may_be_said_as_an_option_and_as_a_setting() -> None:
    said: dict[str, Any] = {"lr": 1, "operating": ["youden:a"], "pretrained": True}
    twice = {**said, "operating": ("youden:a",), "weights": "w.safetensors", "settings": said}
    assert configure(zoo.info("resnet18"), twice, said).lr == 1  # type: ignore[arg-type]


def test_what_a_data_set_asks_for_gives_way_to_an_option() -> None:
    assert configure(zoo.info("resnet18"), {"metric": "kappa"}, {"metric": "nll"}).metric == "kappa"


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
    assert [note for note in stated.notes if "voi" in note] == []
    assert recipe(voi=True).card.preprocess.intensity == Scale(maximum=255)  # 8-bit pictures need none


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_window_of_the_file_needs_one_in_every_file(kind: str) -> None:
    with refused("intensity-range", DataError, intensity="voi"):
        recipe(kind=kind, gray=True, settings={"preprocess.intensity": "voi"})


def test_ct_without_a_window_is_refused_with_its_range_and_the_ways_out() -> None:
    with refused("intensity-range", DataError, found="float32") as caught:
        recipe(kind="float32", gray=True)
    for said in ("-1000 to 3000", "intensity.maximum=", "type: window", "=fitted", "=percentile", "DICOM"):
        assert said in str(caught.value)


def test_fitted_window_lies_between_two_percentiles_of_training_pixels() -> None:
    """Fixed at training, it is arithmetic in the graph; of test images it would be a leak."""
    rng = np.random.default_rng(0)
    train = Pictures(*(rng.normal(40, 200, (30, 20, 1)).astype(np.float32) for _ in range(600)), bad=(0, 599))
    found = recipe(kind="float32", gray=True, train=train, settings={"preprocess.intensity": "fitted"})
    window = found.card.preprocess.intensity
    assert isinstance(window, Window)
    used = [train.pixels[i].ravel() for i in sorted(train.asked - {0, 599})]
    low, high = np.percentile(np.concatenate(used), [0.5, 99.5])
    unit = normalize_batch(np.array([low, (low + high) / 2, high]).reshape(1, 1, 3, 1), unit_spec(window)).ravel()
    np.testing.assert_allclose(unit, [0, 0.5, 1], atol=1e-6)
    assert len(train.asked) == 256
    assert any(f"{low:g} to {high:g}" in note and "254 training images" in note for note in found.notes)


def padded_ct(share: float = 0.5) -> np.ndarray:
    """Tissue of 0 to 80 HU, a share of it padding of -2000."""
    image = np.linspace(0, 80, 400, dtype=np.float32).reshape(20, 20, 1)
    image[:, : int(20 * share)] = -2000
    return image


def test_fitted_window_leaves_padding_out() -> None:
    """With -2000 in it, 0 to 80 HU would be the last 4 % of the window."""
    train = Pictures(padded_ct(), padded_ct(0), padded_ct(1), padding=(-2000, -2000))
    found = recipe(kind="float32", gray=True, train=train, settings={"preprocess.intensity": "fitted"})
    window = found.card.preprocess.intensity
    tissue = np.concatenate([image[image >= 0] for image in train.pixels])
    low, high = np.percentile(tissue, [0.5, 99.5])
    assert isinstance(window, Window)
    assert (window.center, window.width) == pytest.approx(((low + high) / 2 + 0.5, high - low + 1))
    assert any("padding left out in 2 of them" in note for note in found.notes)


def test_window_is_not_fitted_to_padding_alone() -> None:
    train = Pictures(padded_ct(1), padding=(-2000, -2000))
    with refused("intensity-range", DataError, intensity="fitted"):
        recipe(kind="float32", gray=True, train=train, settings={"preprocess.intensity": "fitted"})
    with refused("intensity-range", DataError, found="float32"):
        recipe(kind="float32", gray=True, train=train)


def test_percentile_knows_the_padding_that_the_files_name() -> None:
    paddings = {(-2000.0, -2000.0): 7, (-1100.0, -1024.0): 2, (-1050.0, -1000.0): 1}
    found = recipe(kind="float32", gray=True, paddings=paddings, settings={"preprocess.intensity": "percentile"})
    assert found.card.preprocess.intensity == Percentile(padding=((-2000, -2000), (-1100, -1000)))
    assert any("-2000, -1100 to -1000" in note and "10 images" in note for note in found.notes)


def test_padding_that_the_user_states_is_taken() -> None:
    stated = {"preprocess.intensity": {"type": "percentile", "padding": [[-5, -4]]}}
    found = recipe(kind="float32", gray=True, paddings={(-2000.0, -2000.0): 7}, settings=stated)
    assert found.card.preprocess.intensity == Percentile(padding=((-5, -4),))


def test_too_many_values_of_padding_are_refused() -> None:
    """What is padding in one image may be tissue in another."""
    paddings = {(float(i), float(i)): 1 for i in range(9)}
    with refused("intensity-range", DataError, intensity="percentile", found=9, most=8):
        recipe(kind="float32", gray=True, paddings=paddings, settings={"preprocess.intensity": "percentile"})
    recipe(kind="float32", gray=True, paddings=paddings, settings={"preprocess.intensity": "fitted"})


@pytest.mark.parametrize("train", [Pictures(np.zeros((4, 4, 1), np.float32)), Pictures(np.eye(4)[..., None], bad=(0,))])
def test_window_can_not_be_fitted_to_nothing(train: Pictures) -> None:
    with refused("intensity-range", DataError, intensity="fitted"):
        recipe(kind="float32", gray=True, train=train, settings={"preprocess.intensity": "fitted"})


def unit_spec(window: Window) -> PreprocessSpec:
    return PreprocessSpec(size=(1, 3), channels="gray", intensity=window, mean=(0,), std=(1,))


def test_pretrained_weights_are_tuned_at_the_cards_rate_and_those_of_transformers_more_gently() -> None:
    transformer = zoo.info("vit_tiny_patch16_224")
    assert configure(transformer, {"pretrained": True}, {}).lr == pytest.approx(0.3 * transformer.train.lr)
    card = zoo.info("resnet18")
    assert configure(card, {"pretrained": True}, {}).lr == card.train.lr == 0.001
    assert configure(card, {"pretrained": True, "lr": 0.01}, {}).lr == 0.01
    assert configure(card, {"pretrained": True}, {"lr": 0.02}).lr == 0.02
    assert configure(card, {"pretrained": None}, {}).lr == card.train.lr


def test_labels_that_may_come_together_are_learned_without_smoothing_unless_it_was_asked_for() -> None:
    """Smoothing draws probabilities towards one half: a finding of one film in a hundred would seem likelier."""
    found = recipe(task="multilabel")
    assert found.card.train.label_smoothing == 0
    note, line = found.notes
    assert note.startswith("label_smoothing 0 ")
    assert line.startswith("recipe: ")
    for settings in ({"label_smoothing": 0.1}, {"train.label_smoothing": 0.1}):
        asked = recipe(task="multilabel", settings=settings_of({"settings": settings}))
        assert (asked.card.train.label_smoothing, asked.notes) == (0.1, (line,))
    one = recipe()
    assert (one.card.train.label_smoothing, one.notes) == (0.1, (line,))


def test_a_setting_is_a_number_a_word_a_list_or_a_table() -> None:
    pairs = ["lr=1e-3", "preprocess.intensity={type: percentile, low: 1}", "augment=none", "ema=0", "fold=null"]
    assert read_settings([*pairs, "pretrained=true", "preprocess.size=[64, 96]", "features='no'"]) == {
        "lr": 0.001,
        "preprocess.intensity": {"type": "percentile", "low": 1},
        "augment": "none",
        "ema": 0,
        "fold": None,
        "pretrained": True,
        "preprocess.size": [64, 96],
        "features": "no",
    }


@pytest.mark.parametrize(
    "value",
    [None, True, 0, 1e-05, 0.1234567890123, 2.0, "balanced", "no", "null", "010", "#3", "a: b", "5", "läufe",
     [64, 96], {"type": "window", "center": 40.5, "width": 400}, ["a", "b c"]],
    ids=repr,
)  # fmt: skip
def test_a_setting_that_is_shown_is_read_as_it_was(value: Any) -> None:
    """ "steps=-" was shown for null, and trained another recipe."""
    (found,) = read_settings([spell_setting("name", value)]).values()
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "value", ["010", "1:30", "no", "Yes", "1_000", "0x10", ".nan", "1e999", "{", "*a", "#3", "!!int 3"]
)
def test_a_value_of_two_meanings_is_refused_and_never_guessed(value: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_settings(["epochs=3", f"seed={value}"])
    assert refused.value.code == "setting-value"
    assert refused.value.fields == {"name": "seed", "value": value}
    assert str(refused.value).startswith("--set seed: ")


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("augment=no", ("none", "standard")),
        ("train.augment=no", ("none", "standard")),
        ("augment=false", ("none", "standard")),
        ("device=1", ("cuda:N",)),
        ("precision=16", ("auto", "bf16")),
        ("precision=null", ("auto", "bf16")),
        ("preprocess.denoise.k=010", ("3 or 5",)),
        ("preprocess.denoise=no", ("median", "null")),
        ("preprocess.denoise=false", ("median", "null")),
        ("preprocess.intensity=3", ("window", "fitted")),
        ("lr=", ("empty",)),
    ],
)
def test_a_refusal_names_what_is_then_taken(pair: str, words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as refused:
        recipe(settings=read_settings([pair]))
    assert refused.value.code == "setting-value"
    assert refused.value.fields["name"] == pair.partition("=")[0]
    assert all(word in str(refused.value) for word in words)


@pytest.mark.parametrize("pair", ["lr", "=3", " =3", ""])
def test_a_pair_that_is_none_is_refused(pair: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_settings([pair])
    assert refused.value.code == "setting-form"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("lr", "fast", "lr is 'fast', expected a number"),
        ("lr", 0, "lr is 0.0, expected a number above 0 and below 100"),
        ("epochs", 1.5, "epochs is 1.5, expected auto or N"),
        ("epochs", 0, "epochs is 0, expected at least 1, or auto"),
        ("budget", "10", "budget is 10, expected a time such as 90s, 10m or 2h"),
        ("mixup", -1, "mixup is -1.0, expected 0 or more, such as 0.2"),
        ("pretrained", 1, "pretrained is 1, expected true or false"),
        ("fold", "first", "fold is 'first', expected none, a whole number or null"),
        ("augment", "all", "augment is 'all', expected none, flip, standard or strong"),
        ("preprocess.size", [1, 2, 3], "preprocess.size is [1, 2, 3], expected a list of 2"),
        ("preprocess.size", "big", "preprocess.size is 'big', expected a list"),
        ("preprocess.mean", ["x", 0, 0], "preprocess.mean.0 is 'x', expected a number"),
        ("preprocess.mean", [0.5], "preprocess.mean has 1 and std has 3 values, expected 3 for rgb"),
        ("preprocess.resize", "fill", "preprocess.resize is 'fill', expected stretch, crop or letterbox"),
        ("preprocess.denoise", {"type": "median", "k": 4}, "preprocess.denoise.k is 4, expected 3 or 5"),
        ("preprocess.denoise", "blur", "preprocess.denoise.type is 'blur', expected median or gaussian"),
        ("preprocess.intensity", "foo",
         "preprocess.intensity.type is 'foo', expected scale, window, percentile, voi or fitted"),
        ("preprocess.intensity", {"type": "window", "center": 4},
         "preprocess.intensity is {\"type\": \"window\", \"center\": 4}, expected a field 'width' too"),
        ("preprocess.intensity.top", 3, "preprocess.intensity has no field 'top'; leave it out"),
        ("preprocess.intensity.maximum", "abc", "preprocess.intensity.maximum is 'abc', expected a number"),
        ("preprocess.intensity.maximum", -3,
         "preprocess.intensity: scale: maximum is -3.0, expected a number above 0"),
    ],
)  # fmt: skip
def test_a_setting_that_does_not_fit_is_named_with_what_was_found_and_expected(
    name: str, value: object, said: str
) -> None:
    with pytest.raises(UsageError) as refused:
        recipe(settings={name: value})
    assert refused.value.code == "setting-value"
    assert name.startswith(refused.value.fields["name"]) or refused.value.fields["name"].startswith(name)
    assert str(refused.value) == said


@pytest.mark.parametrize("name", ["epoch", "train.rate", "preprocess.sizes", "preprocess.size.width"])
def test_a_setting_that_does_not_exist_is_named(name: str) -> None:
    with pytest.raises(UsageError) as refused:
        recipe(settings=settings_of({"settings": {name: 3}}))
    assert refused.value.code == "setting-unknown"
    assert refused.value.fields["name"] == name.removeprefix("train.")
