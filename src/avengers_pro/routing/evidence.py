"""What a router knows: sums by cluster over all rows, and a sample of rows to calibrate on. Evidence adds up."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.errors import DamagedArtifactError, MethodError
from avengers_pro.records.table import Floats, Records
from avengers_pro.routing.lessons import Lessons
from avengers_pro.routing.levels import Levels
from avengers_pro.routing.method import Arrays, check_shapes, restored_profile
from avengers_pro.routing.profile import Profile, weighted_count_and_sum
from avengers_pro.routing.representation import FormatScaler
from avengers_pro.routing.sampling import BLOCK_ROWS, calibration_rows, keys_of, order_of

SAMPLE_ROWS = 8192
"""Rows kept for calibration; larger tables are sampled."""
QUANTITIES = ("prompt_tokens", "completion_tokens", "latency_ms")


@dataclass(frozen=True, slots=True)
class Usage:
    """Sums of ``QUANTITIES`` for K clusters and m models.

    Attributes:
        counts: (3, K, m) how often each is known.
        sums: (3, K, m) tokens, tokens, milliseconds.
    """

    counts: Floats
    sums: Floats

    def __add__(self, other: "Usage") -> "Usage":
        """Combine the evidence of disjoint rows."""
        return Usage(self.counts + other.counts, self.sums + other.sums)


@dataclass(frozen=True, slots=True)
class Sample:
    """Training rows kept with the router.

    Attributes:
        keys: (s,) hashes of the texts, by which a query is known again.
        vectors: (s, d).
        scores: (s, m); NaN = not observed.
        costs: (s, m) US dollars; NaN = not known.
        weights: (s,) of the rows.
        tokens: (2, s, m) of prompt and completion; NaN = not known.
    """

    keys: NDArray[np.int64]
    vectors: Vectors
    scores: Floats
    costs: Floats
    weights: Floats
    tokens: Floats

    def with_unscored(self, vectors: Vectors) -> "Sample":
        """Add (r, d) queries without any score, as far as there is room: they only count as seen before."""
        r, m = min(len(vectors), SAMPLE_ROWS - len(self.keys)), self.scores.shape[1]
        blank = np.full((r, m), np.nan)
        return Sample(
            np.concatenate([self.keys, np.full(r, -1, dtype=np.int64)]),
            np.concatenate([self.vectors, vectors[:r]]),
            np.concatenate([self.scores, blank]),
            np.concatenate([self.costs, blank]),
            np.concatenate([self.weights, np.ones(r)]),
            np.concatenate([self.tokens, np.stack([blank, blank])], axis=1),
        )

    @classmethod
    def of(cls, records: Records, rows: Vectors, weights: Floats) -> "Sample":
        """Keep all of n queries with their (n, d) rows and (n,) weights."""
        unknown = np.full(records.scores.shape, np.nan)
        tokens = [unknown if (known := getattr(records, name)) is None else known for name in QUANTITIES[:2]]
        keys = keys_of(records.queries)
        return cls(keys, rows, records.scores, records.costs, weights, np.stack(tokens))


@dataclass(frozen=True, slots=True)
class Sums:
    """What is summed up over rows; the sums of disjoint rows over the same models add.

    Attributes:
        models: The m models.
        profile: (K, m) soft sums over all levels' clusters.
        usage: Tokens and latency, where the records tell them.
    """

    models: tuple[str, ...]
    profile: Profile
    usage: Usage

    @classmethod
    def of(cls, records: Records, rows: Vectors, levels: Levels, weights: Floats) -> "Sums":
        """Sum up n queries x m models with their (n, d) rows and (n,) weights; gaps are left out.

        Membership is worked out in double precision: in single precision it depends, in the sixth digit, on how many
        rows are multiplied at once, and sums would depend on how a table is cut.
        """
        clusters, shares = levels.exact.members(rows.astype(np.float64))
        weighted = shares.reshape(len(rows), -1) * weights[:, None]
        k, m = len(levels.centroids), len(records.models)
        counts, sums = np.zeros((2, len(QUANTITIES), k, m))
        for place, name in enumerate(QUANTITIES):
            if (values := getattr(records, name)) is not None:
                counts[place], sums[place] = weighted_count_and_sum(values, clusters, weighted, k)
        profile = Profile.of_members(records.scores, records.costs, clusters, weighted, k)
        return cls(records.models, profile, Usage(counts, sums))

    def __add__(self, other: "Sums") -> "Sums":
        """Combine the sums of disjoint rows."""
        return Sums(self.models, self.profile + other.profile, self.usage + other.usage)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything learnt from records on given clusters; evidence of disjoint rows can be joined.

    Attributes:
        models: The m models.
        profile: (K, m) soft sums over all levels' clusters.
        usage: Tokens and latency, where the records tell them.
        sample: At most ``SAMPLE_ROWS`` rows.
        lessons: What traffic said on top of the records; None = nothing.
    """

    models: tuple[str, ...]
    profile: Profile
    usage: Usage
    sample: Sample
    lessons: Lessons | None = None

    @classmethod
    def of(
        cls,
        records: Records,
        vectors: Vectors,
        levels: Levels,
        weights: Floats,
        seed: int,
        scaler: FormatScaler | None = None,
    ) -> "Evidence":
        """Sum up records, block by block, and keep a sample of them.

        Args:
            records: n queries x m models; gaps are left out everywhere.
            vectors: (n, d) as the levels were fitted on, or as ``scaler`` takes them.
            levels: The clusters.
            weights: (n,) of the rows.
            seed: Of the sample.
            scaler: Makes rows of the levels' space of ``vectors``; None = they are such rows.
        """
        kept = calibration_rows(order_of(keys_of(records.queries), seed), records.dataset_codes, SAMPLE_ROWS)
        sums = None
        for start in range(0, max(len(records), 1), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            part = records if len(records) <= BLOCK_ROWS else records.take(range(len(records))[block])
            more = Sums.of(part, _prepared(vectors[block], scaler), levels, weights[block])
            sums = more if sums is None else sums + more
        assert sums is not None  # noqa: S101  (there is always a first block)
        return cls.gathered(sums, Sample.of(records.take(kept), _prepared(vectors[kept], scaler), weights[kept]))

    @classmethod
    def gathered(cls, sums: "Sums", sample: Sample) -> "Evidence":
        """Put together sums over all rows, from wherever they were read, and a sample of the rows."""
        return cls(sums.models, sums.profile, sums.usage, sample)

    def without(self, model: str) -> "Evidence":
        """Forget a model."""
        column = self._column(model)
        if len(self.models) == 1:
            raise MethodError(f"{model!r} is the only model; a router needs one")
        return self._mapped(
            tuple(name for name in self.models if name != model), lambda array, _: np.delete(array, column, axis=-1)
        )

    def weighing(self, factor: float) -> "Evidence":
        """Count every row ``factor`` times."""
        profile = Profile(*(values * factor for values in self.profile.arrays().values()))
        usage = Usage(self.usage.counts * factor, self.usage.sums * factor)
        return replace(
            self,
            profile=profile,
            usage=usage,
            sample=replace(self.sample, weights=self.sample.weights * factor),
            lessons=None if self.lessons is None else self.lessons.weighing(factor),
        )

    def scaled_cost(self, model: str, factor: float) -> "Evidence":
        """Multiply what a model cost by a factor."""
        column = self._column(model)
        sums, costs = self.profile.cost_sums.copy(), self.sample.costs.copy()
        sums[:, column] *= factor
        costs[:, column] *= factor
        return replace(self, profile=replace(self.profile, cost_sums=sums), sample=replace(self.sample, costs=costs))

    def repriced(self, model: str, input_price: float, output_price: float) -> "Evidence":
        """Work a model's costs out again as tokens x price; rows without tokens become unknown.

        Args:
            model: Its name.
            input_price: US dollars per million prompt tokens.
            output_price: US dollars per million completion tokens.

        Raises:
            MethodError: If no tokens are known of the model.
        """
        column = self._column(model)
        known = self.usage.counts[:2, :, column].min(axis=0)
        if not known.any():
            raise MethodError(
                f"no tokens of {model!r} are in the records, so prices cannot make costs; give a factor instead"
            )
        prices = np.array([input_price, output_price]) / 1e6
        counts, sums, costs = self.profile.cost_counts.copy(), self.profile.cost_sums.copy(), self.sample.costs.copy()
        counts[:, column] = known
        sums[:, column] = prices @ self.usage.sums[:2, :, column]
        costs[:, column] = prices @ self.sample.tokens[:, :, column]
        return replace(
            self,
            profile=replace(self.profile, cost_counts=counts, cost_sums=sums),
            sample=replace(self.sample, costs=costs),
        )

    def joined(self, other: "Evidence") -> "Evidence":
        """Add the evidence of other rows, or of other models on the same rows."""
        models = (*self.models, *(name for name in other.models if name not in self.models))
        mine, theirs = self._over(models), other._over(models)  # noqa: SLF001
        lessons = [one for one in (mine.lessons, theirs.lessons) if one is not None]
        return Evidence(
            models,
            mine.profile + theirs.profile,
            mine.usage + theirs.usage,
            _joined(mine.sample, theirs.sample),
            lessons[0] + lessons[1] if len(lessons) > 1 else next(iter(lessons), None),
        )

    def _column(self, model: str) -> int:
        if model not in self.models:
            raise MethodError(f"the router has no model {model!r}; it has {', '.join(self.models)}")
        return self.models.index(model)

    def _over(self, models: Sequence[str]) -> "Evidence":
        """Spread the columns over a larger pool, with nothing known of the others."""
        place = [models.index(name) for name in self.models]

        def spread(array: Floats, nothing: float) -> Floats:
            wide = np.full((*array.shape[:-1], len(models)), nothing)
            wide[..., place] = array
            return wide

        return self._mapped(tuple(models), spread)

    def _mapped(self, models: tuple[str, ...], change: Callable[[Floats, float], Floats]) -> "Evidence":
        """Change the last axis, the models, of every array; the second argument is what stands for nothing."""
        sample, lessons = self.sample, self.lessons
        if lessons is not None:
            lessons = Lessons(change(lessons.counts, 0.0), change(lessons.sums, 0.0), lessons.trust)
        return Evidence(
            models,
            Profile(*(change(values, 0.0) for values in self.profile.arrays().values())),
            Usage(change(self.usage.counts, 0.0), change(self.usage.sums, 0.0)),
            replace(
                sample,
                scores=change(sample.scores, np.nan),
                costs=change(sample.costs, np.nan),
                tokens=change(sample.tokens, np.nan),
            ),
            lessons,
        )

    def arrays(self) -> Arrays:
        """Return everything by name; what is nowhere known is left out."""
        found: Arrays = {
            **self.profile.arrays(),
            "sample_keys": self.sample.keys,
            "sample_vectors": self.sample.vectors,
            "sample_scores": self.sample.scores,
            "sample_costs": self.sample.costs,
            "sample_weights": self.sample.weights,
        }
        if self.usage.counts.any():
            found |= {"usage_counts": self.usage.counts, "usage_sums": self.usage.sums}
        if self.lessons is not None:
            found |= self.lessons.arrays()
        return found if np.isnan(self.sample.tokens).all() else found | {"sample_tokens": self.sample.tokens}

    @classmethod
    def restore(cls, models: tuple[str, ...], arrays: Arrays, k: int) -> "Evidence":
        """Rebuild from ``arrays``, for k clusters.

        Raises:
            DamagedArtifactError: If an array is missing, has the wrong shape, or holds impossible numbers.
        """
        m, s = len(models), len(arrays.get("sample_weights", ()))
        d = arrays.get("centroids", np.empty((0, 0))).shape[-1]
        nothing = {
            "usage_counts": np.zeros((len(QUANTITIES), k, m)),
            "usage_sums": np.zeros((len(QUANTITIES), k, m)),
            "sample_tokens": np.full((2, s, m), np.nan),
        }
        arrays = nothing | arrays
        check_shapes(
            arrays,
            {
                "sample_keys": (s,),
                "sample_vectors": (s, d),
                "sample_weights": (s,),
                "sample_scores": (s, m),
                "sample_costs": (s, m),
            }
            | {name: array.shape for name, array in nothing.items()},
        )
        counts, sums = arrays["usage_counts"], arrays["usage_sums"]
        if not ((counts >= 0).all() and (sums >= 0).all()):
            raise DamagedArtifactError("the router's tokens and latencies are impossible: negative or not a number")
        names = ("keys", "vectors", "scores", "costs", "weights", "tokens")
        sample = Sample(*(arrays[f"sample_{name}"] for name in names))
        lessons = Lessons.restore(arrays, (k, m))
        return cls(models, restored_profile(arrays, (k, m)), Usage(counts, sums), sample, lessons)


def _chosen(n: int, most: int, seed: int) -> NDArray[np.intp]:
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).permutation(n)[:most])


