"""A teacher's answers on the training images, and how far a student is from them.

The answers are of the plain images and were written into the run before training (`zoo.workflow._teacher`): training
reads them, so a run that is resumed gives the same bytes. The student sees the images augmented.
"""

from __future__ import annotations

import dataclasses
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from zoo._support.files import sha256_bytes
from zoo._support.text import quote_path
from zoo.errors import TrainingError
from zoo.learn._images import gather, hold
from zoo.runs import TAUGHT
from zoo.spec import UNKNOWN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.data import Splits
    from zoo.learn._distributed import Peers
    from zoo.learn._images import Part
    from zoo.runs import RunFolder
    from zoo.spec import TrainConfig

__all__ = ["Lesson", "distance", "read_lesson"]


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What a teacher says of the images of one training.

    Attributes:
        answers: (n, K) float32, its calibrated logits of all training images.
        weight: share of the loss, in (0, 1].
        temperature: as in `distance`.
        balanced: whether it takes classes for equally frequent, as `TrainConfig.balanced`.
    """

    answers: Tensor
    weight: float
    temperature: float
    balanced: bool = False

    def shifted(self, by: Tensor) -> Lesson:
        """The same lesson with (K,) float32 added to all answers."""
        return dataclasses.replace(self, answers=self.answers + by.to(self.answers.device), balanced=not self.balanced)

    def mix(self, error: Tensor, logits: Tensor, targets: Tensor, index: Tensor) -> Tensor:
        """The loss of a batch: by the labels and by the teacher.

        Args:
            error: mean loss by the labels.
            logits: (B, K) float32.
            targets: (B,) or (B, K) int64, as in `zoo.learn._objective.loss`.
            index: (B,) int64 on the CPU, which training images they are of.
        """
        answers = gather(self.answers, index, logits.device)
        return (1 - self.weight) * error + self.weight * distance(logits, answers, targets, self.temperature)


def distance(logits: Tensor, answers: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """How far a student is from a teacher, in nats (Hinton et al. 2015, section 2), mean over images.

    T² KL(softmax(answers / T), softmax(logits / T)); the factor keeps the gradient as large at any T. Several labels:
    the same of each label's two outcomes, mean over the labels that are known, so that an unknown label counts nowhere.

    Args:
        logits: (N, K) float32, the student's.
        answers: (N, K) float32, the teacher's.
        targets: (N,) of one label an image; (N, K) of several, where UNKNOWN leaves a label out.
        temperature: T, above 0.
    """
    z, a = logits / temperature, answers / temperature
    if targets.ndim == 1:
        apart = functional.kl_div(z.log_softmax(1), a.log_softmax(1), reduction="batchmean", log_target=True)
        return temperature**2 * apart
    known = (targets != UNKNOWN).to(logits.dtype)
    said = torch.sigmoid(a)
    held = said * (functional.logsigmoid(a) - functional.logsigmoid(z))
    absent = (1 - said) * (functional.logsigmoid(-a) - functional.logsigmoid(-z))
    return temperature**2 * (known * (held + absent)).sum() / known.sum().clamp(min=1)


def read_lesson(  # noqa: PLR0917 - what the loop has, in its order
    run: RunFolder, data: Splits, train: Part, config: TrainConfig, device: torch.device, peers: Peers
) -> Lesson | None:
    """The lesson of a run; None: it has no teacher.

    Args:
        run: with the answers in it.
        data: its images.
        train: those that training goes over: data.train without what was left out.
        config: how much the teacher counts.
        device: where the loss is computed.
        peers: processes that train; the first one wrote the answers.

    Raises:
        TrainingError: the answers are missing, changed, or not of these images.
    """
    teacher = run.record.teacher
    if teacher is None:
        return None
    peers.agree(None, patient=True)  # the others may be here before the answers are
    answers = _read(run, len(data.train), len(data.labels), check=peers.first)
    if len(train.ids) != len(data.train):
        place = {name: row for row, name in enumerate(data.train.ids)}
        answers = answers[[place[name] for name in train.ids]]
    lost = np.isnan(answers).any(axis=1, keepdims=True).ravel()
    if lost.any():
        first = train.ids[int(lost.argmax())]
        raise TrainingError(
            f"the teacher has no answer for {int(lost.sum())} of {len(answers)} training images, the first is {first}; "
            "it takes images of another kind or range, choose another teacher",
            code="teacher-unanswered",
            count=int(lost.sum()),
            of=len(answers),
            image=str(first),
        )
    return Lesson(hold(answers, device), config.teacher_weight, config.teacher_temperature, teacher.balanced)


def _read(run: RunFolder, images: int, classes: int, *, check: bool) -> NDArray[np.float32]:
    """(n, K) float32; `check`: this process knows the checksum."""
    place = run.file(TAUGHT)
    try:
        content = place.read_bytes()
        if check and sha256_bytes(content) != run.record.taught:
            raise ValueError("another file")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            answers = np.asarray(arrays["logits"], np.float32)
        if answers.shape != (images, classes):
            raise ValueError("of other images")
    except (OSError, ValueError, KeyError, EOFError) as problem:
        raise TrainingError(
            f"{quote_path(place)} does not hold the answers of the teacher that this run began with ({problem}); bring "
            "a good copy back, or train a new run",
            code="teacher-answers",
            path=str(place),
            expected=run.record.taught,
        ) from None
    return answers
