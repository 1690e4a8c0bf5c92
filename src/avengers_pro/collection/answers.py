"""Answers that were paid for, kept on disk the moment they arrive.

Why not inspect-ai's own cache of completions: it writes files that a kill can tear, drops answers that a filter cut,
passes over failed writes in silence, gives equal requests of one sample the same answer, and reads back pickles.
Its logs are no help either: they are written every few samples. This is one SQLite file of JSON; a row is there once
the call that stores it returns, whatever happens to the process or the power after it.
"""

import hashlib
import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from avengers_pro.errors import StoreError

FILE_NAME = "answers.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    model      TEXT NOT NULL,
    role       TEXT NOT NULL,
    sample     TEXT NOT NULL,
    epoch      INTEGER NOT NULL,
    asked      TEXT NOT NULL,
    request    TEXT NOT NULL,
    place      INTEGER NOT NULL,
    output     TEXT NOT NULL,
    seconds    REAL,
    cost_usd   REAL,
    completion_tokens REAL,
    PRIMARY KEY (model, role, sample, epoch, request, place)
)
"""


@dataclass(frozen=True, slots=True)
class Question:
    """What identifies a call.

    Attributes:
        model: Name of the card.
        role: ``model`` or ``judge``.
        sample: Its key within the task.
        epoch: Which draw, from 1.
        asked: Digest of the endpoint, its settings and the messages.
        request: Digest of all that, tools and options too.
        place: Which of the equal requests of one sample and epoch, from 0.
    """

    model: str
    role: str
    sample: str
    epoch: int
    asked: str
    request: str
    place: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        output: JSON of inspect's ModelOutput.
        seconds: From the request to the answer; None = not known.
        cost_usd: What it cost; None = not known.
        completion_tokens: As the provider counted; None = not known.
    """

    output: str
    seconds: float | None
    cost_usd: float | None
    completion_tokens: float | None


class Answers:
    """The answers of one folder, held by one process at a time.

    Attributes:
        path: The file.
    """

    def __init__(self, folder: Path) -> None:
        """Open or make the file, and take it for this process until `close` or the process's end.

        Raises:
            StoreError: If another process collects into the folder, or the file is no store of answers.
        """
        self.path = folder / FILE_NAME
        try:
            self._connection = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.execute(_SCHEMA)
            self._connection.execute("BEGIN IMMEDIATE")  # takes the lock now, not at the first answer
            self._connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            why = "another collect writes to it; wait for its end" if "locked" in str(error) else str(error)
            raise StoreError(f"{self.path}: cannot be used: {why}, or choose another folder with --logs") from error
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{self.path}: is no store of answers: {error}; choose another folder") from error

    def close(self) -> None:
        """Let the file go."""
        self._connection.close()

    def find(self, question: Question) -> Answer | None:
        """Return the answer to a question, if it was ever given."""
        row = self._connection.execute(
            "SELECT output, seconds, cost_usd, completion_tokens FROM answers"
            " WHERE model = ? AND role = ? AND sample = ? AND epoch = ? AND request = ? AND place = ?",
            (question.model, question.role, question.sample, question.epoch, question.request, question.place),
        ).fetchone()
        return None if row is None else Answer(*row)

    def keep(self, question: Question, answer: Answer) -> None:
        """Store an answer; on disk when this returns.

        Raises:
            StoreError: If it cannot be written, the disk being full, for example.
        """
        values = (question.model, question.role, question.sample, question.epoch, question.asked, question.request,
                  question.place, answer.output, answer.seconds, answer.cost_usd,
                  answer.completion_tokens)  # fmt: skip
        try:
            self._connection.execute(f"INSERT OR REPLACE INTO answers VALUES ({', '.join('?' * len(values))})", values)
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: an answer cannot be kept: {error}") from error

    def known(self, model: str) -> frozenset[tuple[str, int, str]]:
        """Return (sample, epoch, asked) of everything that a model has answered as a member of the pool."""
        rows = self._connection.execute(
            "SELECT sample, epoch, asked FROM answers WHERE model = ? AND role = 'model'", (model,)
        )
        return frozenset(rows)

    def spent_usd(self, role: str | None = None) -> float:
        """Sum of what is known of the costs, of all models; of one role, or None = of all."""
        row = self._connection.execute(
            "SELECT TOTAL(cost_usd) FROM answers WHERE ? IS NULL OR role = ?", (role, role)
        ).fetchone()
        return float(row[0])

    def mean_completion_tokens(self, model: str) -> float | None:
        """Return the mean length of a model's answers; None = it has none."""
        row = self._connection.execute(
            "SELECT AVG(completion_tokens) FROM answers WHERE model = ? AND role = 'model'", (model,)
        ).fetchone()
        return None if row[0] is None else float(row[0])


def as_json(value: object) -> str:
    """Return JSON that is the same for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str, ensure_ascii=False)


def digest(value: object) -> str:
    """Return SHA-256 of what `as_json` gives."""
    return hashlib.sha256(as_json(value).encode()).hexdigest()
