"""Hold the results that a failed instrument check puts in doubt, before the check and after it.

A failed check proves nothing since the last good one, and a later good one proves nothing of the
time between. So results of a source are held from the last good check of a PC (or source of control
specimens) to the next good one, until a lead releases them with a reason.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from agent.orders.instruments.instrument_checks import (
    CONTROL,
    GOOD_FOR,
    list_checks,
    list_control_points,
)
from agent.orders.instruments.instrument_failures import (
    is_retired,
    iter_check_failures,
    iter_point_failures,
)
from reports import decimal
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agent.orders.instruments.instrument_checks import ControlPoint
    from agent.orders.instruments.instrument_failures import Failure
    from agent.settings import Settings
    from agent.store import MicrographView, Record, Store

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
        yield replace(check, at=at)
