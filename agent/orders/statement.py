"""Keep what was stated of an order: a correction is an amendment, and the first stays readable.

In:  the document of an assessed order. Out: `Made` statements, each with what it changed. Next:
`trace`. Nothing is written over: every statement is a record of its own, with who, when and why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.errors import WrongUse
from agent.orders.facts import Conformity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from agent.store import Store

STATEMENT = "statement"
FINAL = (Conformity.CONFORMS, Conformity.DOES_NOT_CONFORM)
"""What is stated at last; before it an order is only on its way, and nothing is stated yet."""
PASSING = ("urgent", "unassigned", "unusable_files", "notes", "decision_rule")
"""What may change without the statement being another one; so may the path of a field's file.

What is known of the rule's errors grows with every double review."""
ADDED_LATER = ("scale_traced_to",)
"""Keys of a field that statements of earlier versions do not have."""
OF_THE_ORDER = (
    "material",
    "customer",
    "product",
    "specification",
    "specification_version",
    "demand",
)


@dataclass(frozen=True, slots=True)
class Made:
    """One statement as it was made.

    Args:
        record: Number of its record. at: when, aware UTC. by: who. reason: why it was amended.
        changed: What it says otherwise than the one before it, () for the first.
        document: All that it said, as `agent order --json` did then.
    """

    record: int
    at: datetime
    by: str
    reason: str
    changed: tuple[str, ...]
    document: dict[str, Any]


def made_of(store: Store, number: str) -> list[Made]:
    """Say every statement of an order, the first one first."""
    return [
        Made(
            record=one.id,
            at=one.at,
            by=one.by,
            reason=one.facts["reason"],
            changed=tuple(one.facts["changed"]),
            document=one.facts["document"],
        )
        for one in store.records.all(STATEMENT, number)
    ]


def make(
    store: Store, document: Mapping[str, Any], *, by: str, reason: str, at: datetime
) -> list[Made]:
    """State what an order's document says, where that is another thing than before.

    An order that is still undecided and was never stated is left as it is.

    Returns:
        Every statement of the order, the first one first.

    Raises:
        WrongUse: It would amend an earlier statement, and no reason is given.
    """
    number = str(document["order"])
    before = made_of(store, number)
    last = before[-1] if before else None
    if last and lasting(last.document) == lasting(document):
        return before
    if last is None and document["conformity"] not in FINAL:
        return before
    changed = list(changes(last.document, document)) if last else []
    if last and not reason.strip():
        raise WrongUse(
            f"order {number} was stated on {last.at:%Y-%m-%d %H:%M} UTC by {last.by}, and says "
            f"something else now ({'; '.join(changed[:3])}): say why with --reason TEXT, it is "
            "kept with the amendment."
        )
    facts = {"reason": reason, "changed": changed, "document": dict(document)}
    store.records.add(STATEMENT, number, by=by, at=at, facts=facts)
    return made_of(store, number)


def lasting(document: Mapping[str, Any]) -> dict[str, Any]:
    """Say what of a document makes the statement: without what passes or merely moves."""

    def without_file(fields: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{key: value for key, value in one.items() if _lasts(key, value)} for one in fields]

    kept = {key: value for key, value in document.items() if key not in PASSING}
    kept["specimens"] = [
        one | {key: without_file(one[key]) for key in ("fields", "superseded")}
        for one in document["specimens"]
    ]
    return kept


def _lasts(key: str, value: object) -> bool:
    """Return whether a key of a field makes the statement.

    A key that came in a later version states nothing new where it is empty, so that no statement
    and no revision follows from a new version alone.
    """
    return key != "file" and not (key in ADDED_LATER and value is None)


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Say what one document says otherwise than another, a few words each.

    Args:
        before: As it was stated.
        now: As it is.
    """
    if before["conformity"] != now["conformity"]:
        yield f"the order: {_word(before)}, now {_word(now)}"
    for key in OF_THE_ORDER:
        if before[key] != now[key]:
            name = key.replace("_", " ")
            yield f"{name}: {before[key] or 'not known'}, now {now[key] or 'not known'}"
    were, are = ({one["specimen"]: one for one in said["specimens"]} for said in (before, now))
    for name in sorted(were.keys() | are.keys()):
        old, new = (_word(said[name]) if name in said else "not there" for said in (were, are))
        if old != new:
            yield f"specimen {name}: {old}, now {new}"
    fields, known = _fields(now), _fields(before)
    for public_id in dict.fromkeys((*known, *fields)):
        old, new = known.get(public_id, "not there"), fields.get(public_id, "not there")
        if old != new:
            yield f"field {public_id}: {old}, now {new}"
    if before["missing"] != now["missing"]:
        yield "what is missing is another thing now"


def _word(said: Mapping[str, Any]) -> str:
    return Conformity(said["conformity"]).words


def _fields(document: Mapping[str, Any]) -> dict[str, str]:
    return {
        field["id"]: _said(field)
        for specimen in document["specimens"]
        for field in (*specimen["fields"], *specimen["superseded"])
    }


def _said(field: Mapping[str, Any]) -> str:
    decided, gone = field["decided"], field["superseded"]
    code = field["structure_code"] or "no code"
    said = f"{(decided['said'] or decided['kind'])} by {decided['by']}" if decided else code
    return f"{said.replace('_', ' ')}, superseded" if gone else said.replace("_", " ")
