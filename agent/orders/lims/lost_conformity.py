"""Hold back a better conformity than a LIMS or a customer holds beyond a restored database.

A label that was lost with the database cannot be seen in it. So an order says nothing better than
the revision or statement that was lost, wherever it is shown or sent, until it reached that state
again or a lead acknowledged the loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from agent.errors import UsageError
from agent.evidence.anchors import list_losses
from agent.orders.facts.specimen_facts import Conformity
from agent.orders.lims.resumption import (
    AFTER,
    FLOOR,
    OUTBOX,
    SentRevision,
    find_resumption,
    read_floors,
)
from agent.store import FrozenStatement, NewRecord, Store, number_key
from reports import gettext as _

ACKNOWLEDGED = "outbox_acknowledged"
"""Kind of records: a lead acknowledged that a revision was lost."""

HELD_BACK = "held_back"
"""Key of an order's document: it conforms but for a loss, which holds it."""
_RANKS: dict[str, int] = {
    Conformity.DOES_NOT_CONFORM: 0,
    Conformity.UNDECIDED: 1,
    Conformity.NOT_ASSESSED: 1,
    Conformity.CONFORMS: 2,
}


@dataclass(frozen=True, slots=True)
class Loss:
    """What is known of an order outside a restored database.

    Attributes:
        sent: The highest revision and statement that are used outside the database.
        after: Row id of the newest statement that the back-up held.
        is_acknowledged: A lead acknowledged it.
    """

    sent: SentRevision
    after: int
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
        return not self.is_acknowledged and not self._is_reached(made)

    def is_stated_by(self, statement: FrozenStatement) -> bool:
        """Return whether a statement says the same as what was sent, and that lost nothing."""
        return not self.sent.lost and statement.state.partition(".")[0] == self.sent.state

    def to_json(self) -> dict[str, object]:
        """Return what was lost, as an order's document holds it."""
        sent = self.sent
        return {
            "revision": sent.revision or None,
            "statement": sent.statement_number or None,
            "conformity": self.conformity or None,
        }

    def describe(self) -> str:
        """Return what was lost and who settles it, in the reader's language."""
        known = self.conformity in set(Conformity)
        word = Conformity(self.conformity).words if known else _("its conformity is not known")
        sentence = (
            _(
                "a restored back-up lost revision {n}, which the LIMS holds ({word}): enter again "
                "what was lost, or a lead acknowledges the loss (agent orders resume {order})"
            )
            if self.sent.revision
            else _(
                "a restored back-up lost statement {n} ({word}): enter again what was lost, or a "
                "lead acknowledges the loss (agent orders resume {order})"
            )
        )
        n = self.sent.revision or self.sent.statement_number
        return sentence.format(n=n, word=word, order=self.sent.order)

    def list_own(self, store: Store, made: Sequence[FrozenStatement]) -> list[FrozenStatement]:
        """Return the statements of the order that were not made undecided by the loss itself."""
        return [
            statement
            for statement in made
            if not (self._is_later(statement) and is_held_back(store, statement))
        ]

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
        return statement.id > self.after


@dataclass(frozen=True, slots=True)
class RestoreLosses:
    """What is known outside a restored database, of all orders.

    Attributes:
        losses: Key of an order's number → what was lost of it.
        is_compared: The outbox was compared with the database since the restore.
        unnamed: Number of the restore whose lost acts concern orders that nobody can name, 0 for
            none.
    """

    losses: Mapping[str, Loss] = field(default_factory=dict)
    is_compared: bool = True
    unnamed: int = 0

    @classmethod
    def of(cls, store: Store) -> RestoreLosses:
        """Read it from the database."""
        is_compared = find_resumption(store, OUTBOX).is_settled
        return cls(read_losses(store), is_compared, find_unnamed(store))

    def hold(self, store: Store, number: str, conformity: str) -> tuple[str, Loss | None]:
        """Return why an order does not say a conformity, and what was lost of it; "" if it may.

        Args:
            store: Open.
            number: Of the order, by any spelling.
            conformity: By what the database holds.
        """
        loss = self.losses.get(number_key(number, exact=store.exact_numbers))
        if loss and _RANKS.get(conformity, 0) > _RANKS.get(loss.conformity, 0):
            made = loss.list_own(store, store.statements.all(number))
            if loss.is_open(made):
                return loss.describe(), loss
        if conformity == Conformity.CONFORMS and self.unnamed:
            return describe_unnamed(self.unnamed), None
        if conformity == Conformity.CONFORMS and not self.is_compared:
            sentence = _(
                "a back-up was restored, and what the LIMS holds was not compared with it yet: "
                "make the folder of the outbox available"
            )
            return sentence, None
        return "", None


