"""The report as one HTML page that opens offline, with live figures."""

from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avengers_pro.evaluation import charts
from avengers_pro.evaluation.charts import ProfileRow
from avengers_pro.evaluation.charts.saving import POLICY, embedding, runtime, specification
from avengers_pro.evaluation.charts.theme import basis, require_altair
from avengers_pro.evaluation.report import story, tables
from avengers_pro.evaluation.report.tables import Table
from avengers_pro.evaluation.results import Evaluation

if TYPE_CHECKING:
    import altair as alt

_STYLE = Path(__file__).with_name("page.css")
_OPEN_BEFORE_PRINT = (
    'addEventListener("beforeprint", () => document.querySelectorAll("main > section > details")'
    ".forEach(part => { part.open = true; }));\n"
)


def html_report(evaluation: Evaluation, profile_rows: Sequence[ProfileRow] = ()) -> str:
    """Tell what was found, verdict first, in figures and tables.

    Args:
        evaluation: Its numbers.
        profile_rows: Clusters of a router fitted on the records, to be drawn as well.

    Returns:
        A page that loads nothing from anywhere; its policy forbids it to.

    Raises:
        MissingExtraError: If altair or vl-convert is not installed.
    """
    require_altair()
    page = _Page(evaluation)
    sections = [
        *_what_was_found(page),
        page.section("datasets", "Where it helps", _datasets(page)),
        page.section("shares", "Which models it chooses", _shares(page)),
        *([page.section("clusters", "What the router learned", _clusters(page, profile_rows))] if profile_rows else []),
        page.section("paired", "Paired differences", [_p(story.PAIRED), _table(tables.paired_differences(evaluation))]),
        page.section("metrics", "All metrics", _metrics(evaluation)),
        page.section("measured", "How it was measured", _measured(evaluation)),
    ]
    return page.render(sections)


class _Page:
    """Collects the figures and headings of a page."""

    def __init__(self, evaluation: Evaluation) -> None:
        """Start an empty page."""
        self.evaluation = evaluation
        self._figures: dict[str, dict[str, Any]] = {}
        self._headings: dict[str, str] = {}

    def section(self, key: str, heading: str, parts: Iterable[str]) -> str:
        """Set a section."""
        self._headings[key] = heading
        return f'<section id="{key}">\n<h2>{escape(heading)}</h2>\n{"".join(parts)}</section>\n'

    def figure(self, key: str, draw: "Callable[[], alt.VConcatChart]", caption: str) -> str:
        """Set a figure; its data go into the script at the end of the page."""
        self._figures[f"figure-{key}"] = specification(draw())
        return (
            f'<figure>\n<div class="card"><div class="chart" id="figure-{key}"></div></div>\n'
            f'<figcaption>{escape(caption)} <span class="narrow">Swipe sideways to see all of it.</span>'
            "</figcaption>\n</figure>\n"
        )

    def render(self, sections: Iterable[str]) -> str:
        """Return the page."""
        body = "".join(sections)
        links = "".join(f'<li><a href="#{key}">{escape(name)}</a></li>' for key, name in self._headings.items())
        verdict, records = self.evaluation.verdict, self.evaluation.records
        note = f'<p class="note">Note: {escape(records.note)}</p>\n' if records.note else ""
        outcome = {"beats": "beats", "matches": "matches"}.get(verdict.outcome, "behind")
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'{POLICY}\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(story.headline(self.evaluation))}</title>\n"
            f"<style>\n{_STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n<header>\n"
            f'<h1 class="{outcome}">{escape(verdict.text)}</h1>\n{note}'
            f'<p class="basis">{escape(basis(self.evaluation))}</p>\n'
            f'<nav aria-label="Contents"><ul>{links}</ul></nav>\n'
            "<noscript><p>The figures need JavaScript; their numbers are in the tables as well.</p></noscript>\n"
            f"</header>\n<main>\n{body}</main>\n"
            "<footer><p>Made by avengers-pro. This page loads nothing from the network.</p></footer>\n"
            f"<script>{runtime()}</script>\n<script>\n{embedding(self._figures)}{_OPEN_BEFORE_PRINT}</script>\n"
            "</body>\n</html>\n"
        )


