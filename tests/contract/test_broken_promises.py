"""The contract can fail: what `zoo plugin new` writes, with one fault planted, fails the check that is meant for it.

A check that no fault can fail would promise nothing. Each message must say what the author has to change.
"""

from __future__ import annotations

import importlib
import itertools
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zoo.contract import CHECKS, NotTried, Subject, Unmet, choose
from zoo.contract.scaffold import Framework, names_for, project_files

Plant = Callable[..., Subject]

CODE, CARD, PACKAGE = "model.py", "registry.yaml", "__init__.py"
_NUMBER = itertools.count()


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    """A project with faults, found as if it were installed, and its model ready to be checked."""
    monkeypatch.delenv("ZOO_PLUGINS", raising=False)
    open_targets = []

    def planted(framework: Framework, *faults: tuple[str, str, str]) -> Subject:
        names = names_for(f"zoo-bad{next(_NUMBER)}", framework)  # a module is imported once only
        files = project_files(names, framework)
        for file, old, new in faults:
            path = f"src/{names.package}/{file}"
            assert old in files[path], f"the template has no {old!r} any more"
            files[path] = files[path].replace(old, new)
        for path, text in files.items():
            target = tmp_path / "project" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        target = choose(str(tmp_path / "project"), tmp_path / "metadata")
        (chosen,) = target.__enter__()
        open_targets.append(target)
        work = tmp_path / "work"
        work.mkdir()
        monkeypatch.chdir(work)
        return Subject(chosen.model, work, epochs=2)

    yield planted
    for target in open_targets:
        target.__exit__(None, None, None)
    for name in [name for name in sys.modules if name.startswith("zoo_bad")]:
        del sys.modules[name]
    importlib.invalidate_caches()


def hold(subject: Subject, name: str) -> None:
    (check,) = (check for check in CHECKS if check.name == name)
    check.hold(subject)


TRAINED = "        return trained\n"
"""The end of train()."""
BEGUN = "        spec = card.preprocess\n        train"
"""Its beginning."""
LOADED = "        return TrainedSoftmax(Softmax(**load_file(run.file(WEIGHTS))), card.preprocess)"

