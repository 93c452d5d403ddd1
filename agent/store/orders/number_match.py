"""Conditions by which a database narrows rows down to those that may name an order.

A database does not fold letters as `number_key` does. So a condition passes every text that is not
plain ASCII, and no row is missed: the caller compares what passed with `number_key`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Boolean, String, Text, and_, bindparam, cast, exists, func, or_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import aliased
from sqlalchemy.sql.functions import FunctionElement
from sqlmodel import col, select

from agent.store.numbers import letters_key, number_key
from agent.store.tables import ContentRow, PathRow, SourceRow

if TYPE_CHECKING:
    from sqlalchemy import BindParameter, ColumnElement


class has_unfolded(FunctionElement[bool]):  # noqa: N801 - spelt as SQL functions are
    """Whether a text has a letter that is not printable ASCII."""

    inherit_cache = True
    type = Boolean()


@compiles(has_unfolded, "sqlite")
def _has_unfolded_sqlite(element: has_unfolded, compiler: Any, **options: Any) -> str:
    text = compiler.process(next(iter(element.clauses)), **options)
    return f"({text} GLOB '*[^ -~]*' OR instr({text}, char(0)))"  # GLOB reads up to a NUL


@compiles(has_unfolded, "postgresql")
def _has_unfolded_postgresql(element: has_unfolded, compiler: Any, **options: Any) -> str:
    text = compiler.process(next(iter(element.clauses)), **options)
    return f"""(({text}) COLLATE "C" ~ '[^ -~]')"""


class lower_ascii(FunctionElement[str]):  # noqa: N801 - spelt as SQL functions are
    """A text with the letters A to Z as small ones, in every locale of the database."""

    inherit_cache = True
    type = String()


@compiles(lower_ascii, "sqlite")
def _lower_sqlite(element: lower_ascii, compiler: Any, **options: Any) -> str:
    return f"lower({compiler.process(next(iter(element.clauses)), **options)})"


@compiles(lower_ascii, "postgresql")
def _lower_postgresql(element: lower_ascii, compiler: Any, **options: Any) -> str:
    return f'lower(({compiler.process(next(iter(element.clauses)), **options)}) COLLATE "C")'


@dataclass(frozen=True, slots=True)
class NamedOrder:
    """What names an order: paths, notes, senders, and what the caller knows of.

    Attributes:
        number: Of the order.
        sources: Sources of which every file names it.
        contents: Contents that name it by a record.
    """

    number: str
    sources: frozenset[str] = frozenset()
    contents: frozenset[int] = frozenset()


def may_name(order: NamedOrder) -> ColumnElement[bool]:
    """Return the condition that a content may name an order, by any name that it ever had."""
    copy = aliased(ContentRow)
    path = _may_path_name(order)
    own = select(PathRow.id).where(PathRow.content_id == col(ContentRow.id), path)
    of_copies = (
        select(PathRow.id)
        .join(copy, col(copy.id) == col(PathRow.content_id))
        .where(col(copy.duplicate_of) == col(ContentRow.id), path)
    )
    ways = [
        exists(own.correlate(ContentRow)),
        exists(of_copies.correlate(ContentRow)),
        *(
            _may_json_hold(facts, order.number)
            for facts in (ContentRow.process_data, ContentRow.noted)
        ),
    ]
    if order.contents:  # written into the statement: old builds of SQLite bind at most 999 values
        known: BindParameter[int] = bindparam(
            "known", sorted(order.contents), expanding=True, literal_execute=True, unique=True
        )
        ways.append(col(ContentRow.id).in_(known))
    return or_(*ways)


def may_be_alike(column: Any, number: str) -> ColumnElement[bool]:
    """Return the condition that a number may differ in hyphens, slashes or dots alone."""
    letters = "%".join(("", *letters_key(number), ""))
    return or_(has_unfolded(column), lower_ascii(column).like(letters))


def _may_path_name(order: NamedOrder) -> ColumnElement[bool]:
    ways = [_may_hold(col(PathRow.relative), order.number)]
    if order.sources:
        own = select(SourceRow.id).where(col(SourceRow.name).in_(order.sources))
        ways.append(col(PathRow.source_id).in_(own))
    return or_(*ways)


def _may_json_hold(column: Any, number: str) -> ColumnElement[bool]:
    text = cast(col(column), Text)
    has_number = or_(_may_hold(text, number), text.contains("\\", autoescape=True))
    return and_(text != "{}", has_number)  # nearly all: half of the time for a backlog


def _may_hold(text: Any, number: str) -> ColumnElement[bool]:
    """Return the condition that a text may hold a number, as a path holds it."""
    together: ColumnElement[str] = func.replace(func.replace(lower_ascii(text), " ", ""), "\\", "/")
    return or_(has_unfolded(text), together.contains(number_key(number), autoescape=True))
