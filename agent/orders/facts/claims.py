"""Describe the micrographs that were named for an order and do not belong to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports import gettext as _
from reports import marked

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from agent.store import OrderClaim

ORIGINS = {
    "path": marked("its path"),
    "note": marked("the note next to it"),
    "sender": marked("its sender"),
    "copy": marked("a copy of it"),
    "moved": marked("its earlier place"),
}
"""Origin of a claim → in words."""


def describe_claims(claims: Sequence[OrderClaim], unassigned: Collection[str]) -> Iterator[str]:
    """Yield the claims that a lead has to settle before the order can conform.

    Args:
        claims: On the order.
        unassigned: Public ids of micrographs that are named anyway, as they belong to no specimen.
    """
    for claim in claims:
        if claim.settled_by or claim.id in unassigned:
            continue
        where = (
            _("it belongs to order {order} now").format(order=claim.order)
            if claim.order
            else _("it belongs to no specimen")
        )
        yield _(
            "micrograph {id} is named for specimen {specimen} by {origin}, and {where}: a lead "
            "decides (agent orders assign)"
        ).format(
            id=claim.id,
            specimen=claim.specimen or "?",
            origin=_(ORIGINS[claim.origin]),
            where=where,
        )


def describe_settled(claims: Sequence[OrderClaim]) -> Iterator[str]:
    """Yield which micrographs a lead assigned although something else named another place."""
    for claim in claims:
        if claim.settled_by:
            yield _(
                "micrograph {id} was named for specimen {specimen} by {origin}; {who} assigned it: "
                "{reason}"
            ).format(
                id=claim.id,
                specimen=claim.specimen or "?",
                origin=_(ORIGINS[claim.origin]),
                who=claim.settled_by,
                reason=claim.settled_reason,
            )
