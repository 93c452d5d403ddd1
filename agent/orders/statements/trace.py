"""Gather the evidence behind the result of an order, a heat or a micrograph, and repeat its answer.

Nothing is decided here that `assessment` did not decide, and nothing is written to the database.
Another PC, driver or engine rounds differently, so the numbers of a repeated answer may differ
within the tolerances of the control check; code and prediction set may not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from agent.errors import UsageError
from agent.orders.facts.field_facts import FieldContext, build_field_facts
from agent.orders.instruments.instrument_checks import (
    CONTROL,
    P_TOLERANCE,
    PROBABILITY_TOLERANCE,
    ControlPoint,
    list_checks_of_day,
    list_control_points,
)
from agent.store import FieldView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from agent.archive import Archive
    from agent.orders.facts.specimen_facts import FieldFacts
    from agent.orders.judge.assessed import Assessed, OrderPolicy
    from agent.orders.statements.statement import Made
    from agent.store import MicrographView, Record, Result, Store, TrailEntry
    from model import Classifier, Prediction


class Sameness(StrEnum):
    """Comparison of a second judgement with the first."""

    SAME = "same"
    DIFFERENT = "different"
    NOT_POSSIBLE = "not_possible"


@dataclass(frozen=True, slots=True)
class Rerun:
    """Result of a second judgement.

    Args:
        outcome: See `Sameness`.
        sentence: The numbers side by side, or why there are none.
    """

    outcome: Sameness
    sentence: str


def judge_again(view: MicrographView, archive: Archive, classifier: Classifier | None) -> Rerun:
    """Judge one archived crop again; nothing is written.

    Args:
        view: The micrograph with the result that counts.
        archive: Where its crop is.
        classifier: The bundle of that result, loaded, or None where it cannot be had.
    """
    result = view.result
    if view.pruned_at:
        return Rerun(Sameness.NOT_POSSIBLE, f"its pixels were pruned on {view.pruned_at:%Y-%m-%d}")
    if damage := archive.damage(view.sha256, view.page, view.artefacts):
        return Rerun(Sameness.DIFFERENT, damage[0])
    if classifier is None:
        why = f"bundle {result.bundle} cannot be loaded" if result.bundle else "no model judged it"
        return Rerun(Sameness.NOT_POSSIBLE, why)
    try:
        pixels, valid = archive.field(view.sha256, view.page)
    except (OSError, ValueError) as error:
        return Rerun(Sameness.NOT_POSSIBLE, f"its archived crop cannot be read ({error})")
    from model import Field  # noqa: PLC0415 - PyTorch takes seconds

    microscope = view.process_data.get("microscope", "")
    (now,) = classifier.classify([Field(pixels, valid, view.um_per_px, microscope)])
    if faults := list(_iter_differences(view, now)):
        return _describe_differences(faults, result.precision, now.precision)
    was, is_ = result.probability or 0.0, float(now.probability)
    return Rerun(
        Sameness.SAME,
        f"{now.structure_code} again, probability {was:.4f} then, {is_:.4f} now "
        f"({result.engine} {result.precision} then, {now.engine} {now.precision} now)",
    )


def _describe_differences(faults: list[str], then: str, now: str) -> Rerun:
    """Return that the answers differ, or that this PC cannot reproduce their precision."""
    sentence = "; ".join(faults)
    if not then or then == now:
        return Rerun(Sameness.DIFFERENT, sentence)
    return Rerun(
        Sameness.NOT_POSSIBLE,
        f"it was computed in {then}, which this PC does not reproduce; in {now}: {sentence}",
    )


def _iter_differences(view: MicrographView, now: Prediction) -> Iterator[str]:
    result = view.result
    if result.structure_code != now.structure_code:
        yield f"structure code {result.structure_code} then, {now.structure_code} now"
    if sorted(result.prediction_set) != sorted(now.prediction_set):
        were, are = (
            ", ".join(codes) or "empty" for codes in (result.prediction_set, now.prediction_set)
        )
        yield f"prediction set {were} then, {are} now"
    pairs = (
        ("probability", result.probability, float(now.probability), PROBABILITY_TOLERANCE),
        (
            "strangeness p",
            result.strangeness.p_value,
            float(now.strangeness.p_value),
            P_TOLERANCE,
        ),
    )
    for name, was, is_, tolerance in pairs:
        if was is not None and abs(was - is_) > tolerance:
            yield f"{name} {was:.4f} then, {is_:.4f} now"


class TraceKind(StrEnum):
    """Kinds of things that a search word can name."""

    ORDER = "order"
    HEAT = "heat"
    ID = "id"


WORDS = {TraceKind.ORDER: "an order", TraceKind.HEAT: "a heat", TraceKind.ID: "a micrograph"}


@dataclass(frozen=True, slots=True)
class TraceMatch:
    """Match of a search word.

    Args:
        asked: The word.
        kind: What it names.
        orders: Numbers of the orders it leads to.
        only: The one micrograph it names, "" where it names more.
    """

    asked: str
    kind: TraceKind
    orders: tuple[str, ...]
    only: str = ""


@dataclass(frozen=True, slots=True)
class TracedField:
    """One field and the evidence behind its result.

    Args:
        facts: What was judged.
        view: Its row.
        place: Specimen and preparation, in words.
        answers: Every bundle's answer.
        acts: Its audit log, oldest first.
        checks: The control checks of its day.
        control: Control specimens of its source that day.
        rerun: The result of judging the archived crop again.
    """

    facts: FieldFacts
    view: MicrographView
    place: str
    answers: tuple[Result, ...]
    acts: tuple[TrailEntry, ...]
    checks: tuple[Record, ...]
    control: tuple[ControlPoint, ...]
    rerun: Rerun


@dataclass(frozen=True, slots=True)
class TracedOrder:
    """One order, as it is and as it was stated before.

    Args:
        assessed: As it is.
        statements: Every statement made of it, the first one first.
        acts: Audit log of the order and its specimens.
        fields: Its fields, superseded ones too.
    """

    assessed: Assessed
    statements: tuple[Made, ...]
    acts: tuple[TrailEntry, ...]
    fields: tuple[TracedField, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """The match of a search word, with all evidence.

    Args:
        found: The match.
        orders: By number.
        loose: The field, where it belongs to no order.
    """

    found: TraceMatch
    orders: tuple[TracedOrder, ...]
    loose: tuple[TracedField, ...] = ()

    @property
    def fields(self) -> tuple[TracedField, ...]:
        """Every field in it."""
        return (*(field for order in self.orders for field in order.fields), *self.loose)


def find_match(store: Store, asked: str, kind: str) -> TraceMatch:
    """Return what a search word names.

    Args:
        store: Open.
        asked: An order's number, a heat, or a micrograph's id.
        kind: One of `TraceKind`, "" where that is to be found out.

    Raises:
        UsageError: It names nothing, or several things: nothing is guessed.
    """
    asks: Mapping[TraceKind, Callable[[], TraceMatch | None]] = {
        TraceKind.ORDER: lambda: _find_order(store, asked),
        TraceKind.HEAT: lambda: _find_heat(store, asked),
        TraceKind.ID: lambda: _find_micrograph(store, asked),
    }
    if kind not in ("", *TraceKind):
        raise UsageError(f"--as: one of {', '.join(TraceKind)}, found {kind!r}.")
    kinds = [TraceKind(kind)] if kind else list(TraceKind)
    named = [candidate_match for candidate in kinds if (candidate_match := asks[candidate]())]
    if not named:
        raise UsageError(
            f"Unknown {' or '.join(WORDS[kind].partition(' ')[2] for kind in kinds)} {asked!r}. "
            "Run `agent orders list` or `agent review list`."
        )
    if len(named) > 1:
        both = " and ".join(WORDS[match.kind] for match in named)
        raise UsageError(f"{asked!r} names {both}; say which with --as {named[0].kind}.")
    return named[0]


def _find_order(store: Store, asked: str) -> TraceMatch | None:
    return TraceMatch(asked, TraceKind.ORDER, (asked,)) if store.orders.order(asked) else None


def _find_heat(store: Store, asked: str) -> TraceMatch | None:
    numbers = store.orders.by("heat", asked)
    return TraceMatch(asked, TraceKind.HEAT, tuple(numbers)) if numbers else None


def _find_micrograph(store: Store, asked: str) -> TraceMatch | None:
    if store.results.find(asked) is None:
        return None
    number = store.orders.of_micrograph(asked)
    return TraceMatch(asked, TraceKind.ID, (number,) if number else (), only=asked)


class Tracer:
    """Gathers a trace.

    Args:
        store: Open.
        archive: The pixels.
        policy: The policy of the lab.
        control: Numbers of the control orders.
        bundle: Loads a bundle by its name, in the given precision where this PC has it; None where
            it cannot be had.
        on_field: Called before each field that is judged again.
    """

    def __init__(
        self,
        store: Store,
        archive: Archive,
        policy: OrderPolicy,
        *,
        control: Sequence[str],
        bundle: Callable[[str, str], Classifier | None],
        on_field: Callable[[], None],
    ) -> None:
        self._store, self._archive, self._policy = store, archive, policy
        self._zone = ZoneInfo(policy.zone)
        self._checks = store.records.all(CONTROL)
        self._points = list_control_points(store, control) if control else {}
        self._bundle, self._on_field = bundle, on_field
        self._loaded: tuple[tuple[str, str], Classifier | None] = (("", ""), None)

    def order(
        self, assessed: Assessed, *, statements: Sequence[Made], only: str = ""
    ) -> TracedOrder:
        """Gather one order.

        Args:
            assessed: As it is.
            statements: Made of it.
            only: Id of the one micrograph that is wanted, "" for all.
        """
        number = assessed.view.number
        subjects = {number, *(f"{number}/{specimen.view.name}" for specimen in assessed.specimens)}
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
            raise UsageError(f"no micrograph has the id {public_id!r}.")
        facts = build_field_facts(FieldView(view, {}, None), self._policy.context)
        return self._field(facts, view, "belongs to no specimen")

    def _field(self, facts: FieldFacts, view: MicrographView, place: str) -> TracedField:
        result = view.result
        self._on_field()
        day = result.done_at.astimezone(self._zone).date()
        points = self._points.get(view.source, ())
        return TracedField(
            facts=facts,
            view=view,
            place=place,
            answers=tuple(self._store.orders.answers(view.id)),
            acts=tuple(self._store.orders.acts({view.id})),
            checks=tuple(list_checks_of_day(self._checks, view, self._zone)),
            control=tuple(
                point for point in points if point.at.astimezone(self._zone).date() == day
            ),
            rerun=judge_again(view, self._archive, self._judge(result.bundle, result.precision)),
        )

    def _judge(self, name: str, precision: str) -> Classifier | None:
        """Load a bundle; the last one is cached, since a specimen has only one."""
        if name and self._loaded[0] != (name, precision):
            self._loaded = ((name, precision), self._bundle(name, precision))
        return self._loaded[1] if name else None


def iter_fields(assessed: Assessed) -> Iterator[tuple[FieldFacts, MicrographView, str]]:
    """Yield every field of an order with its row and its place, those that count first."""
    for specimen in assessed.specimens:
        rows = {
            field.view.id: (field.view, prepared.name)
            for prepared in specimen.view.preparations
            for field in prepared.fields
        }
        counted = [field for field in specimen.facts.fields if not field.superseded]
        old = [
            field for field in (*specimen.facts.fields, *specimen.facts.earlier) if field.superseded
        ]
        for facts in (*counted, *old):
            view, preparation = rows[facts.id]
            yield facts, view, f"specimen {specimen.view.name}, preparation {preparation}"
    for loose in assessed.unassigned:
        facts = build_field_facts(FieldView(loose.view, {}, None), FieldContext())
        yield facts, loose.view, f"belongs to no specimen: {loose.reason}"
