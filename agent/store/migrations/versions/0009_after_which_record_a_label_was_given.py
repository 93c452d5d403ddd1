"""after which record a label was given, so that no clock changes which list of sizes it names"""

import sqlalchemy as sa
from alembic import op

revision = '0009'
down_revision = '0006'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('label', sa.Column('after_record', sa.Integer(), nullable=True))
