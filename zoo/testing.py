"""The contract as tests: a plugin author subclasses `PluginContract`, names a model, and runs pytest.

```python
from zoo.testing import PluginContract

class TestAcmeNet(PluginContract):
    model = "acme_net"
```
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
import pytest
from PIL import Image

import zoo
from zoo import registry
from zoo.edge.session import open_session
from zoo.plugin import ModelPlugin, TorchPlugin
from zoo.preprocess import apply
from zoo.runs import open_run
from zoo.spec import ModelCard

__all__ = ["PluginContract", "colour_folder"]

_COLOURS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (210, 50, 40)}


def colour_folder(root: Path, *, per_class: int = 20, side: int = 32, seed: int = 0) -> Path:
    """Write class folders of noisy single-colour pictures that any classifier can learn.

    Args:
        root: made if it is not there.
        per_class: pictures of each of the classes blue, green and red.
        side: of a picture in pixels, the first one; the others differ by up to 8.
        seed: of the noise.
    """
    rng = np.random.default_rng(seed)
    for label, colour in _COLOURS.items():
        folder = root / label
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(per_class):
            height, width = (side, side) if index == 0 else (side - int(rng.integers(9)) for _ in range(2))
            pixels = np.asarray(colour) + rng.normal(0, 30, (height, width, 3))
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{index}.png")
    return root


class PluginContract:
    """What every model must hold to, from the catalogue to the shipped file.

    Set `model` to a name of the catalogue; the rest has defaults. Each failure says what to change.
    """

    model: ClassVar[str]
    size: ClassVar[int] = 32
    """Side of the pictures it is tried on."""
    epochs: ClassVar[int] = 3
    settings: ClassVar[dict[str, Any]] = {}
    """Passed to `zoo.train`."""

    @pytest.fixture(scope="class")
    @classmethod
    def card(cls) -> ModelCard:
        """The model's card."""
        return zoo.info(cls.model)

    @pytest.fixture(scope="class")
    @classmethod
    def plugin(cls, card: ModelCard) -> ModelPlugin:
        """The card's plugin."""
        return registry.load(card.plugin).plugin

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
        """Somewhere to work, as the current directory."""
        root = tmp_path_factory.mktemp("contract")
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(root)
            yield root

    @pytest.fixture(scope="class")
    @classmethod
    def trained(cls, folder: Path) -> zoo.TrainResult:
        """A short training run; its export has passed the parity gate."""
        colour_folder(folder / "colours", side=cls.size)
        return cls._trained(folder, "first")

    def test_listing_imports_no_plugin(self, card: ModelCard) -> None:
        """Else a broken or slow plugin would spoil `zoo list` for everyone."""
        module = next(point.value for point in _points() if point.name == card.plugin).partition(":")[0]
        code = f"import sys, zoo; zoo.models(); sys.exit({module!r} in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], check=False)
        assert done.returncode == 0, f"listing imported {module}; keep it out of what the catalogue's package imports"

    def test_card_is_honest(self, card: ModelCard, plugin: ModelPlugin) -> None:
        """A wrong number of parameters or no licence misleads whoever chooses by the card."""
        assert card.licence != "unknown", "state the licence of the model in its card"
        if card.weights is not None:
            assert card.weights.licence, "state the licence of the weights in the card"
        if isinstance(plugin, TorchPlugin) and card.parameters is not None:
            import torch

            with torch.device("meta"):
                module = plugin.build(card, classes=1000, channels=3)
            count = sum(p.numel() for p in module.parameters())
            assert count == pytest.approx(card.parameters, rel=0.02), (
                f"the card says {card.parameters:g}, it has {count}"
            )

    @pytest.mark.parametrize("classes", [2, 10])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_builds_for_any_classes_and_channels(
        self, card: ModelCard, plugin: ModelPlugin, classes: int, channels: int
    ) -> None:
        """(N, C, h, w) in, (N, K) out, for what the user's data needs and not only for ImageNet."""
        if not isinstance(plugin, TorchPlugin):
            pytest.skip("only torch plugins build a module")
        import torch

        side = max(self.size, plugin.minimum_size)
        spec = msgspec.structs.replace(card.preprocess, size=(side, side))
        module = plugin.build(msgspec.structs.replace(card, preprocess=spec), classes=classes, channels=channels).eval()
        with torch.inference_mode():
            answer = module(torch.zeros(2, channels, side, side))
        assert tuple(answer.shape) == (2, classes), f"build() gave {tuple(answer.shape)}, expected (2, {classes})"

    def test_learns(self, trained: zoo.TrainResult) -> None:
        """Three colours are told apart after a few epochs; a model that can not do that does not learn."""
        auroc = trained.test.metrics["macro_auroc"].value
        assert auroc > 0.8, f"macro AUROC on three colours is {auroc:.3f}; check build() and the card's lr"

    def test_file_gives_the_trained_answers(self, trained: zoo.TrainResult) -> None:
        """The shipped file alone answers pictures of any size, and its proof stands in it."""
        runtime = zoo.open(trained.run)
        assert runtime.manifest.parity is not None
        assert runtime.manifest.parity.flips == 0
        batch = np.random.default_rng(0).integers(0, 256, (3, 37, 45, 3)).astype(np.uint8)
        probabilities = runtime.probabilities(batch)
        assert probabilities.shape == (3, 3)
        assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)

    def test_run_loads_again(self, trained: zoo.TrainResult, plugin: ModelPlugin) -> None:
        """`zoo export RUN` in a new process starts from what train() saved."""
        run = open_run(Path(trained.run))
        spec = run.record.card.preprocess
        core = open_session(
            plugin.load(run.record.card, run).to_onnx().SerializeToString(), self.model, provider="cpu", threads=None
        )
        raw = np.random.default_rng(1).integers(0, 256, (4, *spec.size, 3)).astype(np.uint8)
        batch = np.stack([apply(image, spec) for image in raw])
        shipped = zoo.open(trained.run).logits(raw)
        for again in (plugin.load(run.record.card, run).predict(batch), core.run(["logits"], {"input": batch})[0]):
            assert np.allclose(again, shipped, atol=1e-3), "load() gave another model; save all that predict needs"

    def test_bundle_verifies(self, trained: zoo.TrainResult, folder: Path) -> None:
        """The bundle replays its golden set."""
        made = zoo.export(trained.run, bundle=True, out=folder / "contract.zoo")
        assert zoo.verify(made.path).images >= 32

    def test_same_seed_same_model(self, trained: zoo.TrainResult, folder: Path) -> None:
        """A run can be repeated: same seed, same data, same machine, same answers."""
        again = self._trained(folder, "second")
        batch = np.random.default_rng(2).integers(0, 256, (5, 30, 30, 3)).astype(np.uint8)
        first, second = (zoo.open(run).logits(batch) for run in (trained.run, again.run))
        assert np.allclose(first, second, atol=1e-5), "take every random number from config.seed"

    @classmethod
    def _trained(cls, folder: Path, name: str) -> zoo.TrainResult:
        return zoo.train(
            cls.model,
            folder / "colours",
            epochs=cls.epochs,
            batch_size=8,
            size=cls.size,
            out=folder / name,
            settings=cls.settings,
        )


def _points() -> Any:
    from importlib.metadata import entry_points

    return entry_points(group="zoo.plugins")
