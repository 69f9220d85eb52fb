"""Features of the classical baselines: what they see of a picture, in one documented place.

The card's `preprocess.size` (32 × 32 by default) already made the picture small; its pixels, channel by
channel, are the raw features. Everything here is a scikit-learn step that skl2onnx can write as ONNX nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sklearn.decomposition import PCA

if TYPE_CHECKING:
    from zoo.spec import ModelCard

__all__ = ["principal_components"]

_VARIANCE = 0.95
"""Share of the variance to keep: 'eigenfaces' (Turk and Pentland 1991), with the number left to the data."""


def principal_components(card: ModelCard, channels: int) -> PCA:
    """Principal components that hold 95 % of the variance of the C · h · w pixels."""
    height, width = card.preprocess.size
    # The covariance's eigenvectors cost the same for any number of images; beyond a few thousand pixels they
    # cost too much.
    solver = "covariance_eigh" if channels * height * width <= 4096 else "full"
    return PCA(n_components=_VARIANCE, svd_solver=solver)
