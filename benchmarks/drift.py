"""How often `avengers-pro drift` finds what was planted, and how often it claims what is not there.

    python benchmarks/drift.py [RECORDS...] [--quiet 100] [--runs 10] [--ledger]

Planted drift is looked for on the simulated pool; quiet runs are made on RECORDS as well. A run fits a router on some
rows of a table and lets it decide on others, which it has not seen; feedback is the true score of the chosen model.
--ledger also writes 100,000 decisions into a real ledger and times the command on it.
Writes benchmarks/results/drift.{json,md}.
"""

import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from avengers_pro.demo.history import Course, simulated_records, write_history
from avengers_pro.learning import Traffic
from avengers_pro.learning.drift import Report, find_drift
from avengers_pro.records import Records, read_records
from avengers_pro.routing import Policy, Router
from avengers_pro.routing.pool import Endpoint, ModelCard
from avengers_pro.routing.queries import Queries
from machine import about

RESULTS = Path(__file__).parent / "results"
POLICY = Policy(alpha=0.7)
INPUT_PRICE, OUTPUT_PRICE = 2.0, 8.0
ROUTERS = 10
SIZES = (250, 1000, 2000)
FAST = {"quality", "price paid", "reported model", "models in use"}
"""Checks that need no vectors."""
SCAFFOLD = (
    "You are the assistant of a bank. Be brief, cite the document, refuse anything else. Document: terms of use. {}"
)


def traffic_of(router: Router, truth: Records, *, feedback: float, seed: int, policy: Policy = POLICY) -> Traffic:
    """Let a router decide on every row, as the gateway would without exploring."""
    rng = np.random.default_rng(seed)
    n, models = len(truth), router.models
    columns = [truth.models.index(name) for name in models]
    vectors = router.embed(truth.queries).astype(np.float16).astype(np.float32)
    estimate = router.fitted.estimate(Queries(vectors))
    chosen = router.route_vectors(vectors, policy)
    scores = truth.scores[np.arange(n), np.array(columns)[chosen]]
    prompt = np.array([len(text) / 4 for text in truth.queries])
    completion = rng.lognormal(6, 0.5, n)
    at = 1.78e9 + np.arange(n) * 60.0
    text = msgspec.json.encode({"alpha": policy.alpha}).decode()
    return Traffic(
        ids=tuple(f"simulated-{row}" for row in range(n)),
        at=at,
        models=models,
        vectors=vectors,
        chosen=chosen,
        served=chosen.copy(),
        propensity=np.ones(n),
        routed=np.ones(n, dtype=bool),
        expected_scores=estimate.expected_score,
        expected_costs=estimate.expected_cost,
        scores=np.where(rng.random(n) < feedback, scores, np.nan),
        costs=(prompt * INPUT_PRICE + completion * OUTPUT_PRICE) / 1e6,
        prompt_tokens=prompt,
        completion_tokens=completion,
        latency_ms=completion * 10,
        outcomes=("ok",) * n,
        novel=np.zeros(n, dtype=bool) if estimate.novel is None else estimate.novel,
        clusters=tuple(tuple(line) for line in estimate.clusters.tolist()),
        policies=(text,) * n,
        routers=("one",) * n,
        shadow=np.full(n, -1),
        shadow_routers=(None,) * n,
        reported_models=tuple(models[column] for column in chosen),
        scored_at=at + 60,
    )


def cards_of(router: Router) -> list[ModelCard]:
    """Return a pool table in which every model costs the same, at an address that no price list knows."""
    return [
        ModelCard(
            name=name,
            input_price=INPUT_PRICE,
            output_price=OUTPUT_PRICE,
            endpoints=(Endpoint(base_url="http://127.0.0.1/v1"),),
        )
        for name in router.models
    ]


def check(router: Router, traffic: Traffic) -> Report:
    """Look for drift; costs stay as the records have them, so that choices do."""
    return find_drift(traffic, router, fingerprint="one", seed=int(traffic.at[-1]) % 997)


