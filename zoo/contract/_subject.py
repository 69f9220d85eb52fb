"""The model under test: its card, its plugin, and one training run that all checks share."""

from __future__ import annotations

import contextlib
import io
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zoo
from zoo import registry
from zoo._support.text import join_lines
from zoo.contract._pictures import colour_folder
from zoo.errors import GateError, ModelError, ZooError
from zoo.runs import open_run

if TYPE_CHECKING:
    from zoo.edge import Runtime
    from zoo.plugin import ModelPlugin
    from zoo.registry import LoadedPlugin
    from zoo.runs import RunFolder
    from zoo.spec import Budget, ModelCard

__all__ = ["EPOCHS", "SIZE", "NotTried", "Subject", "Unmet", "explain"]

SIZE = 32
"""Side of the pictures in pixels."""
EPOCHS = 5
"""Of 42 pictures in batches of 8: some thirty steps."""


class Unmet(AssertionError):  # noqa: N818 - a promise, not a defect of ours
    """A promise of the contract is not kept; the text says what was found and what the author must change."""


class NotTried(Exception):  # noqa: N818 - not an error of the plugin
    """A check that does not apply to this plugin, or that waits for another one; the text says why."""


@dataclass(eq=False)
class Subject:
    """One model of the catalogue.

    Attributes:
        model: its name.
        folder: an empty folder, which is the current directory while checks run.
        size: side of the pictures in pixels.
        epochs: of the training run.
        settings: passed to `zoo.train`.
        printed: what training wrote to stdout.
        repeated: a second run with the same seed, and the state of the process before and after it; None: not yet made.
        session: of the network that the run exports, without preprocessing; None: not yet made.
    """

    model: str
    folder: Path
    size: int = SIZE
    epochs: int = EPOCHS
    settings: Mapping[str, Any] = field(default_factory=dict)
    printed: str = ""
    repeated: tuple[RunFolder, tuple[dict[str, Any], dict[str, Any]]] | None = None
    session: Any = None

    def load(self) -> None:
        """Find the card and import its plugin.

        Raises:
            Unmet: the catalogue has no such card, or its plugin cannot be loaded.
        """
        if isinstance(self._found, Unmet):
            raise self._found

    @property
    def card(self) -> ModelCard:
        """The card as the catalogue has it."""
        return self._there[0]

    @property
    def loaded(self) -> LoadedPlugin:
        """The plugin and where it comes from."""
        return self._there[1]

    @property
    def plugin(self) -> ModelPlugin:
        """The card's plugin."""
        return self.loaded.plugin

    @cached_property
    def pictures(self) -> Path:
        """Class folders of three colours."""
        return colour_folder(self.folder / "colours", side=self.size)

    def train(self) -> zoo.TrainResult:
        """The training run, made at the first call; its export has passed the parity gate.

        Raises:
            Unmet: it failed.
        """
        if isinstance(self._outcome, Unmet):
            raise self._outcome
        return self._outcome

    @property
    def trained(self) -> zoo.TrainResult:
        """The same for checks of other promises, which can say nothing when training failed."""
        if isinstance(self._outcome, Unmet):
            raise NotTried("training failed, see the check 'trains'")
        return self._outcome

    @cached_property
    def run(self) -> RunFolder:
        """The run folder of `trained`."""
        return open_run(Path(self.trained.run))

    @cached_property
    def runtime(self) -> Runtime:
        """The file of `trained`."""
        return zoo.open(self.trained.run)

    @property
    def _there(self) -> tuple[ModelCard, LoadedPlugin]:
        if isinstance(self._found, Unmet):
            raise NotTried("the plugin cannot be loaded, see the first check")
        return self._found

    @cached_property
    def _found(self) -> tuple[ModelCard, LoadedPlugin] | Unmet:
        try:
            card = registry.find(self.model)
            return card, registry.load(card.plugin)
        except ZooError as problem:
            return Unmet(str(problem))

    @cached_property
    def _outcome(self) -> zoo.TrainResult | Unmet:
        pictures, out = self.pictures, io.StringIO()
        try:
            with contextlib.redirect_stdout(out):
                return zoo.train(
                    self.model,
                    pictures,
                    epochs=self.epochs,
                    batch_size=8,
                    size=self.size,
                    out=self.folder / "run",
                    settings=self.settings,
                )
        except (Exception, SystemExit) as problem:  # whatever a stranger's code raises is one line
            return Unmet(explain(self.plugin, problem))
        finally:
            self.printed = out.getvalue()

    def learn(self, data: Path, name: str, *, epochs: int | None = None) -> tuple[RunFolder, Any]:
        """Training alone, without export and evaluation: the run and what `train` gave."""
        from zoo.workflow._begin import begin, prepare

        budget: Budget = {
            "epochs": epochs or self.epochs,
            "batch_size": 8,
            "size": self.size,
            "settings": self.settings,
        }
        job = begin(prepare(self.card, self.loaded, data, budget), out=self.folder / name)
        record = job.run.record
        return job.run, self.plugin.train(record.card, job.data, record.card.train, job.run, job.context)


def explain(plugin: ModelPlugin, problem: BaseException) -> str:
    """One line for what came out of a plugin: what, where in its own code, and what to change."""
    text = join_lines(problem, 400)
    if isinstance(problem, GateError) and problem.code == "parity-input":
        return f"{text}; to_onnx() must take any number of pictures: reshape by -1, never by a number seen in a batch"
    if isinstance(problem, GateError):
        return (
            f"the file does not give the trained answers: {text}; to_onnx() must write the very network that predict "
            "runs, from preprocessed pixels, without preprocessing of its own"
        )
    if isinstance(problem, ModelError):
        return f"{text}; to_onnx() must give 'input' (N, C, h, w) to 'logits' (N, K), float32, for any N"
    if isinstance(problem, ZooError):
        return text
    package = type(plugin).__module__.partition(".")[0]
    own = [
        frame
        for frame in traceback.extract_tb(problem.__traceback__)
        if package in Path(frame.filename).parts or Path(frame.filename).stem == package
    ]
    where = f" in {Path(own[-1].filename).name}, line {own[-1].lineno} ({own[-1].name})" if own else ""
    return f"{type(problem).__name__}{where}: {text or 'no reason given'}; mend it, or raise a ZooError that says why"
