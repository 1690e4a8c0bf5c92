"""What the dashboard's filters need: the requests of a model or a key by time, and the unusual ones."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make four indices."""
    op.create_index("decisions_served_by", "decisions", ["served_by", "at"])
    op.create_index("decisions_key", "decisions", ["key", "at"])
    not_ok = sa.text("outcome <> 'ok'")
    op.create_index("decisions_not_ok_at", "decisions", ["at"], sqlite_where=not_ok, postgresql_where=not_ok)
    sqlite, postgresql = sa.text("novel IS 1"), sa.text("novel IS true")
    op.create_index("decisions_novel", "decisions", ["at"], sqlite_where=sqlite, postgresql_where=postgresql)
