"""Pretrained weights: what is adapted is said, what does not fit is refused."""

from __future__ import annotations

import pytest
import timm
import torch
from beside_images import TABLE
from refusals import refused
from tiny_learning import TinyNet, tiny_net
from torch import Tensor, nn

from zoo.errors import WeightsError
from zoo.learn import EMBEDDING, NetworkWithColumns, find_fresh_stems, image_tensors, load_pretrained
from zoo.learn._probing import set_learning


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_equal_networks_take_every_tensor_without_a_note() -> None:
    model, source = tiny_net(seed=1), tensors_of(tiny_net(seed=2))
    assert load_pretrained(model, source) == ()
    assert all(torch.equal(tensor, source[name]) for name, tensor in model.state_dict().items())


def test_another_number_of_classes_leaves_only_the_head_new() -> None:
    model, source = tiny_net(seed=1, classes=8), tensors_of(tiny_net(seed=2))
    fresh = model.head.weight.clone()
    notes = load_pretrained(model, source)
    (note,) = notes
    assert all(part in note for part in ("head head", "8 classes", " 3"))
    assert load_pretrained(model, source, say_head=False) == ()
    assert torch.equal(model.head.weight, fresh)
    assert torch.equal(model.stem.weight, source["stem.weight"])


def test_classes_keep_the_rows_that_are_named_and_others_are_new() -> None:
    """A class that moved must not answer for another."""
    model, source = tiny_net(seed=1, classes=4), tensors_of(tiny_net(seed=2))
    fresh = model.head.weight.clone()
    (note,) = load_pretrained(model, source, rows=(2, None, 0, 1))
    assert "3 of 4" in note
    assert torch.equal(model.head.weight[[0, 2, 3]], source["head.weight"][[2, 0, 1]])
    assert torch.equal(model.head.bias[[0, 2, 3]], source["head.bias"][[2, 0, 1]])
    assert torch.equal(model.head.weight[1], fresh[1])
    assert torch.equal(model.stem.weight, source["stem.weight"])


def test_a_grey_network_answers_as_the_colour_network_on_replicated_grey() -> None:
    colour, grey = tiny_net(seed=2, channels=3).eval(), tiny_net(seed=1, channels=1).eval()
    notes = load_pretrained(grey, tensors_of(colour))
    x = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    assert "1 channel" in notes[0]
    assert torch.allclose(grey(x), colour(x.expand(-1, 3, -1, -1)), atol=1e-5)


@pytest.mark.parametrize("channels", [2, 5, 16])
def test_stem_for_a_stack_is_made_of_the_colour_kernels_as_timm_does_it(channels: int) -> None:
    """Random kernels would throw away what the later layers are built on."""
    colour, stack = tiny_net(seed=2, channels=3), tiny_net(seed=1, channels=channels)
    (note,) = load_pretrained(stack, tensors_of(colour))
    assert f"{channels} channels" in note
    expected = timm.models.adapt_input_conv(channels, colour.stem.weight.detach().clone())
    torch.testing.assert_close(stack.stem.weight.detach(), expected)


def test_a_small_image_stem_stays_new_and_is_said() -> None:
    model = timm.create_model("resnet18", num_classes=4)
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    source = tensors_of(timm.create_model("resnet18", num_classes=10))
    assert find_fresh_stems(model, source) == ("conv1",)
    assert find_fresh_stems(model, tensors_of(model)) == ()
    head, stem = load_pretrained(model, source)
    assert "head fc" in head
    assert all(part in stem for part in ("conv1.weight", "3x3", "7x7"))


def test_a_grey_small_image_stem_is_only_said_to_be_new() -> None:
    model = timm.create_model("resnet18", in_chans=1)
    model.conv1 = nn.Conv2d(1, 64, 3, padding=1, bias=False)
    (note,) = load_pretrained(model, tensors_of(timm.create_model("resnet18")))
    assert "3x3" in note


def test_a_new_stem_learns_with_the_head_while_the_rest_is_held() -> None:
    """Held at random, it would give the head the features of noise."""
    model = tiny_net()
    set_learning(model, torch.optim.SGD(model.parameters()), head_only=True, fresh=("stem",))
    learns = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learns == {"stem.weight", "stem.bias", "head.weight", "head.bias"}
    assert not model.norm.training


@pytest.mark.parametrize("arch", ["test_vit", "test_resnet", "test_convnext"])
def test_families_of_timm_name_their_own_heads(arch: str) -> None:
    notes = load_pretrained(timm.create_model(arch, num_classes=3), tensors_of(timm.create_model(arch)))
    assert len(notes) == 1
    assert "3 classes" in notes[0]


def test_weights_of_another_network_are_refused_with_counts_and_a_few_names() -> None:
    """`strict=False` would load nothing, say nothing, and train from scratch by the name of pretraining."""
    with refused("weights-names", WeightsError, misshapen=0) as caught:
        load_pretrained(timm.create_model("resnet18"), tensors_of(tiny_net()))
    assert len(str(caught.value)) < 700
    assert "\n" not in str(caught.value)


def test_one_missing_tensor_is_enough_to_refuse() -> None:
    source = tensors_of(tiny_net())
    del source["norm.running_var"]
    with refused("weights-names", WeightsError, missing=1, unexpected=0) as caught:
        load_pretrained(tiny_net(), source)
    assert "norm.running_var" in str(caught.value)


def test_old_weights_without_batchnorms_counter_are_taken() -> None:
    source = tensors_of(tiny_net(seed=2))
    del source["norm.num_batches_tracked"]
    assert load_pretrained(tiny_net(), source) == ()


def test_weights_that_are_no_numbers_are_refused() -> None:
    source = tensors_of(tiny_net())
    source["norm.weight"][3] = float("inf")
    with refused("weights-not-finite", WeightsError, tensors=["norm.weight"]):
        load_pretrained(tiny_net(), source)


def test_a_refused_file_leaves_the_network_as_it_was() -> None:
    model: TinyNet = tiny_net()
    before = tensors_of(model)
    source = tensors_of(tiny_net(seed=5))
    del source["norm.bias"]
    with pytest.raises(WeightsError):
        load_pretrained(model, source)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_weights_of_a_network_with_columns_start_one_that_sees_the_image_alone() -> None:
    torch.manual_seed(0)
    both = NetworkWithColumns(torch.nn.Sequential(torch.nn.Linear(4, 3 + EMBEDDING)), 3, TABLE)
    assert list(image_tensors(both.state_dict())) == ["0.weight", "0.bias"]
    other = {"network.weight": torch.zeros(1)}  # somebody's own name
    assert image_tensors(other) is other
