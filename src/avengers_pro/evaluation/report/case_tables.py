"""Wins and losses as sentences and tables."""

from avengers_pro.evaluation.report.cases import Case, Cases, total
from avengers_pro.evaluation.report.numbers import change, dollars, percent
from avengers_pro.evaluation.report.tables import COST, GOALS, Table

_RULE = (
    "Examples of both sides are chosen by one rule: the widest gap in score, then the most saved; one of each dataset "
    "before a second of any. A single answer may owe its score to luck: judge by the table, not by the examples."
)


def summary(cases: Cases) -> list[str]:
    """Say how often routing wins and loses, and how the examples were chosen."""
    count = total(cases.tallies)
    tested = count.better + count.same + count.worse
    knob = "" if cases.alpha is None else f", alpha {cases.alpha:.2f}"
    counted = (
        f"On the {tested:,} test queries of the split with seed {cases.seed}, at the setting for "
        f"{GOALS.get(cases.goal, cases.goal)}{knob}, the answer of the model that {cases.method} chose scored better "
        f"than that of {cases.reference} on {count.better:,}, the same on {count.same:,} and worse on {count.worse:,}."
    )
    return [counted, _RULE]


def by_dataset(cases: Cases) -> Table:
    """Return wins and losses of each dataset, and of all."""
    rows = [
        (t.dataset, *(f"{count:,}" for count in (t.better, t.same, t.worse)), change(t.cost_change))
        for t in (*cases.tallies, total(cases.tallies))
    ]
    return Table(
        f"Test queries on which the routed answer scored better, the same or worse than {cases.reference}",
        ("Dataset", "Better", "Same", "Worse", "Cost change"),
        rows,
    )


def examples(cases: Cases) -> list[tuple[str, Table]]:
    """Return the example queries of each kind that has some, with their heading."""
    kinds = [
        ("It wins: a better answer", cases.wins),
        ("It loses: a worse answer", cases.losses),
        ("It saves: the same score for less", cases.savings),
    ]
    return [(title, _cases(found, cases.reference)) for title, found in kinds if found]


def _cases(found: tuple[Case, ...], reference: str) -> Table:
    rows = [
        (
            case.query,
            case.dataset,
            case.model,
            f"{percent(case.score, 0)} / {percent(case.single_score, 0)}",
            f"{dollars(1000 * case.cost_usd)} / {dollars(1000 * case.single_cost_usd)}",
        )
        for case in found
    ]
    return Table(
        f"Scores and costs: of the model routed to / of {reference}",
        ("Query", "Dataset", "Routed to", "Score, %", COST + " like it"),
        rows,
        words=frozenset({0, 1, 2}),
        texts=frozenset({0}),
    )
