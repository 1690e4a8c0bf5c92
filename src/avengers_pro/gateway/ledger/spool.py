"""Rows that wait in a file while the database is away, so that requests are answered meanwhile.

A folder holds one file for each process, of JSON lines, one a row; a group of rows is on the disk (fsync) before
anybody is told that it is kept. When the database is back, they are written in the same sequence. A row that is there
already is left as it is, and a request is added to the sums only by the closing that ends it: so a file may be written
again from its beginning at any time, and a process that was killed leaves its file to the next one that starts.
"""

import asyncio
import os
import secrets
import sys
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path

import msgspec
from sqlalchemy import Connection, select

from avengers_pro.errors import StoreError
from avengers_pro.gateway.ledger.batch import Batch
from avengers_pro.gateway.ledger.dialects import upsert
from avengers_pro.gateway.ledger.rows import Closing, Opening
from avengers_pro.gateway.ledger.statements import Statements, storable
from avengers_pro.gateway.ledger.sums import Additions, Begun
from avengers_pro.gateway.ledger.tables import decisions, texts, unfinished, vectors

if sys.platform != "win32":
    import fcntl

CHUNK = 500
"""Rows written in one transaction."""


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of the file.

    Attributes:
        opening: Of a request; None = the line is a closing.
        closing: Of a request; None = the line is an opening.
        begun: What the sums need beside the closing.
        process: Under whose name the opening is written; empty = who writes it.
    """

    opening: Opening | None = None
    closing: Closing | None = None
    begun: tuple[float, str | None, float | None, float | None, float | None] | None = None
    process: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Row).decode


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    stream: BufferedRandom


class Spool:
    """The file of this process; made by ``open``.

    Attributes:
        holds_rows: Whether any row waits in it.
    """

    def __init__(self, file: _File, waiting: list[Row], left_behind: list[_File]) -> None:
        """Use ``open`` instead."""
        self._file, self._waiting, self._left_behind = file, waiting, left_behind

    @classmethod
    def open(cls, folder: Path) -> "Spool":
        """Make a file, and take over those of processes that are gone.

        Raises:
            StoreError: If the folder cannot be written to, or a file in it cannot be read.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            left_behind = [file for path in sorted(folder.glob("*.jsonl")) if (file := _locked(path)) is not None]
            waiting = [row for file in left_behind for row in _rows_of(file)]
            path = folder / f"{secrets.token_hex(8)}.jsonl"
            os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
            own = _locked(path)
        except OSError as error:
            raise StoreError(f"the spool {folder} cannot be used: {error}; check [store] spool") from error
        if own is None:
            raise StoreError(f"the spool {path} is locked by another process")
        return cls(own, waiting, left_behind)

    @property
    def holds_rows(self) -> bool:
        """Whether rows wait for the database."""
        return bool(self._waiting)

    def __len__(self) -> int:
        """Return how many rows wait for the database."""
        return len(self._waiting)

    async def keep(self, batch: Batch) -> None:
        """Append the rows of a batch; they are on the disk when this returns.

        Raises:
            OSError: If they cannot be written.
        """
        rows = [Row(opening=waiting.opening) for waiting in batch.openings]
        rows += [
            Row(
                closing=closing,
                begun=(begun.at, begun.key, begun.baseline_cost_usd, begun.expected_score, begun.baseline_score),
            )
            for closing, begun in batch.closings
        ]
        await asyncio.to_thread(self._append, b"".join(_encode(row) + b"\n" for row in rows))
        self._waiting += rows

    def _append(self, lines: bytes) -> None:
        stream = self._file.stream
        end = stream.seek(0, os.SEEK_END)
        try:
            stream.write(lines)
            stream.flush()
            os.fsync(stream.fileno())
        except OSError:
            os.ftruncate(stream.fileno(), end)
            raise

    def first(self) -> list[Row]:
        """Return the rows that are to be written next."""
        return self._waiting[:CHUNK]

    def written(self, number: int) -> None:
        """Forget so many rows; with the last one the files are emptied.

        Raises:
            OSError: If they cannot be.
        """
        del self._waiting[:number]
        if not self._waiting:
            self._file.stream.truncate(0)
            for file in self._left_behind:
                file.path.unlink(missing_ok=True)
                file.stream.close()
            self._left_behind = []

    def close(self) -> None:
        """Let go of the file; one without rows is removed."""
        if not self._waiting:
            self._file.path.unlink(missing_ok=True)
        for file in (self._file, *self._left_behind):
            file.stream.close()


def write_rows(connection: Connection, statements: Statements, rows: list[Row], process: str) -> None:
    """Write rows in one transaction, save what is there already; commits."""
    openings = [(row.opening, row.process or process) for row in rows if row.opening is not None]
    closings = {
        row.closing.id: (row.closing, Begun(*row.begun))
        for row in reversed(rows)  # of two for one request the first counts
        if row.closing is not None and row.begun is not None
    }
    if openings:
        _write_openings(connection, statements, openings)
    if closings:
        _write_closings(connection, statements, closings)
    connection.commit()


def _write_openings(connection: Connection, statements: Statements, openings: list[tuple[Opening, str]]) -> None:
    dialect, names = connection.dialect.name, statements.opening_columns
    values = [dict(zip(names, statements.opening_row(*one), strict=True)) for one in openings]
    connection.execute(upsert(dialect, decisions, ()), values)
    kept = [{"id": one.id, "part": "text", "text": storable(one.text)} for one, _ in openings if one.text is not None]
    if kept:
        connection.execute(upsert(dialect, texts, ()), kept)
    embedded = [{"id": one.id, "vector": one.vector} for one, _ in openings if one.vector is not None]
    if embedded:
        connection.execute(upsert(dialect, vectors, ()), embedded)


def _write_closings(connection: Connection, statements: Statements, closings: dict[str, tuple[Closing, Begun]]) -> None:
    """End the requests that are not over, and add these to the sums."""
    query = select(decisions.c.id).where(decisions.c.id.in_(closings), unfinished).with_for_update()
    ended = [closings[name] for name in sorted(connection.scalars(query))]
    if not ended:
        return
    additions = Additions()
    for closing, begun in ended:
        additions.add_request(begun, closing)
    connection.exec_driver_sql(statements.update_closing, [statements.closing_row(one) for one, _ in ended])
    connection.exec_driver_sql(statements.add_to_hourly, additions.rows())
    kept = [
        {"id": one.id, "part": "answer", "text": storable(one.answer)} for one, _ in ended if one.answer is not None
    ]
    if kept:
        connection.execute(upsert(connection.dialect.name, texts, ()), kept)


def _locked(path: Path) -> _File | None:
    """Open a file and lock it until it is closed; None = another process has it."""
    stream = path.open("r+b")
    if sys.platform != "win32":
        try:
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.close()
            return None
    return _File(path, stream)


def _rows_of(file: _File) -> list[Row]:
    """Read a file that was left behind; a last line that was not finished was promised to nobody."""
    *lines, _ = file.stream.read().split(b"\n")
    try:
        rows = [_decode(line) for line in lines]
    except msgspec.MsgspecError as error:
        raise StoreError(f"{file.path}: not rows of a ledger: {error}; move the file elsewhere") from error
    return [msgspec.structs.replace(row, process=file.path.stem) for row in rows]
