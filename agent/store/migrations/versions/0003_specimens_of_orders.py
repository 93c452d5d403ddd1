"""fields belong to specimens, specimens to one bundle; records of the lab"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None

NO_KEYS = 'no order number and specimen were known of it'


def upgrade() -> None:
    op.create_table('record',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('site_id', sa.Integer(), nullable=False),
    sa.Column('kind', sa.String(), nullable=False),
    sa.Column('subject', sa.String(), nullable=False),
    sa.Column('by', sa.String(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('facts', sa.JSON(), nullable=False),
    sa.ForeignKeyConstraint(['site_id'], ['site.id'], name=op.f('fk_record_site_id_site')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_record'))
    )
    op.create_index('ix_record_subject', 'record', ['site_id', 'kind', 'subject', 'id'], unique=False)
    op.add_column('specimen', sa.Column('bundle', sa.String(), nullable=True))
    op.add_column('micrograph', sa.Column('unassigned', sa.String(), nullable=False, server_default=sa.text("''")))
    op.add_column('micrograph', sa.Column('superseded', sa.JSON(), nullable=False, server_default=sa.text("'{}'")))
    op.add_column('micrograph', sa.Column('area_mm2', sa.Float(), nullable=True))
    op.create_index(
        'ix_micrograph_unassigned', 'micrograph', ['site_id', 'id'], unique=False,
        sqlite_where=sa.text("unassigned != ''"), postgresql_where=sa.text("unassigned != ''"),
    )
    op.add_column('result', sa.Column('expected', sa.JSON(), nullable=False, server_default=sa.text("'{}'")))
    connection = op.get_bind()
    _gather(connection)
    _rank_again(connection)


def _gather(connection: sa.Connection) -> None:
    """Give every micrograph that was there its specimen, by the process data it came with."""
    seen = sa.table('micrograph', *(sa.column(name) for name in (
        'id', 'site_id', 'order', 'specimen', 'preparation', 'heat', 'batch', 'material', 'etchant',
        'taken_at', 'origin', 'specimen_id', 'preparation_id', 'unassigned')))
    mine = seen.c.origin != 'import'
    known = (seen.c.order != '') & (seen.c.specimen != '')
    connection.execute(sa.update(seen).where(mine, ~known).values(unassigned=NO_KEYS))
    first = sa.select(
        *(seen.c[name] for name in ('site_id', 'order', 'specimen', 'preparation')),
        *(sa.func.max(seen.c[name]).label(name) for name in ('heat', 'batch', 'material', 'etchant')),
        sa.func.min(seen.c.taken_at).label('taken_at'), sa.func.min(seen.c.id).label('first'),
    ).where(mine, known).group_by(
        *(seen.c[name] for name in ('site_id', 'order', 'specimen', 'preparation'))).order_by(sa.text('first'))
    orders: dict[tuple[int, str], int] = {}
    specimens: dict[tuple[int, str], int] = {}
    for row in connection.execute(first).all():
        order = orders.get((row.site_id, row.order)) or _order(connection, row)
        orders[row.site_id, row.order] = order
        specimen = specimens.get((order, row.specimen)) or _specimen(connection, row, order)
        specimens[order, row.specimen] = specimen
        preparation = _add(connection, 'preparation', specimen_id=specimen, name=row.preparation or '1',
            etchant=row.etchant, first_seen_at=row.taken_at, facts={})
        connection.execute(sa.update(seen).where(
            mine, *(seen.c[name] == getattr(row, name) for name in ('site_id', 'order', 'specimen', 'preparation')),
        ).values(specimen_id=specimen, preparation_id=preparation))
    connection.execute(sa.text(
        "UPDATE specimen SET bundle = (SELECT result.bundle FROM result JOIN micrograph "
        "ON micrograph.id = result.micrograph_id WHERE micrograph.specimen_id = specimen.id "
        "AND result.current AND result.bundle != '' ORDER BY result.id DESC LIMIT 1)"))


def _order(connection: sa.Connection, row: Any) -> int:
    there = sa.text('SELECT id FROM "order" WHERE site_id = :site AND number = :number')
    found = connection.execute(there, {'site': row.site_id, 'number': row.order}).scalar()
    return int(found) if found else _add(connection, 'order', site_id=row.site_id, number=row.order, customer='', product='',
        material=row.material, urgent=False, legal_hold=False, first_seen_at=row.taken_at, facts={})


def _specimen(connection: sa.Connection, row: Any, order: int) -> int:
    return _add(connection, 'specimen', site_id=row.site_id, order_id=order, name=row.specimen, heat=row.heat,
        batch=row.batch, material=row.material, first_seen_at=row.taken_at, facts={})


def _add(connection: sa.Connection, table: str, **values: object) -> int:
    kinds = {'facts': sa.JSON, 'urgent': sa.Boolean, 'legal_hold': sa.Boolean}
    row = sa.table(table, sa.column('id', sa.Integer), *(sa.column(key, kinds.get(key)) for key in values))
    return int(connection.execute(sa.insert(row).values(**values).returning(row.c.id)).scalar_one())


def _rank_again(connection: sa.Connection) -> None:
    """An unexpected subtype became the weightiest reason: it was the sixth."""
    connection.execute(sa.text(
        "UPDATE result SET review_rank = CASE WHEN review_rank < 5000000 THEN review_rank + 1000000 "
        "WHEN review_rank < 6000000 THEN review_rank - 5000000 ELSE review_rank END "
        "WHERE review_rank IS NOT NULL"))


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the upgrade")
