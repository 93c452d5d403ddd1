"""Landmarks of micrographs, and pairs of micrographs that show the same place.

A field counts only after it was compared: its row is written open, in the transaction of its
result, and closed together with the detected pairs.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import case, or_
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select, update

from agent.errors import UsageError
from agent.store.engine import Repository, insert_for, reading, writing
from agent.store.evidence import audit_log, quality_records
from agent.store.tables import MicrographRow, OrderRow, PlaceRow, SamePlaceRow, SiteRow, SpecimenRow
from agent.store.work.file_states import chunks

LATE = 1000
"""Numbers before the newest known one that are read again: rows may be committed out of order."""
DIFFERENT, BELONGS = "different", "belongs"


class _Sides(threading.local):
    """The two sides of a pair, of each thread, since creating them is slower than most statements.

    SQLAlchemy completes an alias at its first use. Two threads that share one complete it twice,
    and the statement that is then compiled and kept finds none of its columns until a restart.
    """

    def __init__(self) -> None:
        self.one, self.other = aliased(MicrographRow), aliased(MicrographRow)


_sides = _Sides()


@dataclass(frozen=True, slots=True)
class Landmarked:
    """A micrograph's landmarks.

    Attributes:
        micrograph_id: Number of its row.
        public_id: Its public id.
        order: Number of the order that it names, "" for none and for one of another site.
        landmarks: As `agent.imaging.places` writes them, or None where there are none.
    """

    micrograph_id: int
    public_id: str
    order: str
    landmarks: bytes | None


FOUND = "place.found"
"""Act of the audit log: two micrographs show one place."""
OTHER_SITE, OTHER_SITE_DECIDED = "place_of_other_site", "place_of_other_site_decided"
"""Kinds of records: a micrograph shows a place of another site, and a lead's decision about it.

A pair's row belongs to one site; a micrograph of another one is named by its site and its id.
"""


@dataclass(frozen=True, slots=True)
class PlaceMatch:
    """An earlier micrograph that shows the same place.

    Attributes:
        other_id: Its row number.
        measured_id: Number of the row of which `area_px` counts pixels: one of the two.
        share: Share of the smaller one's area that both show, 0 to 1.
        area_px: That area in pixels of the measured micrograph's crop.
        facts: Transform and evidence, as JSON.
    """

    other_id: int
    measured_id: int
    share: float
    area_px: float
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlaceSide:
    """A micrograph of a pair and its assignment.

    Attributes:
        id: Public id.
        order: Number of its order, "" where it belongs to none.
        specimen: Name of its specimen.
        field: Its field number.
        origin: "watch", "import" or "api".
        um_per_px: Its scale in µm per pixel, or None.
        named: Number of the order that it names, also where it belongs to none.
        site: Name of its site, "" for this one.
    """

    id: str
    order: str
    specimen: str
    field: str
    origin: str
    um_per_px: float | None
    named: str = ""
    site: str = ""


@dataclass(frozen=True, slots=True)
class PlacePair:
    """Two micrographs that show the same place.

    Attributes:
        one: The later micrograph.
        other: The earlier micrograph.
        share: Share of the smaller one's area that both show, 0 to 1.
        area_mm2: That area, or None without a scale.
        verdict: "" (open), "different" or "belongs".
        belongs: Public id of the micrograph that counts for the place, "" where none was named.
        by: The lead who decided.
        reason: Of the lead's decision.
        measured: Public id of the micrograph that `transform` starts from.
        transform: (2, 3), from x and y of its crop to those of the other's, or None.
    """

    one: PlaceSide
    other: PlaceSide
    share: float
    area_mm2: float | None
    verdict: str
    belongs: str
    by: str
    reason: str
    measured: str = ""
    transform: tuple[tuple[float, ...], ...] | None = None


@dataclass(frozen=True, slots=True)
class KnownPlaces:
    """Open comparisons and detected pairs of some micrographs.

    Attributes:
        pending: Public ids of those not compared yet.
        pairs: Pairs with one of them.
    """

    pending: frozenset[str] = frozenset()
    pairs: tuple[PlacePair, ...] = ()


def add(session: Session, micrograph: MicrographRow, landmarks: bytes | None) -> None:
    """Add a micrograph's landmarks, to be compared."""
    if session.get(PlaceRow, micrograph.id) is None:
        session.add(
            PlaceRow(micrograph_id=micrograph.id, site_id=micrograph.site_id, landmarks=landmarks)
        )


