"""Alembic's entry: runs the migrations on the connection that `schema` passes."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from sqlmodel.sql.sqltypes import AutoString

from agent.store.tables import Instant, load_metadata


def _plain(kind: str, item: Any, _context: object) -> str | Literal[False]:
    # A migration stands on SQLAlchemy alone, so that a later change of ours cannot alter it.
    if kind == "type" and isinstance(item, Instant):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, AutoString):
        return "sa.String()"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=load_metadata(),
    render_as_batch=True,
    render_item=_plain,
    compare_type=True,
    on_version_apply=context.config.attributes.get("applied"),
)
with context.begin_transaction():
    context.run_migrations()
