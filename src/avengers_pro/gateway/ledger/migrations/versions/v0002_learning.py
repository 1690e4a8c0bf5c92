"""What learning from traffic needs: vectors, the shadow router's choice, the model that the upstream reported."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add columns, which stay empty in the rows that are there, and a table."""
    for name in ("reported_model", "shadow_router", "shadow_model"):
        op.add_column("decisions", sa.Column(name, sa.Text))
    for name in ("shadow_score", "shadow_cost_usd"):
        op.add_column("decisions", sa.Column(name, sa.Double))
    op.create_table(
        "vectors",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("vector", sa.LargeBinary, nullable=False),
    )
