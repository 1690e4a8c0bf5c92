"""What replicas count together: how far each limit of a key is used, and what each replica may use of the rest."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add two tables; what was spent before is taken over from the decisions when a key is first used."""
    op.create_table(
        "usage",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("meter", sa.Text, primary_key=True),
        sa.Column("used", sa.Double, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("meter", sa.Text, primary_key=True),
        sa.Column("replica", sa.Text, primary_key=True),
        sa.Column("held", sa.Double, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
