"""whether a person was sure of a decision"""

import sqlalchemy as sa
from alembic import op

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('label', sa.Column('unsure', sa.Boolean(), nullable=False, server_default=sa.false()))
