"""`zoo evaluate --recalibrate`: a shipped file fitted to a site's images, as a new file, judged on others of them.

The network stays as it is. A new temperature is fitted, and operating points, sets of labels and the reference of
`zoo monitor` are settled anew, all on one part of the site's images. The other part judges the old and the new file.
The threshold of novelty stays: it says what is unlike training, and training has not changed.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from zoo._support.text import format_count
from zoo.errors import ModelError, OutputError, UsageError
from zoo.spec import RECALIBRATED, RECALIBRATION, TEMPERATURE_STAYS, Display, EvalReport, Interval, Table

if TYPE_CHECKING:
    from typing import Unpack

    import onnx

    from zoo.data import ImageSet
    from zoo.edge import Runtime
    from zoo.edge.bundle import Contents
    from zoo.spec import Manifest, Reading
    from zoo.workflow.evaluate import Target

__all__ = ["Recalibration", "recalibrate"]

_TEMPERATURE = "post/temperature"
"""Name of the constant in the graph, see `zoo.artefact.assemble`."""


class Recalibration(Display, msgspec.Struct, frozen=True, kw_only=True):
    """A new file, and what it answers beside the old one on images that neither was fitted on."""

    path: str
    fitted: int
    """Images that the new file was fitted on."""
    how: Literal["validation", "half"]
    """validation: of the validation split of the data. half: the data has none, so a half of it, groups whole."""
    temperature_before: float
    temperature: float
    before: EvalReport
    """The file as it was, on the images that are left to judge."""
    after: EvalReport
    """The new file on the same images."""
    nll: Interval
    """Mean negative log-likelihood after less before, in nats; below 0 the new file is better."""
    brier: Interval
    """The same of the Brier score."""
    notes: tuple[str, ...] = ()

    def headline(self) -> str:
        """The file, the two temperatures, and the change of the log-likelihood with its interval."""
        return (
            f"{self.path}: temperature {self.temperature_before:.2f} → {self.temperature:.2f} from "
            f"{format_count(self.fitted, 'image')}; on {self.after.n} others NLL changes by {self.nll}"
        )

    def tables(self) -> dict[str, Table]:
        """What changed, one row each, before and after."""
        return {"changes": Table(_rows(self.before, self.after))}


def recalibrate(
    target: str | Path | None,
    data: str | Path | None,
    out: str | Path,
    *,
    provider: str = "cpu",
    skip_bad: bool = False,
    key: str | Path | None = None,
    include_seen: bool = False,
    seed: int = 0,
    **reading: Unpack[Reading],
) -> Recalibration:
    """Fit a shipped file to images of a site, write it as a new one, and judge both on other images.

    Args:
        target: a run, a bundle, or an .onnx file; None: the last run. It stays as it is.
        data: images of the site. Where they bring validation and test splits, those fit and judge; else each half.
        out: the new file, NAME.onnx, or a bundle, NAME.zoo or NAME.zoo.zip; nothing may be there.
        provider: execution provider.
        skip_bad: leave out images that cannot be read, and rows without a label.
        key: file of a public key: only a bundle signed by it is opened.
        include_seen: keep images that the model was trained or validated on.
        seed: seed of the halves.
        **reading: columns, group, keep_na, uncertain, frames; see `zoo.spec.Reading`.

    Raises:
        OutputError: something is at the place of the new file.
        UsageError: its name is not that of a model file, or the images are those of the model's own training.
        DataError: too few images, a class the model does not know, or a rule of an operating point that these images
            cannot follow.
        ModelError: the file holds no temperature that could be changed.
        GateError: the model has seen all of the images.
    """
    from zoo.artefact.quantize._running import open_file
    from zoo.edge.bundle import open_model
    from zoo.evaluation import doubt_temperature, fit_temperature
    from zoo.workflow._answered import answer_images
    from zoo.workflow._decide import choose_anew
    from zoo.workflow._images import share_unread
    from zoo.workflow._judge import check_takes, judge
    from zoo.workflow._prove import write_report
    from zoo.workflow._refer import draw_reference
    from zoo.workflow._site import compare_losses, divide
    from zoo.workflow.evaluate import only_readable, open_target

    place = _check_place(Path(out))
    if data is None:
        raise UsageError(
            "--recalibrate fits to images of another site than the model's own; name them with --data",
            code="option-missing",
            options=["--data"],
        )
    found = open_target(target, data, split="test", provider=provider, skip_bad=skip_bad, key=key, **reading)
    _refuse_own(found, data)
    if skip_bad and len(found.splits.val):  # it fits; else a part of test does
        found = dataclasses.replace(found, splits=only_readable(found.splits, "val", found.runtime))
    contents = open_model(found.runtime.path, key=None if key is None else Path(key))
    graph = _Graph.of(contents, found.runtime.path)
    part = divide(found, seed=seed, include_seen=include_seen)
    old = found.runtime.manifest
    fit = check_takes(old, part.splits).val
    answered = answer_images(found.runtime, fit, old.provenance.config.seed)
    temperature = fit_temperature(answered.logits, fit.targets, fallback=old.temperature)
    doubt = doubt_temperature(answered.logits, fit.targets)
    kept = doubt and f"{TEMPERATURE_STAYS} {old.temperature:.4g}, because the images cannot tell another: {doubt}"
    note = (
        f"{RECALIBRATED} on {format_count(len(fit), 'image')} of other data, {part.splits.fingerprint.name}, sha256 "
        f"{part.splits.fingerprint.sha256}"
        + ("" if kept else f": temperature {old.temperature:.4g} became {temperature:.4g}")
    )
    bare = msgspec.structs.replace(
        old, temperature=temperature, report=None, reference=None, files={}, sizes={}, golden=None
    )
    new, settled = choose_anew(bare, answered.logits, fit, noun="image", before=old.temperature)
    settled = (*([kept] if kept else ()), *settled)
    graph.set_temperature(temperature)
    runtime = open_file(graph.model, new, reference=False)
    unread = share_unread(part.splits, "val")
    new = msgspec.structs.replace(new, reference=draw_reference(answered, new, unread=unread, source="recalibration"))
    before, after = (judge(found.plugin, one, part.splits, "test", seen=part.seen) for one in (found.runtime, runtime))
    nll, brier = compare_losses(before, after, old.temperature, temperature)
    change = (
        f"{RECALIBRATION}on {format_count(after.report.n, 'other image')} of the site the negative log-likelihood "
        f"changed by {nll} nats and the Brier score by {brier} (95 % intervals)"
    )
    said = (note, *(f"{RECALIBRATED}: {one}" for one in settled), change)
    new = msgspec.structs.replace(
        new, provenance=msgspec.structs.replace(old.provenance, notes=(*old.provenance.notes, *said))
    )
    report = msgspec.structs.replace(after.report, notes=(*after.report.notes, *said))
    new = write_report(graph.model, new, report)
    _write(place, graph.model.SerializeToString(), new, runtime, _join_seen(found, contents, fit))
    return Recalibration(
        path=str(place),
        fitted=len(fit),
        how=part.how,
        temperature_before=old.temperature,
        temperature=temperature,
        before=before.report,
        after=report,
        nll=nll,
        brier=brier,
        notes=(*part.notes, *settled, *_say_kept(contents)),
    )


def _refuse_own(found: Target, data: str | Path) -> None:
    """Refuse the images that the model was trained with."""
    if found.own:
        raise UsageError(
            f"{data} is what {found.runtime.manifest.name} was trained with, whose validation images have calibrated "
            "it already; name images of another site with --data",
            code="recalibrate-own",
            model=found.runtime.manifest.name,
        )


def _say_kept(old: Contents) -> list[str]:
    """What the new file has not from the old one, and what it keeps."""
    notes = []
    if old.signed != "none":
        notes.append("the signature of the bundle does not carry over; sign the new one with 'zoo sign'")
    if old.manifest.novelty is not None:
        notes.append("the threshold of novelty is that of training")
    return notes


@dataclass(frozen=True, slots=True, eq=False)
class _Graph:
    """The model's graph, whose temperature can be changed."""

    model: onnx.ModelProto
    at: int

    @classmethod
    def of(cls, contents: Contents, path: Path) -> _Graph:
        """Find the temperature before any image is read."""
        import onnx

        model = onnx.load_from_string(contents.model)  # from bytes: no path can lead to another file
        at = [place for place, one in enumerate(model.graph.initializer) if one.name == _TEMPERATURE]
        if len(at) != 1:
            raise ModelError(
                f"{path}: its graph holds no temperature of its own; export it again from its run",
                code="recalibrate-graph",
                path=str(path),
            )
        return cls(model, at[0])

    def set_temperature(self, value: float) -> None:
        """Replace it."""
        import numpy as np
        import onnx

        fresh = onnx.numpy_helper.from_array(np.asarray(value, np.float32), _TEMPERATURE)
        self.model.graph.initializer[self.at].CopyFrom(fresh)