def of_dataset(records: Records, rows: np.ndarray, name: str, share: float, n: int, rng) -> np.ndarray:
    """Return n rows of which a share more than usual is of one dataset."""
    is_one = np.array([records.datasets[row] == name for row in rows])
    extra = rng.choice(rows[is_one], int(share * n))
    return rng.permutation(np.concatenate([extra, rng.choice(rows, n - len(extra), replace=False)]))


def worse(traffic: Traffic, drop: float, rng) -> Traffic:
    """Take a share of its good answers from the most used model."""
    model = int(np.bincount(traffic.served).argmax())
    hit = (traffic.served == model) & (rng.random(len(traffic)) < drop)
    return replace(traffic, scores=np.where(hit, traffic.scores * 0, traffic.scores))


def reporting(traffic: Traffic, share: float, rng) -> Traffic:
    """Let a share of the answers come from another model."""
    names = ["other-model" if rng.random() < share else name for name in traffic.reported_models]
    return replace(traffic, reported_models=tuple(names))


def one_model(traffic: Traffic, share: float, rng) -> Traffic:
    """Let the most used model answer a share of the requests of the others."""
    model = int(np.bincount(traffic.served).argmax())
    return replace(traffic, served=np.where(rng.random(len(traffic)) < share, model, traffic.served))


class Bench:
    """One table, with its routers."""

    def __init__(self, name: str, records: Records, train: int, rows: int) -> None:
        self.name, self.train, self.rows = name, train, rows
        self.records = records.select_models(records.complete_models()).deduplicated()
        self.orders = [np.random.default_rng(seed).permutation(len(self.records)) for seed in range(ROUTERS)]
        self.routers = [Router.fit(self.records.take(order[:train])) for order in self.orders]

    def part(self, run: int, n: int) -> tuple[Router, np.ndarray, np.random.Generator]:
        """Return a router, n rows that it has not seen, and what draws the rest."""
        rng = np.random.default_rng(1000 + run)
        place = run % ROUTERS
        return self.routers[place], rng.permutation(self.orders[place][self.train :])[:n], rng

    def quiet(self, runs: int, n: int) -> tuple[int, dict[str, int]]:
        """Return in how many quiet runs anything is claimed, and by which checks."""
        claimed, by_check = 0, {}
        for run in range(runs):
            router, rows, _ = self.part(run, n)
            found = check(router, traffic_of(router, self.records.take(rows), feedback=0.3, seed=run)).drifted
            claimed += bool(found)
            for one in {finding.measured.check for finding in found}:
                by_check[one] = by_check.get(one, 0) + 1
            say(f"{self.name}: quiet {run + 1}/{runs}, claimed {claimed}")
        return claimed, by_check

    def found(self, runs: int, n: int, name: str, plant: Callable[[int, int], tuple[Router, Traffic, bool]]) -> dict:
        """Return how often a planted drift is found, by its own check and by any."""
        own = some = 0
        for run in range(runs):
            router, traffic, with_pool = plant(run, n)
            cards = cards_of(router) if with_pool else None
            report = find_drift(traffic, router, fingerprint="one", cards=cards, seed=run)
            checks = {finding.measured.check for finding in report.drifted}
            own += name in checks
            some += bool(checks)
        return {"requests": n, "own": own, "any": some, "runs": runs}

    def novel(self, share: float, feedback: float = 0.0) -> Callable:
        """Plant queries of a dataset that the router was not fitted on."""
        strange = max(set(self.records.datasets), key=lambda name: (name in {"sim-swe", "mbpp", "cruxeval-o"}, name))
        is_strange = np.array([name == strange for name in self.records.datasets])
        known = self.records.take(
            np.flatnonzero(~is_strange)[np.random.default_rng(0).permutation((~is_strange).sum())]
        )
        router = Router.fit(known.take(range(self.train)))

        def plant(run: int, n: int):
            rng = np.random.default_rng(run)
            usual = known.take(self.train + rng.permutation(len(known) - self.train)[: n - int(share * n)])
            extra = self.records.take(rng.choice(np.flatnonzero(is_strange), int(share * n)))
            return router, joined(usual, extra, rng, router, feedback, run), False

        return plant

    def mixed(self, share: float) -> Callable:
        """Plant more queries of one dataset."""
        name = max(set(self.records.datasets), key=lambda one: (self.records.datasets.count(one), one))

        def plant(run: int, n: int):
            router, _, rng = self.part(run, n)
            rows = of_dataset(self.records, self.orders[run % ROUTERS][self.train :], name, share, n, rng)
            return router, traffic_of(router, self.records.take(rows), feedback=0.0, seed=run), False

        return plant

    def wrapped(self, share: float) -> Callable:
        """Plant an application that puts its own words around the question."""

        def plant(run: int, n: int):
            router, rows, rng = self.part(run, n)
            truth = self.records.take(rows)
            texts = tuple(SCAFFOLD.format(text) if rng.random() < share else text for text in truth.queries)
            return router, traffic_of(router, replace(truth, queries=texts), feedback=0.0, seed=run), False

        return plant

    def changed(self, change: Callable, amount: float, *, feedback: float = 0.0, with_pool: bool = False) -> Callable:
        """Plant a change of what the ledger says."""

        def plant(run: int, n: int):
            router, rows, rng = self.part(run, n)
            traffic = traffic_of(router, self.records.take(rows), feedback=feedback, seed=run)
            return router, replace(change(traffic, amount, rng), vectors=None), with_pool

        return plant


