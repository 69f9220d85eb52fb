"""Grad-CAM of a run: the network as it was trained draws the map, the run's file gives label and probability."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zoo._support.labels import find_label
from zoo._support.text import quote_path
from zoo.errors import UsageError
from zoo.workflow._find import is_exported, run_that_ships

if TYPE_CHECKING:
    from zoo.edge import HeatMap, Runtime
    from zoo.edge._beside import Cells
    from zoo.learn import GradCam
    from zoo.readers import RawImage

__all__ = ["open_gradcam"]


def open_gradcam(path: Path, runtime: Runtime) -> _Mapper:
    """Load the network of a run for maps by its gradients.

    Args:
        path: the run, as it was named.
        runtime: its file, opened.

    Raises:
        UsageError: `path` is a file or bundle, or no torch network with a map is in the run.
        ZooError: the run or its plugin cannot be loaded.
    """
    from zoo import registry
    from zoo.runs import find_run, open_run

    if is_exported(path):
        raise UsageError(
            f"{quote_path(path)} is exported, and a file has no gradients; name its run, or leave --gradcam out",
            code="gradcam-file",
            path=str(path),
        )
    run = open_run(run_that_ships(find_run(path)))
    trained = registry.load(run.record.plugin.name).plugin.load(run.record.card, run)
    gradcam: GradCam | None = getattr(trained, "gradcam", None)
    if gradcam is None:
        raise UsageError(
            f"{quote_path(run.path)} is a run of {run.record.card.name}, expected one network of torch that sees "
            "images alone and ends with a map of places; leave --gradcam out to hide parts of the image",
            code="gradcam-no-map",
            run=str(run.path),
            model=run.record.card.name,
        )
    return _Mapper(runtime, gradcam)


class _Mapper:
    def __init__(self, runtime: Runtime, gradcam: GradCam) -> None:
        self.runtime, self.gradcam = runtime, gradcam

    def __call__(self, image: RawImage, label: str | None, columns: Cells | None) -> HeatMap:
        from zoo.edge import HeatMap, answer_labels
        from zoo.edge._explain import average_in_cells
        from zoo.preprocess import apply
        from zoo.readers._padding import adopt_padding

        known, spec = self.runtime.manifest, self.runtime.manifest.preprocess
        image = adopt_padding(image, spec.intensity)
        self.runtime.check(image)
        probabilities = self.runtime.probabilities(image.pixels[None], columns)
        at = int(answer_labels(probabilities, known.labels, known.operating, known.task)[0])
        if label is not None:
            at = find_label(label, known.labels)
        height, width = image.pixels.shape[:2]
        grid = average_in_cells(self.gradcam.map(apply(image.pixels, spec), at), height, width, spec)
        return HeatMap(
            label=known.labels[at],
            base=float(probabilities[0, at]),
            height=height,
            width=width,
            values=tuple(tuple(map(float, row)) for row in grid),
            method="gradcam",
        )

    def shuffle(self, seed: int) -> _Mapper:
        return _Mapper(self.runtime, self.gradcam.shuffle(seed))
