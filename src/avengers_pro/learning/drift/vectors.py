"""Whether queries lie elsewhere than the training rows: the energy distance, with a permutation test."""

import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.learning.drift.finding import Measurement

CHECK = "embeddings"
THRESHOLD = 0.0005
"""Of the energy coefficient above what it is by chance: about what 7 % of queries of another kind make."""
MOST_ROWS = 1024
"""Of each side that are compared; more are sampled, so that it takes a second."""
PERMUTATIONS = 999
_ADVICE = (
    "queries lie elsewhere than those of the records: look at some of them (ledger export), evaluate the pool on "
    "them, and learn or fit again"
)


def sampled(vectors: Vectors, seed: int = 0) -> Vectors:
    """Return at most ``MOST_ROWS`` different rows, in order; those with NaN are left out.

    Equal ones count once, as equal texts do in records: a question that is asked all day is no other kind of question.
    """
    known = np.flatnonzero(~np.isnan(vectors[:, 0]))
    different = np.array(list({vectors[row].tobytes(): row for row in known}.values()), dtype=np.intp)
    kept = np.random.default_rng(seed).permutation(len(different))[:MOST_ROWS]
    return vectors[np.sort(different[kept])]


def check_vectors(training: Vectors, traffic: Vectors, seed: int = 0) -> Measurement:
    """Test whether two samples of vectors come from one distribution.

    The energy distance 2 E|X - Y| - E|X - X'| - E|Y - Y'| is 0 only for equal distributions (Szekely and Rizzo 2013);
    divided by 2 E|X - Y| it lies in [0, 1]. Its mean over permutations is taken off. Takes time by the square of
    the number of rows: see ``sampled``.

    Args:
        training: (N, d) rows.
        traffic: (n, d) rows on the same scale.
        seed: Of the permutations.
    """
    if not len(traffic) or not len(training):
        return Measurement(check=CHECK, problem="there is no vector to compare")
    rng = np.random.default_rng(seed)
    one, two = training.astype(np.float64), traffic.astype(np.float64)
    distances = pairwise_distances(np.vstack([one, two]))
    found, by_chance = energy_coefficients(distances, len(one), PERMUTATIONS, rng)
    expected = float(by_chance.mean())
    return Measurement(
        check=CHECK,
        rows=len(two),
        value=found - expected,
        expected=0.0,
        threshold=THRESHOLD,
        beyond=found - expected >= THRESHOLD,
        p_value=(1 + int((by_chance >= found).sum())) / (1 + PERMUTATIONS),
        shown=f"energy {found:.4f} ({expected:.4f} by chance)",
        limit=f"{THRESHOLD:.4f} above chance",
        advice=_ADVICE,
    )


def pairwise_distances(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, n) Euclidean distances of (n, d) rows."""
    squares = np.einsum("nd,nd->n", rows, rows)
    found = squares[:, None] + squares[None, :] - 2 * rows @ rows.T
    np.fill_diagonal(found, 0.0)
    distances: NDArray[np.float64] = np.sqrt(np.maximum(found, 0.0))
    return distances


def energy_coefficients(
    distances: NDArray[np.float64], first: int, permutations: int, rng: np.random.Generator
) -> tuple[float, NDArray[np.float64]]:
    """Return the energy coefficient of the first rows against the others, and those of random divisions.

    With weights p = 1 / N on the one side and q = 1 / n on the other, the energy distance is 2 p'Dq - p'Dp - q'Dq;
    as N p + n q = 1, all permutations are one matrix product.

    Args:
        distances: (N + n, N + n).
        first: N.
        permutations: How many divisions.
        rng: Draws them.

    Returns:
        A number in [0, 1], and (permutations,) of them.
    """
    total = len(distances)
    second = total - first
    one = np.zeros((1 + permutations, total), dtype=np.float32)  # half the time of float64, and exact to 1e-6
    one[0, :first] = 1.0 / first
    for line in one[1:]:
        line[rng.permutation(total)[:first]] = 1.0 / first
    other = (1.0 - first * one) / second
    product = one @ distances.astype(np.float32)
    across = np.einsum("pn,pn->p", product, other)
    within = np.einsum("pn,pn->p", product, one)
    rest = np.einsum("pn,pn->p", (distances.sum(axis=0) - first * product) / second, other)
    energy = 2 * across - within - rest
    found = np.divide(energy, 2 * across, out=np.zeros_like(energy), where=across > 0)
    return float(found[0]), found[1:]
