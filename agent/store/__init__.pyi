# Public names, each imported on first use.
from .accounts import (
    Account as Account,
    Accounts as Accounts,
    Login as Login,
)
from .audit_log import (
    ACCEPTED as ACCEPTED,
    BEGUN_ANEW as BEGUN_ANEW,
    RESTORED as RESTORED,
    SIGNED as SIGNED,
    Origin as Origin,
    TrailEntry as TrailEntry,
    TrailHead as TrailHead,
    acting_through as acting_through,
)
from .backup import (
    ActCopy as ActCopy,
    acts_in as acts_in,
    drop_scratch_database as drop_scratch_database,
    examine_copy as examine_copy,
    make_scratch_database as make_scratch_database,
    put_back as put_back,
    sites_in as sites_in,
)
from .campaign_views import (
    GIVEN_REFERENCE as GIVEN_REFERENCE,
    Campaign as Campaign,
    CampaignRater as CampaignRater,
    NewImage as NewImage,
    NewRater as NewRater,
    Opinion as Opinion,
    Rating as Rating,
    Seat as Seat,
)
from .campaigns import ROUND_ROBIN as ROUND_ROBIN
from .current_answers import CurrentAnswer as CurrentAnswer
from .database import Store as Store
from .database_copy import TableDigest as TableDigest
from .decisions import (
    Decision as Decision,
    DecisionConflict as DecisionConflict,
    DoubleReview as DoubleReview,
    Expected as Expected,
    LabelView as LabelView,
)
from .engine import (
    StoreFault as StoreFault,
    store_url as store_url,
)
from .file_states import (
    VANISHED as VANISHED,
    Claim as Claim,
    FileFate as FileFate,
    State as State,
)
from .given_scales import (
    BY_REVIEWER as BY_REVIEWER,
    GIVEN as GIVEN,
    find_given as find_given,
    keep_warnings as keep_warnings,
)
from .history import HistoryQuery as HistoryQuery
from .jobs import Job as Job
from .labels import (
    LEADS_DOUBT as LEADS_DOUBT,
    RATERS_DOUBT as RATERS_DOUBT,
)
from .label_resolution import (
    FOR_ORDERS as FOR_ORDERS,
    IMPORTED as IMPORTED,
    PROGRAMS as PROGRAMS,
    asks_two as asks_two,
    is_by_program as is_by_program,
    is_imported as is_imported,
    signed_by_program as signed_by_program,
    voter_of as voter_of,
)
from .labelled_micrographs import LabelledMicrograph as LabelledMicrograph
from .live_figures import (
    LastFile as LastFile,
    OpenFiles as OpenFiles,
    ResultCount as ResultCount,
)
from .micrograph_views import (
    NEEDLES_MESSAGE as NEEDLES_MESSAGE,
    MicrographView as MicrographView,
    Result as Result,
)
from .needle_measurements import (
    NeedleMeasurement as NeedleMeasurement,
    NewNeedle as NewNeedle,
)
from .nightly_reports import (
    NightHead as NightHead,
    NightRow as NightRow,
)
from .number_match import NamedOrder as NamedOrder
from .numbers import (
    letters_key as letters_key,
    number_key as number_key,
)
from .odd_shapes import name_odd as name_odd
from .order_changes import (
    Heads as Heads,
    JudgedField as JudgedField,
    OrderAge as OrderAge,
    ShotField as ShotField,
)
from .order_claims import (
    ClaimedPlace as ClaimedPlace,
    OrderClaim as OrderClaim,
)
from .order_views import (
    Entry as Entry,
    FieldView as FieldView,
    OrderLine as OrderLine,
    OrderView as OrderView,
    PreparationView as PreparationView,
    SpecimenView as SpecimenView,
    Unassigned as Unassigned,
)
from .own_database import (
    NothingToBegin as NothingToBegin,
    find_first_act as find_first_act,
    find_mark as find_mark,
    list_opened_sites as list_opened_sites,
    mark_restored as mark_restored,
)
from .pixel_evidence import (
    Kept as Kept,
    KeptFor as KeptFor,
)
from .places import (
    KnownPlaces as KnownPlaces,
    Landmarked as Landmarked,
    PlaceMatch as PlaceMatch,
    PlacePair as PlacePair,
)
from .promotions import (
    REFUSED as REFUSED,
    Promotion as Promotion,
    Signature as Signature,
)
from .quality_records import (
    NewRecord as NewRecord,
    Record as Record,
)
from .results import MicrographResult as MicrographResult
from .retention import (
    PixelDeletion as PixelDeletion,
    Retention as Retention,
    RetentionPlan as RetentionPlan,
)
from .rollout_plan import (
    BY_AGENT as BY_AGENT,
    HostState as HostState,
    Ring as Ring,
    RingRules as RingRules,
    Rollout as Rollout,
    RolloutHost as RolloutHost,
    RolloutState as RolloutState,
    RolloutTicket as RolloutTicket,
    WantedBundle as WantedBundle,
    assign_rings as assign_rings,
    is_absent as is_absent,
)
from .row_checks import RowChecks as RowChecks
from .saved_views import StoredView as StoredView
from .search import (
    MicrographFacets as MicrographFacets,
    SearchPage as SearchPage,
    SearchQuery as SearchQuery,
)
from .sites import SiteSeen as SiteSeen
from .sources import (
    OUTAGE as OUTAGE,
    AgentSeen as AgentSeen,
    SourceHealth as SourceHealth,
)
from .specimens import (
    RELEASED_AFTER as RELEASED_AFTER,
    Ordered as Ordered,
    OtherBundle as OtherBundle,
)
from .statements import (
    FROZEN as FROZEN,
    FrozenStatement as FrozenStatement,
    NewStatement as NewStatement,
    StatementFile as StatementFile,
    to_canonical as to_canonical,
    recompute_statement as recompute_statement,
)
from .stored_facts import (
    StoredCrop as StoredCrop,
    StoredStrangeness as StoredStrangeness,
)
from .unread_names import WaitingFile as WaitingFile
from .upgrade import Upgrade as Upgrade
