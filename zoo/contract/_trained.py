"""What a trained model must hold to: its run, its file, its bundle. One training run serves most of it."""

from __future__ import annotations

import csv
import random
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import zoo
from zoo._support.text import join_lines
from zoo.artefact import Shippable
from zoo.contract._pictures import shade_folder, two_labels
from zoo.contract._state import find_changes, state
from zoo.contract._subject import NotTried, Subject, Unmet, explain
from zoo.edge._session import open_session
from zoo.errors import ZooError
from zoo.plugin import SklearnPlugin, TorchPlugin
from zoo.preprocess import apply, channels_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.plugin import Trained
    from zoo.runs import RunFolder

__all__ = [
    "answers_any_batch",
    "answers_with_logits",
    "bundle_verifies",
    "file_gives_the_trained_answers",
    "keeps_no_pickle",
    "learns",
    "leaves_stdout_alone",
    "leaves_the_process_alone",
    "run_loads_again",
    "same_seed_same_model",
    "several_labels_or_a_refusal",
    "trains",
    "trains_on_gray_and_many_classes",
    "writes_into_its_run_only",
]

BATCHES = (1, 2, 5)
PICKLES = frozenset({".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth"})
LEAST_AUROC = 0.8
"""Of three colours; a guess has 0.5, every model of ours more than 0.95."""


def trains(subject: Subject) -> None:
    """`zoo train` goes through: learning, export, the parity gate, evaluation of the file."""
    subject.train()


def learns(subject: Subject) -> None:
    """The model tells three colours apart after a few epochs; one that cannot do that does not learn."""
    run = subject.run
    history = run.file("history.csv")
    if history.is_file():
        with history.open(encoding="utf-8", newline="") as stream:
            losses = [float(row["train_loss"]) for row in csv.DictReader(stream)]
        if len(losses) > 1 and not min(losses[1:]) < losses[0]:
            raise Unmet(
                f"the loss went from {losses[0]:.3g} to {losses[-1]:.3g} in {len(losses)} epochs; "
                "check build() and the card's lr"
            )
    pictures = np.stack([np.full((32, 32, 3), colour, np.uint8) for colour in ((210, 50, 40), (40, 60, 200))])
    first, second = subject.runtime.logits(pictures)
    if np.array_equal(first, second):
        raise Unmet("the answer is the same for a red and a blue picture; the network does not use its input")
    auroc = subject.trained.test.metrics["macro_auroc"].value
    if not auroc > LEAST_AUROC:
        raise Unmet(
            f"macro AUROC on three colours is {auroc:.3f} after {subject.epochs} epochs, expected above {LEAST_AUROC}; "
            "check build() or train() and the card's lr, or give a network that begins slowly more --epochs"
        )


def answers_any_batch(subject: Subject) -> None:
    """A device asks for one picture, a server for many: the same picture has the same answer in each batch."""
    core = _session(subject)
    batch = _preprocess(subject, max(BATCHES))
    classes = len(subject.run.record.labels)
    alone = None
    for n in BATCHES:
        try:
            answer = core.run(["logits"], {"input": batch[:n]})[0]
        except Exception as problem:  # onnxruntime's errors have no common base
            reason = join_lines(problem, 200)
            raise Unmet(f"to_onnx() gave a graph that fails for {n} pictures: {reason}; leave N dynamic") from None
        if answer.shape != (n, classes) or answer.dtype != np.float32:
            raise Unmet(
                f"to_onnx() answers {n} pictures with {answer.dtype} {answer.shape}, expected float32 ({n}, {classes})"
            )
        alone = answer if alone is None else alone
        if not np.allclose(answer[:1], alone, rtol=1e-4, atol=1e-4):
            raise Unmet(
                f"a picture is answered otherwise in a batch of {n} than alone; no step may mix the pictures of a "
                "batch: use stored statistics, not the batch's own"
            )


def answers_with_logits(subject: Subject) -> None:
    """Softmax is taken once, by the zoo: taken twice it leaves all classes about equally likely and learning slow."""
    core = _session(subject)
    answers = core.run(["logits"], {"input": _preprocess(subject, max(BATCHES))})[0]
    if answers.min() >= 0 and np.allclose(answers.sum(axis=1), 1, atol=1e-3):
        raise Unmet(
            "each picture is answered with numbers from 0 to 1 that sum to 1: probabilities, where logits belong; "
            "leave out the softmax at the end of the network"
        )


