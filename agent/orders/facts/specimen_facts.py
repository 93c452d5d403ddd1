"""Facts of a specimen and its fields, as conformity is judged on; nothing is decided here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from reports import Message
from reports import gettext as _

NO_MESSAGE = Message("")
ONE_PLACE = 0.25
"""Share of the smaller field from which two fields are one place, as `imaging.places.SAME_PLACE`;
tiles of a mosaic overlap by less, and only their common area counts once."""
LONG_AGO = datetime.min.replace(tzinfo=UTC)
PREPARATION_DEFECTS = ("over_etched", "under_etched", "scratched", "stained")
IMAGE_DEFECTS = ("out_of_focus", "exposure", "wrong_crop", "wrong_magnification")
DEFECTS = (*PREPARATION_DEFECTS, *IMAGE_DEFECTS)
"""Reasons, set down by a reviewer, for which a field is replaced by a new one."""
SLIP = timedelta(minutes=5)
"""A label that its own author takes back within this time was a slip of the key, no evidence."""


class Conformity(StrEnum):
    """Conformity of a specimen or an order; part of the JSON contract."""

    CONFORMS = "conforms"
    DOES_NOT_CONFORM = "does_not_conform"
    UNDECIDED = "undecided"
    NOT_ASSESSED = "not_assessed"

    @property
    def words(self) -> str:
        """The word on pages: "does not conform"."""
        return {
            Conformity.CONFORMS: _("conforms"),
            Conformity.DOES_NOT_CONFORM: _("does not conform"),
            Conformity.UNDECIDED: _("undecided"),
            Conformity.NOT_ASSESSED: _("not assessed"),
        }[self]


@dataclass(frozen=True, slots=True)
class FieldDecision:
    """A reviewer's decision on a field.

    Args:
        kind: "code", "strange", "unusable" or "cannot_tell".
        said: The code, the kind or the reason.
        by: The reviewer.
        criterion: "mean", "max" or "unrecorded".
    """

    kind: str
    said: str
    by: str
    criterion: str = "unrecorded"
    unsure: bool = False


@dataclass(frozen=True, slots=True)
class LabelFacts:
    """One label of a field's history; what a reviewer took back at once is left out.

    Attributes:
        kind: "code", "strange", "unusable" or "cannot_tell".
        said: The code, the kind or the reason.
        by: Its author.
        unsure: The author was not sure, or imported it, so that it confirms nothing.
        lead: The author is a lead.
        withdrawn: It was taken back later than `SLIP`.
        other_taxonomy: It was given by another taxonomy than the order's, so it keeps no limit.
    """

    kind: str
    said: str
    by: str
    unsure: bool = False
    lead: bool = False
    withdrawn: bool = False
    other_taxonomy: bool = False


@dataclass(frozen=True, slots=True)
class Superseded:
    """Why a field no longer counts.

    Attributes:
        reason: In words.
        by: Who.
        defect: One of `DEFECTS`, or "".
        lead: A lead approved it.
        picture: SHA-256 of a picture of the defect, or "".
    """

    reason: str
    by: str
    defect: str = ""
    lead: bool = False
    picture: str = ""


@dataclass(frozen=True, slots=True)
class SamePlace:
    """Two micrographs that show one place.

    Attributes:
        field: Name of this field.
        other: The other one in words, such as "field 2" or "field 2 of order 4712, specimen 01".
        share: Share of the smaller one's area that both show, 0 to 1.
        area_mm2: Area that both show, or None without a scale.
        ids: Public ids of both.
        other_id: Public id of the other one.
    """

    field: str
    other: str
    share: float
    area_mm2: float | None
    ids: frozenset[str]
    other_id: str

    @property
    def is_same(self) -> bool:
        """Whether they share enough to be one place; else only their area is counted once."""
        return self.share >= ONE_PLACE


@dataclass(frozen=True, slots=True)
class FieldFacts:
    """One field's result.

    Args:
        id: Public id.
        name: The field's number on the specimen, "" where unknown.
        code: The model's structure code, or None.
        codes: Its prediction set.
        probability: Of `code`, 0 to 1, or None where it is not known.
        decided: A reviewer's decision, or None.
        awaits: It is in the review queue.
        reasons: Of its review.
        um_per_px: Its scale, or None.
        scale_in_doubt: Witnesses disagree.
        area_mm2: Of steel, or None without a scale.
        bundle: That answered, "" for none.
        coarser_share: Size → share of the field that looks coarser than it.
        material, magnification, etchant: As known of the field, "" where not.
        superseded: It no longer counts, and why.
        held: Why its source's results are held, "".
        outside: Why it lies outside the validated scope of its bundle, empty where it does not.
        labels: Its whole history, oldest first.
        is_compared: Its place was compared with those of all other micrographs.
        elsewhere: Fields of other specimens that show its place, where no lead has decided.
        done_at: When the result that counts was made, aware UTC, or None.
        came_at: When its file came, by each record of that, aware UTC; as many for each field.
        scale_traced_to: The measurement that proves its scale: record, at, certificate; or None.
        other_taxonomy: Why the valid code is of another taxonomy than the order's, "" where not.
        planes_differ: Its file has planes or channels of another place, which were not inspected.
    """

    id: str
    name: str = ""
    code: str | None = None
    codes: tuple[str, ...] = ()
    probability: float | None = None
    decided: FieldDecision | None = None
    awaits: bool = False
    reasons: tuple[str, ...] = ()
    um_per_px: float | None = None
    scale_in_doubt: bool = False
    area_mm2: float | None = None
    bundle: str = ""
    coarser_share: Mapping[str, float] | None = None
    material: str = ""
    magnification: str = ""
    etchant: str = ""
    superseded: Superseded | None = None
    held: str = ""
    outside: Message = NO_MESSAGE
    labels: tuple[LabelFacts, ...] = ()
    is_compared: bool = True
    elsewhere: tuple[SamePlace, ...] = ()
    done_at: datetime | None = None
    came_at: tuple[datetime, ...] = ()
    scale_traced_to: Mapping[str, Any] | None = None
    other_taxonomy: str = ""
    planes_differ: bool = False

    @property
    def called(self) -> str:
        """Its name on pages: "field 4"."""
        return _("field {name}").format(name=self.name or self.id)


@dataclass(frozen=True, slots=True)
class SpecimenFacts:
    """One specimen.

    Args:
        name: Of the specimen.
        preparation: Name of the latest one, whose fields count.
        fields: Those of the latest preparation; some may be superseded one by one.
        earlier: Those of earlier preparations, each superseded.
        waiting: Files of it that have come and have no result yet.
        preparations: How many there were.
        same_places: Pairs of its fields that show one place.
    """

    name: str
    preparation: str
    fields: tuple[FieldFacts, ...]
    earlier: tuple[FieldFacts, ...] = ()
    waiting: int = 0
    preparations: int = 1
    same_places: tuple[SamePlace, ...] = ()


@dataclass(frozen=True, slots=True)
class Allowance:
    """A lead's permission that the model alone may say "conforms" for one material.

    Args:
        material: Which.
        bundle: Whose answers were validated.
        limit: As in the specification, "" where it demands the subtype alone.
        subtype: Of which.
        n: Validation specimens behind the bound.
        wrong: Those called conforming falsely.
        bound: Upper 95 % bound of a false "conforms" per specimen, None where it is not known.
        by: The lead.
        on: It is switched on.
        um_per_px: Smallest and largest validated scale, µm per pixel; None in old records.
        since, until: Results made after `since`, and not after `until`, are covered; aware UTC.
            No `until`: it is valid.
        sizes: Of the subtype, coarse to fine, as compared; () in records that do not name them.
        record, act: Numbers of the validation record and of the record of the lead's act.
    """

    material: str
    bundle: str
    limit: str
    subtype: str
    n: int
    wrong: int
    bound: float | None
    by: str
    on: bool = True
    sizes: tuple[str, ...] = ()
    um_per_px: tuple[float, float] | None = None
    since: datetime = LONG_AGO
    until: datetime | None = None
    record: int = 0
    act: int = 0

    def covers_time(self, at: datetime | None) -> bool:
        """Return whether a result made at a time is covered; one without a time is not."""
        return at is not None and self.since < at and (self.until is None or at <= self.until)


@dataclass(frozen=True, slots=True)
class Statement:
    """Conformity, and what is missing for more.

    Args:
        conformity: The word.
        missing: A sentence each, none where it conforms.
        because: For `does_not_conform`: which field, and who confirmed it.
    """

    conformity: Conformity
    missing: tuple[str, ...] = ()
    because: tuple[str, ...] = ()
