"""Between decoded pixels and the network: the same arithmetic as at evaluation, and harmless randomness."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from zoo.learn._augment import augment
from zoo.learn._batches import generator, seed_of, standardize, to_unit
from zoo.preprocess import normalize_batch
from zoo.spec import Intensity, Percentile, PreprocessSpec, Scale, TrainConfig, Voi, Window

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    "intensity", [Scale(maximum=255), Window(center=120, width=90), Percentile(low=2, high=98), Percentile(), Voi()]
)
@pytest.mark.parametrize("channels", ["rgb", "gray"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_training_sees_what_evaluation_sees(intensity: Intensity, channels: str, dtype: type) -> None:
    """Two normalisations that differ are the classic way to a model that is worse in use than on paper."""
    c = 3 if channels == "rgb" else 1
    spec = PreprocessSpec(size=(9, 7), channels=channels, intensity=intensity, mean=(0.48,) * c, std=(0.22,) * c)
    pixels = RANDOM.integers(0, 256, (5, 9, 7, c)).astype(dtype)
    pixels[0] = 17  # a constant image
    ours = standardize(to_unit(torch.from_numpy(pixels), spec), spec)
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours.numpy(), normalize_batch(pixels, spec), atol=2e-6)


@pytest.mark.parametrize("side", [28, 96])
@pytest.mark.parametrize("kind", ["flip", "standard", "strong"])
def test_augmentation_is_a_function_of_its_seed(kind: str, side: int) -> None:
    x = torch.rand(6, 3, side, side, generator=generator(1))
    first = augment(x, TrainConfig(augment=kind), generator(0, 1, 2))
    assert first.shape == x.shape
    assert torch.equal(first, augment(x, TrainConfig(augment=kind), generator(0, 1, 2)))
    assert not torch.equal(first, augment(x, TrainConfig(augment=kind), generator(0, 1, 3)))


def test_none_changes_nothing() -> None:
    """Digits are trained with it: a mirrored 2 is no 2."""
    x = torch.rand(3, 1, 28, 28)
    assert augment(x, TrainConfig(augment="none"), generator(0)) is x


def test_flip_mirrors_about_half_of_the_images_and_nothing_else() -> None:
    x = torch.rand(200, 1, 4, 6)
    y = augment(x, TrainConfig(augment="flip"), generator(0))
    mirrored = [torch.equal(a, b.flip(2)) for a, b in zip(y, x, strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(y, x, strict=True)]
    assert all(a or b for a, b in zip(mirrored, kept, strict=True))
    assert 60 < sum(mirrored) < 140


@pytest.mark.parametrize("shape", [(28, 28), (96, 96), (64, 128)])
def test_standard_stays_near_the_image_and_adds_no_black_border(shape: tuple[int, int]) -> None:
    """A black corner tells the network that an image was augmented, and is nothing a device will see."""
    x = torch.full((50, 1, *shape), 0.5)
    y = augment(x, TrainConfig(augment="standard"), generator(0))
    assert y.min() >= 0.39
    assert y.max() <= 0.61
    assert all(image.std() < 1e-4 for image in y)


def test_a_turned_disc_stays_a_disc_in_a_wide_image() -> None:
    """An affine map in normalised coordinates shears unless the aspect ratio is taken out."""
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(128.0), indexing="ij")
    disc = (((rows - 32) ** 2 + (columns - 64) ** 2) < 15**2).float()
    y = augment(disc.expand(40, 1, 64, 128).contiguous(), TrainConfig(augment="standard"), generator(0))[:, 0] > 0.5
    for image in y:
        height, width = int(image.any(1).sum()), int(image.any(0).sum())
        assert abs(height - width) <= 2


def test_seeds_of_neighbouring_places_have_nothing_in_common() -> None:
    seeds = {seed_of(seed, epoch, step) for seed in range(5) for epoch in range(10) for step in range(10)}
    assert len(seeds) == 500
