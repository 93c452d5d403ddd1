"""Keep round robins: which micrographs, which raters, and every rating, appended and never changed.

In:  a campaign as it is set up, and ratings. Out: `Campaign`s, `Seat`s, `Rating`s. Next: `web` and
`roundrobin`. `Store.campaigns` is this room's own door. A name of a rater is kept for whoever runs
the campaign; everything else knows them by a pseudonym. Setting up, opening, closing and reporting
stand in the trail, and closing with a hash of all ratings, so that a later change shows.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import func
from sqlmodel import col, select

from agent.errors import WrongUse
from agent.store import audit_log, labels, results
from agent.store.engine import reading, writing
from agent.store.tables import (
    CampaignImageRow,
    CampaignRaterRow,
    CampaignRow,
    MicrographRow,
    RatingRow,
)
from agent.triage import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Engine
    from sqlmodel import Session

    from agent.store.sources import Whose

ROUND_ROBIN = "round_robin"
"""Kind of the record that the report of a campaign leaves."""
CRITERIA = ("mean", "max", "unrecorded")


@dataclass(frozen=True, slots=True)
class CampaignImage:
    """One micrograph of a campaign.

    Args:
        id: Number of its row. number: counted from 1 in the campaign.
        micrograph: Its public id.
        reference: The code it was held to have when it was put in, or None.
        stratum: Why it was chosen, "" where it was named.
    """

    id: int
    number: int
    micrograph: str
    reference: str | None
    stratum: str


@dataclass(frozen=True, slots=True)
class CampaignRater:
    """Somebody who rates.

    Args:
        id: Number of its row. pseudonym: as everybody but the campaign's keeper knows them.
        name: Who. team: which they belong to, such as "daily", "" for none.
        account: By which they come in, "" where by a link.
        has_link: Whether a link was handed out.
    """

    id: int
    pseudonym: str
    name: str
    team: str
    account: str
    has_link: bool


@dataclass(frozen=True, slots=True)
class Campaign:
    """One round robin.

    Args:
        id, name: Of it. by: who set it up. seed: of every rater's own order.
        may_go_back: Whether a rater may change a rating that was submitted.
        taxonomy: What there is to tell apart, as `model.Taxonomy.as_json` has it; frozen.
        merged: Code → the code it counts as, where codes are merged.
        created_at, opened_at, closed_at: When, aware UTC; None: not yet.
        images, raters: In the order of their numbers and pseudonyms.
        given: How many pairs of rater and image have a rating.
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
        """Whether ratings are taken."""
        return self.opened_at is not None and self.closed_at is None

    @property
    def state(self) -> str:
        """One of "planned", "open" and "closed"."""
        if self.closed_at is not None:
            return "closed"
        return "open" if self.opened_at is not None else "planned"


@dataclass(frozen=True, slots=True)
class NewRater:
    """Somebody to be invited: `CampaignRater` says what the values mean."""

    pseudonym: str
    name: str
    team: str = ""
    account: str = ""


