"""Simulated records around the published averages: ``python -m avengers_pro.demo.generate OUT``.

Whether a model answers a query well is a probit model: the query's ease, which all models share, plus the
model's skill at the sub-topic, plus luck, against an intercept calibrated so that each model's mean on each
dataset is the published one. The weights are tuned so that the oracle's macro mean is about 85 %, as it was
published; independent draws would give 97 %. Costs are log-normal around the published mean cost of a query.
"""

import argparse
import gzip
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TypedDict

from avengers_pro.demo.pool import DATASETS, MODELS, PoolDataset, PoolModel, Published
from avengers_pro.demo.queries import OFF_TOPIC, Query, draw, topics

_EASE, _SKILL = 0.8, 0.3
_LUCK = math.sqrt(1 - _EASE**2 - _SKILL**2)
_VOTES = {"sim-arena-hard": 4}
"""Judges whose verdicts are averaged; elsewhere an answer is right or wrong."""
_LENGTH_SPREAD, _COST_SPREAD = 0.45, 0.3
"""Standard deviations of log cost: of the query, for all models; and of the single answer."""
_EVEN_SHARE = 0.6
"""Part of the rows split evenly over the datasets; the rest follows the root of their published size."""
_MIN_CHARS, _MAX_CHARS = 60, 900
_CHARS_PER_TOKEN = 4
_FIRST_TOKEN_MS = 350
_MS_PER_TOKEN = (15, 28, 22, 20, 6, 9, 14, 12, 8, 18, 21, 16, 13)
"""Invented generation times, in the order of the pool."""


class SampleUsage(TypedDict):
    """What one call used; the names are those of the records format."""

    cost: float
    prompt_tokens: int
    completion_tokens: int
    latency_ms: int


class SampleRow(TypedDict):
    """One line of the records format."""

    query: str
    records: dict[str, float | None]
    usages: dict[str, SampleUsage]
    dataset: str
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawn:
    """A query with what all models share on it: both standard normal, larger = easier, longer."""

    query: Query
    ease: float
    length: float


def generate(rows: int = 2000, seed: int = 42) -> Iterator[SampleRow]:
    """Yield ``rows`` simulated rows, by dataset and sub-topic; the same for the same arguments."""
    # Neighbours that look alike make the packed file a third smaller than shuffled rows would.
    seen: set[str] = set()
    for dataset, size in zip(DATASETS, _allocate(rows), strict=True):
        if size:
            yield from _simulate(dataset, size, seed, seen)


def write_sample(path: Path, rows: int = 2000, seed: int = 42) -> None:
    """Write the rows as gzipped JSONL; the bytes depend on the arguments and the zlib version alone."""
    with path.open("wb") as file, gzip.GzipFile("", "wb", compresslevel=9, fileobj=file, mtime=0) as packed:
        for row in generate(rows, seed):
            packed.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")


def _allocate(rows: int) -> list[int]:
    """Share the rows among the datasets; the sizes add up to ``rows``."""
    roots = [math.sqrt(dataset.queries) for dataset in DATASETS]
    shares = [_EVEN_SHARE / len(roots) + (1 - _EVEN_SHARE) * root / sum(roots) for root in roots]
    ends = [round(rows * sum(shares[: place + 1])) for place in range(len(shares))]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def _simulate(dataset: PoolDataset, size: int, seed: int, seen: set[str]) -> Iterator[SampleRow]:
    """Yield the rows of one dataset, numbered on from the texts seen before, which gain the new ones."""
    start = len(seen)
    rng = Random(f"{seed}/{dataset.name}")
    drawn = sorted(_draw_unique(dataset, size, seen, rng), key=lambda item: item.query.topic)
    scores: dict[str, list[float]] = {}
    usages: dict[str, list[SampleUsage]] = {}
    for model, ms_per_token in zip(MODELS, _MS_PER_TOKEN, strict=True):
        published = model.published[dataset.name]
        if published is not None:
            scores[model.name] = _scores(dataset, model, published.score, drawn, seed, rng)
            usages[model.name] = _usages(model, published, ms_per_token, drawn, rng)
    for place, item in enumerate(drawn):
        yield {
            "query": item.query.text,
            "records": {model.name: scores[model.name][place] if model.name in scores else None for model in MODELS},
            "usages": {name: column[place] for name, column in usages.items()},
            "dataset": dataset.name,
            "index": start + place,
        }


