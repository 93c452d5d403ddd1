"""Describe what an order list changes, and what leads decided about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reports import gettext as _
from reports import marked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KEYS = {
    "customer": marked("customer"),
    "product": marked("product"),
    "material": marked("material"),
    "heat": marked("heat"),
    "batch": marked("batch"),
    "etchant": marked("etchant"),
    "subtype": marked("subtype"),
    "specification": marked("specification"),
    "specimens": marked("specimens"),
    "count": marked("number of specimens"),
}


def describe_pending(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the changes of a list that wait for a lead."""
    for what, change in (facts.get("pending") or {}).items():
        yield _(
            "list {list} changes {what} from {before} to {now}: a lead decides (agent orders amend)"
        ).format(list=change["list"], **_describe(what, change))


def list_changes(facts: Mapping[str, Any]) -> list[str]:
    """Return what a list would change if a lead accepted it, such as "count: 3 → 2"."""
    pending = [
        "{what}: {before} → {now}".format(**_describe(what, change))
        for what, change in (facts.get("pending") or {}).items()
    ]
    late = [
        _("{what} as a later list names it").format(what=_(KEYS[what]))
        for what in facts.get("late") or ()
    ]
    return [*pending, *late]


def _describe(what: str, change: Mapping[str, Any]) -> dict[str, str]:
    return {
        "what": _(KEYS[what]),
        "before": _format_value(change["from"]),
        "now": _format_value(change["to"]),
    }


def describe_amendments(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield what leads decided about the changes of lists."""
    for decision in facts.get("amended") or ():
        what = ", ".join(_(KEYS[key]) for key in (*decision["changes"], *decision["late"]))
        says = (
            _("change of {what} accepted by {who}: {reason}")
            if decision["accepted"]
            else _("change of {what} dismissed by {who}: {reason}")
        )
        yield says.format(what=what, who=decision["by"], reason=decision["reason"])


def _format_value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
