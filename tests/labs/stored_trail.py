"""A store with a trail of many acts, and the chain of its hashes computed again."""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractContextManager
from datetime import UTC, datetime

from servers.databases import tamper
from sqlalchemy import text

from agent.backup.verification import Outside, verify_trail
from agent.store import Decision, Origin, Store, acting_through, engine
from labs.stored import OTHER, SHA, file, finding

AT = datetime(2026, 11, 24, 21, 0, tzinfo=UTC)


def signed_by(name: str) -> AbstractContextManager[None]:
    """Act as the account of a name that logged in."""
    return acting_through(Origin("web", account=name, proof="password"))


def fill(store: Store) -> None:
    """Leave two orders, two labels, a promotion, a record, a night and an account."""
    store.files.add([file("a.tif"), file("b.tif")], at=AT)
    for sha256, number in ((SHA, "4711"), (OTHER, "4712")):
        (claim,) = store.work_queue.claim(1, at=AT, lease_s=60)
        store.work_queue.finish(
            claim, [finding(sha256, process={"order": number, "specimen": "1"})], at=AT
        )
    store.accounts.add("Ada", kind="person", role="lead", hashed="x", by="Ada", at=AT)
    store.promotions.promote("20261101-0badcafe", by="Ada", reason="first", at=AT, metrics={"n": 8})
    store.records.add("statement", "4711", by="Ada", at=AT, facts={"reason": "", "n": 1.5})
    store.nightly_reports.freeze(AT.date(), '{"n": 1}', at=AT)
    store.order_corrections.supersede(
        OTHER[:16], by="Ada", reason="scratched", defect="", lead=True, at=AT
    )
    with signed_by("Bob"):
        store.labels.decide(OTHER[:16], Decision("code", "Bob", code="G9-10", unsure=True), at=AT)
    with signed_by("Leo"):
        store.labels.decide(SHA[:16], Decision("code", "Leo", code="G8", comment="sure"), at=AT)


def chain_again(address: str) -> None:
    """Compute every hash of the chain again, as somebody does who knows how it is made."""
    with engine.make_engine(address).connect() as connection:
        rows = connection.execute(
            text("SELECT id, site_id, at, actor, act, subject, facts FROM trail ORDER BY id")
        ).all()
    before, statements = "0" * 64, []
    for number, site, at, *rest in rows:
        when = datetime.fromisoformat(at) if isinstance(at, str) else at
        aware = when if when.tzinfo else when.replace(tzinfo=UTC)
        held = [before, site, round(aware.timestamp() * 1_000_000), *rest]
        sha256 = hashlib.sha256(json.dumps(held).encode()).hexdigest()
        statements.append(
            f"UPDATE trail SET previous_sha256 = '{before}', sha256 = '{sha256}' "  # noqa: S608
            f"WHERE id = {number}"
        )
        before = sha256
    tamper(address, *statements)


def faults(store: Store, outside: Outside) -> str:
    return "\n".join(verify_trail(store, outside)[0])
