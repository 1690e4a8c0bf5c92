"""The queries of a part, to be routed."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.errors import RecordsError
from avengers_pro.records.jsonl import UNREADABLE
from avengers_pro.records.messages import query_of
from avengers_pro.scale.lines import lines_of_part
from avengers_pro.scale.parts import Part
from avengers_pro.scale.wide import VECTOR, batches, indexes_of, queries_of, vectors_of

BLOCK_ROWS = 4096
_COLUMNS = ("query", "messages", "index")


class _Query(msgspec.Struct):
    query: str | None = None
    messages: list[Any] | None = None
    index: int | str | None = None


@dataclass(frozen=True, slots=True)
class QueryBlock:
    """Some queries.

    Attributes:
        texts: n of them.
        indexes: What each is called: its ``index``, or its row in the file, from 0.
        vectors: (n, d) unit rows, if the file has them.
    """

    texts: list[str]
    indexes: list[int | str]
    vectors: Vectors | None


def query_blocks(part: Part, first_line: int, dimension: int) -> Iterator[QueryBlock]:
    """Yield the queries of a part.

    Args:
        part: Which.
        first_line: Lines of its file before it.
        dimension: Length of vectors, if the file has some.

    Raises:
        RecordsError: On a row without a query; the message names file and line.
    """
    if part.kind == "long":
        raise RecordsError(f"{part.path}: has a row for each (query, model) pair; route takes a row a query")
    if part.kind == "wide":
        for first, batch in batches(part, (*_COLUMNS, VECTOR), BLOCK_ROWS):
            vectors = vectors_of(part.path, first, batch, dimension)
            yield QueryBlock(queries_of(part.path, first, batch), indexes_of(first, batch), vectors)
        return
    decode = msgspec.json.Decoder(_Query).decode
    lines = lines_of_part(part, first_line)
    while chunk := list(islice(lines, BLOCK_ROWS)):
        texts: list[str] = []
        indexes: list[int | str] = []
        for number, line in chunk:
            try:
                row = decode(line)
                text = row.query if row.query is not None else query_of(row.messages)
            except (*UNREADABLE, RecordsError) as error:
                raise RecordsError(f"{part.path}:{number}: {error}") from error
            if not text or text.isspace():
                raise RecordsError(f"{part.path}:{number}: query: the query is empty")
            texts.append(text)
            indexes.append(number - 1 if row.index is None else row.index)
        yield QueryBlock(texts, indexes, None)
