"""How far off-policy comparisons can be trusted, and what they can tell: a simulation whose truth is known.

    python benchmarks/off_policy.py [--runs 200]

Writes benchmarks/results/off_policy.{json,md}. Simulated: queries, scores and costs of the demo's pool (12 models that
are known on every query); a router fitted on 700 of them is in use; requests are drawn with replacement from 3,000
others, so that the value of any policy is its mean over those. One request in ten gets feedback.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avengers_pro.demo.history import simulated_records
from avengers_pro.learning.contrast import Contrast
from avengers_pro.learning.off_policy import ESTIMATORS, Logged, Target
from avengers_pro.learning.switch import COST, COST_MARGIN, MARGIN, SCORE
from avengers_pro.routing import Policy, Router
from machine import about

RESULTS = Path(__file__).parent / "results"
FEEDBACK = 0.1
SIZES = (5000, 20_000)
MOVED = 0.3
"""Share of the queries on which a planted policy differs."""


@dataclass(frozen=True)
class Exploring:
    """How the log explores: with this rate one of (queries, models) open choices is drawn, each alike."""

    name: str
    rate: float
    open: np.ndarray


@dataclass(frozen=True)
class Scenario:
    """(queries, models) truth and expectations, and two policies as (queries,) columns."""

    name: str
    scores: np.ndarray
    costs: np.ndarray
    expected: np.ndarray
    expected_costs: np.ndarray
    a: np.ndarray
    b: np.ndarray

    def value(self, policy: np.ndarray, table: np.ndarray) -> float:
        """Return the true mean of a policy."""
        return float(table[np.arange(len(table)), policy].mean())


def scenarios() -> list[Scenario]:
    """Plant what is worse, better and equal; and a router fitted on fewer records, as it comes."""
    table = simulated_records(3700, seed=11)
    table = table.select_models(table.complete_models())
    train, rest = table.take(range(700)), table.take(range(700, 3700))
    router, rng = Router.fit(train), np.random.default_rng(1)
    vectors, policy = router.embed(rest.queries), Policy(alpha=0.7)
    a = router.route_vectors(vectors, policy)
    decisions = list(router.iter_decisions(vectors, policy))
    told = np.array([[decision.expectation(name) for name in router.models] for decision in decisions])
    expected, expected_costs = told[:, :, 0], told[:, :, 1]
    rows = np.arange(len(a))
    moved = rng.random(len(a)) < MOVED
    weak = np.where(moved, rest.models.index("intern/intern-s1"), a)
    equal = np.where(moved, (a + 1 + rng.integers(0, len(rest.models) - 1, len(a))) % len(rest.models), a)
    levelled = rest.scores.copy()
    levelled[rows[moved], equal[moved]] = rng.permutation(levelled[rows[moved], a[moved]])
    fewer = Router.fit(train.take(range(150))).route_vectors(vectors, policy)

    def scenario(name, first, second, scores=rest.scores):
        return Scenario(name, scores, rest.costs, expected, expected_costs, first, second)

    return [
        scenario("planted worse", a, weak),
        scenario("planted better", weak, a),
        scenario("planted equal", a, equal, levelled),
        scenario("fitted on 150 instead of 700", a, fewer),
    ]


def explorings(of: Scenario) -> list[Exploring]:
    """All models open at two rates; and, as a gateway that is set to near ties, the three of highest expectation."""
    everything = np.ones(of.scores.shape, dtype=bool)
    third = np.sort(of.expected, axis=1)[:, -3][:, None]
    return [
        Exploring("all 12 models, 10 %", 0.1, everything),
        Exploring("all 12 models, 30 %", 0.3, everything),
        Exploring("the 3 best and both choices, 30 %", 0.3, of.expected >= third),
    ]


def contrasts(of: Scenario, how: Exploring, n: int, seed: int) -> tuple[Contrast, Contrast]:
    """Simulate n requests; return what is known of score and cost."""
    rng = np.random.default_rng(seed)
    row = rng.integers(0, len(of.a), n)
    opened = how.open.copy()
    every = np.arange(len(opened))
    opened[every, of.a] = opened[every, of.b] = True
    chances = how.rate * opened / opened.sum(axis=1, keepdims=True)
    chances[every, of.a] += 1 - how.rate
    chosen = (rng.random((n, 1)) > chances.cumsum(axis=1)[row]).sum(axis=1).clip(max=chances.shape[1] - 1)
    scores = np.where(rng.random(n) < FEEDBACK, of.scores[row, chosen], np.nan)
    found = []
    for rewards, direct in ((scores, of.expected), (of.costs[row, chosen], of.expected_costs)):
        logged = Logged(chosen, chances[row, chosen], rewards, direct[row, chosen])
        targets = [Target(policy[row], direct[row, policy[row]]) for policy in (of.b, of.a)]
        found.append(Contrast(logged, *targets))
    return found[0], found[1]


def measure(of: Scenario, how: Exploring, n: int, runs: int) -> dict[str, object]:
    """Compare many times; return bias, width and coverage, and how often each verdict was drawn."""
    value_b = of.value(of.b, of.scores)
    truth = value_b - of.value(of.a, of.scores)
    ratio = of.value(of.b, of.costs) / of.value(of.a, of.costs) - 1
    differences, values, covered_cost, sizes, outcomes, costs = [], [], 0, [], [], []
    for seed in range(runs):
        score, cost = contrasts(of, how, n, seed)
        differences.append([(one.value, one.standard_error) for one in score.difference().values()])
        values.append([(one.value, one.standard_error) for one in score.values()[0].values()])
        low, high = cost.difference(as_ratio=True)["dr"].interval
        covered_cost += low <= ratio <= high
        sizes.append(score.sizes[0])
        outcomes.append(score.change(SCORE, MARGIN).outcome)
        costs.append(cost.change(COST, COST_MARGIN).outcome)
    found: dict[str, object] = {
        "scenario": of.name,
        "exploration": how.name,
        "requests": n,
        "truth": truth,
        "effective_size": float(np.median(sizes)),
        "outcomes": {name: outcomes.count(name) / runs for name in ("better", "not worse", "worse", "cannot tell")},
        "cost_truth": ratio,
        "cost_covered": covered_cost / runs,
        "cost_told": 1 - costs.count("cannot tell") / runs,
    }
    for place, name in enumerate(ESTIMATORS):
        for what, drawn, true in (("difference", differences, truth), ("value", values, value_b)):
            mean, error = np.array(drawn)[:, place].T
            half = 1.96 * error
            found[f"{name} {what}"] = {
                "bias": float(np.nanmean(mean) - true),
                "half_width": float(np.nanmean(half)),
                "covered": float(np.mean(np.abs(mean - true) <= half)),
            }
    return found


def page(measured: list[dict], runs: int) -> str:
    """Return the results as Markdown."""
    lines = [
        "# Off-policy comparison on simulated traffic",
        "",
        f"{about()}.",
        "",
        f"Simulated data of the demo's pool, 12 models; {runs} runs each; feedback on one request in ten.",
        f"The margin is {100 * MARGIN:g} point of score; points are hundredths of the score.",
        "",
        "## What is concluded (doubly robust, B against A; share of runs)",
        "",
        "| B is | truth | exploration | requests | effective size | better | not worse | worse | cannot tell |",
        "|---|--:|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in measured:
        shares = " | ".join(f"{100 * share:.0f} %" for share in row["outcomes"].values())
        lines.append(
            f"| {row['scenario']} | {100 * row['truth']:+.1f} | {row['exploration']} | {row['requests']:,} "
            f"| {row['effective_size']:.0f} | {shares} |"
        )
    for what, title in (("difference", "B against A"), ("value", "The value of B alone")):
        lines += [
            "",
            f"## {title}: bias, half the 95 % interval (points), and how often it covers the truth",
            "",
            "| B is | exploration | requests | IPS | | | SNIPS | | | DR | | |",
            "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        ]
        for row in measured:
            cells = [row[f"{name} {what}"] for name in ESTIMATORS]
            text = " | ".join(
                f"{100 * one['bias']:+.1f} | {100 * one['half_width']:.1f} | {100 * one['covered']:.0f} %"
                for one in cells
            )
            lines.append(f"| {row['scenario']} | {row['exploration']} | {row['requests']:,} | {text} |")
    lines += [
        "",
        "## Cost (its outcome is known on every request): how often DR covers the true ratio, and tells",
        "",
        "| B is | true ratio less 1 | exploration | requests | covered | told |",
        "|---|--:|---|--:|--:|--:|",
    ]
    lines += [
        f"| {row['scenario']} | {100 * row['cost_truth']:+.0f} % | {row['exploration']} | {row['requests']:,} "
        f"| {100 * row['cost_covered']:.0f} % | {100 * row['cost_told']:.0f} % |"
        for row in measured
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure every scenario."""
    runs = int(sys.argv[sys.argv.index("--runs") + 1]) if "--runs" in sys.argv else 200
    measured = []
    for of in scenarios():
        for how in explorings(of):
            for n in SIZES:
                measured.append(measure(of, how, n, runs))
                last = measured[-1]
                print(of.name, how.name, n, last["outcomes"], last["dr difference"], file=sys.stderr)
    text = page(measured, runs)
    (RESULTS / "off_policy.md").write_text(text, encoding="utf-8")
    (RESULTS / "off_policy.json").write_text(json.dumps({"machine": about(), "measured": measured}, indent=1) + "\n")
    print(text)


if __name__ == "__main__":
    main()
