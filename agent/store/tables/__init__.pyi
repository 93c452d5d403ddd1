# Public names, each imported on first use.
from .records import (
    Account as Account,
    PromotionRow as PromotionRow,
    Record as Record,
    TrailRow as TrailRow,
)
from .all_tables import (
    PER_SITE as PER_SITE,
    REFERRING as REFERRING,
    SHARED as SHARED,
    load_metadata as load_metadata,
)
from .base import (
    Instant as Instant,
    NAMES as NAMES,
    OfGroup as OfGroup,
    OfSite as OfSite,
    Row as Row,
    SITE as SITE,
)
from .campaigns import (
    CampaignImageRow as CampaignImageRow,
    CampaignRater as CampaignRater,
    CampaignRow as CampaignRow,
    RatingRow as RatingRow,
)
from .intake import (
    ContentRow as ContentRow,
    PathRow as PathRow,
)
from .micrographs import (
    LabelRow as LabelRow,
    MicrographRow as MicrographRow,
    ResultRow as ResultRow,
)
from .logins import Login as Login
from .places import (
    NeedleFieldRow as NeedleFieldRow,
    NeedleMeasurementRow as NeedleMeasurementRow,
    PlaceRow as PlaceRow,
    SamePlaceRow as SamePlaceRow,
)
from .nights import NightRow as NightRow
from .orders import (
    OrderRow as OrderRow,
    PreparationRow as PreparationRow,
    SpecimenRow as SpecimenRow,
)
from .sites import (
    RolloutHost as RolloutHost,
    Rollout as Rollout,
    AgentRow as AgentRow,
    SiteRow as SiteRow,
    SourceRow as SourceRow,
    Job as Job,
)
from .search import (
    SavedView as SavedView,
    SearchEntry as SearchEntry,
)
from .statements import (
    OrderClaimRow as OrderClaimRow,
    SpecificationRow as SpecificationRow,
    StatementFile as StatementFile,
    StatementRow as StatementRow,
)
