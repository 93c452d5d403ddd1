"""Count how often people say what the model said: over three months, since a night has too few.

In:  what people decided. Out: an `Agreement`. Next: `page`. A decision taken with the model's
answer in view leans to it, so those taken blind are counted apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from agent.store import LabelledMicrograph

WINDOW = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often the structure code was the same.

    Args:
        n: Micrographs that a person gave a code, the model having answered. same: of those.
        blind_n, blind_same: Likewise where the person had not seen the answer.
    """

    n: int
    same: int
    blind_n: int
    blind_same: int


def agreement(labelled: Iterable[LabelledMicrograph], *, until: datetime) -> Agreement:
    """Count decisions of the last `WINDOW` before an instant."""
    counted = [
        one
        for one in labelled
        if one.origin == "watch"
        and one.kind == "code"
        and one.model_code is not None
        and until - WINDOW < one.labelled_at <= until
    ]
    blind = [one for one in counted if one.blind]
    return Agreement(
        n=len(counted),
        same=sum(one.code == one.model_code for one in counted),
        blind_n=len(blind),
        blind_same=sum(one.code == one.model_code for one in blind),
    )
