"""Hold the results that a failed instrument check puts in doubt, before the check and after it.

A failed check proves nothing since the last good one, and a later good one proves nothing of the
time between. So results of a source are held from the last good check of a PC (or source of control
specimens) to the next good one, until a lead releases them with a reason.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from agent.errors import WrongUse
from agent.orders.control import CONTROL, GOOD_FOR, ControlPoint, Doubt, chart, checks_of
from reports import decimal
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agent.settings import Settings
    from agent.store import MicrographView, Record, Store

RELEASE = "hold_release"
"""Kind of record of a lead's release; its subject is the source."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check: of a PC with reference images, or a control specimen's micrograph.

    Args:
        at: When, aware UTC. passed: it is as it was. doubts: what is in doubt where it is not.
        fault: What a control specimen's fault is, "" for a check with reference images.
    """

    at: datetime
    passed: bool
    doubts: frozenset[str] = frozenset()
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """Failed checks with no good one between them, and the time that they leave unproved.

    Args:
        source: Whose results. pc: whose checks, "" for control specimens.
        after: Time of the last good check before, None where there was none.
        until: Time of the next good check, None where there is none yet.
        first_at, last_at: Times of the first and the last failed check.
        doubts: What is in doubt. fault: see `Check`.
    """

    source: str
    pc: str
    after: datetime | None
    until: datetime | None
    first_at: datetime
    last_at: datetime
    doubts: frozenset[str]
    fault: str

    def spans(self, at: datetime) -> bool:
        """Return whether a result made at a time is not proved."""
        begun = self.after is None or self.after < at or self.first_at <= at
        return begun and (self.until is None or at < self.until)

    @property
    def is_about_the_model(self) -> bool:
        """Only the model's answer is in doubt, so that a reviewer's code is not."""
        return self.doubts == {Doubt.MODEL}

    @property
    def sentence(self) -> str:
        """Why a result made before the failed check is held."""
        words = {
            "source": self.source,
            "pc": self.pc,
            "good": f"{self.after:%Y-%m-%d %H:%M}" if self.after else "",
            "bad": f"{self.first_at:%Y-%m-%d %H:%M}",
            "fault": self.fault,
        }
        if self.pc:
            said = (
                _("the control check of {bad} UTC on {pc} failed, the last good one is of {good}")
                if self.after
                else _("the control check of {bad} UTC on {pc} failed, and none before it was good")
            )
        else:
            said = (
                _(
                    "the control specimen of {source} of {bad} UTC failed ({fault}), the last good "
                    "one is of {good}"
                )
                if self.after
                else _(
                    "the control specimen of {source} of {bad} UTC failed ({fault}), and none "
                    "before it was good"
                )
            )
        return said.format(**words)


@dataclass(frozen=True, slots=True)
class Release:
    """A lead's act that lets held results of a source count again.

    Args:
        source: Which. start, end: times of the results, inclusive, aware UTC.
        by: The lead. reason: why. at: when; failures that began later are not released.
    """

    source: str
    start: datetime
    end: datetime
    by: str
    reason: str
    at: datetime

    def covers(self, failure: Failure, at: datetime) -> bool:
        """Return whether a result made at a time is released from a failure."""
        return failure.first_at <= self.at and self.start <= at <= min(self.end, self.at)

    @property
    def note(self) -> str:
        """What every statement of a released result says."""
        return _(
            "results of {source} from {start} to {end} UTC were held after a failed control check "
            "and released by {who}: {reason}"
        ).format(
            source=self.source,
            start=f"{self.start:%Y-%m-%d %H:%M}",
            end=f"{self.end:%Y-%m-%d %H:%M}",
            who=self.by,
            reason=self.reason,
        )


# --- what failed --------------------------------------------------------------------------------


class Holds:
    """Decides which results are held; calling it returns why, "" where a result is not.

    Args:
        checks: Records of checks with reference images.
        points: Source → its control specimens' micrographs.
        releases: By leads.
        control: Numbers of the control orders, which are never held.
        every: A control specimen of the source may be so old; zero: none is asked for.
    """

    def __init__(
        self,
        checks: Sequence[Record],
        points: Mapping[str, Sequence[ControlPoint]],
        releases: Sequence[Release],
        *,
        control: Sequence[str] = (),
        every: timedelta = timedelta(0),
    ) -> None:
        self._all, self._points = sorted(checks, key=_by_time), points
        self._releases = releases
        self._control, self._every = frozenset(control), every
        self._checks: dict[str, list[Record]] = {}
        self._failures: dict[str, list[Failure]] = {}

    def __call__(self, view: MicrographView) -> str:
        """Return why a result is held, "" where it is not."""
        if view.process_data.get("order") in self._control:
            return ""
        for failure in self._holding(view):
            if self._release(failure, view.done_at) is None:
                return self._sentence(failure, view)
        checks = self._checks_of(view.source)
        if view.label is None and (said := _no_check(checks, view)):
            return said
        return self._no_specimen(view)

    def notes(self, view: MicrographView) -> Iterator[str]:
        """Yield each release that lets a result count."""
        for failure in self._holding(view):
            if release := self._release(failure, view.done_at):
                yield release.note

    def failures(self, source: str) -> list[Failure]:
        """Return every failure of a source, those of control specimens last."""
        if source not in self._failures:
            self._failures[source] = [
                *_failures_of_checks(self._checks_of(source), source),
                *_failures_of_points(self._points.get(source, ()), source),
            ]
        return self._failures[source]

    def is_held(self, failure: Failure, at: datetime) -> bool:
        """Return whether a failure holds a result made at a time, where no reviewer decided it."""
        retired = _is_retired(self._checks_of(failure.source), failure, at)
        return failure.spans(at) and not retired and self._release(failure, at) is None

    @property
    def sources(self) -> list[str]:
        """Every source that a check or a control specimen speaks of."""
        named = {name for one in self._all for name in one.facts.get("sources", ())}
        return sorted(named | self._points.keys())

    @property
    def control(self) -> frozenset[str]:
        """Numbers of the control orders, which are never held."""
        return self._control

    def _holding(self, view: MicrographView) -> Iterator[Failure]:
        """Yield the failures that put a result in doubt, released or not.

        A reviewer's code makes a doubt about the model's answer meaningless. It comes from the same
        picture and scale, so a doubt about the instrument remains.
        """
        checks = self._checks_of(view.source)
        for failure in self.failures(view.source):
            decided = failure.is_about_the_model and has_code(view)
            retired = _is_retired(checks, failure, view.done_at)
            if failure.spans(view.done_at) and not decided and not retired:
                yield failure

    def _release(self, failure: Failure, at: datetime) -> Release | None:
        mine = (one for one in self._releases if one.source == failure.source)
        return next((one for one in mine if one.covers(failure, at)), None)

    def _sentence(self, failure: Failure, view: MicrographView) -> str:
        if view.done_at < failure.first_at:
            return failure.sentence
        if not failure.pc:
            point = [one for one in self._points[view.source] if one.at <= view.done_at][-1]
            return _("the control specimen of {source} failed: {fault}").format(
                source=view.source, fault=point.faults[0]
            )
        own = [one for one in self._checks_of(view.source) if one.subject == failure.pc]
        newest = [one for one in own if one.at <= view.done_at][-1]
        return _("the control check of {at} UTC on {pc} failed").format(
            at=f"{newest.at:%Y-%m-%d %H:%M}", pc=failure.pc
        )

    def _no_specimen(self, view: MicrographView) -> str:
        before = [one for one in self._points.get(view.source, ()) if one.at <= view.done_at]
        if self._every and (not before or view.done_at - before[-1].at > self._every):
            hours = self._every.total_seconds() / 3600
            return _("no control specimen of {source} within {hours} h").format(
                source=view.source, hours=decimal(hours, "g")
            )
        return ""

    def _checks_of(self, source: str) -> list[Record]:
        if source not in self._checks:
            self._checks[source] = checks_of(self._all, source)
        return self._checks[source]


def holds_of(settings: Settings, store: Store) -> Holds:
    """Return what holds the results of a lab, by all its checks and releases."""
    orders = settings.orders
    return Holds(
        store.records.all(CONTROL),
        chart(store, orders.control) if orders.control else {},
        releases_of(store),
        control=orders.control,
        every=timedelta(hours=orders.control_every_h),
    )


def releases_of(store: Store) -> list[Release]:
    """Return every release, oldest first."""
    return [
        Release(
            source=one.subject,
            start=datetime.fromisoformat(one.facts["from"]),
            end=datetime.fromisoformat(one.facts["to"]),
            by=one.by,
            reason=one.facts["reason"],
            at=one.at,
        )
        for one in store.records.all(RELEASE)
    ]


@dataclass(frozen=True, slots=True)
class Affected:
    """Orders with results that a failure holds.

    Args:
        failure: The failure. orders: their numbers.
    """

    failure: Failure
    orders: tuple[str, ...]


def affected_orders(store: Store, holds: Holds, *, now: datetime) -> list[Affected]:
    """Return the failures that hold results of orders, and those orders.

    Args:
        store: Open.
        holds: What holds results.
        now: Aware UTC.
    """
    found = []
    for source in holds.sources:
        for failure in holds.failures(source):
            fields = store.order_changes.judged_between(source, failure.after, failure.until or now)
            orders = {
                one.order
                for one in fields
                if one.order not in holds.control
                and holds.is_held(failure, one.done_at)
                and not (failure.is_about_the_model and _is_coded(store, one.id))
            }
            if orders:
                found.append(Affected(failure, tuple(sorted(orders))))
    return found


def orders_in_doubt(store: Store, *, since: datetime, now: datetime) -> set[str]:
    """Return the orders of failed checks with reference images that a new act may hold or release.

    Args:
        store: Open.
        since: Failures with a check, and releases, from this time on.
        now: Aware UTC.
    """
    releases = releases_of(store)
    holds = Holds(store.records.all(CONTROL), {}, releases)
    released = {one.source for one in releases if one.at >= since}
    return {
        field.order
        for source in holds.sources
        for failure in holds.failures(source)
        if failure.last_at >= since or source in released
        for field in store.order_changes.judged_between(source, failure.after, failure.until or now)
    }


def _is_coded(store: Store, public_id: str) -> bool:
    view = store.micrograph(public_id)
    return view is not None and has_code(view)


def has_code(view: MicrographView) -> bool:
    """Return whether a reviewer gave a structure code."""
    return view.label is not None and view.label.kind == "code"


def release(
    store: Store,
    affected: Sequence[Affected],
    source: str,
    *,
    start: datetime,
    end: datetime,
    by: str,
    reason: str,
    at: datetime,
) -> list[str]:
    """Let held results of a source count again; a lead's act.

    Args:
        store: Open.
        affected: What is held now.
        source: Of which results.
        start: Results from this time on are released, aware UTC.
        end: Up to this time.
        by: The lead.
        reason: Why they are sound all the same.
        at: Now.

    Returns:
        Numbers of the orders with such results.

    Raises:
        WrongUse: No result of the source is held, the end is later than now, or no reason is given.
    """
    if not reason.strip():
        raise WrongUse("give the reason with --reason TEXT: it is kept in every statement.")
    if end > at or end < start:
        raise WrongUse("--to: a time after --from and not after now; later results are not known.")
    mine = [one for one in affected if one.failure.source == source]
    if not mine:
        raise WrongUse(f"no result of {source} is held by a failed check; see: agent status")
    facts = {"from": start.isoformat(), "to": end.isoformat(), "reason": reason}
    store.records.add(RELEASE, source, by=by, at=at, facts=facts)
    return sorted({number for one in mine for number in one.orders})


def _failures_of_checks(checks: Sequence[Record], source: str) -> Iterator[Failure]:
    by_pc: dict[str, list[Check]] = defaultdict(list)
    for one in checks:
        # Records of earlier versions do not say what is in doubt: then it is the instrument.
        doubts = one.facts.get("doubts") or [Doubt.INSTRUMENT]
        check = Check(one.at, bool(one.facts.get("passed")), frozenset(doubts))
        by_pc[one.subject].append(check)
    for pc, some in by_pc.items():
        yield from find_failures(some, source, pc)


def _failures_of_points(points: Sequence[ControlPoint], source: str) -> Iterator[Failure]:
    checks = [
        Check(
            at=one.at,
            passed=not one.faults,
            doubts=frozenset({Doubt.INSTRUMENT}),
            fault=one.faults[0] if one.faults else "",
        )
        for one in points
    ]
    return find_failures(checks, source, "")


def find_failures(checks: Sequence[Check], source: str, pc: str) -> Iterator[Failure]:
    """Yield each run of failed checks.

    Args:
        checks: Of one PC or of the control specimens, oldest first.
        source: Whose results they speak of.
        pc: Whose checks they are, "" for control specimens.
    """
    good: datetime | None = None
    run: list[Check] = []

    def end(until: datetime | None) -> Iterator[Failure]:
        if run:
            doubts = frozenset[str]().union(*(one.doubts for one in run))
            first, last = run[0], run[-1]
            yield Failure(source, pc, good, until, first.at, last.at, doubts, first.fault)

    for one in checks:
        if not one.passed:
            run.append(one)
            continue
        yield from end(one.at)
        good, run = one.at, []
    yield from end(None)


def _is_retired(checks: Sequence[Record], failure: Failure, at: datetime) -> bool:
    """Return whether a PC did not read the source at a time, and another one was checked.

    Then its checks hold nothing: it was replaced, or it came later.
    """
    if not failure.pc:
        return False
    before = [one for one in checks if one.at <= at]
    if not before or before[-1].subject == failure.pc:
        return False
    own = [one for one in before if one.subject == failure.pc]
    if own:
        return at - own[-1].at > GOOD_FOR
    return at - before[-1].at <= GOOD_FOR


def _no_check(checks: Sequence[Record], view: MicrographView) -> str:
    """Return that no check proves the instrument; a good one after the result does."""
    before = [record for record in checks if record.at <= view.done_at]
    if before and view.done_at - before[-1].at <= GOOD_FOR:
        return ""
    after = [record for record in checks if record.at > view.done_at]
    if after and after[0].facts.get("passed"):
        return ""
    hours = GOOD_FOR.total_seconds() / 3600
    return _("no control check of {source} in the {hours} h before it (agent check)").format(
        source=view.source, hours=f"{hours:.0f}"
    )


def _by_time(record: Record) -> tuple[datetime, int]:
    return record.at, record.id
