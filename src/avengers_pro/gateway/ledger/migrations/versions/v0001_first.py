"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make all tables."""
    _make_decisions()
    op.create_table(
        "texts",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("part", sa.Text, primary_key=True),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_table(
        "feedback",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("score", sa.Double),
        sa.Column("comment", sa.Text),
        sa.Column("key", sa.Text),
    )
    op.create_index("feedback_id", "feedback", ["id"])
    op.create_table("waiting_feedback", sa.Column("id", sa.Text, primary_key=True))
    _make_hourly()
    op.create_table(
        "processes",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("beat_at", sa.Double, nullable=False),
    )
    op.create_table(
        "marks",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
    )


def _make_decisions() -> None:
    op.create_table(
        "decisions",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("session", sa.Text),
        sa.Column("asked", sa.Text, nullable=False),
        sa.Column("model", sa.Text),
        sa.Column("policy", sa.Text, nullable=False),
        sa.Column("alpha", sa.Double),
        sa.Column("expected_score", sa.Double),
        sa.Column("expected_cost_usd", sa.Double),
        sa.Column("baseline_model", sa.Text),
        sa.Column("baseline_cost_usd", sa.Double),
        sa.Column("baseline_score", sa.Double),
        sa.Column("novel", sa.Boolean, nullable=False),
        sa.Column("propensity", sa.Double),
        sa.Column("prompt_tokens_estimate", sa.BigInteger, nullable=False),
        sa.Column("stream", sa.Boolean, nullable=False),
        sa.Column("router", sa.Text, nullable=False),
        sa.Column("decision_us", sa.Double),
        sa.Column("closed_at", sa.Double),
        sa.Column("outcome", sa.Text),
        sa.Column("status", sa.Integer),
        sa.Column("served_by", sa.Text),
        sa.Column("endpoint", sa.Text),
        sa.Column("fallbacks", sa.Integer),
        sa.Column("prompt_tokens", sa.BigInteger),
        sa.Column("completion_tokens", sa.BigInteger),
        sa.Column("cached_tokens", sa.BigInteger),
        sa.Column("cost_usd", sa.Double),
        sa.Column("finish_reason", sa.Text),
        sa.Column("first_byte_ms", sa.Double),
        sa.Column("total_ms", sa.Double),
        sa.Column("feedback_score", sa.Double),
        sa.Column("feedback_comment", sa.Text),
        sa.Column("clusters", sa.Text, nullable=False),
        sa.Column("candidates", sa.Text, nullable=False),
        sa.Column("attempts", sa.Text),
        sa.Column("process", sa.Text, nullable=False),
    )
    op.create_index("decisions_at", "decisions", ["at"])
    _make_partial_index("decisions_session", ["session", "at"], "session IS NOT NULL")
    _make_partial_index("decisions_unfinished", ["process"], "outcome IS NULL")
    _make_partial_index("decisions_not_ok", ["outcome", "at"], "outcome <> 'ok'")


def _make_partial_index(name: str, columns: list[str], condition: str) -> None:
    op.create_index(name, "decisions", columns, sqlite_where=sa.text(condition), postgresql_where=sa.text(condition))


def _make_hourly() -> None:
    op.create_table(
        "hourly",
        sa.Column("hour", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.Column("errors", sa.BigInteger, nullable=False),
        sa.Column("fallbacks", sa.BigInteger, nullable=False),
        sa.Column("cost_usd", sa.Double, nullable=False),
        sa.Column("unpriced", sa.BigInteger, nullable=False),
        sa.Column("baseline_cost_usd", sa.Double, nullable=False),
        sa.Column("saved_usd", sa.Double, nullable=False),
        sa.Column("uncompared", sa.BigInteger, nullable=False),
        sa.Column("expected_score_sum", sa.Double, nullable=False),
        sa.Column("baseline_score_sum", sa.Double, nullable=False),
        sa.Column("unscored", sa.BigInteger, nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
        sa.Column("completion_tokens", sa.BigInteger, nullable=False),
        sa.Column("unmetered", sa.BigInteger, nullable=False),
        sa.Column("feedback", sa.BigInteger, nullable=False),
        sa.Column("feedback_score_sum", sa.Double, nullable=False),
    )
