"""Keep everything in a database, and answer every question to it.

`tables` says what is kept, `schema` and `migrations` bring an older store up to it, `engine` opens
transactions. One module per subject stands on them: `intake`, `claims`, `identity` and `fates` keep
the books of files (`journal` has their nouns), then `results`, `labels`, `bundles`, `nights`,
`sources`, `jobs`, `trail`, `rules`, `retention`, `backup`, `accounts`, `campaigns`. `Store` is the
one door; only this room speaks SQL.
"""

from __future__ import annotations

from agent.store.accounts import Account, Accounts, Login
from agent.store.backup import examine_copy, put_back, sites_in
from agent.store.bundles import REFUSED, Promotion, Signature
from agent.store.campaigns import (
    ROUND_ROBIN,
    Campaign,
    CampaignRater,
    NewImage,
    NewRater,
    Opinion,
    Rating,
    Seat,
)
from agent.store.engine import StoreFault, store_url
from agent.store.jobs import Job
from agent.store.journal import VANISHED, Claim, FileFate, State
from agent.store.labels import Decision, LabelledMicrograph, LabelView, Overtaken
from agent.store.nights import NightHead, NightRow
from agent.store.numbers import letters_key, number_key
from agent.store.order_changes import Heads, JudgedField, OrderAge
from agent.store.order_claims import ClaimedPlace, OrderClaim
from agent.store.orders import (
    Answer,
    Entry,
    FieldView,
    OrderLine,
    OrderView,
    PreparationView,
    SpecimenView,
    Unassigned,
)
from agent.store.places import KnownPlaces, Landmarked, PlaceMatch, PlacePair
from agent.store.records import NewRecord, Record
from agent.store.results import Finding, MicrographView
from agent.store.retention import Kept
from agent.store.schema import HEAD as SCHEMA
from agent.store.sites import SiteSeen
from agent.store.sources import OUTAGE, AgentSeen, SourceHealth
from agent.store.specimens import RELEASED_AFTER, Ordered, OtherBundle
from agent.store.store import Store
from agent.store.trail import TrailEntry
from agent.store.unread_names import WaitingFile
from agent.store.votes import signed_by_program, voter_of

__all__ = [
    "OUTAGE",
    "REFUSED",
    "RELEASED_AFTER",
    "ROUND_ROBIN",
    "SCHEMA",
    "VANISHED",
    "Account",
    "Accounts",
    "AgentSeen",
    "Answer",
    "Campaign",
    "CampaignRater",
    "Claim",
    "ClaimedPlace",
    "Decision",
    "Entry",
    "FieldView",
    "FileFate",
    "Finding",
    "Heads",
    "Job",
    "JudgedField",
    "Kept",
    "KnownPlaces",
    "LabelView",
    "LabelledMicrograph",
    "Landmarked",
    "Login",
    "MicrographView",
    "NewImage",
    "NewRater",
    "NewRecord",
    "NightHead",
    "NightRow",
    "Opinion",
    "OrderAge",
    "OrderClaim",
    "OrderLine",
    "OrderView",
    "Ordered",
    "OtherBundle",
    "Overtaken",
    "PlaceMatch",
    "PlacePair",
    "PreparationView",
    "Promotion",
    "Rating",
    "Record",
    "Seat",
    "Signature",
    "SiteSeen",
    "SourceHealth",
    "SpecimenView",
    "State",
    "Store",
    "StoreFault",
    "TrailEntry",
    "Unassigned",
    "WaitingFile",
    "examine_copy",
    "letters_key",
    "number_key",
    "put_back",
    "signed_by_program",
    "sites_in",
    "store_url",
    "voter_of",
]