def _draw_unique(dataset: PoolDataset, size: int, seen: set[str], rng: Random) -> Iterator[_Drawn]:
    """Draw queries of fit length, no text twice; harder ones tend to need longer answers."""
    enough = len(seen) + size
    while len(seen) < enough:
        query = draw(dataset.name, rng)
        if query.text in seen or not _MIN_CHARS <= len(query.text) <= _MAX_CHARS:
            continue
        seen.add(query.text)
        ease = rng.gauss()
        yield _Drawn(query=query, ease=ease, length=0.8 * rng.gauss() - 0.6 * ease)


def _scores(
    dataset: PoolDataset, model: PoolModel, mean: float, drawn: Sequence[_Drawn], seed: int, rng: Random
) -> list[float]:
    """Draw a model's score on each query; their mean is the published one, up to rounding."""
    skills = _skills(dataset, model, seed)
    votes = _VOTES.get(dataset.name, 1)
    passed = [0] * len(drawn)
    for _ in range(votes):
        latent = [_EASE * item.ease + _SKILL * skills[item.query.topic] + _LUCK * rng.gauss() for item in drawn]
        best_first = sorted(range(len(drawn)), key=latent.__getitem__, reverse=True)
        for place in best_first[: round(mean * len(drawn))]:
            passed[place] += 1
    return [count if votes == 1 else count / votes for count in passed]


def _skills(dataset: PoolDataset, model: PoolModel, seed: int) -> dict[str, float]:
    """Draw a model's skill at each sub-topic of a dataset, standard normal, whatever the number of rows."""
    rng = Random(f"{seed}/{dataset.name}/{model.name}")
    return {topic: rng.gauss() for topic in (*topics(dataset.name), OFF_TOPIC)}


def _usages(
    model: PoolModel, published: Published, ms_per_token: int, drawn: Sequence[_Drawn], rng: Random
) -> list[SampleUsage]:
    """Draw what each call used; the mean cost is the published one, up to whole tokens."""
    factors = [math.exp(_LENGTH_SPREAD * item.length + _COST_SPREAD * rng.gauss()) for item in drawn]
    cost_usd_per_factor = published.cost_usd * len(drawn) / math.fsum(factors)
    return [
        _usage(model, cost_usd_per_factor * factor, ms_per_token, item.query.text)
        for item, factor in zip(drawn, factors, strict=True)
    ]


def _usage(model: PoolModel, cost_usd: float, ms_per_token: int, text: str) -> SampleUsage:
    """Find the completion tokens whose price comes nearest to a cost; few digits keep the file small."""
    prompt_tokens = len(text) // _CHARS_PER_TOKEN
    left_usd = cost_usd - model.cost_usd(prompt_tokens, 0)
    completion_tokens = max(1, _round(left_usd * 1e6 / model.output_price, digits=3))
    return {
        "cost": model.cost_usd(prompt_tokens, completion_tokens),
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "latency_ms": _round(_FIRST_TOKEN_MS + ms_per_token * completion_tokens, digits=2),
    }


def _round(value: float, *, digits: int) -> int:
    """Round to an integer with few significant digits."""
    return round(float(f"{value:.{digits}g}"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the sample to the path given on the command line."""
    parser = argparse.ArgumentParser(prog="python -m avengers_pro.demo.generate", description=main.__doc__)
    parser.add_argument("out", type=Path, help="file to write, gzipped JSONL")
    parser.add_argument("--rows", type=int, default=2000, help="number of rows (2000)")
    parser.add_argument("--seed", type=int, default=42, help="seed of all that is random (42)")
    parsed = parser.parse_args(arguments)
    write_sample(parsed.out, parsed.rows, parsed.seed)


if __name__ == "__main__":
    main()
