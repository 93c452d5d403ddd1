"""every row of a lab names its site; what several sites shared until now is parted between them"""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None

AT_ONCE = datetime(2000, 1, 1, tzinfo=UTC)
PARENTS = {
    'path': ('content', 'content_id'),
    'preparation': ('specimen', 'specimen_id'),
    'label': ('micrograph', 'micrograph_id'),
    'measurement': ('micrograph', 'micrograph_id'),
    'statement_file': ('statement', 'statement_id'),
    'campaign_image': ('campaign', 'campaign_id'),
    'campaign_rater': ('campaign', 'campaign_id'),
    'rating': ('campaign_rater', 'rater_id'),
}
LOOSE = ('specification', 'account', 'login')
"""Tables without a parent of a site."""
UNIQUE = {
    'account': (('uq_account_name', ['name', 'site_id']),),
    'specification': (('uq_specification_name_version', ['name', 'version', 'site_id']),),
    'micrograph': (
        ('uq_micrograph_sha256_page', ['sha256', 'page', 'site_id']),
        ('uq_micrograph_public_id', ['public_id', 'site_id']),
    ),
    'statement': (('uq_statement_sha256', ['sha256', 'site_id']),),
    'trail': (('uq_trail_previous_sha256', ['previous_sha256', 'site_id']),),
}
"""Constraints that were unique in the whole database, and what is unique at a site now."""


