"""Hold the results that a failed instrument check puts in doubt, before the check and after it.

A failed check proves nothing since the last good one, and a later good one proves nothing of the
time between. So results of a source are held from the last good check of a PC (or source of control
specimens) to the next good one, until a lead releases them with a reason.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from agent.errors import UsageError
from agent.orders.instruments.instrument_checks import (
    CONTROL,
    GOOD_FOR,
    ControlPoint,
    Suspicion,
    list_checks,
    list_control_points,
)
from reports import decimal
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agent.settings import Settings
    from agent.store import MicrographView, Record, Store


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Result of one check: of a PC with reference images, or of a control specimen's micrograph.

    Args:
        at: When, aware UTC.
        passed: It is as it was.
        doubts: What is in doubt where it is not.
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
        source: Name of the source whose results are in doubt.
        pc: Name of the PC that was checked, "" for control specimens.
        after: Time of the last good check before, None where there was none.
        until: Time of the next good check, None where there is none yet.
        first_at, last_at: Times of the first and the last failed check.
        doubts: What is in doubt.
        fault: See `CheckResult`.
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
        return self.doubts == {Suspicion.MODEL}

    @property
    def sentence(self) -> str:
        """Reason to hold a result that was made before the failed check."""
        words = {
            "source": self.source,
            "pc": self.pc,
            "good": f"{self.after:%Y-%m-%d %H:%M}" if self.after else "",
            "bad": f"{self.first_at:%Y-%m-%d %H:%M}",
            "fault": self.fault,
        }
        if self.pc:
            template = (
                _("the control check of {bad} UTC on {pc} failed, the last good one is of {good}")
                if self.after
                else _("the control check of {bad} UTC on {pc} failed, and none before it was good")
            )
        else:
            template = (
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
        return template.format(**words)


def iter_check_failures(checks: Sequence[Record], source: str) -> Iterator[Failure]:
    """Yield the failures of the PCs that read a source, by their checks, oldest first."""
    by_pc: dict[str, list[CheckResult]] = defaultdict(list)
    for result in checks:
        # A failed check that read no image names nothing in doubt: then it is the instrument.
        doubts = result.facts.get("doubts") or [Suspicion.INSTRUMENT]
        check = CheckResult(result.at, bool(result.facts.get("passed")), frozenset(doubts))
        by_pc[result.subject].append(check)
    for pc, results in by_pc.items():
        yield from find_failures(results, source, pc)


def iter_point_failures(points: Sequence[ControlPoint], source: str) -> Iterator[Failure]:
    """Yield the failures of a source's control specimens, oldest first."""
    checks = [
        CheckResult(
            at=point.at,
            passed=not point.faults,
            doubts=frozenset({Suspicion.INSTRUMENT}),
            fault=point.faults[0] if point.faults else "",
        )
        for point in points
    ]
    return find_failures(checks, source, "")


def find_failures(checks: Sequence[CheckResult], source: str, pc: str) -> Iterator[Failure]:
    """Yield each run of failed checks.

    Args:
        checks: Of one PC or of the control specimens, oldest first.
        source: Name of the source whose results they concern.
        pc: Name of the PC that was checked, "" for control specimens.
    """
    good: datetime | None = None
    run: list[CheckResult] = []

    def end(until: datetime | None) -> Iterator[Failure]:
        if run:
            doubts = frozenset[str]().union(*(result.doubts for result in run))
            first, last = run[0], run[-1]
            yield Failure(source, pc, good, until, first.at, last.at, doubts, first.fault)

    for result in checks:
        if not result.passed:
            run.append(result)
            continue
        yield from end(result.at)
        good, run = result.at, []
    yield from end(None)


