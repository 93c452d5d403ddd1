"""The needles of an order's fields: pooled per specimen and order, and compared with the limits.

Needle lengths are a trial. They can make a specimen or an order undecided, never anything else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.needles import NeedleField
from agent.needles.field import REASONS
from agent.needles.pooling import (
    LEAST_FIELDS,
    LEAST_MAXIMA,
    PREDICTED_MM2,
    PooledLength,
    PooledNeedles,
    pool_needles,
)
from agent.orders.facts.places import distinct_places
from agent.orders.facts.specimen_facts import Conformity, FieldFacts, SpecimenFacts, Statement
from agent.orders.judge.conformity import list_counted
from agent.orders.judge.limit import LongestLimit, NeedleLimit
from agent.orders.specifications.specification import Specification
from agent.store import OrderView, Store
from reports import decimal, ngettext
from reports import gettext as _


@dataclass(frozen=True, slots=True)
class SpecimenNeedles:
    """The needles of one specimen.

    Args:
        name: Of the specimen.
        fields: The fields that count, each with its needles, None where nothing was measured.
        shots: The needles of its distinct places, one or more shots of each.
    """

    name: str
    fields: tuple[tuple[FieldFacts, NeedleField | None], ...]
    shots: tuple[tuple[NeedleField, ...], ...]

    @property
    def places(self) -> tuple[NeedleField, ...]:
        """The needles of its distinct places; of several shots of one the coarsest counts."""
        return self.choose("l90_um")

    def choose(self, length: str) -> tuple[NeedleField, ...]:
        """Return one shot of each place: the one in which a length is largest.

        Args:
            length: Name of a length of a field, such as "l90_um".
        """
        return tuple(_choose_coarsest(shots, length) for shots in self.shots)

    @property
    def pooled(self) -> PooledNeedles:
        """Its distinct places together."""
        return pool_needles(self.places)

    @property
    def has_any(self) -> bool:
        """Whether needles were to be measured in any of its fields."""
        return any(needles for _field, needles in self.fields)


@dataclass(frozen=True, slots=True)
class OrderNeedles:
    """The needles of an order.

    Args:
        specimens: In the order of their names.
        area_mm2: Area in which the longest needle is predicted.
    """

    specimens: tuple[SpecimenNeedles, ...]
    area_mm2: float = PREDICTED_MM2

    @property
    def pooled(self) -> PooledNeedles:
        """All specimens together."""
        places = (place for specimen in self.specimens for place in specimen.places)
        return pool_needles(places, area_mm2=self.area_mm2)

    @property
    def has_any(self) -> bool:
        """Whether needles were to be measured in any of its fields."""
        return any(specimen.has_any for specimen in self.specimens)

    def to_json(self) -> dict[str, Any] | None:
        """Return it as JSON, None where nothing was to be measured."""
        if not self.has_any:
            return None
        return self.pooled.to_json() | {
            "specimens": [
                {"specimen": specimen.name}
                | specimen.pooled.to_json()
                | {"fields": [_field_to_json(*member) for member in specimen.fields]}
                for specimen in self.specimens
            ]
        }


def _field_to_json(facts: FieldFacts, needles: NeedleField | None) -> dict[str, Any]:
    return {
        "id": facts.id,
        "field": facts.name,
        "status": str(needles.status) if needles else None,
        "reason": (needles.reason or None) if needles else None,
        "l50_um": needles and needles.l50_um,
        "l90_um": needles and needles.l90_um,
        "l99_um": needles and needles.l99_um,
        "longest_um": needles and needles.maximum_um,
    }


def load_needles(store: Store, view: OrderView) -> dict[str, NeedleField]:
    """Return the needles of an order's fields, by public id."""
    by_result = {
        field.view.result.id: field.view.id
        for specimen in view.specimens
        for prepared in specimen.preparations
        for field in prepared.fields
    }
    found = store.needle_fields.list_of(list(by_result))
    return {by_result[number]: needles for number, needles in found.items()}


