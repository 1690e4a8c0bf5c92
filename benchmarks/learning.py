"""What feedback on a gateway's answers is worth: a router of 200 labelled queries, and 5,000 logged decisions.

    python benchmarks/learning.py [RECORDS... | --headline] [--repetitions 32]

Without RECORDS all is simulated, with known truth (avengers_pro.demo.history), and each repetition draws other queries;
``--headline`` runs the usual case alone. With RECORDS the scores of real models are the truth, each repetition splits
them otherwise, and only choices and feedback are simulated. Each time a router is fitted, a history goes into a real
SQLite ledger, ``avengers_pro.learning.learn`` learns it, and held-out queries judge. Writes
benchmarks/results/learning[_headline|_NAME].{json,md}. Area up to the cost of the best single model, x 100, as in
quality.py.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from avengers_pro.demo.history import Course, simulated_records, worse, write_history
from avengers_pro.evaluation.frontier import area_at_best
from avengers_pro.evaluation.replay import Part, replay
from avengers_pro.learning import HalfLife, Traffic, learn, read_traffic
from avengers_pro.records import Records, read_records
from avengers_pro.routing import Router, change
from machine import about

ROOT = Path(__file__).parents[1]
FITTED, LOGGED, HELD_OUT = 200, 5000, 4000
ALPHAS = np.linspace(0, 1, 51).tolist()
T_95 = {10: 2.262, 12: 2.201, 16: 2.131, 20: 2.093, 24: 2.069, 32: 2.040, 38: 2.026, 40: 2.023, 48: 2.012, 64: 1.998}
"""Student's t for a two-sided 95 % interval, by repetitions."""


