"""What is done with a finished model file: open, explain, verify, sign, bench, monitor, serve.

`zoo` offers these beside the verbs that make a file. Heavy packages are imported inside the functions.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zoo.edge._options import DRAWS
from zoo.workflow._find import model_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from zoo.edge import Bench, Explained, Failure, Monitoring, Runtime, Signing, Verification
    from zoo.edge.serve import Settings
    from zoo.edge.serve._server import Started

__all__ = ["bench", "explain", "monitor", "open", "serve", "sign", "verify"]


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
    overwrite: bool = False,
    frame: int | None = None,
    gradcam: bool = False,
    draws: int = DRAWS,
    provider: str = "cpu",
    threads: int | None = None,
    key: str | Path | None = None,
    allow_fallback: bool = False,
) -> Iterator[Explained | Failure]:
    """Map which parts of each image its answer depends on; see `zoo.edge.explain_images`.

    Args:
        path: an .onnx file, a bundle or a run.
        images: files and folders, answered in their order.
        label: what is explained; None: the most probable label of each image.
        out: folder for pictures of the maps, NAME.heat.png; None: none is written.
        overwrite: replace pictures of an earlier call.
        frame: which picture of files that hold several, counted from 1.
        gradcam: by the gradients of a run's network (Grad-CAM), which needs torch; False: as the file can.
        draws: networks with random weights that the first map is compared with (`Explained.randomised`); 0: none.
        provider: execution provider.
        threads: threads inside one operator; None: all CPUs.
        key: file of a public key: only a bundle signed by it is opened.
        allow_fallback: let the CPU run what the provider does not take.

    Raises:
        ZooError: any error of `open`.
        DataError: the one folder given holds no image.
        UsageError: the model does not know the label, `gradcam` is asked of what has no gradients, or `overwrite`
            without `out`.
        OutputError: a picture cannot be written, or is there from an earlier call.
    """
    from zoo._support.files import refuse_idle_overwrite
    from zoo.edge import explain_images

    refuse_idle_overwrite(out, "out", overwrite=overwrite)
    runtime = open(path, provider=provider, threads=threads, key=key, allow_fallback=allow_fallback)
    place = None if out is None else Path(out)
    mapper = None
    if gradcam:
        from zoo.workflow._gradcam import open_gradcam

        mapper = open_gradcam(Path(path), runtime)
    return explain_images(
        runtime, images, label=label, out=place, frame=frame, overwrite=overwrite, mapper=mapper, draws=draws
    )


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


def monitor(
    table: str | Path,
    against: str | Path,
    *,
    alpha: float | None = None,
    group: str | None = None,
    shuffle: bool = False,
) -> Monitoring:
    """Whether the answers of a site, a table of `zoo predict --csv`, have drifted from those to validation images.

    Args:
        table: the table, its rows in the order in which the images came.
        against: the .onnx file, bundle or run whose answers these are.
        alpha: the probability that an alarm is ever raised without drift is at most this; None: 0.01.
        group: a regular expression that finds the patient in an image's name; the first image of each counts.
        shuffle: mix the rows, for a table whose order is not that of time.

    Raises:
        ModelError: the file holds no reference, or cannot be opened.
        DataError: the table cannot be read, or is not of this model.
        UsageError: `alpha` is not a probability, or `group` not such an expression.
    """
    from zoo.edge._monitor import ALPHA
    from zoo.edge._monitor import monitor as watch

    found = model_file(Path(against))
    return watch(table, found, alpha=ALPHA if alpha is None else alpha, group=group, shuffle=shuffle)


def serve(
    models: str | Path | Iterable[str | Path],
    settings: Settings | None = None,
    *,
    announce: Callable[[Started], None] | None = None,
) -> None:
    """Answer images over HTTP until SIGTERM or Ctrl-C; arguments and errors as `zoo.edge.serve.serve`."""
    from zoo.edge.serve import read_sources
    from zoo.edge.serve import serve as run

    given = [models] if isinstance(models, str | Path) else models
    run(read_sources(given, model_file), settings, announce=announce)