def upgrade() -> None:
    connection = op.get_bind()
    for name in ('shares_accounts', 'shares_bundles', 'needs_accounts'):
        op.add_column('site', sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column('account', sa.Column('logins_since', sa.DateTime(timezone=True), nullable=True))
    for table in (*PARENTS, *LOOSE):
        op.add_column(table, sa.Column('site_id', sa.Integer(), nullable=True))
    for table, (parent, key) in PARENTS.items():
        # a row whose parent is gone is damage of before; it goes to the first site
        connection.execute(sa.text(
            f'UPDATE "{table}" SET site_id = COALESCE((SELECT p.site_id FROM "{parent}" p '
            f'WHERE p.id = "{table}"."{key}"), (SELECT min(id) FROM site))'
        ))
    sites = list(connection.execute(sa.text('SELECT id FROM site ORDER BY id')).scalars())
    for table in LOOSE:
        if sites:
            connection.execute(sa.text(f'UPDATE "{table}" SET site_id = {sites[0]}'))
    last = _last_number(connection)
    for table in (*PARENTS, *LOOSE, 'micrograph', 'statement', 'trail'):
        _constrain(table)
    _keep_last_number(connection, last)
    op.drop_index('uq_content_sha256_not_duplicate', table_name='content')
    where = sa.text("state != 'duplicate' AND sha256 IS NOT NULL")
    op.create_index('uq_content_sha256_not_duplicate', 'content', ['sha256', 'site_id'],
    unique=True, sqlite_where=where, postgresql_where=where)
    if len(sites) > 1:
        _part(connection, sites)


def _constrain(table: str) -> None:
    kwargs: dict[str, Any] = {'sqlite_autoincrement': True} if table == 'trail' else {}
    with op.batch_alter_table(table, table_kwargs=kwargs) as batch:
        if table in PARENTS or table in LOOSE:
            batch.alter_column('site_id', existing_type=sa.Integer(), nullable=False)
            batch.create_foreign_key(f'fk_{table}_site_id_site', 'site', ['site_id'], ['id'])
        for old, columns in UNIQUE.get(table, ()):
            batch.drop_constraint(old, type_='unique')
            batch.create_unique_constraint(f"uq_{table}_{'_'.join(columns)}", columns)


def _last_number(connection: sa.Connection) -> int | None:
    """Return the newest number that SQLite ever gave to an act: a deleted last one shows by it."""
    if connection.dialect.name != 'sqlite':
        return None
    asked = sa.text("SELECT seq FROM sqlite_sequence WHERE name = 'trail'")
    return connection.execute(asked).scalar()


def _keep_last_number(connection: sa.Connection, last: int | None) -> None:
    if last is None:
        return
    connection.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = 'trail'"))
    connection.execute(
        sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES ('trail', :last)"), {'last': last}
    )


# --- several sites --------------------------------------------------------------------------------

_names = ('id', 'site_id', 'actor', 'act', 'subject', 'facts', 'previous_sha256', 'sha256')
TRAIL = sa.table('trail', *map(sa.column, _names), sa.column('at', sa.DateTime(timezone=True)))
ACCOUNT = sa.table('account', *map(sa.column, ('id', 'site_id', 'name', 'kind', 'role', 'disabled_at')))
LOGIN = sa.table('login', *map(sa.column, ('site_id', 'account_id')))
SPECIFICATION = sa.table(
    'specification', *map(sa.column, ('site_id', 'name', 'version', 'approved_by', 'sha256')),
    sa.column('valid_from', sa.Date()), sa.column('entry', sa.JSON()),
    sa.column('seen_at', sa.DateTime(timezone=True)),
)
PROMOTION = sa.table(
    'promotion', *map(sa.column, ('id', 'site_id', 'bundle', 'by', 'reason')),
    sa.column('promoted_at', sa.DateTime(timezone=True)), sa.column('metrics', sa.JSON()),
)


def _part(connection: sa.Connection, sites: list[int]) -> None:
    """Part what several sites shared: each goes on with what held for it until now.

    Accounts stay with the site that added them. Specifications hold at each site, and so does the
    bundle in use. What was a duplicate of another site's file is read as one of its own. Each site's chain goes on from where the common one
    ends, with an act that says what the site got without an act of its own.
    """
    now = datetime.now(UTC)
    head = connection.execute(
        sa.select(TRAIL.c.id, TRAIL.c.sha256).order_by(TRAIL.c.id.desc()).limit(1)
    ).first()
    _read_duplicates(connection)
    _part_accounts(connection, sites)
    specified = _copy_specifications(connection, sites)
    bundle = connection.execute(
        sa.select(PROMOTION.c.bundle).order_by(PROMOTION.c.id.desc()).limit(1)
    ).scalar()
    for site in sites:
        if head is None:
            return
        facts: dict[str, Any] = {
            'until': head.id,
            'specifications': specified,
            'accounts': {
                row.name: {'kind': row.kind, 'role': row.role, 'disabled': row.disabled_at is not None}
                for row in connection.execute(sa.select(ACCOUNT).where(ACCOUNT.c.site_id == site))
            },
        }
        last = _append(connection, site, head.sha256, now, 'trail.separated', '', facts)
        if bundle and bundle != _newest_bundle(connection, site):
            _promote(connection, site, bundle, last, now)


def _read_duplicates(connection: sa.Connection) -> None:
    """Queue what was called a duplicate of another site's file: its order lacks the field."""
    connection.execute(
        sa.text(
            "UPDATE content SET state = 'queued', duplicate_of = NULL, sha256 = NULL, "
            'attempts = 0, done_at = NULL, due_at = :at_once WHERE duplicate_of IS NOT NULL AND '
            '(SELECT o.site_id FROM content o WHERE o.id = content.duplicate_of) <> site_id'
        ).bindparams(sa.bindparam('at_once', AT_ONCE, sa.DateTime(timezone=True)))
    )


def _part_accounts(connection: sa.Connection, sites: list[int]) -> None:
    added = connection.execute(
        sa.select(TRAIL.c.site_id, TRAIL.c.subject).where(TRAIL.c.act == 'account.added').order_by(TRAIL.c.id)
    )
    for site, name in added:
        connection.execute(ACCOUNT.update().where(ACCOUNT.c.name == name).values(site_id=site))
    own = sa.select(ACCOUNT.c.site_id).where(ACCOUNT.c.id == LOGIN.c.account_id).scalar_subquery()
    connection.execute(LOGIN.update().values(site_id=own))
    if connection.execute(sa.select(sa.func.count()).select_from(ACCOUNT)).scalar():
        connection.execute(sa.text('UPDATE site SET needs_accounts = true'))


def _copy_specifications(connection: sa.Connection, sites: list[int]) -> list[str]:
    """Copy the specifications to each site; return their hashes."""
    rows = [dict(row) for row in connection.execute(sa.select(SPECIFICATION)).mappings()]
    for site in sites[1:]:
        for row in rows:
            connection.execute(SPECIFICATION.insert().values({**row, 'site_id': site}))
    return sorted(row['sha256'] for row in rows)


def _newest_bundle(connection: sa.Connection, site: int) -> str | None:
    return connection.execute(
        sa.select(PROMOTION.c.bundle).where(PROMOTION.c.site_id == site)
        .order_by(PROMOTION.c.id.desc()).limit(1)
    ).scalar()


def _promote(connection: sa.Connection, site: int, bundle: str, last: str, now: datetime) -> None:
    reason = 'in use here when the sites of this database were separated'
    number = connection.execute(
        PROMOTION.insert().values(
            site_id=site, bundle=bundle, by='agent', reason=reason, promoted_at=now, metrics={}
        ).returning(PROMOTION.c.id)
    ).scalar()
    facts = {'promotion': number, 'reason': reason, 'metrics': dict[str, Any]()}
    _append(connection, site, last, now, 'model.promoted', bundle, facts)


def _append(
    connection: sa.Connection, site: int, last: str, now: datetime, act: str, subject: str,
    facts: dict[str, Any],
) -> str:
    """Append an act to a site's chain, hashed as at this revision; return its hash."""
    text = json.dumps(facts, ensure_ascii=False, sort_keys=True)
    hashed = [last, site, round(now.timestamp() * 1_000_000), 'agent', act, subject, text]
    sha256 = hashlib.sha256(json.dumps(hashed).encode()).hexdigest()
    connection.execute(TRAIL.insert().values(
        site_id=site, at=now, actor='agent', act=act, subject=subject, facts=text,
        previous_sha256=last, sha256=sha256,
    ))
    return sha256
