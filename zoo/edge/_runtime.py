"""A model file that answers: raw pixels in, labels and probabilities out.

The arithmetic that the file does not do itself (see `InputSpec.stage`) is done by `zoo.preprocess`, so a
caller always hands over raw images. A file is opened only when its bytes, its manifest and its graph agree.

What this module does not know: command lines, bundles' hashes, how a network was trained.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo._support.text import printable
from zoo.edge._asking import ask, check_output, decisive_outputs, make_feed
from zoo.edge._beside import Beside, Cells, FindRow, numbers_of, refuse_unasked
from zoo.edge._graph import check_graph, count_features
from zoo.edge._intake import Array, Intake, Reason, Source
from zoo.edge._measure import check_measured, measure_pixels
from zoo.edge._results import Answers, Failure, Result, mark_of, read_predictions
from zoo.edge._session import check_memory, open_session, placement
from zoo.edge._stream import decode_batches, expand
from zoo.edge.bundle import Contents, open_model
from zoo.spec import EVIDENCE, FEATURES, NOVELTY, Manifest
from zoo.tabular import draw_cells

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from zoo.edge._results import Prediction
    from zoo.errors import ImageError
    from zoo.readers import RawImage
    from zoo.readers._walk import PassedOver

__all__ = ["Runtime"]

_ACCELERATOR_BATCH = 16


class Runtime:
    """An opened model. Create it by `Runtime.open`.

    It holds nothing that a call changes: several threads may ask one `Runtime` at the same time, and each gets
    the answer that it would get alone.

    Attributes:
        path: what was opened.
        manifest: what the model says of itself.
        provider: the execution provider that runs it: the one asked for, never another.
        sha256: hash of the ONNX file, hexadecimal.
        mark: its first digits, which answers with statistics hold.
        size_bytes: size of the ONNX file.
        threads: threads inside one operator; None: as many as this process has CPUs.
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        provider: str,
        session: Any,
        *,
        sha256: str,
        size_bytes: int,
        threads: int | None = None,
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.sha256 = sha256
        self.mark = mark_of(sha256)
        self.provider = provider
        self.size_bytes = size_bytes
        self.threads = threads
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
        digest, size = contents.sha256, len(contents.model)
        runtime = cls(path, contents.manifest, provider, session, sha256=digest, size_bytes=size, threads=threads)
        check_graph(str(path), contents.manifest, session, ask=runtime._try)
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
        return self.manifest.kinds[-1]

    def logits(self, batch: Array, columns: Cells | None = None) -> NDArray[np.float32]:
        """Answer raw images.

        Args:
            batch: (N, H, W, C) as `zoo.readers.read` gives images: uint8 with C = 3, uint16 or float32 with C = 1, or
                as many channels as the model was trained on.
            columns: what a model with `manifest.table` is given beside them: name of a column to N cells, texts or
                numbers, None where there is nothing; or (N, C) numbers, see `zoo.tabular.parse_cells`.

        Returns:
            (N, K) float32.

        Raises:
            ImageError: the batch has another shape or dtype than the model was made for, or values outside its range.
            DataError: columns are wanted and not given, or a cell cannot be taken.
            UsageError: columns are given and the model takes none.
            ModelError: ONNX Runtime failed, or gave another shape, or probabilities beside them that are none.
        """
        return self.logits_and_probabilities(batch, columns)[0]

    def logits_and_probabilities(self, batch: Array, columns: Cells | None = None) -> list[NDArray[np.float32]]:
        """Logits and probabilities, (N, K) both, of one pass; takes and raises as `logits`."""
        return self._answers(("logits", "probabilities"), batch, columns)

    def probabilities(self, batch: Array, columns: Cells | None = None) -> NDArray[np.float32]:
        """After temperature and softmax or sigmoids: (N, K) float32 in [0, 1]; takes and raises as `logits`."""
        return self._answers(("probabilities",), batch, columns)[0]

    def draw_columns(self, rows: int) -> NDArray[np.float32] | None:
        """(rows, C) made columns, nobody's, for a trial of the model; None: it takes none."""
        return None if self.manifest.table is None else draw_cells(self.manifest.table, rows)

    @property
    def has_evidence(self) -> bool:
        """Whether the file says where it sees what: `evidence` and `answer_with_evidence` are answered."""
        return EVIDENCE in self.manifest.outputs

    def evidence(self, batch: Array, columns: Cells | None = None) -> NDArray[np.float32]:
        """Where the model sees what; takes and raises as `logits`.

        Returns:
            (N, K, h, w) float32 in units of a logit, (h, w) the network's input: for each label the map that its logit
            is pooled of. `zoo.preprocess.place_image` says which part of the raw image a place of it is.

        Raises:
            UsageError: the file has no such output.
        """
        return self.answer_with_evidence(batch, columns)[1]

    def answer_with_evidence(
        self, batch: Array, columns: Cells | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities and evidence of one pass; see there."""
        check_output(str(self.path), self.manifest, EVIDENCE)
        probabilities, evidence = self._answers(("probabilities", EVIDENCE), batch, columns)
        return probabilities, evidence

    @property
    def has_features(self) -> bool:
        """Whether the file gives what its last layer makes the logits of: `features` is answered."""
        return FEATURES in self.manifest.outputs

    @property
    def feature_count(self) -> int:
        """D of the features; 0: the file gives none."""
        return count_features(self._session) if self.has_features else 0

    def features(self, batch: Array, columns: Cells | None = None) -> NDArray[np.float32]:
        """What the last layer makes the logits of; takes and raises as `logits`.

        Returns:
            (N, D) float32, not normalised: to compare images by their angle, divide each row by its length.

        Raises:
            UsageError: the file has no such output.
        """
        check_output(str(self.path), self.manifest, FEATURES)
        return self._answers((FEATURES,), batch, columns)[0]

    def novelty(self, batch: Array, columns: Cells | None = None) -> NDArray[np.float32]:
        """How unlike the images of training these are; takes and raises as `logits`.

        Returns:
            (N,) float32, the larger the less alike; `manifest.abstention.novelty` says from where on it counts.

        Raises:
            UsageError: the file has no such output.
        """
        check_output(str(self.path), self.manifest, NOVELTY)
        return self._answers((NOVELTY,), batch, columns)[0]

    def decisive(self, batch: Array, columns: Cells | None = None) -> dict[str, NDArray[np.float32]]:
        """Logits and probabilities (N, K), and novelty (N,) where the file decides by it; as `logits`, in one pass."""
        outputs = ("logits", *decisive_outputs(self.manifest))
        return dict(zip(outputs, self._answers(outputs, batch, columns), strict=True))

    def predict(
        self,
        sources: Iterable[Source] | Source,
        *,
        features: bool = False,
        statistics: bool = False,
        batch_size: int | None = None,
        frame: int | None = None,
        workers: int = 0,
        passed: list[tuple[str, PassedOver]] | None = None,
        columns: FindRow | None = None,
    ) -> Answers:
        """Label images in the order given; a folder is walked in natural order.

        Images are decoded ahead while ONNX Runtime works; memory stays bounded however many there are. Equal-sized
        neighbours share a run.

        Args:
            sources: paths of images or folders, or raw arrays (H, W[, C]); one or many, read as needed.
            features: each `Prediction` has its features too.
            statistics: each `Prediction` has brightness, contrast and colour of the raw image, and which file answered.
            batch_size: most images in one run. None: 1 on the CPU, where batches bring nothing (ResNet-18 at
                224 px, 2 cores: 36 ms an image at 1, 33 to 39 at 2 to 16), else 16.
            frame: which picture of files that hold several, counted from 1. None: none is guessed.
            workers: processes that decode; 0: threads do, which is faster unless decoding is Python's own work
                or a broken decoder must not end this process.
            passed: gets each folder that was walked, and what was met in it beside images.
            columns: from the name of an image ("array 0" of an array) to its columns by name, for a model that takes
                some beside the image; a dictionary's `__getitem__`, or `zoo.edge.TableRows` of a file.

        Returns:
            One `Prediction` or `Failure` for each image, computed when it is asked for.

        Raises:
            DataError: the one folder given holds no image, or columns are wanted and not given; this and the others
                when an answer is asked for.
            ModelError: ONNX Runtime failed.
            UsageError: `batch_size`, `frame` or `workers` is too small, or the file gives no features, or it leaves
                preprocessing to us, and raw pixels are not kept for statistics.
        """
        items = expand(sources, passed)
        return Answers(
            self.answers(
                items,
                features=features,
                statistics=statistics,
                batch_size=batch_size,
                frame=frame,
                workers=workers,
                columns=columns,
            )
        )

    def answers(
        self,
        items: Iterable[tuple[str, bytes | Source | ImageError]],
        *,
        features: bool = False,
        statistics: bool = False,
        batch_size: int | None = None,
        frame: int | None = None,
        workers: int = 0,
        columns: FindRow | None = None,
    ) -> Generator[Result]:
        """Label images that have names already, as `zoo.edge._stream.expand` gives them or as bytes; see `predict`."""
        size = (1 if self.provider == "cpu" else _ACCELERATOR_BATCH) if batch_size is None else batch_size
        if features:
            check_output(str(self.path), self.manifest, FEATURES)
        if statistics:
            check_measured(str(self.path), self.manifest)
        outputs = (*decisive_outputs(self.manifest), *([FEATURES] if features else []))
        refuse_unasked(self.manifest, columns)
        mark = self.mark if statistics else None
        beside = Beside(self.manifest.table, columns)
        decoded = decode_batches(items, self._intake, size=size, workers=workers, frame=frame)
        with contextlib.closing(decoded) as batches:
            for names, group in batches:
                if isinstance(group, Reason):
                    yield Failure(names[0], str(group), mark, group.code)
                    continue
                given, wrong = beside.take(names)
                good = [at for at in range(len(names)) if at not in wrong]
                feed = make_feed(self.manifest, group[good], None if given is None else given[good])
                measured = measure_pixels(group[good]) if statistics else None
                answered = iter(self._predict(outputs, feed, [names[at] for at in good], measured) if good else ())
                for at, name in enumerate(names):
                    yield Failure(name, wrong[at], mark) if at in wrong else next(answered)
            beside.say()

    def answer(
        self,
        source: bytes | Source,
        *,
        name: str | None = None,
        frame: int | None = None,
        columns: Cells | None = None,
    ) -> Result:
        """Label one image, in the calling thread.

        Args:
            source: a file's bytes, a path, or a raw array (H, W[, C]).
            name: how the result names the image. None: the path, else "image".
            frame: which picture of a file that holds several, counted from 1. None: none is guessed.
            columns: what a model that takes some is given beside the image, as for `logits`.

        Returns:
            A `Failure` for an image that cannot be used; what is in `Failure.error` names no file.

        Raises:
            ModelError: ONNX Runtime failed.
            DataError, UsageError: columns are not what the model takes.
        """
        given = numbers_of(self.manifest, columns, 1)
        shown = name or (str(source) if isinstance(source, str | Path) else "image")
        image = self._intake.pixels(shown, source, frame)
        if isinstance(image, Reason):
            return Failure(shown, str(image), code=image.code)
        return self._predict(decisive_outputs(self.manifest), make_feed(self.manifest, image[None], given), [shown])[0]

    def _predict(
        self, outputs: tuple[str, ...], feed: dict[str, Array], names: list[str], measured: Array | None = None
    ) -> list[Prediction]:
        found = dict(zip(outputs, self._ask(outputs, feed), strict=True))
        found |= {} if measured is None else {"measured": measured}
        return read_predictions(self.manifest, names, found, None if measured is None else self.mark)

    def read(self, source: bytes | Source, *, name: str | None = None, frame: int | None = None) -> RawImage:
        """Read one raw image as the model was trained to get it; arguments as `answer`.

        Raises:
            ImageError: it cannot be read. Whether the model takes it, `check` says.
        """
        return self._intake.read(source, name=name, frame=frame)

    def check(self, image: RawImage) -> None:
        """Whether the model was made for such an image.

        Raises:
            ImageError: its pixels are of another kind, or outside the range that the preprocessing declares.
        """
        self._intake.check(image)

    def feed(self, batch: Array, columns: Cells | None = None) -> dict[str, Array]:
        """Raw images, and columns, as `logits` hands them to the graph: the name of each input to its values."""
        return make_feed(self.manifest, self._intake.batch(batch), numbers_of(self.manifest, columns, len(batch)))

    def _answers(self, outputs: tuple[str, ...], batch: Array, columns: Cells | None) -> list[NDArray[np.float32]]:
        return self._ask(outputs, self.feed(batch, columns))

    def _try(self, output: str, images: Array) -> NDArray[np.float32]:
        return self._ask((output,), make_feed(self.manifest, images, self.draw_columns(len(images))))[0]

    def _ask(self, outputs: tuple[str, ...], feed: dict[str, Array]) -> list[NDArray[np.float32]]:
        return ask(self._session, str(self.path), self.manifest, outputs, feed)
