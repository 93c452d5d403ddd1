"""Record that a reviewer proposes a class which the taxonomy lacks, and the administrator's answer.

A proposal decides nothing: the micrograph is still decided with the classes that there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.errors import WrongUse
from model.class_names import compose_name
from reports import gettext as _

if TYPE_CHECKING:
    from datetime import datetime

    from agent.store import Record, Store

PROPOSED, CLOSED = "class_proposal", "class_proposal_closed"
"""Kinds of records; their subject is the proposed name."""
LONGEST_NAME, LONGEST_TEXT = 40, 500


@dataclass(frozen=True, slots=True)
class Proposal:
    """One reviewer's proposal.

    Attributes:
        micrograph: Public id of the micrograph that shows it.
        text: What it looks like, in the reviewer's words.
        by: Who proposes it.
        at: Aware UTC.
    """

    micrograph: str
    text: str
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ProposedClass:
    """A class that reviewers propose.

    Attributes:
        name: As proposed.
        proposals: Oldest first.
    """

    name: str
    proposals: tuple[Proposal, ...]


def propose_class(
    store: Store, public_id: str, *, name: str, text: str, by: str, at: datetime
) -> int:
    """Record a proposal; return the number of its record, the first one's where it is repeated.

    Args:
        store: Open.
        public_id: Of the micrograph that shows it.
        name: Of the class.
        text: What it looks like.
        by: Who proposes it.
        at: Now, aware UTC.

    Raises:
        WrongUse: The name or the author is missing, or something is too long.
    """
    name, text = compose_name(" ".join(name.split())), " ".join(text.split())
    if not by.strip():
        raise WrongUse(_("A proposal needs the name of its author."))
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise WrongUse(_("A class needs a name of at most {n} letters.").format(n=LONGEST_NAME))
    if len(text) > LONGEST_TEXT or not text.isprintable():
        raise WrongUse(_("Describe it in at most {n} printable letters.").format(n=LONGEST_TEXT))
    facts = {"micrograph": public_id, "text": text}
    return store.records.add_once(PROPOSED, name, by=by.strip(), at=at, facts=facts, after=CLOSED)


def close_proposal(store: Store, name: str, *, reason: str, by: str, at: datetime) -> None:
    """Record the administrator's answer to all proposals of a name.

    Raises:
        WrongUse: There is no open proposal of this name, or the reason is missing.
    """
    if name not in {proposed.name for proposed in list_open(store)}:
        raise WrongUse(_("There is no open proposal “{name}”.").format(name=name))
    if not (reason := " ".join(reason.split())[:LONGEST_TEXT]):
        raise WrongUse(_("Give a reason; the audit log keeps it."))
    store.records.add(CLOSED, name, by=by, at=at, facts={"reason": reason})


def list_open(store: Store) -> list[ProposedClass]:
    """Return the proposed classes that no administrator has answered, oldest first."""
    closed = {name: record.id for name, record in store.records.newest(CLOSED).items()}
    found: dict[str, list[Proposal]] = {}
    for record in store.records.all(PROPOSED):
        if record.id > closed.get(record.subject, 0):
            found.setdefault(record.subject, []).append(_build_proposal(record))
    return [ProposedClass(name, tuple(proposals)) for name, proposals in found.items()]


def _build_proposal(record: Record) -> Proposal:
    return Proposal(record.facts["micrograph"], record.facts["text"], record.by, record.at)
