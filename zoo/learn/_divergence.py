"""Numbers that are not finite: found before they are written, and told with step, images and a way out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from zoo._support.text import format_count, quote_path
from zoo.errors import TrainingError
from zoo.learn._batches import standardize, to_unit
from zoo.learn._images import Feed
from zoo.runs import Diverged, RunFolder, continue_command
from zoo.spec import PreprocessSpec

__all__ = ["Losses"]

NAMED = 8
"""Images of a batch that are named."""


@dataclass(slots=True)
class Losses:
    """Loss and gradient norm of the steps since the last look, on the device: a look makes a GPU wait.

    Attributes:
        feed: the training images.
        ids: their names.
        spec: from raw image to input.
        run: of what is trained.
        lr: `TrainConfig.lr`.
    """

    feed: Feed
    ids: Sequence[str]
    spec: PreprocessSpec
    run: RunFolder
    lr: float
    _steps: list[tuple[int, int, Tensor]] = field(default_factory=list)
    _found: list[Tensor] = field(default_factory=list)
    _latest: tuple[int, int, Tensor] | None = None

    def add(self, epoch: int, step: int, batch: Tensor, loss: Tensor, norm: Tensor) -> None:
        """What one step gave.

        Args:
            epoch: counted from 1.
            step: number of the step in its epoch, counted from 1.
            batch: (B,) indices of its images, of all processes.
            loss: mean over this process' share; a scalar without a gradient.
            norm: length of the gradient before it is clipped; a scalar.
        """
        self._latest = (epoch, step, batch)
        self._steps.append(self._latest)
        self._found.append(torch.stack((loss, norm)))

    def look(self) -> float:
        """Mean loss of the steps since the last look.

        Raises:
            TrainingError: a loss or a gradient is not finite (code training-diverged).
        """
        found: list[list[float]] = torch.stack(self._found).tolist()  # (steps, 2)
        for (loss, norm), where in zip(found, self._steps, strict=True):
            if not math.isfinite(loss):
                raise self._describe(f"the loss became {loss}", *where)
            if not math.isfinite(norm):
                raise self._describe(f"the gradient became {norm}, though the loss is {loss:.3g}", *where)
        self._found.clear()
        self._steps.clear()
        return sum(loss for loss, _ in found) / len(found)

    def check(self, value: float) -> None:
        """Refuse a validation loss that is not finite.

        Raises:
            TrainingError: as `look`.
        """
        if not math.isfinite(value):
            raise self._describe(f"the validation loss became {value}", *self._last())

    def refuse(self, tensor: str) -> TrainingError:
        """The error of weights that are not finite after the last step."""
        return self._describe(f"{tensor} became nan or infinite", *self._last())

    def _last(self) -> tuple[int, int, Tensor]:
        if self._latest is not None:
            return self._latest
        record = self.run.record  # resumed, and nothing was trained since
        return record.epochs_done + 1, record.steps_done, torch.empty(0, dtype=torch.int64)

    def _describe(self, what: str, epoch: int, step: int, batch: Tensor) -> TrainingError:
        names = [self.ids[i] for i in batch.tolist()]
        odd = self._find_odd(self.feed.held(batch))
        self.run.update(diverged=Diverged(epoch=epoch, step=step, lr=self.lr))
        shown = list(dict.fromkeys((*odd, *names)))[:NAMED]
        more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
        images = f"its {format_count(len(names), 'image')}: {', '.join(shown)}{more}"
        strange = "".join(f"; {name} {kind}" for name, kind in list(odd.items())[:NAMED])
        return TrainingError(
            f"{what} in step {step} of epoch {epoch}, expected a finite number; {images}{strange}; {self._advise()}",
            code="training-diverged",
            epoch=epoch,
            step=step,
            lr=self.lr,
            files=shown,
            images=len(names),
            odd=odd,
        )

    def _find_odd(self, batch: Tensor) -> dict[str, str]:
        """Name to what is wrong with it, of images of this process that no network could learn from."""
        if not len(batch):
            return {}
        names = [self.ids[i] for i in batch.tolist()]
        raw = next(iter(self.feed.batches([batch]))).float()  # (B, h, w, c)
        inputs = standardize(to_unit(raw, self.spec), self.spec).flatten(1)
        endless = (~inputs.isfinite().all(dim=1)).tolist()
        flat = (raw.flatten(1).amax(dim=1) == raw.flatten(1).amin(dim=1)).tolist()
        return {
            name: "is not finite once it is preprocessed" if first else "holds one value only"
            for name, first, second in zip(names, endless, flat, strict=True)
            if first or second
        }

    def _advise(self) -> str:
        record, place = self.run.record, self.run.path
        if record.best is None and not record.steps_done:
            return f"nothing was kept; train again with a lower --lr than {self.lr:g}"
        where = f"step {record.steps_done} of epoch {record.epochs_done + 1}"
        if not record.steps_done:
            where = f"epoch {record.epochs_done}"
        export = ""
        if record.best is not None:
            export = f", or take epoch {record.best.epoch} as it is with 'zoo export {quote_path(place)} --onnx'"
        return (
            f"the state after {where} is kept; continue from it at a lower rate with "
            f"'{continue_command(record, place, None)}'{export}"
        )
