"""Require a reason where a reviewer corrects the model's answer, as `[review]` requires it.

An answer that was hidden is not corrected: a request for a reason would reveal it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import reports
from reports import gettext as _
from reports import marked

if TYPE_CHECKING:
    from agent.store import Decision, MicrographView
    from agent.web.context import Desk

REASON_NEEDED = marked("{yours} instead of {model}: give the reason for this correction.")


def list_reasons(desk: Desk) -> tuple[str, ...]:
    """Return the reasons to choose from, in the reader's language; () where none is required."""
    if desk.correction_reasons is None:
        return ()
    return desk.correction_reasons or tuple(_(why) for why in reports.MODEL_CORRECTION_WHYS)


def find_uncorrected(desk: Desk, view: MicrographView, *, hides: bool) -> str:
    """Return the model's code where another one needs a reason, else "".

    Args:
        desk: What the pages work on.
        view: The micrograph.
        hides: The answer is hidden from the reviewer.
    """
    if desk.correction_reasons is None or hides or view.label is not None:
        return ""
    return view.result.structure_code or ""


def request_reason(desk: Desk, view: MicrographView, decision: Decision, *, hides: bool) -> str:
    """Return a sentence that requests the missing reason of a correction, "" where none is missing.

    Args:
        desk: What the pages work on.
        view: The micrograph.
        decision: The decision about it.
        hides: The answer is hidden from the reviewer.
    """
    model = find_uncorrected(desk, view, hides=hides)
    if decision.kind != "code" or decision.comment or decision.code in (model, None) or not model:
        return ""
    return _(REASON_NEEDED).format(yours=decision.code, model=model)
