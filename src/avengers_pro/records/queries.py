"""Queries to route: JSON lines with ``query`` or ``messages``, and an ``index`` if there is one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from avengers_pro.errors import RecordsError
from avengers_pro.records.jsonl import UNREADABLE, lines_of
from avengers_pro.records.messages import query_of


class _Query(msgspec.Struct):
    query: str | None = None
    messages: list[Any] | None = None
    index: int | str | None = None


def read_queries(path: Path) -> Iterator[tuple[str, int | str, int]]:
    """Yield (text, index, bytes read so far); without an index, the line number from 0.

    Raises:
        RecordsError: If the file cannot be read or a line has no query; the message names file and line.
    """
    decode = msgspec.json.Decoder(_Query).decode
    read = 0
    for number, line in lines_of(path, None):
        read += len(line)
        try:
            row = decode(line)
            text = row.query if row.query is not None else query_of(row.messages)
        except (*UNREADABLE, RecordsError) as error:
            raise RecordsError(f"{path}:{number}: {error}") from error
        if not text or text.isspace():
            raise RecordsError(f"{path}:{number}: query: the query is empty")
        yield text, number - 1 if row.index is None else row.index, read
