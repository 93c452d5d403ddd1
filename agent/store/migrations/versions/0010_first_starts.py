"""agents know when they first started, apart from when they last did"""

import sqlalchemy as sa
from alembic import op

revision = '0010'
down_revision = '0006'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('agent', sa.Column('first_started_at', sa.DateTime(timezone=True), nullable=True))
    # All that an older lab knows of it; from now on it stays what it is.
    agents = sa.table('agent', sa.column('started_at'), sa.column('first_started_at'))
    op.get_bind().execute(agents.update().values(first_started_at=agents.c.started_at))
