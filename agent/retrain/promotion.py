"""What a lead is shown before signing for a bundle, and what prevents the signature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from agent.errors import BadBundle, WrongUse
from agent.retrain.gate_table import load_gate_record

if TYPE_CHECKING:
    from pathlib import Path

    from agent.retrain.impact import Impact
    from model import Taxonomy

DAYS = 90
"""Days of orders that are compared before a promotion."""
SHADOW: Final = "shadow"
"""Role of a candidate's answers, and name of the job that computes them."""


def has_evidence(bundle: Path, before: str | None) -> bool:
    """Return whether a gate recommends a bundle in place of the one in use.

    Args:
        bundle: Folder of the bundle.
        before: Name of the bundle in use; None: there is none to compare with.
    """
    if before is None:
        return True
    try:
        record = load_gate_record(bundle)
    except BadBundle:
        return False
    return record is not None and record.gate == "recommended" and record.current == before


def describe_gate(bundle: Path, before: str | None) -> str:
    """Return the result of a bundle's gate, and whether it still applies.

    Args:
        bundle: Folder of the bundle.
        before: Name of the bundle in use, or None.
    """
    try:
        record = load_gate_record(bundle)
    except BadBundle as broken:
        return str(broken)
    if record is None:
        again = (
            f" To compare it: agent models show --against {before} {bundle.name}" if before else ""
        )
        return f"No gate has compared {bundle.name} with another bundle.{again}"
    result = f"Result of the gate: {record.sentence}"
    if before in {None, record.current}:
        return result
    return (
        f"{result} The gate compared it with {record.current}; {before} is in use now. To compare "
        f"it with {before}: agent models show --against {before} {bundle.name}"
    )


def require_same_codes(name: str, taxonomy: Taxonomy, active: Taxonomy) -> None:
    """Refuse rings for a bundle with other structure codes: one taxonomy is active at all PCs.

    Args:
        name: Of the bundle.
        taxonomy: Of the bundle.
        active: The active taxonomy.

    Raises:
        WrongUse: The structure codes differ.
    """
    if differing := sorted(set(taxonomy.codes) ^ set(active.codes)):
        raise WrongUse(
            f"{name} has other structure codes than the active taxonomy ({', '.join(differing)}), "
            "and PCs with different codes cannot work on one order. Promote it on all PCs at once: "
            f"agent models promote {name}."
        )


def require_known_impact(impact: Impact) -> None:
    """Refuse a promotion whose effect on orders is not known.

    Raises:
        WrongUse: The bundle has not answered every field that counts.
    """
    if impact.unasked:
        raise WrongUse(
            f"{impact.bundle} has no answer for {impact.unasked} fields of the last {impact.days} "
            f"days, so its effect on orders is unknown. Run agent models reprocess --bundle "
            f"{impact.bundle} --shadow --days {impact.days}, or choose on its page “Classify the "
            "last 90 days with it”. Then sign; or choose fewer days with --days."
        )
