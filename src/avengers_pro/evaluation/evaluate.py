"""Methods and baselines on the same splits of the same records, judged the same way."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from avengers_pro.embedding import Embedder, Vectors, load_embedder
from avengers_pro.embedding.format import with_format
from avengers_pro.errors import EvaluationError
from avengers_pro.evaluation.judge import Contestant, Judge
from avengers_pro.evaluation.protocol import Protocol, Table, knob_settings, make_split, usable_table
from avengers_pro.evaluation.results import Evaluation, RecordsInfo
from avengers_pro.records.table import Records
from avengers_pro.routing.method import Method
from avengers_pro.routing.methods import BASELINES, DEFAULT_METHOD, build_method, settable

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, steps done, steps in all)."""


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
    table = usable_table(records, protocol)
    embedder = load_embedder(embedder) if isinstance(embedder, str) else embedder
    if progress is not None:
        progress("embedding", 0, 1)
    vectors = embedder.embed(table.records.queries) if vectors is None else table.vectors_from(records, vectors)
    dimension = vectors.shape[1]
    if any(contestant.method.features == "format" for contestant in contestants):
        vectors = with_format(vectors, table.records.queries)
    judge = Judge(table.records, contestants, knob_settings(table.records, protocol), protocol.min_score)
    for done, seed in enumerate(protocol.seeds):
        judge.run(
            make_split(table.records, vectors, dimension, protocol, seed),
            _named(progress, done, len(protocol.seeds), seed),
        )
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
        if label in chosen:
            raise EvaluationError(f"method {label!r} is named twice; give the second one another name")
        chosen[label] = Contestant(label, built, baseline=False, selected=selected)
    for name in BASELINES:
        if name not in chosen:
            chosen[name] = Contestant(name, build_method(name), baseline=True)
    return list(chosen.values())


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