FAULTS: dict[str, list[tuple[str, str, str, str]]] = {
    "listing imports nothing heavy": [
        (PACKAGE, '"""\n', '"""\nimport numpy\n',
         r"importing zoo_bad\d+ alone imports numpy; keep zoo_bad\d+/__init__\.py"),
    ],
    "loads, and speaks this version of the contract": [
        (CODE, "api = 1", "api = 99", r"written for version 99 of the plugin contract.*upgrade edgezoo"),
        (CODE, "    api = 1\n", "    api = 1\n    unused_settings = frozenset({'learning_rate'})\n",
         "unused_settings names learning_rate, which no training configuration has; mend the name"),
        (CODE, "import onnx\n", "import onyx\n", r"cannot be imported: needs onyx"),
    ],
    "card is honest": [
        (CARD, "    licence: apache-2.0\n", "", "states no licence; write licence: with an SPDX name"),
        (CARD, "    needs:", "    weights: {source: 'hf-hub:a/b', licence: unknown}\n    needs:",
         "no licence of the weights"),
    ],
    "card names what it needs": [
        (CARD, "needs: [onnx, safetensors]", "needs: [onnx]",
         r"imports safetensors .*; write needs: \[onnx, safetensors\]"),
    ],
    "trains": [
        (CODE, BEGUN, "        1 / 0\n" + BEGUN,
         r"ZeroDivisionError in model\.py, line \d+ \(train\): division by zero; mend it"),
        (CODE, BEGUN, "        raise SystemExit(4)\n" + BEGUN,
         r"SystemExit in model\.py, line \d+ \(train\): 4"),
        # preprocessing once more inside the exported network
        (CODE, 'helper.make_node("Flatten", ["input"], ["rows"], axis=1)',
         '''helper.make_node("Add", ["input", "input"], ["twice"]),
            helper.make_node("Flatten", ["twice"], ["rows"], axis=1)''',
         r"does not give the trained answers: parity refused.*without preprocessing of its own"),
        # the batch that the exporter saw is baked into the graph
        (CODE, 'helper.make_node("Flatten", ["input"], ["rows"], axis=1)',
         '''helper.make_node("Constant", [], ["shape"], value_ints=[2, 3072]),
            helper.make_node("Reshape", ["input", "shape"], ["rows"])''',
         r"cannot take images.*reshape by -1, never by a number seen in a batch"),
    ],
    "learns": [
        (CODE, "gradient = rows.T @ error", "gradient = 0 * rows.T @ error", "the same for a red and a blue picture"),
        (CODE, "np.float32(config.lr) * ", "-np.float32(config.lr) * ",
         r"macro AUROC on three colours is 0\.\d+ after 2 epochs"),
        (CODE, TRAINED, "        run.file('history.csv').write_text('train_loss\\n1.0\\n1.5\\n')\n" + TRAINED,
         "the loss went from 1 to 1.5 in 2 epochs; check"),
    ],
    "answers any batch": [
        # one graph for training's gate, another one after load(): N is 4 there
        (CODE, LOADED, LOADED.replace("return", "loaded =") + "\n        loaded.batch = 4\n        return loaded",
         "fails for 1 pictures: .*leave N dynamic"),
        (CODE, LOADED, LOADED.replace("return", "loaded =") + "\n        loaded.mixes = True\n        return loaded",
         "answered otherwise in a batch of 2 than alone"),
    ],
    "answers with logits": [
        # in the graph only: the gate of a training would refuse it otherwise, softmax(softmax) is another answer
        (CODE, LOADED, LOADED.replace("return", "loaded =") + "\n        loaded.sure = True\n        return loaded",
         "probabilities, where logits belong; leave out the softmax"),
    ],
    "file gives the trained answers": [
        (CODE, "        return TrainedSoftmax(Softmax(**load", "        return TrainedSoftmax(_twice(**load",
         r"logits are .* off"),
    ],
    "run loads again": [
        (CODE, "        return TrainedSoftmax(Softmax(**load", "        return TrainedSoftmax(_twice(**load",
         "load.. gave another model than train..; save.. and load.. all that predict needs"),
        (CODE, "            trained.save(run)\n", "            pass\n",
         r"load\(\) and to_onnx\(\): FileNotFoundError in model\.py"),
    ],
    "bundle verifies": [
        (CODE, LOADED, LOADED.replace("return", "loaded =") + "\n        loaded.mixes = True\n        return loaded",
         "the bundle is refused: .*load.. must give the model that train.. left"),
    ],
    "same seed, same model": [
        (CODE, "default_rng(config.seed)", "default_rng()",
         r"differ by .* in a logit; take every random number from config\.seed"),
    ],
    "trains on gray pictures and many classes": [
        (CODE, "classes=len(data.labels)", "classes=3",
         r"2 classes of gray pictures: predict .* \(3, 3\), expected \(3, 2\)"),
        (CODE, "channels_of(self.spec), *self", "3, *self", r"2 classes of gray pictures: "),
    ],
    "several labels are learnt or refused": [
        (CODE, 'data.task == "multilabel"', "False", r"several labels an image end in \w+ in model\.py.*DataError"),
    ],
    "keeps stdout clean": [
        (CODE, TRAINED, "        print('epoch 1 done')\n" + TRAINED, "printed 'epoch 1 done'; use logging"),
    ],
    "leaves the process as it was": [
        (CODE, TRAINED, "        np.random.seed(7)\n" + TRAINED,
         r"changed .*the random numbers of np\.random; put back what you set"),
    ],
    "writes into its run only": [
        (CODE, TRAINED, "        open('last.npz', 'wb').close()\n" + TRAINED, r"left last\.npz outside its run"),
    ],
    "keeps no pickle": [
        (CODE, TRAINED, "        import pickle; run.file('extra.bin').write_bytes(pickle.dumps({}))\n" + TRAINED,
         r"holds a pickle, extra\.bin; keep numbers as safetensors"),
    ],
}  # fmt: skip
"""Check → (file, what is there, what is planted instead, what must be said)."""

