"""Find fields of no specimen and unusable files that might belong to an order.

A field that no one can assign proves nothing, and it may be the one that breaks the limit. It holds
each order whose number it could mean, and each order of whose source it came within the hour, until
a reviewer assigns or dismisses it. Where a clock was set in between, the times before and since it
count.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, partial

from agent.errors import UsageError
from agent.store import (
    ClaimedPlace,
    FieldView,
    FileFate,
    MicrographView,
    OrderView,
    Record,
    ShotField,
    SpecimenView,
    Store,
    Unassigned,
    number_key,
)
from agent.store.orders.order_corrections import DISMISSED
from reports import gettext as _

NAMED = "lost_file_named"
"""Kind of the record that a note or a sender names an order of a file that could not be used."""


def name_lost(
    store: Store, content_id: int, claims: Sequence[ClaimedPlace], *, at: datetime
) -> None:
    """Store which orders the note or the sender of an unusable file names.

    Its path is stored with the file; what was sent with it is known only while it is processed.
    """
    for claim in claims:
        if claim.origin != "path":
            facts = {"content": content_id, "file": claim.file}
            store.records.add(NAMED, claim.order, by="agent", at=at, facts=facts)


def load_named(store: Store) -> dict[str, frozenset[int]]:
    """Return order → contents of lost files that a note or a sender named it for."""
    named: dict[str, set[int]] = {}
    for record in store.records.all(NAMED):
        named.setdefault(record.subject, set()).add(int(record.facts["content"]))
    return {order: frozenset(contents) for order, contents in named.items()}


def describe_lost(
    lost: Sequence[FileFate], dismissed: Sequence[Record], sources: Collection[str]
) -> Iterator[str]:
    """Yield the files that keep an order open.

    Args:
        lost: Files of the order that could not be used.
        dismissed: What leads decided about files of the order.
        sources: Names of the sources of the settings.
    """
    for file in list_undecided([fate for fate in lost if not _is_left(fate, sources)], dismissed):
        yield _(
            "{file} could not be used: export it again under the same name, or a lead "
            "dismisses it (agent orders dismiss-file)"
        ).format(file=file)
    left = [fate for fate in lost if _is_left(fate, sources)]
    for source in dict.fromkeys(fate.source for fate in left):
        own = [fate for fate in left if fate.source == source]
        for file in list_undecided(own, dismissed):
            yield _(
                "{file} has no result, and the settings of this PC no longer name its source "
                "{source}: a PC that watches it reads it, or a lead dismisses it (agent orders "
                "dismiss-file)"
            ).format(file=file, source=source)


def _is_left(fate: FileFate, sources: Collection[str]) -> bool:
    """Return whether a file is of a watched folder that the settings do not name."""
    return fate.source not in sources and fate.source in fate.read_as


def list_undecided(lost: Sequence[FileFate], dismissed: Sequence[Record]) -> list[str]:
    """Return the names of the files that keep an order open; arguments as in `describe_lost`."""
    settled = {record.facts.get("content") for record in dismissed}
    return list(dict.fromkeys(_name(fate.path) for fate in lost if fate.id not in settled))


def describe_dismissed(dismissed: Sequence[Record]) -> Iterator[str]:
    """Yield which files were dismissed, and why."""
    for record in dismissed:
        sentence = (
            _("{file} could not be used, dismissed by {who}: {reason}")
            if "content" in record.facts
            else _("{file} might be of this order, assigned to order {other} by {who}: {reason}")
            if "assigned" in record.facts
            else _("{file} does not belong to it, dismissed by {who}: {reason}")
        )
        yield sentence.format(
            file=record.facts["file"],
            who=record.by,
            reason=record.facts["reason"],
            other=record.facts.get("order"),
        )


def describe_renamed(renamed: Sequence[FileFate]) -> Iterator[str]:
    """Yield which files were renamed before they were read: the later name is a separate file."""
    for fate in renamed:
        if fate.renamed_to:
            file, (source, later) = _name(fate.path), fate.renamed_to
            yield (
                _("{file} was listed again in source {source}").format(file=file, source=source)
                if source != fate.source
                else _("{file} was renamed to {later} before it was read").format(
                    file=file, later=_name(later)
                )
            )


def dismiss_file(
    store: Store,
    number: str,
    file: str,
    lost: Sequence[FileFate],
    *,
    by: str,
    reason: str,
    at: datetime,
) -> None:
    """Decide that a file which could not be used shows nothing of an order; a lead's act.

    Raises:
        UsageError: No such file of the order, or no reason is given.
    """
    if not reason.strip():
        raise UsageError("Give a reason with --reason TEXT: the statement shows it.")
    fits = [fate for fate in lost if file in {fate.path, _name(fate.path)}]
    if not fits:
        known = ", ".join(_name(fate.path) for fate in lost) or "none"
        raise UsageError(f"Order {number} has no unusable file {file!r}; unusable are: {known}.")
    for fate in fits:
        facts = {"content": fate.id, "file": _name(fate.path), "reason": reason}
        store.records.add(DISMISSED, number, by=by, at=at, facts=facts)


def _name(path: str) -> str:
    return path.replace("\\", "/").rsplit("/", 1)[-1]


TOGETHER, NEARBY = timedelta(hours=1), timedelta(days=1)
"""How far from an order's fields one came that names no order, and one whose number is alike."""
LEAST_DIGITS = 4
"""Length of a number from which one character off is a slip rather than another number."""
_LOOKALIKES = str.maketrans("oqilsbz", "0011582")


