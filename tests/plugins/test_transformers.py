"""Vision transformers: any size of picture, pretrained positions at another size, one graph for any batch.

No pretrained file is at hand where tests run; those here are made by timm with random numbers, and timm's own loading
of them is what ours is compared with.
"""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import timm
import torch
from refusals import refused
from safetensors.torch import save_file
from torch import nn

from zoo import info, models, registry
from zoo.edge._session import open_session
from zoo.errors import WeightsError
from zoo.learn import load_pretrained, module_to_onnx
from zoo.runs import TrainContext
from zoo_plugins.transformer import Transformer

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.spec import ModelCard

NAMES = [row.name for row in models() if row.plugin in {"transformer", "hybrid"}]
FIRST = {name.partition("_")[0]: name for name in reversed(NAMES)}.values()
"""One of each kind: vit, deit, beit …"""

NARROW: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {"embed_dim": 24, "depth": 2, "num_heads": 2},
    "deit_tiny_distilled_patch16_224": {"embed_dim": 24, "depth": 2, "num_heads": 2},
    "vit_small_patch14_dinov2": {"embed_dim": 24, "depth": 2, "num_heads": 2},
    "beit_base_patch16_224": {"embed_dim": 24, "depth": 2, "num_heads": 2},
    "swin_tiny_patch4_window7_224": {"embed_dim": 12, "depths": (1, 1, 2, 1), "num_heads": (1, 1, 2, 2)},
}
"""The architectures, with too few features to be of use to anybody but a test."""


def narrow(arch: str, side: int, seed: int, classes: int = 1000, **more: Any) -> nn.Module:
    """A network all of whose tensors differ from zero and from another seed's."""
    torch.manual_seed(seed)
    model: nn.Module = timm.create_model(arch, num_classes=classes, img_size=(side, side), **NARROW[arch], **more)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
    return model.eval()


def sized(card: ModelCard, side: int) -> ModelCard:
    return msgspec.structs.replace(card, preprocess=msgspec.structs.replace(card.preprocess, size=(side, side)))


@pytest.mark.parametrize("arch", NARROW)
def test_weights_of_224_px_load_at_96_px_as_timm_loads_them(arch: str, tmp_path: Path) -> None:
    """Positions are learnt for one grid of patches; without resampling a file fits one size of picture only."""
    before = narrow(arch, 224, seed=1)
    tensors = dict(before.state_dict())
    save_file(tensors, tmp_path / "file.safetensors")
    module = narrow(arch, 96, seed=2, classes=5)
    adapted, changed = Transformer().adapt(module, tensors)
    notes = load_pretrained(module, adapted)
    cfg = {"file": str(tmp_path / "file.safetensors"), "num_classes": 1000}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, on strides
        theirs = timm.create_model(
            arch, pretrained=True, pretrained_cfg_overlay=cfg, num_classes=5, img_size=(96, 96), **NARROW[arch]
        ).state_dict()
    heads = module.pretrained_cfg["classifier"]
    heads = (heads,) if isinstance(heads, str) else heads
    compared = [name for name in theirs if not name.startswith(tuple(f"{head}." for head in heads))]
    assert all(torch.equal(module.state_dict()[name], theirs[name]) for name in compared)
    assert any("resampled from" in line for line in changed)
    assert [note.startswith(f"head {head} ") for head, note in zip(heads, notes, strict=True)] == [True] * len(heads)


def test_what_was_resampled_is_said_in_a_line_for_all_layers() -> None:
    module = narrow("beit_base_patch16_224", 96, seed=2, classes=5)
    _, changed = Transformer().adapt(module, narrow("beit_base_patch16_224", 224, seed=1).state_dict())
    (line,) = changed
    assert line.startswith("attn.relative_position_bias_table ")
    assert all(part in line for part in ("(732, 2)", "(124, 2)", "2 layers"))


