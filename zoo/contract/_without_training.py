"""What can be said of a model before it has learnt anything: its metadata, its card, its networks."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from zoo.contract._subject import NotTried, Subject, Unmet, explain
from zoo.plugin import SklearnPlugin, TorchPlugin
from zoo.spec import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zoo.spec import ModelCard

__all__ = [
    "builds_for_any_classes_and_channels",
    "card_is_honest",
    "declares_what_it_needs",
    "listing_imports_nothing_heavy",
    "loads",
]

HEAVY = ("PIL", "matplotlib", "numpy", "onnx", "onnxruntime", "pandas", "scipy", "skl2onnx", "sklearn", "timm", "torch")
"""What a package's own __init__ must not import: it costs from 0.1 s to 10 s before anything was asked for."""
BASE = frozenset({"PIL", "msgspec", "numpy", "onnxruntime", "rich", "typer", "yaml", "zoo"})
"""Import names that every installation of the zoo has."""
CHILD_LIMIT = 120.0
"""Seconds for a process that only lists and imports; a cold disk needs ten."""
PARAMETERS_OFF = 0.02
"""A card may round: 11.7e6 for 11 689 512."""
MACS_OFF = 0.05
"""Counts differ in whether normalisation and pooling are work."""

_LISTING = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
import zoo
zoo.models()
listed = sorted({name.partition(".")[0] for name in sys.modules}) + sorted(name for name in sys.modules if "." in name)
if sys.argv[2]:
    __import__(sys.argv[2])