def _what_was_found(page: _Page) -> list[str]:
    evaluation = page.evaluation
    frontier = page.figure("frontier", lambda: charts.frontier(evaluation), "Point at a mark for its numbers.")
    models = _details("Every single model as a table", _table(tables.single_models(evaluation)))
    saves = [_p(story.SAVES), _table(tables.operating_points(evaluation))]
    found = [
        page.section("frontier", "Score against cost", [_p(story.COST_OR_SCORE), frontier, models]),
        page.section("saves", "What it saves", saves),
    ]
    if any(len(result.mean.curve) > 1 for result in evaluation.methods.values()):
        figure = page.figure(
            "alpha", lambda: charts.score_and_cost_by_alpha(evaluation), "Test splits; point at a line for its numbers."
        )
        found.append(page.section("alpha", "What the knob does", [_p(story.KNOB), figure]))
    return found


def _datasets(page: _Page) -> list[str]:
    figure = page.figure("datasets", lambda: charts.by_dataset(page.evaluation), "In brackets: rows of the dataset.")
    return [_p(story.DATASETS), figure, _details("The same as a table", _table(tables.by_dataset(page.evaluation)))]


def _shares(page: _Page) -> list[str]:
    figure = page.figure("shares", lambda: charts.shares_by_alpha(page.evaluation), "Mean over test splits.")
    return [_p(story.SHARES), figure, _table(tables.shares(page.evaluation))]


def _clusters(page: _Page, rows: Sequence[ProfileRow]) -> list[str]:
    note = page.evaluation.records.note
    figure = page.figure("clusters", lambda: charts.profile(rows, note), "Point at a cell for its example query.")
    return [_p(story.CLUSTERS), figure]


def _metrics(evaluation: Evaluation) -> list[str]:
    terms = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>\n" for name, text in tables.meanings(evaluation))
    meanings = f"<h3>What they mean</h3>\n<dl>\n{terms}</dl>\n"
    return [_p(story.METRICS), _table(tables.all_metrics(evaluation)), meanings]


def _measured(evaluation: Evaluation) -> list[str]:
    facts = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>\n" for name, value in story.records_facts(evaluation)
    )
    return [
        f"<h3>Records</h3>\n<dl>\n{facts}</dl>\n",
        f"<h3>Protocol</h3>\n{_list(story.protocol_facts(evaluation))}",
        _table(tables.splits(evaluation)),
        _table(tables.settings(evaluation)),
        f"<h3>What these numbers do not say</h3>\n{_list(story.limits(evaluation))}",
    ]


def _p(text: str) -> str:
    return f"<p>{escape(text)}</p>\n"


def _list(lines: Iterable[str]) -> str:
    return f"<ul>\n{''.join(f'<li>{escape(line)}</li>{chr(10)}' for line in lines)}</ul>\n"


def _details(summary: str, content: str) -> str:
    return f"<details>\n<summary>{escape(summary)}</summary>\n{content}</details>\n"


def _table(table: Table) -> str:
    head = "".join(_cell("th", name, column, table, ' scope="col"') for column, name in enumerate(table.header))
    rows = []
    for row in table.rows:
        cells = [
            _cell("td" if column else "th", text, column, table, "" if column else ' scope="row"')
            for column, text in enumerate(row)
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>\n")
    caption = escape(table.caption)
    return (
        f'<div class="table" role="region" aria-label="{caption}" tabindex="0">\n<table>\n'
        f"<caption><span>{caption}</span></caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{''.join(rows)}</tbody>\n"
        "</table>\n</div>\n"
    )


def _cell(tag: str, text: str, column: int, table: Table, scope: str) -> str:
    kind = "word" if column in table.words else "number"
    return f'<{tag} class="{kind}"{scope}>{escape(text)}</{tag}>'
