"""Whether other features or levels than the defaults of ``avengers-pro`` clearly pay on given records.

The defaults sit on a wide plateau, so a change has to prove itself: splits inside the given records, paired
differences of Area@B, and a threshold raised for the number of variants tried.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from avengers_pro.embedding import Embedder, Vectors, load_embedder
from avengers_pro.embedding.format import with_format
from avengers_pro.errors import EvaluationError
from avengers_pro.evaluation.evaluate import Progress
from avengers_pro.evaluation.intervals import area_statistic, draw_weights, part_weights
from avengers_pro.evaluation.protocol import Protocol, Split, make_split, usable_table
from avengers_pro.evaluation.replay import Part, replay
from avengers_pro.records.table import Floats, Records
from avengers_pro.routing.method import Method
from avengers_pro.routing.methods import DEFAULT_METHOD, build_method

DEFAULTS = "defaults"
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    DEFAULTS: {},
    "no format features": {"features": "none"},
    "coarser levels": {"levels": (8, 16, 32)},
    "finer levels": {"levels": (16, 32, 64, 128, 256)},
    "single level": {"levels": (60,)},
}
"""What is tried, the defaults first; parameters that are not named are the defaults'."""

LEAST_ROWS = 200
LEAST_SPLITS = 8
LEAST_GAIN = 0.001
"""Area@B in [0, 1]: 0.1 points on the scale of 100 that tables show."""
LEAST_WIN_SHARE = 7 / 8
LEAST_Z = NormalDist().inv_cdf(1 - (1 - NormalDist().cdf(2.0)) / (len(VARIANTS) - 1))
"""Two standard errors, Bonferroni-corrected: their one-sided 2.3 % is shared by the variants, 2.53 for four."""

_REPLICATES = 200
_SEEDS = 2**31


@dataclass(frozen=True, slots=True)
class Trial:
    """One variant, measured on the test parts of all splits.

    Attributes:
        name: As in ``VARIANTS``.
        params: All parameters of the method, as plain values.
        area: Area@B, mean over splits, in [0, 1].
        difference: Area minus the defaults' on the same splits, mean over splits; 0 for the defaults themselves.
        standard_error: Of the difference, from resampled queries: a query has the same weight in every split, so that
            overlapping splits are not taken for independent ones. It covers the choice of test queries.
        wins: Splits in which the area is above the defaults'.
    """

    name: str
    params: Mapping[str, Any]
    area: float
    difference: float
    standard_error: float
    wins: int

    @property
    def z(self) -> float:
        """The difference in standard errors; infinite if it has none, 0 if there is no difference."""
        if self.standard_error > 0:
            return self.difference / self.standard_error
        return math.copysign(math.inf, self.difference) if self.difference else 0.0


