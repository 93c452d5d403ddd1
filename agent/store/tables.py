"""All tables of the database.

A JSON column is replaced, never changed in place: SQLAlchemy would not detect it. `Instant` is the
only column type for times, and it refuses one without a zone.
"""

from datetime import UTC, date, datetime
from typing import Any, ClassVar, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy import column as sql_column
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlmodel import Field, SQLModel

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
"""How constraints are named; without names Alembic misses a dropped one."""


class Instant(TypeDecorator[datetime]):
    """An aware time, stored as UTC and read as UTC in both databases."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Refuse a moment without a zone: it would be off by hours and look right."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without a zone cannot be stored: {value}")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return it aware; SQLite has no zones."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Row(SQLModel):
    """The base of every table."""

    metadata: ClassVar[MetaData] = MetaData(naming_convention=NAMES)


class OfSite:
    """Mixin of every table whose rows belong to one site; `site_scope` adds the site by itself."""


class OfGroup:
    """Mixin of a table of a site whose rows are valid at all sites that share it."""


SITE: Final = "site"
"""Execution option of an engine: the number of the site whose rows its statements reach."""


def _site_of(context: DefaultExecutionContext) -> int | None:
    """Return the site of the engine that a new row is written through."""
    site: int | None = context.execution_options.get(SITE)
    return site


def _site(*, index: bool = False) -> Any:
    return Field(
        default=None,
        foreign_key="site.id",
        nullable=False,
        index=index,
        sa_column_kwargs={"default": _site_of},
    )


def _instant(*, index: bool = False) -> Any:
    return Field(default=None, sa_type=Instant, index=index)


def _json(*, empty: type = dict, filled: bool = False) -> Any:
    # `filled`: a later column, for which the existing rows need a value.
    extra: dict[str, Any] = {"server_default": text("'{}'")} if filled else {}
    return Field(default_factory=empty, sa_type=JSON, nullable=False, sa_column_kwargs=extra)


def _text() -> Any:
    return Field(default="", sa_column_kwargs={"server_default": text("''")})


def _no() -> Any:
    return Field(default=False, sa_column_kwargs={"server_default": false()})


def _big() -> Any:
    return Field(default=0, sa_type=BigInteger)


class SiteRow(Row, table=True):
    """A plant; several may share one database.

    `shares_accounts` and `shares_bundles` are its setting `site.shares`: rows of sites that share
    them are valid at each. `needs_accounts`: it shared the accounts of others when they were
    separated, so a log-in is required, although it has no account.
    """

    __tablename__: ClassVar[Any] = "site"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    shares_accounts: bool = _no()
    shares_bundles: bool = _no()
    needs_accounts: bool = _no()


class AgentRow(OfSite, Row, table=True):
    """A running program on one PC; `seen_at` is its heartbeat, `started_at` its last start."""

    __tablename__: ClassVar[Any] = "agent"
    __table_args__: ClassVar[Any] = (UniqueConstraint("site_id", "name"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = _site()
    name: str
    first_started_at: datetime | None = _instant()
    started_at: datetime | None = _instant()
    seen_at: datetime | None = _instant()
    facts: dict[str, Any] = _json()


class SourceRow(OfSite, Row, table=True):
    """A microscope's export folder."""

    __tablename__: ClassVar[Any] = "source"
    __table_args__: ClassVar[Any] = (UniqueConstraint("site_id", "name"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = _site()
    name: str
    folder: str
    mode: str = ""
    online: bool = True
    offline_since: datetime | None = _instant()
    last_scan_at: datetime | None = _instant()
    found_by_scan: int = 0
    found_by_event: int = 0
    facts: dict[str, Any] = _json()


class ContentRow(OfSite, Row, table=True):
    """A version of a file's content, and its state.

    `due_at` is when something is to be done about it: since when it is queued, when a failed
    one is tried again, when a lease expires; empty where nothing is to be done. `claims`
    only ever grows, so that a worker detects that its lease was taken over. `noted` stores which
    orders notes next to an unread file name, order → specimen.
    """

    __tablename__: ClassVar[Any] = "content"
    __table_args__: ClassVar[Any] = (
        Index(
            "uq_content_sha256_not_duplicate",
            "sha256",
            "site_id",
            unique=True,
            sqlite_where=text("state != 'duplicate' AND sha256 IS NOT NULL"),
            postgresql_where=text("state != 'duplicate' AND sha256 IS NOT NULL"),
        ),
        Index(
            "ix_content_due",
            "site_id",
            "lane",
            "due_at",
            sqlite_where=text("due_at IS NOT NULL"),
            postgresql_where=text("due_at IS NOT NULL"),
        ),
        Index("ix_content_site_id_state_id", "site_id", "state", "id"),
        Index(
            "ix_content_duplicate_of",
            "duplicate_of",
            sqlite_where=text("duplicate_of IS NOT NULL"),
            postgresql_where=text("duplicate_of IS NOT NULL"),
        ),
        Index(
            "ix_content_previous_id",
            "previous_id",
            sqlite_where=text("previous_id IS NOT NULL"),
            postgresql_where=text("previous_id IS NOT NULL"),
        ),
        {"sqlite_autoincrement": True},  # a number is never given twice: claims remember it
    )

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = _site()
    source_id: int = Field(foreign_key="source.id", index=True)
    sha256: str | None = None
    size_bytes: int = _big()
    state: str
    lane: int = 1
    origin: str = "watch"
    code: str | None = None
    reason: str | None = None
    attempts: int = 0
    claims: int = 0
    interrupted: int = 0
    due_at: datetime | None = _instant()
    agent_id: int | None = Field(default=None, foreign_key="agent.id")
    first_seen_at: datetime = _instant()
    done_at: datetime | None = _instant()
    duplicate_of: int | None = Field(default=None, foreign_key="content.id")
    previous_id: int | None = Field(default=None, foreign_key="content.id")
    process_data: dict[str, str] = _json()
    noted: dict[str, str] = _json(filled=True)


class PathRow(OfSite, Row, table=True):
    """A name under which a content was seen; many per content, one current per name."""

    __tablename__: ClassVar[Any] = "path"
    __table_args__: ClassVar[Any] = (
        Index(
            "uq_path_current",
            "source_id",
            "relative",
            unique=True,
            sqlite_where=text("replaced_at IS NULL"),
            postgresql_where=text("replaced_at IS NULL"),
        ),
        Index("ix_path_mtime_ns", "mtime_ns"),
    )

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = _site()
    content_id: int = Field(foreign_key="content.id", index=True)
    source_id: int = Field(foreign_key="source.id")
    relative: str
    size_bytes: int = _big()
    mtime_ns: int = _big()
    ctime_ns: int = _big()
    seen_at: datetime = _instant()
    gone_at: datetime | None = _instant()
    replaced_at: datetime | None = _instant()


class OrderRow(OfSite, Row, table=True):
    """A customer's order; `legal_hold` excludes all of it from pruning.

    `key` is what all spellings of its number have in common (`agent.store.numbers`).
    """

    __tablename__: ClassVar[Any] = "order"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("site_id", "number"),
        Index("uq_order_site_id_key", "site_id", "key", unique=True),
    )

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = _site()
    number: str
    key: str = _text()
    customer: str = ""
    product: str = ""
    material: str = ""
    urgent: bool = False
    legal_hold: bool = False
    first_seen_at: datetime | None = _instant()
    facts: dict[str, Any] = _json()


class SpecimenRow(OfSite, Row, table=True):
    """A physical mounted piece. `bundle` judges all of it: set by its first field, then fixed."""

    __tablename__: ClassVar[Any] = "specimen"
    __table_args__: ClassVar[Any] = (UniqueConstraint("site_id", "order_id", "name"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = _site()
    order_id: int | None = Field(default=None, foreign_key="order.id", index=True)
    name: str
    heat: str = ""
    batch: str = ""
    material: str = ""
    bundle: str | None = None
    first_seen_at: datetime | None = _instant()
    facts: dict[str, Any] = _json()


class PreparationRow(OfSite, Row, table=True):
    """A grinding, polishing and etching of a specimen; a repeat is a new row."""

    __tablename__: ClassVar[Any] = "preparation"
    __table_args__: ClassVar[Any] = (UniqueConstraint("specimen_id", "name"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = _site()
    specimen_id: int = Field(foreign_key="specimen.id")
    name: str
    etchant: str = ""
    first_seen_at: datetime | None = _instant()
    replaces: int | None = Field(default=None, foreign_key="preparation.id")
    facts: dict[str, Any] = _json()


class SpecificationRow(OfSite, Row, table=True):
    """A specification limit; a change is a new version."""

    __tablename__: ClassVar[Any] = "specification"
    __table_args__: ClassVar[Any] = (UniqueConstraint("name", "version", "site_id"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = _site()
    name: str
    version: int = 1
    valid_from: date
    approved_by: str = ""
    sha256: str = ""
    entry: dict[str, Any] = _json()
    seen_at: datetime = _instant()


class MicrographRow(OfSite, Row, table=True):
    """One page or scene of one content, apart from any assessment of it.

    It belongs to one preparation of one specimen, or to none, and `unassigned` is the reason. Of a
    field that no longer counts `superseded` stores the reason and the author.
    """

    __tablename__: ClassVar[Any] = "micrograph"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("sha256", "page", "site_id"),
        UniqueConstraint("public_id", "site_id"),
        Index("ix_micrograph_site_id_order", "site_id", "order"),
        Index(
            "ix_micrograph_unassigned",
            "site_id",
            "id",
            sqlite_where=text("unassigned != ''"),
            postgresql_where=text("unassigned != ''"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    public_id: str
    content_id: int = Field(foreign_key="content.id", index=True)
    site_id: int = _site()
    source_id: int = Field(foreign_key="source.id")
    sha256: str
    page: int
    relative: str
    origin: str = "watch"
    taken_at: datetime = _instant()
    width: int
    height: int
    format: str = ""
    um_per_px: float | None = None
    um_per_px_source: str | None = None
    recipe: str = ""
    crop_facts: dict[str, Any] = _json()
    warnings: list[str] = _json(empty=list)
    artefacts: dict[str, Any] = _json()
    pruned_at: datetime | None = _instant()
    specimen_id: int | None = Field(default=None, foreign_key="specimen.id", index=True)
    preparation_id: int | None = Field(default=None, foreign_key="preparation.id")
    unassigned: str = _text()
    superseded: dict[str, Any] = _json(filled=True)
    area_mm2: float | None = None
    plant: str = ""
    microscope: str = ""
    objective: str = ""
    order: str = ""
    heat: str = ""
    batch: str = ""
    specimen: str = ""
    preparation: str = ""
    field: str = ""
    material: str = ""
    etchant: str = ""
    magnification: str = ""
    operator: str = ""
    process_extra: dict[str, Any] = _json()


class PlaceRow(OfSite, Row, table=True):
    """Landmarks of a micrograph; `compared_at` is empty until it was compared.

    A micrograph without a row was recorded before places were compared.
    """

    __tablename__: ClassVar[Any] = "place"
    __table_args__: ClassVar[Any] = (
        Index("ix_place_site_id", "site_id", "micrograph_id"),
        Index(
            "ix_place_pending",
            "site_id",
            "micrograph_id",
            sqlite_where=text("compared_at IS NULL"),
            postgresql_where=text("compared_at IS NULL"),
        ),
    )

    micrograph_id: int | None = Field(
        default=None, primary_key=True, foreign_key="micrograph.id", sa_type=Integer
    )
    site_id: int = _site()
    landmarks: bytes | None = Field(default=None, sa_type=LargeBinary)
    compared_at: datetime | None = _instant()


class SamePlaceRow(OfSite, Row, table=True):
    """Two micrographs that show the same place, and a lead's decision about them.

    `verdict` is "" (open), "different" (they show two places) or "belongs": then `belongs_id` is
    the micrograph that counts for the place.
    """

    __tablename__: ClassVar[Any] = "same_place"
    __table_args__: ClassVar[Any] = (UniqueConstraint("micrograph_id", "other_id"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = _site()
    micrograph_id: int = Field(foreign_key="micrograph.id")
    other_id: int = Field(foreign_key="micrograph.id", index=True)
    share: float
    area_px: float
    facts: dict[str, Any] = _json()
    found_at: datetime = _instant()
    verdict: str = _text()
    belongs_id: int | None = Field(default=None, foreign_key="micrograph.id")
    by: str = _text()
    reason: str = _text()
    decided_at: datetime | None = _instant()


class OrderClaimRow(OfSite, Row, table=True):
    """An order that a micrograph was named for and does not belong to.

    It was named by the path, a note, a sender, a copy, or an earlier assignment. The order is
    undecided until a lead settles the claim.
    """

    __tablename__: ClassVar[Any] = "order_claim"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("micrograph_id", "order_id", "specimen"),
        Index("ix_order_claim_order_id", "order_id"),
    )

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = _site()
    micrograph_id: int = Field(foreign_key="micrograph.id")
    order_id: int = Field(foreign_key="order.id")
    specimen: str = _text()
    origin: str = _text()
    file: str = _text()
    at: datetime = _instant()
    settled_by: str = _text()
    settled_reason: str = _text()
    settled_at: datetime | None = _instant()


class ResultRow(OfSite, Row, table=True):
    """A bundle's result on a micrograph, cut by one recipe; never overwritten.

    `current` marks the one a page shows. `review_rank` is its rank in the review queue, the
    most important reason first, and empty once it is decided or where no review is needed.
    `after_record` is the newest record when it was written, 0 for none: a sequence that no clock
    can change. Results older than the column have none. `filed` stores what it
    and its field were filed with (`agent.store.filing`), "" until an older one is filed again.
    """

    __tablename__: ClassVar[Any] = "result"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("micrograph_id", "bundle", "recipe"),
        Index(
            "uq_result_current",
            "micrograph_id",
            unique=True,
            sqlite_where=text("current IS 1"),
            postgresql_where=text("current IS true"),
        ),
        Index(
            "ix_result_queue",
            "site_id",
            "review_rank",
            "done_at",
            sqlite_where=text("review_rank IS NOT NULL"),
            postgresql_where=text("review_rank IS NOT NULL"),
        ),
        Index(
            "ix_result_night",
            "site_id",
            "done_at",
            sqlite_where=text("current IS 1 AND origin = 'watch'"),
            postgresql_where=text("current IS true AND origin = 'watch'"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    micrograph_id: int = Field(foreign_key="micrograph.id")
    site_id: int = _site()
    agent_id: int | None = Field(default=None, foreign_key="agent.id")
    bundle: str = ""
    recipe: str = ""
    role: str = "live"
    current: bool = True
    origin: str = "watch"
    done_at: datetime = _instant()
    handling: str
    reasons: list[str] = _json(empty=list)
    review_rank: int | None = None
    subtype: str | None = None
    subtype_probabilities: dict[str, float] = _json()
    size: str | None = None
    size_min: int | None = None
    size_max: int | None = None
    size_probabilities: dict[str, float] = _json()
    structure_code: str | None = None
    probability: float | None = None
    probabilities: dict[str, float] = _json()
    prediction_set: list[str] = _json(empty=list)
    coarser_share: dict[str, float] = _json()
    p_value: float | None = None
    strangeness: dict[str, Any] = _json()
    thresholds: dict[str, Any] = _json()
    expected: dict[str, Any] = _json(filled=True)
    engine: str = ""
    precision: str = ""
    after_record: int | None = None
    filed: str = Field(
        default="", sa_column=Column(Text, nullable=False, server_default=text("''"))
    )


class LabelRow(OfSite, Row, table=True):
    """A reviewer's decision; appended, never changed. An undo is a separate row.

    `after_record` is the newest record when it was written, as of a result.
    """

    __tablename__: ClassVar[Any] = "label"

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = _site()
    micrograph_id: int = Field(foreign_key="micrograph.id", index=True)
    result_id: int | None = Field(default=None, foreign_key="result.id")
    kind: str
    code: str | None = None
    strange_kind: str | None = None
    why: str | None = None
    criterion: str = "unrecorded"
    unsure: bool = _no()
    comment: str = ""
    by: str
    decided_at: datetime = _instant(index=True)
    viewing_s: float | None = None
    blind: bool = False
    bulk: bool = False
    origin: str = "review"
    supersedes: int | None = Field(default=None, foreign_key="label.id")
    after_record: int | None = None


class MeasurementRow(OfSite, Row, table=True):
    """A number measured on a micrograph, with its unit."""

    __tablename__: ClassVar[Any] = "measurement"
    __table_args__: ClassVar[Any] = (UniqueConstraint("micrograph_id", "result_id", "name"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = _site()
    micrograph_id: int = Field(foreign_key="micrograph.id", index=True)
    result_id: int | None = Field(default=None, foreign_key="result.id")
    name: str
    value: float
    unit: str = ""


class RecordRow(OfSite, Row, table=True):
    """Something the lab has to be able to show later: appended, never changed.

    `kind` is "validation", "automatic", "control", "reference", "hold_release", "scale_check",
    "order_list", "statement", "outbox", "outbox_files", "outbox_written", "round_robin",
    "msa_plan", "msa", "specifications", "taxonomy", "bundle_taxonomy", "scale_given" or "language";
    `subject` what it is about, such as a material, a source, an order, a campaign, a micrograph or
    an account.
    """

    __tablename__: ClassVar[Any] = "record"
    __table_args__: ClassVar[Any] = (
        Index("ix_record_subject", "site_id", "kind", "subject", "id"),
    )

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = _site()
    kind: str
    subject: str = ""
    by: str = ""
    at: datetime = _instant()
    facts: dict[str, Any] = _json()


class StatementRow(OfSite, Row, table=True):
    """A statement of conformity, made when the conformity of an order changed; never changed."""

    __tablename__: ClassVar[Any] = "statement"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("order_id", "number"),
        UniqueConstraint("sha256", "site_id"),
    )

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = _site(index=True)
    order_id: int = Field(foreign_key="order.id")
    number: int
    sha256: str
    previous_sha256: str = _text()
    conformity: str
    state: str
    final: bool
    at: datetime = _instant()
    document: str = Field(sa_column=Column(Text, nullable=False))  # text: it is what was hashed


class StatementFileRow(OfSite, Row, table=True):
    """A file made from a statement, such as its PDF: appended, never changed.

    `signed_by` is the subject of the certificate, "" for an unsigned file; `note` is the reason.
    """

    __tablename__: ClassVar[Any] = "statement_file"
    __table_args__: ClassVar[Any] = (UniqueConstraint("statement_id", "kind"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = _site()
    statement_id: int = Field(foreign_key="statement.id")
    kind: str
    language: str
    sha256: str
    size_bytes: int
    signed_by: str = _text()
    note: str = _text()
    at: datetime = _instant()


class PromotionRow(OfGroup, Row, table=True):
    """A promotion of a bundle by a lead; the newest row is valid."""

    __tablename__: ClassVar[Any] = "promotion"

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = _site()
    bundle: str
    by: str
    reason: str
    promoted_at: datetime = _instant()
    metrics: dict[str, Any] = _json()


class NightRow_(OfSite, Row, table=True):  # noqa: N801 - `NightRow` is the noun that leaves the store
    """Facts of one night as first written; a refresh is a new revision."""

    __tablename__: ClassVar[Any] = "night"
    __table_args__: ClassVar[Any] = (UniqueConstraint("site_id", "date", "revision"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = _site()
    date: date
    revision: int = 1
    facts: str = Field(sa_column=Column(Text, nullable=False))  # text: byte for byte the same
    frozen_at: datetime = _instant()


class JobRow(OfSite, Row, table=True):
    """A long or scheduled piece of work: what it was for, and how it ended."""

    __tablename__: ClassVar[Any] = "job"

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = _site()
    agent_id: int | None = Field(default=None, foreign_key="agent.id")
    name: str = Field(index=True)
    due_at: datetime | None = _instant()
    started_at: datetime | None = _instant()
    ended_at: datetime | None = _instant()
    outcome: str = ""
    facts: dict[str, Any] = _json()


class TrailRow(OfSite, Row, table=True):
    """An act in the audit log, chained to the one before by hash."""

    __tablename__: ClassVar[Any] = "trail"
    __table_args__: ClassVar[Any] = (
        # a chain of a site never forks, even with several agents
        UniqueConstraint("previous_sha256", "site_id"),
        {"sqlite_autoincrement": True},
    )

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = _site()
    at: datetime = _instant(index=True)
    actor: str
    act: str
    subject: str = ""
    facts: str = Field(sa_column=Column(Text, nullable=False))  # text: it is what was hashed
    previous_sha256: str
    sha256: str = Field(unique=True)


class CoverageRow(Row, table=True):
    """The row of a table from which on the audit log contains the values.

    `newest_id` is the newest row that is not covered, 0 where all are.
    """

    __tablename__: ClassVar[Any] = "trail_coverage"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    newest_id: int
    since: datetime = _instant()


class AccountRow(OfGroup, Row, table=True):
    """An account of a person with a password, or of a program with a token.

    `hashed` is an argon2 hash of a person's password, or the sha256 of a program's token. Log-ins
    that began before `logins_since` are over, at every site that shares the account.
    """

    __tablename__: ClassVar[Any] = "account"
    __table_args__: ClassVar[Any] = (UniqueConstraint("name", "site_id"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = _site()
    name: str
    kind: str
    role: str
    hashed: str
    created_at: datetime = _instant()
    disabled_at: datetime | None = _instant()
    failures: int = 0
    locked_until: datetime | None = _instant()
    logins_since: datetime | None = _instant()


class LoginRow(OfSite, Row, table=True):
    """A log-in session of a browser; `sha256` is of its cookie."""

    __tablename__: ClassVar[Any] = "login"

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = _site()
    sha256: str = Field(unique=True)
    account_id: int = Field(foreign_key="account.id", index=True)
    began_at: datetime = _instant()
    seen_at: datetime = _instant()
    ended_at: datetime | None = _instant()


class CampaignRow(OfSite, Row, table=True):
    """A round robin: raters assess the same micrographs independently."""

    __tablename__: ClassVar[Any] = "campaign"
    __table_args__: ClassVar[Any] = (UniqueConstraint("site_id", "name"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = _site()
    name: str
    seed: int
    may_go_back: bool = False
    taxonomy: dict[str, Any] = _json()
    merged: dict[str, str] = _json()
    by: str
    created_at: datetime = _instant()
    opened_at: datetime | None = _instant()
    closed_at: datetime | None = _instant()


class CampaignImageRow(OfSite, Row, table=True):
    """A micrograph of a campaign, with its structure code when it was added."""

    __tablename__: ClassVar[Any] = "campaign_image"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("campaign_id", "number"),
        UniqueConstraint("campaign_id", "micrograph_id"),
    )

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = _site()
    campaign_id: int = Field(foreign_key="campaign.id")
    number: int
    micrograph_id: int = Field(foreign_key="micrograph.id", index=True)
    reference: str | None = None
    stratum: str = ""


class CampaignRaterRow(OfSite, Row, table=True):
    """A rater with an account, or with a link whose token's sha256 is `hashed`."""

    __tablename__: ClassVar[Any] = "campaign_rater"
    __table_args__: ClassVar[Any] = (UniqueConstraint("campaign_id", "pseudonym"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = _site()
    campaign_id: int = Field(foreign_key="campaign.id")
    pseudonym: str
    name: str
    team: str = ""
    account: str = ""
    hashed: str | None = Field(default=None, unique=True)
    invited_at: datetime = _instant()


class RatingRow(OfSite, Row, table=True):
    """A rater's answer on an image; appended, never changed. The newest revision counts."""

    __tablename__: ClassVar[Any] = "rating"
    __table_args__: ClassVar[Any] = (UniqueConstraint("rater_id", "image_id", "revision"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = _site()
    rater_id: int = Field(foreign_key="campaign_rater.id")
    image_id: int = Field(foreign_key="campaign_image.id", index=True)
    revision: int = 1
    subtype: str | None = None
    size: str | None = None
    criterion: str = "unrecorded"
    comment: str = ""
    viewing_s: float | None = None
    given_at: datetime = _instant()


class SearchRow(OfSite, Row, table=True):
    """What the search finds of a micrograph, computed from its rows (`agent.store.search_index`).

    `code` is "" while the model's answer is hidden from reviewers. Its words are in a table of the
    database's own text search; `digest` is their hash. A page reads thousands of these rows.
    """

    __tablename__: ClassVar[Any] = "search_entry"
    __table_args__: ClassVar[Any] = (
        Index("ix_search_entry_taken_at", "taken_at", "micrograph_id"),
    )

    micrograph_id: int | None = Field(
        default=None, primary_key=True, foreign_key="micrograph.id", sa_type=Integer
    )
    site_id: int = _site()
    taken_at: datetime = _instant()
    source: str = _text()
    code: str = _text()
    outcome: str = _text()
    microscope: str = _text()
    reviewer: str = _text()
    digest: str = _text()


class SavedViewRow(OfSite, Row, table=True):
    """A search that a person kept under a name; `query` is as in the page's address."""

    __tablename__: ClassVar[Any] = "saved_view"
    __table_args__: ClassVar[Any] = (UniqueConstraint("site_id", "owner", "name"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = _site()
    owner: str
    name: str
    query: str = _text()
    saved_at: datetime = _instant()


class WorkJobRow(OfSite, Row, table=True):
    """A request to judge archived micrographs with a bundle; agents do it in units.

    `since` limits it to watched micrographs stored after it. Its micrographs are divided from the
    newest to the oldest: `divided_to` is the oldest one so far, and `is_divided` is set at the end.
    `counts` are those of its units that were at their end and are deleted.
    """

    __tablename__: ClassVar[Any] = "work_job"
    __table_args__: ClassVar[Any] = (Index("ix_work_job_site_id_state", "site_id", "state"),)

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = _site()
    bundle: str
    role: str
    days: int | None = None
    since: datetime | None = _instant()
    state: str
    by: str
    acted_by: str = _text()
    created_at: datetime = _instant()
    ended_at: datetime | None = _instant()
    divided_to: int | None = None
    is_divided: bool = _no()
    known: int = 0
    total: int = 0
    counts: dict[str, Any] = _json()


class WorkUnitRow(OfSite, Row, table=True):
    """Micrographs of one source, from `first_id` to `last_id`, that one agent judges at a time.

    `home_id` is the agent that archived their crops. `attempt` only ever grows: a worker whose
    lease was taken over has an older one. `due_at` is when a waiting unit may be claimed and when
    the lease of a claimed one ends; no index holds it, so that renewing a lease moves no index
    entry. `done_to` is the last micrograph that is finished.
    """

    __tablename__: ClassVar[Any] = "work_unit"
    __table_args__: ClassVar[Any] = (
        Index("ix_work_unit_job_id_state_home_id_id", "job_id", "state", "home_id", "id"),
        {"sqlite_autoincrement": True},  # a number is never given twice: claims remember it
    )

    id: int | None = Field(default=None, primary_key=True)
    site_id: int = _site()
    job_id: int = Field(foreign_key="work_job.id")
    source_id: int = Field(foreign_key="source.id")
    home_id: int | None = Field(default=None, foreign_key="agent.id")
    first_id: int
    last_id: int
    n: int
    state: str
    attempt: int = 0
    failures: int = 0
    agent_id: int | None = Field(default=None, foreign_key="agent.id")
    due_at: datetime = _instant()
    done_to: int = 0
    judged: int = 0
    known: int = 0
    lost: int = 0
    unreadable: int = 0
    flagged: int = 0
    flips: dict[str, int] = _json()
    reason: str = _text()
    ended_at: datetime | None = _instant()


# What the criterion of `site_scope` is made with; set last, as pydantic calls it shadowed before.
OfSite.site_id = sql_column("site_id", Integer)  # type: ignore[attr-defined]
OfGroup.site_id = sql_column("site_id", Integer)  # type: ignore[attr-defined]

SHARED = {
    "site": "the sites themselves: their names, and what each shares",
    "trail_coverage": "numbers of rows of whole tables, and nothing of what is in them",
}
"""Tables whose rows belong to no site, and why; every other one is an `OfSite` or an `OfGroup`."""
