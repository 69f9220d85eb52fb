"""An ensemble as one graph: each member's own file from raw pixels, and the weighted mean of their probabilities.

A member enters as the graph that `zoo.artefact.assemble` writes for it alone, with its own preprocessing and
temperature, so the parity gate proves it as it proves any model. What is left to prove is that it answers the same
inside, and the mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from zoo.artefact._differences import RELATIVE, Worst, relative
from zoo.artefact._graph import SCALED, assemble, finish, with_outputs
from zoo.artefact._parity import prove
from zoo.artefact._shift import rename_logits
from zoo.artefact._shippable import Assembled
from zoo.artefact.nodes import Builder
from zoo.edge._last_step import probabilities_of
from zoo.edge._session import open_session
from zoo.errors import GateError, ModelError, UsageError
from zoo.evaluation import Predict, pool_logits
from zoo.preprocess import normalize_batch, resize_image
from zoo.spec import OPSET, InputSpec, Manifest, Parity, Task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

    from zoo.evaluation import FeatureSpace
    from zoo.spec import Member

__all__ = ["Branch", "TrainedEnsemble", "refuse_large", "reorder"]

MOST_BYTES = 2**31 - 2**20
"""What a protobuf message can hold, less room for preprocessing and the manifest."""


def refuse_large(total: int, whose: str, remedy: str) -> None:
    """Refuse what no file can hold.

    Args:
        total: bytes of all members.
        whose: who they are.
        remedy: what to do.

    Raises:
        ModelError: they are over `MOST_BYTES`.
    """
    if total > MOST_BYTES:
        raise ModelError(
            f"{whose} together have {total / 1e6:.0f} MB, one file holds at most {MOST_BYTES / 1e6:.0f}; {remedy}",
            code="ensemble-too-large",
            found=total,
            limit=MOST_BYTES,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """One member as its framework, or what was kept of it, answers.

    Attributes:
        member: its preprocessing, temperature and weight.
        core: its network, labels in the order of the ensemble.
        predict: the network as its framework runs it: (N, C, h, w) preprocessed to (N, K) logits.
    """

    member: Member
    core: onnx.ModelProto
    predict: Predict

    def predict_scaled(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Raw images (N, H, W, C) to logits over the member's temperature, (N, K), by the training side."""
        spec = self.member.preprocess
        prepared = normalize_batch(np.stack([resize_image(image, spec) for image in batch]), spec)
        return np.asarray(self.predict(prepared), np.float32) / np.float32(self.member.temperature)


