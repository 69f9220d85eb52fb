"""What training images may become: operations as Pillow has them, and none that changes the diagnosis."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from zoo.learn import _trivial
from zoo.learn._augment import augment
from zoo.learn._batches import generator
from zoo.learn._mixing import erase, mix
from zoo.learn._objective import Objective
from zoo.spec import TrainConfig

RANDOM = np.random.default_rng(0)
PICTURE = RANDOM.integers(0, 256, (24, 32, 3)).astype(np.uint8)
PICTURE[4:20, 8:24] //= 2


def as_tensor(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize(
    ("operation", "strength", "reference", "tolerance"),
    [
        (_trivial._brighten, 0.5, lambda image: ImageEnhance.Brightness(image).enhance(1.495), 1.5),
        (_trivial._contrast, -0.5, lambda image: ImageEnhance.Contrast(image).enhance(0.505), 2.5),
        (_trivial._saturate, 0.5, lambda image: ImageEnhance.Color(image).enhance(1.495), 3.0),
        (_trivial._posterize, 1.0, lambda image: ImageOps.posterize(image, 2), 0.5),
        (_trivial._solarize, 0.5, lambda image: ImageOps.solarize(image, 128), 0.5),
        (_trivial._stretch_contrast, 0.5, ImageOps.autocontrast, 1.5),
    ],
)
def test_an_operation_is_that_of_pillow(operation, strength, reference, tolerance) -> None:  # type: ignore[no-untyped-def]
    """Papers' strengths mean these operations."""
    ours = operation(as_tensor(PICTURE), torch.tensor([strength]))
    theirs = as_tensor(np.asarray(reference(Image.fromarray(PICTURE))))
    assert float((ours - theirs).abs().max()) * 255 <= tolerance


def test_sharpness_is_that_of_pillow_inside_the_border() -> None:
    ours = _trivial._sharpen(as_tensor(PICTURE), torch.tensor([-0.5]))
    theirs = as_tensor(np.asarray(ImageEnhance.Sharpness(Image.fromarray(PICTURE)).enhance(0.505)))
    assert float((ours - theirs)[:, :, 1:-1, 1:-1].abs().max()) * 255 <= 2.5


def test_equalised_values_are_spread_evenly() -> None:
    dark = torch.rand(2, 1, 40, 40, generator=generator(0)) ** 4
    spread = _trivial._equalize(dark, torch.zeros(2)).flatten(1).sort(dim=1).values
    assert float((spread - torch.linspace(0, 1, spread.shape[1])).abs().max()) < 0.01
    flat = torch.full((1, 3, 8, 8), 0.3)
    assert torch.equal(_trivial._equalize(flat, torch.zeros(1)), flat)


@pytest.mark.parametrize("kind", ["standard", "strong"])
@pytest.mark.parametrize("side", [28, 48])
def test_a_colour_that_is_the_diagnosis_stays(kind: str, side: int) -> None:
    """A stain or a rash that is made redder is another finding."""
    colours = torch.rand(200, 3, 1, 1, generator=generator(0)).expand(200, 3, side, side).contiguous()
    config = TrainConfig(augment=kind, colour="diagnostic")  # type: ignore[arg-type]
    assert float((augment(colours, config, generator(1)) - colours).abs().max()) < 1e-5
    free = TrainConfig(augment=kind)  # type: ignore[arg-type]
    assert float((augment(colours, free, generator(1)) - colours).abs().max()) > 0.05


def test_gray_images_are_never_saturated() -> None:
    names = [operation.__name__ for operation in _trivial.list_operations(1, colour=True) if operation is not None]
    assert "_saturate" not in names
    assert "_brighten" in names
    assert "_saturate" in [one.__name__ for one in _trivial.list_operations(3, colour=True) if one is not None]


def test_every_operation_is_drawn_and_stays_in_range() -> None:
    x = torch.rand(400, 3, 16, 16, generator=generator(0))
    y = augment(x, TrainConfig(augment="strong", augment_flip="none"), generator(1))
    assert y.min() >= 0
    assert y.max() <= 1
    same = sum(torch.equal(a, b) for a, b in zip(x, y, strict=True))
    assert 10 < same < 80  # one of fourteen leaves an image as it is, and some do where they have no strength


@pytest.mark.parametrize(("flip", "seen"), [("none", 1), ("auto", 2), ("horizontal", 2), ("both", 4)])
def test_images_are_mirrored_as_far_as_sides_do_not_matter(flip: str, seen: int) -> None:
    """A chest film has its heart on the left."""
    image = torch.rand(1, 1, 6, 6, generator=generator(0))
    y = augment(image.expand(100, 1, 6, 6), TrainConfig(augment="flip", augment_flip=flip), generator(1))  # type: ignore[arg-type]
    kinds = [image, image.flip(3), image.flip(2), image.flip(2).flip(3)]
    found = {next(k for k, kind in enumerate(kinds) if torch.equal(one, kind[0])) for one in y}
    assert found == set(range(seen))


def test_erased_images_have_one_rectangle_of_nothing() -> None:
    x = torch.rand(400, 3, 20, 30, generator=generator(0)) + 1
    y = erase(x, 0.5, generator(1))
    blank = (y == 0).all(dim=1)  # (n, H, W)
    assert 160 < int(blank.flatten(1).any(dim=1).sum()) < 240
    assert torch.equal(y[~blank.unsqueeze(1).expand_as(y)], x[~blank.unsqueeze(1).expand_as(x)])
    for area in blank:
        if area.any():
            assert int(area.sum()) == int(area.any(0).sum()) * int(area.any(1).sum())  # it is a rectangle
            assert area.float().mean() < 0.4
    assert erase(x, 0.0, generator(1)) is x


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0)])
def test_an_image_is_as_much_of_its_partner_as_its_loss_is(mixup: float, cutmix: float) -> None:
    """Else the network learns shares that are not in the picture."""
    x = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 1, 17, 23).contiguous()
    logits, targets = torch.randn(8, 3, generator=generator(0)), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    objective, index = Objective(targets), torch.arange(8)
    kinds = set()
    for seed in range(40):
        y, mixture = mix(x, mixup=mixup, cutmix=cutmix, random=np.random.default_rng(seed))
        assert mixture is not None
        blended = mixture.share * x + (1 - mixture.share) * x[mixture.partner]
        torch.testing.assert_close(y.mean(dim=(1, 2, 3)), blended.mean(dim=(1, 2, 3)))
        kinds.add(bool(torch.equal(y, y.round())))
        expected = mixture.share * objective(logits, index) + (1 - mixture.share) * objective(logits, mixture.partner)
        torch.testing.assert_close(mixture.loss(objective, logits, index), expected)
    assert kinds == ({False} if not cutmix else {True} if not mixup else {False, True})
    assert mix(x, mixup=0.0, cutmix=0.0, random=np.random.default_rng(0)) == (x, None)
