"""The settings of a lab: `agent.toml`, then `AGENT_SECTION__KEY` variables.

Only `cli` and `service` see `Settings`; the layers below get plain values. An unknown key is an
error that names the nearest one, since an ignored typo is a setting without effect.
"""

from __future__ import annotations

from agent.settings.addresses import NamedAddress, find_address_mark, iter_addresses, needs_network
from agent.settings.applied_version import (
    AppliedVersion,
    find_applied,
    find_pc_name,
    get_files_folder,
    remove_applied,
    save_applied,
    write_files,
)
from agent.settings.loading import (
    FILE_NAME,
    UNFINISHED_MOVE,
    find_file,
    has_unfinished_move,
    platform_folder,
    read,
    read_own,
    refuse_unfinished_move,
)
from agent.settings.paths import NamedPath, is_path, iter_paths
from agent.settings.root import ENV_PREFIX, Settings
from agent.settings.section import WEEKDAYS, Right
from agent.settings.sections import ReportSection, StatementsSection, StoreSection, WebSection
from agent.settings.shared_settings import (
    FILES,
    LOCAL,
    SHARED,
    VERSION_PREFIX,
    collect_shared,
    compute_version,
    iter_values,
    list_overridden,
    overlay,
)
from agent.settings.sources import PROCESS_COLUMNS, PROCESS_KEYS, Objective, Source, objective_key

__all__ = [
    "ENV_PREFIX",
    "FILES",
    "FILE_NAME",
    "LOCAL",
    "PROCESS_COLUMNS",
    "PROCESS_KEYS",
    "SHARED",
    "UNFINISHED_MOVE",
    "VERSION_PREFIX",
    "WEEKDAYS",
    "AppliedVersion",
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
    "collect_shared",
    "compute_version",
    "find_address_mark",
    "find_applied",
    "find_file",
    "find_pc_name",
    "get_files_folder",
    "has_unfinished_move",
    "is_path",
    "iter_addresses",
    "iter_paths",
    "iter_values",
    "list_overridden",
    "needs_network",
    "objective_key",
    "overlay",
    "platform_folder",
    "read",
    "read_own",
    "refuse_unfinished_move",
    "remove_applied",
    "save_applied",
    "write_files",
]
