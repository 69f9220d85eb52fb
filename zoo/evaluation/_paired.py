"""One test of a pair of models on the same images, and what else can be said of their difference.

The paired bootstrap decides: `p` is its p, and only that one is corrected and makes a verdict. It serves every metric,
any number of classes, and patients. On 60 images and AUROC of 0.95 it called equal models different 4 to 6 times in
100, DeLong's and McNemar's tests 1 to 3 times: they miss differences there (benchmarks/coverage.py). Readers know both,
so they are given beside it: `p_delong`, of areas, and `p_mcnemar`, of what is right or wrong.

Where nothing is told, `images_needed` says how many images would: n ((z_{1-α/2} + z_{0.8}) s / δ)², where δ is the
difference as it was found and s its standard error on n images (Julious 2004, Stat. Med. 23:1921). It holds for images
of the same kind, and if the true difference is the one that was found. `images_for_margin` is the same for a difference
of `margin`. α is 0.05 over the number of tests that are corrected together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec
import numpy as np

from zoo.evaluation import Cases, Values
from zoo.evaluation._holm import ALPHA, correct
from zoo.evaluation._placements import judge_difference
from zoo.evaluation._scores import SCORE_STEP
from zoo.evaluation.intervals import bound_difference
from zoo.evaluation.metrics import metrics_of
from zoo.spec import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["POWER", "Pair", "Scored", "compare_class", "compare_pair", "holm"]

POWER = 0.8
"""Of a test on as many images as `images_needed`: how often it would tell the models apart."""
_ALIKE = 1e-3
"""Log-odds within which two files give one answer; what the parity gate allows any image."""

Verdict = Literal["better", "worse", "cannot tell"]


class Pair(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What can be said of `a` against `b` in one metric."""

    a: str
    b: str
    metric: str
    delta: float | None
    """a minus b; null where the metric is undefined, and then so are low, high, p and p_holm. low and high alone are
    null where both answer alike on every image."""
    low: float | None
    high: float | None
    p: float | None
    """Two-sided, of the paired bootstrap; the one that decides."""
    p_holm: float | None
    """p corrected for all pairs of this metric; by class for all classes and metrics, too."""
    verdict: Verdict
    """'better': a is better than b."""
    reason: str | None = None
    """Why the delta, or its interval, is undefined."""
    label: str | None = None
    """The class that was tested against the rest; null: all."""
    at_floor: bool = False
    """p_holm is an upper bound: as small as this number of resamples can show."""
    p_delong: float | None = None
    """Of AUROC and macro AUROC: two-sided, DeLong's paired test; of groups with their design effect. Null: another
    metric, or its variance is not known."""
    p_mcnemar: float | None = None
    """Of accuracy and sensitivity: two-sided, McNemar's exact test. Null: another metric, several labels an image, or
    several images of a group, which the test takes to be independent."""
    margin: float | None = None
    """Difference that would not matter, as it was stated; null: none was."""
    noninferior: bool | None = None
    """a is not worse than b by more than margin: low > -margin, with a one-sided error of 2.5 %. Null: no margin, or no
    interval."""
    noninferior_b: bool | None = None
    """b is not worse than a by more than margin: high < margin."""
    equivalent: bool | None = None
    """Both: the 95 % interval lies between -margin and margin, which is two one-sided tests at 2.5 % each."""
    images_needed: int | None = None
    """Images that would tell the two apart if they differ as was found, with a power of 80 %; null: they are told
    apart already, or no difference was found."""
    images_for_margin: int | None = None
    """Images that would tell a difference of `margin` with a power of 80 %; null: no margin, or they are told apart."""

    @property
    def not_worse(self) -> tuple[tuple[str, str], ...]:
        """Each model that is shown to be not worse by more than the margin, with the one that it is compared to."""
        return ((self.a, self.b),) * bool(self.noninferior) + ((self.b, self.a),) * bool(self.noninferior_b)

    @property
    def wanted(self) -> tuple[tuple[float, int], ...]:
        """Each difference that more images would tell, as it was found and the margin, with their number."""
        found = ((abs(self.delta or 0.0), self.images_needed), (self.margin, self.images_for_margin))
        return tuple((size, images) for size, images in found if size is not None and images is not None)


