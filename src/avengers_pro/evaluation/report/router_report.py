"""What is in a router, as one HTML page or as Markdown."""

from typing import TYPE_CHECKING

from avengers_pro.evaluation.charts.calibrated import calibrated
from avengers_pro.evaluation.charts.theme import counted, require_altair
from avengers_pro.evaluation.report import markup, router_facts
from avengers_pro.evaluation.report.document import (
    Document,
    basis_line,
    bullets,
    details,
    figure,
    note_line,
    paragraph,
    table,
    terms,
    tiles,
    verdict_heading,
)
from avengers_pro.evaluation.report.router_facts import Kind
from avengers_pro.evaluation.report.tables import Table
from avengers_pro.routing import Router

if TYPE_CHECKING:
    import altair as alt

_ON_PAGE, _IN_MARKDOWN = 30, 12
"""Kinds of query shown at first."""
_STEPS = 50
EXPECTS = (
    "Read off the training queries, each expected without itself, so it is honest about noise but says nothing about "
    "other traffic. Held-out evidence comes from avengers-pro evaluate."
)
KINDS = (
    "Clusters of training queries, the largest first, with the model that most queries of the kind are sent to. In "
    "brackets: its mean score there, and the share of the kind's queries that it gets."
)
_SENT = "Kinds of query and the models chosen for them"


def router_html(router: Router, *, source: str = "", note: str = "", quoting: bool = True) -> str:
    """Tell what a router was fitted on, which models it has and what it expects, in figures and tables.

    Args:
        router: It is not asked to embed anything.
        source: Where it was read from.
        note: Said at the top and in the figure, for example "simulated data".
        quoting: Whether training queries kept in the router may be quoted.

    Returns:
        A page that loads nothing from anywhere and runs no script.

    Raises:
        MissingExtraError: If altair or vl-convert is not installed.
    """
    require_altair()
    found = router_facts.kinds(router, quoting=quoting)
    page = Document(router_facts.headline(router))
    page.section("fitted", "What it was fitted on", [terms(router_facts.facts(router))])
    page.section("models", "Its models", [table(router_facts.models(router))])
    page.section("frontier", "What it expects", _frontier(router, note))
    page.section("kinds", "Kinds of query", _kinds(found))
    page.section("guards", "When it does not trust itself", [bullets(router_facts.guards(router))])
    page.section("lineage", "Lineage", [table(router_facts.lineage(router))])
    header = verdict_heading(router_facts.headline(router), "plain") + paragraph(
        router_facts.summary(router), "verdict"
    )
    header += (
        note_line(note)
        + (basis_line(f"Read from {source}.") if source else "")
        + tiles(router_facts.key_figures(router))
    )
    return page.render(header)


def router_chart(router: Router, note: str = "") -> "alt.VConcatChart | None":
    """Draw what the router expects at each alpha beside its models; None without a calibration or costs.

    Raises:
        MissingExtraError: If altair is not installed.
    """
    found = router_facts.calibration(router)
    if found is None or found.reference_cost <= 0:
        return None
    curve = {step / _STEPS: router_facts.at_alpha(found, step / _STEPS) for step in range(_STEPS + 1)}
    single = {
        fact.name: (fact.mean_cost, fact.mean_score)
        for fact in router.facts
        if fact.mean_cost is not None and fact.mean_score is not None
    }
    return calibrated(curve, single, router.best_single, note)


def _frontier(router: Router, note: str) -> list[str]:
    found = router_facts.calibration(router)
    if found is None:
        return [paragraph(f"{router.method.name} keeps no calibration: avengers-pro evaluate says what it does.")]
    chart = router_chart(router, note)
    drawn = [] if chart is None else [figure("calibrated", lambda: chart, "Score against cost, as expected.")]
    return [paragraph(EXPECTS), *drawn, table(router_facts.frontier(found))]


def _kinds(found: list[Kind]) -> list[str]:
    if not found:
        return [paragraph("This method tells no kinds of query apart.")]
    parts = [paragraph(KINDS), table(_kinds_table(found[:_ON_PAGE]))]
    rest = found[_ON_PAGE:]
    if rest:
        parts.append(details(f"The other {counted(len(rest), 'kind')}", table(_kinds_table(rest))))
    return parts


def _kinds_table(found: list[Kind]) -> Table:
    return router_facts.kinds_table(found, _SENT)


def router_markdown(
    router: Router, *, figure_path: str | None = None, source: str = "", note: str = "", quoting: bool = True
) -> str:
    """Tell the same as Markdown, with the largest kinds of query only.

    Args:
        router: It is not asked to embed anything.
        figure_path: Path or address of the drawing of ``router_chart``; None = none.
        source: Where it was read from.
        note: Said at the top, for example "simulated data".
        quoting: Whether training queries kept in the router may be quoted.
    """
    found = router_facts.kinds(router, quoting=quoting)
    parts = [f"# {markup.inline(router_facts.headline(router))}", markup.line(router_facts.summary(router))]
    parts += [f"> **Note: {markup.inline(note)}**"] if note else []
    parts += [markup.line(f"Read from {source}.")] if source else []
    parts += ["## What it was fitted on", markup.facts(router_facts.facts(router))]
    parts += ["## Its models", markup.table(router_facts.models(router))]
    expected = router_facts.calibration(router)
    if expected is not None:
        drawn = [] if figure_path is None else [markup.picture("Score against cost, as expected", figure_path)]
        parts += ["## What it expects", EXPECTS, *drawn, markup.table(router_facts.frontier(expected))]
    if found:
        parts += ["## Kinds of query", KINDS, markup.table(_kinds_table(found[:_IN_MARKDOWN]))]
        rest = len(found) - _IN_MARKDOWN
        parts += [f"Left out here, but on the HTML page: {counted(rest, 'smaller kind')}."] if rest > 0 else []
    parts += ["## When it does not trust itself", markup.bullets(markup.inline(x) for x in router_facts.guards(router))]
    parts += ["## Lineage", markup.table(router_facts.lineage(router))]
    return "\n\n".join(parts) + "\n"
