"""Leave out of a report what a reviewer must not know before deciding.

A report is read before the micrographs in it are reviewed, and leads to each of them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.orders.judge.permissions import is_hidden
from agent.store import NEEDLES_MESSAGE, StoredStrangeness

if TYPE_CHECKING:
    from agent.store import MicrographView


def is_hidden_in_report(micrograph: MicrographView) -> bool:
    """Return whether a report hides the answers about a micrograph.

    Where two reviewers disagree too: a report is for more readers than the third reviewer.
    """
    return is_hidden(micrograph) or micrograph.disagreed


def hide_answer(micrograph: MicrographView) -> MicrographView:
    """Return a micrograph as a report shows it: a hidden one without answers and strangeness.

    Its reasons stay, as on the review page.
    """
    if not is_hidden_in_report(micrograph):
        return micrograph
    result = micrograph.result
    strangeness = StoredStrangeness(
        is_flagged=result.strangeness.is_flagged, defects=result.strangeness.defects
    )
    hidden = replace(
        result,
        subtype=None,
        subtype_probabilities={},
        size=None,
        size_min=None,
        size_max=None,
        size_probabilities={},
        structure_code=None,
        probability=None,
        probabilities={},
        prediction_set=(),
        coarser_share={},
        strangeness=strangeness,
        expected={
            name: value for name, value in result.expected.items() if name != NEEDLES_MESSAGE
        },
    )
    return replace(micrograph, label=None, labels=(), votes=(), result=hidden, needles=None)
