"""Round robins: micrographs, raters, and ratings that are appended and never changed.

Only the operator of a campaign sees the names of raters; everything else uses pseudonyms. Setting
up, opening, closing and reporting are in the audit log, closing with a hash of all ratings, so that
a later change shows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from agent.errors import UsageError
from agent.store.engine import AgentIdentity, Repository, reading, writing
from agent.store.evidence import audit_log
from agent.store.people import labels, review_queue
from agent.store.tables import (
    CampaignImageRow,
    CampaignRater,
    CampaignRow,
    MicrographRow,
    RatingRow,
)
from agent.triage import Reason


@dataclass(frozen=True, slots=True)
class NewImage:
    """A micrograph to be rated.

    Args:
        micrograph: Public id.
        reference: Its structure code when it was added, or None.
        stratum: Sampling stratum, "" where the micrograph was named.
    """

    micrograph: str
    reference: str | None = None
    stratum: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignImage(NewImage):
    """A micrograph of a campaign: its row number, and its number from 1 in the campaign."""

    id: int
    number: int


@dataclass(frozen=True, slots=True)
class Campaign:
    """A round robin.

    Args:
        row: How it was set up, opened and closed.
        images: In the sequence of their numbers.
        raters: In the sequence of their pseudonyms.
        given: Number of pairs of rater and image that have a rating.
    """

    row: CampaignRow
    images: tuple[CampaignImage, ...]
    raters: tuple[CampaignRater, ...]
    given: int


@dataclass(frozen=True, slots=True)
class NewRater:
    """A rater to be invited.

    Args:
        pseudonym: Used everywhere except by the campaign's operator; "" until it is assigned.
        name: Of the rater.
        team: Such as "daily", "" for none.
        account: With which they log in, "" for a link.
    """

    pseudonym: str
    name: str
    team: str = ""
    account: str = ""


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

    @property
    def has_code(self) -> bool:
        """Whether the rater could tell subtype and size."""
        return self.subtype is not None and self.size is not None


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
        select(CampaignRater)
        .where(CampaignRater.campaign_id == row.id)
        .order_by(col(CampaignRater.pseudonym))
    ).all()
    given = session.exec(
        select(func.count())
        .select_from(RatingRow)
        .join(CampaignImageRow)
        .where(CampaignImageRow.campaign_id == row.id, RatingRow.revision == 1)
    ).one()
    return Campaign(
        row=row,
        images=tuple(
            CampaignImage(
                public_id, image.reference, image.stratum, id=image.id, number=image.number
            )
            for image, public_id in images
        ),
        raters=tuple(raters),
        given=given,
    )


def list_ratings(
    session: Session, campaign_id: int, *, rater_id: int | None = None
) -> list[Rating]:
    """Return the ratings of a campaign, or of one rater, oldest first."""
    query = (
        select(RatingRow, CampaignRater.pseudonym, CampaignImageRow.number)
        .join(CampaignRater, col(CampaignRater.id) == col(RatingRow.rater_id))
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


ROUND_ROBIN = "round_robin"
"""Kind of the record of a campaign's report."""
CRITERIA = ("mean", "max", "unrecorded")


