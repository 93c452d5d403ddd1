"""Gather what a statement has to mention of its fields: once per order where it holds for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports import gettext as _
from reports import marked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from agent.orders.facts.specimen_facts import SpecimenFacts
    from agent.store import MicrographView, SpecimenView

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