def _check_place(out: Path) -> Path:
    if not out.name.endswith((".onnx", ".zoo", ".zoo.zip")):
        raise UsageError(
            f"--recalibrate {out}: expected a name that ends in .onnx, or in .zoo or .zoo.zip for a bundle",
            code="out-name",
            path=str(out),
        )
    if os.path.lexists(out):
        raise OutputError(
            f"{out} is there already, and a recalibrated file takes the place of none; choose another place",
            code="out-occupied",
            path=str(out),
        )
    return out


def _join_seen(found: Target, contents: Contents, fit: ImageSet) -> bytes | None:
    """What the new bundle tells of seen images: those of the old file, and those it was fitted on."""
    from zoo.data import add_seen

    return None if found.seen is None else add_seen(found.seen, fit, contents.manifest.provenance.run)


def _write(place: Path, content: bytes, manifest: Manifest, runtime: Runtime, seen: bytes | None) -> None:
    from zoo._support.files import atomic_write
    from zoo.workflow._golden import write_proven_bundle

    if place.name.endswith(".onnx"):
        atomic_write(place, content)
        return
    predict = None if manifest.quantization is None else runtime.logits  # as `zoo.workflow.export` does
    write_proven_bundle(place, content, manifest, golden="generated", splits=None, predict=predict, seen=seen)


def _rows(before: EvalReport, after: EvalReport) -> list[dict[str, object]]:
    """What recalibration may change, before and after."""
    rows: list[dict[str, object]] = []

    def add(what: str, was: object, now: object) -> None:
        rows.append({"what": what, "before": was, "after": now})

    if before.calibration is not None and after.calibration is not None:
        add("NLL", before.calibration.nll, after.calibration.nll)
        add("Brier", before.calibration.brier, after.calibration.brier)
        add("ECE", before.calibration.ece, after.calibration.ece)
    if before.conformal is not None:
        now = None if after.conformal is None else after.conformal.reached  # too few images may leave no sets
        add(f"coverage ({before.conformal.wanted:g} wanted)", before.conformal.reached, now)
    if before.operating is not None and after.operating is not None:
        for point, anew in zip(before.operating.points, after.operating.points, strict=True):
            add(f"sensitivity of {anew.label} ({anew.rule})", point.sensitivity, anew.sensitivity)
            add(f"specificity of {anew.label} ({anew.rule})", point.specificity, anew.specificity)
    if "accuracy" in before.metrics and "accuracy" in after.metrics:
        add("accuracy", before.metrics["accuracy"], after.metrics["accuracy"])
    return rows
