"""What comparisons of routers look like on the terminal."""

from typing import TYPE_CHECKING

import click

from avengers_pro.cli.console import dollars, percent, print_table
from avengers_pro.learning.compare import Comparison, Expected, Flip
from avengers_pro.learning.off_policy import ESTIMATORS
from avengers_pro.learning.switch import COST, SCORE, Change, sentence

if TYPE_CHECKING:
    from avengers_pro.learning.compare_traffic import Judged, TrafficComparison

_NAMES = {"ips": "IPS", "snips": "SNIPS", "dr": "doubly robust"}
_SHOWN_CHARS = 110


def show(found: "Comparison | TrafficComparison") -> None:
    """Print a comparison: what was compared, the tables and, last, the verdict."""
    if isinstance(found, Comparison):
        _show_records(found)
    else:
        _show_traffic(found)
    click.echo(f"\nA = {found.a.name}, B = {found.b.name}; 95 % intervals")
    click.echo(f"  {sentence(found.score)}\n  {sentence(found.cost)}")


def _show_records(found: Comparison) -> None:
    a, b = found.a, found.b
    click.echo(
        f"{found.queries} held-out queries under {found.policy}; {a.name} and {b.name} choose differently on "
        f"{found.flipped} ({percent(found.flipped / found.queries)})"
    )
    for line in _overlap(found):
        click.echo(line)
    for side in (a, b):
        if side.unobserved:
            total = sum(side.unobserved.values())
            models = ", ".join(f"{model} {count}" for model, count in side.unobserved.items())
            click.echo(f"{side.name}: the score of its choice was not observed on {total} queries ({models})")
        if side.refused:
            click.echo(f"{side.name}: no model met the policy on {side.refused} queries; they score 0 and cost 0")
    if found.unknown:
        click.echo(
            f"{found.unknown} queries have no difference in score: the choices differ and one was not observed. They "
            "are left out, not counted as 0; where both choose the same model the difference is 0, observed or not"
        )
    click.echo()
    print_table("Both together", _HEADS, [_row("all", found.queries, found.flipped, found.score, found.cost)])
    click.echo()
    print_table(
        "By dataset, largest gain of B first (intervals are not corrected for the number of datasets)",
        _HEADS,
        [_row(one.dataset, one.queries, one.flipped, one.score, one.cost) for one in found.datasets],
    )
    click.echo()
    _print_shares(a.name, a.shares, b.name, b.shares)
    if found.flips:
        click.echo(f"\n{len(found.flips)} of the {found.flipped} queries that move, drawn at random")
    for flip in found.flips:
        _print_flip(flip)


_HEADS = ("", "queries", "moved", "score A", "score B", "difference", "95 %", "per 1k A", "per 1k B", "change", "95 %")


def _row(name: str, queries: int, moved: int, score: Change, cost: Change) -> list[str]:
    per_thousand = [None if value is None else 1000 * value for value in (cost.a, cost.b)]
    return [
        name,
        str(queries),
        str(moved),
        *("-" if value is None else f"{value:.3f}" for value in (score.a, score.b)),
        *_difference(score),
        *map(dollars, per_thousand),
        *_difference(cost),
    ]


def _difference(change: Change) -> tuple[str, str]:
    """Return difference and interval: points of score, or percent of cost."""
    if change.difference is None or change.interval is None:
        return "-", "-"
    low, high = (100 * end for end in change.interval)
    unit, digits = ("", 2) if change.measure == SCORE else ("%", 1)
    return (
        f"{100 * change.difference:+.{digits}f}{unit}",
        f"{low:+.{digits}f} to {high:+.{digits}f}",
    )


def _print_shares(name_a: str, shares_a: dict[str, float], name_b: str, shares_b: dict[str, float]) -> None:
    models = sorted({*shares_a, *shares_b}, key=lambda model: -max(shares_a.get(model, 0), shares_b.get(model, 0)))
    print_table(
        "Where queries go",
        ["model", name_a, name_b],
        [[model, percent(shares_a.get(model, 0.0)), percent(shares_b.get(model, 0.0))] for model in models],
    )


