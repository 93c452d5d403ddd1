"""Compare rows of evidence with the audit log, and name each row that differs."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlmodel import col, select

from agent.store.evidence import (
    audit_log,
    belonging_checks,
    claim_checks,
    filing_checks,
    lost_seals,
    needle_checks,
    reported_results,
    seals,
)
from agent.store.evidence.odd_shapes import name_odd, sort_acts
from agent.store.evidence.quality_records import FACTS_SHA256
from agent.store.orders.specimens import RELEASED_AFTER
from agent.store.people.accounts import fingerprint
from agent.store.people.label_resolution import FOR_ORDERS, IMPORTED, signed_by_program
from agent.store.sites.site_scope import get_site
from agent.store.tables import (
    AccountRow,
    LabelRow,
    LoginRow,
    MicrographRow,
    NightRow_,
    OrderRow,
    PromotionRow,
    RecordRow,
    SamePlaceRow,
    SiteRow,
    SpecificationRow,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlmodel import Session

    from agent.store.evidence.audit_log import TrailEntry

LABEL_ACTS = {"undo": "label.undone", "doubt": "label.doubted"}
LABEL_FACTS = (
    "kind",
    "code",
    "strange_kind",
    "why",
    "criterion",
    "comment",
    "supersedes",
    "origin",
    "viewing_s",
    "blind",
    "bulk",
    "after_record",
)


@dataclass(frozen=True, slots=True)
class RowChecks:
    """Result of the comparison with the audit log.

    Args:
        faults: One sentence per row that differs.
        notes: What the audit log does not cover, a sentence each.
    """

    faults: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Acts:
    """The acts of the audit log by what they are about."""

    labels: dict[int, TrailEntry] = field(default_factory=dict)
    records: dict[int, TrailEntry] = field(default_factory=dict)
    orders: dict[int, TrailEntry] = field(default_factory=dict)
    nights: dict[tuple[str, int, str], TrailEntry] = field(default_factory=dict)
    promotions: dict[tuple[str, str, datetime], TrailEntry] = field(default_factory=dict)
    specifications: dict[str, TrailEntry] = field(default_factory=dict)
    accounts: dict[str, dict[str, Any]] = field(default_factory=lambda: defaultdict(dict))
    first_account: int = 0
    logins: set[str] = field(default_factory=set)
    superseded: dict[str, TrailEntry] = field(default_factory=dict)
    places: dict[frozenset[str], TrailEntry] = field(default_factory=dict)


def examine(session: Session) -> RowChecks:
    """Compare every row of evidence of a site with the audit log."""
    acts, odd = _gather(session)
    compared = {
        "label": _labels(session, acts),
        "record": _records(session, acts),
        "promotion": _promotions(session, acts),
        "order": _orders(session, acts),
        "night": _nights(session, acts),
        "specification": _specifications(session, acts),
        "account": _accounts(session, acts),
        "login": _logins(session, acts),
        "superseded fields": _superseded(session, acts),
        "same_place": _places(session, acts),
        "fields and orders": belonging_checks.find_differences(session),
        "result": filing_checks.find_differences(session),
        "claims and places": claim_checks.find_differences(session),
        "measured needles": needle_checks.find_differences(session),
        "seals": seals.find_differences(session),
        "unusable files": lost_seals.find_differences(session),
    }
    faults = [*odd]
    for what, sentences in compared.items():
        faults += name_odd(what, sentences)
    return RowChecks(tuple(faults), tuple(audit_log.clock_notes(session)))


def _gather(session: Session) -> tuple[_Acts, list[str]]:
    """Return the acts, and a sentence for each that no version of this program wrote."""
    acts = _Acts()
    return acts, sort_acts(audit_log.entries(session), partial(_sort_in, acts))


def _sort_in(acts: _Acts, entry: TrailEntry) -> None:
    act, facts = entry.act, entry.facts
    if act.startswith("label.") and "label" in facts:
        acts.labels.setdefault(facts["label"], entry)
    elif act.endswith(".recorded") and "record" in facts:
        acts.records.setdefault(facts["record"], entry)
    elif act == "order.seen":
        acts.orders.setdefault(facts["order"], entry)
    elif act == "night.reported":
        acts.nights.setdefault((entry.subject, facts.get("revision", 1), entry.site), entry)
    elif act == "model.promoted":
        acts.promotions.setdefault((entry.subject, entry.actor, entry.at), entry)
    elif act == "specification.seen":
        acts.specifications.setdefault(facts["sha256"], entry)
    else:
        _sort_in_change(acts, entry)


def _sort_in_change(acts: _Acts, entry: TrailEntry) -> None:
    """Store what an act changed of an existing row; the newest counts."""
    act, facts = entry.act, entry.facts
    if act in {"account.added", "account.role_changed", "account.secret_changed"}:
        acts.first_account = acts.first_account or entry.id
        acts.accounts[entry.subject] |= {
            key: facts[key] for key in ("kind", "role", "secret") if key in facts
        }
        acts.accounts[entry.subject].setdefault("disabled", False)
    elif act == "login.began" and "login" in facts:
        acts.logins.add(facts["login"])
    elif act in {"account.disabled", "account.enabled"}:
        acts.accounts[entry.subject]["disabled"] = act == "account.disabled"
    elif act == "field.superseded":
        acts.superseded[entry.subject] = entry
    elif act == "place.decided":
        acts.places[frozenset((entry.subject, str(facts.get("other"))))] = entry


def _compare(
    what: str, entry: TrailEntry, was: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[str]:
    """Yield a sentence per value that differs between a row and the audit log."""
    for name, value in was.items():
        if now[name] != value:
            yield (
                f"{what}: {name} was {_shown(value)} (trail number {entry.id}), "
                f"is {_shown(now[name])}"
            )


def _shown(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"  # noqa: PLR2004 - a line of a terminal


def _plain(value: object) -> Any:
    """Return a value as JSON decodes it."""
    return json.loads(json.dumps(value, default=str))


# --- each kind of row -----------------------------------------------------------------------------


def _labels(session: Session, acts: _Acts) -> Iterator[str]:
    left = dict(acts.labels)
    wanted = (
        select(LabelRow, MicrographRow.public_id)
        .join(MicrographRow, col(MicrographRow.id) == col(LabelRow.micrograph_id), isouter=True)
        .order_by(col(LabelRow.id))
    )
    for row, public_id in session.exec(wanted.execution_options(yield_per=500)):
        entry = left.pop(row.id or 0, None)
        what = f"label {row.id} of {public_id}"
        if entry is None:
            yield f"{what}: {row.code or row.kind} by {row.by} is not in the trail"
            continue
        was = {name: entry.facts.get(name) for name in LABEL_FACTS}
        now = {name: getattr(row, name) for name in LABEL_FACTS} | {"comment": row.comment or None}
        was |= {"unsure": bool(entry.facts.get("unsure")), "result_id": entry.facts.get("result")}
        was |= {"by": entry.actor, "decided_at": entry.at, "micrograph": entry.subject}
        was |= {"act": entry.act}
        now |= {"unsure": row.unsure, "result_id": row.result_id, "by": row.by}
        now |= {"decided_at": row.decided_at, "micrograph": public_id}
        now |= {"act": LABEL_ACTS.get(row.kind, "label.given")}
        yield from _compare(what, entry, was, now)
        if stranger := _find_stranger(acts, entry):
            yield f"{what}: {stranger} (trail number {entry.id})"
    for number, entry in left.items():
        facts = entry.facts
        yield (
            f"label {number} of {entry.subject}: {facts.get('code') or facts.get('kind')} by "
            f"{entry.actor} of {entry.at:%Y-%m-%d %H:%M} UTC (trail number {entry.id}) was deleted"
        )


def _find_stranger(acts: _Acts, entry: TrailEntry) -> str:
    """Return why a label is of nobody that the lab knows, "" where it is of an account.

    Since its first account a lab takes labels from accounts alone.
    """
    if not 0 < acts.first_account < entry.id or entry.act != "label.given":
        return ""
    signed = entry.facts.get(audit_log.SIGNED) or {}
    account = signed.get("account", "")
    if not account:
        return f"{entry.actor} gave it, and no account signed it though the lab has accounts"
    names = {account, signed_by_program(account, account), signed_by_program("", account)}
    is_named = any(entry.actor.endswith(name) for name in names)
    if is_named or entry.facts.get("origin") in {IMPORTED, FOR_ORDERS}:
        return ""
    return f"{entry.actor} gave it, and {account} signed it"


def _records(session: Session, acts: _Acts) -> Iterator[str]:
    left = dict(acts.records)
    wanted = select(RecordRow).order_by(col(RecordRow.id)).execution_options(yield_per=500)
    for row in session.exec(wanted):
        entry = left.pop(row.id or 0, None)
        what = f"record {row.id} ({row.kind} of {row.subject or '-'})"
        if entry is None:
            yield f"{what}: by {row.by} is not in the trail"
            continue
        was: dict[str, Any] = {"by": entry.actor, "at": entry.at, "subject": entry.subject}
        was |= {"kind": entry.act.removesuffix(".recorded")}
        now: dict[str, Any] = {"by": row.by, "at": row.at, "subject": row.subject}
        now |= {"kind": row.kind}
        yield from _compare(what, entry, was, now)
        yield from _compare(what, entry, *_facts_of(entry, row.facts))
    yield from _deleted("record", left)


def _facts_of(entry: TrailEntry, facts: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the facts of a record as in the audit log, and as in the row."""
    was = {key: v for key, v in entry.facts.items() if key not in {"record", audit_log.SIGNED}}
    if FACTS_SHA256 in was:
        now = {key: facts.get(key) for key in was} | {FACTS_SHA256: audit_log.sha256_of(facts)}
        return was, now
    was |= dict.fromkeys(facts.keys() - was.keys())  # added keys had no value before
    now = {key: _plain(facts.get(key)) for key in was}
    return was, now


