"""after which record a label was given, and which orders notes next to unread files name"""

import sqlalchemy as sa
from alembic import op

revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('label', sa.Column('after_record', sa.Integer(), nullable=True))
    op.add_column('content', sa.Column('noted', sa.JSON(), nullable=False, server_default=sa.text("'{}'")))
    op.create_index('ix_path_mtime_ns', 'path', ['mtime_ns'], unique=False)