def _print_flip(flip: Flip) -> None:
    text = " ".join(flip.query.split())
    click.echo(f"\n  [{flip.dataset}] {text[:_SHOWN_CHARS]}{'...' if len(text) > _SHOWN_CHARS else ''}")
    labels = ("A", "B")
    for place, model in enumerate(flip.models):
        click.echo(
            f"    {labels[place]} {model or 'refuses'}: A expects {_expectation(flip.expected_by_a[place])}, "
            f"B {_expectation(flip.expected_by_b[place])}; observed {_expectation(flip.observed[place])}"
        )


def _expectation(expected: Expected | None) -> str:
    if expected is None:
        return "nothing (does not know it)"
    score = "unknown" if expected.score is None else f"{expected.score:.3f}"
    return f"{score} at {'unknown cost' if expected.cost is None else dollars(expected.cost)}"


def _overlap(found: Comparison) -> list[str]:
    overlap = found.overlap
    lines = [
        f"warning: {name} has learnt from exactly these records: this proves nothing" for name in overlap.same_records
    ]
    lines += [
        f"warning: {count} of these queries are among the few examples that {name} keeps of its training queries"
        for name, count in overlap.examples.items()
        if count and name not in overlap.same_records
    ]
    if overlap.checked:
        lines.append(f"{overlap.dropped} queries left out, because they are in the training records given")
    elif not lines:
        lines.append(
            "whether these queries were trained on cannot be seen: a router keeps a fingerprint of its records and a "
            "few examples, not its queries. --trained-on FILE checks them"
        )
    return lines


def _show_traffic(found: "TrafficComparison") -> None:
    click.echo(
        f"{found.rows} of {found.requests} requests judged, {found.rated} with feedback, {found.priced} of known cost; "
        f"{found.b.name} chooses otherwise than {found.a.name} on {percent(found.flipped)}"
    )
    for why, count in found.left_out.items():
        click.echo(f"left out: {count} ({why})")
    for line in found.warnings:
        click.echo(f"warning: {line}")
    for measure, title in ((SCORE, "Score, in [0, 1]"), (COST, "US dollars per 1k requests")):
        click.echo()
        scale = 1 if measure == SCORE else 1000
        print_table(
            title,
            ["estimator", found.a.name, "95 %", found.b.name, "95 %", "B against A", "95 %"],
            [
                [
                    _NAMES[name],
                    *_with_interval(getattr(found.a, measure)[name], scale, dollar=measure == COST),
                    *_with_interval(getattr(found.b, measure)[name], scale, dollar=measure == COST),
                    *_with_interval(found.by_estimator[measure][name], 100, signed="" if measure == SCORE else "%"),
                ]
                for name in ESTIMATORS
            ],
        )
    click.echo()
    print_table(
        "What the log has seen of them",
        ["", "matched", "effective, where they differ", "no chance"],
        [_support(side) for side in (found.a, found.b)],
    )
    click.echo()
    _print_shares(found.a.name, found.a.shares, found.b.name, found.b.shares)
    click.echo("\nThis assumes")
    for line in found.assumptions:
        click.echo(f"  - {line}")


def _with_interval(
    found: tuple[float, float, float] | None, scale: float, *, dollar: bool = False, signed: str | None = None
) -> tuple[str, str]:
    if found is None:
        return "-", "-"
    value, low, high = (scale * one for one in found)
    if signed is not None:
        return f"{value:+.2f}{signed}", f"{low:+.2f} to {high:+.2f}"
    if dollar:
        return dollars(value), f"{dollars(low)} to {dollars(high)}"
    return f"{value:.3f}", f"{low:.3f} to {high:.3f}"


def _support(side: "Judged") -> list[str]:
    size = "-" if side.effective_size is None else f"{side.effective_size:.1f}"
    return [side.name, str(side.matched), size, percent(side.unsupported)]
