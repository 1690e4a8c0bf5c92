"""Parts of a GitHub Markdown report, written so that no name from the records changes its layout."""

import re
from collections.abc import Iterable, Sequence

from avengers_pro.evaluation.report.tables import Table

_SPECIAL = re.compile(r"[\\`*|~]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[])|!(?=\[)")
_BLOCK = re.compile(r"^(#+|[+-]|\d+[.)]) ")


def line(text: str) -> str:
    """Write a text as a paragraph of its own."""
    return _BLOCK.sub(r"\\\g<0>", inline(text))


def table(content: Table) -> str:
    """Write a table below its caption."""
    rule = [":--" if column in content.words else "--:" for column in range(len(content.header))]
    lines = [_row([inline(name) for name in content.header]), _row(rule)]
    lines += [_row([inline(cell) for cell in row]) for row in content.rows]
    return f"*{inline(content.caption)}*\n\n" + "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell or ' ' for cell in cells)} |"


def bullets(lines: Iterable[str]) -> str:
    """Write a list of Markdown lines."""
    return "\n".join(f"- {each}" for each in lines)


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Write names and what they are."""
    return bullets(f"**{inline(name)}**: {inline(value)}" for name, value in pairs)


def picture(text: str, path: str) -> str:
    """Write a figure that lies in a file beside the report."""
    return f"![{inline(text)}](<{_address(path)}>)"


def inline(text: str) -> str:
    """Write a text so that it stays one line, opens no tag and changes no layout."""
    flat = " ".join(text.split())
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(lambda match: "\\" + match.group(), flat)


def _address(path: str) -> str:
    return re.sub(r"[<>\\\s]", lambda match: f"%{ord(match.group()):02X}", path)
