"""Compute which orders would be assessed differently under another bundle, and show them on a page.

Reviewers' decisions hold under any bundle. How widely the other bundle is validated is stated
separately.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import reports
from agent.files.whole_file import write_whole
from agent.orders.facts.specimen_facts import Conformity
from agent.orders.instruments.prediction_flips import (
    Flip,
    assume_validated,
    find_flip,
    load_picture,
)
from agent.orders.judge.assessment import assess, assess_view
from agent.orders.statements.trace_page import TONES
from agent.retrain.bundle_registry import get_record_folder
from agent.triage import Handling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from agent.archive import Archive
    from agent.orders.judge.assessed import Assessed, OrderPolicy
    from agent.store import FieldView, MicrographView, OrderView, Store


@dataclass(frozen=True, slots=True)
class Changed:
    """One order whose conformity would change.

    Args:
        number: Of the order.
        before, after: Conformity in words.
        why: Reasons of the one after, a sentence each.
        flips: The fields with another answer.
    """

    number: str
    before: str
    after: str
    why: tuple[str, ...]
    flips: tuple[Flip, ...]


@dataclass(frozen=True, slots=True)
class Impact:
    """What would change under another bundle.

    Args:
        bundle: Its name.
        current: The active one, or "".
        since: Orders that appeared since then are compared.
        orders: How many those are.
        fields: Their fields that count and that both bundles have answered.
        unasked: Fields that the other bundle has not answered, and could.
        lost: Fields that no bundle can answer any more, as their crops were pruned.
        changed: Orders whose conformity would change.
        flips: Fields with another answer in orders whose conformity stays.
        notes: What else would change, a sentence each.
        days: How many days `since` is back.
    """

    bundle: str
    current: str
    since: datetime
    orders: int
    fields: int
    unasked: int
    lost: int
    changed: tuple[Changed, ...]
    flips: tuple[Flip, ...]
    notes: tuple[str, ...] = ()
    days: int = 90

    @property
    def not_compared(self) -> int:
        """Fields that count and that the other bundle has not answered."""
        return self.unasked + self.lost

    @property
    def is_known(self) -> bool:
        """Whether any field was compared, or there was none to compare."""
        return bool(self.fields) or not self.not_compared

    def document(self) -> dict[str, Any]:
        """Return the impact as JSON values."""
        return asdict(self) | {"since": self.since.isoformat()}

    def sha256(self) -> str:
        """Return the hash that identifies what a lead was shown."""
        content = json.dumps(self.document(), ensure_ascii=False, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def in_short(self) -> dict[str, Any]:
        """Return what a signature keeps of the impact."""
        return {
            "orders": self.orders,
            "fields": self.fields,
            "unasked": self.unasked,
            "lost": self.lost,
            "since": self.since.isoformat(),
            "changed": [
                f"{order.number}: {order.before} → {order.after}" for order in self.changed
            ],
            "flips": len(self.flips) + sum(len(order.flips) for order in self.changed),
            "sha256": self.sha256(),
        }


def compute_impact(
    store: Store,
    lab: OrderPolicy,
    bundle: str,
    *,
    since: datetime,
    has_crop: Callable[[MicrographView], bool],
    days: int = 90,
) -> Impact:
    """Compute which orders that appeared since an instant would be assessed differently.

    Args:
        store: Open; has the other bundle's answers.
        lab: What the lab has laid down.
        bundle: Name of the other bundle.
        since: Aware UTC.
        has_crop: Returns whether the other bundle could answer a field at all.
        days: How many days `since` is back.
    """
    answers = {view.id: view for view in store.results.iter_by_bundle(bundle, since=since)}
    numbers = [
        order.number
        for order in store.orders.all()
        if order.first_seen_at and order.first_seen_at >= since
    ]
    changed: list[Changed] = []
    rest: list[Flip] = []
    fields = unasked = lost = 0
    for number in numbers:
        view = store.orders.order(number)
        if view is None:
            continue
        counted = list(_iter_counted(view))
        answered = [field for field in counted if field.id in answers]
        fields += len(answered)
        unknown = [field for field in counted if field.id not in answers]
        unasked += sum(has_crop(field) for field in unknown)
        lost += sum(not has_crop(field) for field in unknown)
        flips = tuple(flip for field in answered if (flip := find_flip(field, answers[field.id])))
        if not flips:
            continue
        before, after = (
            assess(store, number, lab),
            assess_view(store, _replace_answers(view, answers), lab),
        )
        if before and before.statement.conformity is not after.statement.conformity:
            changed.append(_build_changed(before, after, flips))
        else:
            rest += flips
    return Impact(
        bundle=bundle,
        current=store.promotions.find_current() or "",
        since=since,
        orders=len(numbers),
        fields=fields,
        unasked=unasked,
        lost=lost,
        changed=tuple(changed),
        flips=tuple(rest),
        notes=tuple(_notes(lab, bundle)),
        days=days,
    )


def _iter_counted(view: OrderView) -> Iterator[MicrographView]:
    for specimen in view.specimens:
        for prepared in specimen.preparations[-1:]:
            yield from (field.view for field in prepared.fields if not field.superseded)


def _replace_answers(view: OrderView, answers: Mapping[str, MicrographView]) -> OrderView:
    """Replace the answers that count by another bundle's; decisions stay."""

    def field(current: FieldView) -> FieldView:
        after = answers.get(current.view.id)
        if after is None or current.superseded:
            return current
        validated = assume_validated(current.view, after)
        awaits = validated.result.handling == Handling.REVIEW and current.view.label is None
        # Keeps the active bundle's name, since the lab's permissions are per bundle name.
        result = replace(validated.result, bundle=current.view.result.bundle)
        return replace(current, view=replace(validated, result=result, awaits=awaits))

    return replace(
        view,
        specimens=tuple(
            replace(
                specimen,
                preparations=tuple(
                    replace(prepared, fields=tuple(field(item) for item in prepared.fields))
                    for prepared in specimen.preparations
                ),
            )
            for specimen in view.specimens
        ),
    )


