"""Linear regression on the query's vector, model by model: ridge, or logistic; the cost is ridge on its logarithm."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.errors import DamagedArtifactError, MethodError
from avengers_pro.records.table import Floats, Records, Rows
from avengers_pro.routing.estimates import TableEstimate, totals
from avengers_pro.routing.method import Arrays, check_shapes, restored_profile
from avengers_pro.routing.profile import Profile
from avengers_pro.routing.queries import Queries

PENALTIES = np.logspace(-2, 4, 25)
"""From nearly least squares to nearly the mean, for rows of unit length."""
COST_FLOOR = 1e-3
"""A cost below this share of the model's mean non-zero cost counts as this share: zero has no logarithm."""
NEWTON_STEPS = 25
NEWTON_TOLERANCE = 1e-8
"""A logistic fit is done when no entry of its gradient exceeds this, for each row."""

_LEAST_FREEDOM = 1e-9
_RANK_TOLERANCE = 1e-12
_NO_WORSE = 1 + 1e-12

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Design:
    """Rows observed together, centred and turned onto their principal axes, where every penalty is one division.

    Attributes:
        mean: (d,) of the rows.
        axes: (d, r) orthonormal.
        rows: (n, r) the centred rows on the axes.
        squares: (r,) sums of squares along the axes.
    """

    mean: Floats
    axes: Floats
    rows: Floats
    squares: Floats

    @classmethod
    def of(cls, vectors: Vectors) -> "Design":
        """Decompose (n, d) rows by the smaller of their two Gram matrices; n is at least 1."""
        exact = vectors.astype(np.float64)
        mean = exact.mean(axis=0)
        centred = exact - mean
        if centred.shape[1] <= centred.shape[0]:
            squares, axes = np.linalg.eigh(centred.T @ centred)
            return cls(mean, axes, centred @ axes, np.maximum(squares, 0.0))
        squares, left = np.linalg.eigh(centred @ centred.T)
        kept = squares > _RANK_TOLERANCE * squares[-1]
        lengths = np.sqrt(squares[kept])
        return cls(mean, centred.T @ left[:, kept] / lengths, left[:, kept] * lengths, squares[kept])

    def leave_one_out_error(self, targets: Floats, penalties: Floats) -> Floats:
        """Return (p,) sums of squared errors on rows left out one at a time, without a refit.

        PRESS (Allen 1974): the error on a row left out is its residual divided by 1 - h, h being its leverage.

        Args:
            targets: (n, m), none missing.
            penalties: (p,) positive.
        """
        centred = targets - targets.mean(axis=0)
        along, squared = self.rows.T @ centred, self.rows**2
        errors = np.empty(len(penalties))
        for position, penalty in enumerate(penalties):
            shrunk = 1 / (self.squares + penalty)
            leverage = 1 / len(targets) + squared @ shrunk
            residual = centred - self.rows @ (shrunk[:, None] * along)
            errors[position] = np.sum((residual / np.maximum(1 - leverage, _LEAST_FREEDOM)[:, None]) ** 2)
        return errors

    def ridge(self, targets: Floats, penalty: float) -> tuple[Floats, Floats]:
        """Minimise the squared error plus penalty times the squared length of the weights; the bias is free.

        Args:
            targets: (n, m), none missing.
            penalty: Positive.

        Returns:
            (d, m) weights and (m,) biases.
        """
        centre = targets.mean(axis=0)
        along = self.rows.T @ (targets - centre) / (self.squares + penalty)[:, None]
        return self._in_place(along, centre)

    def logistic(self, targets: Floats, penalty: float) -> tuple[Floats, Floats]:
        """Minimise the log loss plus half the penalty times the squared length of the weights; the bias is free.

        Newton's method from the mean, a step being halved until the objective falls.

        Args:
            targets: (n,) strictly between 0 and 1 on average, none missing.
            penalty: Positive.

        Returns:
            (d,) weights and () bias of the log-odds.
        """
        rows = np.hstack([self.rows, np.ones((len(targets), 1))])
        penalties = np.append(np.full(len(self.squares), penalty), 0.0)
        weights = np.zeros(rows.shape[1])
        weights[-1] = np.log(targets.mean() / (1 - targets.mean()))
        loss = _log_loss(rows, targets, weights, penalties)
        for _ in range(NEWTON_STEPS):
            chance = sigmoid(rows @ weights)
            gradient = rows.T @ (chance - targets) + penalties * weights
            if np.abs(gradient).max() <= NEWTON_TOLERANCE * len(targets):
                break
            curvature = (rows * (chance * (1 - chance))[:, None]).T @ rows + np.diag(penalties)
            step = np.linalg.solve(curvature, gradient)
            while (lower := _log_loss(rows, targets, weights - step, penalties)) > loss * _NO_WORSE:
                step = step / 2
            weights, loss = weights - step, lower
        return self._in_place(weights[:-1], weights[-1])

    def _in_place(self, along: Floats, centre: Floats) -> tuple[Floats, Floats]:
        """Turn weights on the axes into weights of the vector, and the value at the mean into a bias."""
        weights: Floats = self.axes @ along
        bias: Floats = centre - self.mean @ weights
        return weights, bias