def build_specimen_needles(
    facts: SpecimenFacts, needles: Mapping[str, NeedleField]
) -> SpecimenNeedles:
    """Gather the needles of a specimen; of several shots of one place the coarsest counts.

    Args:
        facts: The specimen.
        needles: By public id.
    """
    counted = list_counted(facts)
    shots = (
        tuple(needles[field.id] for field in place.fields if field.id in needles)
        for place in distinct_places(counted, facts.same_places)
    )
    return SpecimenNeedles(
        name=facts.name,
        fields=tuple((field, needles.get(field.id)) for field in counted),
        shots=tuple(place for place in shots if place),
    )


def gather_order_needles(
    specimens: tuple[SpecimenNeedles, ...], wanted: Specification | None
) -> OrderNeedles:
    """Gather the needles of an order; its specification names the area of the prediction."""
    limit = wanted.longest_bound if wanted else None
    return OrderNeedles(specimens, limit.area_mm2 if limit else PREDICTED_MM2)


def _choose_coarsest(shots: Sequence[NeedleField], length: str) -> NeedleField:
    return max(shots, key=lambda shot: (shot.is_measured, getattr(shot, length) or 0.0))


# --- limits -------------------------------------------------------------------------------------


def add_doubts(statement: Statement, doubts: Sequence[str]) -> Statement:
    """Return a statement with what needle limits leave open: "conforms" becomes "undecided"."""
    if not doubts or statement.conformity not in {Conformity.CONFORMS, Conformity.UNDECIDED}:
        return statement
    return Statement(Conformity.UNDECIDED, (*statement.missing, *doubts), statement.because)


def list_specimen_doubts(needles: SpecimenNeedles, wanted: Specification) -> tuple[str, ...]:
    """Return what a specimen's needles leave open of `needle_limit`."""
    limit = wanted.needle_bound
    if limit is None:
        return ()
    places = needles.choose(f"{limit.quantile.lower()}_um")
    return tuple(_describe_quantile(pool_needles(places), limit))


def list_order_doubts(needles: OrderNeedles, wanted: Specification) -> tuple[str, ...]:
    """Return what an order's needles leave open of `longest_in_mm2`."""
    limit = wanted.longest_bound
    if limit is None:
        return ()
    places = (place for own in needles.specimens for place in own.choose("maximum_um"))
    return tuple(_describe_longest(pool_needles(places, area_mm2=limit.area_mm2), limit))


def list_hidden_doubts(
    needles: OrderNeedles, wanted: Specification, hidden: Collection[str]
) -> dict[str, str]:
    """Return what needles leave open → the same without lengths, where a field is hidden.

    Args:
        needles: Of the order.
        wanted: What is demanded.
        hidden: Public ids of fields whose answer must not show.
    """
    shorter: dict[str, str] = {}
    blind = [
        own for own in needles.specimens if any(field.id in hidden for field, _own in own.fields)
    ]
    if limit := wanted.needle_bound:
        doubts = (doubt for own in blind for doubt in list_specimen_doubts(own, wanted))
        shorter |= dict.fromkeys(doubts, _describe_hidden(limit.words))
    if (longest := wanted.longest_bound) and blind:
        doubts_of_all = list_order_doubts(needles, wanted)
        shorter |= dict.fromkeys(doubts_of_all, _describe_hidden(longest.words))
    return shorter


def _describe_hidden(limit: str) -> str:
    return _("{limit}: {why}").format(limit=limit, why=_("hidden until you decide"))


def _describe_quantile(pooled: PooledNeedles, limit: NeedleLimit) -> Iterator[str]:
    length = pooled.get_quantile(limit.quantile)
    if pooled.is_mixed:
        yield _describe_mixed(limit.words)
    elif pooled.measured < LEAST_FIELDS:
        yield _describe_too_few(pooled, LEAST_FIELDS, limit.words)
    elif pooled.calibration is None:
        yield _describe_uncalibrated(limit.words)
    elif length is None or length.high_um is None:
        yield _("{limit}: {n} needles are too few to prove it; take more fields").format(
            limit=limit.words, n=pooled.needles
        )
    elif not length.high_um <= limit.most_um:  # the far end, so that chance keeps no limit
        sentence = _("{limit}: it is {value} µm ({low} to {high} µm; {status})")
        yield _fill(sentence, limit.words, length, pooled)


