"""Compare statements with the rows they rest on: what a statement names has to be in the database.

No row is deleted there: a result that no longer counts and a withdrawn label stay readable, so a
later act never makes an earlier statement differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.orders.facts.specimen_facts import Conformity
from agent.orders.judge.assessment import assess
from agent.store import FROZEN, RESTORED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from agent.orders.judge.assessed import Assessed, OrderPolicy
    from agent.store import FrozenStatement, MicrographView, Store

OF_THE_LAB = ("specification.seen", RESTORED, "model.promoted")
"""Acts that concern every order, as records of specifications, instruments and classes do."""


@dataclass(frozen=True, slots=True)
class StatedDocument:
    """A document of an order as it was stated.

    Attributes:
        name: How a fault calls it, such as "record 12 (statement of 4711)".
        document: As `agent orders show --json` writes it.
    """

    name: str
    document: Mapping[str, Any]


def list_stated(store: Store) -> Iterator[StatedDocument]:
    """Yield every frozen statement."""
    for frozen in store.statements.every():
        document = store.statements.document(frozen.sha256).get("document")
        if isinstance(document, dict):
            name = f"statement {frozen.number} of order {frozen.order}"
            yield StatedDocument(name, document)


def find_differences(store: Store, documents: Iterable[StatedDocument]) -> Iterator[str]:
    """Yield a sentence for each value that a statement names and no row holds."""
    for stated in documents:
        for field in _fields(stated.document):
            public_id = str(field.get("id"))
            view = store.results.find(public_id)
            if view is None:
                yield f"{stated.name}: field {public_id} is not there any more"
                continue
            for sentence in _differences(store, view, field):
                yield f"{stated.name}: field {public_id}: {sentence}"


def _fields(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for specimen in document.get("specimens", ()):
        yield from (*specimen.get("fields", ()), *specimen.get("superseded", ()))


def _differences(store: Store, view: MicrographView, field: Mapping[str, Any]) -> Iterator[str]:
    code, bundle = field.get("structure_code"), field.get("bundle")
    answers = {
        (answer.bundle or None, answer.structure_code) for answer in store.orders.answers(view.id)
    }
    if (bundle, code) not in answers:
        now = ", ".join(f"{was} by {by}" for by, was in sorted(answers, key=str)) or "nothing"
        yield f"the result was {code} by {bundle}, the rows hold {now}"
    decided = field.get("decided")
    if decided:
        labels = [
            (label.kind, label.code or label.strange_kind or label.why or "", label.by)
            for label in view.labels
        ]
        if (decided["kind"], decided["said"], decided["by"]) not in labels:
            now = ", ".join(f"{what or kind} by {by}" for kind, what, by in labels) or "no label"
            yield (
                f"the label was {decided['said'] or decided['kind']} by {decided['by']}, the rows "
                f"hold {now}"
            )
    if field.get("um_per_px") != view.um_per_px:
        yield f"µm per pixel was {field.get('um_per_px')}, is {view.um_per_px}"


def list_unsupported(store: Store, policy: OrderPolicy) -> list[tuple[str, bool]]:
    """Assess the orders again whose newest statement is that they conform.

    Args:
        store: Open.
        policy: The policy of the lab.

    Returns:
        A sentence per order that does not conform by what the database holds, and whether nothing
        was done with the order since: only then is the statement wrong and not merely older.
    """
    wrong = []
    for number, frozen in store.statements.newest().items():
        if frozen.conformity != Conformity.CONFORMS.value:
            continue
        assessed = assess(store, number, policy)
        now = assessed.statement.conformity if assessed else Conformity.NOT_ASSESSED
        if now is Conformity.CONFORMS:
            continue
        sentence = (
            f"statement {frozen.number} of order {number} says that it conforms; by what the "
            f"database holds it is: {now.value.replace('_', ' ')}"
        )
        is_older = assessed is not None and _was_changed(store, assessed, frozen)
        later = ". Something was done with it since; the running agent states it again"
        wrong.append((sentence + (later if is_older else ""), not is_older))
    return wrong


def _was_changed(store: Store, assessed: Assessed, frozen: FrozenStatement) -> bool:
    """Return whether an act or a result of an order is later than its statement."""
    ids = {field.id for specimen in assessed.specimens for field in specimen.facts.fields}
    stated = None
    for entry in store.audit_log.iter_acts():
        if entry.facts.get("sha256") == frozen.sha256 and entry.act == FROZEN:
            stated = entry.id
        elif stated and (
            entry.subject in {*ids, frozen.order}
            or entry.act in OF_THE_LAB
            or entry.act.endswith(".recorded")
        ):
            return True
    views = (store.results.find(public_id) for public_id in ids)
    return any(view is not None and view.result.done_at > frozen.at for view in views)