@dataclass(frozen=True, slots=True)
class AutoChoice:
    """Which variant to fit, and what that rests on.

    Attributes:
        chosen: Its name.
        params: All its parameters, enough for ``build_method("avengers-pro", params)``.
        reason: Why, in one sentence.
        rows: Distinct queries among the records given.
        models: How many were compared: those with a score and a cost on every query; 0 if nothing was.
        splits: How many splits were measured; 0 if the records do not allow a comparison.
        tried: Every variant, the defaults first; empty if nothing was measured.
    """

    chosen: str
    params: Mapping[str, Any]
    reason: str
    rows: int
    models: int
    splits: int
    tried: tuple[Trial, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {**asdict(self), "tried": [asdict(trial) for trial in self.tried]}


def choose_variant(
    records: Records,
    *,
    embedder: str | Embedder = "static",
    vectors: Vectors | None = None,
    params: Mapping[str, Any] | None = None,
    seed: int = 42,
    splits: int = LEAST_SPLITS,
    progress: Progress | None = None,
) -> AutoChoice:
    """Compare the variants on splits inside these records; nothing else is looked at.

    The defaults stay unless a variant is better in 7 of 8 splits, by ``LEAST_GAIN`` and by ``LEAST_Z`` standard
    errors; of several such, the one with the largest gain is taken. The gain of a variant that was chosen for it is
    optimistic: ``evaluate`` on other records says what it is worth.

    Args:
        records: n queries x m models; as in ``evaluate``, repeated texts and models with gaps are left out.
        embedder: A spec string or an embedder; all variants share its vectors.
        vectors: (n, d) unit rows of the records' queries, if they are at hand.
        params: Parameters that all variants share: ``objective``, ``novelty``.
        seed: Of the splits and fits.
        splits: How many, at least ``LEAST_SPLITS``.
        progress: Called as the work goes on.

    Raises:
        EvaluationError: If there are too few splits, or ``params`` fixes what is to be chosen.
        MethodError: If a parameter is unknown.
    """
    fixed = dict(params or {})
    if splits < LEAST_SPLITS:
        raise EvaluationError(f"{splits} splits are too few to choose on; use at least {LEAST_SPLITS}")
    for name in ("features", "levels"):
        if name in fixed:
            raise EvaluationError(f"{name} is what is chosen here; leave it out of params")
    methods = [build_method(DEFAULT_METHOD, {**fixed, **changed}) for changed in VARIANTS.values()]
    protocol = Protocol(seeds=tuple((seed + step) % _SEEDS for step in range(splits)))
    obstacle = _obstacle(records)
    if obstacle:
        return _undecided(methods[0], obstacle, records)
    table = usable_table(records, protocol)
    if vectors is None:
        embedder = load_embedder(embedder) if isinstance(embedder, str) else embedder
        vectors = embedder.embed(table.records.queries)
    else:
        vectors = table.vectors_from(records, vectors)
    dimension, vectors = vectors.shape[1], with_format(vectors, table.records.queries)
    weights = draw_weights(table.records, seed, _REPLICATES)
    areas = []
    for done, split_seed in enumerate(protocol.seeds):
        if progress is not None:
            progress(f"trying variants: split {done + 1}", done, splits)
        split = make_split(table.records, vectors, dimension, protocol, split_seed)
        resampled = part_weights(weights, split.test.rows)
        areas.append(_areas(split, methods, resampled, protocol.alphas, macro=fixed.get("objective") == "macro"))
    if not np.isfinite(areas).all():
        return _undecided(methods[0], "the best single model costs nothing, so there is no area to compare", records)
    return _decide(methods, np.array(areas), table.records)


def _undecided(default: Method, why: str, records: Records) -> AutoChoice:
    rows = len(records.deduplicated())
    return AutoChoice(DEFAULTS, dict(default.params()), f"the defaults stay: {why}", rows, 0, 0, ())


def _obstacle(records: Records) -> str | None:
    """Say why nothing can be compared on these records; None if it can."""
    unique = records.deduplicated()
    if len(unique) < LEAST_ROWS:
        return f"{len(unique)} distinct queries are too few to choose on; bring {LEAST_ROWS}"
    if not unique.has_costs:
        return "no cost is known, so there is no area to compare"
    if len(unique.complete_models()) < 2:  # noqa: PLR2004
        return "fewer than two models have a score and a cost on every query"
    if len(unique) < 2 * len(unique.dataset_names):
        return f"{len(unique.dataset_names)} datasets in {len(unique)} queries leave too little to split"
    return None


def _areas(split: Split, methods: Sequence[Method], weights: Floats, alphas: Sequence[float], *, macro: bool) -> Floats:
    """Return (v, b) Area@B of v methods under (b, n) query weights; the first are those of the real sample."""
    best = split.best_macro if macro else split.best
    weights = _by_dataset(weights, split.test) if macro else weights
    best_costs = split.test.records.costs[:, best]
    areas = []
    for method in methods:
        suited = split.suited(method.features)
        seen = replay(method.fit(suited.train, suited.train_vectors, split.seed), suited.test, alphas)
        areas.append(area_statistic([seen], [best_costs])(0, weights))
    return np.array(areas)


def _by_dataset(weights: Floats, part: Part) -> Floats:
    """Scale (b, n) query weights so that every dataset that was drawn counts the same."""
    totals = weights @ (part.dataset_weights > 0)
    scaled: Floats = weights / totals[:, part.records.dataset_codes].clip(min=np.finfo(float).tiny)
    return np.asarray(scaled / scaled.sum(axis=1, keepdims=True))


def _decide(methods: Sequence[Method], areas: Floats, used: Records) -> AutoChoice:
    """Choose from (s, v, b) areas of s splits, v variants and b samples of the queries."""
    splits = len(areas)
    differences = areas - areas[:, :1]
    means = differences.mean(axis=0)
    tried = tuple(
        Trial(
            name=name,
            params=dict(method.params()),
            area=float(areas[:, column, 0].mean()),
            difference=float(means[column, 0]),
            standard_error=float(means[column, 1:].std()),
            wins=int((differences[:, column, 0] > 0).sum()),
        )
        for column, (name, method) in enumerate(zip(VARIANTS, methods, strict=True))
    )
    paying = [trial for trial in tried[1:] if _pays(trial, splits)]
    found = max(paying, key=lambda trial: trial.difference, default=tried[0])
    reason = _reason(found, tried, splits)
    return AutoChoice(found.name, found.params, reason, len(used), len(used.models), splits, tried)


def _pays(trial: Trial, splits: int) -> bool:
    enough = trial.wins >= LEAST_WIN_SHARE * splits
    return enough and trial.difference >= LEAST_GAIN and trial.z >= LEAST_Z


def _reason(found: Trial, tried: Sequence[Trial], splits: int) -> str:
    if found.name != DEFAULTS:
        return f"{found.name} instead of the defaults: {_gain(found, splits)}"
    nearest = max(tried[1:], key=lambda trial: trial.difference)
    least = math.ceil(LEAST_WIN_SHARE * splits)
    return (
        f"the defaults stay: the best of the others is {nearest.name} with {_gain(nearest, splits)}; a change needs "
        f"{100 * LEAST_GAIN:+.1f} points, {LEAST_Z:.2f} standard errors and {least} of {splits} splits"
    )


def _gain(trial: Trial, splits: int) -> str:
    return (
        f"{100 * trial.difference:+z.2f} points of area (standard error {100 * trial.standard_error:.2f}, better in "
        f"{trial.wins} of {splits} splits)"
    )
