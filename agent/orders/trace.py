"""Gather everything that stands behind what was said of an order, a heat or one micrograph.

In:  a number, a heat or an id; the store and the archive. Out: a `Trace`. Next: `paper` makes a
page of it, `folder` writes it down. Nothing is decided here that `assessment` did not decide, and
nothing is written to the database.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from agent.errors import WrongUse
from agent.orders.field_facts import FieldContext, build_field_facts
from agent.orders.instrument_checks import CONTROL, chart, checks_of_day
from agent.orders.reproduce import Rerun, rerun
from agent.store import FieldView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from agent.archive import Archive
    from agent.orders.assessment import Assessed, Lab
    from agent.orders.instrument_checks import ControlPoint
    from agent.orders.specimen_facts import FieldFacts
    from agent.orders.statement import Made
    from agent.store import Answer, MicrographView, Record, Store, TrailEntry
    from model import Classifier


class Kind(StrEnum):
    """What a word can name."""

    ORDER = "order"
    HEAT = "heat"
    ID = "id"


WORDS = {Kind.ORDER: "an order", Kind.HEAT: "a heat", Kind.ID: "a micrograph"}


@dataclass(frozen=True, slots=True)
class Found:
    """What was asked about.

    Args:
        asked: The word. kind: what it names. orders: numbers of the orders it leads to.
        only: The one micrograph it names, "" where it names more.
    """

    asked: str
    kind: Kind
    orders: tuple[str, ...]
    only: str = ""


@dataclass(frozen=True, slots=True)
class TracedField:
    """One field and all that stands behind its result.

    Args:
        facts: What was decided on. view: its row. place: specimen and preparation, in words.
        answers: Every bundle's answer. acts: what was done to it, oldest first.
        checks: The control checks of its day. control: control specimens of its source that day.
        rerun: What judging the archived crop again gave.
    """

    facts: FieldFacts
    view: MicrographView
    place: str
    answers: tuple[Answer, ...]
    acts: tuple[TrailEntry, ...]
    checks: tuple[Record, ...]
    control: tuple[ControlPoint, ...]
    rerun: Rerun


@dataclass(frozen=True, slots=True)
class TracedOrder:
    """One order, as it stands and as it was stated before.

    Args:
        assessed: As it stands. statements: every statement made of it, the first one first.
        acts: What was done to it and its specimens. fields: its fields, superseded ones too.
    """

    assessed: Assessed
    statements: tuple[Made, ...]
    acts: tuple[TrailEntry, ...]
    fields: tuple[TracedField, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """What was asked about, and all that stands behind it.

    Args:
        found: What was asked. orders: by number. loose: the field, where it belongs to no order.
    """

    found: Found
    orders: tuple[TracedOrder, ...]
    loose: tuple[TracedField, ...] = ()

    @property
    def fields(self) -> tuple[TracedField, ...]:
        """Every field in it."""
        return (*(field for order in self.orders for field in order.fields), *self.loose)


def find(store: Store, asked: str, kind: str = "") -> Found:
    """Say what a word names.

    Args:
        store: Open.
        asked: An order's number, a heat, or a micrograph's id.
        kind: One of `Kind`, "" where that is to be found out.

    Raises:
        WrongUse: It names nothing, or several things: nothing is guessed.
    """
    asks: Mapping[Kind, Callable[[], Found | None]] = {
        Kind.ORDER: lambda: _order(store, asked),
        Kind.HEAT: lambda: _heat(store, asked),
        Kind.ID: lambda: _micrograph(store, asked),
    }
    if kind not in ("", *Kind):
        raise WrongUse(f"--as: one of {', '.join(Kind)}, found {kind!r}.")
    kinds = [Kind(kind)] if kind else list(Kind)
    named = [found for one in kinds if (found := asks[one]())]
    if not named:
        raise WrongUse(
            f"Unknown {' or '.join(WORDS[kind].partition(' ')[2] for kind in kinds)} {asked!r}. "
            "Run `agent orders list` or `agent review list`."
        )
    if len(named) > 1:
        both = " and ".join(WORDS[one.kind] for one in named)
        raise WrongUse(f"{asked!r} names {both}; say which with --as {named[0].kind}.")
    return named[0]


def _order(store: Store, asked: str) -> Found | None:
    return Found(asked, Kind.ORDER, (asked,)) if store.orders.order(asked) else None


def _heat(store: Store, asked: str) -> Found | None:
    numbers = store.orders.by("heat", asked)
    return Found(asked, Kind.HEAT, tuple(numbers)) if numbers else None


def _micrograph(store: Store, asked: str) -> Found | None:
    if store.results.find(asked) is None:
        return None
    number = store.orders.of_micrograph(asked)
    return Found(asked, Kind.ID, (number,) if number else (), only=asked)


class Tracer:
    """Gathers a trace.

    Args:
        store: Open. archive: the pixels. lab: what the lab has laid down.
        control: Numbers of the control orders.
        bundle: Loads a bundle by its name, None where it cannot be had.
        on_field: Called before each field that is judged again.
    """

    def __init__(
        self,
        store: Store,
        archive: Archive,
        lab: Lab,
        *,
        control: Sequence[str],
        bundle: Callable[[str], Classifier | None],
        on_field: Callable[[], None] = lambda: None,
    ) -> None:
        self._store, self._archive, self._lab = store, archive, lab
        self._zone = ZoneInfo(lab.zone)
        self._checks = store.records.all(CONTROL)
        self._points = chart(store, control) if control else {}
        self._bundle, self._on_field = bundle, on_field
        self._loaded: tuple[str, Classifier | None] = ("", None)

    def order(
        self, assessed: Assessed, *, statements: Sequence[Made], only: str = ""
    ) -> TracedOrder:
        """Gather one order.

        Args:
            assessed: As it stands.
            statements: Made of it.
            only: Id of the one micrograph that is wanted, "" for all.
        """
        number = assessed.view.number
        subjects = {number, *(f"{number}/{one.view.name}" for one in assessed.specimens)}
        return TracedOrder(
            assessed=assessed,
            statements=tuple(statements),
            acts=tuple(self._store.orders.acts(subjects)),
            fields=tuple(
                self._field(facts, view, place)
                for facts, view, place in iter_fields(assessed)
                if only in ("", facts.id)
            ),
        )

    def micrograph(self, public_id: str) -> TracedField:
        """Gather one micrograph that belongs to no order."""
        view = self._store.results.find(public_id)
        if view is None:
            raise WrongUse(f"no micrograph has the id {public_id!r}.")
        facts = build_field_facts(FieldView(view, {}, None), self._lab.context)
        return self._field(facts, view, "belongs to no specimen")

    def _field(self, facts: FieldFacts, view: MicrographView, place: str) -> TracedField:
        self._on_field()
        day = view.done_at.astimezone(self._zone).date()
        points = self._points.get(view.source, ())
        return TracedField(
            facts=facts,
            view=view,
            place=place,
            answers=tuple(self._store.orders.answers(view.id)),
            acts=tuple(self._store.orders.acts({view.id})),
            checks=tuple(checks_of_day(self._checks, view, self._zone)),
            control=tuple(one for one in points if one.at.astimezone(self._zone).date() == day),
            rerun=rerun(view, self._archive, self._judge(view.bundle)),
        )

    def _judge(self, name: str) -> Classifier | None:
        """Load a bundle; the last one stays at hand, since a specimen has only one."""
        if name and self._loaded[0] != name:
            self._loaded = (name, self._bundle(name))
        return self._loaded[1] if name else None


def iter_fields(assessed: Assessed) -> Iterator[tuple[FieldFacts, MicrographView, str]]:
    """Yield every field of an order with its row and its place, those that count first."""
    for one in assessed.specimens:
        rows = {
            field.view.id: (field.view, prepared.name)
            for prepared in one.view.preparations
            for field in prepared.fields
        }
        counted = [field for field in one.facts.fields if not field.superseded]
        old = [field for field in (*one.facts.fields, *one.facts.earlier) if field.superseded]
        for facts in (*counted, *old):
            view, preparation = rows[facts.id]
            yield facts, view, f"specimen {one.view.name}, preparation {preparation}"
    for loose in assessed.unassigned:
        facts = build_field_facts(FieldView(loose.view, {}, None), FieldContext())
        yield facts, loose.view, f"belongs to no specimen: {loose.reason}"
