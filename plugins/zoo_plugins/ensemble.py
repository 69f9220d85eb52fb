"""Ensembles: several finished runs as one model, each looking at the image in its own way.

What is learnt here are the weights of their mean, on the validation images that no member was trained on. The folds of
one training have no such images, so their weights are equal. Members are kept as their ONNX cores, so the run needs
neither their runs nor their plugins again.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from zoo.artefact import Branch, ShiftedNetwork, Shippable, TrainedEnsemble, core_predict, parse_core, reorder
from zoo.errors import PluginError, UsageError
from zoo.evaluation import judge_by, learn_weights, pool_logits, predict_set
from zoo.plugin import ModelPlugin
from zoo.runs import Best, check_learnt, hash_learnt, open_run, weights_licence
from zoo.spec import Member, decode, encode

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from zoo.data import Splits
    from zoo.evaluation import Weighing
    from zoo.plugin import RunFolder, TrainContext, Trained
    from zoo.spec import ModelCard, TrainConfig

__all__ = ["Ensemble"]

MEMBERS = "members.json"
"""In the run: what it is made of, and the sha256 of each member's core."""
_EXACT = 1e-6
"""How far from one a sum of weights in float64 may be."""

log = logging.getLogger("zoo")


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    members: tuple[Member, ...]
    cores: dict[str, str]
    """File to sha256, in the order of the members."""


class Ensemble(ModelPlugin):
    """Runs whose calibrated probabilities are averaged; `card.members` names their folders."""

    def train(
        self, card: ModelCard, data: Splits, config: TrainConfig, run: RunFolder, context: TrainContext
    ) -> TrainedEnsemble:
        """Open every member, learn the weights on data.val, keep the cores; nothing of a member is changed.

        Where `config.fold` is "none", no image is held out from all members, and all weights are equal.
        """
        from zoo import registry  # the members' plugins go by their names

        del context
        start = time.perf_counter()
        branches: list[Branch] = []
        for folder in card.members:
            opened = open_run(Path(folder))
            record = opened.record
            check_learnt(opened)
            model = registry.load(record.plugin.name).plugin.load(record.card, opened)
            if isinstance(model, Shippable):
                raise UsageError(
                    f"{folder} is an ensemble itself; name its members instead", code="ensemble-nested", member=folder
                )
            branches.append(_branch(opened, model, data.labels))
            if any(branches[-1].member.trained == one.member.trained for one in branches[:-1]):
                raise UsageError(
                    f"{folder} holds the same weights as another member; name each model once",
                    code="ensemble-twice",
                    member=str(folder),
                )
        found, value = (None, None) if config.fold == "none" else _learn(branches, data, config)
        weights = [1 / len(branches)] * len(branches) if found is None else found.weights
        ensemble = TrainedEnsemble(tuple(map(_weigh, branches, weights)), data.task)
        _save(ensemble, run)
        notes = _describe_weights(ensemble, found, grouped=data.val.groups is not None)
        for note in notes:
            log.info("%s", note)
        seconds = time.perf_counter() - start
        run.add_notes(
            notes,
            best=Best(epoch=1, metric=f"val_{config.metric}", value=value),
            epochs_done=1,
            seconds=seconds,
            images_per_second=None if found is None else len(data.val) / seconds,
            precision="cpu, each member's own framework",
        )
        return ensemble

    def load(self, card: ModelCard, run: RunFolder) -> TrainedEnsemble:
        """The members' cores as they were kept; the frameworks they came from are not needed."""
        del card
        place = run.file(MEMBERS)
        if not place.is_file():
            raise PluginError(
                f"{place} is missing: the ensemble was not finished; make it again with --overwrite",
                code="run-incomplete",
                path=str(place),
            )
        kept = decode(place.read_bytes(), _Kept, str(place), PluginError)
        if problem := _inconsistent(kept):
            raise PluginError(
                f"{place}: {problem}; make the ensemble again with --overwrite", code="run-incomplete", path=str(place)
            )
        branches = []
        for member, (name, sha256) in zip(kept.members, kept.cores.items(), strict=True):
            path = run.file(name)
            if not path.is_file():
                raise PluginError(
                    f"{path} is missing; make the ensemble again with --overwrite",
                    code="run-incomplete",
                    path=str(path),
                )
            content = path.read_bytes()
            found = hashlib.sha256(content).hexdigest()
            if found != sha256:
                raise PluginError(
                    f"{path} has sha256 {found[:12]}…, {MEMBERS} says {sha256[:12]}…: it was changed "
                    "or damaged; make the ensemble again with --overwrite",
                    code="weights-hash",
                    path=str(path),
                    found=found,
                    expected=sha256,
                )
            branches.append(Branch(member, parse_core(content, str(path)), core_predict(content, name)))
        return TrainedEnsemble(tuple(branches), run.record.task)


