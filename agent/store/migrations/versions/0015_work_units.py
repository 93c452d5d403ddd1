"""micrographs that are judged again in units, by any agent of the site"""

import sqlalchemy as sa
from alembic import op

revision = '0015'
down_revision = '0012'
branch_labels = None
depends_on = None

OFTEN_CHANGED = {'work_unit': 50, 'agent': 50, 'source': 50}
"""Tables whose rows change every few seconds, and how full (%) PostgreSQL fills their pages."""


def upgrade() -> None:
    """Make the tables; PostgreSQL leaves room in the pages of rows that change often."""
    empty = sa.text("''")
    op.create_table(
        'work_job',
        sa.Column('id', sa.Integer(), nullable=False),
        sa.Column('site_id', sa.Integer(), nullable=False),
        sa.Column('bundle', sa.String(), nullable=False),
        sa.Column('role', sa.String(), nullable=False),
        sa.Column('days', sa.Integer(), nullable=True),
        sa.Column('since', sa.DateTime(timezone=True), nullable=True),
        sa.Column('state', sa.String(), nullable=False),
        sa.Column('by', sa.String(), nullable=False),
        sa.Column('acted_by', sa.String(), nullable=False, server_default=empty),
        sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('ended_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('divided_to', sa.Integer(), nullable=True),
        sa.Column('is_divided', sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column('known', sa.Integer(), nullable=False),
        sa.Column('total', sa.Integer(), nullable=False),
        sa.Column('counts', sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(['site_id'], ['site.id'], name='fk_work_job_site_id_site'),
        sa.PrimaryKeyConstraint('id', name='pk_work_job'),
    )
    op.create_index('ix_work_job_site_id_state', 'work_job', ['site_id', 'state'])
    counts = ('first_id', 'last_id', 'n')
    later = ('done_to', 'judged', 'known', 'lost', 'unreadable', 'flagged')
    op.create_table(
        'work_unit',
        sa.Column('id', sa.Integer(), nullable=False),
        sa.Column('site_id', sa.Integer(), nullable=False),
        sa.Column('job_id', sa.Integer(), nullable=False),
        sa.Column('source_id', sa.Integer(), nullable=False),
        sa.Column('home_id', sa.Integer(), nullable=True),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in counts),
        sa.Column('state', sa.String(), nullable=False),
        sa.Column('attempt', sa.Integer(), nullable=False),
        sa.Column('failures', sa.Integer(), nullable=False),
        sa.Column('agent_id', sa.Integer(), nullable=True),
        sa.Column('due_at', sa.DateTime(timezone=True), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in later),
        sa.Column('flips', sa.JSON(), nullable=False),
        sa.Column('reason', sa.String(), nullable=False, server_default=empty),
        sa.Column('ended_at', sa.DateTime(timezone=True), nullable=True),
        *(
            sa.ForeignKeyConstraint([column], [f'{table}.id'], name=f'fk_work_unit_{column}_{table}')
            for column, table in (
                ('site_id', 'site'),
                ('job_id', 'work_job'),
                ('source_id', 'source'),
                ('home_id', 'agent'),
                ('agent_id', 'agent'),
            )
        ),
        sa.PrimaryKeyConstraint('id', name='pk_work_unit'),
        sqlite_autoincrement=True,
    )
    op.create_index(
        'ix_work_unit_job_id_state_home_id_id', 'work_unit', ['job_id', 'state', 'home_id', 'id']
    )
    if op.get_bind().dialect.name == 'postgresql':
        for table, percent in OFTEN_CHANGED.items():
            op.execute(
                f'ALTER TABLE {table} SET (fillfactor = {percent}, '
                'autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000, '
                'autovacuum_analyze_scale_factor = 0.1)'
            )