TWISTS = """

def _twice(**numbers):
    numbers["bias"] = numbers["bias"] + np.arange(len(numbers["bias"]), dtype=np.float32)
    return Softmax(**numbers)


_sound = TrainedSoftmax.to_onnx


def _twisted(self):
    core = _sound(self)
    if hasattr(self, "batch"):
        for value in (core.graph.input[0], core.graph.output[0]):
            value.type.tensor_type.shape.dim[0].dim_value = self.batch
    if hasattr(self, "sure"):
        core.graph.node[-1].output[0] = "own"
        core.graph.node.append(helper.make_node("Softmax", ["own"], ["logits"], axis=1))
    if hasattr(self, "mixes"):
        core.graph.node[-1].output[0] = "own"
        core.graph.initializer.append(numpy_helper.from_array(np.array([0]), "pictures"))
        core.graph.node.append(helper.make_node("ReduceMean", ["own", "pictures"], ["shared"], keepdims=1))
        core.graph.node.append(helper.make_node("Sub", ["own", "shared"], ["logits"]))
    return core


TrainedSoftmax.to_onnx = _twisted
"""
"""Ways to go wrong that only some faults take."""


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        pytest.param(name, fault, marks=[pytest.mark.slow] if number else [])  # one of each check is fast
        for name, faults in FAULTS.items()
        for number, fault in enumerate(faults)
    ],
    ids=lambda part: str(part)[:40],
)
def test_a_planted_fault_fails_its_check(plant: Plant, name: str, fault: tuple[str, str, str, str]) -> None:
    file, old, new, said = fault
    subject = plant("other", (file, old, new))
    if "loaded." in new or "_twice" in new:
        code = next(Path.cwd().parent.glob("project/src/*/model.py"))
        code.write_text(code.read_text() + TWISTS)
    with pytest.raises(Unmet) as refusal:
        hold(subject, name)
    assert re.search(said, str(refusal.value)), str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("framework", "name", "fault", "said"),
    [
        ("torch", "builds for 2 and 10 classes, 1, 3 and 5 channels",
         (CODE, "pairwise((channels, 16", "pairwise((3, 16"),
         r"build\(classes=2, channels=1\) fails on pictures of 32 x 32 px: RuntimeError.*; take classes and channels"),
        ("torch", "builds for 2 and 10 classes, 1, 3 and 5 channels", (CODE, "nn.Linear(64, classes)",
         "nn.Linear(64, 1000)"),
         r"answers two pictures with \(2, 1000\), expected \(2, 2\) logits; give the last layer `classes` outputs"),
        ("torch", "card is honest", (CARD, "parameters: 8.87e4", "parameters: 5.0e4"),
         r"says 50000 parameters, the network has 88696 with 1000 classes .*; write parameters: 8\.87e\+04"),
        ("torch", "card is honest", (CARD, "    needs:", "    macs: 5.0e6\n    needs:"),
         r"multiply-adds, the network does .*; write macs: "),
        ("torch", "card names what it needs", (CARD, "needs: [torch]", "needs: [torch, tensorfow]"),
         "needs tensorfow, which is not installed here; install it, or mend the name"),
        ("torch", "card names what it needs", (CARD, "needs: [torch]", "needs: []"), r"write needs: \[torch\]"),
        ("sklearn", "builds for 2 and 10 classes, 1, 3 and 5 channels",
         (CODE, "ExtraTreesClassifier(n_estimators=100, min_samples_leaf=2)", "__import__('sklearn').svm.LinearSVC()"),
         "gave a LinearSVC without predict_proba; return a classifier that has it, or one wrapped so"),
        pytest.param(
            "torch", "answers with logits", (CODE, "nn.Linear(64, classes)", "nn.Linear(64, classes), nn.Softmax(1)"),
            "probabilities, where logits belong; leave out the softmax", marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_a_planted_fault_in_a_half_fails_its_check(
    plant: Plant, framework: Framework, name: str, fault: tuple[str, str, str], said: str
) -> None:
    with pytest.raises(Unmet) as refusal:
        hold(plant(framework, fault), name)
    assert re.search(said, str(refusal.value)), str(refusal.value)


def test_a_network_for_one_number_of_classes_is_not_told_to_change_its_card(plant: Plant) -> None:
    subject = plant("torch", (CODE, "nn.Linear(64, classes)", "nn.Linear(64, 10)"))
    with pytest.raises(NotTried, match="1000 classes"):
        hold(subject, "card is honest")


BUILDS = "builds for 2 and 10 classes, 1, 3 and 5 channels"


def test_every_check_has_a_fault_that_fails_it() -> None:
    assert {check.name for check in CHECKS} == {*FAULTS, BUILDS}


def test_what_waits_for_a_training_that_failed_is_not_tried(plant: Plant) -> None:
    """One cause, one failure: else it would be looked for in ten places."""
    subject = plant("other", (CODE, BEGUN, "        1 / 0\n" + BEGUN))
    with pytest.raises(Unmet, match="ZeroDivisionError"):
        hold(subject, "trains")
    for check in CHECKS[CHECKS.index(next(check for check in CHECKS if check.name == "learns")) :]:
        with pytest.raises(NotTried, match="'trains'"):
            check.hold(subject)
