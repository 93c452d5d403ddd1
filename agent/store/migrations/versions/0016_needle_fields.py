"""needle lengths of a micrograph, next to the result that they were measured with"""

import sqlalchemy as sa
from alembic import op

revision = '0016'
down_revision = '0015'
branch_labels = None
depends_on = None

NUMBERS = (
    'pixel_um', 'area_um2', 'structure_share', 'measured_share', 'l50_um', 'l90_um', 'l99_um',
    'l50_number_um', 'l90_number_um', 'l99_number_um', 'maximum_um', 'anisotropy',
    'heterogeneity', 'intercept_um', 'expected_l50_um', 'expected_error',
)


def upgrade() -> None:
    """Make the table; results of earlier versions have no row in it."""
    op.create_table(
        'needle_field',
        sa.Column('id', sa.Integer(), nullable=False),
        sa.Column('site_id', sa.Integer(), nullable=False),
        sa.Column('result_id', sa.Integer(), nullable=False),
        sa.Column('status', sa.String(), nullable=False),
        sa.Column('reason', sa.String(), nullable=False),
        sa.Column('network', sa.String(), nullable=False),
        sa.Column('calibration', sa.String(), nullable=True),
        sa.Column('needles', sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Float(), nullable=True) for name in NUMBERS),
        sa.Column('longest', sa.JSON(), nullable=False),
        sa.Column('orientation', sa.JSON(), nullable=False),
        sa.Column('histogram', sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(['site_id'], ['site.id'], name='fk_needle_field_site_id_site'),
        sa.ForeignKeyConstraint(
            ['result_id'], ['result.id'], name='fk_needle_field_result_id_result'
        ),
        sa.PrimaryKeyConstraint('id', name='pk_needle_field'),
        sa.UniqueConstraint('result_id', name='uq_needle_field_result_id'),
    )
