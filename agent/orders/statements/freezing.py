"""Freeze a statement of each order whose conformity changed, and compare it with its rows.

The first statement is frozen when an order is first seen, later ones at each change of its
conformity and, once it conformed or did not, at each change of what the statement holds. The basis
is compared by a hash without times, so that examining an order again, also after a kill, freezes
nothing twice.

No row that a statement names is deleted: a result that no longer counts and a withdrawn label stay
readable, so a later act never makes an earlier statement differ.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import reports
from agent.orders.facts.open_items import OpenItems
from agent.orders.facts.specimen_facts import Conformity
from agent.orders.judge.assessed import Assessed, OrderPolicy
from agent.orders.judge.assessment import EVERY_ORDER, assess, assess_view
from agent.orders.lims.resumption import read_floors
from agent.orders.specifications.class_texts import describe_codes, name_scale
from agent.orders.statements.statement import FINAL, describe_changes, hash_basis, list_after
from agent.orders.statements.statement_document import (
    Evidence,
    Issuer,
    StatementPosition,
    build_basis,
    build_circumstances,
    build_words,
    place_content,
)
from agent.store import (
    ACCEPTED,
    FOUND_OLDER,
    FROZEN,
    RESTORED,
    FrozenStatement,
    MicrographView,
    NewStatement,
    Store,
    TrailEntry,
    number_key,
)

WITHOUT_ORDER = (*EVERY_ORDER, "control.recorded", "hold_release.recorded")
"""Acts that name no order and can be behind a change of one."""
SPOKEN: reports.Language = "en"
"""Language of the document; the others are in its `words`."""


def freeze_orders(
    store: Store, policy: OrderPolicy, issuer: Issuer, numbers: Iterable[str], *, now: datetime
) -> list[str]:
    """Freeze a statement of each order that needs a new one.

    Args:
        store: Open.
        policy: The policy of the lab.
        issuer: The site and software that issue it.
        numbers: Of the orders to examine.
        now: Aware UTC.

    Returns:
        Hashes of the statements that were frozen.
    """
    due = list(numbers)
    if not due:
        return []
    freezer = Freezer(store, policy, issuer, open_items=OpenItems.of(store))
    newest = store.statements.newest(due)
    frozen = (freezer.freeze(number, newest, now=now) for number in due)
    return [sha256 for sha256 in frozen if sha256]


class Freezer:
    """Freezes statements.

    Args:
        store: Open.
        policy: The policy of the lab.
        issuer: The site and software that issue them.
        open_items: Files that wait or are lost.
    """

    def __init__(
        self, store: Store, policy: OrderPolicy, issuer: Issuer, *, open_items: OpenItems
    ) -> None:
        self._store, self._policy, self._issuer = store, policy, issuer
        self._open_items, self._evidence = open_items, Evidence(store)
        self._floors = read_floors(store)

    def freeze(self, number: str, newest: Mapping[str, FrozenStatement], *, now: datetime) -> str:
        """Freeze a statement of one order; its hash, "" where it needs none.

        Args:
            number: Of the order.
            newest: Order → its newest statement.
            now: Aware UTC.
        """
        with reports.speaking(SPOKEN):
            assessed = assess(self._store, number, self._policy, open_items=self._open_items)
            if assessed is None:
                return ""
            last = newest.get(assessed.view.number)
            basis = build_basis(self._store, assessed, policy=self._policy, evidence=self._evidence)
            state = hash_basis(basis)
            if last and not _is_new(assessed, last, state):
                return ""
            circumstances = build_circumstances(
                assessed, policy=self._policy, evidence=self._evidence, issuer=self._issuer
            )
            place = self._place(basis, assessed, last, now)
        content = basis | circumstances
        whole = place_content(content | {"words": self._words(content, assessed, last)}, place)
        return self._store.statements.add(
            NewStatement(
                order=assessed.view.number,
                number=whole["number"],
                previous=last.sha256 if last else "",
                conformity=whole["conformity"],
                state=state,
                final=assessed.statement.conformity in FINAL or bool(last and last.final),
                document=whole,
                after=list_after(whole["cause"]),
            ),
            at=place.at,
        )

    def _words(
        self, content: Mapping[str, Any], assessed: Assessed, last: FrozenStatement | None
    ) -> dict[str, Any]:
        """Return the sentences of an order in every language of the pages."""
        document = content["document"]
        before = self._store.statements.document(last.sha256)["document"] if last else None
        words: dict[str, Any] = {}
        for language in reports.LANGUAGES:
            with reports.speaking(language):
                spoken = (
                    assessed
                    if language == SPOKEN
                    else assess_view(
                        self._store, assessed.view, self._policy, open_items=self._open_items
                    )
                )
                changed = list(describe_changes(before, document)) if before else []
                words[language] = build_words(spoken) | {"changed": changed}
                words[language] |= {
                    "scale": name_scale(self._policy.taxonomy),
                    "codes": self._describe_used(content["fields"]),
                }
        return words

    def _describe_used(self, fields: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        """Return the codes that fields of an order were given, with their titles."""
        used = {field["structure_code"] for field in fields}
        used |= {(field["decided"] or {}).get("said") for field in fields}
        known = describe_codes(self._policy.taxonomy)
        return {code: title for code, title in known.items() if code in used}

    def _place(
        self,
        basis: Mapping[str, Any],
        assessed: Assessed,
        last: FrozenStatement | None,
        now: datetime,
    ) -> StatementPosition:
        before = self._store.statements.document(last.sha256) if last else None
        after = before["trail"]["number"] if before else 0
        key = number_key(assessed.view.number, exact=self._store.exact_numbers)
        floor = self._floors.get(key)
        used = max(last.number if last else 0, floor.statement_number if floor else 0)
        return StatementPosition(
            number=used + 1,
            previous=last.sha256 if last else "",
            at=max(now, last.at) if last else now,
            trail=self._store.statements.head(),
            changed=tuple(describe_changes(before["document"], basis["document"]))
            if before
            else (),
            cause=self._acts(assessed, after, is_first=before is None),
        )

    def _acts(self, assessed: Assessed, after: int, *, is_first: bool) -> list[TrailEntry]:
        number = assessed.view.number
        subjects: Collection[str] = {
            number,
            *(f"{number}/{specimen.view.name}" for specimen in assessed.specimens),
            *(
                field.id
                for specimen in assessed.specimens
                for field in (*specimen.facts.fields, *specimen.facts.earlier)
            ),
        }
        acts = () if is_first else WITHOUT_ORDER
        entries = self._store.statements.acts_after(after, subjects=subjects, acts=acts)
        return [statement for statement in entries if not statement.act.startswith("statement.")]


def _is_new(assessed: Assessed, last: FrozenStatement, state: str) -> bool:
    if last.conformity != str(assessed.statement.conformity):
        return True
    return last.final and last.state != state


OF_THE_LAB = ("specification.seen", RESTORED, FOUND_OLDER, ACCEPTED, "model.promoted")
"""Acts that concern every order, as records of specifications, instruments and classes do."""


def list_stated(store: Store) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every frozen statement: how a fault calls it, and its document."""
    for frozen in store.statements.every():
        document = store.statements.document(frozen.sha256).get("document")
        if isinstance(document, dict):
            name = f"statement {frozen.number} of order {frozen.order}"
            yield name, document