def _branch(run: RunFolder, model: Trained, labels: tuple[str, ...]) -> Branch:
    """A member with its labels in the order `labels`; its weight is not known yet."""
    record = run.record
    order = [record.labels.index(label) for label in labels]
    licence = weights_licence(record)
    network = ShiftedNetwork(model, record.shift) if record.shift else model

    def predict(batch: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(network.predict(batch))[:, order]

    member = Member(
        name=record.card.name,
        run=record.id,
        weight=1.0,
        temperature=record.temperature,
        preprocess=record.card.preprocess,
        plugin=record.plugin,
        data=record.data,
        config=record.recipe,
        weights=record.weights,
        weights_licence=licence,
        licence=licence or record.card.licence,
        code_licence=record.card.licence,
        trained=hash_learnt(run),
    )
    return Branch(member, reorder(network.to_onnx(), order), predict)


def _learn(branches: list[Branch], data: Splits, config: TrainConfig) -> tuple[Weighing, float | None]:
    """What each member counts, by the validation images, and what the mean reaches on them."""
    val = data.val
    scaled = [predict_set(branch.predict_scaled, val) for branch in branches]
    found = learn_weights(scaled, val.targets, val.groups)
    pooled = pool_logits(scaled, found.weights, data.task)
    return found, judge_by(config.metric, pooled, val.targets, data.labels, ordered=data.task == "ordinal")


def _weigh(branch: Branch, weight: float) -> Branch:
    return Branch(msgspec.structs.replace(branch.member, weight=weight), branch.core, branch.predict)


def _save(ensemble: TrainedEnsemble, run: RunFolder) -> None:
    """The cores, and last the document that names them all."""
    cores = {}
    for index, branch in enumerate(ensemble.branches):
        name = _core_name(index)
        cores[name] = run.write(name, _plain(branch.core).SerializeToString())
    run.write(MEMBERS, encode(_Kept(members=ensemble.members, cores=cores)))


def _core_name(index: int) -> str:
    return f"member{index}.onnx"


def _inconsistent(kept: _Kept) -> str | None:
    """What `_save` cannot have written. Names lead to files, and a file outside of the run is never a member."""
    names = [_core_name(index) for index in range(len(kept.members))]
    if len(names) < 2 or list(kept.cores) != names:
        files = ", ".join(list(kept.cores)[:3])
        return f"{len(kept.members)} members in files {files}, expected two or more from member0.onnx on"
    total = math.fsum(member.weight for member in kept.members)
    if not abs(total - 1) <= _EXACT:
        return f"the weights sum to {total:.6g}, expected 1"
    return None


def _plain(core: onnx.ModelProto) -> onnx.ModelProto:
    """Without the notes of the exporter: source files and stack traces of the training machine."""
    for node in core.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del core.metadata_props[:]
    return core


def _describe_weights(ensemble: TrainedEnsemble, found: Weighing | None, *, grouped: bool) -> tuple[str, ...]:
    """What became of the weights, for people; `found`: None where no image is held out from all members."""
    shares = ", ".join(f"{member.name} ({member.run}) {member.weight:.3f}" for member in ensemble.members)
    if found is None:
        return (f"ensemble with equal weights, no image is held out from all members to learn others: {shares}",)
    units = f"{found.units} validation {'groups' if grouped else 'images'}"
    if found.alone is None:
        return (f"ensemble with equal weights, {units} are too few to learn others: {shares}",)
    losses = f"negative log-likelihood {found.nll:.4f} ({found.nll_equal:.4f} with equal weights)"
    notes = [f"ensemble: {shares}; learnt on {units}, {losses}"]
    for index in found.useless:
        member = ensemble.members[index]
        notes.append(
            f"{member.name} ({member.run}) adds nothing that {units} can show (weight {found.alone[index]:.3f} by them "
            "alone); an ensemble without it is smaller and faster"
        )
    return tuple(notes)
