"""one place is one field: landmarks, same places, claims of orders, one key per order number"""

import unicodedata

import sqlalchemy as sa
from alembic import op

revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None


# As the program compared numbers at this revision; a later change of it must not change this one.
LOOK_ALIKE = str.maketrans(
    "\u0430\u0432\u0435\u043a\u043c\u043d\u043e\u0440\u0441\u0442\u0443\u0445\u0456\u0458\u0455"
    "\u03b1\u03b2\u03b5\u03b6\u03b7\u03b9\u03ba\u03bc\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7"
    "\u0131\u2044\u2215\u2212",
    "abekmhopctyxijsabezhikmnoptyxi//-",
)


def key_of(number: str) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", number).casefold())
    letters = []
    for letter in folded.translate(LOOK_ALIKE):
        category = unicodedata.category(letter)
        if category == "Nd":
            letters.append(str(unicodedata.decimal(letter)))
        elif category == "Pd":
            letters.append("-")
        elif category not in ("Cf", "Cc", "Mn", "Me") and not letter.isspace():
            letters.append(letter)
    plain = "".join(letters)
    plain = plain.strip(".,;:#") or plain
    return plain.lstrip("0") or plain[-1:]


def upgrade() -> None:
    op.add_column('order', sa.Column('key', sa.String(), nullable=False, server_default=sa.text("''")))
    orders = sa.table('order', sa.column('id'), sa.column('site_id'), sa.column('number'), sa.column('key'))
    connection = op.get_bind()
    taken = set()
    for row in connection.execute(sa.select(orders).order_by(orders.c.id)).all():
        key = key_of(row.number)
        # Two spellings that were two orders until now stay two: what was said of them stands.
        if (row.site_id, key) in taken:
            key = f"{key}\x1f{row.id}"
        taken.add((row.site_id, key))
        connection.execute(orders.update().where(orders.c.id == row.id).values(key=key))
    op.create_index('uq_order_site_id_key', 'order', ['site_id', 'key'], unique=True)
    op.add_column('result', sa.Column('after_record', sa.Integer(), nullable=True))
    op.create_table('place',
    sa.Column('micrograph_id', sa.Integer(), nullable=False),
    sa.Column('site_id', sa.Integer(), nullable=False),
    sa.Column('landmarks', sa.LargeBinary(), nullable=True),
    sa.Column('compared_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['micrograph_id'], ['micrograph.id'], name=op.f('fk_place_micrograph_id_micrograph')),
    sa.ForeignKeyConstraint(['site_id'], ['site.id'], name=op.f('fk_place_site_id_site')),
    sa.PrimaryKeyConstraint('micrograph_id', name=op.f('pk_place'))
    )
    op.create_index('ix_place_site_id', 'place', ['site_id', 'micrograph_id'], unique=False)
    op.create_index('ix_place_pending', 'place', ['site_id', 'micrograph_id'], unique=False,
    sqlite_where=sa.text('compared_at IS NULL'), postgresql_where=sa.text('compared_at IS NULL'))
    op.create_table('same_place',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('site_id', sa.Integer(), nullable=False),
    sa.Column('micrograph_id', sa.Integer(), nullable=False),
    sa.Column('other_id', sa.Integer(), nullable=False),
    sa.Column('share', sa.Float(), nullable=False),
    sa.Column('area_px', sa.Float(), nullable=False),
    sa.Column('facts', sa.JSON(), nullable=False),
    sa.Column('found_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('verdict', sa.String(), nullable=False, server_default=sa.text("''")),
    sa.Column('belongs_id', sa.Integer(), nullable=True),
    sa.Column('by', sa.String(), nullable=False, server_default=sa.text("''")),
    sa.Column('reason', sa.String(), nullable=False, server_default=sa.text("''")),
    sa.Column('decided_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['site_id'], ['site.id'], name=op.f('fk_same_place_site_id_site')),
    sa.ForeignKeyConstraint(['micrograph_id'], ['micrograph.id'], name=op.f('fk_same_place_micrograph_id_micrograph')),
    sa.ForeignKeyConstraint(['other_id'], ['micrograph.id'], name=op.f('fk_same_place_other_id_micrograph')),
    sa.ForeignKeyConstraint(['belongs_id'], ['micrograph.id'], name=op.f('fk_same_place_belongs_id_micrograph')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_same_place')),
    sa.UniqueConstraint('micrograph_id', 'other_id', name=op.f('uq_same_place_micrograph_id_other_id'))
    )
    op.create_index(op.f('ix_same_place_other_id'), 'same_place', ['other_id'], unique=False)
    op.create_table('order_claim',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('site_id', sa.Integer(), nullable=False),
    sa.Column('micrograph_id', sa.Integer(), nullable=False),
    sa.Column('order_id', sa.Integer(), nullable=False),
    sa.Column('specimen', sa.String(), nullable=False, server_default=sa.text("''")),
    sa.Column('origin', sa.String(), nullable=False, server_default=sa.text("''")),
    sa.Column('file', sa.String(), nullable=False, server_default=sa.text("''")),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('settled_by', sa.String(), nullable=False, server_default=sa.text("''")),
    sa.Column('settled_reason', sa.String(), nullable=False, server_default=sa.text("''")),
    sa.Column('settled_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['site_id'], ['site.id'], name=op.f('fk_order_claim_site_id_site')),
    sa.ForeignKeyConstraint(['micrograph_id'], ['micrograph.id'], name=op.f('fk_order_claim_micrograph_id_micrograph')),
    sa.ForeignKeyConstraint(['order_id'], ['order.id'], name=op.f('fk_order_claim_order_id_order')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_order_claim')),
    sa.UniqueConstraint('micrograph_id', 'order_id', 'specimen', name=op.f('uq_order_claim_micrograph_id_order_id_specimen'))
    )
    op.create_index('ix_order_claim_order_id', 'order_claim', ['order_id'], unique=False)