def _joined(mine: Sample, theirs: Sample) -> Sample:
    """Fill gaps of rows that both have, append the rest; what is newer stays when there are too many rows."""
    twin = _twins(mine, theirs)
    matched = twin >= 0
    rows = twin[matched]
    scores, costs, tokens = mine.scores.copy(), mine.costs.copy(), mine.tokens.copy()
    for values, more in ((scores, theirs.scores), (costs, theirs.costs)):
        values[rows] = np.where(np.isnan(values[rows]), more[matched], values[rows])
    tokens[:, rows] = np.where(np.isnan(tokens[:, rows]), theirs.tokens[:, matched], tokens[:, rows])
    fresh = np.flatnonzero(~matched)
    fresh = fresh[_chosen(len(fresh), SAMPLE_ROWS, 0)]
    old = _chosen(len(scores), SAMPLE_ROWS - len(fresh), 0)
    return Sample(
        np.concatenate([mine.keys[old], theirs.keys[fresh]]),
        np.concatenate([mine.vectors[old], theirs.vectors[fresh]]),
        np.concatenate([scores[old], theirs.scores[fresh]]),
        np.concatenate([costs[old], theirs.costs[fresh]]),
        np.concatenate([mine.weights[old], theirs.weights[fresh]]),
        np.concatenate([tokens[:, old], theirs.tokens[:, fresh]], axis=1),
    )


def _twins(mine: Sample, theirs: Sample) -> NDArray[np.intp]:
    """Return, for each of their rows, the row of mine that is the same query and has room for it; -1 = none."""
    row = {key: position for position, key in enumerate(mine.keys.tolist())}
    twin = np.array([row.get(key, -1) for key in theirs.keys.tolist()], dtype=np.intp)
    known = np.flatnonzero(twin >= 0)
    both = (~np.isnan(mine.scores[twin[known]]) & ~np.isnan(theirs.scores[known])).any(axis=1)
    fits = ~both & np.isclose(mine.weights[twin[known]], theirs.weights[known])
    twin[known[~fits]] = -1
    return twin


def _prepared(vectors: Vectors, scaler: FormatScaler | None) -> Vectors:
    return vectors if scaler is None else scaler.apply(vectors)