def file_gives_the_trained_answers(subject: Subject) -> None:
    """The shipped file alone answers raw pictures of any size as the trained model did, and it holds its proof."""
    runtime = subject.runtime
    parity = runtime.manifest.parity
    if parity is None or parity.flips:
        raise Unmet(f"the file's parity record is {parity}; train again, and mend to_onnx() where the gate refuses")
    spec = subject.run.record.card.preprocess
    raw = np.random.default_rng(0).integers(0, 256, (3, 37, 45, 3)).astype(np.uint8)
    probabilities = runtime.probabilities(raw)
    if probabilities.shape != (3, len(subject.run.record.labels)):
        raise Unmet(f"the file answers three pictures with {probabilities.shape}; mend to_onnx()")
    if not np.allclose(probabilities.sum(axis=1), 1, atol=1e-5):
        raise Unmet("the file's probabilities do not sum to 1; to_onnx() must give finite logits")
    predict = _load(subject, subject.run).predict
    expected = predict(np.stack([apply(image, spec) for image in raw]))
    worst = float(np.abs(runtime.logits(raw) - expected).max())
    if not worst <= 1e-2 * max(1.0, float(np.abs(expected).max())):
        raise Unmet(f"from raw pixels the file's logits are {worst:.2g} off; to_onnx() and predict must agree")


def run_loads_again(subject: Subject) -> None:
    """`zoo export RUN` in a new process starts from what train() saved."""
    run = subject.run
    batch = _preprocess(subject, 4)
    shipped = _session(subject)
    try:
        again = _load(subject, run)
        answers = again.predict(batch)
    except Exception as problem:  # a stranger's code
        raise Unmet(f"load() fails: {explain(subject.plugin, problem)}; save all that predict needs") from None
    raw = _raw(subject, 4)
    file = subject.runtime.logits(raw)
    for other in (answers, shipped.run(["logits"], {"input": batch})[0]):
        if other.shape != file.shape or not np.allclose(other, file, atol=1e-3 * max(1.0, float(np.abs(file).max()))):
            raise Unmet("load() gave another model than train(); save() and load() all that predict needs")


def bundle_verifies(subject: Subject) -> None:
    """The bundle replays its golden set, as it will on the device."""
    trained = subject.trained
    try:
        made = zoo.export(trained.run, bundle=True, out=subject.folder / "contract.zoo")
        images = zoo.verify(made.path).images
    except ZooError as problem:
        raise Unmet(f"the bundle is refused: {problem}; load() must give the model that train() left") from None
    if images < 32:
        raise Unmet(f"the bundle's golden set has {images} images, expected at least 32")


def same_seed_same_model(subject: Subject) -> None:
    """A run can be repeated: same seed, same data, same machine, same answers."""
    first, second = subject.run, _second(subject)[0]
    batch = _preprocess(subject, 5)
    one, other = (_load(subject, run).predict(batch) for run in (first, second))
    if not np.allclose(one, other, rtol=1e-5, atol=1e-5):
        raise Unmet(
            f"two runs with one seed differ by {float(np.abs(one - other).max()):.2g} in a logit; take every random "
            "number from config.seed"
        )


def leaves_stdout_alone(subject: Subject) -> None:
    """`zoo train --json` writes one document to stdout; a stray line breaks whoever reads it."""
    subject.trained  # noqa: B018 - what it printed is looked at
    if subject.printed:
        line = subject.printed.strip().splitlines()[0] if subject.printed.strip() else "an empty line"
        raise Unmet(f"training printed {line[:80]!r}; use logging.getLogger(__name__), or say nothing")


def leaves_the_process_alone(subject: Subject) -> None:
    """A server, a notebook or a study that trains a model keeps its own settings and random numbers."""
    subject.trained  # noqa: B018 - what is imported late has been imported by now
    before, after = _second(subject)[1]
    found = find_changes(before, after)
    if found:
        raise Unmet(
            f"training changed {', '.join(found)}; put back what you set, and draw from a generator of your own"
        )


def writes_into_its_run_only(subject: Subject) -> None:
    """Whoever deletes a run has deleted all of it, and images are never touched."""
    subject.trained  # noqa: B018 - what it wrote is looked at
    expected = {"colours", "contract.zoo", "repeated", "run", "runs"}
    strange = sorted(path.name for path in subject.folder.iterdir() if path.name not in expected)
    strange += sorted(path.name for path in subject.pictures.rglob("*") if path.is_file() and path.suffix != ".png")
    strange = [name for name in strange if not name.startswith(_OWN)]
    if strange:
        raise Unmet(f"training left {', '.join(strange[:3])} outside its run; write to run.file(NAME) only")


def keeps_no_pickle(subject: Subject) -> None:
    """Opening a pickle runs whatever code it holds; a run may be passed on."""
    for path in sorted(Path(subject.trained.run).rglob("*")):
        if path.is_file() and (path.suffix in PICKLES or _is_pickle(path)):
            raise Unmet(f"the run holds a pickle, {path.name}; keep numbers as safetensors, npz, JSON or ONNX")


