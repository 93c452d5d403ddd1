"""Leave out of a report what a reviewer must not know before deciding.

A report is read before the micrographs in it are reviewed, and leads to each of them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.store import asks_two
from agent.triage import Reason

if TYPE_CHECKING:
    from agent.nightly.snapshot import ReportedMicrograph


def is_hidden(micrograph: ReportedMicrograph) -> bool:
    """Return whether a micrograph waits for a decision without answers in view.

    A suspect label waits for a second decision, so the first one is hidden as well.
    """
    if Reason.DOUBTED_LABEL in micrograph.reasons:
        return True
    is_double = asks_two(micrograph.sha256, micrograph.thresholds, micrograph.handling)
    return micrograph.waits and (Reason.CONTROL_SAMPLE in micrograph.reasons or is_double)


def hide_answer(micrograph: ReportedMicrograph) -> ReportedMicrograph:
    """Return a micrograph as a report shows it: a hidden one without answers and strangeness.

    Its reasons stay, as on the review page.
    """
    if not is_hidden(micrograph):
        return micrograph
    return replace(
        micrograph,
        decision=None,
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
        p_value=None,
        where=None,
        strangeness="",
        strangeness_message=None,
        nearest={},
        needles_conflict=None,
        needles=None,
    )
