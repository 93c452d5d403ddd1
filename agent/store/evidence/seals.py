"""Seals: acts of the audit log with a hash over what many results were filed with.

A seal names the rows that it covers, since several agents end their transactions in any sequence.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from sqlmodel import col, select

from agent.store.evidence import audit_log, lost_seals
from agent.store.tables import ResultRow, TrailRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlmodel import Session

SEALED = "results.sealed"
"""Act of a seal."""
RECENT = 50
"""Number of seals read to find what no seal covers: half a day of them."""
MOST = 2000
"""Results that one seal covers."""
SHORT = 8
"""Letters of each result's own hash in a seal: they show which one differs."""


def seal(session: Session, site_id: int, *, at: datetime) -> int:
    """Append a seal of the results, and of the unusable files, that none covers yet.

    Args:
        session: Open for writing.
        site_id: Of the site.
        at: Now.

    Returns:
        How many those are.
    """
    audit_log.lock(session)
    lost = lost_seals.seal(session, site_id, at=at)
    recent = _list_recent(session, site_id)
    covered = {number for facts in recent for number in _list_ids(facts)}
    oldest = min(covered, default=0) if len(recent) == RECENT else 0
    wanted = (
        select(ResultRow.id, ResultRow.filed)
        .where(ResultRow.site_id == site_id, col(ResultRow.id) > oldest, ResultRow.filed != "")
        .order_by(col(ResultRow.id))
    )
    open_rows = [
        (number or 0, filed) for number, filed in session.exec(wanted) if number not in covered
    ][:MOST]
    if open_rows:
        audit_log.append(
            session, site_id, at=at, actor="agent", act=SEALED, facts=_facts_of(open_rows)
        )
    return len(open_rows) + lost


def _list_recent(session: Session, site_id: int) -> list[Mapping[str, Any]]:
    wanted = (
        select(TrailRow.facts)
        .where(TrailRow.act == SEALED, TrailRow.site_id == site_id)
        .order_by(col(TrailRow.id).desc())
        .limit(RECENT)
    )
    return [json.loads(facts) for facts in session.exec(wanted)]


def _facts_of(rows: Sequence[tuple[int, str]]) -> dict[str, object]:
    ids = [number for number, _ in rows]
    return {"ids": list(_runs(ids)), "short": _short(rows), "sha256": _whole(rows)}


def _runs(ids: Sequence[int]) -> Iterator[list[int]]:
    """Yield [first, last] of each run of numbers without a gap."""
    start = before = None
    for number in ids:
        if start is None or before is None or number != before + 1:
            if start is not None and before is not None:
                yield [start, before]
            start = number
        before = number
    if start is not None and before is not None:
        yield [start, before]


def _short(rows: Iterable[tuple[int, str]]) -> str:
    return "".join(hashlib.sha256(filed.encode()).hexdigest()[:SHORT] for _, filed in rows)


def _whole(rows: Iterable[tuple[int, str]]) -> str:
    digest = hashlib.sha256()
    for number, filed in rows:
        digest.update(f"{number}:{hashlib.sha256(filed.encode()).hexdigest()}\n".encode())
    return digest.hexdigest()


def find_differences(session: Session) -> Iterator[str]:
    """Yield a sentence for each sealed result that was deleted or filed again."""
    for entry in list(audit_log.entries(session, act=SEALED)):
        ids = _list_ids(entry.facts)
        if not ids:
            yield f"trail: number {entry.id} is no seal that can be read"
            continue
        wanted = (
            select(ResultRow.id, ResultRow.filed)
            .where(col(ResultRow.id) >= ids[0], col(ResultRow.id) <= ids[-1])
            .order_by(col(ResultRow.id))
        )
        there = {number or 0: filed for number, filed in session.exec(wanted)}
        rows = [(number, there[number]) for number in ids if number in there]
        yield from (
            f"result {number}: was deleted (sealed under trail number {entry.id})"
            for number in ids
            if number not in there
        )
        if len(rows) == len(ids) and _whole(rows) == entry.facts.get("sha256"):
            continue
        short = dict(zip(ids, _cut(str(entry.facts.get("short"))), strict=False))
        for number, filed in rows:
            if _short([(number, filed)]) != short.get(number):
                yield (
                    f"result {number}: what it was filed with was written again after it was "
                    f"sealed on {entry.at:%Y-%m-%d %H:%M} UTC (trail number {entry.id})"
                )


def _list_ids(facts: Mapping[str, Any]) -> list[int]:
    try:
        runs = [(int(first), int(last)) for first, last in facts["ids"]]
    except (KeyError, TypeError, ValueError):
        return []
    if sum(last - first + 1 for first, last in runs) > MOST:
        return []
    return [number for first, last in runs for number in range(first, last + 1)]


def _cut(short: str) -> list[str]:
    return [short[start : start + SHORT] for start in range(0, len(short), SHORT)]
