"""round-robin campaigns: images, raters, ratings"""

import sqlalchemy as sa
from alembic import op

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('campaign',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('site_id', sa.Integer(), nullable=False),
    sa.Column('name', sa.String(), nullable=False),
    sa.Column('seed', sa.Integer(), nullable=False),
    sa.Column('may_go_back', sa.Boolean(), nullable=False),
    sa.Column('taxonomy', sa.JSON(), nullable=False),
    sa.Column('merged', sa.JSON(), nullable=False),
    sa.Column('by', sa.String(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('opened_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('closed_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['site_id'], ['site.id'], name=op.f('fk_campaign_site_id_site')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_campaign')),
    sa.UniqueConstraint('site_id', 'name', name=op.f('uq_campaign_site_id_name'))
    )
    op.create_table('campaign_image',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('campaign_id', sa.Integer(), nullable=False),
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('micrograph_id', sa.Integer(), nullable=False),
    sa.Column('reference', sa.String(), nullable=True),
    sa.Column('stratum', sa.String(), nullable=False),
    sa.ForeignKeyConstraint(['campaign_id'], ['campaign.id'], name=op.f('fk_campaign_image_campaign_id_campaign')),
    sa.ForeignKeyConstraint(['micrograph_id'], ['micrograph.id'], name=op.f('fk_campaign_image_micrograph_id_micrograph')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_campaign_image')),
    sa.UniqueConstraint('campaign_id', 'number', name=op.f('uq_campaign_image_campaign_id_number')),
    sa.UniqueConstraint('campaign_id', 'micrograph_id', name=op.f('uq_campaign_image_campaign_id_micrograph_id'))
    )
    op.create_index(op.f('ix_campaign_image_micrograph_id'), 'campaign_image', ['micrograph_id'], unique=False)
    op.create_table('campaign_rater',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('campaign_id', sa.Integer(), nullable=False),
    sa.Column('pseudonym', sa.String(), nullable=False),
    sa.Column('name', sa.String(), nullable=False),
    sa.Column('team', sa.String(), nullable=False),
    sa.Column('account', sa.String(), nullable=False),
    sa.Column('hashed', sa.String(), nullable=True),
    sa.Column('invited_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['campaign_id'], ['campaign.id'], name=op.f('fk_campaign_rater_campaign_id_campaign')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_campaign_rater')),
    sa.UniqueConstraint('campaign_id', 'pseudonym', name=op.f('uq_campaign_rater_campaign_id_pseudonym')),
    sa.UniqueConstraint('hashed', name=op.f('uq_campaign_rater_hashed'))
    )
    op.create_table('rating',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('rater_id', sa.Integer(), nullable=False),
    sa.Column('image_id', sa.Integer(), nullable=False),
    sa.Column('revision', sa.Integer(), nullable=False),
    sa.Column('subtype', sa.String(), nullable=True),
    sa.Column('size', sa.String(), nullable=True),
    sa.Column('criterion', sa.String(), nullable=False),
    sa.Column('comment', sa.String(), nullable=False),
    sa.Column('viewing_s', sa.Float(), nullable=True),
    sa.Column('given_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['image_id'], ['campaign_image.id'], name=op.f('fk_rating_image_id_campaign_image')),
    sa.ForeignKeyConstraint(['rater_id'], ['campaign_rater.id'], name=op.f('fk_rating_rater_id_campaign_rater')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_rating')),
    sa.UniqueConstraint('rater_id', 'image_id', 'revision', name=op.f('uq_rating_rater_id_image_id_revision'))
    )
    op.create_index(op.f('ix_rating_image_id'), 'rating', ['image_id'], unique=False)


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the upgrade")