@dataclass(frozen=True, slots=True, eq=False)
class TrainedEnsemble:
    """The weighted mean of several networks, each with its own preprocessing; a `Shippable`."""

    branches: tuple[Branch, ...]
    task: Task

    @property
    def members(self) -> tuple[Member, ...]:
        """What the manifest says of each."""
        return tuple(branch.member for branch in self.branches)

    @property
    def space(self) -> FeatureSpace | None:
        """None: features of two networks lie in two spaces."""
        return None

    @property
    def weights(self) -> tuple[float, ...]:
        """One for each member; they sum to one."""
        return tuple(member.weight for member in self.members)

    def raw_answers(
        self, batch: NDArray[Any], columns: Mapping[str, Sequence[Any]] | None = None
    ) -> tuple[NDArray[np.float32], None]:
        """Raw images (N, H, W, C) to the ensemble's logits (N, K), by the training side of every member."""
        del columns  # no member takes any
        each = [branch.predict_scaled(batch) for branch in self.branches]
        return np.asarray(pool_logits(each, self.weights, self.task), np.float32), None

    def assemble(
        self,
        given: InputSpec,
        *,
        temperature: float,
        portable: bool = False,
        evidence: bool = False,
        features: bool = False,
    ) -> Assembled:
        """The ensemble's file, and the file of each member alone that it is made of.

        Args:
            given: the shared input, raw images.
            temperature: number that divides the logarithm of the mean before the last step.
            portable: resize by matrix products that every runtime computes alike; see `zoo.artefact.assemble`.
            evidence: refused: a mean of maps is not promised.
            features: refused: every member has its own.

        Raises:
            UsageError: evidence or features were asked for, or an input that is not raw.
            ModelError: a core is not valid ONNX, or all together are too large for one file.
        """
        if evidence:
            raise UsageError(
                "an ensemble makes no evidence map; leave out --evidence: 'zoo explain' then hides parts of the image "
                "instead",
                code="evidence-missing",
            )
        if features:
            raise UsageError(
                "every member of an ensemble has features of its own; leave out --features, or export one member with "
                "it",
                code="features-missing",
            )
        if given.stage != "raw":
            raise UsageError(
                "--preprocess: every member of an ensemble prepares images in its own way; only the whole "
                "preprocessing can go into its file, leave it out",
                code="ensemble-stage",
            )
        import onnx
        from onnx import compose, helper

        total = sum(branch.core.ByteSize() for branch in self.branches)
        refuse_large(total, "the members", "make an ensemble of fewer or smaller ones")
        files = tuple(
            assemble(
                branch.core,
                branch.member.preprocess,
                given,
                temperature=branch.member.temperature,
                task=self.task,
                portable=portable,
            )
            for branch in self.branches
        )
        b = Builder("pool")
        merged = onnx.ModelProto(ir_version=max(file.ir_version for file in files))
        versions = {"": OPSET}
        for index, file in enumerate(files):
            part = compose.add_prefix(file, _prefix(index), rename_inputs=False)
            merged.graph.node.extend(
                node for node in part.graph.node if f"{_prefix(index)}probabilities" not in node.output
            )
            merged.graph.initializer.extend(part.graph.initializer)
            merged.functions.extend(part.functions)
            versions |= {entry.domain: max(entry.version, versions.get(entry.domain, 0)) for entry in file.opset_import}
        merged.graph.input.extend(files[0].graph.input)
        _add_mean(b, self)
        merged.graph.node.extend(b.nodes)
        merged.graph.initializer.extend(b.constants)
        merged.graph.output.extend(one for one in files[0].graph.output if one.name == "logits")
        merged.opset_import.extend(helper.make_opsetid(*entry) for entry in versions.items())
        return Assembled(finish(merged, temperature=temperature, task=self.task), files)

    def prove(
        self,
        made: Assembled,
        manifest: Manifest,
        *,
        labels: tuple[str, ...],
        images: Sequence[NDArray[Any]],
        columns: NDArray[np.float32] | None = None,
    ) -> Parity:
        """Prove every member alone as any model is, then that it answers the same in the ensemble, then the mean.

        Last the whole way: from raw pixels to the probabilities and the label, against the frameworks of all members.

        Raises:
            GateError: further apart than allowed; the line says which member and stage.
        """
        del columns  # no member takes any
        if (manifest.labels, manifest.task, manifest.members) != (labels, self.task, self.members):
            raise GateError(
                "parity refused: the file states other labels, members or another task than the ensemble was made of; "
                "nothing was written",
                code="parity-statement",
                differs="members",
            )
        found = []
        for file, branch in zip(made.parts, self.branches, strict=True):
            member = branch.member
            alone = msgspec.structs.replace(
                manifest, name=member.name, preprocess=member.preprocess, temperature=member.temperature, members=()
            )
            try:
                found.append(
                    prove(
                        file,
                        alone,
                        spec=member.preprocess,
                        labels=labels,
                        reference=branch.predict,
                        images=images,
                        task=self.task,
                    )
                )
            except GateError as problem:
                raise GateError(
                    f"member {member.name} ({member.run}): {problem}",
                    code=problem.code,
                    **{**problem.fields, "member": member.name},
                ) from None
        worst, inside = _whole_way(made, manifest, self, images)
        if not inside <= RELATIVE:
            raise GateError(
                f"parity refused on {len(images)} images: a member's logits in the ensemble differ by {inside:.3g} "
                f"from its own file's (allowed {RELATIVE:g}); nothing was written",
                code="parity-answers",
                images=len(images),
                found=inside,
                limit=RELATIVE,
            )
        worst.refuse(len(images))
        return Parity(
            images=len(images),
            sizes=found[0].sizes,
            max_abs_pixel=max(one.max_abs_pixel for one in found),
            max_abs_logit=max(*(one.max_abs_logit for one in found), *worst.logits),
            max_abs_probability=worst.probability,
            flips=worst.flips,
        )


