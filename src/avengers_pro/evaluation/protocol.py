"""How records are split for a comparison, and what is left out of it."""

from dataclasses import dataclass, field, replace

import numpy as np

from avengers_pro.embedding import Vectors
from avengers_pro.errors import EvaluationError
from avengers_pro.evaluation.replay import Part
from avengers_pro.records.split import seeds as first_seeds
from avengers_pro.records.split import stratified_split
from avengers_pro.records.table import Floats, Records
from avengers_pro.routing.baselines import best_single

_MOST_ALPHAS = 2001
_LEAST_ROWS = 20
DEFAULT_ALPHAS = tuple(np.linspace(0, 1, 51).round(6).tolist())


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """How to split and what to leave out.

    Attributes:
        seeds: One split each.
        train_ratio: Share of each dataset that trains.
        alphas: The knob's settings, ascending, each in [0, 1].
        excluded_models: Not in the pool.
        excluded_datasets: Not in the test.
        exclusion: ``hard`` = excluded datasets are dropped; ``soft`` = all of them train, as published.
        gaps: What to do with models that were not observed on every query: ``exclude`` them from the pool, or
            ``mask`` them on the queries where they were not observed.
        min_score: Least expected score of a candidate (the published ``min_accuracy``, here a real constraint).
        max_router: Models selected for each query; more than one is scored by the best of them, as published,
            and allowed for ``avengers-pro-code`` alone.
    """

    seeds: tuple[int, ...] = first_seeds(5)
    train_ratio: float = 0.7
    alphas: tuple[float, ...] = DEFAULT_ALPHAS
    excluded_models: tuple[str, ...] = ()
    excluded_datasets: tuple[str, ...] = ()
    exclusion: str = "hard"
    gaps: str = "exclude"
    min_score: float | None = None
    max_router: int = 1

    def __post_init__(self) -> None:
        """Refuse settings without meaning."""
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise EvaluationError(f"seeds must be distinct and at least one, got {list(self.seeds)}")
        if not self.alphas or not all(0 <= alpha <= 1 for alpha in self.alphas):
            raise EvaluationError("alphas must lie in [0, 1], at least one")
        if len(self.alphas) > _MOST_ALPHAS:
            raise EvaluationError(f"{len(self.alphas)} alphas are too many; {_MOST_ALPHAS} at most")
        object.__setattr__(self, "alphas", tuple(sorted(set(self.alphas))))
        for name, value, known in (
            ("dataset exclusion mode", self.exclusion, {"hard", "soft"}),
            ("gaps", self.gaps, {"exclude", "mask"}),
        ):
            if value not in known:
                raise EvaluationError(f"{name} must be one of {', '.join(sorted(known))}, got {value!r}")
        if self.max_router < 1:
            raise EvaluationError(f"max_router must be at least 1, got {self.max_router}")


@dataclass(frozen=True, slots=True)
class Table:
    """The records as they are used, and what was left out.

    Attributes:
        records: Without repeated texts and excluded models and datasets.
        duplicates: Rows dropped because an earlier row has the same text.
        left_out: Models left out, with the reason.
    """

    records: Records
    duplicates: int
    left_out: dict[str, str] = field(default_factory=dict)

    def vectors_from(self, source: Records, vectors: Vectors) -> Vectors:
        """Pick this table's rows from the (n, d) vectors of the records it was made of.

        Raises:
            EvaluationError: If vectors and source differ in length.
        """
        if len(vectors) != len(source):
            raise EvaluationError(f"{len(vectors)} vectors for {len(source)} records; one row each is needed")
        first = source.first_rows()
        return vectors[[first[query] for query in self.records.queries]]


@dataclass(frozen=True, slots=True)
class Split:
    """One train/test split.

    Attributes:
        seed: Of the split.
        best: Column of the best single model, chosen on train by the mean over queries.
        best_macro: The same by the mean over datasets.
        dimension: How many first columns of the vectors are the embedding; format features may follow.
        train: Rows to fit on. train_vectors: Theirs.
        test: Rows to judge on.
    """

    seed: int
    best: int
    best_macro: int
    dimension: int
    train: Records
    train_vectors: Vectors
    test: Part

    def suited(self, features: str) -> "Split":
        """Return the split with the vectors that a method's ``features`` ask for."""
        if features == "format" or self.train_vectors.shape[1] == self.dimension:
            return self
        train, test = (
            np.ascontiguousarray(rows[:, : self.dimension]) for rows in (self.train_vectors, self.test.vectors)
        )
        return replace(self, train_vectors=train, test=replace(self.test, vectors=test))


def usable_table(records: Records, protocol: Protocol) -> Table:
    """Drop repeated texts, excluded models and datasets, and models with gaps.

    Raises:
        EvaluationError: If fewer than two models are left.
    """
    unique = records.deduplicated()
    duplicates = len(records) - len(unique)
    if protocol.excluded_models:
        unique = unique.exclude_models(protocol.excluded_models)
    if protocol.excluded_datasets:
        unique.rows_of(protocol.excluded_datasets)
        if protocol.exclusion == "hard":
            unique = unique.exclude_datasets(protocol.excluded_datasets)
    if len(unique) < _LEAST_ROWS:
        dropped = f" ({duplicates} repeated texts were dropped)" if duplicates else ""
        raise EvaluationError(f"{len(unique)} distinct queries are too few to judge on{dropped}; bring {_LEAST_ROWS}")
    complete = unique.complete_models()
    left_out = {}
    if protocol.gaps == "exclude":
        scored = np.asarray(np.isfinite(unique.scores).all(axis=0))
        left_out = {
            name: "cost not known on every query" if whole else "not observed on every query"
            for name, whole in zip(unique.models, scored, strict=True)
            if name not in complete
        }
    if min(len(unique.models), len(complete) + (protocol.gaps == "mask")) < 2:  # noqa: PLR2004
        raise EvaluationError(
            f"{len(complete)} of {len(unique.models)} models have a score"
            f"{' and a cost' if unique.has_costs else ''} on every query; a comparison needs two. "
            + ("Complete the best single model first" if protocol.gaps == "mask" else "Try --gaps mask")
        )
    return Table(unique.select_models(complete) if left_out else unique, duplicates, left_out)


def knob_settings(records: Records, protocol: Protocol) -> Floats:
    """Return the protocol's alphas; without costs, only quality, alpha = 1, can be asked for."""
    return np.array(protocol.alphas if records.has_costs else (1.0,), dtype=np.float64)


def make_split(records: Records, vectors: Vectors, dimension: int, protocol: Protocol, seed: int) -> Split:
    """Split by dataset; softly excluded datasets train and are never tested.

    Raises:
        EvaluationError: If nothing is left to test on.
    """
    soft = protocol.excluded_datasets if protocol.exclusion == "soft" else ()
    always_train = records.rows_of(soft) if soft else np.empty(0, dtype=np.intp)
    usable = np.setdiff1d(np.arange(len(records)), always_train)
    if not usable.size:
        raise EvaluationError("every dataset is excluded; there is nothing to test on")
    train, test = stratified_split(records.take(usable), protocol.train_ratio, seed)
    train, test = np.concatenate([usable[train], always_train]), usable[test]
    known = records.take(train)
    eligible = records.complete_models()
    by_dataset = 1 / np.bincount(known.dataset_codes)[known.dataset_codes]
    best, best_macro = best_single(known, eligible), best_single(known, eligible, by_dataset)
    return Split(
        seed, best, best_macro, dimension, known, vectors[train], Part(records.take(test), vectors[test], test)
    )
