"""Gather fields into specimens and orders, and say whether they keep what is demanded.

`limit`, `specification`, `facts`, `rules` and `conformity` decide and are pure; `assessment`
fetches what they decide on and says it as JSON.
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