def _promotions(session: Session, acts: _Acts) -> Iterator[str]:
    by_number = {
        entry.facts["promotion"]: entry
        for entry in acts.promotions.values()
        if "promotion" in entry.facts
    }
    left = {id(entry): entry for entry in acts.promotions.values()}
    own = col(PromotionRow.site_id) == get_site(session)
    for row in session.exec(select(PromotionRow).where(own).order_by(col(PromotionRow.id))):
        key = (row.bundle, row.by, row.promoted_at)
        entry = by_number.get(row.id or 0) or acts.promotions.get(key)
        what = f"promotion {row.id} of {row.bundle}"
        if entry is None:
            yield f"{what}: by {row.by} is not in the trail"
            continue
        left.pop(id(entry), None)
        was = {"bundle": entry.subject, "by": entry.actor, "promoted_at": entry.at}
        was |= {key: entry.facts.get(key) for key in ("reason", "metrics")}
        now = {"bundle": row.bundle, "by": row.by, "promoted_at": row.promoted_at}
        now |= {"reason": row.reason, "metrics": _plain(row.metrics)}
        yield from _compare(what, entry, was, now)
    for entry in left.values():
        number = entry.facts.get("promotion", "")
        yield (
            f"promotion {number} of {entry.subject} by {entry.actor} (trail number {entry.id}) "
            "was deleted"
        )


