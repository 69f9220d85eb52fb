"""What `import zoo` offers, and what the verbs of the command line call.

Every function returns values and prints nothing; progress goes to the logger "zoo" and, on a terminal, to a
bar on stderr. Heavy packages are imported inside the functions.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import UsageError
from zoo.exporting import ExportResult, export
from zoo.locate import judged, model_file
from zoo.training import TrainResult, train

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from zoo.compare import Comparison
    from zoo.edge import Bench, Explained, Failure, Runtime, Signing, Verification
    from zoo.edge.serve import Settings
    from zoo.edge.serve.server import Started
    from zoo.registry import Row
    from zoo.spec import EvalReport, ModelCard

__all__ = [
    "ExportResult",
    "TrainResult",
    "bench",
    "compare",
    "evaluate",
    "explain",
    "export",
    "info",
    "models",
    "open",
    "serve",
    "sign",
    "train",
    "verify",
]

log = logging.getLogger("zoo")


def models(family: str | None = None) -> list[Row]:
    """Every model of every installed catalogue; no plugin is imported."""
    from zoo import registry

    return registry.models(family)


def info(model: str) -> ModelCard:
    """One card.

    Raises:
        CatalogueError: no such model; the line names those it could have been.
    """
    from zoo import registry

    return registry.find(model)


def evaluate(
    target: str | Path | None = None,
    data: str | Path | None = None,
    *,
    split: str = "test",
    provider: str = "cpu",
    skip_bad: bool = False,
    key: str | Path | None = None,
) -> EvalReport:
    """Run a shipped file on raw images and judge its answers.

    Args:
        target: a run, a bundle, or an .onnx file; None: the last run.
        data: images; None: those the run was trained with (a bundle or file needs it).
        split: train, val or test.
        provider: execution provider.
        skip_bad: leave out images that can not be read.
        key: file of a public key: only a bundle signed by it is judged.
    """
    return judged(target, data, split=split, provider=provider, skip_bad=skip_bad, key=key)[1].report


def compare(
    targets: Sequence[str | Path],
    data: str | Path | None = None,
    *,
    split: str = "test",
    provider: str = "cpu",
    budget: Mapping[str, Any] | None = None,
) -> Comparison:
    """Compare models on the same images: intervals, latency and size of each, and a paired test of each pair.

    Args:
        targets: runs, bundles, .onnx files, or names of models, which are trained first with one budget.
        data: images; None: those of the runs, which must then be the same, or "digits" where nothing was
            trained yet.
        split: train, val or test.
        provider: execution provider.
        budget: arguments of `train` for the models that are trained, such as {"epochs": 5}.

    Raises:
        UsageError: fewer than two targets.
        DataError: the targets were not trained on the same data and `data` is None, or do not know the same
            labels.
    """
    from zoo.comparing import compare_judged

    if len(targets) < 2:
        raise UsageError(f"{len(targets)} model to compare, expected at least two runs, bundles, files or model names")
    located = _located(targets, data, budget or {})
    opened = [judged(where, data, split=split, provider=provider) for where in located]
    return compare_judged(opened, located)


def open(  # noqa: A001 - zoo.open
    path: str | Path,
    *,
    provider: str = "cpu",
    threads: int | None = None,
    key: str | Path | None = None,
    allow_fallback: bool = False,
) -> Runtime:
    """Open an .onnx file, a bundle or a run for prediction.

    Args:
        path: what to open.
        provider: execution provider.
        threads: threads inside one operator; None: all CPUs.
        key: file of a public key: only a bundle signed by it is opened.
        allow_fallback: let the CPU run what the provider does not take.

    Raises:
        ModelError: not a model of this tool, or damaged.
        ProviderError: the provider is not there, or leaves work to the CPU.
        SignatureError: not signed as `key` asks.
    """
    from zoo.edge import Runtime

    return Runtime.open(
        model_file(Path(path)), provider=provider, threads=threads, key=key, allow_fallback=allow_fallback
    )


def explain(
    path: str | Path,
    images: Sequence[str | Path] | str | Path,
    *,
    label: str | None = None,
    out: str | Path | None = None,
    frame: int | None = None,
    provider: str = "cpu",
    threads: int | None = None,
    key: str | Path | None = None,
    allow_fallback: bool = False,
) -> Iterator[Explained | Failure]:
    """Heat maps by occlusion: which parts of each image its answer depends on; see `zoo.edge.explain`.

    Args:
        path: an .onnx file, a bundle or a run.
        images: files and folders, answered in their order.
        label: what is explained; None: the most probable label of each image.
        out: folder for pictures of the maps, NAME.heat.png; None: none is written.
        frame: which picture of files that hold several, counted from 1.
        provider: as in `open`.
        threads: likewise.
        key: likewise.
        allow_fallback: likewise.

    Raises:
        ZooError: as `open`.
        DataError: the one folder given holds no image.
        UsageError: the model does not know the label.
        OutputError: a picture can not be written.
    """
    from zoo.edge import explained

    runtime = open(path, provider=provider, threads=threads, key=key, allow_fallback=allow_fallback)
    return explained(runtime, images, label=label, out=None if out is None else Path(out), frame=frame)


def verify(
    path: str | Path,
    *,
    provider: str = "cpu",
    key: str | Path | None = None,
    require_signature: bool = False,
    allow_fallback: bool = False,
    isolated: bool = True,
    time_limit: float | None = None,
    memory_limit: int | None = None,
) -> Verification:
    """Check the signature and every hash of a bundle, and replay its golden set on this machine, in a child process.

    Args:
        path: a bundle NAME.zoo or NAME.zoo.zip.
        provider: execution provider.
        key: file of the public key that must have signed it.
        require_signature: refuse a bundle without a signature, also where no key is given.
        allow_fallback: let the CPU run what the provider does not take.
        isolated: False: in this process, without the two limits.
        time_limit: seconds it may take; None: 600.
        memory_limit: megabytes it may take; None: 4096, or three quarters of this machine's memory.

    Raises:
        GateError: something differs; the subclass says what, and the line lists all that does.
    """
    from zoo.edge import verify as replay

    return replay(
        Path(path),
        provider=provider,
        key=key,
        require_signature=require_signature,
        isolated=isolated,
        time_limit=time_limit,
        memory_limit=memory_limit,
        allow_fallback=allow_fallback,
    )


def sign(path: str | Path, key: str | Path) -> Signing:
    """Sign a bundle with a private Ed25519 key, after every file in it was found to be the one that was exported.

    Raises:
        TamperedError: a file is another than its manifest lists.
        SigningKeyError: no such key.
    """
    from zoo.edge import sign as put_signature

    return put_signature(path, key)


def bench(path: str | Path, *, provider: str = "cpu", threads: int | None = None, runs: int = 100) -> Bench:
    """Latency, memory, cold start and size of a model file on this machine; `zoo.edge.side_by_side` times several."""
    from zoo.edge import bench as measure

    return measure(model_file(Path(path)), provider=provider, threads=threads, runs=runs)


def serve(
    path: str | Path, settings: Settings | None = None, *, announce: Callable[[Started], None] | None = None
) -> None:
    """Answer images over HTTP until SIGTERM or Ctrl-C; arguments and errors as `zoo.edge.serve.serve`."""
    from zoo.edge.serve import serve as run

    run(model_file(Path(path)), settings, announce=announce)


# --- inside -----------------------------------------------------------------------------------------


def _located(targets: Sequence[str | Path], data: str | Path | None, budget: Mapping[str, Any]) -> list[Path]:
    """Where each model is; names of the catalogue are trained, after every name was found to mean something."""
    from zoo.registry import ENSEMBLE
    from zoo.runs import open_run

    found, named = [_found(target) for target in targets], data
    if data is None:  # on the images of a run that is already there, divided as they were for it
        runs = [path for path in found if path is not None and (path / "run.json").is_file()]
        data = "digits"
        if runs:
            record = open_run(runs[0]).record
            data = record.source
            budget = {"leaks": record.config.leaks, "fold": record.config.fold, **budget}
    paths = []
    for target, path in zip(targets, found, strict=True):
        if path is None and str(target).startswith(ENSEMBLE):  # on its members' images; there is nothing to train
            path = Path(train(str(target), named).run)  # noqa: PLW2901 - what was missing is filled in
        elif path is None:
            log.info("training %s", target)
            given = dict(budget)
            if given.get("pretrained") and info(str(target)).weights is None:
                log.info("%s has no pretrained weights and starts from scratch", target)
                given["pretrained"] = False
            path = Path(train(str(target), data, **given).run)  # noqa: PLW2901 - what was missing is filled in
        paths.append(path)
    return paths


def _found(target: str | Path) -> Path | None:
    """The run, bundle or file called `target`; None: it is a model to train."""
    from zoo.errors import CatalogueError
    from zoo.runs import find_run

    if Path(target).exists():
        return Path(target).resolve()  # runs/latest moves on when a model is trained for the comparison
    try:
        return find_run(target)
    except UsageError:
        pass
    try:
        info(str(target))
    except CatalogueError as problem:
        raise UsageError(f"'{target}' is no run, bundle, file or model: {problem}") from None
    return None
