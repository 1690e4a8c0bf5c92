import gzip
import json
from pathlib import Path

import pytest
from records_tables import write_lines

from avengers_pro.errors import RecordsError
from avengers_pro.records.queries import read_queries


def test_queries_and_messages_are_read_with_their_index_or_line(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "hi"}]
    path = write_lines(tmp_path / "q.jsonl", {"query": "q", "index": "x"}, "", {"messages": messages}, {"query": "r"})
    rows = list(read_queries(path))
    assert [row[:2] for row in rows] == [("q", "x"), ("hi", 2), ("r", 3)]
    assert rows[-1][2] <= path.stat().st_size


def test_gzip_and_a_byte_order_mark_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl.gz"
    path.write_bytes(gzip.compress(("\ufeff" + json.dumps({"query": "é"})).encode()))
    assert [row[:2] for row in read_queries(path)] == [("é", 0)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"query": " "}, "query: the query is empty"),
        ({"records": {}}, "a row needs 'query', or 'messages'"),
        ({"query": 5}, "Expected `str | null`, got `int`"),
        ("{", "Input data was truncated"),
        (b'{"query": "\xff"}', "'utf-8' codec"),
        ('{"query": "q", "x": ' + "[" * 100_000, "maximum recursion depth"),
    ],
)
def test_a_bad_line_names_file_and_line(tmp_path: Path, line: object, reason: str) -> None:
    path = write_lines(tmp_path / "q.jsonl", {"query": "q"}, line)
    with pytest.raises(RecordsError) as raised:
        list(read_queries(path))
    assert str(raised.value).startswith(f"{path}:2: {reason}")


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(RecordsError, match="cannot be read"):
        list(read_queries(tmp_path / "none.jsonl"))
