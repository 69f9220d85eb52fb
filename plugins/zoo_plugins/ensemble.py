"""Ensembles: several finished runs as one model, each looking at the image in its own way.

What is learnt here are the weights of their mean, on the validation images that no member was trained on. Members are
kept as their ONNX cores, so that the run stands alone: neither their runs nor their plugins are needed again.
"""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from zoo.errors import PluginError, UsageError
from zoo.evaluate import learn_weights, macro_auroc, pooled, predict_set
from zoo.export import Branch, Pool, core_predict, parsed_core, reordered
from zoo.files import atomic_write, sha256_bytes
from zoo.plugin import ModelPlugin, Trained
from zoo.runs import Best, learnt, open_run, weights_licence
from zoo.spec import Member, decode, encode
from zoo.text import brief

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from zoo.data import Splits
    from zoo.evaluate import Weighing
    from zoo.runs import Run
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
    """Runs whose calibrated probabilities are averaged; the card's arch holds their folders, joined by commas."""

    def train(self, card: ModelCard, data: Splits, config: TrainConfig, run: Run) -> Pool:
        """Open every member, learn the weights on data.val, keep the cores; nothing of a member is changed."""
        from zoo import registry  # the members' plugins go by their names

        del config
        start = time.perf_counter()
        branches: list[Branch] = []
        for folder in card.arch.split(","):
            opened = open_run(Path(folder))
            record = opened.record
            model = registry.load(record.plugin.name).plugin.load(record.card, opened)
            if isinstance(model, Pool):
                raise UsageError(f"{folder} is an ensemble itself; name its members instead")
            branches.append(_branch(opened, model, data.labels))
            if any(branches[-1].member.trained == one.member.trained for one in branches[:-1]):
                raise UsageError(f"{folder} holds the same weights as another member; name each model once")
        scaled = [predict_set(branch.scaled, data.val) for branch in branches]
        found = learn_weights(scaled, data.val.targets, data.val.groups)
        pool = Pool(
            tuple(_weighed(branch, weight) for branch, weight in zip(branches, found.weights, strict=True)), data.task
        )
        _save(pool, run)
        notes = _said(pool, found, grouped=data.val.groups is not None)
        for note in notes:
            log.info("%s", note)
        seconds = time.perf_counter() - start
        run.update(
            best=Best(
                epoch=1,
                metric="val_macro_auroc",
                value=macro_auroc(pooled(scaled, found.weights, data.task), data.val.targets),
            ),
            epochs_done=1,
            seconds=seconds,
            images_per_second=len(data.val) / seconds,
            precision="cpu, each member's own framework",
            notes=(*run.record.notes, *notes),
        )
        return pool

    def load(self, card: ModelCard, run: Run) -> Pool:
        """The members' cores as they were kept; the frameworks they came from are not needed."""
        del card
        place = run.file(MEMBERS)
        if not place.is_file():
            raise PluginError(f"{place} is missing: the ensemble was not finished; make it again with --overwrite")
        kept = decode(place.read_bytes(), _Kept, str(place), PluginError)
        if problem := _inconsistent(kept):
            raise PluginError(f"{place}: {problem}; make the ensemble again with --overwrite")
        branches = []
        for member, (name, sha256) in zip(kept.members, kept.cores.items(), strict=True):
            path = run.file(name)
            if not path.is_file():
                raise PluginError(f"{path} is missing; make the ensemble again with --overwrite")
            content = path.read_bytes()
            if sha256_bytes(content) != sha256:
                raise PluginError(
                    f"{path} has sha256 {sha256_bytes(content)[:12]}…, {MEMBERS} says {sha256[:12]}…: it was changed "
                    "or damaged; make the ensemble again with --overwrite"
                )
            branches.append(Branch(member, parsed_core(content, str(path)), core_predict(content, name)))
        return Pool(tuple(branches), run.record.task)


def _branch(run: Run, model: Trained, labels: tuple[str, ...]) -> Branch:
    """A member with its labels in the order `labels`; its weight is not known yet."""
    record = run.record
    order = [record.labels.index(label) for label in labels]
    licence = weights_licence(record)

    def predict(batch: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(model.predict(batch))[:, order]

    member = Member(
        name=record.card.name,
        run=record.id,
        weight=1.0,
        temperature=record.temperature,
        preprocess=record.card.preprocess,
        plugin=record.plugin,
        data=record.data,
        config=record.config,
        weights=record.weights,
        weights_licence=licence,
        licence=licence or record.card.licence,
        code_licence=record.card.licence,
        trained=learnt(run),
    )
    return Branch(member, reordered(model.to_onnx(), order), predict)


def _weighed(branch: Branch, weight: float) -> Branch:
    return Branch(msgspec.structs.replace(branch.member, weight=weight), branch.core, branch.predict)


def _save(pool: Pool, run: Run) -> None:
    """The cores, and last the document that names them all."""
    cores = {}
    for index, branch in enumerate(pool.branches):
        content = _plain(branch.core).SerializeToString()
        name = _core_name(index)
        atomic_write(run.file(name), content)
        cores[name] = sha256_bytes(content)
    atomic_write(run.file(MEMBERS), encode(_Kept(members=pool.members, cores=cores)))


def _core_name(index: int) -> str:
    return f"member{index}.onnx"


def _inconsistent(kept: _Kept) -> str | None:
    """What `_save` can not have written; names lead to files, and no file outside of the run is one of its members."""
    names = [_core_name(index) for index in range(len(kept.members))]
    if len(names) < 2 or list(kept.cores) != names:
        return f"{len(kept.members)} members in files {brief(kept.cores)}, expected two or more from member0.onnx on"
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


def _said(pool: Pool, found: Weighing, *, grouped: bool) -> tuple[str, ...]:
    """What became of the weights, for people."""
    units = f"{found.units} validation {'groups' if grouped else 'images'}"
    shares = ", ".join(f"{member.name} ({member.run}) {member.weight:.3f}" for member in pool.members)
    if found.alone is None:
        return (f"ensemble with equal weights, {units} are too few to learn others: {shares}",)
    losses = f"negative log-likelihood {found.nll:.4f} ({found.nll_equal:.4f} with equal weights)"
    notes = [f"ensemble: {shares}; learnt on {units}, {losses}"]
    for index in found.useless:
        member = pool.members[index]
        notes.append(
            f"{member.name} ({member.run}) adds nothing that {units} can show (weight {found.alone[index]:.3f} by them "
            "alone); an ensemble without it is smaller and faster"
        )
    return tuple(notes)