def is_retired(checks: Sequence[Record], failure: Failure, at: datetime) -> bool:
    """Return whether a PC did not read the source at a time, and another one was checked.

    Its checks then hold nothing: it was replaced, or it was added later.
    """
    if not failure.pc:
        return False
    before = [result for result in checks if result.at <= at]
    if not before or before[-1].subject == failure.pc:
        return False
    own = [result for result in before if result.subject == failure.pc]
    if own:
        return at - own[-1].at > GOOD_FOR
    return at - before[-1].at <= GOOD_FOR


INSTANT = timedelta(microseconds=1)
RELEASE = "hold_release"
"""Kind of record of a lead's release; its subject is the source."""


@dataclass(frozen=True, slots=True)
class Release:
    """A lead's act that makes held results of a source count again.

    Args:
        source: Name of the source.
        start, end: Times of the results, inclusive, aware UTC.
        by: The lead.
        reason: Given by the lead.
        at: Time of the act; failures that began later are not released.
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
        """Note of the release, on every statement of a released result."""
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
        every: Greatest age of a control specimen's micrograph; zero: none is required.
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
        self._all = list(_iter_in_sequence(checks))
        self._points = {source: _sort_points(own) for source, own in points.items()}
        self._releases = releases
        self._control, self._every = frozenset(control), every
        self._checks: dict[str, list[Record]] = {}
        self._failures: dict[str, list[Failure]] = {}

    def __call__(self, view: MicrographView) -> str:
        """Return why a result is held, "" where it is not."""
        if view.process_data.get("order") in self._control:
            return ""
        made_at = self._made_at(view)
        for failure, at in self._holding(view, made_at):
            if self._release(failure, at) is None:
                return self._sentence(failure, view, at)
        checks = self._checks_of(view.source)
        if view.order_label is None and (
            reason := _describe_missing_check(checks, view.source, made_at)
        ):
            return reason
        return self._no_specimen(view)

    def notes(self, view: MicrographView) -> Iterator[str]:
        """Yield each release that makes a result count."""
        for failure, at in self._holding(view, self._made_at(view)):
            if release := self._release(failure, at):
                yield release.note

    def failures(self, source: str) -> list[Failure]:
        """Return every failure of a source, those of control specimens last."""
        if source not in self._failures:
            self._failures[source] = [
                *iter_check_failures(self._checks_of(source), source),
                *iter_point_failures(self._points.get(source, ()), source),
            ]
        return self._failures[source]

    def is_held(self, failure: Failure, at: datetime) -> bool:
        """Return whether a failure holds a result made at a time, where no reviewer decided it."""
        return (
            failure.spans(at)
            and not is_retired(self._checks_of(failure.source), failure, at)
            and self._release(failure, at) is None
        )

    @property
    def sources(self) -> list[str]:
        """Every source that a check or a control specimen speaks of."""
        named = {name for check in self._all for name in check.facts.get("sources", ())}
        return sorted(named | self._points.keys())

    @property
    def control(self) -> frozenset[str]:
        """Numbers of the control orders, which are never held."""
        return self._control

    def _holding(
        self, view: MicrographView, made_at: datetime
    ) -> Iterator[tuple[Failure, datetime]]:
        """Yield the failures that put a result in doubt, released or not, and when it was made.

        The second is a time among the checks or among the control specimens that failed.

        A reviewer's code makes a doubt about the model's answer meaningless. It comes from the same
        picture and scale, so a doubt about the instrument remains.
        """
        checks, taken_at = self._checks_of(view.source), self._taken_at(view)
        for failure in self.failures(view.source):
            at = made_at if failure.pc else taken_at
            decided = failure.is_about_the_model and has_code(view)
            if failure.spans(at) and not decided and not is_retired(checks, failure, at):
                yield failure, at

    def _made_at(self, view: MicrographView) -> datetime:
        """Return when a result was made; where a clock was set, the order of the records holds.

        A check that was recorded before the result was made before it, and one that was recorded
        later was made later, whatever the clock of that day showed.
        """
        at, after = view.result.done_at, view.result.after_record
        if after is None:
            return at
        checks = self._checks_of(view.source)
        at = max([at, *(check.at + INSTANT for check in checks if check.id <= after)])
        return min([at, *(check.at - INSTANT for check in checks if check.id > after)])

    def _taken_at(self, view: MicrographView) -> datetime:
        """Return when a micrograph was taken in; where a clock was set, its number holds."""
        at, points = view.taken_at or view.result.done_at, self._points.get(view.source, ())
        at = max([at, *(point.at + INSTANT for point in points if point.number < view.number)])
        return min([at, *(point.at - INSTANT for point in points if point.number > view.number)])

    def _release(self, failure: Failure, at: datetime) -> Release | None:
        mine = (release for release in self._releases if release.source == failure.source)
        return next((check for check in mine if check.covers(failure, at)), None)

    def _sentence(self, failure: Failure, view: MicrographView, at: datetime) -> str:
        if at < failure.first_at:
            return failure.sentence
        if not failure.pc:
            point = [
                control_point
                for control_point in self._points[view.source]
                if control_point.at <= at
            ][-1]
            return _("the control specimen of {source} failed: {fault}").format(
                source=view.source, fault=point.faults[0]
            )
        own = [check for check in self._checks_of(view.source) if check.subject == failure.pc]
        newest = [check for check in own if check.at <= at][-1]
        return _("the control check of {at} UTC on {pc} failed").format(
            at=f"{newest.at:%Y-%m-%d %H:%M}", pc=failure.pc
        )

    def _no_specimen(self, view: MicrographView) -> str:
        at = self._taken_at(view)
        points = self._points.get(view.source, ())
        near = [point for point in points if abs(point.at - at) <= self._every]
        proved = any(check.at <= at or not check.faults for check in near)
        if self._every and not proved:
            hours = self._every.total_seconds() / 3600
            return _("no control specimen of {source} within {hours} h").format(
                source=view.source, hours=decimal(hours, "g")
            )
        return ""

    def _checks_of(self, source: str) -> list[Record]:
        if source not in self._checks:
            self._checks[source] = list_checks(self._all, source)
        return self._checks[source]


def load_holds(settings: Settings, store: Store) -> Holds:
    """Return what holds the results of a lab, by all its checks and releases."""
    orders = settings.orders
    return Holds(
        store.records.all(CONTROL),
        list_control_points(store, orders.control) if orders.control else {},
        load_releases(store),
        control=orders.control,
        every=timedelta(hours=orders.control_every_h),
    )


def load_releases(store: Store) -> list[Release]:
    """Return every release, oldest first."""
    return [
        Release(
            source=record.subject,
            start=datetime.fromisoformat(record.facts["from"]),
            end=datetime.fromisoformat(record.facts["to"]),
            by=record.by,
            reason=record.facts["reason"],
            at=record.at,
        )
        for record in store.records.all(RELEASE)
    ]


def has_code(view: MicrographView) -> bool:
    """Return whether a reviewer gave a structure code."""
    return view.order_label is not None and view.order_label.kind == "code"


def _describe_missing_check(checks: Sequence[Record], source: str, at: datetime) -> str:
    """Return that no check proves the instrument; a good one after the result does."""
    before = [record for record in checks if record.at <= at]
    if before and at - before[-1].at <= GOOD_FOR:
        return ""
    after = [record for record in checks if record.at > at]
    if after and after[0].facts.get("passed"):
        return ""
    hours = GOOD_FOR.total_seconds() / 3600
    return _(
        "no control check of {source} in the {hours} h before it (agent verify --installation)"
    ).format(source=source, hours=f"{hours:.0f}")


def _sort_points(points: Sequence[ControlPoint]) -> list[ControlPoint]:
    """Return control specimens as they were taken in, as `_iter_in_sequence` does with checks."""
    sequence: list[ControlPoint] = []
    for point in sorted(points, key=lambda point: point.number):
        at = max(point.at, sequence[-1].at + 2 * INSTANT) if sequence else point.at
        sequence.append(replace(point, at=at))
    return sequence


def _iter_in_sequence(checks: Sequence[Record]) -> Iterator[Record]:
    """Yield checks as they were recorded, each later than the one before.

    Where a clock was set back, or two came at one instant, a check gets the time just after the one
    before, so that a result fits between any two.
    """
    last: datetime | None = None
    for check in sorted(checks, key=lambda check: check.id):
        at = check.at if last is None else max(check.at, last + 2 * INSTANT)
        last = at
        yield check.model_copy(update={"at": at})


@dataclass(frozen=True, slots=True)
class Affected:
    """Orders with results that a failure holds.

    Args:
        failure: The failure.
        orders: Their numbers.
    """

    failure: Failure
    orders: tuple[str, ...]


def list_affected_orders(store: Store, holds: Holds, *, now: datetime) -> list[Affected]:
    """Return the failures that hold results of orders, and those orders.

    Args:
        store: Open.
        holds: What holds results.
        now: Aware UTC.
    """
    groups = []
    for source in holds.sources:
        for failure in holds.failures(source):
            fields = store.order_changes.judged_between(source, failure.after, failure.until or now)
            orders = {
                order
                for order, public_id, done_at in fields
                if order not in holds.control
                and holds.is_held(failure, done_at)
                and not (failure.is_about_the_model and _is_coded(store, public_id))
            }
            if orders:
                groups.append(Affected(failure, tuple(sorted(orders))))
    return groups


def list_orders_in_doubt(store: Store, *, since: datetime, now: datetime) -> set[str]:
    """Return the orders of failed checks with reference images that a new act may hold or release.

    Args:
        store: Open.
        since: Failures with a check, and releases, from this time on.
        now: Aware UTC.
    """
    releases = load_releases(store)
    holds = Holds(store.records.all(CONTROL), {}, releases)
    released = {earlier.source for earlier in releases if earlier.at >= since}
    return {
        order
        for source in holds.sources
        for failure in holds.failures(source)
        if failure.last_at >= since or source in released
        for order, *_ in store.order_changes.judged_between(
            source, failure.after, failure.until or now
        )
    }


def _is_coded(store: Store, public_id: str) -> bool:
    view = store.results.find(public_id)
    return view is not None and has_code(view)


def release_results(
    store: Store,
    affected: Sequence[Affected],
    source: str,
    *,
    by: str,
    reason: str,
    at: datetime,
    start: datetime | None = None,
    end: datetime | None = None,
) -> list[str]:
    """Release held results of a source, so that they count again; a lead's act.

    Args:
        store: Open.
        affected: What is held now.
        source: Name of the source.
        by: The lead.
        reason: Why the results are sound.
        at: Now, aware UTC.
        start: Results from this time on are released, aware UTC; None: from the first held one.
        end: Up to this time; None: until now.

    Returns:
        Numbers of the orders with such results.

    Raises:
        UsageError: No result of the source is held, the end is later than now, or no reason is
            given.
    """
    from agent.orders.facts.specimen_facts import LONG_AGO  # noqa: PLC0415 - a status judges nothing
    from agent.orders.judge.permissions import require_reason  # noqa: PLC0415

    reason = require_reason(reason)
    mine = [group for group in affected if group.failure.source == source]
    if not mine:
        raise UsageError(_("No results of {source} are held.").format(source=source))
    held_since = [group.failure.after for group in mine]
    start = start or min(since or LONG_AGO for since in held_since)
    end = end or at
    if end > at or end < start:
        raise UsageError(
            "--to: a time after --from and not after now; later results are not known."
        )
    facts = {"from": start.isoformat(), "to": end.isoformat(), "reason": reason}
    store.records.add(RELEASE, source, by=by, at=at, facts=facts)
    return sorted({number for group in mine for number in group.orders})
