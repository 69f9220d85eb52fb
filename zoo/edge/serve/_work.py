"""What a worker's thread does with a body: images out of it, answers of the model, and the bytes of the answer."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from starlette.responses import Response

from zoo._support.memory import return_memory
from zoo.edge._explain import explain_image
from zoo.edge._intake import blame_of
from zoo.edge._results import Failure
from zoo.edge.serve._images import NAME, unpack
from zoo.edge.serve._inference import HEADER, read, write
from zoo.edge.serve._multipart import Unreadable
from zoo.edge.serve._shapes import IMAGES
from zoo.errors import ImageError
from zoo.readers import probe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request

    from zoo.edge._results import Prediction, Result
    from zoo.edge._runtime import Runtime
    from zoo.edge.serve._images import Images
    from zoo.edge.serve._metrics import Metrics
    from zoo.edge.serve._models import Model
    from zoo.edge.serve._settings import Settings

__all__ = ["JSON", "VERSION", "Columns", "Sent", "Work", "name_blamed"]

Columns = NDArray[np.float32] | None

JSON = "application/json"
VERSION = "zoo-model-version"
"""Header of an answer that a model gave: a page that was opened before a newer one came sees that by it."""

_LARGE = 2_000_000
"""Pixels, or bytes, from which the few milliseconds that it takes to return memory are lost in the answer's time."""


def name_blamed(problem: ImageError) -> Literal["image", "decoder"]:
    """Reason of a refusal in the metrics. "decoder": this machine may be to blame, and the image may be sound."""
    return "image" if blame_of(problem.code) == "image" else "decoder"


@dataclass(frozen=True, slots=True)
class Sent:
    """A request whose body was read whole.

    Attributes:
        request: its head.
        body: the bytes.
        model: which one is asked; it answers even if another takes its place meanwhile.
        gone: set when nobody waits for the answer any more.
    """

    request: Request
    body: bytes
    model: Model
    gone: Event = field(default_factory=Event)

    def header(self, name: str) -> str:
        """Its value; empty where it was not sent."""
        return str(self.request.headers.get(name, ""))

    def answer(self, body: bytes, media_type: str = JSON, **headers: str) -> Response:
        """What the model said, with its version."""
        return Response(body, headers={VERSION: self.model.version, **headers}, media_type=media_type)

    def count(self, images: int) -> None:
        """Say how many images it holds."""
        self.request.scope[IMAGES] = images


class Work:
    """The jobs of one server. Each raises `Unreadable` for a body, and `ImageError` for the one image it is about."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics

    def rows(self, sent: Sent, columns: Columns, frame: int | None, top: int | None) -> Response:
        """The row as JSON, or of several images a list, in which what cannot be answered has its error in its place."""
        found = self.unpack(sent)
        rows = [result.row(top) for _, result in self.results(found, sent, columns, frame)]
        return sent.answer(msgspec.json.encode(rows if found.several else rows[0]))

    def results(
        self, found: Images, sent: Sent, columns: Columns, frame: int | None
    ) -> Iterator[tuple[bytes | ImageError, Result]]:
        """Each file and its answer; of several images what cannot be answered has a `Failure` in its place."""
        if found.several and columns is not None:
            raise Unreadable("this model takes columns beside the image, which the query has once; send one image")
        for at, data in enumerate(found.files):
            if at and sent.gone.is_set():
                return
            try:
                yield data, self.row(sent.model.runtime, data, found.name(at), columns, frame)
            except ImageError as problem:
                if not found.several:
                    raise
                self.count_refused(problem)
                yield data, Failure(found.name(at), problem.reason, code=problem.code)

    def map(self, sent: Sent, columns: Columns, frame: int | None, label: str | None) -> Response:
        """The heat map as JSON."""
        found = self.unpack(sent)
        if found.several:
            raise Unreadable("a heat map is made of one image at a time; send the others in further requests")
        data = found.files[0]
        if isinstance(data, ImageError):
            raise data
        runtime = sent.model.runtime
        with self._measure(runtime, data):
            heat = explain_image(runtime, runtime.read(data, name=NAME, frame=frame), label, columns)
        return sent.answer(msgspec.json.encode(heat))

    def infer(self, sent: Sent) -> Response:
        """The answer of the Open Inference Protocol. It has no place for one image's error, so the first ends it."""
        header = sent.request.headers.get(HEADER)
        most, pixels = self._settings.images, self._settings.max_pixels
        runtime = sent.model.runtime
        asked, images = read(runtime, sent.body, header, most=most, pixels=pixels)
        sent.count(len(images))
        rows = []
        for at, image in enumerate(images):
            if sent.gone.is_set():
                return Response()
            try:
                rows.append(self.row(runtime, image, NAME))
            except ImageError as problem:
                raise ImageError(NAME, f"image {at + 1}: {problem.reason}", code=problem.code) from None
        body, length = write(sent.model, asked, rows)
        if length is None:
            return sent.answer(body)
        return sent.answer(body, "application/octet-stream", **{HEADER: str(length)})

    def unpack(self, sent: Sent) -> Images:
        """The images of a body, counted."""
        found = unpack(sent.body, sent.header("content-type"), self._settings.images)
        sent.count(len(found.files))
        return found

    def row(
        self,
        runtime: Runtime,
        image: bytes | ImageError | NDArray[Any],
        name: str,
        columns: Columns = None,
        frame: int | None = None,
    ) -> Prediction:
        """One answer; raises ImageError."""
        if isinstance(image, ImageError):
            raise image
        with self._measure(runtime, image):
            result = runtime.answer(image, name=name, frame=frame, columns=columns)
        if isinstance(result, Failure):
            raise ImageError(name, result.error, code=result.code)
        return result

    def count_refused(self, problem: ImageError) -> None:
        """Count an image that has no answer, where others of its request may have one."""
        self._metrics.refused.labels(name_blamed(problem)).inc()

    @contextlib.contextmanager
    def _measure(self, runtime: Runtime, data: bytes | NDArray[Any]) -> Iterator[None]:
        """Refuse too many pixels by the header alone, and hand back what a large image took."""
        size = data.nbytes if isinstance(data, np.ndarray) else len(data)
        try:
            if isinstance(data, np.ndarray):  # its size was looked at when it was read
                yield
                return
            try:
                header = probe(data, name=NAME)
            except ImageError as problem:  # the readers have a limit of their own, which is larger
                width, height = problem.fields.get("width"), problem.fields.get("height")
                if problem.code != "image-size" or not (width and height):
                    raise
                raise self._refuse_pixels(width, height) from None
            values = header.width * header.height * (header.channels or 1)
            if runtime.manifest.provenance.config.frames == "channels":
                values *= header.frames
            size = max(size, values)
            if values > self._settings.max_pixels:
                raise self._refuse_pixels(header.width, header.height)
            yield
        finally:
            if size >= _LARGE:
                return_memory()

    def _refuse_pixels(self, width: int, height: int) -> ImageError:
        most = self._settings.max_pixels
        return ImageError(
            NAME,
            f"{width}x{height} pixels, expected at most {most}; send the image smaller",
            code="image-size",
            width=width,
            height=height,
            most=most,
        )