class World:
    """Queries with known truth: some labelled, some logged, some held out."""

    def __init__(self, seed: int, truth: Records | None = None) -> None:
        truth = truth or simulated_records(FITTED + LOGGED + HELD_OUT, seed)
        self.truth = truth.select_models(truth.complete_models())
        self.seed, self.logged = seed, min(LOGGED, (len(truth) - FITTED) // 2)
        self.labelled = self.truth.take(range(FITTED))
        self.router = Router.fit(self.labelled, seed=seed)
        self.vectors = self.router.embed(self.truth.queries)

    def rows(self, first: int, count: int) -> Records:
        """Return some of the queries."""
        return self.truth.take(range(first, first + count))

    def area(self, router: Router) -> float:
        """Return the area on held-out queries, x 100."""
        first = FITTED + self.logged
        count = len(self.truth) - first
        part = Part(self.rows(first, count), self.vectors[first:], np.arange(count))
        best = int(part.records.scores.mean(axis=0).argmax())
        seen = replay(router.fitted, part, ALPHAS)
        best_cost = float(part.records.costs[:, best].mean())
        return 100 * area_at_best(seen.costs.mean(axis=1), seen.scores.mean(axis=1), best_cost)

    def log(self, **how: object) -> Traffic:
        """Write a history into a ledger and read it back."""
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{folder}/ledger.db"
            asyncio.run(write_history(url, self.router, self.rows(FITTED, self.logged), Course(seed=self.seed, **how)))
            return asyncio.run(read_traffic(url, router=self.router))

    def with_worse(self, model: str) -> "World":
        """Return the same world, in which a model answers half as well from the middle of the log on."""
        other = object.__new__(World)
        other.__dict__.update(self.__dict__)
        other.truth = worse(self.truth, model, 0.5, first=FITTED + LOGGED // 2, seed=self.seed)
        return other


def scored(traffic: Traffic) -> np.ndarray:
    """Return the rows with usable feedback."""
    return np.flatnonzero(np.isfinite(traffic.scores) & (traffic.served >= 0))


def thinned(traffic: Traffic, share: float, seed: int) -> Traffic:
    """Keep a share of the feedback."""
    kept = np.random.default_rng(seed).random(len(traffic)) < share
    return replace(traffic, scores=np.where(kept, traffic.scores, np.nan))


def flipped(traffic: Traffic, share: float, seed: int) -> Traffic:
    """Let a share of the feedback say the opposite."""
    wrong = np.random.default_rng(seed + 1).random(len(traffic)) < share
    return replace(traffic, scores=np.where(wrong, 1 - traffic.scores, traffic.scores))


def kinder(traffic: Traffic) -> Traffic:
    """Let clients forgive six tenths of what an answer lacks."""
    return replace(traffic, scores=1 - 0.4 * (1 - traffic.scores))


def plain_update(world: World, traffic: Traffic) -> Router:
    """Add single scores to the tables as if they were records: what is not done."""
    rows = scored(traffic)
    scores, costs = np.full((2, len(rows), len(traffic.models)), np.nan)
    scores[np.arange(len(rows)), traffic.served[rows]] = traffic.scores[rows]
    costs[np.arange(len(rows)), traffic.served[rows]] = traffic.costs[rows]
    queries = [f"{world.truth.queries[FITTED + row]}" for row in rows]
    return world.router.update(Records.from_arrays(queries, traffic.models, scores, costs))


def weighted(world: World, traffic: Traffic) -> Router:
    """Weigh each score by 1 / propensity, at most 10, mean 1."""
    rows = scored(traffic)
    weights = np.minimum(1 / traffic.propensity[rows], 10.0)
    names = [traffic.models[column] for column in traffic.served[rows]]
    return change.learn(
        world.router, traffic.vectors[rows], names, traffic.scores[rows], weights=weights / weights.mean(), detail={}
    )


def measure(seed: int) -> dict[str, float]:
    """Return the change of area by what was done."""
    world = World(seed)
    before = world.area(world.router)
    found = {"before": before}

    def gain(name: str, router: Router) -> None:
        found[name] = world.area(router) - before

    full = world.log(feedback=0.5)
    traffic = thinned(full, 0.2, seed)
    gain("10 % feedback, explored 0.15", learn(world.router, traffic).router)
    gain("- the scores added to the tables as records", plain_update(world, traffic))
    gain("- weighted by 1 / propensity", weighted(world, traffic))
    gain("- half-life 5,000 decisions", learn(world.router, traffic, half_life=HalfLife(decisions=5000)).router)
    gain("- half-life 1,000 decisions", learn(world.router, traffic, half_life=HalfLife(decisions=1000)).router)
    gain("- clusters fitted anew", learn(world.router, traffic, records=world.labelled).router)
    gain("- 1 of 10 scores says the opposite", learn(world.router, flipped(traffic, 0.1, seed)).router)
    gain("- 1 of 4 scores says the opposite", learn(world.router, flipped(traffic, 0.25, seed)).router)
    gain("- clients much kinder than the records", learn(world.router, kinder(traffic)).router)
    gain("50 % feedback, explored 0.15", learn(world.router, full).router)
    full = world.log(feedback=0.5, explored=0.0)
    gain("10 % feedback, no exploration", learn(world.router, thinned(full, 0.2, seed)).router)
    gain("50 % feedback, no exploration", learn(world.router, full).router)
    gain("500 more queries labelled for every model", Router.fit(world.rows(0, FITTED + 500), seed=seed))
    gain("all 5,000 queries labelled for every model", Router.fit(world.rows(0, FITTED + LOGGED), seed=seed))
    favourite = world.router.models[int(np.bincount(traffic.chosen[traffic.chosen >= 0]).argmax())]
    world = world.with_worse(favourite)
    before = found["worse: before"] = world.area(world.router)
    full = world.log(feedback=0.5)
    for share, traffic in ((10, thinned(full, 0.2, seed)), (50, full)):
        for name, half_life in (
            ("", None),
            (", half-life 5,000 decisions", HalfLife(decisions=5000)),
            (", half-life 1,000 decisions", HalfLife(decisions=1000)),
        ):
            gain(f"worse: {share} % feedback{name}", learn(world.router, traffic, half_life=half_life).router)
    return found


def headline(seed: int) -> dict[str, float]:
    """Return the change of area of the usual case alone, which takes many repetitions to tell from nothing."""
    world = World(seed)
    before = world.area(world.router)
    full = world.log(feedback=0.5)
    few = thinned(full, 0.2, seed)
    return {
        "before": before,
        "10 % feedback, explored 0.15": world.area(learn(world.router, few).router) - before,
        "50 % feedback, explored 0.15": world.area(learn(world.router, full).router) - before,
        "- 10 %, the scores added to the tables as records": world.area(plain_update(world, few)) - before,
        "- 10 %, clients much kinder than the records": world.area(learn(world.router, kinder(few)).router) - before,
    }


def measure_records(path: Path, seed: int) -> dict[str, float]:
    """Return the change of area by what was done, where the truth is in records."""
    records = read_records(path).records.deduplicated()
    order = np.random.default_rng(seed).permutation(len(records))
    world = World(seed, records.take(order))
    before = world.area(world.router)
    found = {"before": before}
    for share, name in ((0.0, "no exploration"), (0.15, "explored 0.15")):
        full = world.log(feedback=0.5, explored=share)
        few = thinned(full, 0.2, seed)
        found[f"10 % feedback, {name}"] = world.area(learn(world.router, few).router) - before
        found[f"50 % feedback, {name}"] = world.area(learn(world.router, full).router) - before
    found["- the scores added to the tables as records"] = world.area(plain_update(world, full)) - before
    everything = Router.fit(world.rows(0, FITTED + world.logged), seed=seed)
    found["all logged queries labelled for every model"] = world.area(everything) - before
    return found


def line(name: str, values: list[float]) -> str:
    """Return a row of the table."""
    mean, half = np.mean(values), T_95[len(values)] * np.std(values, ddof=1) / len(values) ** 0.5
    wins = sum(value > 0 for value in values)
    return f"| {name} | {mean:+.2f} | [{mean - half:+.2f}, {mean + half:+.2f}] | {wins} of {len(values)} |"


def table(found: dict[str, list[float]], prefix: str = "") -> list[str]:
    """Return the lines whose names begin so, as a table."""
    head = ["| | change of area x 100 | 95 % interval | better in |", "|---|--:|--:|--:|"]
    names = [name for name in found if name.startswith(prefix) and not name.endswith("before")]
    return [*head, *(line(name.removeprefix(prefix), found[name]) for name in names if prefix or ": " not in name)]


def about_runs(found: dict[str, list[float]]) -> str:
    """Return what was run."""
    before = found["before"]
    return (
        f"{about()}. {len(before)} repetitions. Area before: {np.mean(before):.2f}. Intervals: paired differences, "
        "Student's t over repetitions."
    )


def page(found: dict[str, list[float]]) -> str:
    """Return the Markdown page of the simulated runs."""
    return "\n".join(
        [
            "# Learning from traffic (simulated)",
            "",
            about_runs(found),
            "",
            (
                f"A router fitted on {FITTED} labelled queries of the simulated pool (12 models) decides {LOGGED:,} "
                f"queries at alpha 0.7; a share of the answers gets feedback; {HELD_OUT:,} other queries judge. Each "
                "repetition has other queries, labels, choices and feedback."
            ),
            "",
            *table(found),
            "",
            "## The model that is chosen most answers half as well from the middle of the log on",
            "",
            f"Area of the router that does not know it: {np.mean(found['worse: before']):.2f}.",
            "",
            *table(found, "worse: "),
            "",
        ]
    )


def page_of_records(name: str, found: dict[str, list[float]]) -> str:
    """Return the Markdown page of one file."""
    return "\n".join(
        [
            f"# Learning from traffic ({name})",
            "",
            about_runs(found),
            "",
            (
                f"Real records are the truth: a router fitted on {FITTED} random queries decides half of the others "
                "at alpha 0.7, the other half judges. Choices, exploration and who gives feedback are simulated; the "
                "scores given are the records'. Repetitions split the same records, so they are not independent and "
                "the intervals are too narrow."
            ),
            "",
            *table(found),
            "",
        ]
    )


def page_of_headline(found: dict[str, list[float]]) -> str:
    """Return the Markdown page of the usual case."""
    setting = (
        f"The setting of learning.md: {FITTED} labelled queries, {LOGGED:,} decisions, {HELD_OUT:,} queries to judge."
    )
    return "\n".join(
        [
            "# Learning from traffic (simulated), many repetitions",
            "",
            about_runs(found),
            "",
            setting,
            "",
            *table(found),
            "",
        ]
    )


def gathered(run: Callable[[int], dict[str, float]], count: int) -> dict[str, list[float]]:
    """Run so many repetitions, two at a time."""
    found: dict[str, list[float]] = {}
    with ProcessPoolExecutor(2) as pool:
        for one in pool.map(run, range(1000, 1000 + count)):
            for name, value in one.items():
                found.setdefault(name, []).append(float(value))
            print({name: round(values[-1], 2) for name, values in found.items()}, file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Measure, and write the results."""
    count = int(sys.argv[sys.argv.index("--repetitions") + 1]) if "--repetitions" in sys.argv else 32
    paths = [Path(argument) for argument in sys.argv[1:] if argument.endswith((".jsonl", ".gz", ".parquet"))]
    pages = {}
    for path in paths:
        name = path.name.split(".")[0]
        found = gathered(partial(measure_records, path), count)
        pages[f"learning_{name}"] = page_of_records(name, found), found
    if "--headline" in sys.argv:
        found = gathered(headline, count)
        pages["learning_headline"] = page_of_headline(found), found
    elif not paths:
        found = gathered(measure, count)
        pages["learning"] = page(found), found
    results = ROOT / "benchmarks" / "results"
    for name, (text, found) in pages.items():
        (results / f"{name}.md").write_text(text, encoding="utf-8")
        content = {"machine": about(), "measured": found}
        (results / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
        print(text)


if __name__ == "__main__":
    main()
