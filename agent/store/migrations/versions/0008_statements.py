"""frozen statements and their files; after which record a label was given; orders that notes next
to unread files name; when an agent first started"""

import sqlalchemy as sa
from alembic import op

revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('statement',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('site_id', sa.Integer(), nullable=False),
    sa.Column('order_id', sa.Integer(), nullable=False),
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('sha256', sa.String(), nullable=False),
    sa.Column('previous_sha256', sa.String(), nullable=False, server_default=sa.text("''")),
    sa.Column('conformity', sa.String(), nullable=False),
    sa.Column('state', sa.String(), nullable=False),
    sa.Column('final', sa.Boolean(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('document', sa.Text(), nullable=False),
    sa.ForeignKeyConstraint(['site_id'], ['site.id'], name=op.f('fk_statement_site_id_site')),
    sa.ForeignKeyConstraint(['order_id'], ['order.id'], name=op.f('fk_statement_order_id_order')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_statement')),
    sa.UniqueConstraint('order_id', 'number', name=op.f('uq_statement_order_id_number')),
    sa.UniqueConstraint('sha256', name=op.f('uq_statement_sha256'))
    )
    op.create_index(op.f('ix_statement_site_id'), 'statement', ['site_id'], unique=False)
    op.create_table('statement_file',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('statement_id', sa.Integer(), nullable=False),
    sa.Column('kind', sa.String(), nullable=False),
    sa.Column('language', sa.String(), nullable=False),
    sa.Column('sha256', sa.String(), nullable=False),
    sa.Column('size_bytes', sa.Integer(), nullable=False),
    sa.Column('signed_by', sa.String(), nullable=False, server_default=sa.text("''")),
    sa.Column('note', sa.String(), nullable=False, server_default=sa.text("''")),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['statement_id'], ['statement.id'], name=op.f('fk_statement_file_statement_id_statement')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_statement_file')),
    sa.UniqueConstraint('statement_id', 'kind', name=op.f('uq_statement_file_statement_id_kind'))
    )
    op.add_column('label', sa.Column('after_record', sa.Integer(), nullable=True))
    op.add_column('content', sa.Column('noted', sa.JSON(), nullable=False, server_default=sa.text("'{}'")))
    op.create_index('ix_path_mtime_ns', 'path', ['mtime_ns'], unique=False)
    op.add_column('agent', sa.Column('first_started_at', sa.DateTime(timezone=True), nullable=True))
    # All that an older lab knows of it; from now on it stays what it is.
    agents = sa.table('agent', sa.column('started_at'), sa.column('first_started_at'))
    op.get_bind().execute(agents.update().values(first_started_at=agents.c.started_at))
