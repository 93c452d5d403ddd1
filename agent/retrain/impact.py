"""Say which orders would be judged otherwise, were another bundle at work: dry, nothing is written.

In:  a bundle's answers beside those that count, the lab's specification limits. Out: an `Impact`.
Next: whoever signs for the bundle has to have seen it.
What a person decided stands, whoever is at work. The other bundle is asked as if it were validated
as widely as the one at work: how widely it is, is said apart.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from agent.orders.assessment import assess, assess_view
from agent.triage import Handling, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from agent.orders.assessment import Assessed, Lab
    from agent.store import FieldView, MicrographView, OrderView, Store

AS_VALIDATED = Reason.OUT_OF_SCOPE


@dataclass(frozen=True, slots=True)
class Flip:
    """One field that another bundle answers otherwise.

    Args:
        id: Public id. sha256, page: which pixels. name: the file's. order, specimen: of it, or "".
        before, after: Structure codes, "" for none. could_be, could_be_after: prediction sets.
        handling, handling_after: "automatic" or "review".
        strange, strange_after: Flagged as not comparable with the reference images.
        decided: What a person said of it, "" where nobody did.
    """

    id: str
    sha256: str
    page: int
    name: str
    order: str
    specimen: str
    before: str
    after: str
    could_be: tuple[str, ...]
    could_be_after: tuple[str, ...]
    handling: str
    handling_after: str
    strange: bool
    strange_after: bool
    decided: str


@dataclass(frozen=True, slots=True)
class Changed:
    """One order whose conformity would change.

    Args:
        number: Of the order. before, after: conformity. why: of the one after, sentences.
        flips: The fields that are answered otherwise.
    """

    number: str
    before: str
    after: str
    why: tuple[str, ...]
    flips: tuple[Flip, ...]


@dataclass(frozen=True, slots=True)
class Impact:
    """What would change, were another bundle at work.

    Args:
        bundle: Which. current: the one at work, or "". since: from when on orders were looked at.
        orders: How many those are. fields: of them, that count and both have answered.
        unasked: Fields that the other bundle has not answered, and could. lost: that nobody can
            be asked about any more, as their crops were pruned.
        changed: Orders whose conformity would change.
        flips: Fields answered otherwise in orders whose conformity stays.
        notes: What else would change, a sentence each.
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

    def document(self) -> dict[str, Any]:
        """Say it as JSON has it."""
        return asdict(self) | {"since": self.since.isoformat()}

    def sha256(self) -> str:
        """Say the hash by which what was shown is known again."""
        said = json.dumps(self.document(), ensure_ascii=False, sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()

    def in_short(self) -> dict[str, Any]:
        """Say what a signature keeps of it."""
        return {
            "orders": self.orders,
            "fields": self.fields,
            "unasked": self.unasked,
            "lost": self.lost,
            "since": self.since.isoformat(),
            "changed": [f"{one.number}: {one.before} → {one.after}" for one in self.changed],
            "flips": len(self.flips) + sum(len(one.flips) for one in self.changed),
            "sha256": self.sha256(),
        }


def impact(
    store: Store,
    lab: Lab,
    bundle: str,
    *,
    since: datetime,
    has_crop: Callable[[MicrographView], bool],
) -> Impact:
    """Say which orders first heard of since then would be judged otherwise.

    Args:
        store: Open; the other bundle's answers stand in it.
        lab: What the lab has laid down.
        bundle: Name of the other bundle.
        since: Aware UTC.
        has_crop: Says whether the other bundle could be asked about a field at all.
    """
    said = {view.id: view for view in store.answers_of(bundle, since=since)}
    numbers = [
        one.number for one in store.orders.all() if one.first_seen_at and one.first_seen_at >= since
    ]
    changed: list[Changed] = []
    rest: list[Flip] = []
    fields = unasked = lost = 0
    for number in numbers:
        view = store.orders.order(number)
        if view is None:
            continue
        counted = list(_counted(view))
        answered = [one for one in counted if one.id in said]
        fields += len(answered)
        unknown = [one for one in counted if one.id not in said]
        unasked += sum(has_crop(one) for one in unknown)
        lost += sum(not has_crop(one) for one in unknown)
        flips = tuple(flip for one in answered if (flip := flip_of(one, said[one.id])))
        if not flips:
            continue
        before, after = assess(store, number, lab), assess_view(store, _instead(view, said), lab)
        if before and before.statement.conformity is not after.statement.conformity:
            changed.append(_changed(before, after, flips))
        else:
            rest += flips
    return Impact(
        bundle=bundle,
        current=store.current_bundle() or "",
        since=since,
        orders=len(numbers),
        fields=fields,
        unasked=unasked,
        lost=lost,
        changed=tuple(changed),
        flips=tuple(rest),
        notes=tuple(_notes(lab, bundle)),
    )


def flip_of(before: MicrographView, after: MicrographView) -> Flip | None:
    """Say how another bundle answers a field otherwise; None where it says the same.

    What a person decided counts whoever is at work; it is said beside.
    """
    mine, other = _answer(before), _answer(_as_validated(before, after))
    if mine == other:
        return None
    told = before.process_data
    label = before.label
    return Flip(
        id=before.id,
        sha256=before.sha256,
        page=before.page,
        name=before.path.replace("\\", "/").rsplit("/", 1)[-1],
        order=told.get("order", ""),
        specimen=told.get("specimen", ""),
        before=before.structure_code or "",
        after=after.structure_code or "",
        could_be=before.prediction_set,
        could_be_after=after.prediction_set,
        handling=before.handling,
        handling_after=_as_validated(before, after).handling,
        strange=bool(before.strangeness.get("flagged")),
        strange_after=bool(after.strangeness.get("flagged")),
        decided=(label.code or label.strange_kind or label.why or label.kind) if label else "",
    )


def _answer(view: MicrographView) -> tuple[object, ...]:
    flagged = bool(view.strangeness.get("flagged"))
    return view.structure_code, frozenset(view.prediction_set), view.handling, flagged


def _counted(view: OrderView) -> Iterator[MicrographView]:
    for specimen in view.specimens:
        for prepared in specimen.preparations[-1:]:
            yield from (one.view for one in prepared.fields if not one.superseded)


def _as_validated(before: MicrographView, after: MicrographView) -> MicrographView:
    """Take an answer as if its bundle were validated as widely as the one at work."""
    others = [word for word in after.reasons if word != AS_VALIDATED]
    own = [word for word in before.reasons if word == AS_VALIDATED]
    handling = Handling.REVIEW if others or own else Handling.AUTOMATIC
    return replace(after, reasons=(*others, *own), handling=handling.value)


def _instead(view: OrderView, said: Mapping[str, MicrographView]) -> OrderView:
    """Put another bundle's answers in the place of those that count; decisions stay."""

    def field(one: FieldView) -> FieldView:
        after = said.get(one.view.id)
        if after is None or one.superseded:
            return one
        told = _as_validated(one.view, after)
        awaits = told.handling == Handling.REVIEW and one.view.label is None
        # Under the name of the bundle at work: what the lab allows, it allows by name.
        return replace(one, view=replace(told, bundle=one.view.bundle, awaits=awaits))

    return replace(
        view,
        specimens=tuple(
            replace(
                specimen,
                preparations=tuple(
                    replace(prepared, fields=tuple(field(one) for one in prepared.fields))
                    for prepared in specimen.preparations
                ),
            )
            for specimen in view.specimens
        ),
    )


def _changed(before: Assessed, after: Assessed, flips: tuple[Flip, ...]) -> Changed:
    statement = after.statement
    return Changed(
        number=after.view.number,
        before=before.statement.conformity.words,
        after=statement.conformity.words,
        why=(*statement.because, *statement.missing) or ("nothing is missing any more",),
        flips=flips,
    )


def _notes(lab: Lab, bundle: str) -> Iterator[str]:
    on = {one.material for one in lab.allowances if one.on}
    for material in sorted(on - {one.material for one in lab.allowances if one.bundle == bundle}):
        yield (
            f"No validation record of {material} names {bundle}: orders that rest on the model "
            f"alone stay undecided under it until agent validate {material} and a lead's word "
            "(agent spec automatic)."
        )
