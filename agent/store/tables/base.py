"""Base of all tables: sites, instants and the kinds of columns.

A JSON column is replaced, never changed in place: SQLAlchemy would not detect it. `Instant` is the
only column type for times, and it refuses one without a zone.
"""

from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Connection,
    DateTime,
    Dialect,
    Index,
    Integer,
    MetaData,
    TypeDecorator,
    event,
    false,
    text,
)
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.orm.attributes import instance_state
from sqlmodel import Field, SQLModel

from reports import Message, read_message

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
    """The base of every table.

    A row that was read leaves its transaction as a value: what it has can be read, never set.
    """

    model_config = {"defer_build": True}  # rows are never validated; a schema takes 3 ms a table

    metadata: ClassVar[MetaData] = MetaData(naming_convention=NAMES)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a column of a new row, or of one within the transaction that read it.

        Raises:
            AttributeError: Its transaction is over, so that the change would be lost.
        """
        if name in type(self).model_fields and instance_state(self).detached:
            raise AttributeError(f"{type(self).__name__}.{name} is set after its transaction")
        super().__setattr__(name, value)


SITE: Final = "site"
"""Execution option of an engine: the number of the site whose rows its statements reach."""


def _site_of(context: DefaultExecutionContext) -> int | None:
    """Return the site of the engine that a new row is written through."""
    site: int | None = context.execution_options.get(SITE)
    return site


def site_column(*, index: bool = False) -> Any:
    """Return the column of a row's site, filled by the engine it is written through."""
    return Field(
        default=None,
        foreign_key="site.id",
        nullable=False,
        index=index,
        sa_column_kwargs={"default": _site_of},
    )


class Numbered(Row):
    """Base of a table whose rows have a number, which the database gives; its first column."""

    id: int = Field(default=None, primary_key=True)


class OfMicrograph(Row):
    """Base of a table with at most one row of a micrograph, whose number is its first column."""

    micrograph_id: int = Field(
        default=None, primary_key=True, foreign_key="micrograph.id", sa_type=Integer
    )


class OfSite(Row):
    """Base of every table whose rows belong to one site; `site_scope` adds the site by itself."""

    site_id: int = site_column()


class OfGroup(Row):
    """Base of a table of a site whose rows are valid at all sites that share it."""

    site_id: int = site_column()


def instant_column(*, index: bool = False) -> Any:
    """Return a column of an aware time."""
    return Field(default=None, sa_type=Instant, index=index)


def json_column(*, empty: type = dict, filled: bool = False) -> Any:
    """Return a JSON column; `filled` for a later one, whose existing rows need a value."""
    extra: dict[str, Any] = {"server_default": text("'{}'")} if filled else {}
    return Field(default_factory=empty, sa_type=JSON, nullable=False, sa_column_kwargs=extra)


class _MessageType(TypeDecorator[Message]):
    """A message, stored as JSON; {} is the empty one."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Message | None, dialect: Dialect) -> dict[str, Any] | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Return the JSON of a message."""
        return None if value is None else value.to_json() if value else {}

    def process_result_value(
        self,
        value: dict[str, Any] | None,
        dialect: Dialect,  # noqa: ARG002
    ) -> Message:
        """Return the message."""
        return read_message(value, "")


def message_column() -> Any:
    """Return a column of a message, empty by default."""
    return Field(default_factory=lambda: Message(""), sa_type=_MessageType, nullable=False)


def text_column() -> Any:
    """Return a text column that existing rows have empty."""
    return Field(default="", sa_column_kwargs={"server_default": text("''")})


def false_column() -> Any:
    """Return a Boolean column, false by default."""
    return Field(default=False, sa_column_kwargs={"server_default": false()})


def big_column() -> Any:
    """Return a column of a large number."""
    return Field(default=0, sa_type=BigInteger)


WHERE: Final = "where"
"""Key under which an index has its conditions, database → condition.

SQLAlchemy's own arguments for them load the drivers of every database, which takes a short command
a tenth of its time."""


def partial_index(
    name: str, *columns: str, where: str, sqlite_where: str | None = None, unique: bool = False
) -> Index:
    """Return an index of those rows that a condition selects.

    Args:
        name: Its name.
        columns: Names of its columns.
        where: The condition.
        sqlite_where: How SQLite has it; None: the same.
        unique: No two of its rows have the same values.
    """
    conditions = {"postgresql": where, "sqlite": where if sqlite_where is None else sqlite_where}
    return Index(name, *columns, unique=unique, info={WHERE: conditions})


@event.listens_for(Row.metadata, "before_create")
def _set_conditions(metadata: MetaData, connection: Connection, **_: object) -> None:
    database = connection.dialect.name
    for table in metadata.tables.values():
        for index in table.indexes:
            if conditions := index.info.get(WHERE):
                index.dialect_kwargs[f"{database}_where"] = text(conditions[database])
