"""`zoo train`: a card and images to a run, its best epoch through the gate, and the numbers of its file on test.

Heavy packages are imported inside the functions.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, Unpack

import msgspec

from zoo._support.interrupts import sigterm_as_interrupt
from zoo._support.text import quote_path
from zoo.errors import NotFirstRankError, OutputError, TrainingError, ZooError
from zoo.spec import Budget, Display, EvalReport, Member, Table, check_budget, encode
from zoo.workflow._find import MODEL_FILE, REPORT_FILE
from zoo.workflow._settings import read_settings, spell_setting
from zoo.workflow._ship import ship

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from zoo.artefact import Shippable
    from zoo.evaluation.comparison import Comparison
    from zoo.plugin import ModelPlugin
    from zoo.runs import Best, Callback, RunFolder
    from zoo.spec import Manifest
    from zoo.workflow._begin import Job, Plan
    from zoo.workflow._continue import BeforeAfter
    from zoo.workflow._resume import Step

__all__ = ["TrainResult", "carry_out", "fit", "read_result", "read_settings", "spell_setting", "train", "watch"]

T = TypeVar("T")

log = logging.getLogger("zoo")


class TrainResult(Display, msgspec.Struct, frozen=True, kw_only=True):
    """What a training run gave."""

    run: str
    """The run folder."""
    model: str
    best: Best | None
    """epoch, metric and value of the weights that were kept."""
    images_per_second: float | None
    seconds: float | None
    epochs: int
    """That were trained; 1 of what is fitted in one step."""
    class_weight: str
    """How classes were weighed: "none" or "balanced"; of an ensemble's members each word once."""
    loss: str
    """What was minimised, or what "auto" took; of an ensemble's members each word once."""
    test: EvalReport
    """Of the exported file, on the test images, from raw pixels."""
    members: tuple[Member, ...] = ()
    """Of an ensemble its networks, with their weights; empty: one network."""
    passed_over: dict[str, int] = {}
    """Files of the data's folder that are not read as images, by their format."""
    comparison: Comparison | None = None
    """Of an ensemble: its file beside each member's on the test images."""
    before_after: BeforeAfter | None = None
    """Of a run that continues another: the old test set, judged by the old file and by the new one."""

    def headline(self) -> str:
        """The run, and what its file did on the test images."""
        return f"{self.run}: {self.test.headline()}"

    def tables(self) -> dict[str, Table]:
        """Those of the report."""
        return self.test.tables()

    def remarks(self) -> tuple[str, ...]:
        """The notes of the report."""
        return self.test.notes


def train(
    model: str,
    data: str | Path | None = None,
    *,
    out: str | Path | None = None,
    resume: bool | Literal["auto"] = False,
    overwrite: bool = False,
    skip_bad: bool = False,
    callbacks: Iterable[str | Callback] = (),
    **budget: Unpack[Budget],
) -> TrainResult:
    """Train a model, export its best epoch by the validation metric through the parity gate, evaluate the file.

    Args:
        model: a name from `models()`, timm/NAME, hf-hub:ORG/NAME, local-dir:PATH, or ensemble:RUN,RUN…, the weighted
            mean of finished runs.
        data: a folder of class folders, a table, a MedMNIST-style .npz, or "digits"; None: "digits", or with `resume`
            the images the run began with.
        out: the run folder; None: runs/MODEL-TIME.
        resume: continue the run in `out` (or the last one) where it was interrupted. "auto": begin a run in `out`
            where there is none or one that left nothing, continue one that is unfinished, and report one that is done
            with the same images; so the same call can be repeated until it ends well.
        overwrite: replace a run that is in `out`.
        skip_bad: leave unreadable images out, and record them, instead of refusing the set.
        callbacks: who hears of the training: names as `--log` takes them, such as "tensorboard", and objects that are a
            `zoo.runs.Callback`.
        **budget: epochs, budget, batch_size, lr, size, seed, device, precision, pretrained, weights, start_from,
            teacher, freeze, leaks, fold, folds, loss, metric, task, order, columns, group, keep_na, uncertain, frames,
            settings; see `zoo.spec.Budget`.

    Raises:
        ZooError: any kind; see `zoo.errors`. GateError: the export differs from what was trained, or
            images or groups are in two splits. NotFirstRankError: under torchrun, in every process but the first.
    """
    from zoo import registry
    from zoo.loggers import find_callbacks
    from zoo.runs import TrainContext, open_run, refuse_occupied
    from zoo.workflow import _begin, _continue, _folds, _resume, ensemble
    from zoo.workflow._images import images_of

    began = time.monotonic()
    check_budget(budget)
    first = TrainContext().first
    listening = find_callbacks(callbacks) if first else ()
    with watch(model, first=first) as watched:
        card = registry.find(model)
        loaded = registry.load(card.plugin)
        if card.members:
            ensemble.refuse_idle(budget, resume=resume is True, skip_bad=skip_bad)
        place = _resume.place_of(Path(out) if out else None, budget, resume=resume, overwrite=overwrite)
        if place is not None:
            watched.hold(place)
        again = place is not None and os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"
        if resume or again:
            watched.meet()

        def choose() -> Step:
            own = not resume and again and _resume.is_own(place, overwrite=overwrite)
            return _resume.choose_step(card, budget, place, resume="auto" if own else resume)

        step = _agree(choose) if resume or again else "begin"
        if step == "report" and place is not None and first:
            if data is not None:
                images_of(open_run(place), data)  # its numbers are of no others
            log.info("%s is done already; this is what it gave", place)
            return read_result(place)
        if step == "continue" and place is not None:
            watched.job = _resume.resume(loaded, data, budget, path=place, skip_bad=skip_bad)
        elif step == "begin" and card.members:
            watched.job = ensemble.begin(card, loaded, data, budget, out=place, hold=watched.hold, overwrite=overwrite)
        elif step == "begin":
            if place is not None and first:
                refuse_occupied(place, overwrite=overwrite)
            _folds.refuse_none(budget, place)
            _continue.refuse_request(budget, data, place)
            source = "digits" if data is None else data
            plan = _begin.prepare(card, loaded, source, budget, skip_bad=skip_bad, began=began)
            watched.job = _begin.begin(plan, out=place, hold=watched.hold, overwrite=overwrite)
        if again and place is not None and step != "report":
            _agree(lambda: step)
            _resume.see_run(place)
        return _carry_out(loaded.plugin, watched, listening)