def joined(one: Records, two: Records, rng, router: Router, feedback: float, seed: int) -> Traffic:
    """Return the traffic of both in random order."""
    both = Records.from_arrays(
        [*one.queries, *two.queries], one.models, np.vstack([one.scores, two.scores]), np.vstack([one.costs, two.costs])
    )
    return traffic_of(router, both.take(rng.permutation(len(both))), feedback=feedback, seed=seed)


def priced(traffic: Traffic, factor: float, _rng) -> Traffic:
    """Book every request at other prices."""
    return replace(traffic, costs=traffic.costs * factor)


def planted(bench: Bench, runs: int) -> list[dict]:
    """Return how often each kind of drift is found, at several sizes."""
    shares, wrong, pool = (0.05, 0.1, 0.2), "of the most used model's good answers are bad now", {"with_pool": True}
    table = {
        "novel queries": [(f"{x:.0%} from a dataset not trained on", bench.novel(x)) for x in shares],
        "mix of queries": [(f"{x:.0%} more of the largest dataset", bench.mixed(x)) for x in (0.1, 0.2, 0.4)],
        "embeddings": [
            *((f"{x:.0%} from a dataset not trained on", bench.novel(x)) for x in shares),
            *((f"{x:.0%} wrapped by an application", bench.wrapped(x)) for x in shares),
        ],
        "quality": [(f"{x:.0%} {wrong}; all scored", bench.changed(worse, x, feedback=1.0)) for x in (0.2, 0.3, 0.5)],
        "price paid": [(f"booked at {x:g} x the table", bench.changed(priced, x, **pool)) for x in (1.05, 0.9)],
        "reported model": [
            (f"{x:.0%} of the answers are another model's", bench.changed(reporting, x, **pool)) for x in (0.02, 0.1)
        ],
        "models in use": [
            (f"one model answers {x:.0%} of the others' requests", bench.changed(one_model, x)) for x in (1, 0.95, 0.9)
        ],
    }
    lines = []
    for check_name, size, plant in ((name, *one) for name, kinds in table.items() for one in kinds):
        found = []
        for n in SIZES if check_name in FAST else SIZES[:2]:
            found.append(bench.found(runs, n, check_name, plant))
            say(f"{bench.name}: {check_name}, {size}, {n}: {found[-1]['own']}/{runs}")
        lines.append({"check": check_name, "planted": size, "found": found})
    return lines


