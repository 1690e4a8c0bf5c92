"""Vectors kept between runs, in one SQLite file that several processes may share."""

import hashlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.errors import EmbeddingError

_BUSY_S = 60.0
"""How long one process waits for another one's transaction; each lasts milliseconds."""
_RETRY_S = 0.01
_LOOKUP = 500
"""Texts per SELECT: every SQLite allows 999 parameters."""
_FLOAT_BYTES = 4
_SCHEMA = """
CREATE TABLE IF NOT EXISTS vectors (
    embedder    TEXT NOT NULL,
    text_sha256 BLOB NOT NULL,
    vector      BLOB NOT NULL,
    PRIMARY KEY (embedder, text_sha256)
)
"""


class VectorCache:
    """A SQLite table from (embedder id, SHA-256 of the text) to a float32 vector; the texts are not kept.

    Every call opens its own connection, so one cache serves many threads and processes.

    Attributes:
        path: The file; made, with its folders, when it is missing.
    """

    def __init__(self, path: Path) -> None:
        """Open or make the file.

        Raises:
            EmbeddingError: If it is no SQLite database or cannot be opened.
        """
        self.path = path
        with self._connection() as connection:
            _set_up(connection)

    def get_many(self, embedder_id: str, texts: Sequence[str], *, dimension: int | None = None) -> dict[int, Vectors]:
        """Look vectors up.

        Args:
            embedder_id: Whose vectors.
            texts: (n,) in any order, repeats allowed.
            dimension: Length that each vector must have; None = all the same one.

        Returns:
            Position in ``texts`` → (d,) float32, in ascending order of position; unknown texts are left out.

        Raises:
            EmbeddingError: If a stored vector has another length, or the file is damaged.
        """
        keys = [_key(text) for text in texts]
        distinct = list(dict.fromkeys(keys))
        blobs: dict[bytes, bytes] = {}
        with self._connection() as connection:
            for start in range(0, len(distinct), _LOOKUP):
                part = distinct[start : start + _LOOKUP]
                marks = ",".join("?" * len(part))
                blobs.update(
                    connection.execute(
                        f"SELECT text_sha256, vector FROM vectors WHERE embedder = ? AND text_sha256 IN ({marks})",
                        (embedder_id, *part),
                    )
                )
        self._check_lengths(embedder_id, blobs, dimension)
        return {row: np.frombuffer(blobs[key], "<f4") for row, key in enumerate(keys) if key in blobs}

    def put_many(self, embedder_id: str, texts: Sequence[str], vectors: Vectors) -> None:
        """Keep vectors, in one transaction; texts that are already known keep theirs.

        Args:
            embedder_id: Whose vectors.
            texts: (n,).
            vectors: (n, d) float32, one row a text.

        Raises:
            EmbeddingError: If the file cannot be written.
        """
        rows = np.ascontiguousarray(vectors, dtype="<f4")
        with self._connection() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO vectors (embedder, text_sha256, vector) VALUES (?, ?, ?)",
                ((embedder_id, _key(text), row.tobytes()) for text, row in zip(texts, rows, strict=True)),
            )

    def _check_lengths(self, embedder_id: str, blobs: dict[bytes, bytes], dimension: int | None) -> None:
        expected = None if dimension is None else dimension * _FLOAT_BYTES
        for blob in blobs.values():
            expected = expected or len(blob)
            if not blob or len(blob) % _FLOAT_BYTES or len(blob) != expected:
                raise EmbeddingError(
                    f"the embedding cache {self.path} holds a vector of {len(blob)} bytes for "
                    f"{embedder_id!r}, where {expected} bytes ({expected // _FLOAT_BYTES} float32) were "
                    "expected; delete the file, or name another one"
                )

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """One transaction on a connection of its own; SQLite's errors become ours."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=_BUSY_S)) as connection, connection:
                connection.execute("PRAGMA synchronous = NORMAL")
                yield connection
        except (sqlite3.DatabaseError, OSError) as error:
            raise EmbeddingError(
                f"the embedding cache {self.path} cannot be used ({error}); "
                "delete the file if it is damaged or no cache, or name another one"
            ) from error


def _set_up(connection: sqlite3.Connection) -> None:
    """Switch to WAL and make the table; for this switch SQLite does not wait by itself when others are busy."""
    give_up_s = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(_SCHEMA)
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY  # the low byte; the rest says why
            if not is_busy or time.monotonic() > give_up_s:
                raise
            time.sleep(_RETRY_S)
        else:
            return


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
