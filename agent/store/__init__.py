"""Database of a site: tables, migrations, transactions and one repository per subject.

`tables` defines the schema, `schema` and `migrations` upgrade an older database, `engine` opens
transactions. `Store` opens the database and carries the repositories. Only this package contains
SQL.

Names are imported on first use, as the repositories of `Store` are: a short command spends most of
its time on imports.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.store.accounts import Account, Accounts, Login
    from agent.store.audit_log import SIGNED, Origin, TrailEntry, TrailHead, acting_through
    from agent.store.backup import (
        ActCopy,
        acts_in,
        drop_scratch_database,
        examine_copy,
        make_scratch_database,
        put_back,
        sites_in,
    )
    from agent.store.campaign_views import (
        Campaign,
        CampaignRater,
        NewImage,
        NewRater,
        Opinion,
        Rating,
        Seat,
    )
    from agent.store.campaigns import ROUND_ROBIN
    from agent.store.current_answers import CurrentAnswer
    from agent.store.database import Store
    from agent.store.decisions import Decision, DecisionConflict, LabelView
    from agent.store.engine import StoreFault, store_url
    from agent.store.file_states import VANISHED, Claim, FileFate, State
    from agent.store.given_scales import BY_REVIEWER, GIVEN, find_given, keep_warnings
    from agent.store.history import HistoryQuery
    from agent.store.jobs import Job
    from agent.store.label_resolution import asks_two, signed_by_program, voter_of
    from agent.store.labelled_micrographs import LabelledMicrograph
    from agent.store.live_figures import LastFile, OpenFiles, ResultCount
    from agent.store.micrograph_views import NEEDLES_MESSAGE, MicrographView
    from agent.store.needle_measurements import NeedleMeasurement, NewNeedle
    from agent.store.nightly_reports import NightHead, NightRow
    from agent.store.number_match import NamedOrder
    from agent.store.numbers import letters_key, number_key
    from agent.store.odd_shapes import name_odd
    from agent.store.order_changes import Heads, JudgedField, OrderAge
    from agent.store.order_claims import ClaimedPlace, OrderClaim
    from agent.store.order_views import (
        Entry,
        FieldView,
        OrderLine,
        OrderView,
        PreparationView,
        SpecimenView,
        StoredAnswer,
        Unassigned,
    )
    from agent.store.own_database import NothingToBegin, find_mark, mark_restored
    from agent.store.pixel_evidence import Kept, KeptFor
    from agent.store.places import KnownPlaces, Landmarked, PlaceMatch, PlacePair
    from agent.store.promotions import REFUSED, Promotion, Signature
    from agent.store.quality_records import NewRecord, Record
    from agent.store.results import MicrographResult
    from agent.store.retention import PixelDeletion, Retention, RetentionPlan
    from agent.store.rollout_plan import (
        BY_AGENT,
        HostState,
        Ring,
        RingRules,
        Rollout,
        RolloutHost,
        RolloutKind,
        RolloutState,
        RolloutTicket,
        WantedBundle,
        assign_rings,
        is_absent,
    )
    from agent.store.row_checks import RowChecks
    from agent.store.saved_views import StoredView
    from agent.store.schema import HEAD as SCHEMA
    from agent.store.search import MicrographFacets, SearchPage, SearchQuery
    from agent.store.settings_versions import (
        SettingsVersion,
        WantedSettings,
        list_changes,
    )
    from agent.store.sites import SiteSeen
    from agent.store.sources import OUTAGE, AgentSeen, SourceHealth
    from agent.store.specimens import RELEASED_AFTER, Ordered, OtherBundle
    from agent.store.statements import FrozenStatement, NewStatement, StatementFile, to_canonical
    from agent.store.statements import recompute as recompute_statement
    from agent.store.stored_facts import StoredCrop, StoredStrangeness
    from agent.store.unread_names import WaitingFile
    from agent.store.upgrade import Upgrade
    from agent.store.work_division import UnitState
    from agent.store.work_progress import JobState, UnitFault, WorkJob, WorkProgress
    from agent.store.work_units import UnitAnswer, UnitClaim, WaitingHome

_WHERE = {
    "Account": "accounts",
    "Accounts": "accounts",
    "ActCopy": "backup",
    "AgentSeen": "sources",
    "BY_AGENT": "rollout_plan",
    "BY_REVIEWER": "given_scales",
    "Campaign": "campaign_views",
    "CampaignRater": "campaign_views",
    "Claim": "file_states",
    "ClaimedPlace": "order_claims",
    "CurrentAnswer": "current_answers",
    "Decision": "decisions",
    "DecisionConflict": "decisions",
    "Entry": "order_views",
    "FieldView": "order_views",
    "FileFate": "file_states",
    "FrozenStatement": "statements",
    "GIVEN": "given_scales",
    "Heads": "order_changes",
    "HistoryQuery": "history",
    "HostState": "rollout_plan",
    "Job": "jobs",
    "JobState": "work_progress",
    "JudgedField": "order_changes",
    "Kept": "pixel_evidence",
    "KeptFor": "pixel_evidence",
    "KnownPlaces": "places",
    "LabelView": "decisions",
    "LabelledMicrograph": "labelled_micrographs",
    "Landmarked": "places",
    "LastFile": "live_figures",
    "Login": "accounts",
    "MicrographFacets": "search",
    "MicrographResult": "results",
    "MicrographView": "micrograph_views",
    "NEEDLES_MESSAGE": "micrograph_views",
    "NamedOrder": "number_match",
    "NeedleMeasurement": "needle_measurements",
    "NewImage": "campaign_views",
    "NewNeedle": "needle_measurements",
    "NewRater": "campaign_views",
    "NewRecord": "quality_records",
    "NewStatement": "statements",
    "NightHead": "nightly_reports",
    "NightRow": "nightly_reports",
    "NothingToBegin": "own_database",
    "OUTAGE": "sources",
    "OpenFiles": "live_figures",
    "Opinion": "campaign_views",
    "OrderAge": "order_changes",
    "OrderClaim": "order_claims",
    "OrderLine": "order_views",
    "OrderView": "order_views",
    "Ordered": "specimens",
    "Origin": "audit_log",
    "OtherBundle": "specimens",
    "PixelDeletion": "retention",
    "PlaceMatch": "places",
    "PlacePair": "places",
    "PreparationView": "order_views",
    "Promotion": "promotions",
    "REFUSED": "promotions",
    "RELEASED_AFTER": "specimens",
    "ROUND_ROBIN": "campaigns",
    "Rating": "campaign_views",
    "Record": "quality_records",
    "ResultCount": "live_figures",
    "Retention": "retention",
    "RetentionPlan": "retention",
    "Ring": "rollout_plan",
    "RingRules": "rollout_plan",
    "Rollout": "rollout_plan",
    "RolloutHost": "rollout_plan",
    "RolloutKind": "rollout_plan",
    "RolloutState": "rollout_plan",
    "RolloutTicket": "rollout_plan",
    "RowChecks": "row_checks",
    "SCHEMA": "schema",
    "SIGNED": "audit_log",
    "SearchPage": "search",
    "SearchQuery": "search",
    "Seat": "campaign_views",
    "SettingsVersion": "settings_versions",
    "Signature": "promotions",
    "SiteSeen": "sites",
    "SourceHealth": "sources",
    "SpecimenView": "order_views",
    "State": "file_states",
    "StatementFile": "statements",
    "Store": "database",
    "StoreFault": "engine",
    "StoredAnswer": "order_views",
    "StoredCrop": "stored_facts",
    "StoredStrangeness": "stored_facts",
    "StoredView": "saved_views",
    "TrailEntry": "audit_log",
    "TrailHead": "audit_log",
    "Unassigned": "order_views",
    "UnitAnswer": "work_units",
    "UnitClaim": "work_units",
    "UnitFault": "work_progress",
    "UnitState": "work_division",
    "Upgrade": "upgrade",
    "VANISHED": "file_states",
    "WaitingFile": "unread_names",
    "WaitingHome": "work_units",
    "WantedBundle": "rollout_plan",
    "WantedSettings": "settings_versions",
    "WorkJob": "work_progress",
    "WorkProgress": "work_progress",
    "acting_through": "audit_log",
    "acts_in": "backup",
    "asks_two": "label_resolution",
    "assign_rings": "rollout_plan",
    "drop_scratch_database": "backup",
    "examine_copy": "backup",
    "find_given": "given_scales",
    "find_mark": "own_database",
    "is_absent": "rollout_plan",
    "keep_warnings": "given_scales",
    "letters_key": "numbers",
    "list_changes": "settings_versions",
    "make_scratch_database": "backup",
    "mark_restored": "own_database",
    "name_odd": "odd_shapes",
    "number_key": "numbers",
    "put_back": "backup",
    "recompute_statement": "statements",
    "signed_by_program": "label_resolution",
    "sites_in": "backup",
    "store_url": "engine",
    "to_canonical": "statements",
    "voter_of": "label_resolution",
}
_NAMES_THERE = {"SCHEMA": "HEAD", "recompute_statement": "recompute"}
"""What the modules themselves call a name, where that differs."""

__all__ = [
    "BY_AGENT",
    "BY_REVIEWER",
    "GIVEN",
    "NEEDLES_MESSAGE",
    "OUTAGE",
    "REFUSED",
    "RELEASED_AFTER",
    "ROUND_ROBIN",
    "SCHEMA",
    "SIGNED",
    "VANISHED",
    "Account",
    "Accounts",
    "ActCopy",
    "AgentSeen",
    "Campaign",
    "CampaignRater",
    "Claim",
    "ClaimedPlace",
    "CurrentAnswer",
    "Decision",
    "DecisionConflict",
    "Entry",
    "FieldView",
    "FileFate",
    "FrozenStatement",
    "Heads",
    "HistoryQuery",
    "HostState",
    "Job",
    "JobState",
    "JudgedField",
    "Kept",
    "KeptFor",
    "KnownPlaces",
    "LabelView",
    "LabelledMicrograph",
    "Landmarked",
    "LastFile",
    "Login",
    "MicrographFacets",
    "MicrographResult",
    "MicrographView",
    "NamedOrder",
    "NeedleMeasurement",
    "NewImage",
    "NewNeedle",
    "NewRater",
    "NewRecord",
    "NewStatement",
    "NightHead",
    "NightRow",
    "NothingToBegin",
    "OpenFiles",
    "Opinion",
    "OrderAge",
    "OrderClaim",
    "OrderLine",
    "OrderView",
    "Ordered",
    "Origin",
    "OtherBundle",
    "PixelDeletion",
    "PlaceMatch",
    "PlacePair",
    "PreparationView",
    "Promotion",
    "Rating",
    "Record",
    "ResultCount",
    "Retention",
    "RetentionPlan",
    "Ring",
    "RingRules",
    "Rollout",
    "RolloutHost",
    "RolloutKind",
    "RolloutState",
    "RolloutTicket",
    "RowChecks",
    "SearchPage",
    "SearchQuery",
    "Seat",
    "SettingsVersion",
    "Signature",
    "SiteSeen",
    "SourceHealth",
    "SpecimenView",
    "State",
    "StatementFile",
    "Store",
    "StoreFault",
    "StoredAnswer",
    "StoredCrop",
    "StoredStrangeness",
    "StoredView",
    "TrailEntry",
    "TrailHead",
    "Unassigned",
    "UnitAnswer",
    "UnitClaim",
    "UnitFault",
    "UnitState",
    "Upgrade",
    "WaitingFile",
    "WaitingHome",
    "WantedBundle",
    "WantedSettings",
    "WorkJob",
    "WorkProgress",
    "acting_through",
    "acts_in",
    "asks_two",
    "assign_rings",
    "drop_scratch_database",
    "examine_copy",
    "find_given",
    "find_mark",
    "is_absent",
    "keep_warnings",
    "letters_key",
    "list_changes",
    "make_scratch_database",
    "mark_restored",
    "name_odd",
    "number_key",
    "put_back",
    "recompute_statement",
    "signed_by_program",
    "sites_in",
    "store_url",
    "to_canonical",
    "voter_of",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'agent.store' has no attribute {name!r}")
    value = getattr(import_module(f"agent.store.{_WHERE[name]}"), _NAMES_THERE.get(name, name))
    globals()[name] = value
    return value
