"""The tables of the ledger, as the newest migration leaves them."""

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, LargeBinary, MetaData, Table, Text, text

REVISIONS = ("0001", "0002", "0003", "0004")
"""Every schema that this version knows, oldest first; the last one is the one it works with."""
NO_NAME = ""
"""Model or key of an ``hourly`` row whose requests had none: a primary key cannot hold NULL."""

metadata = MetaData()

decisions = Table(
    "decisions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("at", Double, nullable=False),
    Column("key", Text),
    Column("session", Text),
    Column("asked", Text, nullable=False),
    Column("model", Text),
    Column("policy", Text, nullable=False),
    Column("alpha", Double),
    Column("expected_score", Double),
    Column("expected_cost_usd", Double),
    Column("baseline_model", Text),
    Column("baseline_cost_usd", Double),
    Column("baseline_score", Double),
    Column("novel", Boolean, nullable=False),
    Column("propensity", Double),
    Column("prompt_tokens_estimate", BigInteger, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("router", Text, nullable=False),
    Column("decision_us", Double),
    Column("closed_at", Double),
    Column("outcome", Text),
    Column("status", Integer),
    Column("served_by", Text),
    Column("endpoint", Text),
    Column("fallbacks", Integer),
    Column("prompt_tokens", BigInteger),
    Column("completion_tokens", BigInteger),
    Column("cached_tokens", BigInteger),
    Column("cost_usd", Double),
    Column("finish_reason", Text),
    Column("first_byte_ms", Double),
    Column("total_ms", Double),
    Column("feedback_score", Double),
    Column("feedback_comment", Text),
    # The long ones come last: SQLite reads a row only up to the last column that is asked for.
    Column("clusters", Text, nullable=False),
    Column("candidates", Text, nullable=False),
    Column("attempts", Text),
    Column("process", Text, nullable=False),
    Column("reported_model", Text),
    Column("shadow_router", Text),
    Column("shadow_model", Text),
    Column("shadow_score", Double),
    Column("shadow_cost_usd", Double),
)
"""One row a request: inserted when its model is chosen, updated once when it is over (until then outcome is NULL)."""

_has_session = decisions.c.session.is_not(None)
unfinished = decisions.c.outcome.is_(None)
not_ok = text("outcome <> 'ok'")
"""Text, not a parameter: SQLite uses a partial index only if the query repeats its condition word for word."""
Index("decisions_at", decisions.c.at)
Index("decisions_served_by", decisions.c.served_by, decisions.c.at)
Index("decisions_key", decisions.c.key, decisions.c.at)
Index(
    "decisions_session", decisions.c.session, decisions.c.at, sqlite_where=_has_session, postgresql_where=_has_session
)
Index("decisions_unfinished", decisions.c.process, sqlite_where=unfinished, postgresql_where=unfinished)
Index("decisions_not_ok", decisions.c.outcome, decisions.c.at, sqlite_where=not_ok, postgresql_where=not_ok)
Index("decisions_novel", decisions.c.at, sqlite_where=text("novel IS 1"), postgresql_where=text("novel IS true"))
Index("decisions_not_ok_at", decisions.c.at, sqlite_where=not_ok, postgresql_where=not_ok)

texts = Table(
    "texts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("part", Text, primary_key=True),
    Column("text", Text, nullable=False),
)
"""Prompts and answers (part: text, answer), apart from the rows that are summed; empty unless texts are kept."""

vectors = Table(
    "vectors",
    metadata,
    Column("id", Text, primary_key=True),
    Column("vector", LargeBinary, nullable=False),
)
"""What was embedded for a decision, as little-endian float16; empty unless vectors are kept."""

feedback = Table(
    "feedback",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("score", Double),
    Column("comment", Text),
    Column("key", Text),
)
"""All that was said about a decision, in the order in which it came."""
Index("feedback_id", feedback.c.id)

waiting_feedback = Table("waiting_feedback", metadata, Column("id", Text, primary_key=True))
"""Decisions that got a score before they were over, so that ``hourly`` could not take it yet."""

hourly = Table(
    "hourly",
    metadata,
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Column("model", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("fallbacks", BigInteger, nullable=False),
    Column("cost_usd", Double, nullable=False),
    Column("unpriced", BigInteger, nullable=False),
    Column("baseline_cost_usd", Double, nullable=False),
    Column("saved_usd", Double, nullable=False),
    Column("uncompared", BigInteger, nullable=False),
    Column("expected_score_sum", Double, nullable=False),
    Column("baseline_score_sum", Double, nullable=False),
    Column("unscored", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("unmetered", BigInteger, nullable=False),
    Column("feedback", BigInteger, nullable=False),
    Column("feedback_score_sum", Double, nullable=False),
)
"""Sums over the finished requests by the hour in which they began (its first Unix second), the model that answered
and the key. Changed in the transaction that finishes a request; never pruned."""

processes = Table(
    "processes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("beat_at", Double, nullable=False),
)
"""Who writes at present, and when each last said so, in Unix seconds."""

marks = Table(
    "marks",
    metadata,
    Column("name", Text, primary_key=True),
    Column("at", Double, nullable=False),
)
"""Moments to remember; ``pruned``: rows begun up to this one may be missing."""

usage = Table(
    "usage",
    metadata,
    Column("key", Text, primary_key=True),
    Column("meter", Text, primary_key=True),
    Column("used", Double, nullable=False),
    Column("at", Double, nullable=False),
)
"""How much of a limit of an API key is used, as of a Unix second; a row is locked while its leases change."""

leases = Table(
    "leases",
    metadata,
    Column("key", Text, primary_key=True),
    Column("meter", Text, primary_key=True),
    Column("replica", Text, primary_key=True),
    Column("held", Double, nullable=False),
    Column("at", Double, nullable=False),
)
"""What each replica may use of a limit without asking, and when it last said that it is there."""
