# Public names, each imported on first use.
from .people.accounts import (
    Accounts as Accounts,
)
from .evidence.audit_log import (
    ACCEPTED as ACCEPTED,
    BEGUN_ANEW as BEGUN_ANEW,
    FOUND_OLDER as FOUND_OLDER,
    RESTORED as RESTORED,
    SIGNED as SIGNED,
    Origin as Origin,
    TrailEntry as TrailEntry,
    TrailHead as TrailHead,
    acting_through as acting_through,
)
from .backup import (
    acts_in as acts_in,
    drop_scratch_database as drop_scratch_database,
    examine_copy as examine_copy,
    make_scratch_database as make_scratch_database,
    put_back as put_back,
    sites_in as sites_in,
)
from .people.campaigns import (
    Campaign as Campaign,
    NewImage as NewImage,
    NewRater as NewRater,
    Opinion as Opinion,
    Rating as Rating,
    Seat as Seat,
    ROUND_ROBIN as ROUND_ROBIN,
)
from .results.micrograph_views import (
    CurrentAnswer as CurrentAnswer,
    NEEDLES_MESSAGE as NEEDLES_MESSAGE,
    MicrographView as MicrographView,
    Result as Result,
)
from .database import Store as Store
from .people.label_decisions import (
    GIVEN_REFERENCE as GIVEN_REFERENCE,
    Decision as Decision,
    DecisionConflictError as DecisionConflictError,
    DoubleReview as DoubleReview,
    Expected as Expected,
    LabelView as LabelView,
    FOR_ORDERS as FOR_ORDERS,
    IMPORTED as IMPORTED,
    PROGRAMS as PROGRAMS,
    is_by_program as is_by_program,
    is_imported as is_imported,
    is_own_name as is_own_name,
    signed_by_program as signed_by_program,
    voter_of as voter_of,
)
from .engine import (
    StoreFaultError as StoreFaultError,
    store_url as store_url,
)
from .work.file_states import (
    NOT_A_FILE as NOT_A_FILE,
    NOT_A_PICTURE as NOT_A_PICTURE,
    OVERWRITTEN as OVERWRITTEN,
    VANISHED as VANISHED,
    Claim as Claim,
    FileFate as FileFate,
    State as State,
)
from .results.stored_facts import (
    BY_REVIEWER as BY_REVIEWER,
    GIVEN as GIVEN,
    find_given as find_given,
    keep_warnings as keep_warnings,
    StoredStrangeness as StoredStrangeness,
)
from .evidence.acts import name_odd as name_odd
from .evidence.declaration import (
    CHANGEABLE as CHANGEABLE,
    NOT_BEFORE as NOT_BEFORE,
    RELEASED_AFTER as RELEASED_AFTER,
)
from .evidence.history import HistoryQuery as HistoryQuery
from .people.labels import (
    LEADS_DOUBT as LEADS_DOUBT,
    RATERS_DOUBT as RATERS_DOUBT,
)
from .people.labelled_micrographs import LabelledMicrograph as LabelledMicrograph
from .results.live_figures import (
    ResultCount as ResultCount,
)
from .results.needles import (
    NeedleMeasurement as NeedleMeasurement,
    NewNeedle as NewNeedle,
)
from .results.nightly_reports import NightHead as NightHead
from .orders.unread_names import (
    NamedOrder as NamedOrder,
    WaitingFile as WaitingFile,
)
from .numbers import (
    letters_key as letters_key,
    number_key as number_key,
)
from .orders.order_changes import (
    Heads as Heads,
    OrderAge as OrderAge,
    ShotField as ShotField,
)
from .orders.order_naming import (
    ClaimedPlace as ClaimedPlace,
    OrderClaim as OrderClaim,
)
from .orders.order_views import (
    Entry as Entry,
    FieldView as FieldView,
    OrderView as OrderView,
    PreparationView as PreparationView,
    SpecimenView as SpecimenView,
    Unassigned as Unassigned,
)
from .own_database import (
    NothingToBeginError as NothingToBeginError,
    find_first_act as find_first_act,
    find_mark as find_mark,
    list_opened_sites as list_opened_sites,
    mark_restored as mark_restored,
)
from .results.retention import (
    Kept as Kept,
    KeptFor as KeptFor,
    Retention as Retention,
)
from .results.places import (
    KnownPlaces as KnownPlaces,
    Landmarked as Landmarked,
    PlaceMatch as PlaceMatch,
    PlacePair as PlacePair,
)
from .bundles.promotions import (
    REFUSED as REFUSED,
    Promotion as Promotion,
    Signature as Signature,
)
from .evidence.quality_records import NewRecord as NewRecord
from .tables import (
    Account as Account,
    CampaignRater as CampaignRater,
    Job as Job,
    Record as Record,
    Rollout as Rollout,
    RolloutHost as RolloutHost,
    StatementFile as StatementFile,
)
from .results.results import MicrographResult as MicrographResult
from .bundles.rollout_plan import (
    BY_AGENT as BY_AGENT,
    HostState as HostState,
    Ring as Ring,
    RingRules as RingRules,
    RolloutState as RolloutState,
    RolloutTicket as RolloutTicket,
    WantedBundle as WantedBundle,
    assign_rings as assign_rings,
    is_absent as is_absent,
)
from .search.search import (
    SearchPage as SearchPage,
    SearchQuery as SearchQuery,
)
from .sites.sites import (
    SiteSeen as SiteSeen,
    OUTAGE as OUTAGE,
    AgentSeen as AgentSeen,
    SourceHealth as SourceHealth,
)
from .orders.specimens import (
    Ordered as Ordered,
    OtherBundleError as OtherBundleError,
)
from .orders.statements import (
    FROZEN as FROZEN,
    FrozenStatement as FrozenStatement,
    NewStatement as NewStatement,
    to_canonical as to_canonical,
    recompute_statement as recompute_statement,
)
from .upgrade import Upgrade as Upgrade