def find_differences(
    store: Store, documents: Iterable[tuple[str, Mapping[str, Any]]]
) -> Iterator[str]:
    """Yield a sentence for each value that a statement names and no row holds."""
    for name, document in documents:
        ids = [str(field.get("id")) for field in _fields(document)]
        views = {view.id: view for view in store.search.list_micrographs(ids)}
        answers = store.orders.list_answers(ids)
        for public_id, field in zip(ids, _fields(document), strict=True):
            view = views.get(public_id)
            if view is None:
                yield f"{name}: field {public_id} is not there any more"
                continue
            for sentence in _differences(view, answers.get(public_id, set()), field):
                yield f"{name}: field {public_id}: {sentence}"


def _fields(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for specimen in document.get("specimens", ()):
        yield from (*specimen.get("fields", ()), *specimen.get("superseded", ()))


def _differences(
    view: MicrographView,
    answers: Collection[tuple[str | None, str | None]],
    field: Mapping[str, Any],
) -> Iterator[str]:
    code, bundle = field.get("structure_code"), field.get("bundle")
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
    wrong, numbers = [], _number_frozen(store)
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
        is_older = assessed is not None and _was_changed(
            store, assessed, frozen, numbers.get(frozen.sha256)
        )
        later = ". Something was done with it since; the running agent states it again"
        wrong.append((sentence + (later if is_older else ""), not is_older))
    return wrong


def _number_frozen(store: Store) -> dict[str, int]:
    """Return hash of a statement → number of the act that froze it."""
    acts = store.audit_log.iter_acts(FROZEN)
    return {str(entry.facts.get("sha256")): entry.id for entry in acts if entry.act == FROZEN}


def _was_changed(
    store: Store, assessed: Assessed, frozen: FrozenStatement, stated: int | None
) -> bool:
    """Return whether an act or a result of an order is later than its statement.

    Args:
        store: Open.
        assessed: The order.
        frozen: Its statement.
        stated: Number of the act that froze it, None where there is none.
    """
    ids = {field.id for specimen in assessed.specimens for field in specimen.facts.fields}
    for entry in store.audit_log.iter_acts(after=stated) if stated else ():
        if (
            entry.subject in {*ids, frozen.order}
            or entry.act in OF_THE_LAB
            or entry.act.endswith(".recorded")
        ):
            return True
    views = store.search.list_micrographs(sorted(ids))
    return any(view.result.done_at > frozen.at for view in views)
