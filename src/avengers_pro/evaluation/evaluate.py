"""Methods and baselines on the same splits of the same records, judged the same way."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from avengers_pro.embedding import Embedder, Vectors, load_embedder
from avengers_pro.embedding.format import with_format
from avengers_pro.errors import EvaluationError
from avengers_pro.evaluation.contest import Choices, Contest, Contestant
from avengers_pro.evaluation.judge import Judge
from avengers_pro.evaluation.protocol import Protocol, Table, usable_table
from avengers_pro.evaluation.results import Evaluation, RecordsInfo
from avengers_pro.records.table import Records
from avengers_pro.routing.method import Method
from avengers_pro.routing.methods import BASELINES, DEFAULT_METHOD, build_method, settable

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, steps done, steps in all)."""
Entry = tuple[int, int]
"""A split's seed, and a contestant's place."""
Spread = Callable[[Callable[[Entry], Choices], Sequence[Entry]], Iterable[Choices]]
"""Does a piece of work for each entry, anywhere, and gives the results in order."""


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
    spread: Spread | None = None,
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
        spread: Works through the splits' contestants, each by itself; None = one after the other, here.

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
    contest = Contest(table.records, vectors, dimension, contestants, protocol)
    judge = Judge(table.records, contestants)
    entries = [(seed, place) for seed in protocol.seeds for place in range(len(contestants))]
    choices = iter((spread or _here)(contest, entries))
    for done, (seed, place) in enumerate(entries):
        label = contestants[place].label
        if progress is not None:
            progress(f"seed {seed}: {label}", done, len(entries))
        if place == 0:
            judge.begin(contest.split(seed))
        judge.add(label, next(choices))
    if progress is not None:
        progress("comparing", len(entries), len(entries))
    return judge.verdict(_info(table, protocol, source, note, embedder.id))


def _here(work: Callable[[Entry], Choices], entries: Sequence[Entry]) -> Iterator[Choices]:
    return map(work, entries)


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