def measure(bench: Bench, quiet: int, lines: list[dict]) -> dict:
    """Return what is claimed in quiet runs, beside what was found."""
    n = min(bench.rows, 2000)
    claimed, by_check = bench.quiet(quiet, n)
    return {
        "rows": len(bench.records),
        "trained_on": bench.train,
        "quiet_runs": quiet,
        "quiet_requests": n,
        "claimed": claimed,
        "claimed_by": by_check,
        "planted": lines,
    }


def timed_ledger() -> dict:
    """Write 100,000 decisions into a ledger, and time the command on it."""
    records = simulated_records(20_000)
    records = records.select_models(records.complete_models())
    with tempfile.TemporaryDirectory() as folder:
        router = Router.fit(records.take(range(2000)))
        router.save(Path(folder) / "router")
        rng = np.random.default_rng(0)
        rows = np.concatenate([rng.permutation(np.arange(2000, len(records))) for _ in range(6)])[:100_000]
        url = f"sqlite:///{folder}/ledger.db"
        asyncio.run(write_history(url, router, records.take(rows), Course(feedback=0.02)))
        arguments = ["drift", "--ledger", url, "--router", f"{folder}/router", "--all-routers", "--json"]
        started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-m", "avengers_pro", *arguments], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found = json.loads(done.stdout)
        return {
            "requests": found["requests"],
            "drift": found["drift"],
            "seconds": time.perf_counter() - started,
            "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            "megabytes": after.ru_maxrss / 1024,
        }


def say(text: str) -> None:
    """Show where we are."""
    print(text, file=sys.stderr, flush=True)


def page(measured: dict, timed: dict | None) -> str:
    """Return the results as Markdown."""
    lines = ["# Drift: what is found, and what is claimed", "", f"{about()}.", ""]
    lines += ["Found = by the check of its own, in so many of the runs; a run = other rows, ten routers in turn.", ""]
    if timed is not None:
        taken = f"{timed['seconds']:.1f} s, of CPU {timed['cpu_seconds']:.1f} s, {timed['megabytes']:.0f} MB"
        lines += [f"The command on {timed['requests']:,} decisions in SQLite: {taken}; drift: {timed['drift']}.", ""]
    for name, one in measured.items():
        by_check = ", ".join(f"{check} {count}" for check, count in one["claimed_by"].items()) or "none"
        claim = f"**Drift is claimed in {one['claimed']} of {one['quiet_runs']} quiet runs** (by check: {by_check})"
        traffic = f"{one['quiet_requests']} requests each, 30 % of them with feedback"
        lines += [f"## {name}", "", f"Routers of {one['trained_on']} rows. {claim} of {traffic}.", ""]
        if not one["planted"]:
            continue
        heads = " | ".join(f"{n} requests" for n in SIZES)
        lines += [f"| check | planted | {heads} |", f"|---|---|{'--:|' * len(SIZES)}"]
        for line in one["planted"]:
            cells = [f"{found['own']}/{found['runs']}" for found in line["found"]]
            cells += ["-"] * (len(SIZES) - len(cells))
            lines.append(f"| {line['check']} | {line['planted']} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def option(name: str, default: int) -> int:
    """Return a number from the command line."""
    return int(sys.argv[sys.argv.index(name) + 1]) if name in sys.argv else default


def main() -> None:
    """Measure."""
    quiet, runs = option("--quiet", 100), option("--runs", 10)
    paths = [Path(argument) for argument in sys.argv[1:] if argument.endswith((".jsonl", ".gz", ".parquet"))]
    pool = Bench("simulated", simulated_records(12_000), 2000, 2000)
    measured = {"simulated pool": measure(pool, quiet, planted(pool, runs))}
    for path in paths:
        table = read_records(path).records
        name = path.name.split(".")[0]
        measured[name] = measure(Bench(name, table, len(table) // 2, len(table) // 3), quiet, [])
    timed = timed_ledger() if "--ledger" in sys.argv else None
    text = page(measured, timed)
    (RESULTS / "drift.md").write_text(text, encoding="utf-8")
    content = {"machine": about(), "measured": measured, "ledger": timed}
    (RESULTS / "drift.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
