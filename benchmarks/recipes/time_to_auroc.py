"""Seconds until a validation AUROC is reached: ours, a tutorial's loop, timm's recipe and fastai's `fine_tune`.

`python benchmarks/recipes/time_to_auroc.py FOLDER --weights FILE` fine-tunes one network of timm from the same weights
on the same images, one way after the other. All take as many epochs as ours does, and look at validation after each:

ours    `zoo.train` with its defaults
plain   PyTorch's tutorial on transfer learning, fp32: SGD at 0.001 with momentum 0.9, a tenth of it every 7 epochs
timm    the defaults of timm's train.py: SGD at 0.1 x batch / 256, 5 epochs of warm-up, cosine, label smoothing 0.1
fastai  `Learner.fine_tune`: one epoch of the head alone, then all layers; left out where fastai is not installed

A clock starts before the first image is opened, and the time of validation counts. Files and report, which ours alone
writes after training, do not. With --cpu it is the processor's clock: a second is one second of one core.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score
from timm.data import create_transform
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

import zoo
from zoo.runs import Callback

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 32
Curve = list[tuple[float, float]]
"""Seconds since the start, and the validation AUROC, after each epoch."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="train/CLASS/image and val/CLASS/image")
    parser.add_argument("--model", default="tf_efficientnet_lite0", help="one that zoo and timm call the same")
    parser.add_argument("--weights", type=Path, help="a safetensors file of timm's; without it: from random weights")
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--epochs", type=int, help="of all; default: what ours chooses")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--reach", type=float, nargs="+", default=[0.9, 0.95, 0.98])
    parser.add_argument("--cpu", action="store_true", help="the time computed, not the time that passes")
    parser.add_argument("--smallest", action="store_true", help="a run of seconds whose numbers say nothing")
    given = parser.parse_args()
    if given.smallest:
        given.model, given.size, given.epochs, given.reach = "lcnet_050", 32, 2, [0.1]
    clock = time.process_time if given.cpu else time.perf_counter
    ways: dict[str, Callable[..., Curve]] = {"ours": ours, "plain": plain, "timm": by_timm}
    if importlib.util.find_spec("fastai"):
        ways["fastai"] = by_fastai
    else:
        print("fastai is not installed: its row is left out")
    print(f"{given.model}, {given.size} px, {given.folder.name}; {torch.get_num_threads()} threads\n")
    print(f"| way | seed | {' | '.join(f's to {goal:g}' for goal in given.reach)} | best AUROC | epochs | s in all |")
    print(f"|---|---|{'---|' * len(given.reach)}---|---|---|")
    for seed in range(given.seeds):
        epochs = given.epochs
        for name, way in ways.items():
            torch.manual_seed(seed)
            given.seed = seed
            curve = way(given, epochs, clock)
            epochs = epochs or len(curve)
            reached = [next((f"{s:.0f}" for s, auroc in curve if auroc >= goal), "never") for goal in given.reach]
            best = max(auroc for _, auroc in curve)
            cells = [name, str(seed), *reached, f"{best:.4f}", str(len(curve)), f"{curve[-1][0]:.0f}"]
            print(f"| {' | '.join(cells)} |", flush=True)


def ours(given: argparse.Namespace, epochs: int | None, clock: Callable[[], float]) -> Curve:
    curve: Curve = []

    class Watch(Callback):
        def epoch(self, row: Mapping[str, float | None]) -> None:
            curve.append((clock() - start, row["val_macro_auroc"] or 0.0))

    with tempfile.TemporaryDirectory() as folder:
        start = clock()
        zoo.train(
            given.model, given.folder, out=Path(folder) / "run", weights=given.weights, size=given.size,
            epochs=epochs or "auto", seed=given.seed, callbacks=[Watch()],
        )  # fmt: skip
    return curve


def plain(given: argparse.Namespace, epochs: int, clock: Callable[[], float]) -> Curve:
    start = clock()
    learn, held = folders(
        given,
        transforms.Compose([
            transforms.RandomResizedCrop(given.size),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]),
    )  # fmt: skip
    model = network(given, len(learn.dataset.classes))  # type: ignore[attr-defined]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
    curve = []
    for _ in range(epochs):
        descend(model, learn, optimizer, nn.CrossEntropyLoss())
        schedule.step()
        curve.append((clock() - start, judge(model, held)))
    return curve


