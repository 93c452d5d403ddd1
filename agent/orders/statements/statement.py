"""Statements of an order: what they hold, what makes a new one, and those that were made.

The agent freezes a statement when the conformity of an order changes, see `freezing`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import reports
from agent.orders.facts.specimen_facts import Conformity
from agent.store import Store, recompute_statement, to_canonical
from reports import gettext as _
from reports import marked

PROGRAM = "agent"
"""Who acts where no person did."""
FORMAT = "martensight.statement/1"
FINAL = (Conformity.CONFORMS, Conformity.DOES_NOT_CONFORM)
"""Conformities that end an order; with any other it is open."""
PASSING = ("urgent", "unassigned", "unusable_files", "notes", "decision_rule", "needles")
"""Keys that may change without a new statement; so may the path of a field's file.

The known errors of the rule grow with every double review.
"""
OF_THE_ORDER = {
    "material": marked("material"),
    "customer": marked("customer"),
    "product": marked("product"),
    "specification": marked("specification"),
    "specification_version": marked("specification version"),
    "demand": marked("demand"),
}
"""Keys of the order → what a change of them is called."""
RESTS_ON = ("specification", "labels", "permissions", "crops", "set_aside")
"""Parts of a frozen document, next to the order's, whose change makes a new statement."""


@dataclass(frozen=True, slots=True)
class Made:
    """One statement as it was made.

    Attributes:
        record: Its number.
        at: When, aware UTC.
        changed: What it states differently from the one before it, () for the first.
        document: Of the order, as `agent orders show --json` wrote it then.
        sha256: Hash of the frozen text.
        whole: The frozen document.
    """

    record: int
    at: datetime
    changed: tuple[str, ...]
    document: dict[str, Any]
    sha256: str
    whole: dict[str, Any]

    @property
    def file(self) -> str:
        """Name of its file in the folder of a trace."""
        return f"{plain(self.document['order'])}-{self.record}.json"


def plain(name: str) -> str:
    """Return a name as a file may be called."""
    return re.sub(r"[^\w.-]+", "_", name)[:80] or "_"


def name_file(order: str) -> str:
    """Return the name of an order's files: no two orders have the same one."""
    name = plain(order)
    return name if name == order else f"{name}-{hashlib.sha256(order.encode()).hexdigest()[:8]}"


def list_made(store: Store, number: str) -> list[Made]:
    """Return every statement of an order, the first one first."""
    return [
        _made(store, statement.sha256, statement.at) for statement in store.statements.all(number)
    ]


def _made(store: Store, sha256: str, at: datetime) -> Made:
    whole = store.statements.document(sha256)
    return Made(
        record=whole["number"],
        at=at,
        changed=tuple(whole["changed"]),
        document=whole["document"],
        sha256=sha256,
        whole=whole,
    )


def lasting(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of an order's document makes the statement: without what passes or moves."""

    def without_file(fields: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{key: value for key, value in field.items() if key != "file"} for field in fields]

    kept = {key: value for key, value in document.items() if key not in PASSING}
    kept["specimens"] = [
        specimen | {key: without_file(specimen[key]) for key in ("fields", "superseded")}
        for specimen in document["specimens"]
    ]
    return kept


def hash_state(document: Mapping[str, Any]) -> str:
    """Return a hash of what an order's document states, 16 hex digits.

    Args:
        document: As `agent orders show --json` writes it.
    """
    text = json.dumps(lasting(document), sort_keys=True, ensure_ascii=False)
    return recompute_statement(text)[:16]


def hash_basis(basis: Mapping[str, Any]) -> str:
    """Return hashes of what a statement states and of what it rests on, without times.

    Args:
        basis: As `statement_document.build_basis` builds it.

    Returns:
        `hash_state` of the order's document, a dot, and 32 hex digits of all of it.
    """
    rests_on = {key: basis[key] for key in RESTS_ON}
    whole = to_canonical(rests_on | {"document": lasting(basis["document"])})
    return f"{hash_state(basis['document'])}.{recompute_statement(whole)[:32]}"


def describe_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield what one order's document states differently from another, a few words each.

    Args:
        before: As it was stated.
        now: As it is.
    """
    if before["conformity"] != now["conformity"]:
        yield _("the order: {before}, now {now}").format(
            before=_describe_conformity(before), now=_describe_conformity(now)
        )
    for key, name in OF_THE_ORDER.items():
        if before[key] != now[key]:
            yield _("{what}: {before}, now {now}").format(
                what=_(name),
                before=before[key] or _("not known"),
                now=now[key] or _("not known"),
            )
    were, are = (
        {specimen["specimen"]: specimen for specimen in document["specimens"]}
        for document in (before, now)
    )
    for name in sorted(were.keys() | are.keys()):
        old, new = (
            _describe_conformity(document[name]) if name in document else _("not there")
            for document in (were, are)
        )
        if old != new:
            yield _("specimen {name}: {before}, now {now}").format(name=name, before=old, now=new)
    fields, known = _index_fields(now), _index_fields(before)
    for public_id in dict.fromkeys((*known, *fields)):
        old, new = known.get(public_id, _("not there")), fields.get(public_id, _("not there"))
        if old != new:
            yield _("field {name}: {before}, now {now}").format(name=public_id, before=old, now=new)
    if before["missing"] != now["missing"]:
        yield _("what is missing is another thing now")


def _describe_conformity(field: Mapping[str, Any]) -> str:
    return Conformity(field["conformity"]).words


def _index_fields(document: Mapping[str, Any]) -> dict[str, str]:
    return {
        field["id"]: _describe_decision(field)
        for specimen in document["specimens"]
        for field in (*specimen["fields"], *specimen["superseded"])
    }


def _describe_decision(field: Mapping[str, Any]) -> str:
    decided, gone = field["decided"], field["superseded"]
    code = field["structure_code"] or _("no code")
    words = code
    if decided:
        what = (decided["said"] or decided["kind"]).replace("_", " ")
        words = _("{what} by {who}").format(what=what, who=decided["by"])
    return _("{what}, superseded").format(what=words) if gone else words


def list_after(cause: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return who acted since the statement before → which acts, none twice; programs are left out.

    Args:
        cause: As a statement's document has it.
    """
    after: dict[str, list[str]] = {}
    for act in cause:
        if act["by"] != PROGRAM and act["act"] not in after.setdefault(act["by"], []):
            after[act["by"]].append(act["act"])
    return after


def describe_after(after: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield after whose acts a statement was made, in words."""
    for who, acts in after.items():
        named = ", ".join(reports.act_title(act) for act in acts)
        yield _("after an act of {who}: {acts}").format(who=who, acts=named)
