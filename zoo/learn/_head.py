"""Training of the head alone (`--freeze`): features are computed once, then a convex fit finds the one best head.

The backbone stays as the weights brought it, BatchNorm in evaluation mode. A head that is one linear layer is a
logistic regression on its features, so there is one optimum and no learning rate: L-BFGS finds it in seconds, and
nothing is random. Features are standardised for the fit, and what was subtracted and divided by goes into weight and
bias of the layer. The strength of the L2 penalty is the one of `STRENGTHS` with the lowest validation loss.

What this module does not know: which loss it is. It minimises the run's own `Objective`, and the strength is judged by
it, so that weights of classes, several labels and unknown ones hold here as in the loop.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn

from zoo.errors import PluginError, TrainingError
from zoo.learn._averaging import moving_average
from zoo.learn._batches import standardize, to_unit
from zoo.learn._beside import encode_beside
from zoo.learn._checkpoint import STATE_FILE, WEIGHTS_FILE, State, check_same_run, load_state, save_weights
from zoo.learn._distributed import Peers
from zoo.learn._divergence import Losses
from zoo.learn._features import FEATURES_FILE, compute_features, find_last_layer, torch_features
from zoo.learn._fit import Fitted, watch
from zoo.learn._history import Epoch, HistoryFile, best_of, draw_history
from zoo.learn._images import Feed, decode_splits, hold
from zoo.learn._lesson import read_lesson
from zoo.learn._objective import Objective, Scores, objective_of, score
from zoo.learn._precision import Numerics
from zoo.learn._predict import torch_predict
from zoo.learn._progress import report_progress
from zoo.learn._refusals import check_batches, find_state
from zoo.learn._saving import Checkpoints
from zoo.learn._validation import Validation
from zoo.preprocess import channels_of
from zoo.runs import remove_leftovers

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from zoo.data import Splits
    from zoo.evaluation import Predict
    from zoo.runs import RunFolder, TrainContext
    from zoo.spec import PreprocessSpec, TrainConfig

    OpenFeatures = Callable[[nn.Module], Predict | None]

__all__ = ["fit_head"]

STRENGTHS = tuple(10.0**-k for k in np.arange(0, 4.5, 0.5).tolist())
"""Factors of the L2 penalty on standardised features, per image, from strong to weak: 1 to 1e-4. For n images
scikit-learn calls it C = 1 / (n strength)."""

PATIENCE = 2
"""Weaker penalties in a row without a lower validation loss, after which none is tried: the curve has one valley."""

_PROOF = 8
"""Validation images on which the network with its new head is compared with the head on features."""

_STEPS = 300

_GRADIENT = 1e-4
"""L-BFGS ends where no entry of the gradient is larger, as scikit-learn's LogisticRegression does (tol). Where the
penalty is weak, it ends at a tenth of it: else the penalty would decide nothing."""

_CLOSE = 1e-3
"""Largest difference, relative to the largest logit, between the network and its head on features: float32 sums."""

log = logging.getLogger("zoo")


def fit_head(  # noqa: PLR0917 - as `fit`
    model: nn.Module,
    data: Splits,
    spec: PreprocessSpec,
    config: TrainConfig,
    run: RunFolder,
    context: TrainContext,
    *,
    open_features: OpenFeatures,
) -> Fitted:
    """Train the head of `model` on features of every image, and of its mirror images as far as augmentation flips.

    What is left in the run is as after `fit`, with one row in history.csv, of which `context.callbacks` hear. Under
    torchrun the first process computes, the others wait for its weights.

    Args:
        model: (N, C, H, W) float32 to (N, K) logits, with pretrained weights; where training resumes they come from the
            run's state.
        data: train and val are read, test is not.
        spec: from raw image to input.
        config: the recipe; of augmentation only the flip is used, and nothing of what is of steps.
        run: where to write.
        context: whether to resume, and what else was asked for.
        open_features: gives the function of a network that a CPU uses, (N, C, h, w) float32, preprocessed, to (N, D)
            float32; None: it has none. That is the graph which `frozen:CARD` uses too, several times as fast as torch
            (lite0: 65 images for each second of a core, 13 in torch).

    Raises:
        GateError: the graph's features are not the network's.
        PluginError: the network has no single last layer with a bias, or does something after it.
        TrainingError: too few images, nothing to resume, or a state that began under other conditions.
        DataError: an image cannot be read and `context.skip_bad` is off.
        OutputError: the run folder cannot be written.
    """
    layer = find_last_layer(model.eval(), channels=channels_of(spec), size=spec.size)
    if not isinstance(layer, nn.Linear | nn.Conv2d) or layer.bias is None or len(layer.bias) != len(data.labels):
        raise _no_head(model)
    with watch(spec, config, run) as peers:
        fitted = None
        if peers.first:
            fitted = _fit_first(model, layer, data, spec, config, run, context, peers, open_features)
        elif run.record.teacher is not None:
            peers.agree(None, patient=True)  # as `read_lesson` does in the first
        fitted = peers.agree(fitted, patient=True)
        model.to(peers.device)
        peers.copy_from_first(model)
        model.to("cpu").eval()
        return cast("Fitted", fitted)


def _fit_first(  # noqa: PLR0917 - as `fit`
    model: nn.Module,
    layer: nn.Linear | nn.Conv2d,
    data: Splits,
    spec: PreprocessSpec,
    config: TrainConfig,
    run: RunFolder,
    context: TrainContext,
    peers: Peers,
    open_features: OpenFeatures,
) -> Fitted:
    device = peers.device
    alone = Peers(0, 1, device)  # the others wait
    train, val, _ = decode_splits(data, spec, config, run, context, alone)
    feed, held_out = Feed.of(train, spec, device), Feed.of(val, spec, device)
    check_batches(len(feed), config, 1)
    ordered = data.task == "ordinal"
    lesson = read_lesson(run, data, train, config, device, peers)
    objective = objective_of(train.targets, len(data.labels), config, device, ordered=ordered, lesson=lesson)

    before = find_state(run, context)
    numerics = _numerics_of(device)
    average, optimizer = moving_average(model, 0), torch.optim.SGD(model.parameters())  # both only for the state
    losses = Losses(feed, train.ids, spec, run, config.lr)
    state = State(
        config=config, preprocess=spec, labels=data.labels, data=data.fingerprint, images=len(feed), numerics=numerics,
        history=(),
    )  # fmt: skip
    if before is None:
        run.file(FEATURES_FILE).unlink(missing_ok=True)
        Checkpoints(run, model, average, optimizer, losses.refuse).write(state)
    else:
        check_same_run(before, state, run.record.diverged)
        load_state(run.file(STATE_FILE), model, average, optimizer)
    remove_leftovers(run.path)
    run.update(status="training", precision=numerics.text, threads=torch.get_num_threads())

    start = time.perf_counter()
    parts = [(feed, None), *((feed, axis) for axis in config.mirrored), (held_out, None)]
    images, length = sum(len(part) for part, _ in parts), layer.weight[0].numel()
    log.info("computing features of %d images once, on %s", images, numerics.text)
    features = open_features(model) if device.type == "cpu" else torch_features(model, layer, device, 32)
    if features is None:
        raise _no_head(model)
    with report_progress(1, images, config.metric, done=0, quiet=False) as report:
        rows = compute_features(features, length, parts, spec, run.file(FEATURES_FILE), report).to(device)
        learning, judged = rows[: -len(held_out)], rows[-len(held_out) :]
        index = torch.arange(len(feed)).repeat(len(parts) - 1)
        validation = Validation(
            held_out,
            val.targets,
            spec,
            config,
            numerics,
            data.labels,
            ordered,
            encode_beside(model, val, device),
            alone,
        )
        found = _choose(
            learning, index, objective, judged, _judge_by(objective, val.targets, device), classes=len(data.labels)
        )
        _fill(layer, found)
        _check_fold(model, found, judged, held_out, spec)

        # A file that answers by mirror images too is judged by both, and validation images have features of one.
        scores = validation.judge(model.to(device)) if config.flips else _score(found, judged, validation)
        losses.check(scores.loss)
        spent = time.perf_counter() - start
        row = Epoch(
            epoch=1,
            lr=0.0,
            train_loss=found.loss,
            images_per_second=len(feed) / spent,
            seconds=spent,
            metric=config.metric,
            **scores.columns(),
        )
        save_weights(model, run.file(WEIGHTS_FILE))
        best = best_of([row])
        run.add_notes(
            [f"freeze: L2 strength {found.strength:.2g} of {STRENGTHS[0]:g} to {STRENGTHS[-1]:g}, by validation loss"],
            best=best,
            epochs_done=1,
            images_per_second=row.images_per_second,
            seconds=spent,
        )
        for one in (report, HistoryFile(run.file("history.csv"), [row]), *context.callbacks):
            one.epoch(row.columns)
    draw_history(run.file("history.png"), [row])
    run.file(FEATURES_FILE).unlink(missing_ok=True)
    return Fitted(
        best=best, epochs_done=1, images_per_second=row.images_per_second, seconds=spent, precision=numerics.text
    )


def _numerics_of(device: torch.device) -> Numerics:
    """How features are computed on a device: always in fp32, as the file that ships computes them."""
    if device.type == "cpu":
        return Numerics(device="cpu", bf16=False, channels_last=False, text="cpu, fp32, ONNX Runtime")
    return Numerics(device="cuda", bf16=False, channels_last=False, text=f"{device}, fp32, contiguous")


@dataclass(frozen=True, slots=True, eq=False)
class _Head:
    """A linear layer for features as the network gives them.

    Attributes:
        weight: (K, D) float32.
        bias: (K,) float32.
        strength: of the penalty.
        loss: mean objective of the training features, without the penalty.
    """

    weight: Tensor
    bias: Tensor
    strength: float
    loss: float

    def answer(self, rows: Tensor) -> Tensor:
        """(n, D) features to (n, K) logits."""
        return rows @ self.weight.T + self.bias


def _score(head: _Head, rows: Tensor, validation: Validation) -> Scores:
    """As `Validation.judge`, by features of the same images."""
    targets = torch.from_numpy(validation.targets)
    metric, labels = validation.config.metric, validation.labels
    return score(head.answer(rows).cpu(), targets, metric, labels, ordered=validation.ordered)


def _judge_by(objective: Objective, targets: NDArray[np.int64], device: torch.device) -> Objective:
    """The same loss of other images, by their labels as they are: no teacher was asked about them, nothing is smoothed.

    Weights of classes and the prior stay those of the training images.
    """
    return dataclasses.replace(objective, targets=hold(targets, device), label_smoothing=0.0, lesson=None)


def _choose(
    learning: Tensor, index: Tensor, objective: Objective, held_out: Tensor, judge: Objective, *, classes: int
) -> _Head:
    """The head of the strength with the lowest validation loss; each fit begins where the last one ended.

    Args:
        learning: (n, D) features to learn from.
        index: (n,) int64, which training images they are of.
        objective: what is minimised.
        held_out: (m, D) features of the validation images.
        judge: loss of these.
        classes: K.
    """
    mean, spread = learning.mean(dim=0), learning.std(dim=0, correction=0)
    spread = torch.where(spread > 0, spread, torch.ones_like(spread))  # a feature that never changes says nothing
    rows = (learning - mean) / spread
    at = np.zeros(classes * (rows.shape[1] + 1))
    best, least, behind = None, np.inf, 0
    for strength in STRENGTHS:
        at = _minimise(rows, index, objective, strength, at)
        flat = torch.from_numpy(at).to(rows.device).view(classes, -1)  # float64: the fold rounds once
        weight = flat[:, :-1] / spread
        bias = flat[:, -1] - weight @ mean.double()
        head = _Head(weight.float(), bias.float(), strength, 0.0)
        loss = float(judge(head.answer(held_out), torch.arange(len(held_out))))
        if loss < least:
            reached = float(objective(head.answer(learning), index))
            best, least, behind = dataclasses.replace(head, loss=reached), loss, 0
        else:
            behind += 1
        if behind >= PATIENCE:
            break
    if best is None:
        raise TrainingError(
            "no head has a finite validation loss; look at the weights that training began with",
            code="training-diverged",
            epoch=1,
        )
    return best


def _minimise(
    rows: Tensor, index: Tensor, objective: Objective, strength: float, start: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(K * (D + 1),) weights and bias that minimise objective + strength / 2 · |weights|², by L-BFGS."""
    from scipy.optimize import minimize

    def value(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        at = torch.from_numpy(flat).to(rows.device, rows.dtype).view(-1, rows.shape[1] + 1).requires_grad_()
        error = objective(rows @ at[:, :-1].T + at[:, -1], index) + strength / 2 * at[:, :-1].square().sum()
        (gradient,) = torch.autograd.grad(error, at)
        return float(error.detach()), gradient.flatten().double().cpu().numpy()

    options = {"maxiter": _STEPS, "gtol": min(_GRADIENT, strength / 10)}
    found = minimize(value, start, jac=True, method="L-BFGS-B", options=options)
    return np.asarray(found.x, np.float64)


def _fill(layer: nn.Linear | nn.Conv2d, found: _Head) -> None:
    with torch.no_grad():
        layer.weight.copy_(found.weight.view_as(layer.weight))
        layer.bias.copy_(found.bias)  # type: ignore[union-attr]


def _check_fold(model: nn.Module, found: _Head, judged: Tensor, images: Feed, spec: PreprocessSpec) -> None:
    """Refuse a network whose logits are not those of the head on its features."""
    (raw,) = images.batches([torch.arange(min(len(images), _PROOF))])
    got = torch_predict(model)(standardize(to_unit(raw, spec), spec).cpu().numpy())
    expected = found.answer(judged[: len(got)]).cpu().numpy()
    if got.shape != expected.shape or np.abs(got - expected).max() > _CLOSE * max(1.0, np.abs(expected).max()):
        raise _no_head(model)


def _no_head(network: nn.Module) -> PluginError:
    """The refusal of a network whose head cannot be trained alone."""
    name = type(network).__name__
    return PluginError(
        f"--freeze: {name} does not end in one linear layer with a bias that is given a row of features and gives the "
        "logits, expected one; train all of it, without --freeze",
        code="freeze-head",
        network=name,
    )
