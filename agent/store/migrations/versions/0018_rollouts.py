"""bundles that the PCs of a site take in rings"""

import sqlalchemy as sa
from alembic import op

revision = '0018'
down_revision = '0017'
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables; no rollout is running."""
    running = sa.text("state = 'running'")
    op.create_table(
        'rollout',
        sa.Column('id', sa.Integer(), nullable=False),
        sa.Column('site_id', sa.Integer(), nullable=False),
        sa.Column('bundle', sa.String(), nullable=False),
        sa.Column('previous', sa.String(), nullable=True),
        sa.Column('state', sa.String(), nullable=False),
        sa.Column('step', sa.Integer(), nullable=False),
        sa.Column('attempt', sa.Integer(), nullable=False),
        sa.Column('rings', sa.JSON(), nullable=False),
        sa.Column('by', sa.String(), nullable=False),
        sa.Column('reason', sa.String(), nullable=False),
        sa.Column('metrics', sa.JSON(), nullable=False),
        sa.Column('baseline', sa.JSON(), nullable=False),
        sa.Column('baseline_host', sa.String(), nullable=False),
        sa.Column('started_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('step_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('ended_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('stopped_by', sa.String(), nullable=False),
        sa.Column('why', sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(['site_id'], ['site.id'], name='fk_rollout_site_id_site'),
        sa.PrimaryKeyConstraint('id', name='pk_rollout'),
    )
    op.create_index(
        'uq_rollout_running',
        'rollout',
        ['site_id'],
        unique=True,
        sqlite_where=running,
        postgresql_where=running,
    )
    op.create_table(
        'rollout_host',
        sa.Column('id', sa.Integer(), nullable=False),
        sa.Column('site_id', sa.Integer(), nullable=False),
        sa.Column('rollout_id', sa.Integer(), nullable=False),
        sa.Column('agent_id', sa.Integer(), nullable=False),
        sa.Column('ring', sa.Integer(), nullable=False),
        sa.Column('state', sa.String(), nullable=False),
        sa.Column('judged_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('n', sa.Integer(), nullable=False),
        sa.Column('same_codes', sa.Integer(), nullable=False),
        sa.Column('max_difference', sa.Float(), nullable=True),
        sa.Column('message', sa.JSON(), nullable=False),
        *(
            sa.ForeignKeyConstraint(
                [column], [f'{table}.id'], name=f'fk_rollout_host_{column}_{table}'
            )
            for column, table in (
                ('site_id', 'site'),
                ('rollout_id', 'rollout'),
                ('agent_id', 'agent'),
            )
        ),
        sa.PrimaryKeyConstraint('id', name='pk_rollout_host'),
        sa.UniqueConstraint('rollout_id', 'agent_id', name='uq_rollout_host_rollout_id_agent_id'),
    )
