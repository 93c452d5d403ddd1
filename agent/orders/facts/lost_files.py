"""Files of an order that could not be used: what they would have shown is not known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.errors import WrongUse
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from agent.store import ClaimedPlace, FileFate, Record, Store

DISMISSED = "file_dismissed"
"""Kind of the record by which a lead decides that a file shows nothing of an order."""
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


def describe_lost(lost: Sequence[FileFate], dismissed: Sequence[Record]) -> Iterator[str]:
    """Yield the files that keep an order open.

    Args:
        lost: Files of the order that could not be used.
        dismissed: What leads decided about files of the order.
    """
    for file in list_undecided(lost, dismissed):
        yield _(
            "{file} could not be used: export it again under the same name, or a lead "
            "dismisses it (agent orders dismiss-file)"
        ).format(file=file)


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
            else _("{file} does not belong to it, dismissed by {who}: {reason}")
        )
        yield sentence.format(
            file=record.facts["file"], who=record.by, reason=record.facts["reason"]
        )


def describe_renamed(renamed: Sequence[FileFate]) -> Iterator[str]:
    """Yield which files were renamed before they were read: the later name is a separate file."""
    for fate in renamed:
        if fate.renamed_to:
            yield _("{file} was renamed to {later} before it was read").format(
                file=_name(fate.path), later=_name(fate.renamed_to[1])
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
        WrongUse: No such file of the order, or no reason is given.
    """
    if not reason.strip():
        raise WrongUse("Give a reason with --reason TEXT: the statement shows it.")
    fits = [fate for fate in lost if file in {fate.path, _name(fate.path)}]
    if not fits:
        known = ", ".join(_name(fate.path) for fate in lost) or "none"
        raise WrongUse(f"Order {number} has no unusable file {file!r}; unusable are: {known}.")
    for fate in fits:
        facts = {"content": fate.id, "file": _name(fate.path), "reason": reason}
        store.records.add(DISMISSED, number, by=by, at=at, facts=facts)


def _name(path: str) -> str:
    return path.replace("\\", "/").rsplit("/", 1)[-1]
