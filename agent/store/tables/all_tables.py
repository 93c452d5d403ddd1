"""All tables together, and what is known of them without making one."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Final

from sqlalchemy import MetaData

from agent.store import tables
from agent.store.tables.base import Row

PER_SITE: Final = frozenset(
    {
        "account", "agent", "campaign", "campaign_image", "campaign_rater", "content", "job",
        "label", "login", "micrograph", "needle_field", "needle_measurement",
        "night", "order", "order_claim", "path", "place", "preparation", "promotion", "rating",
        "record", "result", "rollout", "rollout_host", "same_place", "saved_view", "search_entry",
        "source", "specification", "specimen", "statement", "statement_file",
        "trail"
    }
)  # fmt: skip
"""Names of the tables whose rows belong to one site; a test compares them with the tables."""

REFERRING: Final = frozenset(
    {
        "campaign_image", "campaign_rater", "content", "job", "label",
        "micrograph", "needle_field", "needle_measurement", "order_claim", "path", "place",
        "preparation", "rating", "result", "rollout_host", "same_place", "search_entry",
        "specimen", "statement", "statement_file"
    }
)  # fmt: skip
"""Names of those that name a row of another one; a test compares them with the tables."""

SHARED: Final = {
    "site": "the sites themselves: their names, and what each shares",
}
"""Tables whose rows belong to no site, and why; every other one is an `OfSite` or an `OfGroup`."""


@cache
def load_metadata() -> MetaData:
    """Return all tables, whose modules it imports; once, as listing them takes a millisecond."""
    for module in pkgutil.iter_modules(tables.__path__, f"{tables.__name__}."):
        importlib.import_module(module.name)
    return Row.metadata