def _orders(session: Session, acts: _Acts) -> Iterator[str]:
    left = dict(acts.orders)
    wanted = select(OrderRow).order_by(col(OrderRow.id)).execution_options(yield_per=500)
    for row in session.exec(wanted):
        entry = left.pop(row.id or 0, None)
        what = f"order {row.number}"
        if entry is None:
            yield f"{what}: when it was first seen is not in the trail"
            continue
        was: dict[str, Any] = {"number": entry.subject, "first_seen_at": entry.at}
        was |= {RELEASED_AFTER: entry.facts.get(RELEASED_AFTER)}
        now: dict[str, Any] = {"number": row.number, "first_seen_at": row.first_seen_at}
        now |= {RELEASED_AFTER: row.facts.get(RELEASED_AFTER)}
        yield from _compare(what, entry, was, now)
    for entry in left.values():
        yield f"order {entry.subject} (trail number {entry.id}) was deleted"


def _nights(session: Session, acts: _Acts) -> Iterator[str]:
    left = dict(acts.nights)
    sites = dict(session.exec(select(SiteRow.id, SiteRow.name)).all())
    for number in session.exec(select(NightRow_.id).order_by(col(NightRow_.id))).all():
        session.expunge_all()  # a night's facts may be large: one at a time
        row = session.get_one(NightRow_, number)
        entry = left.pop((_day(row.date), row.revision, sites.get(row.site_id, "")), None)
        what = f"night {row.date} (revision {row.revision})"
        if entry is None:
            yield f"{what}: is not in the trail"
        else:
            was = {"facts": entry.facts.get("sha256"), "frozen_at": entry.at}
            now = {"facts": audit_log.sha256_of_text(row.facts), "frozen_at": row.frozen_at}
            differs = list(_compare(what, entry, was, now))
            yield from differs or reported_results.find_differences(session, what, row.facts)
    for (day, revision, _), entry in left.items():
        yield f"night {day} (revision {revision}, trail number {entry.id}) was deleted"


def _day(value: date) -> str:
    return value.isoformat()


