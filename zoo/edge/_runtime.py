"""A model file that answers: raw pixels in, labels and probabilities out.

The arithmetic that the file does not do itself (see `InputSpec.stage`) is done by `zoo.preprocess`, so a
caller always hands over raw images. A file is opened only when its bytes, its manifest and its graph agree.

What this module does not know: command lines, bundles' hashes, how a network was trained.
"""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo._support.files import sha256_bytes
from zoo._support.text import printable
from zoo.edge._decoders import Decoders
from zoo.edge._graph import answer_shape, check_graph
from zoo.edge._intake import Array, Intake, Source
from zoo.edge._results import GIVEN, Answers, Failure, Prediction, Result
from zoo.edge._session import check_memory, one_line, open_session, placement
from zoo.edge._stream import batches, decode_ahead, expand
from zoo.edge.bundle import MODEL, Contents, open_model
from zoo.errors import ModelError, UsageError
from zoo.spec import EVIDENCE, Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from zoo.errors import ImageError
    from zoo.readers import RawImage
    from zoo.readers._walk import PassedOver

__all__ = ["Runtime"]

_ACCELERATOR_BATCH = 16
_ROUNDING = 1e-3
"""By which probabilities of a sound file may leave [0, 1] or miss the sum 1; a thousand of float16 miss it by 5e-4."""


