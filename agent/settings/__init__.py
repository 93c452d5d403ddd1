"""The settings of a lab: `agent.toml`, then `AGENT_SECTION__KEY` variables.

Only `cli` and `service` see `Settings`; the layers below get plain values. An unknown key is an
error that names the nearest one, since an ignored typo is a setting without effect.
"""

from __future__ import annotations

from agent.settings.loading import FILE_NAME, find_file, platform_folder, read
from agent.settings.root import ENV_PREFIX, Settings
from agent.settings.section import WEEKDAYS
from agent.settings.sections import StatementsSection, WebSection
from agent.settings.sources import PROCESS_COLUMNS, Objective, Source, objective_key

__all__ = [
    "ENV_PREFIX",
    "FILE_NAME",
    "PROCESS_COLUMNS",
    "WEEKDAYS",
    "Objective",
    "Settings",
    "Source",
    "StatementsSection",
    "WebSection",
    "find_file",
    "objective_key",
    "platform_folder",
    "read",
]