def find_span(view: OrderView) -> tuple[datetime, datetime] | None:
    """Return from when to when a field may have come that belongs to an order, None: no field."""
    came = [at for _source, at, _steady_at in _iter_came(view)]
    return (min(came) - NEARBY, max(came) + NEARBY) if came else None


def _iter_came(view: OrderView) -> Iterator[tuple[str, datetime, datetime | None]]:
    """Yield source and time of each field, and its time by the clock as it was set since."""
    for _specimen, field in _iter_fields(view):
        yield field.view.source, field.view.taken_at or field.view.result.done_at, field.steady_at


def _measure_gaps(
    came: Iterable[tuple[str, datetime, datetime | None]],
    source: str,
    at: datetime,
    steady_at: datetime | None,
) -> Iterator[tuple[str, timedelta]]:
    """Yield source and distance in time of each field from one that came from a source."""
    for of, taken_at, own_steady_at in came:
        yield of, abs(at - taken_at)
        if of == source and steady_at and own_steady_at:
            yield of, abs(steady_at - own_steady_at)


def _iter_fields(view: OrderView) -> Iterator[tuple[SpecimenView, FieldView]]:
    for specimen in view.specimens:
        for prepared in specimen.preparations:
            for field in prepared.fields:
                yield specimen, field


def iter_views(store: Store, number: str) -> Iterator[MicrographView]:
    """Yield the fields of an order."""
    view = store.orders.order(number)
    for _specimen, field in _iter_fields(view) if view else ():
        yield field.view


def has_lookalikes(number: str, other: str, key: Callable[[str], str]) -> bool:
    """Return whether two numbers differ in letters alone that look like digits, such as O and 0."""
    own, its = key(number), key(other)
    return own != its and own.translate(_LOOKALIKES) == its.translate(_LOOKALIKES)


def is_one_off(number: str, other: str) -> bool:
    """Return whether one letter added, left out or replaced, or two swapped, make the other."""
    if max(len(number), len(other)) < LEAST_DIGITS or abs(len(number) - len(other)) > 1:
        return False
    start = next(
        (n for n, two in enumerate(zip(number, other, strict=False)) if two[0] != two[1]),
        min(len(number), len(other)),
    )
    one, its = number[start:], other[start:]
    return (
        one[1:] == its[1:]
        or one[1:] == its
        or one == its[1:]
        or (one[:2] == its[1::-1] and one[2:] == its[2:])
    )


@dataclass(frozen=True, slots=True)
class Possible:
    """What might belong to an order and is not in it.

    Attributes:
        fields: Fields of no specimen by public id, each with the reason.
        alike: Orders whose numbers differ in letters that look like digits, or that a slip of one
            character may have made.
        settled: Micrographs and orders that reviewers dismissed, each with their names.
        moved: Those of the fields that belonged to no specimen until they were assigned to another
            order.
    """

    fields: Mapping[str, tuple[MicrographView, str]]
    alike: tuple[str, ...]
    settled: Mapping[str, frozenset[str]]
    moved: frozenset[str] = frozenset()

    def find_fields(self, name: str) -> list[MicrographView]:
        """Return the fields of a public id, path or file name."""
        return [
            view
            for view, _why in self.fields.values()
            if name in {view.id, view.path, _get_name(view.path)}
        ]

    def get_name(self, name: str) -> str:
        """Return the file of a field's public id; an order's number as it is."""
        return _get_name(self.fields[name][0].path) if name in self.fields else name


