"""evidence is guarded, and what the trail holds of it is known; the guards are laid after it"""

import hashlib
import json
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None

COVERED = ('order', 'record', 'promotion', 'night', 'account')

TRAIL = sa.table(
    'trail',
    *(sa.column(name) for name in ('id', 'site_id', 'actor', 'act', 'subject', 'facts')),
    sa.column('at', sa.DateTime(timezone=True)),
    sa.column('previous_sha256'),
    sa.column('sha256'),
)


def upgrade() -> None:
    coverage = op.create_table('trail_coverage',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('name', sa.String(), nullable=False),
    sa.Column('newest_id', sa.Integer(), nullable=False),
    sa.Column('since', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_trail_coverage')),
    sa.UniqueConstraint('name', name=op.f('uq_trail_coverage_name'))
    )
    connection, now = op.get_bind(), datetime.now(UTC)
    newest = {}
    for name in COVERED:
        table = sa.table(name, sa.column('id'))
        newest[name] = connection.execute(sa.select(sa.func.max(table.c.id))).scalar() or 0
        connection.execute(coverage.insert().values(name=name, newest_id=newest[name], since=now))
    site = connection.execute(sa.text('SELECT min(id) FROM site')).scalar()
    if site is not None:
        _remember(connection, site, newest, now)


def _remember(
    connection: sa.Connection, site: int, newest: dict[str, int], now: datetime
) -> None:
    """Append what was not covered until now to the trail, hashed as at this revision."""
    last = connection.execute(
        sa.select(TRAIL.c.sha256).order_by(TRAIL.c.id.desc()).limit(1)
    ).scalar() or '0' * 64
    facts = json.dumps(newest, sort_keys=True)
    hashed = [last, site, round(now.timestamp() * 1_000_000), 'agent', 'trail.covered', '', facts]
    connection.execute(TRAIL.insert().values(
        site_id=site, at=now, actor='agent', act='trail.covered', subject='', facts=facts,
        previous_sha256=last, sha256=hashlib.sha256(json.dumps(hashed).encode()).hexdigest(),
    ))
