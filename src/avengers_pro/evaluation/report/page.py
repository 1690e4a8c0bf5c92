"""The evaluation report as one HTML page: verdict, what it saves, where it wins and loses, and how sure that is."""

from collections.abc import Sequence

from avengers_pro.evaluation import charts
from avengers_pro.evaluation.charts import ProfileRow
from avengers_pro.evaluation.charts.theme import basis, require_altair
from avengers_pro.evaluation.report import case_tables, story, tables
from avengers_pro.evaluation.report.cases import Cases
from avengers_pro.evaluation.report.document import (
    Document,
    basis_line,
    bullets,
    details,
    figure,
    heading,
    note_line,
    paragraph,
    table,
    terms,
    tiles,
    verdict_heading,
)
from avengers_pro.evaluation.results import Evaluation

CLUSTERS_DRAWN = 30
"""As many as fit on a printed page."""


def html_report(evaluation: Evaluation, profile_rows: Sequence[ProfileRow] = (), cases: Cases | None = None) -> str:
    """Tell what was found, verdict first, in figures and tables.

    Args:
        evaluation: Its numbers.
        profile_rows: Clusters of a router fitted on the records, to be drawn as well.
        cases: Queries on which routing wins and loses, to be quoted.

    Returns:
        A page that loads nothing from anywhere and runs no script; its policy forbids it to.

    Raises:
        MissingExtraError: If altair or vl-convert is not installed.
    """
    require_altair()
    page = Document(story.headline(evaluation))
    page.section("frontier", "Score against cost", _frontier(evaluation))
    page.section("saves", "What it saves", _saves(evaluation))
    page.section("datasets", "Dataset by dataset", _datasets(evaluation))
    page.section("shares", "Which models it chooses", _shares(evaluation))
    page.section("cases", "Where routing wins and loses", _cases(evaluation, cases, profile_rows))
    page.section("sure", "How sure this is", _sure(evaluation))
    page.section("measured", "How it was measured", _measured(evaluation))
    return page.render(_header(evaluation))


def _header(evaluation: Evaluation) -> str:
    outcome = {"beats": "beats", "matches": "matches"}.get(evaluation.verdict.outcome, "behind")
    return (
        verdict_heading(story.headline(evaluation), outcome)
        + paragraph(evaluation.verdict.text, "verdict")
        + note_line(evaluation.records.note)
        + basis_line(basis(evaluation))
        + tiles(story.key_figures(evaluation))
    )


def _frontier(evaluation: Evaluation) -> list[str]:
    return [
        paragraph(story.COST_OR_SCORE),
        figure("frontier", lambda: charts.frontier(evaluation), "Score against cost. Point at a mark for its numbers."),
        details("Every single model as a table", table(tables.single_models(evaluation))),
    ]


def _saves(evaluation: Evaluation) -> list[str]:
    parts = [paragraph(line, "lead") for line in story.bill(evaluation)]
    parts += [table(tables.operating_points(evaluation)), paragraph(story.SAVES)]
    if any(len(result.mean.curve) > 1 for result in evaluation.methods.values()):
        drawn = figure("alpha", lambda: charts.score_and_cost_by_alpha(evaluation), "Score and cost by alpha, on test.")
        parts += [heading("What the knob does"), paragraph(story.KNOB), drawn]
    return parts


def _datasets(evaluation: Evaluation) -> list[str]:
    caption = "Mean score by dataset; in brackets: rows of the dataset."
    drawn = figure("datasets", lambda: charts.by_dataset(evaluation), caption)
    return [paragraph(story.DATASETS), drawn, details("The same as a table", table(tables.by_dataset(evaluation)))]


def _shares(evaluation: Evaluation) -> list[str]:
    drawn = figure("shares", lambda: charts.shares_by_alpha(evaluation), "Share of queries by model, on test.")
    return [paragraph(story.SHARES), table(tables.shares(evaluation)), drawn]


def _cases(evaluation: Evaluation, cases: Cases | None, profile_rows: Sequence[ProfileRow]) -> list[str]:
    parts = []
    if cases is not None:
        parts += [paragraph(line) for line in case_tables.summary(cases)]
        parts.append(table(case_tables.by_dataset(cases)))
        for title, found in case_tables.examples(cases):
            parts += [heading(title), table(found)]
    if profile_rows:
        drawn = figure(
            "clusters",
            lambda: charts.profile(profile_rows, evaluation.records.note, CLUSTERS_DRAWN),
            "Score of each model by cluster.",
        )
        parts += [heading("Kinds of query the router tells apart"), paragraph(story.CLUSTERS), drawn]
    return parts


def _sure(evaluation: Evaluation) -> list[str]:
    return [
        paragraph(story.PAIRED),
        table(tables.paired_differences(evaluation)),
        heading("What these numbers do not say"),
        bullets(story.limits(evaluation)),
    ]


def _measured(evaluation: Evaluation) -> list[str]:
    return [
        heading("Records"),
        terms(story.records_facts(evaluation)),
        heading("Protocol"),
        bullets(story.protocol_facts(evaluation)),
        table(tables.splits(evaluation)),
        table(tables.settings(evaluation)),
        heading("All metrics"),
        paragraph(story.METRICS),
        table(tables.all_metrics(evaluation)),
        details("What the metrics mean", terms(tables.meanings(evaluation))),
    ]
