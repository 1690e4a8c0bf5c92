"""The evaluation report as short Markdown for a pull request; needs nothing but this package."""

from collections.abc import Mapping

from avengers_pro.evaluation.report import case_tables, story, tables
from avengers_pro.evaluation.report.cases import Cases
from avengers_pro.evaluation.report.markup import bullets, facts, inline, line, picture, table
from avengers_pro.evaluation.results import Evaluation

_PICTURES = {
    "frontier": "Score against cost of methods and single models",
    "datasets": "Mean score by dataset",
    "shares": "Share of queries sent to each model, by alpha",
}


def markdown_report(
    evaluation: Evaluation, figures: Mapping[str, str] | None = None, cases: Cases | None = None
) -> str:
    """Tell what was found, verdict first, in the order of the page and with its main tables.

    Args:
        evaluation: Its numbers.
        figures: Paths or addresses of the figures ``frontier``, ``datasets`` and ``shares``, as far as there are any.
        cases: Queries on which routing wins and loses, to be quoted.
    """
    drawn = figures or {}
    note = evaluation.records.note
    parts = [line(evaluation.verdict.text)]
    if note:
        parts.append(f"> **Note: {inline(note)}**")
    parts += ["# Is routing worth it on these records?", "## Score against cost"]
    parts += [*_figure(evaluation, drawn, "frontier"), story.COST_OR_SCORE, table(tables.single_models(evaluation))]
    parts += ["## What it saves", *(line(text) for text in story.bill(evaluation))]
    parts += [table(tables.operating_points(evaluation)), story.SAVES]
    parts += ["## Dataset by dataset", *_figure(evaluation, drawn, "datasets"), table(tables.by_dataset(evaluation))]
    parts += ["## Which models it chooses", table(tables.shares(evaluation)), *_figure(evaluation, drawn, "shares")]
    if cases is not None:
        parts += ["## Where routing wins and loses", *_cases(cases)]
    parts += ["## How sure this is", story.PAIRED, table(tables.paired_differences(evaluation))]
    parts += ["### What these numbers do not say", bullets(inline(text) for text in story.limits(evaluation))]
    parts += ["## How it was measured", facts(story.records_facts(evaluation))]
    parts.append(bullets(inline(text) for text in story.protocol_facts(evaluation)))
    return "\n\n".join(parts) + "\n"


def _figure(evaluation: Evaluation, drawn: Mapping[str, str], key: str) -> list[str]:
    if key not in drawn:
        return []
    note = evaluation.records.note
    return [picture(_PICTURES[key], drawn[key]), *([f"*Note: {inline(note)}*"] if note else [])]


def _cases(cases: Cases) -> list[str]:
    parts = [line(text) for text in case_tables.summary(cases)]
    for title, found in case_tables.examples(cases):
        parts += [f"### {title}", table(found)]
    return parts