NOTHING = Possible({}, (), {})


def find_possible(
    store: Store,
    view: OrderView,
    strays: Iterable[Unassigned] | None = None,
    *,
    demanded: int = 1,
    slips: bool = True,
) -> Possible:
    """Return what might belong to an order.

    Args:
        store: Open.
        view: The order.
        strays: Fields that belong to no specimen, where they are loaded already.
        demanded: Fields that a specimen needs.
        slips: Whether orders that a slip of one character made are looked up; each order has a
            dozen neighbours, so this is for one that conforms otherwise.
    """
    span = find_span(view)
    if span is None:
        return NOTHING
    key = partial(number_key, exact=store.exact_numbers)
    steady = [steady_at for *_shot, steady_at in _iter_came(view) if steady_at]
    if strays is None:
        strays = store.orders.unassigned(between=None if steady else span)

    @cache  # the names of one source have words in common
    def is_other(*words: str) -> bool:
        return store.order_changes.any_awaits_field(words, *span)

    fields = list_possible(strays, view, key, is_other)
    others = store.order_changes.list_photographed(*_widen(store, span, steady))
    alike = {*_iter_slips(store, view, others, key, demanded)} if slips else set()
    if not store.exact_numbers:
        alike |= {*_iter_alike(store, view, others, key)}
    moved = {own.id: (own, "") for own in _iter_moved(store, view, key)}
    settled = load_settled(store, view.number) if fields or alike or moved else {}
    return Possible(fields | moved, tuple(sorted(alike)), settled, frozenset(moved))


def _iter_moved(
    store: Store, view: OrderView, key: Callable[[str], str]
) -> Iterator[MicrographView]:
    """Yield the fields of other orders that were of no specimen and might be of this one."""
    records = store.records.all(DISMISSED, view.number)
    for public_id in {str(known["assigned"]) for r in records if "assigned" in (known := r.facts)}:
        order, own = store.orders.of_micrograph(public_id), store.results.find(public_id)
        if own and order and key(order) != key(view.number):
            yield own


def _widen(
    store: Store, span: tuple[datetime, datetime], steady: Sequence[datetime]
) -> tuple[datetime, datetime]:
    """Return a span with the times from and to which clocks were set near it, if any were."""
    clocks = store.sources.list_clock_times(near=span, apart=2 * NEARBY) if steady else []
    times = [at for clock in clocks for at in (clock - NEARBY, clock + NEARBY)]
    return min(*span, *times), max(*span, *times)


def _iter_alike(
    store: Store, view: OrderView, others: Iterable[str], key: Callable[[str], str]
) -> Iterator[str]:
    """Yield the orders of the same days that a misread name of this one may have made.

    Its number has letters that look like digits, or is what a pattern left of this number ("11" of
    "47 11") or of one with such letters ("1" of "4OO1").
    """
    number = key(view.number)
    for other in others:
        its = key(other)
        if has_lookalikes(number, other, key):
            yield other
        elif its != number and its in number:
            own = store.orders.order(other)
            if own is not None and _has_path_like(own, number, key):
                yield other


def _iter_slips(
    store: Store,
    view: OrderView,
    others: Iterable[str],
    key: Callable[[str], str],
    demanded: int,
) -> Iterator[str]:
    """Yield the orders that a slip of one character may have made of fields of this one.

    One character off is most often the next order. That one is on a list, or gets all its fields,
    or is of another material. Where one field is demanded, the next order has all its fields at
    once: then it is only possible between two shots of this one, or under a field that it lacks.
    """
    number, came = key(view.number), list(_iter_came(view))
    names = {
        (key(specimen.name), key(field.view.process_data.get("field", "")))
        for specimen, field in _iter_fields(view)
    }
    materials = {key(specimen.material) for specimen in view.specimens} | {key(view.material), ""}
    near = [other for other in others if key(other) != number and is_one_off(number, key(other))]
    shots: dict[str, list[ShotField]] = {}
    for shot in store.order_changes.list_shots_of(near) if near else ():
        if not shot.is_listed and _is_near(came, shot, NEARBY):
            shots.setdefault(shot.order, []).append(shot)
    for other, theirs in shots.items():
        first = theirs[0]
        is_unlike_next = (key(first.specimen), key(first.field)) not in names or _is_between(
            first, came
        )
        if (len(theirs) < demanded or (len(theirs) == 1 and is_unlike_next)) and any(
            key(shot.material) in materials
            and _is_near([own for own in came if own[0] == shot.source], shot, TOGETHER)
            for shot in theirs
        ):
            yield other


