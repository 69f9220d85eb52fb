"""What was asked and what was answered: n images with their targets, scores and decisions, for either task.

A label of a multilabel model and a class of a multiclass model are judged alike: it is there or not, called or
not, and ranked by a score. So `truth` and `chosen` are (n, K) for both, and metrics read those. Where the tasks
differ is said here and nowhere else: how probabilities come from logits, what is decided, what a loss is, how
much of an image is right, and which labels of an image are known. What is unknown counts nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo.errors import DataError
from zoo.evaluation._design import count_units
from zoo.evaluation._placements import Placements, place, place_scores
from zoo.evaluation._scores import Array, check_logits, log_odds, log_sigmoid, log_softmax, rank, task_of
from zoo.spec import UNKNOWN

if TYPE_CHECKING:
    from zoo.spec import Task

__all__ = ["Cases"]


@dataclass(frozen=True, eq=False)
class Cases:
    """Targets and scores of n images, checked and sorted once.

    Attributes:
        targets: (n,) int64 in [0, K); multilabel: (n, K) of zeros, ones and UNKNOWN.
        predicted: decisions in the shape of targets: the class of the largest logit; multilabel: 1 where the
            probability is at least 0.5. There the logit is at least 0, at any temperature.
        scores: (n, K) float64, what images are ranked by: log-odds in steps of SCORE_STEP.
        log_probabilities: (n, K) float64, <= 0.
        nll: (n,) float64, negative log-likelihood of an image's truth in nats; multilabel: its sum over known labels,
            divided by K. So the mean over known labels is its sum over images, divided by that of `share`.
        groups: (n,) int64 in [0, g), which images come from one patient; None: all images are independent.
        ordered: classes are grades in order, the lowest first.
    """

    targets: NDArray[np.int64]
    predicted: NDArray[np.int64]
    scores: Array
    log_probabilities: Array
    nll: Array
    groups: NDArray[np.int64] | None = None
    ordered: bool = False

    @classmethod
    def of(
        cls,
        logits: NDArray[Any],
        targets: NDArray[Any],
        temperature: float = 1.0,
        groups: NDArray[np.int64] | None = None,
        *,
        ordered: bool = False,
    ) -> Cases:
        """Cases from logits, (n, K), and targets, (n,) class numbers or (n, K) zeros, ones and UNKNOWN.

        Args:
            logits: before the temperature.
            targets: their shape says the task.
            temperature: logits are divided by it.
            groups: (n,) int, equal for images of one patient; any numbers.
            ordered: classes are grades in order; nothing is, of several labels.

        Raises:
            DataError: no image, fewer than two classes, no known label, or targets or groups that do not fit the
                logits.
            ModelError: a logit is not finite.
        """
        logits, targets = check_logits(logits, targets)
        if not temperature > 0:
            raise DataError(
                f"temperature is {temperature}, expected a number above 0",
                code="temperature-invalid",
                found=float(temperature),
            )
        if groups is not None:
            if np.shape(groups) != (len(logits),):
                raise DataError(
                    f"groups have shape {np.shape(groups)}, expected one for each of {len(logits)} images",
                    code="array-shape",
                    array="groups",
                    found=list(np.shape(groups)),
                    expected=[len(logits)],
                )
            groups = np.unique(groups, return_inverse=True)[1].astype(np.int64)
        scaled = logits / temperature
        if task_of(targets) == "multilabel":
            held, absent = log_sigmoid(scaled), log_sigmoid(-scaled)
            if (targets == UNKNOWN).all():
                raise DataError(
                    f"no label of the {len(targets)} images is known, expected some to judge the answers by; "
                    "name other images with --data or --split, or choose --uncertain positive or negative",
                    code="labels-unknown",
                    images=len(targets),
                )
            return cls(
                targets=targets,
                predicted=(logits >= 0).astype(np.int64),
                scores=rank(scaled),
                log_probabilities=held,
                nll=-np.where(targets == UNKNOWN, 0, np.where(targets == 1, held, absent)).mean(axis=1),
                groups=groups,
            )
        log_probabilities = log_softmax(scaled)
        return cls(
            targets=targets,
            predicted=logits.argmax(axis=1),
            scores=rank(log_odds(scaled)),
            log_probabilities=log_probabilities,
            nll=-log_probabilities[np.arange(len(targets)), targets],
            groups=groups,
            ordered=ordered,
        )

    @property
    def task(self) -> Task:
        """What the images were asked: multiclass, graded ones too, or multilabel."""
        return task_of(self.targets)

    @property
    def n(self) -> int:
        """How many images."""
        return len(self.targets)

    @property
    def classes(self) -> int:
        """How many classes or labels, K."""
        return int(self.scores.shape[1])

    @cached_property
    def truth(self) -> NDArray[np.bool_]:
        """(n, K): the image is of the class, or has the label."""
        return self._columns(self.targets)

    @cached_property
    def chosen(self) -> NDArray[np.bool_]:
        """(n, K): the image was called so, be the truth known or not."""
        return self._columns(self.predicted)

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """(n, K): whether the image has the label is known; multiclass: always."""
        if self.task == "multiclass":
            return np.ones(self.scores.shape, np.bool_)
        return np.asarray(self.targets != UNKNOWN)

    @cached_property
    def share(self) -> Array:
        """(n,) share of an image's labels that is known, in [0, 1]; multiclass: 1."""
        return np.ones(self.n) if self.task == "multiclass" else np.asarray(self.known.mean(axis=1))

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Images of each class or with each label, (K,)."""
        return np.asarray(self.truth.sum(axis=0), np.int64)

    @cached_property
    def called(self) -> NDArray[np.int64]:
        """Images called each class, among those that are known to be of it or not, (K,)."""
        return np.asarray((self.chosen & self.known).sum(axis=0), np.int64)

    @cached_property
    def asked(self) -> NDArray[np.int64]:
        """Images that are known to be of each class or not, (K,); multiclass: n."""
        if self.task == "multiclass":
            return np.full(self.classes, self.n, np.int64)
        return np.asarray(self.known.sum(axis=0), np.int64)

    @cached_property
    def probabilities(self) -> Array:
        """(n, K) float64 in [0, 1]; multiclass: rows sum to one."""
        return np.exp(self.log_probabilities)

    @cached_property
    def right(self) -> Array:
        """(n,) how much of an image is right: 1 or 0; multilabel: the rightly decided of its K labels, in [0, 1]."""
        if self.task == "multilabel":
            return np.asarray(((self.truth == self.chosen) & self.known).mean(axis=1))
        return np.asarray(self.targets == self.predicted, np.float64)

    @cached_property
    def brier(self) -> Array:
        """(n,) squared error: sum over classes, in [0, 2] (Brier 1950); multilabel: as `nll`, in [0, 1]."""
        squares = (self.probabilities - self.truth) ** 2
        if self.task == "multiclass":
            return np.asarray(squares.sum(axis=1))
        return np.asarray((squares * self.known).mean(axis=1))

    @cached_property
    def errors(self) -> NDArray[np.int64]:
        """(n,) how many classes an image was called too high; of grades in order only."""
        return self.predicted - self.targets

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """(K, K): images of class i that were called j; multiclass only."""
        cells = self.targets * self.classes + self.predicted
        return np.bincount(cells, minlength=self.classes**2).reshape(self.classes, self.classes)

    def units(self, images: NDArray[np.bool_]) -> int:
        """How many independent units are among `images`, (n,): the images, or the groups they come from."""
        return count_units(int(images.sum()), None if self.groups is None else self.groups[images])

    def smaller_side(self, k: int) -> int:
        """Independent units of class k, or of all others: whichever are fewer."""
        of = self.truth[:, k]
        return min(self.units(of), self.units(~of & self.known[:, k]))

    @cached_property
    def informed(self) -> int:
        """Independent units of which something is known: images, or groups where they are known."""
        return self.units(self.share > 0)

    @property
    def clusters(self) -> int | None:
        """Number of groups; None: all images are independent."""
        return None if self.groups is None else int(self.groups.max()) + 1

    @cached_property
    def tallies(self) -> tuple[Any, Any, Any, Any]:
        """Indicators (K, n) of: rightly called the class, of the class, called the class, unknown whether of it.

        Where that is unknown, an image is in the last one only.
        """
        called = self.chosen & self.known
        return _of_rows(self.truth & called), _of_rows(self.truth), _of_rows(called), _of_rows(~self.known)

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """(n, K) the place of each score among the different ones of its class, from 0, the lowest."""
        return place_scores(self.scores)

    @cached_property
    def placements(self) -> Placements:
        """AUROC of each class and what each image adds to it."""
        return place(self)

    @cached_property
    def steps(self) -> tuple[tuple[Any, Any], ...]:
        """For each class the indicators (G, n) of its positives and negatives in each step of its curve.

        A step is a set of images with one score, from the highest down. Neighbouring steps without a positive
        are merged: neither area changes, and a class has at most two steps for each positive and one more, so that
        all classes of a multiclass model together have 2n + K, not K·n.
        """
        return tuple(self._steps(k) for k in range(self.classes))

    def _columns(self, answers: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.asarray(answers == 1 if answers.ndim == 2 else answers[:, None] == np.arange(self.classes))

    def _steps(self, k: int) -> tuple[Any, Any]:
        order = np.flatnonzero(self.known[:, k])
        if not len(order):
            return _indicator(order, order, 1, self.n), _indicator(order, order, 1, self.n)
        order = order[np.argsort(-self.scores[order, k], kind="stable")]
        score = self.scores[order, k]
        positive = self.truth[order, k]
        tie = np.concatenate([[0], np.cumsum(score[1:] != score[:-1])])
        holds = np.bincount(tie, weights=positive) > 0  # whether a tie has a positive
        opens = np.concatenate([[True], holds[1:] | holds[:-1]])
        step = (np.cumsum(opens) - 1)[tie]
        size = int(step[-1]) + 1
        return (
            _indicator(step[positive], order[positive], size, self.n),
            _indicator(step[~positive], order[~positive], size, self.n),
        )


def _of_rows(table: NDArray[np.bool_]) -> Any:
    """The indicator (K, n) of a table (n, K)."""
    images, classes = np.nonzero(table)
    return _indicator(classes, images, table.shape[1], table.shape[0])


def _indicator(rows: NDArray[Any], columns: NDArray[Any], height: int, width: int) -> Any:
    """Sparse (height, width) matrix of ones at (rows, columns)."""
    from scipy import sparse

    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(height, width))