print(json.dumps([listed, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def loads(subject: Subject) -> None:
    """Found by its entry point, imported, made without arguments, written for a version of the contract we know."""
    subject.load()
    unknown = sorted(subject.plugin.unused_settings - set(TrainConfig.__struct_fields__))
    if unknown:
        raise Unmet(f"unused_settings names {', '.join(unknown)}, which no training configuration has; mend the name")


def listing_imports_nothing_heavy(subject: Subject) -> None:
    """Else one slow or broken plugin would spoil `zoo list` for everyone."""
    module = type(subject.plugin).__module__
    package = module.partition(".")[0]
    done = subprocess.run(
        [sys.executable, "-P", "-c", _LISTING, json.dumps(sys.path), package if package != module else ""],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=CHILD_LIMIT,
        check=False,
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Unmet(f"importing {package} fails: {said}; mend {package}/__init__.py")
    listed, after = json.loads(done.stdout.splitlines()[-1])
    if module in listed:
        raise Unmet(f"listing imported {module}; keep it out of what the catalogue's package imports")
    heavy = [name for name in HEAVY if name in after and name not in listed]
    if heavy:
        raise Unmet(
            f"importing {package} alone imports {', '.join(heavy)}; keep {package}/__init__.py empty and import "
            f"{'it' if len(heavy) == 1 else 'them'} in the module of the plugin"
        )


def card_is_honest(subject: Subject) -> None:
    """A wrong number or a missing licence misleads whoever chooses by the card."""
    card = subject.card
    if card.licence in {"", "unknown"}:
        raise Unmet("the card states no licence; write licence: with an SPDX name, such as apache-2.0")
    if card.weights is not None and card.weights.licence in {"", "unknown"}:
        raise Unmet("the card states no licence of the weights; write weights: licence: as their publisher says")
    if isinstance(subject.plugin, TorchPlugin) and (card.parameters is not None or card.macs is not None):
        parameters, macs = _count_cost(card, subject.plugin)
        if card.parameters is not None and abs(parameters - card.parameters) > PARAMETERS_OFF * card.parameters:
            if _count_cost(card, subject.plugin, classes=10)[0] == parameters:
                raise NotTried("the network is the same for 10 and for 1000 classes, see whether it builds for them")
            raise Unmet(
                f"the card says {card.parameters:g} parameters, the network has {parameters} with 1000 classes and "
                f"3 channels; write parameters: {parameters:.3g}"
            )
        if card.macs is not None and macs is not None and abs(macs - card.macs) > MACS_OFF * card.macs:
            raise Unmet(
                f"the card says {card.macs:g} multiply-adds, the network does {macs:.3g} at "
                f"{card.preprocess.size[0]} px; write macs: {macs:.3g}"
            )


def declares_what_it_needs(subject: Subject) -> None:
    """`needs` is how `zoo list` tells, without importing anything, that a package is missing."""
    unknown = [name for name in subject.card.needs if importlib.util.find_spec(name) is None]
    if unknown:
        raise Unmet(f"the card needs {', '.join(unknown)}, which is not installed here; install it, or mend the name")
    needed = set(_third_parties(type(subject.plugin).__module__))
    if isinstance(subject.plugin, TorchPlugin):
        needed.add("torch")
    if isinstance(subject.plugin, SklearnPlugin):
        needed.add("sklearn")
    missing = sorted(needed - set(subject.card.needs) - BASE)
    if missing:
        raise Unmet(
            f"the plugin imports {', '.join(missing)} and the card does not say so; write "
            f"needs: [{', '.join((*subject.card.needs, *missing))}]"
        )


def builds_for_any_classes_and_channels(subject: Subject) -> None:
    """(N, C, h, w) in, (N, K) out, for what the user's data needs and not only for ImageNet or for one data set."""
    plugin = subject.plugin
    for classes in (2, 10):
        for channels in (1, 3, 5):
            if isinstance(plugin, TorchPlugin):
                _build_module(subject, plugin, classes, channels)
            elif isinstance(plugin, SklearnPlugin):
                _build_estimator(subject, plugin, classes, channels)
            else:
                raise NotTried("this plugin has no build(); see the check 'trains on gray pictures and many classes'")


def _resize_card(subject: Subject) -> ModelCard:
    """The card at the size of the pictures."""
    side = max(subject.size, subject.plugin.minimum_size)
    spec = msgspec.structs.replace(subject.card.preprocess, size=(side, side))
    return msgspec.structs.replace(subject.card, preprocess=spec)


def _build_module(subject: Subject, plugin: TorchPlugin, classes: int, channels: int) -> None:
    import torch

    card = _resize_card(subject)
    call = f"build(classes={classes}, channels={channels})"
    try:
        module = plugin.build(card, classes=classes, channels=channels).eval()
        with torch.inference_mode():
            answer = module(torch.zeros(2, channels, *card.preprocess.size))
    except Exception as problem:  # a stranger's code
        height, width = card.preprocess.size
        raise Unmet(
            f"{call} fails on pictures of {height} x {width} px: {explain(plugin, problem)}; take classes and channels "
            "as they are given and the size from card.preprocess.size, or end in a mean over the picture"
        ) from None
    shape = tuple(getattr(answer, "shape", ()))
    if shape != (2, classes):
        raise Unmet(
            f"{call} answers two pictures with {shape or type(answer).__name__}, expected (2, {classes}) logits; "
            "give the last layer `classes` outputs"
        )


def _build_estimator(subject: Subject, plugin: SklearnPlugin, classes: int, channels: int) -> None:
    call = f"build(classes={classes}, channels={channels})"
    try:
        estimator = plugin.build(_resize_card(subject), classes=classes, channels=channels)
    except Exception as problem:  # a stranger's code
        raise Unmet(f"{call} fails: {explain(plugin, problem)}") from None
    own_logits = type(plugin).logits is not SklearnPlugin.logits
    wanted = ("fit", "get_params") if own_logits else ("fit", "predict_proba", "get_params")
    absent = [name for name in wanted if not hasattr(estimator, name)]
    if absent:
        raise Unmet(
            f"{call} gave a {type(estimator).__name__} without {', '.join(absent)}; return a classifier that has it, "
            "or one wrapped so, such as CalibratedClassifierCV(LinearSVC())"
        )


def _count_cost(card: ModelCard, plugin: TorchPlugin, classes: int = 1000) -> tuple[int, float | None]:
    """Parameters, and multiply-adds for one image, of the card's own network; nothing is computed."""
    import torch

    from zoo.learn._counting import count

    try:
        with torch.device("meta"):
            module = plugin.build(card, classes=classes, channels=3).eval()
    except Exception as problem:  # a stranger's code
        raise Unmet(f"build(classes={classes}, channels=3) fails: {explain(plugin, problem)}") from None
    try:
        with torch.device("meta"):
            counted = count(module, channels=3, size=card.preprocess.size)
    except Exception:  # it looks at values, which a meta tensor does not have
        return sum(parameter.numel() for parameter in module.parameters()), None
    return counted.parameters, counted.macs


def _third_parties(module: str) -> Iterator[str]:
    """Top-level packages that `module` imports when it is imported, and what it imports of its own package."""
    package = module.partition(".")[0]
    waiting, seen = [module], {module}
    while waiting:
        name = waiting.pop()
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            continue
        within = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
        for imported in _imports(ast.parse(Path(spec.origin).read_text(encoding="utf-8")), within):
            top = imported.partition(".")[0]
            if top == package:
                for candidate in (imported, imported.rpartition(".")[0]):
                    if candidate in sys.modules and candidate not in seen:
                        seen.add(candidate)
                        waiting.append(candidate)
            elif top not in sys.stdlib_module_names:
                yield top


def _imports(tree: ast.Module, within: str) -> Iterator[str]:
    """Full names in the import statements that run when the module is imported; `within` is its package."""
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = within.split(".")[: len(within.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{source}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.dump(node.test):
            waiting += [*node.body, *node.orelse]
