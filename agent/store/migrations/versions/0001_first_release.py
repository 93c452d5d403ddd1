"""the first release

Nothing is released yet, so the tables are the one declaration of the schema: change them, then write
the kept store again (`tests/golden/schemas/keep.py`). The first migration after a release writes the
tables of that release out here, on SQLAlchemy alone.
"""

from alembic import op

from agent.store import schema

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create all tables; guards, policies and the text search are laid after the last migration."""
    schema.create_tables(op.get_bind())
