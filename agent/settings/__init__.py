"""The settings of a lab: `agent.toml`, then `AGENT_SECTION__KEY` variables.

Only `cli` and `service` see `Settings`; the layers below get plain values. An unknown key is an
error that names the nearest one, since an ignored typo is a setting without effect.
"""

from __future__ import annotations

from agent.settings.loading import (
    FILE_NAME,
    UNFINISHED_MOVE,
    NamedAddress,
    NamedPath,
    find_address_mark,
    find_file,
    find_pc_name,
    has_unfinished_move,
    is_path,
    iter_addresses,
    iter_paths,
    needs_network,
    platform_folder,
    read,
    refuse_unfinished_move,
)
from agent.settings.root import (
    ENV_PREFIX,
    PROCESS_COLUMNS,
    PROCESS_KEYS,
    Objective,
    Settings,
    Source,
    objective_key,
)
from agent.settings.section import WEEKDAYS, Right
from agent.settings.sections import ReportSection, StatementsSection, StoreSection, WebSection

__all__ = [
    "ENV_PREFIX",
    "FILE_NAME",
    "PROCESS_COLUMNS",
    "PROCESS_KEYS",
    "UNFINISHED_MOVE",
    "WEEKDAYS",
    "NamedAddress",
    "NamedPath",
    "Objective",
    "ReportSection",
    "Right",
    "Settings",
    "Source",
    "StatementsSection",
    "StoreSection",
    "WebSection",
    "find_address_mark",
    "find_file",
    "find_pc_name",
    "has_unfinished_move",
    "is_path",
    "iter_addresses",
    "iter_paths",
    "needs_network",
    "objective_key",
    "platform_folder",
    "read",
    "refuse_unfinished_move",
]