def _is_near(
    came: Iterable[tuple[str, datetime, datetime | None]], shot: ShotField, apart: timedelta
) -> bool:
    gaps = _measure_gaps(came, shot.source, shot.taken_at, shot.steady_at)
    return any(gap <= apart for _source, gap in gaps)


def _is_between(shot: ShotField, came: Iterable[tuple[str, datetime, datetime | None]]) -> bool:
    own = [times for source, *times in came if source == shot.source]
    for at, each in zip((shot.taken_at, shot.steady_at), zip(*own, strict=True), strict=False):
        times = [moment for moment in each if moment]
        if at and times and min(times) < at < max(times):
            return True
    return False


def list_possible_orders(store: Store, public_ids: Collection[str]) -> dict[str, list[str]]:
    """Return the orders that fields of no specimen might belong to, by public id; each has one."""
    strays = [own for own in store.orders.unassigned() if own.view.id in public_ids]
    if not strays:
        return {}
    times = [own.view.taken_at or own.view.result.done_at for own in strays]
    times += [at for own in strays for _, _, at, _ in own.names]
    if any(steady_at for own in strays for *_name, steady_at in own.names):
        times += store.sources.list_clock_times(near=times, apart=NEARBY)
    shots = store.order_changes.list_shots_between(min(times) - NEARBY, max(times) + NEARBY)
    orders = (store.orders.order(number) for number in sorted({shot.order for shot in shots}))
    possible: dict[str, list[str]] = {}
    for order in filter(None, orders):
        fields = find_possible(store, order, strays, slips=False).fields
        for public_id in fields.keys() & {own.view.id for own in strays}:
            possible.setdefault(public_id, []).append(order.number)
    return possible


def list_reached(store: Store, *, after: int) -> set[str]:
    """Return the orders that micrographs with a first result after a number might belong to.

    Args:
        store: Open.
        after: Number of a result.
    """
    new = store.order_changes.list_new_shots(after, within=NEARBY)
    if not new:
        return set()
    key = partial(number_key, exact=store.exact_numbers)
    times = [shot.taken_at for shot in new]
    span = min(times) - NEARBY, max(times) + NEARBY
    span = _widen(store, span, [shot.steady_at for shot in new if shot.steady_at])
    there: dict[str, list[tuple[str, datetime, datetime | None]]] = {}
    for shot in store.order_changes.list_shots_between(*span):
        there.setdefault(shot.order, []).append((shot.source, shot.taken_at, shot.steady_at))
    return {
        number
        for number, came in there.items()
        if any(_reaches(shot, number, came, key) for shot in new)
    }


def _reaches(
    shot: ShotField,
    number: str,
    came: Iterable[tuple[str, datetime, datetime | None]],
    key: Callable[[str], str],
) -> bool:
    named = [shot.order] if shot.order else _split(shot.path)
    if any(
        has_lookalikes(number, word, key) or is_one_off(key(number), key(word)) for word in named
    ):
        return True
    if shot.order and key(shot.order) != key(number) and key(shot.order) in key(number):
        return key(number) in map(key, _iter_words(shot.path))
    own = [shot_before for shot_before in came if shot_before[0] == shot.source]
    return not shot.is_assigned and _is_near(own, shot, TOGETHER)


def _has_path_like(other: OrderView, number: str, key: Callable[[str], str]) -> bool:
    """Return whether a path of an order holds words that could mean a number."""
    return any(
        key(words) == number or has_lookalikes(number, words, key)
        for _specimen, field in _iter_fields(other)
        for words in _iter_words(field.view.path)
    )


def _iter_words(path: str) -> Iterator[str]:
    """Yield the words of a path, and each sequence of words of one name as it is written."""
    for part in re.split(r"[/\\]", path):
        words = [word.span() for word in re.finditer(r"[0-9A-Za-z]+", part)]
        for n, (start, _end) in enumerate(words):
            yield from (part[start:end] for _start, end in words[n:])


