"""Write every revision of an order into a folder from which a LIMS takes it, in order.

A round first finds what is new: a record keeps the revision, its document and the content of its
files, whether or not the folder can be seen. Then everything on record that was not written is
written, per order the oldest revision first, and a record says so. Killed anywhere in between, the
next round writes the same bytes under the same name, and a LIMS that knows the id has them already.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.archive import write_whole
from agent.orders.assessment import Beside, assess
from agent.orders.document import document_of
from agent.orders.examination import list_due
from agent.orders.outbox_files import FORMATS, JSON, render_files
from agent.orders.statement import FINAL, lasting, made_of
from agent.store import NewRecord

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from agent.orders.assessment import Lab
    from agent.orders.examination import Position
    from agent.store import Record, Store

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
    store: Store, lab: Lab, site: Site, *, now: datetime, position: Position | None = None
) -> Position:
    """Keep a new revision of each order whose document is another one than its last revision's.

    An order that was never final has none. One that was, and is not any more, has a new one.

    Args:
        store: Open.
        lab: What is laid down for orders.
        site: What is the same in every file.
        now: Aware UTC.
        position: Where the last round ended, None: every order is examined.

    Returns:
        Where this round ended; to be kept only now, so that a kill loses no change.
    """
    beside = Beside.of(store)
    due, position = list_due(store, lab, beside, position=position, now=now)
    newest = store.records.newest(OUTBOX)
    for number in due:
        assessed = assess(store, number, lab, beside=beside)
        last = newest.get(number)
        if assessed is None or (last is None and assessed.statement.conformity not in FINAL):
            continue
        document = document_of(assessed)
        if last is None or last.facts["state"] != state_of(document):
            _record(store, lab, site, document, last, now=now)
    return position


def _record(
    store: Store,
    lab: Lab,
    site: Site,
    document: Mapping[str, Any],
    last: Record | None,
    *,
    now: datetime,
) -> None:
    number, state = str(document["order"]), state_of(document)
    revision = int(last.facts["revision"]) + 1 if last else 1
    # A state that comes back is a new revision: its number is in the id.
    revision_id = _hash(f"{number}\n{revision}\n{state}")
    texts = render_files(
        document,
        formats={JSON, *site.formats},  # JSON holds the document, also where no file is wanted
        revision_id=revision_id,
        revision=revision,
        found_at=now,
        site=site.name,
        taxonomy=lab.taxonomy,
    )
    sha256 = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    head = {"id": revision_id, "revision": revision}
    content = {"order": number, "formats": list(site.formats)}
    store.records.add_together(
        [
            NewRecord(OUTBOX, number, {**head, "state": state, "sha256": sha256}),
            NewRecord(FILES, revision_id, {**content, "texts": texts}, logged=content),
        ],
        by="agent",
        at=now,
        follows=last.id if last else 0,
    )


def state_of(document: Mapping[str, Any]) -> str:
    """Return a hash of what a document states, without what passes or merely moves.

    Args:
        document: As `agent order --json` writes it.
    """
    return _hash(json.dumps(lasting(document), sort_keys=True, ensure_ascii=False))


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
    documents += [made.document for made in made_of(store, revision.subject)]
    return next((one for one in documents if state_of(one) == revision.facts["state"]), None)


def _name(number: str, revision: Record) -> str:
    """Return the name of a revision's files, without ending."""
    return f"{_safe(number)}-r{revision.facts['revision']}-{revision.facts['id']}"


def _safe(number: str) -> str:
    plain = re.sub(r"[^\w-]", "_", number, flags=re.ASCII)[:60]
    # Two numbers that differ only in what a file name cannot hold are two names all the same.
    return plain if plain == number else f"{plain}-{_hash(number)[:6]}"
