"""All tables of the database.

A JSON column is replaced, never changed in place: SQLAlchemy would not detect it. `Instant` is the
only column type for times, and it refuses one without a zone.
"""

from sqlalchemy import Integer
from sqlalchemy import column as sql_column

from agent.store.tables.base import NAMES, SITE, Instant, OfGroup, OfSite, Row
from agent.store.tables.campaigns import CampaignImageRow, CampaignRaterRow, CampaignRow, RatingRow
from agent.store.tables.decisions import (
    LabelRow,
    PromotionRow,
    RecordRow,
    StatementFileRow,
    StatementRow,
)
from agent.store.tables.intake import ContentRow, PathRow
from agent.store.tables.micrographs import (
    MeasurementRow,
    MicrographRow,
    NeedleFieldRow,
    NeedleMeasurementRow,
    PlaceRow,
    ResultRow,
    SamePlaceRow,
)
from agent.store.tables.operation import (
    JobRow,
    NightRow_,
    RolloutHostRow,
    RolloutRow,
    SavedViewRow,
    SearchRow,
    SettingsVersionRow,
    WorkJobRow,
    WorkUnitRow,
)
from agent.store.tables.orders import (
    OrderClaimRow,
    OrderRow,
    PreparationRow,
    SpecificationRow,
    SpecimenRow,
)
from agent.store.tables.sites import AgentRow, SiteRow, SourceRow
from agent.store.tables.trail import AccountRow, CoverageRow, LoginRow, TrailRow

__all__ = [
    "NAMES",
    "SHARED",
    "SITE",
    "AccountRow",
    "AgentRow",
    "CampaignImageRow",
    "CampaignRaterRow",
    "CampaignRow",
    "ContentRow",
    "CoverageRow",
    "Instant",
    "JobRow",
    "LabelRow",
    "LoginRow",
    "MeasurementRow",
    "MicrographRow",
    "NeedleFieldRow",
    "NeedleMeasurementRow",
    "NightRow_",
    "OfGroup",
    "OfSite",
    "OrderClaimRow",
    "OrderRow",
    "PathRow",
    "PlaceRow",
    "PreparationRow",
    "PromotionRow",
    "RatingRow",
    "RecordRow",
    "ResultRow",
    "RolloutHostRow",
    "RolloutRow",
    "Row",
    "SamePlaceRow",
    "SavedViewRow",
    "SearchRow",
    "SettingsVersionRow",
    "SiteRow",
    "SourceRow",
    "SpecificationRow",
    "SpecimenRow",
    "StatementFileRow",
    "StatementRow",
    "TrailRow",
    "WorkJobRow",
    "WorkUnitRow",
]

# What the criterion of `site_scope` is made with; set last, as pydantic calls it shadowed before.
OfSite.site_id = sql_column("site_id", Integer)  # type: ignore[attr-defined]
OfGroup.site_id = sql_column("site_id", Integer)  # type: ignore[attr-defined]

SHARED = {
    "site": "the sites themselves: their names, and what each shares",
    "trail_coverage": "numbers of rows of whole tables, and nothing of what is in them",
}
"""Tables whose rows belong to no site, and why; every other one is an `OfSite` or an `OfGroup`."""
