"""The vector that our method clusters: embedding and format features on one scale."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.embedding.format import FORMAT_DIMENSION
from avengers_pro.errors import DamagedArtifactError
from avengers_pro.routing.method import Arrays

SHARE = 0.28
"""How much of the total variance the format features get."""
CLIP = 3.0
_CONSTANT = 1e-6


@dataclass(frozen=True, slots=True)
class FormatScaler:
    """Standardises the 22 format features by the training rows and weighs them against the embedding.

    Attributes:
        shift: (22,) training means.
        scale: (22,) factor / training standard deviation; 0 for a feature that did not vary.
        limit: Largest absolute value afterwards: CLIP standard deviations.
    """

    shift: NDArray[np.floating]
    scale: NDArray[np.floating]
    limit: float

    @classmethod
    def fit(cls, rows: Vectors) -> "FormatScaler":
        """Learn from (n, d + 22) rows as ``WithFormat`` makes them."""
        exact = rows.astype(np.float64)
        features = exact[:, -FORMAT_DIMENSION:]
        spread = exact[:, :-FORMAT_DIMENSION].var(axis=0).sum()
        factor = float(np.sqrt(SHARE / (1 - SHARE) * spread / FORMAT_DIMENSION))
        deviation = features.std(axis=0)
        varies = deviation > _CONSTANT
        scale = np.divide(factor, deviation, out=np.zeros(FORMAT_DIMENSION), where=varies)
        return cls(features.mean(axis=0).astype(rows.dtype), scale.astype(rows.dtype), factor * CLIP)

    def apply(self, rows: Vectors) -> Vectors:
        """Return [embedding ; scaled features], not of unit length."""
        scaled = rows.copy()
        features = scaled[:, -FORMAT_DIMENSION:]
        features -= self.shift
        features *= self.scale
        np.minimum(features, self.limit, out=features)
        np.maximum(features, -self.limit, out=features)
        return scaled


def scaler_arrays(scaler: FormatScaler) -> Arrays:
    """Return what ``restored_scaler`` needs."""
    return {"format_shift": scaler.shift, "format_scale": scaler.scale, "format_limit": np.array([scaler.limit])}


def restored_scaler(arrays: Arrays) -> FormatScaler:
    """Rebuild a scaler.

    Raises:
        DamagedArtifactError: If an array is missing or has the wrong shape.
    """
    shapes = {"format_shift": (FORMAT_DIMENSION,), "format_scale": (FORMAT_DIMENSION,), "format_limit": (1,)}
    for name, shape in shapes.items():
        if name not in arrays or arrays[name].shape != shape:
            raise DamagedArtifactError(f"array {name!r} is missing or not of shape {shape}")
    return FormatScaler(arrays["format_shift"], arrays["format_scale"], float(arrays["format_limit"][0]))
