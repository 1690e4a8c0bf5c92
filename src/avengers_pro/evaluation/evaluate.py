"""Methods and baselines on the same splits of the same records, judged the same way."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from avengers_pro.embedding import Embedder, Vectors, load_embedder
from avengers_pro.errors import EvaluationError
from avengers_pro.evaluation.judge import Contestant, Judge, Split
from avengers_pro.evaluation.replay import Part
from avengers_pro.evaluation.results import Evaluation, RecordsInfo
from avengers_pro.records.split import seeds as first_seeds
from avengers_pro.records.split import stratified_split
from avengers_pro.records.table import Floats, Records
from avengers_pro.routing.method import Method
from avengers_pro.routing.methods import BASELINES, DEFAULT_METHOD, build_method, settable

DEFAULT_ALPHAS = tuple(np.linspace(0, 1, 51).round(6).tolist())
Progress = Callable[[str, int, int], None]
"""Called with (what is being done, steps done, steps in all)."""


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
    """The records as they are used, and what was left out."""

    records: Records
    duplicates: int
    left_out: dict[str, str] = field(default_factory=dict)


def evaluate(
    records: Records,
    methods: Sequence[str | Method] = (DEFAULT_METHOD,),
    *,
    protocol: Protocol | None = None,
    embedder: str | Embedder = "static",
    vectors: Vectors | None = None,
    params: Mapping[str, Any] | None = None,
    source: str = "records",
    note: str = "",
    progress: Progress | None = None,
) -> Evaluation:
    """Fit every method on the train part of each split and read it on the test part.

    Args:
        records: n queries x m models; repeated query texts are dropped before splitting.
        methods: Names or methods; the verdict is about the first.
        protocol: Splits, alphas, exclusions.
        embedder: A spec string or an embedder; all methods share its vectors.
        vectors: (n, d) unit rows of the records' queries, if they are at hand.
        params: Parameters given to every method that has them (``clusters``, ``top_clusters``, ``beta``, ...).
        source: Said in the results.
        note: Said wherever the numbers are shown, for example "simulated data".
        progress: Called as the work goes on.

    Raises:
        EvaluationError: If fewer than two models or too few queries are left to compare on.
    """
    protocol = protocol or Protocol()
    contestants = _contestants(methods, params or {}, protocol)
    table = _table(records, protocol)
    embedder = load_embedder(embedder) if isinstance(embedder, str) else embedder
    if progress is not None:
        progress("embedding", 0, 1)
    vectors = embedder.embed(table.records.queries) if vectors is None else vectors[_rows_kept(records, table.records)]
    judge = Judge(table.records, contestants, _alphas(table.records, protocol), protocol.min_score)
    for done, seed in enumerate(protocol.seeds):
        judge.run(_split(table.records, vectors, protocol, seed), _named(progress, done, len(protocol.seeds), seed))
    if progress is not None:
        progress("comparing", len(protocol.seeds), len(protocol.seeds))
    return judge.verdict(_info(table, protocol, source, note, embedder.id))


def _named(progress: Progress | None, done: int, total: int, seed: int) -> Callable[[str], None] | None:
    if progress is None:
        return None
    return lambda method: progress(f"seed {seed}: {method}", done, total)


def _contestants(methods: Sequence[str | Method], params: Mapping[str, Any], protocol: Protocol) -> list[Contestant]:
    chosen: dict[str, Contestant] = {}
    for method in methods:
        built = build_method(method, settable(method, params)) if isinstance(method, str) else method
        selected = 1
        label = built.name
        if protocol.max_router > 1:
            if built.name != "avengers-pro-code":
                raise EvaluationError(
                    f"max-router {protocol.max_router} scores the best of several answers, which no router can "
                    f"return; it is kept for --method avengers-pro-code alone, not {built.name}"
                )
            selected, label = protocol.max_router, f"{built.name} (oracle among {protocol.max_router} selected)"
        chosen[label] = Contestant(label, built, baseline=False, selected=selected)
    for name in BASELINES:
        if name not in chosen:
            chosen[name] = Contestant(name, build_method(name), baseline=True)
    return list(chosen.values())


def _table(records: Records, protocol: Protocol) -> Table:
    """Drop repeated texts, excluded models and datasets, and models with gaps."""
    unique = records.deduplicated()
    duplicates = len(records) - len(unique)
    if protocol.excluded_models:
        unique = unique.exclude_models(protocol.excluded_models)
    if protocol.excluded_datasets:
        unique.rows_of(protocol.excluded_datasets)
        if protocol.exclusion == "hard":
            unique = unique.exclude_datasets(protocol.excluded_datasets)
    complete = unique.complete_models()
    left_out = {}
    if protocol.gaps == "exclude":
        left_out = {name: "not observed on every query" for name in unique.models if name not in complete}
    if len(complete) + (protocol.gaps == "mask") < 2:  # noqa: PLR2004
        raise EvaluationError(
            f"{len(complete)} of {len(unique.models)} models have a score"
            f"{' and a cost' if unique.has_costs else ''} on every query; a comparison needs two. "
            + ("Complete the best single model first" if protocol.gaps == "mask" else "Try --gaps mask")
        )
    return Table(unique.select_models(complete) if left_out else unique, duplicates, left_out)


def _rows_kept(records: Records, kept: Records) -> list[int]:
    first = {query: row for row, query in reversed(list(enumerate(records.queries)))}
    return [first[query] for query in kept.queries]


def _alphas(records: Records, protocol: Protocol) -> Floats:
    """Without costs, only quality can be asked for."""
    return np.array(protocol.alphas if records.has_costs else (1.0,), dtype=np.float64)


def _split(records: Records, vectors: Vectors, protocol: Protocol, seed: int) -> Split:
    soft = protocol.excluded_datasets if protocol.exclusion == "soft" else ()
    always_train = records.rows_of(soft) if soft else np.empty(0, dtype=np.intp)
    usable = np.setdiff1d(np.arange(len(records)), always_train)
    if not usable.size:
        raise EvaluationError("every dataset is excluded; there is nothing to test on")
    train, test = stratified_split(records.take(usable), protocol.train_ratio, seed)
    train, test = np.concatenate([usable[train], always_train]), usable[test]
    return Split(seed, records.take(train), vectors[train], Part(records.take(test), vectors[test], test))


def _info(table: Table, protocol: Protocol, source: str, note: str, embedder: str) -> RecordsInfo:
    names, counts = np.unique(np.array(table.records.datasets), return_counts=True)
    return RecordsInfo(
        source=source,
        note=note,
        rows=len(table.records),
        duplicates=table.duplicates,
        models=list(table.records.models),
        left_out=table.left_out,
        datasets=dict(zip(names.tolist(), counts.tolist(), strict=True)),
        excluded_datasets=list(protocol.excluded_datasets),
        fingerprint=table.records.fingerprint,
        embedder=embedder,
        train_ratio=protocol.train_ratio,
        has_costs=table.records.has_costs,
    )
