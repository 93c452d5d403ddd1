"""All databases of a test run share their compiled statements.

SQLAlchemy keeps compiled statements per engine, and those of rows that a session writes per table
and engine. The agent has one engine for weeks; a test run has one per test and command, and would
spend a quarter of its time on compiling the same statements.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy.orm import Mapper
from sqlalchemy.util import LRUCache

from agent.store import engine

if TYPE_CHECKING:
    from sqlalchemy.engine import Compiled

SIZE = 4000
"""Statements; about four times as many as the whole suite has."""


class SharedStatements:
    """Compiled statements by dialect name and statement, in place of dialect object and statement.

    Engines of one process have dialects that differ in nothing but their identity.
    """

    def __init__(self) -> None:
        self._statements: LRUCache[Any, Compiled] = LRUCache(SIZE)

    def get(self, key: tuple[Any, ...]) -> Compiled | None:
        """Return a compiled statement, or None."""
        return self._statements.get((key[0].name, *key[1:]))

    def __setitem__(self, key: tuple[Any, ...], statement: Compiled) -> None:
        self._statements[(key[0].name, *key[1:])] = statement


def share_compiled_statements() -> None:
    """Let each engine that is made from now on use the same compiled statements."""
    shared = {"compiled_cache": SharedStatements()}
    engine.create_engine = partial(sqlalchemy.create_engine, execution_options=shared)
    Mapper._compiled_cache = shared["compiled_cache"]