def _build_changed(before: Assessed, after: Assessed, flips: tuple[Flip, ...]) -> Changed:
    statement = after.statement
    return Changed(
        number=after.view.number,
        before=before.statement.conformity.words,
        after=statement.conformity.words,
        why=(*statement.because, *statement.missing) or ("nothing is missing any more",),
        flips=flips,
    )


def _notes(lab: OrderPolicy, bundle: str) -> Iterator[str]:
    on = {allowance.material for allowance in lab.allowances if allowance.on}
    for material in sorted(
        on - {allowance.material for allowance in lab.allowances if allowance.bundle == bundle}
    ):
        yield (
            f"No validation record of {material} names {bundle}: orders that rest on the model "
            f"alone stay undecided under it until agent spec validate {material} and a lead's word "
            "(agent spec automatic)."
        )


MOST = 240
"""Flips shown of orders whose conformity stays; those of the others are all shown."""


def save_impact(impact: Impact, folder: Path, archive: Archive, *, site: str, at: str) -> Path:
    """Write an impact as page and JSON, named by its hash.

    Args:
        impact: The impact.
        folder: The bundle's folder `record`.
        archive: Has the pictures.
        site: Name of the site.
        at: When, and by which program, in words.

    Returns:
        The path of the page.
    """
    stem = f"impact-{impact.sha256()[:12]}"
    page = folder / f"{stem}.html"
    shown = impact.flips[:MOST]
    flips = (*(flip for order in impact.changed for flip in order.flips), *shown)
    html = reports.render(
        "impact",
        site=site,
        impact=impact,
        headline=format_headline(impact),
        sentences=list_sentences(impact),
        tones={word.words: TONES[word] for word in Conformity},
        shown=shown,
        pictures={flip.id: load_picture(flip, archive) for flip in flips},
        generated=at,
    )
    document = json.dumps(impact.document(), ensure_ascii=False, indent=1, sort_keys=True)
    write_whole({page: html.encode(), folder / f"{stem}.json": document.encode()})
    return page


def find_newest_impact(bundle: Path) -> Path | None:
    """Return the newest page of a bundle's impact; None where none was written."""
    pages = get_record_folder(bundle).glob("impact-*.html")
    return max(pages, key=lambda page: page.stat().st_mtime, default=None)


def format_headline(impact: Impact) -> str:
    """Return the result in one sentence: what is known of it."""
    changed, total = len(impact.changed), impact.fields + impact.not_compared
    if not total:
        return f"Nothing to compare: {_format_count(impact.orders, 'order')} without a field"
    compared = f"{impact.fields} of {_format_count(total, 'field')} compared"
    if not impact.is_known:
        return f"Not known: {compared}"
    orders = f"{changed} of {_format_count(impact.orders, 'order')}"
    if impact.not_compared:
        return f"The conformity of at least {orders} would change: {compared}"
    return f"The conformity of {orders} would change"


def list_sentences(impact: Impact) -> tuple[str, ...]:
    """Return what the result rests on, what is not known, and what finds it out."""
    flips = len(impact.flips) + sum(len(order.flips) for order in impact.changed)
    compared = (
        f"Orders first seen since {impact.since:%Y-%m-%d}: of "
        f"{_format_count(impact.fields, 'field')} that count and have answers of both bundles, "
        f"{flips} differ from {impact.current or 'no bundle'}."
    )
    unasked = (
        f"{_format_count(impact.unasked, 'field')} could not be compared: {impact.bundle} has not "
        f"evaluated them. Run `{format_shadow_run(impact)}`, then "
        f"`agent models impact {impact.bundle} --days {impact.days}` again."
    )
    lost = f"{_format_count(impact.lost, 'field')} have no archived crop and were not compared."
    stays = (
        "Decisions of reviewers stay valid with any bundle. Nothing was written, and no statement "
        "changes: existing results keep their bundle."
    )
    known = (unasked if impact.unasked else "", lost if impact.lost else "")
    return (
        *((compared,) if impact.is_known else ()),
        *filter(None, known),
        stays,
        *impact.notes,
    )


def format_shadow_run(impact: Impact) -> str:
    """Return the command with which the other bundle answers the fields it has not."""
    return f"agent models reprocess --bundle {impact.bundle} --shadow --days {impact.days}"


def _format_count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
