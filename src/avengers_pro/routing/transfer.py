"""A model with few labels: its scores are read off the other models' before its own tables are believed.

Where models are good or bad together, a few labels tell how a new one follows the others; plain tables of so few
labels would be noise that wins by luck.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avengers_pro.errors import DamagedArtifactError
from avengers_pro.records.table import Floats
from avengers_pro.routing.method import Arrays

ENOUGH = 1000
"""Labels from which a model's own tables alone are believed."""
OWN = 0.5
"""How far the own tables of a model with few labels are believed, beside what is read off the others."""
_RIDGE = 0.1
_RIDGE_LEAST = 2.0


def sparse_models(observations: Floats) -> NDArray[np.bool_]:
    """Return (m,) True for models with few labels, in number and beside the best-known model.

    Args:
        observations: (m,) labels of each.
    """
    return np.asarray((observations < ENOUGH) & (observations < 0.5 * observations.max()))


@dataclass(frozen=True, slots=True)
class Transfer:
    """How deviations of all models make the deviations that are believed.

    Attributes:
        matrix: (m, m); the identity but for models with few labels.
        shifts: (m,) added to them; 0 but for models with few labels.
    """

    matrix: Floats
    shifts: Floats

    @classmethod
    def fit(cls, predicted: Floats, observed: Floats, sparse: NDArray[np.bool_]) -> "Transfer":
        """Regress the few labels on what is predicted for the other models.

        Args:
            predicted: (n, m) leave-one-out deviations.
            observed: (n, m) deviations; NaN = not observed.
            sparse: (m,) the models with few labels.
        """
        matrix, shifts = np.eye(len(sparse)), np.zeros(len(sparse))
        for column in np.flatnonzero(sparse):
            rows = ~np.isnan(observed[:, column])
            if not rows.any():  # nothing of its own but an assumption: on each kind as the others are on average
                matrix[column] = np.where(sparse, 0.0, 1 / np.count_nonzero(~sparse))
                continue
            weights, shift = _ridge(predicted[rows][:, ~sparse], observed[rows, column])
            matrix[column, ~sparse] = (1 - OWN) * weights
            matrix[column, column] = OWN
            shifts[column] = (1 - OWN) * shift
        return cls(matrix, shifts)

    def apply(self, deviations: Floats) -> Floats:
        """Return (n, m) believed deviations of (n, m) own ones, in which unknown must be 0."""
        believed: Floats = deviations @ self.matrix.T
        return believed + self.shifts


def _ridge(features: Floats, target: Floats) -> tuple[Floats, float]:
    """Return weights, and the target's expectation where all features are 0."""
    centre = features.mean(axis=0)
    centered = features - centre
    penalty = _RIDGE * len(features) * float(centered.var(axis=0).mean()) + _RIDGE_LEAST
    gram = centered.T @ centered + penalty * np.eye(features.shape[1])
    weights: Floats = np.linalg.solve(gram, centered.T @ (target - target.mean()))
    return weights, float(target.mean() - centre @ weights)


def restored_transfer(arrays: Arrays, name: str, m: int) -> Transfer:
    """Rebuild a transfer from ``<name>_matrix`` and ``<name>_shifts``; without them every model has its own tables.

    Raises:
        DamagedArtifactError: If one has the wrong shape.
    """
    matrix, shifts = arrays.get(f"{name}_matrix", np.eye(m)), arrays.get(f"{name}_shifts", np.zeros(m))
    if matrix.shape != (m, m) or shifts.shape != (m,):
        raise DamagedArtifactError(f"arrays {name}_matrix and {name}_shifts must have shapes {(m, m)} and {(m,)}")
    return Transfer(matrix, shifts)
