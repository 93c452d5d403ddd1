"""versions of the settings, which the PCs of a site take in rings"""

import sqlalchemy as sa
from alembic import op

revision = '0019'
down_revision = '0018'
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; every rollout until now was one of a bundle."""
    op.create_table(
        'settings_version',
        sa.Column('id', sa.Integer(), nullable=False),
        sa.Column('site_id', sa.Integer(), nullable=False),
        sa.Column('version', sa.String(), nullable=False),
        sa.Column('content', sa.Text(), nullable=False),
        sa.Column('by', sa.String(), nullable=False),
        sa.Column('reason', sa.String(), nullable=False),
        sa.Column('published_at', sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(['site_id'], ['site.id'], name='fk_settings_version_site_id_site'),
        sa.PrimaryKeyConstraint('id', name='pk_settings_version'),
        sa.UniqueConstraint('site_id', 'version', name='uq_settings_version_site_id_version'),
    )
    op.add_column(
        'rollout', sa.Column('kind', sa.String(), nullable=False, server_default='bundle')
    )