def several_labels_or_a_refusal(subject: Subject) -> None:
    """Pictures with any number of labels are learnt from, or refused in one line: never silently misread."""
    plugin = subject.plugin
    if type(plugin).train in {TorchPlugin.train, SklearnPlugin.train}:
        return  # the half of the plugin that is not the author's answers this
    subject.trained  # noqa: B018 - a plugin that cannot train at all is told so once
    source = two_labels(subject.folder / f"{_OWN}two-labels.npz", side=subject.size)
    try:
        run, trained = subject.learn(source, f"{_OWN}labels")
        answer = trained.predict(_blank(run, 3))
    except ZooError:
        return
    except Exception as problem:  # a stranger's code
        raise Unmet(
            f"data with several labels an image end in {explain(plugin, problem)}; where data.task is 'multilabel' "
            "learn a sigmoid for each label, or raise zoo.errors.DataError"
        ) from None
    if answer.shape != (3, 2):
        raise Unmet(f"predict answers three pictures of two labels with {answer.shape}, expected (3, 2)")


def trains_on_gray_and_many_classes(subject: Subject) -> None:
    """A plugin without build() shows by training that it takes K and C from the data."""
    plugin = subject.plugin
    if isinstance(plugin, TorchPlugin | SklearnPlugin):
        raise NotTried("build() is checked instead")
    subject.trained  # noqa: B018 - a plugin that cannot train at all is told so once
    for classes, gray in ((2, True), (10, False)):
        name = f"{_OWN}{classes}-{'gray' if gray else 'colour'}"
        source = shade_folder(subject.folder / f"{name}-pictures", classes=classes, gray=gray, side=subject.size)
        what = f"{classes} classes of {'gray' if gray else 'colour'} pictures"
        try:
            run, trained = subject.learn(source, name, epochs=1)
            answer = trained.predict(_blank(run, 3))
            core = open_session(trained.to_onnx().SerializeToString(), name, provider="cpu", threads=None)
            exported = core.run(["logits"], {"input": _blank(run, 3)})[0]
        except Exception as problem:  # a stranger's code
            raise Unmet(f"{what}: {explain(plugin, problem)}") from None
        for found, by in ((answer, "predict"), (exported, "to_onnx()")):
            if found.shape != (3, classes):
                raise Unmet(f"{what}: {by} answers three pictures with {found.shape}, expected (3, {classes})")


_OWN = "contract-"
"""How the names of what these checks write themselves begin."""


def _second(subject: Subject) -> tuple[Any, tuple[dict[str, Any], dict[str, Any]]]:
    """The run repeated, and the state of the process before and after; made once."""
    subject.trained  # noqa: B018 - what is imported late has been imported by now
    if subject.repeated is None:
        random.random()  # noqa: S311 - moved on, so that a seed that is set again shows
        np.random.random()  # noqa: NPY002
        before = state()
        run, _ = subject.learn(subject.pictures, "repeated")
        subject.repeated = run, (before, state())
    return subject.repeated


def _load(subject: Subject, run: RunFolder) -> Trained:
    model = subject.plugin.load(run.record.card, run)
    if isinstance(model, Shippable):
        raise Unmet("load() gave the members of an ensemble; a model of the catalogue is one network")
    return model


def _session(subject: Subject) -> Any:
    """Of what load() and to_onnx() give, before the preprocessing is put in front of it; made once."""
    if subject.session is None:
        run = subject.run  # of a training that failed this says so
        try:
            core = _load(subject, run).to_onnx()
        except Exception as problem:  # a stranger's code
            raise Unmet(f"load() and to_onnx(): {explain(subject.plugin, problem)}") from None
        subject.session = open_session(core.SerializeToString(), subject.model, provider="cpu", threads=None)
    return subject.session


def _raw(subject: Subject, count: int) -> NDArray[np.uint8]:
    """Noise around a colour each, so that a model answers them differently."""
    size = subject.run.record.card.preprocess.size
    rng = np.random.default_rng(1)
    colours = rng.integers(30, 226, (count, 1, 1, 3))
    return np.clip(colours + rng.normal(0, 30, (count, *size, 3)), 0, 255).astype(np.uint8)


def _preprocess(subject: Subject, count: int) -> NDArray[np.float32]:
    spec = subject.run.record.card.preprocess
    return np.stack([apply(image, spec) for image in _raw(subject, count)])


def _blank(run: Any, count: int) -> NDArray[np.float32]:
    spec = run.record.card.preprocess
    return np.zeros((count, channels_of(spec), *spec.size), np.float32)


def _is_pickle(path: Path) -> bool:
    """By its first bytes: the opcode PROTO, or a zip that torch.save wrote."""
    with path.open("rb") as stream:
        start = stream.read(2)
    if start[:1] == b"\x80" and start[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}:
        return True
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith((".pkl", "/data.pkl")) for name in archive.namelist())