def carry_out(plan: Plan) -> TrainResult:
    """A training that `prepare` has decided, in a new run below runs/."""
    from zoo.workflow._begin import begin

    with watch(plan.record.card.name, first=plan.context.first) as watched:
        watched.job = begin(plan, out=None, hold=watched.hold)
        return _carry_out(plan.loaded.plugin, watched)


@dataclass
class _Watched:
    """One training under way: the locks that it holds, and its run once there is one."""

    first: bool
    locks: contextlib.ExitStack
    job: Job | None = None

    def hold(self, path: Path) -> None:
        """Let nobody else train the run in `path` until this training ends."""
        from zoo.runs import hold_run

        self.locks.enter_context(hold_run(path, first=self.first))

    def meet(self) -> None:
        """Join the other processes until this training ends: what ends before is noticed by all of them."""
        if os.environ.get("WORLD_SIZE", "1") != "1":
            from zoo.learn import meet

            self.locks.enter_context(meet())


@contextlib.contextmanager
def watch(model: str, *, first: bool) -> Iterator[_Watched]:
    """What holds for a training from before its run to its end: locks, and what a stop leaves."""
    from zoo.runs import describe_stop

    with sigterm_as_interrupt(), contextlib.ExitStack() as locks:
        watched = _Watched(first, locks)
        try:
            yield watched
        except BaseException as problem:
            job = watched.job
            with contextlib.suppress(ZooError):  # the first error is the one to tell
                _tell_end(job, None)
            left = _leave(job, problem)
            if isinstance(problem, KeyboardInterrupt):
                raise KeyboardInterrupt(describe_stop(job.run if job else None, model, left=left)) from None
            raise


