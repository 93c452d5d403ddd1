"""Judge specimens and orders against their specifications.

`limit`, `specification`, `specimen_facts`, `judgement_rules` and `conformity` are pure;
`assessment` loads the rows that they judge.
"""

from __future__ import annotations

from agent.orders.specification import (
    BadSpecification,
    Specification,
    Specifications,
    faults,
    limits_in_use,
    read_specifications,
)
from agent.orders.specimen_facts import Conformity

__all__ = [
    "BadSpecification",
    "Conformity",
    "Specification",
    "Specifications",
    "faults",
    "limits_in_use",
    "read_specifications",
]