def _specifications(session: Session, acts: _Acts) -> Iterator[str]:
    left = dict(acts.specifications)
    for row in session.exec(select(SpecificationRow).order_by(col(SpecificationRow.id))):
        entry = left.pop(row.sha256, None)
        what = f"specification {row.name}, version {row.version}"
        if entry is None:
            yield f"{what}: approved by {row.approved_by} is not in the trail"
            continue
        was = {"name": entry.subject, "approved_by": entry.actor, "seen_at": entry.at}
        was |= {"version": entry.facts.get("version"), "entry": entry.facts.get("entry")}
        now = {"name": row.name, "approved_by": row.approved_by, "seen_at": row.seen_at}
        now |= {"version": row.version, "entry": _plain(row.entry)}
        yield from _compare(what, entry, was, now)
    for entry in left.values():
        yield f"specification {entry.subject} (trail number {entry.id}) was deleted"


def _accounts(session: Session, acts: _Acts) -> Iterator[str]:
    left = dict(acts.accounts)
    own = col(AccountRow.site_id) == get_site(session)
    for row in session.exec(select(AccountRow).where(own).order_by(col(AccountRow.id))):
        was = left.pop(row.name, None)
        if was is None:
            yield f"account {row.name}: {row.role} is not in the trail"
            continue
        now = {"kind": row.kind, "role": row.role, "disabled": row.disabled_at is not None}
        if was.pop("secret", fingerprint(row.hashed)) != fingerprint(row.hashed):
            yield f"account {row.name}: its password or token is not the one that the trail holds"
        for name, value in was.items():
            if now[name] != value:
                yield f"account {row.name}: {name} was {value!r} by the trail, is {now[name]!r}"
    for name in left:
        yield f"account {name}: was deleted"


def _logins(session: Session, acts: _Acts) -> Iterator[str]:
    """Yield the log-ins that did not begin with a password."""
    wanted = (
        select(LoginRow, AccountRow.name)
        .join(AccountRow, col(AccountRow.id) == col(LoginRow.account_id))
        .where(LoginRow.site_id == get_site(session))
        .order_by(col(LoginRow.id))
    )
    for row, name in session.exec(wanted.execution_options(yield_per=500)):
        if fingerprint(row.sha256) not in acts.logins:
            yield (
                f"log-in {row.id} of {name} ({row.began_at:%Y-%m-%d %H:%M} UTC) is not in the trail"
            )


def _superseded(session: Session, acts: _Acts) -> Iterator[str]:
    left = dict(acts.superseded)
    rows = select(MicrographRow.public_id, MicrographRow.superseded)
    for public_id, superseded in session.exec(rows.execution_options(yield_per=500)):
        entry = left.pop(public_id, None)
        if entry is None and not superseded:
            continue
        what = f"field {public_id}"
        if entry is None:
            yield f"{what}: that it is superseded by {superseded.get('by')} is not in the trail"
            continue
        was = {key: value for key, value in entry.facts.items() if key != audit_log.SIGNED}
        yield from _compare(what, entry, {"superseded": was}, {"superseded": _plain(superseded)})
    for public_id, entry in left.items():
        yield f"field {public_id} (trail number {entry.id}) was deleted"


def _places(session: Session, acts: _Acts) -> Iterator[str]:
    names = dict(session.exec(select(MicrographRow.id, MicrographRow.public_id)).all())
    for row in session.exec(select(SamePlaceRow).order_by(col(SamePlaceRow.id))):
        pair = frozenset((names.get(row.micrograph_id, ""), names.get(row.other_id, "")))
        entry = acts.places.get(pair)
        what = f"place of {' and '.join(sorted(pair))}"
        if entry is None:
            if row.verdict:
                yield f"{what}: {row.verdict} by {row.by} is not in the trail"
            continue
        was = {"verdict": entry.facts.get("verdict"), "by": entry.actor, "decided_at": entry.at}
        was |= {"belongs": entry.facts.get("belongs") or ""}
        now = {"verdict": row.verdict, "by": row.by, "decided_at": row.decided_at}
        now |= {"belongs": names.get(row.belongs_id, "")}
        yield from _compare(what, entry, was, now)


def _deleted(what: str, left: Mapping[int, TrailEntry]) -> Iterator[str]:
    for number, entry in left.items():
        yield (
            f"{what} {number} ({entry.act.removesuffix('.recorded')} of {entry.subject or '-'}, by "
            f"{entry.actor}, trail number {entry.id}) was deleted"
        )