def reorder(core: onnx.ModelProto, order: Sequence[int]) -> onnx.ModelProto:
    """The core with its logits in another order, column i of the result was column order[i], and no other output."""
    import onnx

    result = with_outputs(core, ("logits",))  # a mean of evidence maps is not promised
    if list(order) == list(range(len(order))):
        return result
    rename_logits(result, "logits/own")
    columns = onnx.numpy_helper.from_array(np.asarray(order, np.int64), "logits/order")
    result.graph.initializer.append(columns)
    result.graph.node.append(
        onnx.helper.make_node("Gather", ["logits/own", "logits/order"], ["logits"], name="logits/reorder", axis=1)
    )
    return result


def _whole_way(
    made: Assembled, manifest: Manifest, ensemble: TrainedEnsemble, images: Sequence[NDArray[Any]]
) -> tuple[Worst, float]:
    """The mean, the last step and the whole way; and how far members' logits are from those of their own files."""
    model, files = made.model, made.parts
    names = [f"{_prefix(index)}{SCALED}" for index in range(len(files))]
    together = _probe(model, [*names, SCALED], manifest.name)
    singles = [_probe(file, [SCALED], manifest.name) for file in files]
    plain = open_session(model.SerializeToString(), manifest.name, provider="cpu", threads=None)
    worst = Worst(manifest.preprocess, ensemble.task)
    inside = 0.0
    for image in images:
        batch = image[None]
        logits, probabilities = plain.run(["logits", "probabilities"], {manifest.input.name: batch})
        *each, scaled = together.run([*names, SCALED], {manifest.input.name: batch})
        for got, single in zip(each, singles, strict=True):
            inside = max(inside, relative(got, single.run([SCALED], {manifest.input.name: batch})[0]))
        worst.see_logits(logits, pool_logits(each, ensemble.weights, ensemble.task))
        worst.see_last_step({"logits": logits, "probabilities": probabilities, SCALED: scaled}, manifest.temperature)
        worst.see_end(
            probabilities, probabilities_of(ensemble.raw_answers(batch)[0], manifest.temperature, ensemble.task)
        )
    three = np.stack([images[0], images[0][::-1, ::-1], np.zeros_like(images[0])])
    batch_of_three = plain.run(["logits"], {manifest.input.name: three})[0]
    alone = np.concatenate([plain.run(["logits"], {manifest.input.name: one[None]})[0] for one in three])
    if not relative(batch_of_three, alone) <= RELATIVE:
        raise GateError(
            "parity refused: a batch of three images is answered differently from each alone; nothing was written",
            code="parity-batch",
        )
    return worst, inside


def _probe(model: onnx.ModelProto, names: Sequence[str], shown: str) -> Any:
    """A session whose outputs are the tensors `names`, too."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    there = {one.name for one in copy.graph.output}
    for name in names:
        if name not in there:
            copy.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return open_session(copy.SerializeToString(), shown, provider="cpu", threads=None)


def _prefix(index: int) -> str:
    return f"member{index}/"


def _add_mean(b: Builder, ensemble: TrainedEnsemble) -> None:
    """Nodes from members' logits over their temperatures to "logits": as `zoo.evaluation.pool_logits`, in float32."""
    names = [f"{_prefix(index)}{SCALED}" for index in range(len(ensemble.branches))]
    shares = b.floats(np.log(np.asarray(ensemble.weights, np.float64)).reshape(1, -1, 1))

    def log_mean(logs: list[str]) -> str:
        stacked = b.op("Concat", *(b.op("Unsqueeze", one, b.ints(1)) for one in logs), axis=1)  # (N, M, K)
        x = b.op("Add", stacked, shares)
        largest = b.op("ReduceMax", x, b.ints(1), keepdims=1)  # so that no exponential leaves float32
        total = b.op("ReduceSum", b.op("Exp", b.op("Sub", x, largest)), b.ints(1), keepdims=1)
        return b.op("Squeeze", b.op("Add", b.op("Log", total), largest), b.ints(1))

    if ensemble.task != "multilabel":
        b.name_tensor("logits", log_mean([b.op("LogSoftmax", name, axis=1) for name in names]))
        return
    held = [b.op("Neg", b.op("Softplus", b.op("Neg", name))) for name in names]
    absent = [b.op("Neg", b.op("Softplus", name)) for name in names]
    b.name_tensor("logits", b.op("Sub", log_mean(held), log_mean(absent)))