@dataclass(frozen=True, eq=False)
class Scored:
    """A contender with its metrics on all images and on every resample."""

    name: str
    cases: Cases
    point: Values
    resampled: Values
    metrics: dict[str, Interval]
    undefined: dict[str, str]


class _Question(NamedTuple):
    """What is asked of each pair: the margin, and how many tests are corrected together."""

    margin: float | None
    tests: int


class _Difference(NamedTuple):
    """A metric of a minus b on all images and on each resample; trials, the m of the smallest p, why undefined."""

    point: float
    resampled: NDArray[np.float64]
    trials: int
    informative: int
    reason: str | None
    p_delong: float | None
    p_mcnemar: float | None
    width: float = 1.0
    """Of the metric's range."""


def compare_pair(a: Scored, b: Scored, metric: str, *, margin: float | None, tests: int) -> Pair:
    """One metric of all classes; `tests`: how many are corrected together, itself counted."""
    asking = metrics_of(a.cases)[metric]
    worst, best = asking.span(a.cases)
    point = float(a.point[metric][0] - b.point[metric][0])
    reason = a.undefined.get(metric) or b.undefined.get(metric)
    asked = a.cases.asked > 0
    delong = metric == "macro_auroc" and reason is None
    influence = (a.cases.placements.influence - b.cases.placements.influence)[:, asked].mean(axis=1) if delong else None
    difference = _Difference(
        point,
        a.resampled[metric] - b.resampled[metric],
        *asking.paired_trials(a.cases, b.cases),
        reason,
        None if influence is None else judge_difference(point, influence, a.cases.groups),
        _mcnemar(a.cases, a.cases.right > 0, b.cases.right > 0) if metric == "accuracy" else None,
        abs(best - worst),
    )
    return _test(a, b, metric, difference, _Question(margin, tests))


def compare_class(a: Scored, b: Scored, metric: str, k: int, label: str, *, margin: float | None, tests: int) -> Pair:
    """One metric of class k, `label`, against the rest; `tests` as in `compare_pair`."""
    of = a.cases.truth[:, k]
    point = float(a.point[metric][k, 0] - b.point[metric][k, 0])
    reason = f"no image that is of class {label}, or none that is not" if np.isnan(point) else None
    delong = mcnemar = None
    if metric == "sensitivity":
        found, other = a.cases.chosen[:, k] & of, b.cases.chosen[:, k] & of
        trials, informative = a.cases.units(of), a.cases.units(found != other)
        mcnemar = _mcnemar(a.cases, found, other) if reason is None else None
    else:
        trials = informative = a.cases.smaller_side(k)
        influence = a.cases.placements.influence[:, k] - b.cases.placements.influence[:, k]
        delong = judge_difference(point, influence, a.cases.groups) if reason is None else None
    resampled = a.resampled[metric][k] - b.resampled[metric][k]
    difference = _Difference(point, resampled, trials, informative, reason, delong, mcnemar)
    return _test(a, b, metric, difference, _Question(margin, tests), label)


