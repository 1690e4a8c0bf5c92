"""The parts of a report page and the shell around them; the page opens offline and runs no script."""

from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from avengers_pro.evaluation.charts.inline_svg import inline_svg
from avengers_pro.evaluation.report.tables import Table

if TYPE_CHECKING:
    import altair as alt

_STYLE = Path(__file__).with_name("page.css")
_SHUT = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


class Document:
    """Collects the sections of a page."""

    def __init__(self, title: str) -> None:
        """Start an empty page; ``title`` is what the browser's tab says."""
        self._title = title
        self._sections: dict[str, str] = {}
        self._body: list[str] = []

    def section(self, key: str, heading: str, parts: Iterable[str]) -> None:
        """Add a section; without parts, none."""
        content = "".join(parts)
        if content:
            self._sections[key] = heading
            self._body.append(f'<section id="{key}">\n<h2>{escape(heading)}</h2>\n{content}</section>\n')

    def render(self, header: str) -> str:
        """Return the page, with a header that is HTML."""
        links = "".join(f'<li><a href="#{key}">{escape(name)}</a></li>' for key, name in self._sections.items())
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{_SHUT}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(self._title)}</title>\n<style>\n{_STYLE.read_text(encoding='utf-8')}</style>\n</head>\n"
            f'<body>\n<a class="skip" href="#content">Skip to the content</a>\n<header>\n{header}'
            f'<nav aria-label="Contents"><ul>{links}</ul></nav>\n</header>\n'
            f'<main id="content">\n{"".join(self._body)}</main>\n'
            "<footer><p>Made by avengers-pro. This page loads nothing from the network and runs no script.</p></footer>"
            "\n</body>\n</html>\n"
        )


def verdict_heading(text: str, outcome: str) -> str:
    """Return the first heading; ``outcome`` is a class of the style sheet."""
    return f'<h1 class="{escape(outcome)}">{escape(text)}</h1>\n'


def note_line(note: str) -> str:
    """Return what the records say of themselves, for example that they are simulated; nothing if it is empty."""
    return f'<p class="note">Note: {escape(note)}</p>\n' if note else ""


def basis_line(text: str) -> str:
    """Return what the numbers rest on."""
    return f'<p class="basis">{escape(text)}</p>\n'


def figure(key: str, draw: "Callable[[], alt.VConcatChart]", caption: str) -> str:
    """Return a figure; pointing at a mark shows its numbers."""
    said = escape(caption)
    return (
        f'<figure>\n<div class="card" role="region" aria-label="Figure: {said}" tabindex="0">{inline_svg(draw(), key)}'
        f'</div>\n<figcaption>{said} <span class="narrow">Swipe sideways to see all of it.</span></figcaption>\n'
        "</figure>\n"
    )


def tiles(rows: Sequence[tuple[str, str, str]]) -> str:
    """Return key figures, each (name, number, what it means)."""
    parts = "".join(
        f"<div><dt>{escape(name)}</dt><dd><strong>{escape(number)}</strong> {escape(meaning)}</dd></div>\n"
        for name, number, meaning in rows
    )
    return f'<dl class="tiles">\n{parts}</dl>\n' if rows else ""


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph."""
    return f"<p{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{escape(text)}</p>\n"


def heading(text: str) -> str:
    """Return a heading inside a section."""
    return f"<h3>{escape(text)}</h3>\n"


def bullets(lines: Iterable[str]) -> str:
    """Return a list."""
    return f"<ul>\n{''.join(f'<li>{escape(line)}</li>{chr(10)}' for line in lines)}</ul>\n"


def terms(facts: Iterable[tuple[str, str]]) -> str:
    """Return names and what they are."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>\n" for name, value in facts)
    return f'<dl class="facts">\n{rows}</dl>\n'


def details(summary: str, content: str) -> str:
    """Return a part that opens on demand, and on paper."""
    return f"<details>\n<summary>{escape(summary)}</summary>\n{content}</details>\n"


def table(content: Table) -> str:
    """Return a table that scrolls sideways by itself, also by keyboard; one that quotes is stacked on a phone."""
    head = "".join(_cell("th", column, name, content, ' scope="col"') for column, name in enumerate(content.header))
    rows = []
    for row in content.rows:
        first = _cell("th", 0, row[0], content, ' scope="row"')
        rest = [
            _cell("td", column, text, content, _label(content, column)) for column, text in enumerate(row) if column
        ]
        rows.append(f"<tr>{first}{''.join(rest)}</tr>\n")
    caption = escape(content.caption)
    kind = ' class="quoting"' if content.texts else ""
    return (
        f'<div class="table" role="region" aria-label="{caption}" tabindex="0">\n<table{kind}>\n'
        f"<caption><span>{caption}</span></caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{''.join(rows)}</tbody>\n"
        "</table>\n</div>\n"
    )


def _label(content: Table, column: int) -> str:
    return f' data-label="{escape(content.header[column])}"' if content.texts else ""


def _cell(tag: str, column: int, text: str, content: Table, more: str) -> str:
    kind = "word" if column in content.words else "number"
    return f'<{tag} class="{kind}{" text" if column in content.texts else ""}"{more}>{escape(text)}</{tag}>'