def sigmoid(values: Floats) -> Floats:
    """Return 1 / (1 + exp(-values)), without overflow."""
    chances: Floats = 0.5 * (1 + np.tanh(values / 2))
    return chances


def _log_loss(rows: Floats, targets: Floats, weights: Floats, penalties: Floats) -> float:
    values = rows @ weights
    return float((np.logaddexp(0, values) - targets * values).sum() + 0.5 * penalties @ weights**2)


@dataclass(frozen=True, slots=True)
class Designs:
    """The training rows and the designs made of them so far, one for each set of rows that models share."""

    vectors: Vectors
    _made: dict[bytes, Design] = field(default_factory=dict)

    def of(self, observed: Mask) -> Design:
        """Return the design of the (n,) observed rows."""
        key = observed.tobytes()
        if key not in self._made:
            self._made[key] = Design.of(self.vectors[observed])
        return self._made[key]

    def best_penalty(self, targets: Floats) -> float:
        """Return the one of ``PENALTIES`` with the least leave-one-out error over all observed cells.

        Args:
            targets: (n, m); NaN = not observed. Each model is left out on its own rows.
        """
        errors = np.zeros(len(PENALTIES))
        for observed, columns in observed_together(targets):
            errors += self.of(observed).leave_one_out_error(targets[observed][:, columns], PENALTIES)
        return float(PENALTIES[errors.argmin()])


def observed_together(values: Floats) -> list[tuple[Mask, Rows]]:
    """Return (n,) rows and the models observed on exactly these; a model never observed is in none."""
    patterns, member = np.unique(~np.isnan(values), axis=1, return_inverse=True)
    groups = ((patterns[:, group], np.flatnonzero(member.ravel() == group)) for group in range(patterns.shape[1]))
    return [(observed, columns) for observed, columns in groups if observed.any()]


@dataclass(frozen=True, slots=True)
class Linear:
    """m linear functions of the vector.

    Attributes:
        weights: (m, d).
        bias: (m,); NaN = never observed.
    """

    weights: Floats
    bias: Floats

    @classmethod
    def unknown(cls, m: int, d: int) -> "Linear":
        """Return functions that are NaN everywhere."""
        return cls(np.zeros((m, d)), np.full(m, np.nan))

    def __call__(self, vectors: Vectors) -> Floats:
        """Return (n, m) values on (n, d) rows."""
        values: Floats = vectors @ self.weights.T + self.bias
        return values


def fit_ridge(designs: Designs, targets: Floats, penalty: float | None) -> Linear:
    """Fit each model on the rows on which it was observed.

    Args:
        designs: Of n rows.
        targets: (n, m); NaN = not observed.
        penalty: The same for all models; None = ``Designs.best_penalty``.
    """
    chosen = designs.best_penalty(targets) if penalty is None else penalty
    found = Linear.unknown(targets.shape[1], designs.vectors.shape[1])
    for observed, columns in observed_together(targets):
        weights, found.bias[columns] = designs.of(observed).ridge(targets[observed][:, columns], chosen)
        found.weights[columns] = weights.T
    return found


