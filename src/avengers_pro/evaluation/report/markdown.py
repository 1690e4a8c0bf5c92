"""The report as GitHub Markdown; needs nothing but this package."""

import re
from collections.abc import Sequence

from avengers_pro.evaluation.report import story, tables
from avengers_pro.evaluation.report.tables import Table
from avengers_pro.evaluation.results import Evaluation

_SPECIAL = re.compile(r"[\\`*|~]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[])|!(?=\[)")
_BLOCK = re.compile(r"^(#+|[+-]|\d+[.)]) ")


def markdown_report(evaluation: Evaluation, figure: str | None = None) -> str:
    """Tell what was found, verdict first, in tables.

    Args:
        evaluation: Its numbers.
        figure: Path or address of the frontier figure, to be linked.
    """
    note = evaluation.records.note
    parts = [_BLOCK.sub(r"\\\g<0>", _text(evaluation.verdict.text))]
    if note:
        parts.append(f"> **Note: {_text(note)}**")
    parts += ["# Is routing worth it on these records?", "## Score against cost"]
    if figure is not None:
        parts.append(f"![Score against cost of methods and single models](<{_address(figure)}>)")
        parts += [f"*Note: {_text(note)}*"] if note else []
    parts += [story.COST_OR_SCORE, _table(tables.single_models(evaluation))]
    parts += ["## What it saves", story.SAVES, _table(tables.operating_points(evaluation))]
    parts += ["## Where it helps", _table(tables.by_dataset(evaluation))]
    parts += ["## Which models it chooses", _table(tables.shares(evaluation))]
    parts += ["## Paired differences", story.PAIRED, _table(tables.paired_differences(evaluation))]
    parts += ["## All metrics", story.METRICS, _table(tables.all_metrics(evaluation))]
    parts.append(_list([f"**{_text(name)}**: {_text(meaning)}" for name, meaning in tables.meanings(evaluation)]))
    parts += ["## How it was measured", *_measured(evaluation)]
    return "\n\n".join(parts) + "\n"


def _measured(evaluation: Evaluation) -> list[str]:
    facts = [f"**{name}**: {_text(value)}" for name, value in story.records_facts(evaluation)]
    return [
        _list(facts),
        _list([_text(line) for line in story.protocol_facts(evaluation)]),
        _table(tables.splits(evaluation)),
        _table(tables.settings(evaluation)),
        "### What these numbers do not say",
        _list([_text(line) for line in story.limits(evaluation)]),
    ]


def _table(table: Table) -> str:
    rule = [":--" if column in table.words else "--:" for column in range(len(table.header))]
    lines = [_row([_text(name) for name in table.header]), _row(rule)]
    lines += [_row([_text(cell) for cell in row]) for row in table.rows]
    return f"*{_text(table.caption)}*\n\n" + "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell or ' ' for cell in cells)} |"


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _text(text: str) -> str:
    """Write a text so that it stays one line, opens no tag and changes no layout."""
    line = " ".join(text.split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(lambda match: "\\" + match.group(), line)


def _address(path: str) -> str:
    return re.sub(r"[<>\\\s]", lambda match: f"%{ord(match.group()):02X}", path)