def _split(path: str) -> list[str]:
    return [word for word in re.split(r"[^0-9A-Za-z]+", path) if word]


def list_possible(
    strays: Iterable[Unassigned],
    view: OrderView,
    key: Callable[[str], str],
    is_other: Callable[..., bool],
) -> dict[str, tuple[MicrographView, str]]:
    """Return the fields of no specimen that might belong to an order, by id, and why.

    Args:
        strays: Fields that belong to no specimen.
        view: The order.
        key: Of numbers.
        is_other: Whether one of some words is the number of an order that was photographed in those
            days, or that a list names and that has no field.
    """
    came, number = list(_iter_came(view)), key(view.number)
    possible: dict[str, tuple[MicrographView, str]] = {}
    for stray in strays:
        own = stray.view
        named = own.process_data.get("order", "")
        if key(named) == number:
            continue
        names = list(stray.names)
        if own.result.origin != "import":
            names.append((own.source, own.path, own.taken_at or own.result.done_at, None))
        for source, path, at, steady_at in names:
            gaps = _measure_gaps(came, source, at, steady_at)
            near = [(of, gap) for of, gap in gaps if gap <= NEARBY]
            if not near:
                continue
            words = [key(named)] if named else [key(word) for word in _split(path)]
            if any(_is_alike(number, word, key, is_other) for word in words):
                possible[own.id] = own, _("its number is alike")
                break
            if (
                not named
                and any(of == source and apart <= TOGETHER for of, apart in near)
                and not _mean_order(words, is_other)
            ):
                possible[own.id] = own, _("it came from the same source within the hour")
    return possible


def _mean_order(words: Iterable[str], is_other: Callable[..., bool]) -> bool:
    """Return whether a word of a name is the number of some order, or looks like it."""
    long = [word for word in words if len(word) >= LEAST_DIGITS]
    numbers = {*long, *(word.translate(_LOOKALIKES) for word in long)}
    return bool(numbers) and is_other(*sorted(numbers))


def _is_alike(
    number: str, word: str, key: Callable[[str], str], is_other: Callable[..., bool]
) -> bool:
    """Return whether a word of a name could mean a number; that of another order means that one."""
    if word == number or has_lookalikes(number, word, key):
        return True
    return is_one_off(number, word) and not is_other(word)


def load_settled(store: Store, number: str) -> dict[str, frozenset[str]]:
    """Return the micrographs that were dismissed for all orders, and orders for this one.

    Returns:
        Who dismissed each, by public id or number.
    """
    settled: defaultdict[str, set[str]] = defaultdict(set)
    for record in store.records.all(DISMISSED):
        subject, known = record.subject, record.facts
        if "micrograph" in known:
            settled[str(known["micrograph"])].add(record.by)
        if subject == number and "assigned" in known:
            settled[str(known["assigned"])].add(record.by)
        if subject == number and "alike" in known:
            settled[str(known["alike"])].add(record.by)
        if known.get("alike") == number:
            settled[subject].add(record.by)
    return {name: frozenset(people) for name, people in settled.items()}


def dismiss_possible(
    store: Store, number: str, name: str, possible: Possible, *, by: str, reason: str, at: datetime
) -> bool:
    """Decide that a field belongs to no order, or that an order is another; a reviewer's act.

    Args:
        store: Open.
        number: Of the order.
        name: File, public id or order, as the order's sentence names it.
        possible: What might belong to the order.
        by: The reviewer.
        reason: Why.
        at: Now, aware UTC.

    Returns:
        False where nothing of that name might belong to the order.

    Raises:
        UsageError: No reason is given.
    """
    facts = [
        {"micrograph": view.id, "file": _get_name(view.path)} for view in possible.find_fields(name)
    ]
    facts += [{"alike": other, "file": other} for other in possible.alike if other == name]
    if facts and not reason.strip():
        raise UsageError("Give a reason with --reason TEXT: the statement shows it.")
    for known in facts:
        store.records.add(DISMISSED, number, by=by, at=at, facts={**known, "reason": reason})
    return bool(facts)


def _get_name(path: str) -> str:
    return path.replace("\\", "/").rsplit("/", 1)[-1]
