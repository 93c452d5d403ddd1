"""what a result and its field were filed with; which rows came before the trail holds of them"""

import hashlib
import json
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = '0010'
down_revision = '0009'
branch_labels = None
depends_on = None

COVERED = ('result', 'preparation', 'same_place', 'order_claim')

TRAIL = sa.table(
    'trail',
    *(sa.column(name) for name in ('id', 'site_id', 'actor', 'act', 'subject', 'facts')),
    sa.column('at', sa.DateTime(timezone=True)),
    sa.column('previous_sha256'),
    sa.column('sha256'),
)
COVERAGE = sa.table(
    'trail_coverage',
    sa.column('name'),
    sa.column('newest_id'),
    sa.column('since', sa.DateTime(timezone=True)),
)


def upgrade() -> None:
    op.add_column('result', sa.Column('filed', sa.Text(), nullable=False, server_default=sa.text("''")))
    connection, now = op.get_bind(), datetime.now(UTC)
    newest = {}
    for name in COVERED:
        table = sa.table(name, sa.column('id'))
        newest[name] = connection.execute(sa.select(sa.func.max(table.c.id))).scalar() or 0
        connection.execute(COVERAGE.insert().values(name=name, newest_id=newest[name], since=now))
    site = connection.execute(sa.text('SELECT min(id) FROM site')).scalar()
    if site is not None:
        _remember(connection, site, newest, now)


def _remember(
    connection: sa.Connection, site: int, newest: dict[str, int], now: datetime
) -> None:
    """Append what was not covered until now to the trail, hashed as at this revision."""
    last = connection.execute(
        sa.select(TRAIL.c.sha256)
        .where(TRAIL.c.site_id == site)  # each site has a chain of its own
        .order_by(TRAIL.c.id.desc())
        .limit(1)
    ).scalar() or '0' * 64
    facts = json.dumps(newest, sort_keys=True)
    hashed = [last, site, round(now.timestamp() * 1_000_000), 'agent', 'trail.covered', '', facts]
    connection.execute(TRAIL.insert().values(
        site_id=site, at=now, actor='agent', act='trail.covered', subject='', facts=facts,
        previous_sha256=last, sha256=hashlib.sha256(json.dumps(hashed).encode()).hexdigest(),
    ))
