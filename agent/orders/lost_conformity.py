"""Hold back a better conformity than a LIMS holds beyond a restored database.

A label that was lost with the database cannot be seen in it. So an order says nothing better than
the revision that was lost, until it reached that state again or a lead acknowledged the loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.errors import WrongUse
from agent.orders.resumption import AFTER, FLOOR, read_floors
from agent.orders.specimen_facts import Conformity
from agent.store import NewRecord, number_key
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from agent.orders.sent_revisions import SentRevision
    from agent.store import FrozenStatement, Store

ACKNOWLEDGED = "outbox_acknowledged"
"""Kind of records: a lead acknowledged that a revision was lost."""

_RANKS: dict[str, int] = {
    Conformity.DOES_NOT_CONFORM: 0,
    Conformity.UNDECIDED: 1,
    Conformity.NOT_ASSESSED: 1,
    Conformity.CONFORMS: 2,
}


@dataclass(frozen=True, slots=True)
class Loss:
    """What a LIMS holds of an order beyond a restored database.

    Attributes:
        sent: The highest revision that is used outside the database.
        after: Row id of the newest statement that the back-up held, None where it is not known.
        is_acknowledged: A lead acknowledged it.
    """

    sent: SentRevision
    after: int | None
    is_acknowledged: bool

    @property
    def conformity(self) -> str:
        """The worst conformity that was lost; what is not known counts as the worst."""
        said = [self.sent.conformity, *([self.sent.lost] if self.sent.lost else [])]
        return min(said, key=lambda word: _RANKS.get(word, 0))

    def is_held(self, statement: FrozenStatement, made: Sequence[FrozenStatement]) -> bool:
        """Return whether a statement says better than what was lost, and nobody may send it yet.

        Args:
            statement: To be sent.
            made: Every statement of the order.
        """
        said = _RANKS.get(statement.conformity, 0)
        if said <= max(_RANKS.get(self.conformity, 0), _RANKS[Conformity.UNDECIDED]):
            return False
        return self.is_open([entry for entry in made if entry.number <= statement.number])

    def is_open(self, made: Sequence[FrozenStatement]) -> bool:
        """Return whether the lost state was neither acknowledged nor reached again."""
        return bool(self.sent.revision) and not self.is_acknowledged and not self._is_reached(made)

    def is_stated_by(self, statement: FrozenStatement) -> bool:
        """Return whether a statement says the same as what was sent, and that lost nothing."""
        return not self.sent.lost and statement.state.partition(".")[0] == self.sent.state

    def _is_reached(self, made: Sequence[FrozenStatement]) -> bool:
        later = [statement for statement in made if self._is_later(statement)]
        held = [statement for statement in made if not self._is_later(statement)]
        if held and self.is_stated_by(held[-1]):
            return True
        lost = _RANKS.get(self.conformity, 0)
        return any(
            statement.final and _RANKS.get(statement.conformity, 0) <= lost for statement in later
        )

    def _is_later(self, statement: FrozenStatement) -> bool:
        if self.after is None:  # adopted by an earlier version
            return statement.number > self.sent.statement_number
        return statement.id > self.after


def read_losses(store: Store) -> dict[str, Loss]:
    """Return key of an order's number → what a LIMS holds of it beyond the database."""
    exact = store.exact_numbers
    after: dict[str, int] = {}
    for number, record in store.records.newest(FLOOR).items():
        key = number_key(number, exact=exact)
        if AFTER in record.facts:
            after[key] = max(after.get(key, 0), int(record.facts[AFTER]))
    acknowledged: dict[str, int] = {}
    for number, record in store.records.newest(ACKNOWLEDGED).items():
        key = number_key(number, exact=exact)
        acknowledged[key] = max(acknowledged.get(key, 0), int(record.facts["revision"]))
    return {
        key: Loss(sent, after.get(key), acknowledged.get(key, 0) >= sent.revision)
        for key, sent in read_floors(store).items()
    }


def list_unfollowed(store: Store) -> list[str]:
    """Return the orders whose newest revision outside states something that was lost.

    An order that was issued and is no longer known is one of them.
    """
    return [
        loss.sent.order
        for _key, loss in sorted(read_losses(store).items())
        if loss.sent.revision and not _is_followed(store, loss)
    ]


def find_unfollowed(store: Store, number: str) -> Loss | None:
    """Return what was lost of an order, by any spelling; None where nothing is held back."""
    loss = read_losses(store).get(number_key(number, exact=store.exact_numbers))
    if loss is None or not loss.sent.revision or _is_followed(store, loss):
        return None
    return loss


def _is_followed(store: Store, loss: Loss) -> bool:
    """Return whether a lead acknowledged it, the order states the same, or it was followed."""
    if loss.is_acknowledged:
        return True
    made = store.statements.all(loss.sent.order)
    if not made:
        return False
    if loss.is_stated_by(made[-1]):
        return True
    last = store.records.latest("outbox", made[-1].order)
    is_higher = last is not None and int(last.facts["revision"]) > loss.sent.revision
    return is_higher and not loss.is_open(made)


def acknowledge(store: Store, number: str, *, by: str, reason: str, at: datetime) -> str:
    """Note that a lead knows what was lost of an order, so that its present state is sent.

    Args:
        store: Open.
        number: Of the order, by any spelling.
        by: A lead.
        reason: Why it may be sent.
        at: Now, aware UTC.

    Returns:
        The number as it was sent.

    Raises:
        WrongUse: Nothing of the order was lost, or no reason is given.
    """
    if not reason.strip():
        raise WrongUse(_("Add a reason with --reason TEXT. It is recorded."))
    before = store.records.newest(ACKNOWLEDGED)
    loss = find_unfollowed(store, number)
    if loss is None:
        raise _build_nothing_lost(number)
    facts = {"revision": loss.sent.revision, "lost": loss.conformity, "reason": reason.strip()}
    last = before.get(loss.sent.order)
    record = NewRecord(ACKNOWLEDGED, loss.sent.order, facts)
    if not store.records.add_together([record], by=by, at=at, follows=last.id if last else 0):
        raise _build_nothing_lost(number)  # another lead was first
    return loss.sent.order


def _build_nothing_lost(number: str) -> WrongUse:
    text = _("Order {number} is not held back: nothing of it was lost with a restored back-up.")
    return WrongUse(text.format(number=number))
