"""what the search finds of a micrograph, and the searches that people keep"""

import sqlalchemy as sa
from alembic import op

revision = '0012'
down_revision = '0010'
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables. `agent.store.search_index` fills the entries after the last migration."""
    empty = sa.text("''")
    op.create_table(
        'search_entry',
        sa.Column('micrograph_id', sa.Integer(), nullable=False),
        sa.Column('site_id', sa.Integer(), nullable=False),
        sa.Column('taken_at', sa.DateTime(timezone=True), nullable=False),
        *(
            sa.Column(name, sa.String(), nullable=False, server_default=empty)
            for name in ('source', 'code', 'outcome', 'microscope', 'reviewer', 'digest')
        ),
        sa.ForeignKeyConstraint(
            ['micrograph_id'], ['micrograph.id'], name='fk_search_entry_micrograph_id_micrograph'
        ),
        sa.ForeignKeyConstraint(['site_id'], ['site.id'], name='fk_search_entry_site_id_site'),
        sa.PrimaryKeyConstraint('micrograph_id', name='pk_search_entry'),
    )
    op.create_index('ix_search_entry_taken_at', 'search_entry', ['taken_at', 'micrograph_id'])
    op.create_table(
        'saved_view',
        sa.Column('id', sa.Integer(), nullable=False),
        sa.Column('site_id', sa.Integer(), nullable=False),
        sa.Column('owner', sa.String(), nullable=False),
        sa.Column('name', sa.String(), nullable=False),
        sa.Column('query', sa.String(), nullable=False, server_default=empty),
        sa.Column('saved_at', sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(['site_id'], ['site.id'], name='fk_saved_view_site_id_site'),
        sa.PrimaryKeyConstraint('id', name='pk_saved_view'),
        sa.UniqueConstraint('site_id', 'owner', 'name', name='uq_saved_view_site_id_owner_name'),
    )