def holm(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs of one family of tests with p_holm, see `zoo.evaluation._holm`, and the verdict that follows."""
    found = correct({i: pair.p for i, pair in enumerate(pairs) if pair.p is not None})
    corrected = list(pairs)
    floors: dict[float, bool] = {}  # of each corrected p, whether it comes of a p at the floor of the resamples
    for i, p_holm in found.items():  # the smallest p first
        pair = pairs[i]
        floor = floors.setdefault(p_holm, pair.at_floor and p_holm < 1)
        verdict = _verdict(pair, p_holm)
        open_ = verdict == "cannot tell"
        corrected[i] = msgspec.structs.replace(
            pair, p_holm=p_holm, verdict=verdict, at_floor=floor,
            images_needed=pair.images_needed if open_ else None,
            images_for_margin=pair.images_for_margin if open_ else None,
        )  # fmt: skip
    return corrected


def _verdict(pair: Pair, p: float) -> Verdict:
    if p < ALPHA and pair.low is not None and pair.low > 0:
        return "better"
    if p < ALPHA and pair.high is not None and pair.high < 0:
        return "worse"
    return "cannot tell"


def _test(  # noqa: PLR0917 - a pair, its difference, and what is asked of it
    a: Scored, b: Scored, metric: str, difference: _Difference, question: _Question, label: str | None = None
) -> Pair:
    pair = Pair(
        a=a.name, b=b.name, metric=metric, label=label, margin=question.margin,
        delta=None, low=None, high=None, p=None, p_holm=None, verdict="cannot tell", reason=difference.reason,
    )  # fmt: skip
    if difference.reason is not None:
        return pair
    units = a.cases.clusters or a.cases.n
    found = bound_difference(difference.point, difference.resampled, difference.trials, units, difference.width)
    if found is None:
        reason = "too few images: not defined for both models in half of the resamples"
        return msgspec.structs.replace(pair, reason=reason)
    if _answer_alike(a.cases, b.cases):
        reason = f"both answer alike on each of the {a.cases.n} images"
        return msgspec.structs.replace(pair, delta=found.value, p=1.0, p_holm=1.0, reason=reason)
    defined = difference.resampled[~np.isnan(difference.resampled)]
    tail = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    of_resamples, of_images = 2 * (1 + tail) / (defined.size + 1), 2.0 ** (1 - difference.informative)
    p = min(1.0, max(of_resamples, of_images))
    error, alpha, margin = float(defined.std()), ALPHA / question.tests, question.margin
    return msgspec.structs.replace(
        pair, delta=found.value, low=found.low, high=found.high, p=p, p_holm=p,
        at_floor=tail == 0 and of_images <= of_resamples < 1,
        p_delong=difference.p_delong, p_mcnemar=difference.p_mcnemar,
        **_against(found, margin),
        images_needed=_images_for(found.value, error, difference.informative, a.cases.n, alpha),
        images_for_margin=None if margin is None else _images_for(margin, error, 0, a.cases.n, alpha),
    )  # fmt: skip


def _against(found: Interval, margin: float | None) -> dict[str, bool]:
    """What the interval of a difference shows of a margin."""
    if margin is None:
        return {}
    one, other = found.low > -margin, found.high < margin
    return {"noninferior": one, "noninferior_b": other, "equivalent": one and other}


def _images_for(difference: float, error: float, informative: int, n: int, alpha: float) -> int | None:
    """Images that tell `difference` (see above), with `error` its standard error on n images; None: no number does.

    Args:
        difference: how far apart two values of a metric are.
        error: 0 or more.
        informative: images that a sign test can count, of n: alpha asks for at least 1 - log2(alpha) of them; 0: not
            known.
        n: number of images.
        alpha: two-sided error of the test.
    """
    from scipy.special import ndtri

    if difference == 0 or error == 0:
        return None
    ratio = float((ndtri(POWER) - ndtri(alpha / 2)) * error / abs(difference)) ** 2
    few = (1 - math.log2(alpha)) / informative if informative else 0.0
    return math.ceil(n * max(ratio, few))


def _mcnemar(cases: Cases, a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float | None:
    """Two-sided p of the exact test on images that one has and the other has not (McNemar 1947, Psychometrika 12:153).

    None where images are not independent, or hold several labels.
    """
    from scipy.special import bdtr

    if cases.task == "multilabel" or (cases.clusters or cases.n) < cases.n:
        return None
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    return min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def _answer_alike(a: Cases, b: Cases) -> bool:
    """Whether two models decide alike and give the same log-odds, within the bar of the parity gate, on every image."""
    near = np.abs(a.scores - b.scores) * SCORE_STEP <= _ALIKE * np.maximum(1, np.abs(a.scores) * SCORE_STEP)
    return bool((a.predicted == b.predicted).all() and near.all())