@dataclass(frozen=True, slots=True)
class NewImage:
    """A micrograph to be rated: `CampaignImage` says what the values mean."""

    micrograph: str
    reference: str | None = None
    stratum: str = ""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a rater says of an image.

    Args:
        subtype: None: cannot tell. size: None: cannot tell; "" in a subtype of one size.
        criterion: "mean", "max" or "unrecorded": which needle-length criterion decided.
        comment: Free text. viewing_s: looked for how long, in seconds, or None.
    """

    subtype: str | None
    size: str | None
    criterion: str = "unrecorded"
    comment: str = ""
    viewing_s: float | None = None


@dataclass(frozen=True, slots=True)
class Rating:
    """One rating as it stands: what was said, by whom (pseudonym), of which image (number)."""

    rater: str
    image: int
    said: Opinion
    revision: int
    given_at: datetime


@dataclass(frozen=True, slots=True)
class Seat:
    """A rater at a campaign, with what they have said so far: image number → the newest."""

    campaign: Campaign
    rater: CampaignRater
    ratings: Mapping[int, Rating]


class Campaigns:
    """Every question and act about round robins; each method is one transaction.

    Args:
        engine: At this program's schema.
        whose: The site and the agent that ask.
    """

    def __init__(self, engine: Engine, whose: Whose) -> None:
        self._engine, self._whose = engine, whose

    # --- setting up ---

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
        """Set a campaign up; nobody can rate before it is opened.

        Raises:
            WrongUse: The name is taken, or there is no micrograph of an id.
        """
        with writing(self._engine) as session:
            if _row(session, self._whose, name) is not None:
                raise WrongUse(f"there is a campaign {name!r} already; take another name.")
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
                        campaign_id=row.id or 0,
                        number=number,
                        micrograph_id=micrograph.id or 0,
                        reference=image.reference,
                        stratum=image.stratum,
                    )
                )
            for rater in raters:
                _seat(session, row, rater, at=at)
            facts = {"images": len(images), "raters": len(raters), "seed": seed}
            self._tell(session, "campaign.planned", name, by=by, at=at, **facts)

    def invite(self, name: str, rater: NewRater, *, by: str, at: datetime) -> None:
        """Add a rater. Raises `WrongUse`: no such campaign, or it is closed."""
        with writing(self._engine) as session:
            row = _existing(session, self._whose, name)
            if row.closed_at is not None:
                raise WrongUse(f"campaign {name!r} is closed. No rater can be invited.")
            _seat(session, row, rater, at=at)
            self._tell(session, "campaign.invited", name, by=by, at=at, rater=rater.pseudonym)

    def give_link(self, name: str, pseudonym: str, hashed: str, *, by: str, at: datetime) -> None:
        """Keep the hash of a rater's link; one handed out before ends.

        Raises:
            WrongUse: There is no such campaign or rater.
        """
        with writing(self._engine) as session:
            row = _existing(session, self._whose, name)
            rater = session.exec(
                select(CampaignRaterRow).where(
                    CampaignRaterRow.campaign_id == row.id, CampaignRaterRow.pseudonym == pseudonym
                )
            ).first()
            if rater is None:
                raise WrongUse(f"campaign {name!r} has no rater {pseudonym!r}.")
            rater.hashed = hashed
            self._tell(session, "campaign.link_given", name, by=by, at=at, rater=pseudonym)

    def open(self, name: str, *, by: str, at: datetime) -> None:
        """Take ratings from now on.

        Raises:
            WrongUse: No such campaign, or it was opened before.
        """
        with writing(self._engine) as session:
            row = _existing(session, self._whose, name)
            if row.opened_at is not None:
                state = "is closed" if row.closed_at is not None else "is open already"
                raise WrongUse(f"campaign {name!r} {state}.")
            row.opened_at = at
            self._tell(session, "campaign.opened", name, by=by, at=at)

    def close(self, name: str, *, by: str, at: datetime) -> None:
        """Take no more ratings; the trail keeps a hash of all that were given.

        Raises:
            WrongUse: No such campaign, or it is not open.
        """
        with writing(self._engine) as session:
            row = _existing(session, self._whose, name)
            if row.opened_at is None or row.closed_at is not None:
                raise WrongUse(f"campaign {name!r} is not open.")
            row.closed_at = at
            every = _ratings(session, row.id or 0)
            facts = {"ratings": len(every), "sha256": _hash(every)}
            self._tell(session, "campaign.closed", name, by=by, at=at, **facts)

    def ask_again(self, name: str, public_ids: Sequence[str], *, by: str, at: datetime) -> None:
        """Put micrographs that raters disagree on into the review queue."""
        with writing(self._engine) as session:
            _existing(session, self._whose, name)
            results.ask_again(session, self._whose, public_ids, Reason.DISAGREEMENT)
            facts = {"micrographs": list(public_ids)}
            self._tell(session, "campaign.disputed", name, by=by, at=at, **facts)

    # --- rating ---

    def rate(
        self, seat: Seat, number: int, said: Opinion, *, at: datetime, revision: int = 1
    ) -> bool:
        """Append a rating.

        Args:
            seat: Of the rater.
            number: Of the image.
            said: What.
            at: Now.
            revision: 1 for the first rating of this image; one more than the newest to change it.

        Returns:
            False where that revision is there already: nothing was written, the first one holds.

        Raises:
            WrongUse: The campaign is not open, has no such image, or does not allow a change.
        """
        with writing(self._engine) as session:
            row = _existing(session, self._whose, seat.campaign.name)
            if row.opened_at is None or row.closed_at is not None:
                raise WrongUse(f"campaign {row.name!r} is not open; nothing was kept.")
            image = next((one for one in seat.campaign.images if one.number == number), None)
            if image is None or said.criterion not in CRITERIA:
                raise WrongUse(f"campaign {row.name!r} has no such image or criterion.")
            session.exec(  # others who rate as this rater wait until we have
                select(CampaignRaterRow)
                .where(CampaignRaterRow.id == seat.rater.id)
                .with_for_update()
            ).one()
            asked = select(func.max(RatingRow.revision)).where(
                RatingRow.rater_id == seat.rater.id, RatingRow.image_id == image.id
            )
            newest = session.exec(asked).one() or 0
            if revision <= newest:
                return False
            if newest and not row.may_go_back:
                raise WrongUse(f"campaign {row.name!r} takes no second rating of an image.")
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

    # --- asking ---

    def all(self) -> list[Campaign]:
        """Say every campaign of this site, the newest first."""
        asked = select(CampaignRow).where(CampaignRow.site_id == self._whose.site_id)
        with reading(self._engine) as session:
            rows = session.exec(asked.order_by(col(CampaignRow.id).desc())).all()
            return [_campaign(session, row) for row in rows]

    def find(self, name: str) -> Campaign | None:
        """Find a campaign by its name."""
        with reading(self._engine) as session:
            row = _row(session, self._whose, name)
            return _campaign(session, row) if row else None

    def seat(self, *, hashed: str | None = None, name: str = "", account: str = "") -> Seat | None:
        """Find a rater by the hash of a link, or by campaign and account."""
        asked = select(CampaignRaterRow, CampaignRow).join(CampaignRow)
        asked = asked.where(CampaignRow.site_id == self._whose.site_id)
        if hashed is not None:
            asked = asked.where(CampaignRaterRow.hashed == hashed)
        elif name and account:
            asked = asked.where(CampaignRow.name == name, CampaignRaterRow.account == account)
        else:
            return None
        with reading(self._engine) as session:
            found = session.exec(asked).first()
            if found is None:
                return None
            campaign = _campaign(session, found[1])
            rater = next(one for one in campaign.raters if one.id == found[0].id)
            said = _ratings(session, campaign.id, rater_id=rater.id)
            return Seat(campaign, rater, {one.image: one for one in said})

    def progress(self, name: str) -> dict[str, int]:
        """Say pseudonym → how many images that rater has rated; who has none is left out."""
        with reading(self._engine) as session:
            asked = (
                select(CampaignRaterRow.pseudonym, func.count())
                .join(RatingRow, col(RatingRow.rater_id) == col(CampaignRaterRow.id))
                .where(
                    CampaignRaterRow.campaign_id == _existing(session, self._whose, name).id,
                    RatingRow.revision == 1,
                )
                .group_by(col(CampaignRaterRow.pseudonym))
            )
            return dict(session.exec(asked).all())

    def ratings(self, name: str) -> list[Rating]:
        """Say every rating of a campaign, oldest first; of one pair the last one counts."""
        with reading(self._engine) as session:
            return _ratings(session, _existing(session, self._whose, name).id or 0)

    def _tell(
        self, session: Session, act: str, subject: str, *, by: str, at: datetime, **facts: object
    ) -> None:
        site = self._whose.site_id
        audit_log.append(session, site, at=at, actor=by, act=act, subject=subject, facts=facts)


def _row(session: Session, whose: Whose, name: str) -> CampaignRow | None:
    asked = select(CampaignRow).where(CampaignRow.site_id == whose.site_id)
    return session.exec(asked.where(CampaignRow.name == name)).first()


def _existing(session: Session, whose: Whose, name: str) -> CampaignRow:
    row = _row(session, whose, name)
    if row is None:
        raise WrongUse(f"there is no campaign {name!r}; agent roundrobin list shows all.")
    return row


def _seat(session: Session, campaign: CampaignRow, rater: NewRater, *, at: datetime) -> None:
    session.add(
        CampaignRaterRow(
            campaign_id=campaign.id or 0,
            pseudonym=rater.pseudonym,
            name=rater.name,
            team=rater.team,
            account=rater.account,
            invited_at=at,
        )
    )


def _campaign(session: Session, row: CampaignRow) -> Campaign:
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
            CampaignImage(one.id or 0, one.number, public_id, one.reference, one.stratum)
            for one, public_id in images
        ),
        raters=tuple(
            CampaignRater(
                one.id or 0, one.pseudonym, one.name, one.team, one.account, one.hashed is not None
            )
            for one in raters
        ),
        given=given,
    )


def _ratings(session: Session, campaign_id: int, *, rater_id: int | None = None) -> list[Rating]:
    asked = (
        select(RatingRow, CampaignRaterRow.pseudonym, CampaignImageRow.number)
        .join(CampaignRaterRow, col(CampaignRaterRow.id) == col(RatingRow.rater_id))
        .join(CampaignImageRow, col(CampaignImageRow.id) == col(RatingRow.image_id))
        .where(CampaignImageRow.campaign_id == campaign_id)
        .order_by(col(RatingRow.id))
    )
    if rater_id is not None:
        asked = asked.where(RatingRow.rater_id == rater_id)
    return [
        Rating(
            pseudonym,
            number,
            Opinion(row.subtype, row.size, row.criterion, row.comment, row.viewing_s),
            row.revision,
            row.given_at,
        )
        for row, pseudonym, number in session.exec(asked)
    ]


def _hash(every: Sequence[Rating]) -> str:
    said = [
        [one.rater, one.image, one.revision, one.said.subtype, one.said.size, one.said.criterion]
        for one in every
    ]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()