def _describe_longest(pooled: PooledNeedles, limit: LongestLimit) -> Iterator[str]:
    longest = pooled.predicted
    if pooled.is_mixed:
        yield _describe_mixed(limit.words)
    elif pooled.measured < LEAST_MAXIMA:
        yield _describe_too_few(pooled, LEAST_MAXIMA, limit.words)
    elif pooled.calibration is None:
        yield _describe_uncalibrated(limit.words)
    elif longest is None or longest.high_um is None:
        yield _("{limit}: fields of different area do not predict it").format(limit=limit.words)
    elif not longest.high_um <= limit.most_um:
        sentence = _("{limit}: {value} µm is to be expected ({low} to {high} µm; {status})")
        yield _fill(sentence, limit.words, longest, pooled)


def _fill(sentence: str, limit: str, length: PooledLength, pooled: PooledNeedles) -> str:
    return sentence.format(
        limit=limit,
        value=decimal(length.value_um, ".1f"),
        low=decimal(length.low_um or length.value_um, ".1f"),
        high=decimal(length.high_um or length.value_um, ".1f"),
        status=describe_calibration(pooled.calibration),
    )


def _describe_mixed(limit: str) -> str:
    return _(
        "{limit}: the fields were measured with several versions of network or calibration"
    ).format(limit=limit)


def _describe_uncalibrated(limit: str) -> str:
    return _(
        "{limit}: the lengths are not calibrated here and prove no limit: calibrate (agent needles "
        "calibrate) before the fields are shot, or amend the specification"
    ).format(limit=limit)


def _describe_too_few(pooled: PooledNeedles, least: int, limit: str) -> str:
    sentence = _("{limit}: {n} of {of} measured fields").format(
        limit=limit, n=pooled.measured, of=least
    )
    reasons = describe_reasons(pooled)
    return f"{sentence} ({reasons})" if reasons else sentence


def list_lines(needles: OrderNeedles) -> Iterator[str]:
    """Yield the needles of an order and of each specimen in a line each, nothing without any."""
    if not needles.has_any:
        return
    if len(needles.specimens) > 1 or needles.pooled.predicted:
        yield _("All specimens: {needles}").format(needles=describe_pooled(needles.pooled))
    for specimen in needles.specimens:
        yield _("Specimen {name}: {needles}").format(
            name=specimen.name, needles=describe_pooled(specimen.pooled)
        )


def describe_pooled(pooled: PooledNeedles) -> str:
    """Return the needles of several fields in a line: quantiles, longest, fields, calibration."""
    parts = [
        _describe_length(name, length)
        for name, length in (("L50", pooled.l50), ("L90", pooled.l90), ("L99", pooled.l99))
        if length
    ]
    if pooled.maximum_um is not None:
        parts.append(_("longest {um} µm").format(um=decimal(pooled.maximum_um, ".1f")))
    if pooled.predicted:
        parts.append(
            _describe_length(
                _("expected in {area} mm²").format(area=decimal(pooled.predicted_mm2, "g")),
                pooled.predicted,
            )
        )
    if pooled.is_mixed:
        parts.append(_("measured with several versions of network or calibration"))
    n = pooled.measured
    parts.append(ngettext("{n} field measured", "{n} fields measured", n).format(n=n))
    if reasons := describe_reasons(pooled):
        parts.append(reasons)
    return f"{', '.join(parts)} ({describe_calibration(pooled.calibration)})"


def _describe_length(name: str, length: PooledLength) -> str:
    value = decimal(length.value_um, ".1f")
    if length.low_um is None or length.high_um is None:
        return _("{name} {value} µm").format(name=name, value=value)
    return _("{name} {value} µm ({low} to {high} µm)").format(
        name=name,
        value=value,
        low=decimal(length.low_um, ".1f"),
        high=decimal(length.high_um, ".1f"),
    )


def describe_reasons(pooled: PooledNeedles) -> str:
    """Return how many fields were not measured, and why; "" where all were."""
    return "; ".join(
        ngettext("{n} field not measured: {why}", "{n} fields not measured: {why}", n).format(
            n=n, why=_(REASONS.get(reason, reason))
        )
        for reason, n in sorted((pooled.reasons or {}).items())
    )


def describe_calibration(calibration: str | None) -> str:
    """Return whether lengths are calibrated, for a reader."""
    if calibration is None:
        return _("trial, not calibrated here")
    return _("trial, calibration {name}").format(name=calibration)