class Places(Repository):
    """Repository of places; each method is one transaction."""

    def list_pending(self, limit: int) -> list[Landmarked]:
        """Return micrographs that are to be compared, oldest first."""
        wanted = (
            _select_landmarked(self._whose.site_id)
            .where(PlaceRow.site_id == self._whose.site_id, col(PlaceRow.compared_at).is_(None))
            .order_by(col(PlaceRow.micrograph_id))
            .limit(limit)
        )
        with reading(self._engine) as session:
            return [Landmarked(*row) for row in session.exec(wanted)]

    def iter_after(self, newest: int, known: Collection[int]) -> Iterator[Landmarked]:
        """Yield landmarks of all sites that are missing from an index.

        Args:
            newest: Largest row number in the index, 0 for none.
            known: Row numbers in it; only the last ones are looked up.
        """
        wanted = (
            select(PlaceRow.micrograph_id)
            .where(
                col(PlaceRow.micrograph_id) > max(0, newest - LATE),
                col(PlaceRow.landmarks).is_not(None),
            )
            .order_by(col(PlaceRow.micrograph_id))
        )
        with reading(self._all_sites) as session:
            missing = [number for number in session.exec(wanted) if number and number not in known]
        for batch in chunks(missing):
            yield from self.load(batch)

    def load(self, micrograph_ids: Sequence[int]) -> list[Landmarked]:
        """Return the landmarks of some micrographs of any site."""
        landmarks = []
        with reading(self._all_sites) as session:
            for batch in chunks(micrograph_ids):
                wanted = _select_landmarked(self._whose.site_id).where(
                    col(PlaceRow.micrograph_id).in_(batch)
                )
                landmarks += [Landmarked(*row) for row in session.exec(wanted)]
        return landmarks

    def list_same_order(self, micrograph_id: int, limit: int) -> list[int]:
        """Return the numbers of other micrographs that name this one's order, newest first.

        Args:
            micrograph_id: Number of this one.
            limit: How many at most.
        """
        own = _sides.one
        wanted = (
            select(MicrographRow.id)
            .join(own, own.order == col(MicrographRow.order))  # type: ignore[arg-type]
            .where(
                own.id == micrograph_id,
                col(MicrographRow.order) != "",
                MicrographRow.site_id == self._whose.site_id,
                col(MicrographRow.id) != micrograph_id,
            )
            .order_by(col(MicrographRow.id).desc())
            .limit(limit)
        )
        with reading(self._engine) as session:
            return [number for number in session.exec(wanted) if number]

    def settle(self, micrograph_id: int, matches: Sequence[PlaceMatch], *, at: datetime) -> None:
        """Record the result of a comparison; from now on the field may count.

        Args:
            micrograph_id: Number of the compared micrograph.
            matches: The earlier micrographs that show the same place.
            at: Now.
        """
        elsewhere = self._load_other_sites([match.other_id for match in matches])
        with writing(self._engine) as session:
            if session.get(PlaceRow, micrograph_id) is None:
                return
            others = [
                match
                for match in matches
                if match.other_id != micrograph_id and match.other_id not in elsewhere
            ]
            for match in matches:
                if match.other_id in elsewhere:
                    self._note_other_site(
                        session, micrograph_id, match, elsewhere[match.other_id], at=at
                    )
            if others:
                audit_log.lock(session)
            for match in others:
                first, second = sorted((micrograph_id, match.other_id))
                values = {
                    "site_id": self._whose.site_id,
                    "micrograph_id": second,
                    "other_id": first,
                    "share": match.share,
                    "area_px": match.area_px,
                    "facts": {**match.facts, "area_of": match.measured_id},
                    "found_at": at,
                    "verdict": "",
                    "by": "",
                    "reason": "",
                }
                # Another agent may be writing the same pair at this moment.
                insert = insert_for(session)
                added = session.connection().execute(
                    insert(SamePlaceRow).values(**values).on_conflict_do_nothing()
                )
                if added.rowcount:
                    self._remember_pair(session, values, at=at)
            # Another agent may have compared it meanwhile, and a settled place is never changed.
            session.connection().execute(
                update(PlaceRow)
                .where(
                    col(PlaceRow.site_id) == self._whose.site_id,
                    col(PlaceRow.micrograph_id) == micrograph_id,
                    col(PlaceRow.compared_at).is_(None),
                )
                .values(compared_at=at)
            )

    def _remember_pair(self, session: Session, pair: Mapping[str, Any], *, at: datetime) -> None:
        wanted = select(MicrographRow.id, MicrographRow.public_id).where(
            col(MicrographRow.id).in_([pair["micrograph_id"], pair["other_id"]])
        )
        ids = dict(session.exec(wanted).all())
        facts = {
            "other": ids.get(pair["other_id"], ""),
            "share": float(pair["share"]),
            "area_px": float(pair["area_px"]),
            "sha256": audit_log.sha256_of(pair["facts"]),
        }
        audit_log.append(
            session,
            self._whose.site_id,
            at=at,
            actor="agent",
            act=FOUND,
            subject=ids.get(pair["micrograph_id"], ""),
            facts=facts,
        )

    def _load_other_sites(self, micrograph_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Return what is known of the micrographs that other sites have, by row number."""
        wanted = (
            select(MicrographRow, SiteRow.name)
            .join(SiteRow, col(SiteRow.id) == col(MicrographRow.site_id))
            .where(MicrographRow.site_id != self._whose.site_id)
        )
        with reading(self._all_sites) as session:
            return {
                row.id: {
                    "other": f"{site}/{row.public_id}",
                    "site": site,
                    "origin": row.origin,
                    "names_order": bool(row.order),
                }
                for batch in chunks(micrograph_ids)
                for row, site in session.exec(wanted.where(col(MicrographRow.id).in_(batch)))
            }

    def _note_other_site(
        self,
        session: Session,
        micrograph_id: int,
        match: PlaceMatch,
        other: Mapping[str, Any],
        *,
        at: datetime,
    ) -> None:
        row = session.get_one(MicrographRow, micrograph_id)
        earlier = quality_records.every(session, self._whose.site_id, OTHER_SITE, row.public_id)
        if all(record.facts["other"] != other["other"] for record in earlier):
            facts = {**other, "share": float(match.share)}
            quality_records.append(
                session,
                self._whose.site_id,
                OTHER_SITE,
                row.public_id,
                by="agent",
                at=at,
                facts=facts,
            )

    def known(self, public_ids: Collection[str]) -> KnownPlaces:
        """Return what is known of the places of some micrographs."""
        pending: set[str] = set()
        pairs: dict[int, PlacePair] = {}
        with reading(self._engine) as session:
            for batch in chunks(sorted(public_ids)):
                waiting = (
                    select(MicrographRow.public_id)
                    .join(PlaceRow, col(PlaceRow.micrograph_id) == col(MicrographRow.id))
                    .where(
                        col(MicrographRow.public_id).in_(batch),
                        col(PlaceRow.compared_at).is_(None),
                    )
                )
                pending |= set(session.exec(waiting))
                pairs |= dict(_pairs(session, batch))
            elsewhere = list(_iter_other_sites(session, self._whose.site_id, public_ids))
        own = (pairs[number] for number in sorted(pairs))
        return KnownPlaces(frozenset(pending), (*own, *elsewhere))

    def find_pair(self, one: str, other: str) -> PlacePair | None:
        """Return the pair of two micrographs, or None if they are not known to overlap."""
        wanted = {one, other}
        pairs = self.known([one]).pairs
        return next((pair for pair in pairs if {pair.one.id, pair.other.id} == wanted), None)

    def decide(
        self, one: str, other: str, *, belongs: str, by: str, reason: str, at: datetime
    ) -> None:
        """Record a lead's decision on two micrographs that seem to show the same place.

        Args:
            one: Public id of the first.
            other: Public id of the second.
            belongs: Public id of the one that counts for the place, "" where they show two places.
            by: The lead.
            reason: Why.
            at: Now.

        Raises:
            UsageError: The two are no such pair.
        """
        with writing(self._engine) as session:
            pair = next(iter(_iter_other_sites(session, self._whose.site_id, [one])), None)
            if pair is not None and pair.other.id == other:
                verdict = BELONGS if belongs else DIFFERENT
                facts = {"other": other, "verdict": verdict, "belongs": belongs, "reason": reason}
                quality_records.append(
                    session,
                    self._whose.site_id,
                    OTHER_SITE_DECIDED,
                    one,
                    by=by,
                    at=at,
                    facts=facts,
                )
                return
            wanted = select(MicrographRow.public_id, MicrographRow.id).where(
                col(MicrographRow.public_id).in_([one, other])
            )
            ids = dict(session.exec(wanted).all())
            own = select(SamePlaceRow).where(
                SamePlaceRow.micrograph_id == max((n or 0 for n in ids.values()), default=0),
                SamePlaceRow.other_id == min((n or 0 for n in ids.values()), default=0),
            )
            row = session.exec(own).first()
            if row is None:
                raise UsageError(
                    f"{one} and {other} are not known to show one place; agent orders show "
                    "NUMBER names the pairs of an order."
                )
            row.verdict = BELONGS if belongs else DIFFERENT
            row.belongs_id = ids.get(belongs)
            row.by, row.reason, row.decided_at = by, reason, at
            session.add(row)
            audit_log.append(
                session,
                self._whose.site_id,
                at=at,
                actor=by,
                act="place.decided",
                subject=one,
                facts={
                    "other": other,
                    "verdict": row.verdict,
                    "belongs": belongs,
                    "share": row.share,
                    "reason": reason,
                },
            )


def _select_landmarked(site_id: int) -> Any:
    columns: tuple[Any, ...] = (
        PlaceRow.micrograph_id,
        MicrographRow.public_id,
        case((col(MicrographRow.site_id) == site_id, col(MicrographRow.order)), else_=""),
        PlaceRow.landmarks,
    )
    return select(*columns).join(
        MicrographRow, col(MicrographRow.id) == col(PlaceRow.micrograph_id)
    )


def _iter_other_sites(
    session: Session, site_id: int, public_ids: Collection[str]
) -> Iterator[PlacePair]:
    """Yield the pairs of some micrographs with those of other sites, with the newest decision."""
    found = [
        record
        for record in quality_records.every(session, site_id, OTHER_SITE)
        if record.subject in public_ids
    ]
    if not found:
        return
    decided = {
        (record.subject, record.facts["other"]): record
        for record in quality_records.every(session, site_id, OTHER_SITE_DECIDED)
        if record.subject in public_ids
    }
    for record in found:
        known = record.facts
        own = select(MicrographRow).where(
            MicrographRow.public_id == record.subject, MicrographRow.site_id == site_id
        )
        row = session.exec(own).one()
        decision = decided.get((record.subject, known["other"]))
        yield PlacePair(
            one=_side(row, _load_names(session, {row.specimen_id})),
            other=PlaceSide(
                id=known["other"],
                order="",
                specimen="",
                field="",
                origin=known["origin"],
                um_per_px=None,
                named=known["site"] if known["names_order"] else "",
                site=known["site"],
            ),
            share=known["share"],
            area_mm2=None,
            verdict=decision.facts["verdict"] if decision else "",
            belongs=decision.facts["belongs"] if decision else "",
            by=decision.by if decision else "",
            reason=decision.facts["reason"] if decision else "",
        )


def _pairs(session: Session, public_ids: Sequence[str]) -> Iterator[tuple[int, PlacePair]]:
    # By their numbers: a condition on the joined tables makes SQLite read every micrograph.
    ids = session.exec(
        select(MicrographRow.id).where(col(MicrographRow.public_id).in_(public_ids))
    ).all()
    pair = (col(SamePlaceRow.micrograph_id), col(SamePlaceRow.other_id))
    one, other = _sides.one, _sides.other
    wanted = (
        select(SamePlaceRow, one, other)
        .join(one, pair[0] == one.id)
        .join(other, pair[1] == other.id)
        .where(or_(*(side.in_(ids) for side in pair)))
    )
    rows = session.exec(wanted).all()
    named = _load_names(session, {side.specimen_id for _, *sides in rows for side in sides})
    for row, first, second in rows:
        measured = first if row.facts.get("area_of") == first.id else second
        um_per_px = measured.um_per_px
        yield (
            row.id,
            PlacePair(
                one=_side(first, named),
                other=_side(second, named),
                share=row.share,
                area_mm2=None if um_per_px is None else row.area_px * um_per_px**2 * 1e-6,
                verdict=row.verdict,
                belongs=next(
                    (side.public_id for side in (first, second) if side.id == row.belongs_id), ""
                ),
                by=row.by,
                reason=row.reason,
                measured=measured.public_id,
                transform=_transform(row.facts),
            ),
        )


def _load_names(
    session: Session, specimen_ids: Collection[int | None]
) -> Mapping[int | None, tuple[str, str]]:
    """Return the order's number and the name of each specimen, by its row number."""
    named: dict[int | None, tuple[str, str]] = {}
    for batch in chunks(sorted(number for number in specimen_ids if number is not None)):
        wanted = (
            select(SpecimenRow.id, OrderRow.number, SpecimenRow.name)
            .join(OrderRow, col(OrderRow.id) == col(SpecimenRow.order_id))
            .where(col(SpecimenRow.id).in_(batch))
        )
        named |= {number: (order, name) for number, order, name in session.exec(wanted)}
    return named


def _transform(facts: Mapping[str, Any]) -> tuple[tuple[float, ...], ...] | None:
    rows = facts.get("transform")
    return tuple(tuple(float(x) for x in row) for row in rows) if rows else None


def _side(row: MicrographRow, named: Mapping[int | None, tuple[str, str]]) -> PlaceSide:
    order, specimen = named.get(row.specimen_id, ("", ""))
    return PlaceSide(
        id=row.public_id,
        order=order,
        specimen=specimen,
        field=row.field,
        origin=row.origin,
        um_per_px=row.um_per_px,
        named=row.order,
    )
