"""The idea: how a cell lies must not change what it is called."""

import torch
from zoo_acme.model import Acme

import zoo


def test_turned_and_mirrored_pictures_have_the_same_answer() -> None:
    torch.manual_seed(0)
    module = Acme().build(zoo.info("acme_net"), classes=5, channels=3).eval()
    picture = torch.rand(1, 3, 48, 40)
    with torch.inference_mode():
        expected = module(picture)
        for turns in range(4):
            turned = picture.rot90(turns, (2, 3))
            assert torch.allclose(module(turned), expected, atol=1e-5)
            assert torch.allclose(module(turned.flip(3)), expected, atol=1e-5)
    assert not torch.allclose(module(torch.rand(1, 3, 48, 40)), expected, atol=1e-5)
