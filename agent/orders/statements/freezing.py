"""Freeze a new statement of each order whose conformity, or the basis of it, has changed.

The first statement is frozen when an order is first seen, later ones at each change of its
conformity and, once it conformed or did not, at each change of what the statement holds. The basis
is compared by a hash without times, so that examining an order again, also after a kill, freezes
nothing twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import reports
from agent.orders.facts.open_items import OpenItems
from agent.orders.judge.assessment import assess, assess_view
from agent.orders.judge.examination import EVERY_ORDER
from agent.orders.lims.resumption import read_floors
from agent.orders.specifications.class_texts import describe_codes, name_scale
from agent.orders.statements.statement import FINAL, describe_changes, hash_basis, list_after
from agent.orders.statements.statement_document import (
    Evidence,
    StatementPosition,
    build_basis,
    build_circumstances,
    build_words,
    place_content,
)
from agent.store import NewStatement, number_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from agent.orders.judge.assessed import Assessed, OrderPolicy
    from agent.orders.statements.statement_document import Issuer
    from agent.store import FrozenStatement, Store, TrailEntry

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