class Runtime:
    """An opened model. Create it by `Runtime.open`.

    It holds nothing that a call changes: several threads may ask one `Runtime` at the same time, and each gets
    the answer that it would get alone.

    Attributes:
        path: what was opened.
        manifest: what the model says of itself.
        provider: the execution provider that runs it: the one asked for, never another.
        sha256: hash of the ONNX file, hexadecimal.
        size_bytes: size of the ONNX file.
    """

    def __init__(
        self, path: Path, manifest: Manifest, provider: str, session: Any, *, sha256: str, size_bytes: int
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.sha256 = sha256
        self.provider = provider
        self.size_bytes = size_bytes
        self._session = session
        self._intake = Intake(manifest)

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        provider: str = "cpu",
        threads: int | None = None,
        key: Path | str | None = None,
        allow_fallback: bool = False,
    ) -> Runtime:
        """Open a .onnx file or a bundle, NAME.zoo or NAME.zoo.zip.

        Args:
            path: the file or the folder.
            provider: cpu, cuda, or another key of `zoo.edge._session.PROVIDERS`.
            threads: threads inside one operator; None: as many as this process has CPUs.
            key: file of a public key: only a bundle signed by it is opened.
            allow_fallback: let the CPU run what the provider does not take, with a warning that says what.

        Raises:
            ModelError: not a model of this tool, damaged, or not what its manifest says.
            ProviderError: the provider is not there, or leaves work to the CPU; nothing runs elsewhere unsaid.
            SignatureError: not signed as `key` asks; the subclass says why.
            TamperedError: a file of the bundle is not the one that its manifest lists.
        """
        try:
            contents = open_model(Path(path), key=None if key is None else Path(key))
            return cls.from_contents(
                Path(path), contents, provider=provider, threads=threads, allow_fallback=allow_fallback
            )
        except MemoryError as problem:
            check_memory(problem, str(path))
            raise

    @classmethod
    def from_contents(
        cls, path: Path, contents: Contents, *, provider: str, threads: int | None, allow_fallback: bool = False
    ) -> Runtime:
        """Open what `zoo.edge.bundle.open_model` has read; raises as `open`."""
        session = open_session(
            contents.model,
            str(path),
            provider=provider,
            threads=threads,
            nodes=contents.nodes,
            allow_fallback=allow_fallback,
        )
        digest = contents.manifest.files.get(MODEL) or sha256_bytes(contents.model)
        runtime = cls(path, contents.manifest, provider, session, sha256=digest, size_bytes=len(contents.model))
        try:
            check_graph(str(path), contents.manifest, session, ask=runtime._run)
        except UnicodeDecodeError:  # onnxruntime hands over names of axes as the file holds them
            raise ModelError(
                f"{path}: its graph holds names that are not UTF-8; export it again", code="model-text"
            ) from None
        return runtime

    def __repr__(self) -> str:
        return f"Runtime({printable(f'{self.path}, on {self.provider}: {self.manifest.headline()}')})"

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the columns."""
        return self.manifest.labels

    @property
    def nodes(self) -> dict[str, int]:
        """Number of nodes on each provider; empty for the CPU provider, because every node runs there."""
        return {provider: operators.total() for provider, operators in placement(self._session).items()}

    @property
    def raw_kind(self) -> str:
        """A kind of raw image it takes: uint8, uint16 or float32."""
        return sorted(self._intake.kinds)[-1]

    def logits(self, batch: Array) -> NDArray[np.float32]:
        """Answer raw images.

        Args:
            batch: (N, H, W, C) as `zoo.readers.read` gives images: uint8 with C = 3, else uint16 or float32
                with C = 1.

        Returns:
            (N, K) float32.

        Raises:
            ImageError: the batch has another shape or dtype than the model was made for.
            ModelError: ONNX Runtime failed, or the graph gave another shape, or beside them probabilities that are
                none.
        """
        return self._answers(("logits", "probabilities"), self._intake.batch(batch))[0]

    def probabilities(self, batch: Array) -> NDArray[np.float32]:
        """The graph's probabilities, after temperature and softmax or sigmoids: (N, K) float32 in [0, 1].

        Raises:
            ImageError, ModelError: as `logits`.
        """
        return self._run("probabilities", self._intake.batch(batch))

    @property
    def has_evidence(self) -> bool:
        """Whether the file says where it sees what: `evidence` and `answer_with_evidence` are answered."""
        return EVIDENCE in self.manifest.outputs

    def evidence(self, batch: Array) -> NDArray[np.float32]:
        """Where the model sees what; takes and raises as `logits`.

        Returns:
            (N, K, h, w) float32 in units of a logit, (h, w) the network's input: for each label the map that its logit
            is pooled of. `zoo.preprocess.place_image` says which part of the raw image a place of it is.

        Raises:
            UsageError: the file has no such output.
        """
        return self.answer_with_evidence(batch)[1]

    def answer_with_evidence(self, batch: Array) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities and evidence of one pass; see there."""
        if not self.has_evidence:
            raise UsageError(
                f"{self.path}: its outputs are {', '.join(self.manifest.outputs)}, no evidence among them; export it "
                "with --evidence from a run of a model that makes such maps",
                code="evidence-missing",
                outputs=list(self.manifest.outputs),
            )
        probabilities, evidence = self._answers(("probabilities", EVIDENCE), self._intake.batch(batch))
        return probabilities, evidence

    def predict(
        self,
        sources: Iterable[Source] | Source,
        *,
        batch_size: int | None = None,
        frame: int | None = None,
        workers: int = 0,
        passed: list[tuple[str, PassedOver]] | None = None,
    ) -> Answers:
        """Label images in the order given; a folder is walked in natural order.

        Images are decoded ahead while ONNX Runtime works; memory stays bounded however many there are. Equal-sized
        neighbours share a run.

        Args:
            sources: paths of images or folders, or raw arrays (H, W[, C]); one or many, read as needed.
            batch_size: most images in one run. None: 1 on the CPU, where batches bring nothing (ResNet-18 at
                224 px, 2 cores: 36 ms an image at 1, 33 to 39 at 2 to 16), else 16.
            frame: which picture of files that hold several, counted from 1. None: none is guessed.
            workers: processes that decode; 0: threads do, which is faster unless decoding is Python's own work
                or a broken decoder must not end this process.
            passed: gets each folder that was walked, and what was met in it beside images.

        Returns:
            One `Prediction` or `Failure` for each image, computed when it is asked for.

        Raises:
            DataError: the one folder given holds no image; this and the others when an answer is asked for.
            ModelError: ONNX Runtime failed.
            UsageError: `batch_size`, `frame` or `workers` is too small.
        """
        return Answers(self.answers(expand(sources, passed), batch_size=batch_size, frame=frame, workers=workers))

    def answers(
        self,
        items: Iterable[tuple[str, Source | ImageError]],
        *,
        batch_size: int | None = None,
        frame: int | None = None,
        workers: int = 0,
    ) -> Generator[Result]:
        """Label images that have names already, from `zoo.edge._stream.expand`; see `predict`."""
        size = (1 if self.provider == "cpu" else _ACCELERATOR_BATCH) if batch_size is None else batch_size
        asked = (("batch size", size, 1), ("workers", workers, 0), ("frame", 1 if frame is None else frame, 1))
        for what, value, least in asked:
            if value < least:
                raise UsageError(
                    f"{what} is {value}, expected {least} or more", code="option-value", option=what, value=value
                )
        with contextlib.ExitStack() as stack:
            load: Callable[[str, Source | ImageError], Array | str] = partial(self._intake.pixels, frame=frame)
            if workers:
                decoders = stack.enter_context(contextlib.closing(Decoders(self._intake, workers, frame)))
                load = decoders.pixels
            images = stack.enter_context(contextlib.closing(decode_ahead(items, load, threads=workers or None)))
            if workers:
                stack.callback(decoders.stop)  # first of all, so that no thread waits for an answer
            for names, group in batches(images, size):
                if isinstance(group, str):
                    yield Failure(names[0], group)
                    continue
                rows = self._run("probabilities", group)
                for name, row in zip(names, rows, strict=True):
                    yield self._prediction(name, row)

    def answer(self, source: bytes | Source, *, name: str | None = None, frame: int | None = None) -> Result:
        """Label one image, in the calling thread.

        Args:
            source: a file's bytes, a path, or a raw array (H, W[, C]).
            name: how the result names the image. None: the path, else "image".
            frame: which picture of a file that holds several, counted from 1. None: none is guessed.

        Returns:
            A `Failure` for an image that cannot be used; what is in `Failure.error` names no file.

        Raises:
            ModelError: ONNX Runtime failed.
        """
        shown = name or (str(source) if isinstance(source, str | Path) else "image")
        image = self._intake.pixels(shown, source, frame)
        if isinstance(image, str):
            return Failure(shown, image)
        return self._prediction(shown, self._run("probabilities", image[None])[0])

    def _prediction(self, name: str, row: NDArray[np.float32]) -> Prediction:
        values = [float(value) for value in row]
        best = int(row.argmax())
        by_name = dict(zip(self.labels, values, strict=True))
        held = None
        if self.manifest.task == "multilabel":
            held = tuple(label for label, value in by_name.items() if value >= GIVEN)
        return Prediction(name, self.labels[best], values[best], by_name, held)

    def check(self, image: RawImage) -> None:
        """Whether the model was made for such an image.

        Raises:
            ImageError: its pixels are of another kind, or outside the range that the preprocessing declares.
        """
        self._intake.check(image)

    def as_fed(self, batch: Array) -> Array:
        """Raw images as `probabilities` hands them to the graph."""
        return np.ascontiguousarray(self._intake.batch(batch), dtype=self.manifest.input.dtype)

    def _run(self, output: str, images: Array) -> NDArray[np.float32]:
        return self._answers((output,), images)[0]

    def _answers(self, outputs: tuple[str, ...], images: Array) -> list[NDArray[np.float32]]:
        """These outputs and no other: what is not asked for is not handed out."""
        feed = {self.manifest.input.name: np.ascontiguousarray(images, dtype=self.manifest.input.dtype)}
        try:
            found = self._session.run(list(outputs), feed)
        except Exception as problem:  # onnxruntime's errors have no common base below Exception
            check_memory(problem, str(self.path))
            raise ModelError(
                f"{self.path}: onnxruntime failed while running: {one_line(problem)}", code="model-run"
            ) from None
        for output, rows in zip(outputs, found, strict=True):
            expected = (len(images), *answer_shape(self.manifest, output))
            if rows.shape != expected or rows.dtype != np.float32:
                raise ModelError(
                    f"{self.path}: {output} came as {'x'.join(map(str, rows.shape))} {rows.dtype}, "
                    f"expected {'x'.join(map(str, expected))} float32 for its labels; export the model again",
                    code="model-answer-shape",
                    found=list(rows.shape),
                    expected=list(expected),
                )
            if output == "probabilities":
                # who asks for logits tells which image had one that is not a number
                self._check_probabilities(rows[np.isfinite(rows).all(axis=1)] if "logits" in outputs else rows)
        return [np.asarray(rows, np.float32) for rows in found]

    def _check_probabilities(self, rows: NDArray[np.float32]) -> None:
        """Refuse what cannot be a probability, as of a file whose outputs were swapped."""
        fits = bool(np.all((rows >= -_ROUNDING) & (rows <= 1 + _ROUNDING)))  # not-a-number is neither
        if fits and self.manifest.task == "multiclass":
            fits = bool(np.all(np.abs(rows.sum(axis=1) - 1) <= _ROUNDING))
        if not fits:
            worst = rows[int(np.argmax(np.nan_to_num(np.abs(rows.sum(axis=1) - 1), nan=np.inf)))]
            sums = " that add up to 1" if self.manifest.task == "multiclass" else ""
            raise ModelError(
                f"{self.path}: probabilities from {worst.min():.3g} to {worst.max():.3g} with the sum "
                f"{worst.sum():.3g}, expected numbers from 0 to 1{sums}; do not use this model, export it again",
                code="model-answer-range",
                low=float(rows.min()),
                high=float(rows.max()),
            )
