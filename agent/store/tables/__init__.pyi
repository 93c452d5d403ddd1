# Public names, each imported on first use.
from .accounts import AccountRow as AccountRow
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
    CampaignRaterRow as CampaignRaterRow,
    CampaignRow as CampaignRow,
    RatingRow as RatingRow,
)
from .intake import (
    ContentRow as ContentRow,
    PathRow as PathRow,
)
from .labels import LabelRow as LabelRow
from .logins import LoginRow as LoginRow
from .micrographs import (
    MicrographRow as MicrographRow,
    ResultRow as ResultRow,
)
from .needles import (
    NeedleFieldRow as NeedleFieldRow,
    NeedleMeasurementRow as NeedleMeasurementRow,
)
from .nights import NightRow_ as NightRow_
from .orders import (
    OrderRow as OrderRow,
    PreparationRow as PreparationRow,
    SpecimenRow as SpecimenRow,
)
from .places import (
    PlaceRow as PlaceRow,
    SamePlaceRow as SamePlaceRow,
)
from .records import (
    PromotionRow as PromotionRow,
    RecordRow as RecordRow,
)
from .rollouts import (
    RolloutHostRow as RolloutHostRow,
    RolloutRow as RolloutRow,
)
from .search import (
    SavedViewRow as SavedViewRow,
    SearchRow as SearchRow,
)
from .sites import (
    AgentRow as AgentRow,
    SiteRow as SiteRow,
    SourceRow as SourceRow,
)
from .specifications import (
    OrderClaimRow as OrderClaimRow,
    SpecificationRow as SpecificationRow,
)
from .statements import (
    StatementFileRow as StatementFileRow,
    StatementRow as StatementRow,
)
from .trail import TrailRow as TrailRow
from .work import (
    JobRow as JobRow,
)
