"""Merge an entry of an order list into an order: additions are applied, changes wait for a lead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.store.evidence.declaration import LATE, LIST_COLUMNS, LIST_FACTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from agent.store.orders.order_views import Entry
    from agent.store.tables import OrderRow

PENDING, AMENDED = "pending", "amended"
"""Keys of an order's facts: changes that wait, decisions."""


def merge(
    row: OrderRow, entry: Entry, name: str, *, key: Callable[[str], str], has_fields: bool
) -> None:
    """Merge a list's entry into an order's row.

    Unknown values are filled in; specimens are added. Values that are received after the first
    field, or after an earlier list, are marked as late: they must not change the limit. A changed
    value, a removed specimen and a smaller number of specimens are stored as pending changes.

    Args:
        row: The order.
        entry: The list's entry.
        name: Of the list.
        key: Returns what all spellings of a number have in common.
        has_fields: The order has fields already.
    """
    facts = dict(row.facts)
    known = {column: getattr(row, column) for column in LIST_COLUMNS} | {
        name: facts.get(name) for name in LIST_FACTS
    }
    given = {column: getattr(entry, column) for column in LIST_COLUMNS} | {
        name: entry.facts.get(name) for name in LIST_FACTS
    }
    waiting = dict(facts.get(PENDING) or {})
    late = list(facts.get(LATE) or [])
    for what, value in given.items():
        if not value:
            continue
        if not known[what]:
            _set(row, facts, what, value)
            if (has_fields or facts.get("list")) and what not in late:
                late.append(what)
        elif _is_same(known[what], value):
            waiting.pop(what, None)
        else:
            waiting[what] = {"from": known[what], "to": value, "list": name}
    _merge_specimens(facts, entry, waiting, name, key=key)
    _merge_count(facts, entry, waiting, name)
    row.urgent = row.urgent or entry.urgent
    facts |= {PENDING: waiting, LATE: late, "list": facts.get("list") or name}
    row.facts = {what: value for what, value in facts.items() if value}


def _set(row: OrderRow, facts: dict[str, Any], what: str, value: object) -> None:
    if what in LIST_COLUMNS:
        setattr(row, what, value)
    else:
        facts[what] = value


def _is_same(first: object, second: object) -> bool:
    def plain(value: object) -> object:
        if isinstance(value, str):
            return " ".join(value.casefold().split())
        return sorted(map(str, value)) if isinstance(value, list | tuple) else value

    return plain(first) == plain(second)


def _merge_specimens(
    facts: dict[str, Any],
    entry: Entry,
    waiting: dict[str, Any],
    name: str,
    *,
    key: Callable[[str], str],
) -> None:
    known: Sequence[str] = facts.get("specimens") or ()
    given: Sequence[str] = entry.facts.get("specimens") or ()
    if not given:
        return
    had, has = {key(name) for name in known}, {key(name) for name in given}
    facts["specimens"] = [*known, *(name for name in given if key(name) not in had)]
    if had - has:
        waiting["specimens"] = {"from": facts["specimens"], "to": list(given), "list": name}
    else:
        waiting.pop("specimens", None)


def _merge_count(facts: dict[str, Any], entry: Entry, waiting: dict[str, Any], name: str) -> None:
    known, given = facts.get("count"), entry.facts.get("count")
    if not given:
        return
    if known and given < known:
        waiting["count"] = {"from": known, "to": given, "list": name}
        return
    waiting.pop("count", None)
    facts["count"] = given


def pending(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what waits for a lead: what → from, to, list; late keys have only `late`."""
    late = {what: {"late": True} for what in facts.get(LATE) or ()}
    return late | dict(facts.get(PENDING) or {})


def amend(row: OrderRow, *, accept: bool, by: str, reason: str, at: datetime) -> None:
    """Accept or dismiss pending changes; the decision is stored with the order."""
    facts = dict(row.facts)
    changes = dict(facts.pop(PENDING, None) or {})
    late = facts.pop(LATE, None) or []
    if accept:
        for what, change in changes.items():
            _set(row, facts, what, change["to"])
    else:
        for what in late:
            _set(row, facts, what, "")
    decision = {
        "accepted": accept,
        "by": by,
        "reason": reason,
        "at": at.isoformat(),
        "changes": changes,
        "late": late,
    }
    facts[AMENDED] = [*(facts.get(AMENDED) or ()), decision]
    row.facts = {what: value for what, value in facts.items() if value}