class Campaigns(Repository):
    """Repository of round robins."""

    # --- set-up ---

    def add(
        self,
        name: str,
        images: Sequence[NewImage],
        raters: Sequence[NewRater],
        *,
        taxonomy: Mapping[str, Any],
        seed: int,
        by: str,
        at: datetime,
        merged: Mapping[str, str] | None = None,
        may_go_back: bool = False,
    ) -> None:
        """Create a campaign; ratings are accepted once it is opened.

        Raises:
            UsageError: The name is in use, or there is no micrograph of an id.
        """
        with writing(self._engine) as session:
            if _row(session, self._whose, name) is not None:
                raise UsageError(f"there is a campaign {name!r} already; take another name.")
            row = CampaignRow(
                site_id=self._whose.site_id,
                name=name,
                seed=seed,
                may_go_back=may_go_back,
                taxonomy=dict(taxonomy),
                merged=dict(merged or {}),
                by=by,
                created_at=at,
            )
            session.add(row)
            session.flush()
            for number, image in enumerate(images, start=1):
                micrograph = labels.micrograph_of(session, image.micrograph)
                session.add(
                    CampaignImageRow(
                        campaign_id=row.id,
                        number=number,
                        micrograph_id=micrograph.id,
                        reference=image.reference,
                        stratum=image.stratum,
                    )
                )
            for rater in raters:
                _seat(session, row, rater, at=at)
            facts = {"images": len(images), "raters": len(raters), "seed": seed}
            self._remember(session, "campaign.planned", name, by=by, at=at, **facts)

    def invite(self, name: str, rater: NewRater, *, by: str, at: datetime) -> None:
        """Add a rater. Raises `UsageError`: no such campaign, or it is closed."""
        with writing(self._engine) as session:
            row = _get_existing(session, self._whose, name)
            if row.closed_at is not None:
                raise UsageError(f"campaign {name!r} is closed. No rater can be invited.")
            _seat(session, row, rater, at=at)
            self._remember(session, "campaign.invited", name, by=by, at=at, rater=rater.pseudonym)

    def give_link(self, name: str, pseudonym: str, hashed: str, *, by: str, at: datetime) -> None:
        """Store the hash of a rater's link; an earlier link becomes invalid.

        Raises:
            UsageError: There is no such campaign or rater.
        """
        with writing(self._engine) as session:
            row = _get_existing(session, self._whose, name)
            rater = session.exec(
                select(CampaignRater).where(
                    CampaignRater.campaign_id == row.id, CampaignRater.pseudonym == pseudonym
                )
            ).first()
            if rater is None:
                raise UsageError(f"campaign {name!r} has no rater {pseudonym!r}.")
            rater.hashed = hashed
            self._remember(session, "campaign.link_given", name, by=by, at=at, rater=pseudonym)

    def open(self, name: str, *, by: str, at: datetime) -> None:
        """Open a campaign for ratings.

        Raises:
            UsageError: No such campaign, or it was opened before.
        """
        with writing(self._engine) as session:
            row = _get_existing(session, self._whose, name)
            if row.opened_at is not None:
                state = "is closed" if row.closed_at is not None else "is open already"
                raise UsageError(f"campaign {name!r} {state}.")
            row.opened_at = at
            self._remember(session, "campaign.opened", name, by=by, at=at)

    def close(self, name: str, *, by: str, at: datetime) -> None:
        """Close a campaign; the audit log gets a hash of all its ratings.

        Raises:
            UsageError: No such campaign, or it is not open.
        """
        with writing(self._engine) as session:
            row = _get_existing(session, self._whose, name)
            if row.opened_at is None or row.closed_at is not None:
                raise UsageError(f"campaign {name!r} is not open.")
            row.closed_at = at
            every = list_ratings(session, row.id)
            facts = {"ratings": len(every), "sha256": _hash(every)}
            self._remember(session, "campaign.closed", name, by=by, at=at, **facts)

    def ask_again(self, name: str, public_ids: Sequence[str], *, by: str, at: datetime) -> None:
        """Add micrographs that raters disagree on to the review queue."""
        with writing(self._engine) as session:
            _get_existing(session, self._whose, name)
            review_queue.add_reason(session, self._whose, public_ids, Reason.DISAGREEMENT)
            facts = {"micrographs": list(public_ids)}
            self._remember(session, "campaign.disputed", name, by=by, at=at, **facts)

    # --- ratings ---

    def rate(
        self, seat: Seat, number: int, said: Opinion, *, at: datetime, revision: int = 1
    ) -> bool:
        """Append a rating.

        Args:
            seat: Of the rater.
            number: Of the image.
            said: The answer.
            at: Now.
            revision: 1 for the first rating of this image; one more than the newest to change it.

        Returns:
            False where that revision exists: nothing was written, the first one counts.

        Raises:
            UsageError: The campaign is not open, has no such image, or does not allow a change.
        """
        with writing(self._engine) as session:
            row = _get_existing(session, self._whose, seat.campaign.row.name)
            if row.opened_at is None or row.closed_at is not None:
                raise UsageError(f"campaign {row.name!r} is not open; nothing was kept.")
            image = next(
                (candidate for candidate in seat.campaign.images if candidate.number == number),
                None,
            )
            if image is None or said.criterion not in CRITERIA:
                raise UsageError(f"campaign {row.name!r} has no such image or criterion.")
            session.exec(  # others who rate as this rater wait until we have
                select(CampaignRater).where(CampaignRater.id == seat.rater.id).with_for_update()
            ).one()
            query = select(func.max(RatingRow.revision)).where(
                RatingRow.rater_id == seat.rater.id, RatingRow.image_id == image.id
            )
            newest = session.exec(query).one() or 0
            if revision <= newest:
                return False
            if newest and not row.may_go_back:
                raise UsageError(f"campaign {row.name!r} takes no second rating of an image.")
            session.add(
                RatingRow(
                    rater_id=seat.rater.id,
                    image_id=image.id,
                    revision=newest + 1,
                    subtype=said.subtype,
                    size=said.size,
                    criterion=said.criterion,
                    comment=said.comment,
                    viewing_s=said.viewing_s,
                    given_at=at,
                )
            )
            return True

    # --- queries ---

    def all(self) -> list[Campaign]:
        """Return the campaigns of this site, newest first."""
        query = select(CampaignRow).where(CampaignRow.site_id == self._whose.site_id)
        with reading(self._engine) as session:
            rows = session.exec(query.order_by(col(CampaignRow.id).desc())).all()
            return [build_campaign(session, row) for row in rows]

    def find(self, name: str) -> Campaign | None:
        """Find a campaign by its name."""
        with reading(self._engine) as session:
            row = _row(session, self._whose, name)
            return build_campaign(session, row) if row else None

    def seat(self, *, hashed: str | None = None, name: str = "", account: str = "") -> Seat | None:
        """Find a rater by the hash of a link, or by campaign and account."""
        query = select(CampaignRater, CampaignRow).join(CampaignRow)
        query = query.where(CampaignRow.site_id == self._whose.site_id)
        if hashed is not None:
            query = query.where(CampaignRater.hashed == hashed)
        elif name and account:
            query = query.where(CampaignRow.name == name, CampaignRater.account == account)
        else:
            return None
        with reading(self._engine) as session:
            row = session.exec(query).first()
            if row is None:
                return None
            rater, campaign = row
            ratings = list_ratings(session, campaign.id, rater_id=rater.id)
            by_image = {rating.image: rating for rating in ratings}
            return Seat(build_campaign(session, campaign), rater, by_image)

    def progress(self, name: str) -> dict[str, int]:
        """Return pseudonym → number of rated images; raters without a rating are left out."""
        with reading(self._engine) as session:
            query = (
                select(CampaignRater.pseudonym, func.count())
                .join(RatingRow, col(RatingRow.rater_id) == col(CampaignRater.id))
                .where(
                    CampaignRater.campaign_id == _get_existing(session, self._whose, name).id,
                    RatingRow.revision == 1,
                )
                .group_by(col(CampaignRater.pseudonym))
            )
            return dict(session.exec(query).all())

    def ratings(self, name: str) -> list[Rating]:
        """Return the ratings of a campaign, oldest first; of one pair the last one counts."""
        with reading(self._engine) as session:
            return list_ratings(session, _get_existing(session, self._whose, name).id)

    def _remember(
        self, session: Session, act: str, subject: str, *, by: str, at: datetime, **facts: object
    ) -> None:
        site = self._whose.site_id
        audit_log.append(session, site, at=at, actor=by, act=act, subject=subject, facts=facts)


def _row(session: Session, whose: AgentIdentity, name: str) -> CampaignRow | None:
    query = select(CampaignRow).where(CampaignRow.site_id == whose.site_id)
    return session.exec(query.where(CampaignRow.name == name)).first()


def _get_existing(session: Session, whose: AgentIdentity, name: str) -> CampaignRow:
    row = _row(session, whose, name)
    if row is None:
        raise UsageError(f"there is no campaign {name!r}; agent roundrobin list shows all.")
    return row


def _seat(session: Session, campaign: CampaignRow, rater: NewRater, *, at: datetime) -> None:
    session.add(
        CampaignRater(
            campaign_id=campaign.id,
            pseudonym=rater.pseudonym,
            name=rater.name,
            team=rater.team,
            account=rater.account,
            invited_at=at,
        )
    )


def _hash(every: Sequence[Rating]) -> str:
    values = [
        [
            rating.rater,
            rating.image,
            rating.revision,
            rating.said.subtype,
            rating.said.size,
            rating.said.criterion,
        ]
        for rating in every
    ]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