def find_unnamed(store: Store) -> int:
    """Return the number of a restore whose lost acts concern orders that nobody can name, or 0."""
    return next((loss.number for loss in list_losses(store) if loss.is_unnamed), 0)


def describe_unnamed(number: int) -> str:
    """Return why no order conforms after a restore, and who settles it, in the reader's language.

    Args:
        number: Of the act of the restore.
    """
    sentence = _(
        "a restored back-up lost acts, and which orders they concern is not known: a lead "
        "accepts the loss (agent restore --accept {n})"
    )
    return sentence.format(n=number)


def iter_stated(store: Store) -> Iterator[SentRevision]:
    """Yield what the newest statement of each order states, with what still holds the order."""
    losses = read_losses(store)
    for number, newest in store.statements.newest().items():
        loss = losses.get(number_key(number, exact=store.exact_numbers))
        made = loss.list_own(store, store.statements.all(number)) if loss else []
        yield SentRevision(
            order=number,
            conformity=newest.conformity,
            statement=newest.sha256,
            statement_number=max(newest.number, loss.sent.statement_number if loss else 0),
            at=newest.at.isoformat(),
            lost=loss.conformity if loss and loss.is_open(made) else "",
        )


def is_held_back(store: Store, statement: FrozenStatement) -> bool:
    """Return whether a statement is undecided by a loss alone, so that it states nothing new."""
    return HELD_BACK in store.statements.document(statement.sha256)["document"]


def read_losses(store: Store) -> dict[str, Loss]:
    """Return key of an order's number → what a LIMS holds of it beyond the database."""
    exact = store.exact_numbers
    after: dict[str, int] = {}
    for number, record in store.records.newest(FLOOR).items():
        key = number_key(number, exact=exact)
        after[key] = max(after.get(key, 0), int(record.facts[AFTER]))
    known: dict[str, tuple[int, int]] = {}
    for number, record in store.records.newest(ACKNOWLEDGED).items():
        key, facts = number_key(number, exact=exact), record.facts
        pair = int(facts["revision"]), int(facts["statement"])
        known[key] = max(pair, known.get(key, pair))
    return {
        key: Loss(sent, after[key], key in known and _is_within(sent, known[key]))
        for key, sent in read_floors(store).items()
    }


def _is_within(sent: SentRevision, acknowledged: tuple[int, int]) -> bool:
    revision, statement = acknowledged
    return sent.revision <= revision and sent.statement_number <= statement


def list_unfollowed(store: Store) -> list[str]:
    """Return the orders whose newest revision or statement that was lost is not followed yet.

    An order that was issued and is no longer known is one of them.
    """
    return [
        loss.sent.order
        for _key, loss in sorted(read_losses(store).items())
        if not _is_followed(store, loss)
    ]


def find_unfollowed(store: Store, number: str) -> Loss | None:
    """Return what was lost of an order, by any spelling; None where nothing is held back."""
    loss = read_losses(store).get(number_key(number, exact=store.exact_numbers))
    if loss is None or _is_followed(store, loss):
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
    if loss.is_open(loss.list_own(store, made)):
        return False
    last = store.records.latest("outbox", made[-1].order)
    is_higher = last is not None and int(last.facts["revision"]) > loss.sent.revision
    return is_higher or not loss.sent.revision


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
        UsageError: Nothing of the order was lost, or no reason is given.
    """
    if not reason.strip():
        raise UsageError(_("Add a reason with --reason TEXT. It is recorded."))
    before = store.records.newest(ACKNOWLEDGED)
    loss = find_unfollowed(store, number)
    if loss is None:
        raise _build_nothing_lost(number)
    facts = {
        "revision": loss.sent.revision,
        "statement": loss.sent.statement_number,
        "lost": loss.conformity,
        "reason": reason.strip(),
    }
    last = before.get(loss.sent.order)
    record = NewRecord(ACKNOWLEDGED, loss.sent.order, facts)
    if not store.records.add_together([record], by=by, at=at, follows=last.id if last else 0):
        raise _build_nothing_lost(number)  # another lead was first
    return loss.sent.order


def _build_nothing_lost(number: str) -> UsageError:
    text = _("Order {number} is not held back: nothing of it was lost with a restored back-up.")
    return UsageError(text.format(number=number))
