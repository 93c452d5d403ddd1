"""Gather what a statement has to mention of an order's fields and preparations."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from reports import gettext as _
from reports import marked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from agent.orders.facts.specimen_facts import SpecimenFacts
    from agent.orders.judge.judgement_rules import Rules
    from agent.store import MicrographView, PreparationView, SpecimenView

    Remarks = Callable[[MicrographView], Iterable[str]]


LEFT_OUT = {
    "sharpest_plane": marked("of several planes the sharpest one alone was judged"),
    "first_channel_only": marked("of several channels the first one alone was judged"),
}
"""Warnings of a crop that a part of its file was not inspected → in words."""


def gather_notes(
    specimens: Sequence[tuple[SpecimenView, SpecimenFacts]], remarks: Remarks
) -> tuple[str, ...]:
    """Return the remarks on the fields that count, each with its fields where not all have it.

    Args:
        specimens: The rows and the facts of each specimen of an order.
        remarks: Returns what is to be mentioned of a field.
    """
    where: dict[str, list[str]] = {}
    n = 0
    for view, facts in specimens:
        rows = {
            field.view.id: field.view for prepared in view.preparations for field in prepared.fields
        }
        for field in facts.fields:
            if field.superseded or field.id not in rows:
                continue
            n += 1
            name = _("specimen {specimen}, {field}").format(specimen=view.name, field=field.called)
            for remark in (*_left_out(rows[field.id]), *remarks(rows[field.id])):
                where.setdefault(remark, []).append(name)
    return tuple(
        remark if len(names) == n else f"{'; '.join(names)}: {remark}"
        for remark, names in where.items()
    )


def _left_out(view: MicrographView) -> Iterator[str]:
    return (_(words) for warning, words in LEFT_OUT.items() if warning in view.warnings)


NUMERALS = (
    marked("first"),
    marked("second"),
    marked("third"),
    marked("fourth"),
    marked("fifth"),
    marked("sixth"),
    marked("seventh"),
    marked("eighth"),
    marked("ninth"),
)


def _format_ordinal(n: int) -> str:
    return _(NUMERALS[n - 1]) if n <= len(NUMERALS) else _("{n}th").format(n=n)


def describe_preparations(view: SpecimenView, rules: Rules) -> Iterator[str]:
    """Yield the results of earlier preparations: "third preparation, first result: coarser"."""
    if len(view.preparations) < 2:  # noqa: PLR2004 - a second one
        return
    *before, last = view.preparations
    yield from _describe_late(before)
    which = _format_ordinal(len(view.preparations))
    new = _find_coarsest(last, rules)
    for number, prepared in enumerate(before, start=1):
        old = _find_coarsest(prepared, rules)
        if old is None:
            sentence = _("{which} preparation; the {earlier} gave no result")
            yield sentence.format(which=which, earlier=_format_ordinal(number))
        elif new is None:
            sentence = _("{which} preparation, {earlier} result: {code}")
            yield sentence.format(which=which, earlier=_format_ordinal(number), code=old[1])
        else:
            how = (
                _("coarser")
                if old[0] < new[0]
                else _("finer")
                if old[0] > new[0]
                else _("the same")
            )
            sentence = _("{which} preparation, {earlier} result: {how} ({old}, now {new})")
            yield sentence.format(
                which=which, earlier=_format_ordinal(number), how=how, old=old[1], new=new[1]
            )


def _describe_late(before: Sequence[PreparationView]) -> Iterator[str]:
    """Yield the fields of superseded preparations that came when the next one had begun."""
    for prepared in before:
        begun_at = prepared.facts.get("superseded", {}).get("at")
        for field in prepared.fields:
            came_at = field.view.taken_at
            if begun_at and came_at and came_at > datetime.fromisoformat(begun_at):
                yield _(
                    "field {name} came after the next preparation started, from a file of before: "
                    "it is of preparation {preparation}"
                ).format(
                    name=field.view.process_data.get("field") or field.view.id,
                    preparation=prepared.name,
                )


def _find_coarsest(prepared: PreparationView, rules: Rules) -> tuple[int, str] | None:
    codes = [
        (field.view.label.code if field.view.label else None) or field.view.result.structure_code
        for field in prepared.fields
    ]
    order = rules.taxonomy.sizes
    ranked = [
        (order.index(parsed[1]), code) for code in codes if code and (parsed := rules.parsed(code))
    ]
    return min(ranked, default=None)
