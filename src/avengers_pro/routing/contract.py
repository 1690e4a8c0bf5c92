"""What every routing method must do, as checks that any method can be put through: ``check_method(MyMethod())``.

Evaluations, policies and saved routers take it for granted: that missing is not zero, that neither the order of the
models nor the currency of the costs matters, that a batch is decided like its queries one by one, and that a restored
method is the same method.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as to_bytes

from avengers_pro.embedding.embedder import Vectors, unit_rows
from avengers_pro.embedding.format import with_format
from avengers_pro.errors import DamagedArtifactError, MethodError
from avengers_pro.records.table import Floats, Records
from avengers_pro.routing.choice import choose
from avengers_pro.routing.method import Estimate, FittedMethod, Method
from avengers_pro.routing.queries import Queries

ALPHAS = (0.0, 0.3, 0.7, 1.0)
_SEED = 3
_NEAR = 1e-6
_SIMILAR = 0.1
_TIES = 0.02
"""Share of queries whose choice may differ where two models are as good: equal on paper, not to the last bit."""


def check_method(method: Method, *, skip: Collection[str] = ()) -> None:
    """Put a method through every check of ``CHECKS``.

    Args:
        method: With the parameters to check; a few hundred simulated rows are fitted, some twice.
        skip: Checks that it fails on purpose, by name; say why beside it.

    Raises:
        MethodError: For the first check that fails: which method, which check, what was expected. Whatever else the
            method raises passes through.
    """
    for name in skip:
        if name not in CHECKS:
            raise MethodError(f"no check is named {name!r}; known: {', '.join(CHECKS)}")
    for name, check in CHECKS.items():
        if name not in skip:
            try:
                check(method)
            except MethodError as broken:
                raise MethodError(f"method {method.name!r} fails the check {name!r}: {broken}") from broken


def _require(met: object, expected: str) -> None:
    if not met:
        raise MethodError(f"expected {expected}")


def simulated_records(n: int = 240, *, seed: int = 0, missing: float = 0.0) -> tuple[Records, Vectors]:
    """Make records of three kinds of query, each with its best model, told apart by topic and by length.

    Args:
        n: Queries; there are always 4 models.
        seed: Of everything.
        missing: Share of cells that were not observed.

    Returns:
        The records, and (n, 12) unit rows without format features.
    """
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, n)
    vectors = rng.normal(size=(3, 12))[kind] * 2 + rng.normal(size=(n, 12))
    best = (np.arange(4) == kind[:, None] + 1) * 0.5
    scores = (rng.random((n, 4)) < 0.2 + best + np.linspace(0, 0.2, 4)).astype(np.float64)
    costs = rng.lognormal(size=(n, 4)) * np.linspace(1, 5, 4) * 1e-3
    gaps = rng.random((n, 4)) < missing
    records = Records.from_arrays(
        [f"simulated query {row}" + " and more" * int(6**k) for row, k in enumerate(kind)],
        [f"lab/model-{column}" for column in range(4)],
        np.where(gaps, np.nan, scores),
        np.where(gaps, np.nan, costs),
        datasets=[f"kind-{k}" for k in kind],
    )
    return records, unit_rows(vectors.astype(np.float32))


def _suited(method: Method, records: Records, vectors: Vectors) -> Vectors:
    return with_format(vectors, records.queries) if method.features == "format" else vectors


def _fit(method: Method, records: Records, vectors: Vectors) -> FittedMethod:
    return method.fit(records, _suited(method, records, vectors), _SEED)


def _estimate(method: Method, records: Records, vectors: Vectors) -> Estimate:
    return _fit(method, records, vectors).estimate(Queries(_suited(method, records, vectors)))


def _choices(estimate: Estimate) -> list[NDArray[np.intp]]:
    return [choose(estimate.utility(alpha)) for alpha in ALPHAS]


def _shapes(method: Method) -> None:
    """Name, parameters and arrays are what the protocols say."""
    records, vectors = simulated_records()
    _require(method.name, "a name that is not empty")
    _require(method.features in {"format", "none"}, f"features 'format' or 'none', got {method.features!r}")
    params = dict(method.params())
    _require(json.loads(json.dumps(params)) == params, f"params that JSON keeps as they are, got {params}")
    fitted = _fit(method, records, vectors)
    _require(fitted.models == records.models, f"the models of the records in their order, got {fitted.models}")
    found = fitted.estimate(Queries(_suited(method, records, vectors)))
    shape = records.scores.shape
    arrays = {"expected_score": found.expected_score, "expected_cost": found.expected_cost}
    arrays |= {"observations": found.observations, "utility": found.utility(0.5)}
    for name, values in arrays.items():
        _require(values.shape == shape, f"{name} of shape (queries, models) = {shape}, got {values.shape}")
    _require((found.clusters is None) == (found.closeness is None), "clusters and closeness, or neither")


def _ranges(method: Method) -> None:
    """Scores lie in [0, 1], costs and counts are not negative, utilities can be compared."""
    for missing in (0.0, 0.4):
        found = _estimate(method, *simulated_records(missing=missing))
        score, cost = found.expected_score, found.expected_cost
        _require(((score >= 0) & (score <= 1) | np.isnan(score)).all(), "expected scores in [0, 1] or NaN")
        _require(((cost >= 0) & np.isfinite(cost) | np.isnan(cost)).all(), "expected costs >= 0 or NaN")
        _require((found.observations >= 0).all(), "observations >= 0")
        for alpha in ALPHAS:
            utility = found.utility(alpha)
            _require(not (np.isnan(utility) | (utility == np.inf)).any(), "utilities that are finite or -inf")
            _require((choose(utility) >= 0).all(), "a choice for every query of a kind that was seen")


def _repeatable(method: Method) -> None:
    """The same seed gives the same choices, and nothing that was given is written to."""
    records, vectors = simulated_records()
    given = _suited(method, records, vectors)
    kept = given.copy()
    one, two = (method.fit(records, given, _SEED).estimate(Queries(given)) for _ in range(2))
    for alpha in ALPHAS:
        _require(np.array_equal(one.utility(alpha), two.utility(alpha)), "the same utilities with the same seed")
    _require(np.array_equal(given, kept), "vectors that are as they were given")


def _permuted_expectations(method: Method) -> None:
    """Permuting the models permutes what is expected of them."""
    one, two, order = _with_models_permuted(method)
    same = [
        np.allclose(getattr(one, name)[:, order], getattr(two, name), rtol=_NEAR, atol=_NEAR, equal_nan=True)
        for name in ("expected_score", "expected_cost", "observations")
    ]
    _require(all(same), "the same expectations whatever the order of the models")


def _permuted_choices(method: Method) -> None:
    """Permuting the models permutes the utilities."""
    one, two, order = _with_models_permuted(method)
    for alpha in ALPHAS:
        same = np.allclose(one.utility(alpha)[:, order], two.utility(alpha), rtol=_NEAR, atol=_NEAR)
        _require(same, f"the same utilities at alpha {alpha:g} whatever the order of the models")


def _with_models_permuted(method: Method) -> tuple[Estimate, Estimate, list[int]]:
    records, vectors = simulated_records()
    order = [2, 0, 3, 1]
    permuted = Records.from_arrays(
        records.queries,
        [records.models[column] for column in order],
        records.scores[:, order],
        records.costs[:, order],
        datasets=records.datasets,
    )
    return _estimate(method, records, vectors), _estimate(method, permuted, vectors), order


def _one_by_one(method: Method) -> None:
    """A batch is decided like its queries one by one."""
    records, vectors = simulated_records()
    fitted, given = _fit(method, records, vectors), _suited(method, records, vectors)[:20]
    batch = fitted.estimate(Queries(given)).utility(0.6)
    single = np.vstack([fitted.estimate(Queries(given[row : row + 1])).utility(0.6) for row in range(len(given))])
    _require(np.allclose(batch, single, rtol=1e-4, atol=1e-4), "the same utilities in a batch as one by one")


def _duplicates(method: Method) -> None:
    """Records of one query repeated can be fitted, and equal queries are decided equally."""
    records, vectors = simulated_records()
    rows = np.zeros(60, dtype=np.intp)
    repeated = replace(records.take(rows), ids=tuple(map(str, range(60))))
    for alpha in ALPHAS:
        utility = _estimate(method, repeated, vectors[rows]).utility(alpha)
        _require((utility == utility[:1]).all(), "equal utilities for equal queries")
        _require((choose(utility) >= 0).all(), "a choice although all training rows are alike")


def _missing(method: Method) -> None:
    """What was not observed is no zero, and a model that never was observed is never chosen."""
    records, vectors = simulated_records(missing=0.4, seed=5)
    expected = np.nanmean(_estimate(method, records, vectors).expected_score)
    observed = np.nanmean(records.scores)
    _require(abs(expected - observed) < _SIMILAR, f"scores around {observed:.2f} as observed, got {expected:.2f}")
    unseen = np.arange(4) == 1
    never = replace(records, scores=_hidden(records.scores, unseen), costs=_hidden(records.costs, unseen))
    for line in _choices(_estimate(method, never, vectors)):
        _require((line != 1).all(), "no choice of a model that was never observed")


def _hidden(values: Floats, columns: NDArray[np.bool_]) -> Floats:
    return np.asarray(np.where(columns, np.nan, values))


def _unpriced(method: Method) -> None:
    """Without any cost, quality can still be asked for."""
    records, vectors = simulated_records()
    utility = _estimate(method, replace(records, costs=np.full_like(records.costs, np.nan)), vectors).utility(1.0)
    _require(not np.isnan(utility).any(), "utilities at alpha 1 although no cost is known")
    _require((choose(utility) >= 0).all(), "a choice at alpha 1 although no cost is known")


def _currency(method: Method) -> None:
    """Multiplying all costs changes no choice."""
    records, vectors = simulated_records()
    dearer = replace(records, costs=records.costs * 1024)
    one, two = (_choices(_estimate(method, table, vectors)) for table in (records, dearer))
    for alpha, mine, other in zip(ALPHAS, one, two, strict=True):
        _require((mine != other).mean() <= _TIES, f"the same choices at alpha {alpha:g} when all costs are 1024 x")


def _alpha(method: Method) -> None:
    """Alpha 0 is cheaper than alpha 1, which scores better; without the knob nothing changes."""
    records, vectors = simulated_records(n=400, seed=2)
    chosen = _choices(_estimate(method, records, vectors))
    if not method.uses_alpha:
        _require(all((line == chosen[0]).all() for line in chosen), "the same choices at every alpha")
        return
    rows = np.arange(len(records))
    cost = [float(records.costs[rows, line].mean()) for line in chosen]
    score = [float(records.scores[rows, line].mean()) for line in chosen]
    _require(cost[0] < cost[-1], f"alpha 0 cheaper than alpha 1, got {cost[0]:.4g} and {cost[-1]:.4g}")
    _require(score[0] < score[-1], f"alpha 1 better than alpha 0, got {score[-1]:.3f} and {score[0]:.3f}")


def _restored(method: Method) -> None:
    """Through ``arrays``, bytes and ``restore`` it decides the same; what lacks an array is damaged."""
    for missing in (0.0, 0.4):
        records, vectors = simulated_records(missing=missing)
        fitted, given = _fit(method, records, vectors), Queries(_suited(method, records, vectors))
        arrays = {name: np.ascontiguousarray(values) for name, values in fitted.arrays().items()}
        again = method.restore(fitted.models, from_bytes(to_bytes(arrays)))
        one, two = fitted.estimate(given), again.estimate(given)
        same = [np.array_equal(one.utility(alpha), two.utility(alpha)) for alpha in ALPHAS]
        same.append(np.array_equal(one.expected_score, two.expected_score, equal_nan=True))
        same.append(np.array_equal(one.expected_cost, two.expected_cost, equal_nan=True))
        _require(again.models == fitted.models and all(same), "the same utilities and expectations after restore")
        for name in arrays:
            rest = {other: values for other, values in arrays.items() if other != name}
            _require(_refused(method, fitted.models, rest), f"DamagedArtifactError when {name!r} is missing")


def _refused(method: Method, models: tuple[str, ...], arrays: Mapping[str, NDArray[np.generic]]) -> bool:
    """Whether restore either does without an array or says that it is missing."""
    try:
        method.restore(models, dict(arrays))
    except DamagedArtifactError:
        return True
    except (KeyError, ValueError, IndexError, TypeError, AttributeError):
        return False
    return True


CHECKS: Mapping[str, Callable[[Method], None]] = {
    "shapes": _shapes,
    "ranges": _ranges,
    "repeatable": _repeatable,
    "permuted expectations": _permuted_expectations,
    "permuted choices": _permuted_choices,
    "one by one": _one_by_one,
    "duplicates": _duplicates,
    "missing": _missing,
    "unpriced": _unpriced,
    "currency": _currency,
    "alpha": _alpha,
    "restored": _restored,
}
"""Every check by name, each a function that raises when the method given to it does not do what its docstring says."""