def fit_logistic(designs: Designs, scores: Floats, penalty: float | None) -> Linear:
    """Fit each model's log-odds on the rows on which it was observed.

    One success and one failure are added to each model's scores, spread evenly, so that a model that never fails
    has finite odds. A model's penalty is the ridge penalty times p (1 - p) at its mean score p: a ridge penalty is
    noise over signal variance, the noise is p (1 - p), and log-odds are 1 / (p (1 - p)) times steeper than scores.

    Args:
        designs: Of n rows.
        scores: (n, m) in [0, 1], fractions allowed; NaN = not observed.
        penalty: Of ridge on the scores, the same for all models; None = ``Designs.best_penalty``.
    """
    chosen = designs.best_penalty(scores) if penalty is None else penalty
    found = Linear.unknown(scores.shape[1], designs.vectors.shape[1])
    for observed, columns in observed_together(scores):
        for column in columns:
            targets = smoothed(scores[observed, column])
            mean = targets.mean()
            fitted = designs.of(observed).logistic(targets, chosen * mean * (1 - mean))
            found.weights[column], found.bias[column] = fitted
    return found


def smoothed(scores: Floats) -> Floats:
    """Spread one success and one failure over (n,) scores."""
    return (len(scores) * scores + 1) / (len(scores) + 2)


@dataclass(frozen=True, slots=True)
class CostModel:
    """Expected US dollars: exp(linear) times the mean of exp(residual), Duan's smearing estimate (JASA 1983).

    Attributes:
        logarithm: Of the cost.
        smear: (m,) mean exp(residual) on the training rows; 0 = every known cost is 0; NaN = no cost is known.
    """

    logarithm: Linear
    smear: Floats

    @classmethod
    def fit(cls, designs: Designs, costs: Floats, penalty: float | None) -> "CostModel":
        """Fit on (n, m) US dollars; NaN = not known. Low costs are raised to the model's ``COST_FLOOR``."""
        known, positive = ~np.isnan(costs), costs > 0
        sums, counts = np.where(positive, costs, 0.0).sum(axis=0), np.maximum(positive.sum(axis=0), 1)
        raised = np.maximum(costs, COST_FLOOR * sums / counts)
        logs = np.log(np.where(raised > 0, raised, np.nan))
        linear = fit_ridge(designs, logs, penalty)
        excess = np.where(np.isnan(logs), 0.0, np.exp(logs - linear(designs.vectors)))
        smear = np.divide(
            excess.sum(axis=0), known.sum(axis=0), out=np.full(len(sums), np.nan), where=known.any(axis=0)
        )
        return cls(Linear(linear.weights, np.where(smear == 0, 0.0, linear.bias)), smear)

    def __call__(self, vectors: Vectors) -> Floats:
        """Return (n, m) US dollars; NaN for a model without a known cost."""
        dollars: Floats = np.exp(self.logarithm(vectors)) * self.smear
        return dollars


def _check_penalty(penalty: float | None) -> None:
    if penalty is not None and not 0 < penalty < np.inf:
        raise MethodError(f"the penalty must be positive, got {penalty:g}")


@dataclass(frozen=True, slots=True)
class Ridge:
    """Expected score clip(w v + b) to [0, 1] by ridge regression on the vector v.

    Attributes:
        penalty: The same for scores and log costs; None = chosen for each by leave-one-out from ``PENALTIES``.
    """

    penalty: float | None = None
    name: str = "ridge"
    uses_alpha: bool = True
    features: str = "none"

    def __post_init__(self) -> None:
        """Refuse a penalty that is not positive."""
        _check_penalty(self.penalty)

    def params(self) -> Mapping[str, Any]:
        """Return the penalty."""
        return {"penalty": self.penalty}

    def fit(self, records: Records, vectors: Vectors, seed: int) -> "FittedRegression":  # noqa: ARG002
        """Fit scores and log costs; nothing is random."""
        designs = Designs(vectors)
        scores = fit_ridge(designs, records.scores, self.penalty)
        costs = CostModel.fit(designs, records.costs, self.penalty)
        return FittedRegression(records.models, scores, costs, totals(records), logistic=False)

    def restore(self, models: tuple[str, ...], arrays: Arrays) -> "FittedRegression":
        """Rebuild from ``FittedRegression.arrays``.

        Raises:
            DamagedArtifactError: If an array is missing, has the wrong shape, or holds impossible numbers.
        """
        return _restored(models, arrays, logistic=False)


