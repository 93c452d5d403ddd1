"""Write every revision of an order into a folder from which a LIMS takes it, in order.

A round first freezes what changed and finds the statements that are new: a record keeps the
revision, the hash of its statement, its document and the content of its files, whether or not the
folder can be seen. Then everything on record that was not written is
written, per order the oldest revision first, and a record says so. Killed anywhere in between, the
next round writes the same bytes under the same name, and a LIMS that knows the id has them already.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.archive import write_whole
from agent.orders.assessment import Beside, assess
from agent.orders.document import document_of
from agent.orders.examination import list_due
from agent.orders.freezing import freeze_orders
from agent.orders.outbox_files import FORMATS, JSON, render_files
from agent.orders.statement import list_made, state_of
from agent.orders.statement_document import Issuer
from agent.store import NewRecord
from model import taxonomy_from

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from agent.orders.assessment import Lab
    from agent.orders.examination import Position
    from agent.store import FrozenStatement, Record, Store

OUTBOX, FILES, WRITTEN = "outbox", "outbox_files", "outbox_written"
"""Kinds of records: a revision of an order, the content of its files (by the revision's id), and
that they were written."""


@dataclass(frozen=True, slots=True)
class Written:
    """What became of the revisions that were not written yet.

    Args:
        names: Of the files that were written.
        faults: A sentence per order whose files could not be written; they are tried again.
        lost: Revisions of an earlier version of the program whose content was never kept.
    """

    names: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Site:
    """What is the same in every file of a lab.

    Args:
        name: Of the site. formats: of `FORMATS`.
    """

    name: str
    formats: tuple[str, ...] = FORMATS


# --- what is new --------------------------------------------------------------------------------


def record_revisions(
    store: Store,
    lab: Lab,
    site: Site,
    *,
    now: datetime,
    position: Position | None = None,
    issuer: Issuer | None = None,
) -> Position:
    """Freeze what changed, and keep a revision of each statement with another state than the last.

    An order that was never final has none. One that was, and is not any more, has a new one.

    Args:
        store: Open.
        lab: What is laid down for orders.
        site: What is the same in every file.
        now: Aware UTC.
        position: Where the last round ended, None: every order is examined.
        issuer: Who states, None: the site alone.

    Returns:
        Where this round ended; to be kept only now, so that a kill loses no change.
    """
    due, position = list_due(store, lab, Beside.of(store), position=position, now=now)
    freeze_orders(store, lab, issuer or Issuer(site.name, lab.zone), due, now=now)
    record_statements(store, site, now=now)
    return position


def record_statements(store: Store, site: Site, *, now: datetime) -> None:
    """Keep a revision of each statement, from an order's first final one on, that has none yet.

    Args:
        store: Open.
        site: What is the same in every file.
        now: Aware UTC.
    """
    known = store.records.newest(OUTBOX)
    for number, newest in store.statements.newest().items():
        last = known.get(number)
        done = int(last.facts.get("statement_number", 0)) if last else 0
        if not newest.final or newest.number <= done:
            continue
        for statement in store.statements.all(number):
            if statement.final and statement.number > done:
                last = _record(store, site, statement, last, now=now)


def _record(
    store: Store,
    site: Site,
    statement: FrozenStatement,
    last: Record | None,
    *,
    now: datetime,
) -> Record | None:
    """Record a statement as the next revision, unless it states the same; the last record."""
    state = statement.state.partition(".")[0]
    if last and last.facts["state"] == state:
        return last
    number = statement.order
    revision = int(last.facts["revision"]) + 1 if last else 1
    # A state that comes back is a new revision: its number is in the id.
    revision_id = _hash(f"{number}\n{revision}\n{state}")
    whole = store.statements.document(statement.sha256)
    texts = render_files(
        whole["document"],
        formats={JSON, *site.formats},  # JSON holds the document, also where no file is wanted
        revision_id=revision_id,
        revision=revision,
        found_at=statement.at,
        site=site.name,
        taxonomy=taxonomy_from(whole["method"]["taxonomy"]),  # by which it was judged
        statement=statement.sha256,
    )
    sha256 = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    head = {"id": revision_id, "revision": revision}
    source = {"statement": statement.sha256, "statement_number": statement.number}
    content = {"order": number, "formats": list(site.formats)}
    store.records.add_together(
        [
            NewRecord(OUTBOX, number, {**head, **source, "state": state, "sha256": sha256}),
            NewRecord(FILES, revision_id, {**content, "texts": texts}, logged=content),
        ],
        by="agent",
        at=now,
        follows=last.id if last else 0,
    )
    return store.records.latest(OUTBOX, number)  # another agent's, where it was faster


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# --- what is not written yet --------------------------------------------------------------------


def write_pending(store: Store, lab: Lab, site: Site, folder: Path, *, now: datetime) -> Written:
    """Write every revision on record that is not written yet, per order the oldest first.

    Where one cannot be written, the later ones of its order wait; other orders do not.

    Args:
        store: Open.
        lab: What is laid down for orders.
        site: What is the same in every file.
        folder: The outbox; it has to be there, since a share that is unavailable is none.
        now: Aware UTC.

    Raises:
        OSError: The folder cannot be seen.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder that can be seen")
    newest, written = store.records.newest(OUTBOX), store.records.newest(WRITTEN)
    names: list[str] = []
    faults: list[str] = []
    lost: list[str] = []
    for number, last in newest.items():
        done = written.get(number)
        if done and done.facts["id"] == last.facts["id"]:
            continue
        for revision in _pending(store, number, done):
            texts = _texts_of(store, lab, site, revision)
            name = _name(number, revision)
            files = {folder / f"{name}.{kind}": text.encode() for kind, text in texts.items()}
            try:
                write_whole(files)
            except OSError as error:
                faults.append(f"order {number}, revision {revision.facts['revision']}: {error}")
                break
            facts = {key: revision.facts[key] for key in ("id", "revision")}
            facts |= {} if texts else {"lost": True}
            store.records.add(WRITTEN, number, by="agent", at=now, facts=facts)
            names += [path.name for path in files]
            lost += [] if texts else [name]
    return Written(tuple(names), tuple(faults), tuple(lost))


def _pending(store: Store, number: str, done: Record | None) -> list[Record]:
    """Return the revisions of an order after the last one that was written, oldest first."""
    revisions = store.records.all(OUTBOX, number)
    ids = [one.facts["id"] for one in revisions]
    start = ids.index(done.facts["id"]) + 1 if done and done.facts["id"] in ids else 0
    return revisions[start:]


def _texts_of(store: Store, lab: Lab, site: Site, revision: Record) -> dict[str, str]:
    """Return the content of a revision's files by format, {} where nothing holds it any more."""
    kept = store.records.latest(FILES, revision.facts["id"])
    if kept:
        return {name: kept.facts["texts"][name] for name in kept.facts["formats"]}
    document = _document_of_old(store, lab, revision)
    if document is None:
        return {}
    return render_files(
        document,
        formats=site.formats,
        revision_id=revision.facts["id"],
        revision=revision.facts["revision"],
        found_at=revision.at,
        site=site.name,
        taxonomy=lab.taxonomy,
    )


def _document_of_old(store: Store, lab: Lab, revision: Record) -> dict[str, Any] | None:
    """Return the document of a revision that was recorded without it.

    Earlier versions of the program kept only its hash; the order or a statement may still have it.
    """
    assessed = assess(store, revision.subject, lab)
    documents = [document_of(assessed)] if assessed else []
    documents += [made.document for made in list_made(store, revision.subject)]
    return next((one for one in documents if state_of(one) == revision.facts["state"]), None)


def _name(number: str, revision: Record) -> str:
    """Return the name of a revision's files, without ending."""
    return f"{_safe(number)}-r{revision.facts['revision']}-{revision.facts['id']}"


def _safe(number: str) -> str:
    plain = re.sub(r"[^\w-]", "_", number, flags=re.ASCII)[:60]
    # Two numbers that differ only in what a file name cannot hold are two names all the same.
    return plain if plain == number else f"{plain}-{_hash(number)[:6]}"
