"""The golden set of a bundle: whose images are in it, which they are, and the bundle that holds them."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.spec import EVIDENCE, FEATURES, NOVELTY
from zoo.tabular import draw_cells
from zoo.workflow._find import MODEL_FILE
from zoo.workflow._images import read_some

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from zoo.data import Splits
    from zoo.evaluation import Predict
    from zoo.spec import GoldenKind, Manifest, TableSpec
    from zoo.workflow._request import Golden

__all__ = ["choose_kind", "write_proven_bundle"]

_TRIES = 4
"""Rows of columns that are tried for a golden image."""

_SEEN = 32
"""Images whose sizes and levels drawn pictures take over."""


def choose_kind(asked: Golden | None, source: str | Path) -> GoldenKind:
    """Whose images the golden set is to hold.

    Args:
        asked: what the user said; None: images of a set of the catalogue, where its licence lets anybody pass them
            on, and else drawn ones. A folder or a table may be of people, whatever it is called.
        source: name or place of the images.
    """
    from zoo.data import find_named

    known = find_named(source)
    if asked is None:
        return "public" if known is not None and not known.about.non_commercial else "generated"
    return "generated" if asked == "generated" else "own" if known is None else "public"


def write_proven_bundle(
    target: Path,
    content: bytes,
    manifest: Manifest,
    *,
    golden: GoldenKind,
    splits: Splits | None,
    predict: Predict | None = None,
    seen: bytes | None = None,
) -> None:
    """Write the bundle of a proven file, with golden answers that are the file's own.

    Args:
        target: NAME.zoo or NAME.zoo.zip.
        content: the file's bytes.
        manifest: what it says of itself.
        golden: whose the golden images are.
        splits: the images it was trained with; None: they are not at hand, and golden is "generated".
        predict: raw (N, H, W, C) images to (N, K) logits, of a quantised file; None: by the file itself on this
            machine.
        seen: list of seen images, as bytes; None: the bundle carries none.
    """
    from zoo.artefact import GOLDEN_IMAGES, golden_tolerance, write_bundle
    from zoo.edge import Runtime

    # Of a quantised file no maps, features or scores: how far kernels elsewhere move them is not known.
    more: dict[str, Predict] = {}
    if predict is None:
        with tempfile.TemporaryDirectory() as folder:
            proven = Path(folder) / MODEL_FILE
            proven.write_bytes(content)
            runtime = Runtime.open(proven)
            predict = runtime.logits
            more |= {EVIDENCE: runtime.evidence} if runtime.has_evidence else {}
            more |= {FEATURES: runtime.features} if runtime.has_features else {}
            more |= {NOVELTY: runtime.novelty} if NOVELTY in manifest.outputs else {}
    tolerance = golden_tolerance(manifest)
    table = manifest.table
    alone = predict if table is None else partial(_predict_one, predict, draw_cells(table, 1))  # for the search
    if golden == "generated":
        images = _draw(splits, manifest, alone, GOLDEN_IMAGES, tolerance)
    elif manifest.quantization is None:
        images = _take(splits, GOLDEN_IMAGES)
    else:
        images = _put_clear_first(_take(splits, 4 * GOLDEN_IMAGES), alone, tolerance, manifest)[:GOLDEN_IMAGES]
    columns = None if table is None else _draw_columns(table, images, predict, tolerance, manifest)
    write_bundle(
        target,
        content,
        manifest,
        images=images,
        golden=golden,
        predict=predict,
        more=more,
        seen=seen,
        columns=columns,
    )


def _predict_one(predict: Predict, row: NDArray[np.float32], batch: NDArray[Any]) -> NDArray[np.float32]:
    """Answers with the same columns beside every image."""
    return np.asarray(predict(batch, np.repeat(row, len(batch), axis=0)), np.float32)


def _draw_columns(
    table: TableSpec, images: Sequence[NDArray[Any]], predict: Predict, tolerance: float, manifest: Manifest
) -> NDArray[np.float32]:
    """(images, C) made columns, nobody's; of a few for each image one whose answer cannot change by rounding."""
    from zoo.artefact import is_clear

    drawn = draw_cells(table, _TRIES * len(images)).reshape(_TRIES, len(images), -1)
    chosen = drawn[0].copy()
    for at, image in enumerate(images):
        for row in drawn[:, at : at + 1]:
            if is_clear(predict(image[None], row)[0], tolerance, manifest.task):
                chosen[at] = row[0]
                break
    return np.asarray(chosen, np.float32)


def _draw(
    splits: Splits | None, manifest: Manifest, predict: Predict, count: int, tolerance: float
) -> list[NDArray[Any]]:
    from zoo.artefact import draw_golden, look_at, look_of

    look = look_of(manifest) if splits is None else look_at(_read(splits, _SEEN), manifest)
    return draw_golden(look, predict, count=count, tolerance=tolerance, task=manifest.task)


def _take(splits: Splits | None, count: int) -> list[NDArray[Any]]:
    """`count` raw images of the data: test images first; cuts of them where there are too few."""
    from zoo.artefact import parity_images

    assert splits is not None  # noqa: S101 - who has no images is given generated ones
    some = [_middle(image) for image in _read(splits, count)]
    return some if len(some) >= count else parity_images(some)[:count]


def _read(splits: Splits, count: int) -> list[NDArray[Any]]:
    return [image.pixels for image in read_some((splits.test, splits.val, splits.train), count)]


def _put_clear_first(
    images: Sequence[NDArray[Any]], predict: Predict, tolerance: float, manifest: Manifest
) -> list[NDArray[Any]]:
    """The images, sorted so that those whose answer cannot change within the golden tolerance come first."""
    from zoo.artefact import is_clear

    def is_unclear(image: NDArray[Any]) -> bool:
        return not is_clear(predict(image[None])[0], tolerance, manifest.task)

    return sorted(images, key=is_unclear)


def _middle(image: NDArray[Any]) -> NDArray[Any]:
    """The image, or the middle of a large one: a golden set travels with every bundle."""
    from zoo.artefact import GOLDEN_SIDE

    height, width = image.shape[:2]
    top, left = max(0, height - GOLDEN_SIDE) // 2, max(0, width - GOLDEN_SIDE) // 2
    return np.ascontiguousarray(image[top : top + GOLDEN_SIDE, left : left + GOLDEN_SIDE])