def by_timm(given: argparse.Namespace, epochs: int, clock: Callable[[], float]) -> Curve:
    start = clock()
    learn, held = folders(given, create_transform(given.size, is_training=True, mean=MEAN, std=STD, color_jitter=0.4))
    model = network(given, len(learn.dataset.classes))  # type: ignore[attr-defined]
    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.1 * BATCH / 256, momentum=0.9, weight_decay=2e-5)
    schedule = CosineLRScheduler(optimizer, t_initial=epochs, warmup_t=5, warmup_lr_init=1e-5, warmup_prefix=False)
    curve = []
    for epoch in range(epochs):
        schedule.step(epoch)
        descend(model, learn, optimizer, nn.CrossEntropyLoss(label_smoothing=0.1))
        curve.append((clock() - start, judge(model, held)))
    return curve


def by_fastai(given: argparse.Namespace, epochs: int, clock: Callable[[], float]) -> Curve:
    from fastai.callback.core import Callback as Heard
    from fastai.vision import all as fastai

    curve: Curve = []

    class Watch(Heard):
        def after_epoch(self) -> None:
            logits, targets = self.learn.recorder.held
            curve.append((clock() - start, auroc(logits, targets)))

    class Hold(Heard):
        def before_validate(self) -> None:
            self.learn.recorder.held = ([], [])

        def after_pred(self) -> None:
            if not self.training:
                self.learn.recorder.held[0].append(self.pred.detach())
                self.learn.recorder.held[1].append(self.y)

    start = clock()
    images = fastai.ImageDataLoaders.from_folder(
        given.folder, train="train", valid="val", bs=BATCH, num_workers=0, item_tfms=fastai.Resize(given.size),
        batch_tfms=[*fastai.aug_transforms(), fastai.Normalize.from_stats(MEAN, STD)], device=torch.device("cpu"),
    )  # fmt: skip
    learner = fastai.vision_learner(images, given.model, pretrained=False, cbs=[Hold(), Watch()])
    load(learner.model[0].model, given.weights)
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(epochs - 1)  # and one of the head
    return curve


def folders(given: argparse.Namespace, change: Callable[..., Any]) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Batches of train, changed anew in each epoch, and of val, as torchvision reads them."""
    still = transforms.Compose([
        transforms.Resize((given.size, given.size)), transforms.ToTensor(), transforms.Normalize(MEAN, STD),
    ])  # fmt: skip
    learn = ImageFolder(str(given.folder / "train"), change)
    return DataLoader(learn, BATCH, shuffle=True), DataLoader(ImageFolder(str(given.folder / "val"), still), BATCH)


def network(given: argparse.Namespace, classes: int) -> nn.Module:
    """The network with a new head."""
    model: nn.Module = timm.create_model(given.model, num_classes=classes)
    load(model, given.weights)
    return model


def load(model: nn.Module, weights: Path | None) -> None:
    """All of the weights that fit; the head's do not."""
    if weights is not None:
        own = model.state_dict()
        found = {k: v for k, v in load_file(weights).items() if k in own and own[k].shape == v.shape}
        model.load_state_dict(found, strict=False)


def descend(model: nn.Module, batches: Iterable[Any], optimizer: torch.optim.Optimizer, loss: nn.Module) -> None:
    """One epoch."""
    model.train()
    for x, y in batches:
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()


@torch.no_grad()
def judge(model: nn.Module, batches: Iterable[Any]) -> float:
    """Macro AUROC on validation."""
    model.eval()
    answers = [(model(x), y) for x, y in batches]
    return auroc([logits for logits, _ in answers], [y for _, y in answers])


def auroc(logits: list[torch.Tensor], targets: list[torch.Tensor]) -> float:
    """Macro AUROC, each class against the rest."""
    p, y = torch.cat(logits).softmax(1).numpy(), torch.cat(targets).numpy()
    return float(np.mean([roc_auc_score(y == k, p[:, k]) for k in range(p.shape[1])]))


if __name__ == "__main__":
    main()