@dataclass(frozen=True, slots=True)
class Logistic:
    """Expected score sigmoid(w v + b) by penalised logistic regression; scores may be fractions; cost as ``Ridge``.

    Attributes:
        penalty: As ``Ridge``'s; ``fit_logistic`` says how it becomes a penalty on log-odds.
    """

    penalty: float | None = None
    name: str = "logistic"
    uses_alpha: bool = True
    features: str = "none"

    def __post_init__(self) -> None:
        """Refuse a penalty that is not positive."""
        _check_penalty(self.penalty)

    def params(self) -> Mapping[str, Any]:
        """Return the penalty."""
        return {"penalty": self.penalty}

    def fit(self, records: Records, vectors: Vectors, seed: int) -> "FittedRegression":  # noqa: ARG002
        """Fit log-odds and log costs; nothing is random."""
        designs = Designs(vectors)
        scores = fit_logistic(designs, records.scores, self.penalty)
        costs = CostModel.fit(designs, records.costs, self.penalty)
        return FittedRegression(records.models, scores, costs, totals(records), logistic=True)

    def restore(self, models: tuple[str, ...], arrays: Arrays) -> "FittedRegression":
        """Rebuild from ``FittedRegression.arrays``.

        Raises:
            DamagedArtifactError: If an array is missing, has the wrong shape, or holds impossible numbers.
        """
        return _restored(models, arrays, logistic=True)


@dataclass(frozen=True, slots=True)
class FittedRegression:
    """Linear functions for scores and costs, and the overall means that scale the trade-off."""

    models: tuple[str, ...]
    scores: Linear
    costs: CostModel
    means: Profile
    logistic: bool
    cluster_profile: Profile | None = None

    def arrays(self) -> Arrays:
        """Return weights, biases, smearing factors and means."""
        return {
            "score_weights": self.scores.weights,
            "score_bias": self.scores.bias,
            "cost_weights": self.costs.logarithm.weights,
            "cost_bias": self.costs.logarithm.bias,
            "cost_smear": self.costs.smear,
            **self.means.arrays(),
        }

    def estimate(self, queries: Queries) -> TableEstimate:
        """Predict; every expectation rests on all rows on which the model was observed."""
        value = self.scores(queries.vectors)
        score = sigmoid(value) if self.logistic else np.clip(value, 0.0, 1.0)
        observed = np.broadcast_to(self.means.score_counts, score.shape)
        return TableEstimate(score, self.costs(queries.vectors), observed, self.means)


def _restored(models: tuple[str, ...], arrays: Arrays, *, logistic: bool) -> FittedRegression:
    m, d = len(models), arrays.get("score_weights", np.empty(0)).shape[-1:]
    shapes = dict.fromkeys(("score_weights", "cost_weights"), (m, *d))
    check_shapes(arrays, shapes | dict.fromkeys(("score_bias", "cost_bias", "cost_smear"), (m,)))
    if not all(np.isfinite(arrays[name]).all() for name in shapes) or (arrays["cost_smear"] < 0).any():
        raise DamagedArtifactError("the router's weights are not finite, or a cost is negative")
    scores = Linear(arrays["score_weights"], arrays["score_bias"])
    costs = CostModel(Linear(arrays["cost_weights"], arrays["cost_bias"]), arrays["cost_smear"])
    return FittedRegression(models, scores, costs, restored_profile(arrays, (1, m)), logistic)