def test_a_smaller_patch_answers_as_the_larger_one_on_an_enlarged_picture() -> None:
    """The pretrained patch is resampled so that a picture and its enlargement give the same features (Beyer et al.
    2023, FlexiViT, section 3.4)."""
    arch = "vit_tiny_patch16_224"
    large, small = narrow(arch, 112, seed=1), narrow(arch, 28, seed=2, patch_size=4)
    adapted, changed = Transformer().adapt(small, dict(large.state_dict()))
    assert load_pretrained(small, adapted) == ()
    assert [line.partition(" ")[0] for line in changed] == ["patch_embed.proj.weight"]
    picture = torch.rand(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    enlarged = nn.functional.interpolate(picture, scale_factor=4, mode="bicubic", antialias=True)
    with torch.inference_mode():
        theirs, ours = large.patch_embed(enlarged), small.patch_embed(picture)
        random = narrow(arch, 28, seed=2, patch_size=4).patch_embed(picture)
    assert float((ours - theirs).square().mean()) < 0.25 * float((random - theirs).square().mean())


def test_weights_without_a_classifier_load_with_a_note() -> None:
    """MAE and DINOv2 were trained without labels: their files end before the head, and one holds the mask's token."""
    source = dict(narrow("vit_small_patch14_dinov2", 518, seed=1).state_dict())
    tensors = {name: tensor for name, tensor in source.items() if not name.startswith("head.")}
    tensors["mask_token"] = torch.ones(1, 24)
    module = narrow("vit_small_patch14_dinov2", 224, seed=2, classes=5)
    adapted, changed = Transformer().adapt(module, tensors)
    assert [line.partition(" ")[0] for line in changed] == ["pos_embed"]
    (note,) = load_pretrained(module, adapted)
    assert note.startswith("head head ")
    assert torch.equal(module.blocks[1].mlp.fc1.weight, source["blocks.1.mlp.fc1.weight"])


def test_training_starts_from_a_file_of_another_size_and_says_what_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`zoo train vit_tiny_patch16_224 --weights FILE` on 28 px images: the notes are in run.json and the manifest."""
    before = timm.create_model("vit_tiny_patch16_224")
    save_file(before.state_dict(), tmp_path / "file.safetensors")
    monkeypatch.setattr("zoo.learn.fit", lambda *_: None)
    card = info("vit_tiny_patch16_224")
    card = sized(card, 28)
    said: dict[str, Any] = {}
    run: Any = SimpleNamespace(
        add_notes=lambda notes, **_: said.update(notes=tuple(notes)), record=SimpleNamespace(precision=None)
    )
    context = TrainContext(pretrained=tmp_path / "file.safetensors")
    data: Any = SimpleNamespace(labels=("a", "b"))
    trained: Any = Transformer().train(card, data, card.train, run, context)
    changed = ["patch_embed.proj.weight", "pos_embed", "head"]
    assert [note.partition(" ")[0] for note in said["notes"]] == changed
    assert torch.equal(trained.module.blocks[11].mlp.fc2.weight, before.blocks[11].mlp.fc2.weight)


def test_both_stems_of_a_network_take_grey_pictures() -> None:
    """FastViT looks at the picture through two convolutions; adding up one of them only would be refused."""
    grey, colour = (timm.create_model("fastvit_t8", num_classes=3, in_chans=channels).eval() for channels in (1, 3))
    notes = load_pretrained(grey, colour.state_dict())
    assert len(notes) == 2
    x = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(grey(x), colour(x.expand(-1, 3, -1, -1)), atol=1e-4)


@pytest.mark.parametrize("missing", ["patch_embed.proj.weight", "blocks.0.attn.qkv.weight"])
def test_a_strangers_file_is_refused_in_one_line(missing: str) -> None:
    tensors = dict(narrow("vit_tiny_patch16_224", 224, seed=1).state_dict())
    del tensors[missing]
    module = narrow("vit_tiny_patch16_224", 96, seed=2, classes=5)
    with refused("weights-names", WeightsError, missing=1) as caught:
        load_pretrained(module, Transformer().adapt(module, tensors)[0])
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_attention_with_a_bias_exports_with_a_dynamic_batch() -> None:
    """Fused attention on the CPU returned strides that the exporter's own form did not: BEiT could not be exported."""
    arch = "beit_base_patch16_224"
    model = narrow(arch, 64, seed=1, classes=4)
    file = module_to_onnx(model, channels=3, size=(64, 64)).SerializeToString()
    session = open_session(file, arch, provider="cpu", threads=None)
    for count in (1, 3):
        x = torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(count))
        with torch.inference_mode():
            expected = model(x).numpy()
        found = session.run(["logits"], {"input": x.numpy()})[0]
        assert np.allclose(found, expected, atol=1e-4 * max(1.0, float(np.abs(expected).max())))


@pytest.mark.parametrize(("side", "patch"), [(28, 4), (32, 4), (64, 8), (96, 12), (112, 16), (224, 16), (250, 10)])
def test_the_patch_follows_the_picture(side: int, patch: int) -> None:
    """Patches of 16 px would show a transformer four pieces of a 32 px picture."""
    card = info("vit_tiny_patch16_224")
    card = sized(card, side)
    with torch.device("meta"):
        assert Transformer().build(card, classes=2, channels=3).patch_embed.patch_size == (patch, patch)


@pytest.mark.parametrize(("side", "sizes"), [(29, "28 or 30"), (101, "100 or 102"), (202, "200 or 203")])
def test_a_picture_that_no_patch_fills_is_refused_with_sizes_that_work(side: int, sizes: str) -> None:
    """Whole patches only, since what is left over at the border would go unseen; and no 101 × 101 patches of 2 px."""
    card = info("vit_tiny_patch16_224")
    with pytest.raises(ValueError, match=f"--size {sizes}"):
        Transformer().options(sized(card, side))
    for size in sizes.split(" or "):
        assert Transformer().options(sized(card, int(size)))["img_size"] == (int(size), int(size))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name not in FIRST else []) for name in NAMES]
)
def test_every_card_builds_for_the_smallest_pictures(name: str) -> None:
    card = info(name)
    plugin = registry.load(card.plugin).plugin
    side = plugin.minimum_size
    card = sized(card, side)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # initialisers warn that there is nothing to initialise
        module = plugin.build(card, classes=3, channels=1).eval()
        answer = module(torch.zeros(2, 1, side, side))
    assert tuple(answer.shape) == (2, 3)
    assert card.train.layer_decay == 1 or hasattr(module, "group_matcher")