def _agree(choose: Callable[[], Step]) -> Step:
    """What the first process chooses, in every process that torchrun started."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return choose()
    from zoo.learn import hear_first

    return hear_first(choose)


def _carry_out(plugin: ModelPlugin, watched: _Watched, listening: tuple[Callback, ...] = ()) -> TrainResult:
    """A training that has begun, to its end.

    Raises:
        NotFirstRankError: under torchrun, in every process but the first.
    """
    job = watched.job
    if job is None:
        raise NotFirstRankError("the first process has the result")
    job = watched.job = dataclasses.replace(job, context=dataclasses.replace(job.context, callbacks=listening))
    for one in listening:
        one.start(job.run)
    with _to_the_end():
        trained = fit(plugin, job)
        if not job.context.first:
            raise NotFirstRankError("this process trained along; the first one exports and evaluates")
        result = _finish(plugin, trained, job)
    _tell_end(job, result.test)
    return result


def _to_the_end() -> contextlib.AbstractContextManager[None]:
    """Of several nodes each stays until the first process is done: torchrun starts none again that has left."""
    if os.environ.get("GROUP_WORLD_SIZE", "1") == "1":
        return contextlib.nullcontext()
    from zoo.learn import to_the_end

    return to_the_end()


def _tell_end(job: Job | None, report: EvalReport | None) -> None:
    """Tell everybody who listens that training is over."""
    for one in () if job is None else job.context.callbacks:
        one.end(report)


def fit(plugin: ModelPlugin, job: Job) -> Shippable:
    """What the plugin trains, or what it has trained before the run was interrupted."""
    from zoo.runs import check_learnt
    from zoo.workflow._prove import shippable

    run, record = job.run, job.run.record
    if record.status in {"trained", "done"}:
        check_learnt(run)
        return shippable(plugin.load(record.card, run), record)
    trained = plugin.train(record.card, job.data, record.card.train, run, job.context)
    return shippable(trained, run.record)


def _finish(plugin: ModelPlugin, trained: Shippable, job: Job) -> TrainResult:
    """Export through the gate, evaluate the file on test, write it all down."""
    from zoo._support.files import sha256_file
    from zoo.data import TRAINED_ON
    from zoo.edge import Runtime
    from zoo.runs import settle
    from zoo.workflow import _prove
    from zoo.workflow._continue import judge_before_after
    from zoo.workflow._folds import keep_answers
    from zoo.workflow._judge import judge, write_answers
    from zoo.workflow.ensemble import beside_members
    from zoo.workflow.report import try_to_write, write_trained

    run, target = job.run, job.run.file(MODEL_FILE)
    shipped = ship(trained, job)
    model, manifest, temperature = shipped.model, shipped.manifest, run.record.temperature
    if shipped.expected is None:
        judged = judge(plugin, Runtime.open(target), shipped.splits, "test", seen=job.seen)
        report = judged.report
    else:
        report = shipped.expected.report
    _prove.write_report(model, manifest, report)
    _prove.save_model(target, model)
    if shipped.expected is None:
        write_answers(run.path, judged, temperature)
        keep_answers(run, judged)
    else:
        run.write(REPORT_FILE, encode(report))
    comparison = beside_members(run, job.data) if manifest.members and shipped.expected is None else None
    before_after = judge_before_after(run) if run.record.continues else None
    seen = run.file(TRAINED_ON)
    settled = {"proven": sha256_file(target), "seen": sha256_file(seen) if seen.is_file() else None}
    if shipped.expected is None:  # before the run is done: a kill or a full disk here is met as anywhere
        shown = run.in_memory()
        shown.update(**settled)
        try_to_write(run.path, lambda: write_trained(shown, judged, manifest, shipped.splits))
    run.update(status="done", trainer=None, **settled)
    settle(run, kept=True)
    result = _result_of(run, report, manifest)
    return msgspec.structs.replace(
        result, passed_over=dict(job.data.passed_over), comparison=comparison, before_after=before_after
    )


def _result_of(run: RunFolder, report: EvalReport, manifest: Manifest) -> TrainResult:
    from zoo.workflow._judge import losses_of, weights_of_classes

    record = run.record
    return TrainResult(
        run=str(run.path),
        model=record.card.name,
        best=record.best,
        images_per_second=record.images_per_second,
        seconds=record.seconds,
        epochs=record.epochs_done,
        class_weight=weights_of_classes(manifest),
        loss=losses_of(manifest),
        test=report,
        members=manifest.members,
    )


def read_result(path: Path) -> TrainResult:
    """What a run that is done gave, from its files.

    Raises:
        TrainingError: report.json is missing or damaged.
    """
    from zoo.edge.bundle import open_model
    from zoo.evaluation.comparison import Comparison
    from zoo.runs import open_run, settle
    from zoo.spec import decode
    from zoo.workflow._continue import BEFORE_AFTER, BeforeAfter
    from zoo.workflow.ensemble import COMPARISON

    run = open_run(path)
    settle(run, kept=True)  # what a kill after the last write has left

    def read(name: str, kind: type[T]) -> T:
        try:
            return decode(run.file(name).read_bytes(), kind, str(run.file(name)), TrainingError)
        except OSError:
            raise TrainingError(
                f"{quote_path(run.file(name))} is missing, though the run is done; train it again with --overwrite",
                code="run-incomplete",
                path=str(run.file(name)),
            ) from None

    manifest = open_model(run.file(MODEL_FILE)).manifest
    compared = manifest.members and run.record.card.train.fold != "none"  # else it has no test images
    return msgspec.structs.replace(
        _result_of(run, read(REPORT_FILE, EvalReport), manifest),
        comparison=read(COMPARISON, Comparison) if compared else None,
        before_after=read(BEFORE_AFTER, BeforeAfter) if run.record.continues else None,
    )


def _leave(job: Job | None, problem: BaseException) -> bool:
    """End a training that came to no end: keep what is of worth, say where the run is that was to be replaced.

    Returns:
        Whether the run is there still.
    """
    from zoo.runs import replaced_run, settle

    if job is None or not job.context.first:
        return job is not None
    run = job.run
    run.reload()
    if run.record.best is None and not run.record.steps_done and not job.context.resuming:
        settle(run, kept=False)
        return False
    if run.record.status == "training":
        with contextlib.suppress(OutputError):  # a full disk may be what stopped it
            run.update(status="interrupted")
    old = replaced_run(run.path)
    if old is not None and not isinstance(problem, KeyboardInterrupt):  # a hint says it after Ctrl-C
        log.warning("%s: the run that it replaces waits in %s until it is done", run.path, old)
    return True
