"""Judge specimens and orders against their specifications.

`limit`, `specification`, `specimen_facts`, `judgement_rules` and `conformity` are pure;
`assessment` loads the rows that they judge.
"""

from __future__ import annotations

from agent.orders.specification import (
    BadSpecification,
    Specification,
    Specifications,
    iter_faults,
    list_valid_limits,
    read_specifications,
)
from agent.orders.specimen_facts import Conformity

__all__ = [
    "BadSpecification",
    "Conformity",
    "Specification",
    "Specifications",
    "iter_faults",
    "list_valid_limits",
    "read_specifications",
]
