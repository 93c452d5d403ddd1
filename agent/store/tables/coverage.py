"""What the audit trail covers."""

from datetime import datetime
from typing import Any, ClassVar

from sqlmodel import Field

from agent.store.tables.base import Row, instant_column


class CoverageRow(Row, table=True):
    """The row of a table from which on the audit log contains the values.

    `newest_id` is the newest row that is not covered, 0 where all are.
    """

    __tablename__: ClassVar[Any] = "trail_coverage"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    newest_id: int
    since: datetime = instant_column()
