"""Campaigns, raters and ratings as values, and how rows become them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import func
from sqlmodel import col, select

from agent.store.tables import (
    CampaignImageRow,
    CampaignRaterRow,
    CampaignRow,
    MicrographRow,
    RatingRow,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlmodel import Session


GIVEN_REFERENCE = "reference value"
"""Stratum of a micrograph that was added with a reference value, not with a label of the lab."""


@dataclass(frozen=True, slots=True)
class CampaignImage:
    """A micrograph of a campaign.

    Args:
        id: Row number.
        number: Counted from 1 in the campaign.
        micrograph: Public id.
        reference: Its structure code when it was added, or None.
        stratum: Sampling stratum, "" where the micrograph was named.
    """

    id: int
    number: int
    micrograph: str
    reference: str | None
    stratum: str


@dataclass(frozen=True, slots=True)
class CampaignRater:
    """A rater of a campaign.

    Args:
        id: Row number.
        pseudonym: Used everywhere except by the campaign's operator.
        name: Name of the rater.
        team: Team, such as "daily", "" for none.
        account: Account of the rater, "" where access is by a link.
        has_link: A link was issued.
    """

    id: int
    pseudonym: str
    name: str
    team: str
    account: str
    has_link: bool


@dataclass(frozen=True, slots=True)
class Campaign:
    """A round robin.

    Args:
        id: Row number.
        name: Name.
        by: Who set it up.
        seed: Of the random sequence of each rater.
        may_go_back: A rater may change a submitted rating.
        taxonomy: Codes to choose from, as `model.Taxonomy.as_json` writes them; frozen.
        merged: Code → the code it counts as, where codes are merged.
        created_at: Time of creation, aware UTC.
        opened_at: Time of opening, aware UTC, or None.
        closed_at: Time of closing, aware UTC, or None.
        images: In the sequence of their numbers.
        raters: In the sequence of their pseudonyms.
        given: Number of pairs of rater and image that have a rating.
    """

    id: int
    name: str
    by: str
    seed: int
    may_go_back: bool
    taxonomy: dict[str, Any]
    merged: dict[str, str]
    created_at: datetime
    opened_at: datetime | None
    closed_at: datetime | None
    images: tuple[CampaignImage, ...]
    raters: tuple[CampaignRater, ...]
    given: int

    @property
    def is_open(self) -> bool:
        """Whether ratings are accepted."""
        return self.opened_at is not None and self.closed_at is None

    @property
    def state(self) -> str:
        """State: "planned", "open" or "closed"."""
        if self.closed_at is not None:
            return "closed"
        return "open" if self.opened_at is not None else "planned"


@dataclass(frozen=True, slots=True)
class NewRater:
    """A rater to be invited; `CampaignRater` defines the values."""

    pseudonym: str
    name: str
    team: str = ""
    account: str = ""


@dataclass(frozen=True, slots=True)
class NewImage:
    """A micrograph to be rated; `CampaignImage` defines the values."""

    micrograph: str
    reference: str | None = None
    stratum: str = ""


@dataclass(frozen=True, slots=True)
class Opinion:
    """A rater's answer on an image.

    Args:
        subtype: None: cannot be determined.
        size: None: cannot be determined; "" in a subtype of one size.
        criterion: "mean", "max" or "unrecorded": the needle-length criterion that decided.
        comment: Free text.
        viewing_s: Viewing time in seconds, or None.
    """

    subtype: str | None
    size: str | None
    criterion: str = "unrecorded"
    comment: str = ""
    viewing_s: float | None = None


@dataclass(frozen=True, slots=True)
class Rating:
    """A current rating: the answer, the rater (pseudonym) and the image (number)."""

    rater: str
    image: int
    said: Opinion
    revision: int
    given_at: datetime


@dataclass(frozen=True, slots=True)
class Seat:
    """A rater in a campaign, with the newest answers so far: image number → answer."""

    campaign: Campaign
    rater: CampaignRater
    ratings: Mapping[int, Rating]


def build_campaign(session: Session, row: CampaignRow) -> Campaign:
    """Return a campaign with its images and raters."""
    images = session.exec(
        select(CampaignImageRow, MicrographRow.public_id)
        .join(MicrographRow)
        .where(CampaignImageRow.campaign_id == row.id)
        .order_by(col(CampaignImageRow.number))
    ).all()
    raters = session.exec(
        select(CampaignRaterRow)
        .where(CampaignRaterRow.campaign_id == row.id)
        .order_by(col(CampaignRaterRow.pseudonym))
    ).all()
    given = session.exec(
        select(func.count())
        .select_from(RatingRow)
        .join(CampaignImageRow)
        .where(CampaignImageRow.campaign_id == row.id, RatingRow.revision == 1)
    ).one()
    return Campaign(
        id=row.id or 0,
        name=row.name,
        by=row.by,
        seed=row.seed,
        may_go_back=row.may_go_back,
        taxonomy=row.taxonomy,
        merged=row.merged,
        created_at=row.created_at,
        opened_at=row.opened_at,
        closed_at=row.closed_at,
        images=tuple(
            CampaignImage(image.id or 0, image.number, public_id, image.reference, image.stratum)
            for image, public_id in images
        ),
        raters=tuple(
            CampaignRater(
                rater.id or 0,
                rater.pseudonym,
                rater.name,
                rater.team,
                rater.account,
                rater.hashed is not None,
            )
            for rater in raters
        ),
        given=given,
    )


def list_ratings(
    session: Session, campaign_id: int, *, rater_id: int | None = None
) -> list[Rating]:
    """Return the ratings of a campaign, or of one rater, oldest first."""
    query = (
        select(RatingRow, CampaignRaterRow.pseudonym, CampaignImageRow.number)
        .join(CampaignRaterRow, col(CampaignRaterRow.id) == col(RatingRow.rater_id))
        .join(CampaignImageRow, col(CampaignImageRow.id) == col(RatingRow.image_id))
        .where(CampaignImageRow.campaign_id == campaign_id)
        .order_by(col(RatingRow.id))
    )
    if rater_id is not None:
        query = query.where(RatingRow.rater_id == rater_id)
    return [
        Rating(
            pseudonym,
            number,
            Opinion(row.subtype, row.size, row.criterion, row.comment, row.viewing_s),
            row.revision,
            row.given_at,
        )
        for row, pseudonym, number in session.exec(query)
    ]
