"""Round robins and repeatability studies."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import UniqueConstraint
from sqlmodel import Field

from agent.store.tables import micrographs  # noqa: F401 - what foreign keys name
from agent.store.tables.base import Numbered, OfSite, instant_column, json_column


class CampaignRow(OfSite, Numbered, table=True):
    """A round robin: raters assess the same micrographs independently.

    `seed` is of the random sequence of each rater, `taxonomy` what codes there are to choose from,
    `merged` code → the code it counts as. With `may_go_back` a rater may change a rating.
    """

    __tablename__: ClassVar[Any] = "campaign"
    __table_args__: ClassVar[Any] = (UniqueConstraint("site_id", "name"),)

    name: str
    seed: int
    may_go_back: bool = False
    taxonomy: dict[str, Any] = json_column()
    merged: dict[str, str] = json_column()
    by: str
    created_at: datetime = instant_column()
    opened_at: datetime | None = instant_column()
    closed_at: datetime | None = instant_column()

    @property
    def is_open(self) -> bool:
        """Whether ratings are accepted."""
        return self.state == "open"

    @property
    def state(self) -> str:
        """State: "planned", "open" or "closed"."""
        if self.closed_at is not None:
            return "closed"
        return "open" if self.opened_at is not None else "planned"


class CampaignImageRow(OfSite, Numbered, table=True):
    """A micrograph of a campaign, with its structure code when it was added."""

    __tablename__: ClassVar[Any] = "campaign_image"
    __table_args__: ClassVar[Any] = (
        UniqueConstraint("campaign_id", "number"),
        UniqueConstraint("campaign_id", "micrograph_id"),
    )

    campaign_id: int = Field(foreign_key="campaign.id")
    number: int
    micrograph_id: int = Field(foreign_key="micrograph.id", index=True)
    reference: str | None = None
    stratum: str = ""


class CampaignRater(OfSite, Numbered, table=True):
    """A rater with an account, or with a link whose token's sha256 is `hashed`."""

    __tablename__: ClassVar[Any] = "campaign_rater"
    __table_args__: ClassVar[Any] = (UniqueConstraint("campaign_id", "pseudonym"),)

    campaign_id: int = Field(foreign_key="campaign.id")
    pseudonym: str
    name: str
    team: str = ""
    account: str = ""
    hashed: str | None = Field(default=None, unique=True)
    invited_at: datetime = instant_column()

    @property
    def has_link(self) -> bool:
        """Whether a link was issued."""
        return self.hashed is not None


class RatingRow(OfSite, Numbered, table=True):
    """A rater's answer on an image; appended, never changed. The newest revision counts."""

    __tablename__: ClassVar[Any] = "rating"
    __table_args__: ClassVar[Any] = (UniqueConstraint("rater_id", "image_id", "revision"),)

    rater_id: int = Field(foreign_key="campaign_rater.id")
    image_id: int = Field(foreign_key="campaign_image.id", index=True)
    revision: int = 1
    subtype: str | None = None
    size: str | None = None
    criterion: str = "unrecorded"
    comment: str = ""
    viewing_s: float | None = None
    given_at: datetime = instant_column()
