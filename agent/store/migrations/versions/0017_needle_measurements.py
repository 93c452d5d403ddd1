"""needles that reviewers measure by their two tips"""

import sqlalchemy as sa
from alembic import op

revision = '0017'
down_revision = '0016'
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table. It is evidence, so its guard is laid after the last migration."""
    lengths = ('start_x', 'start_y', 'end_x', 'end_y', 'um_per_px', 'length_um')
    op.create_table(
        'needle_measurement',
        sa.Column('id', sa.Integer(), nullable=False),
        sa.Column('site_id', sa.Integer(), nullable=False),
        sa.Column('micrograph_id', sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Float(), nullable=False) for name in lengths),
        sa.Column('by', sa.String(), nullable=False),
        sa.Column('at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('withdrawn_by', sa.String(), nullable=False, server_default=sa.text("''")),
        sa.Column('withdrawn_at', sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(['site_id'], ['site.id'], name='fk_needle_measurement_site_id_site'),
        sa.ForeignKeyConstraint(
            ['micrograph_id'],
            ['micrograph.id'],
            name='fk_needle_measurement_micrograph_id_micrograph',
        ),
        sa.PrimaryKeyConstraint('id', name='pk_needle_measurement'),
    )
    op.create_index(
        'ix_needle_measurement_micrograph_id', 'needle_measurement', ['micrograph_id']
    )
