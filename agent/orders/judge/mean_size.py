"""The mean size number over distinct places, for specifications that limit the mean."""

from __future__ import annotations

import math
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from agent.orders.facts.places import distinct_places
from agent.orders.facts.specimen_facts import LONG_AGO
from agent.orders.judge.limit import format_limit
from reports import decimal
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from agent.orders.facts.places import SpecimenPlace
    from agent.orders.facts.specimen_facts import (
        FieldFacts,
        SamePlace,
        SpecimenFacts,
    )
    from agent.orders.judge.judgement_rules import Rules
    from agent.orders.judge.limit import Bound
    from model import Size


def find_size_number(
    field: FieldFacts, rules: Rules, read: Callable[[Size], float | None]
) -> float | None:
    """Return the size number of a field, None where its code is not of the ordered subtype.

    Args:
        field: Its decided code counts before the model's.
        rules: With the specification.
        read: Size → number, such as the favourable end of its range.
    """
    code = field.decided.said if field.decided else field.code
    parsed = rules.parsed(code) if code else None
    if parsed is None or parsed[0] not in rules.specification.subtype:
        return None
    return read(parsed[1])


def find_extreme(
    numbers: Sequence[float | None], bound: Bound, *, is_favourable: bool
) -> float | None:
    """Return the number that keeps the limit best or worst, None where one is not known."""
    known = [number for number in numbers if number is not None]
    if len(known) < len(numbers):
        return None
    return max(known) if bound.wants_large == is_favourable else min(known)


def describe_mean(
    facts: SpecimenFacts, counted: Sequence[FieldFacts], rules: Rules
) -> Iterator[str]:
    """Yield that the mean of the fields may break the limit, by the rule `mean_of_fields`.

    The mean is over distinct places, in its least favourable reading. All places count, also more
    than the specification demands. Of several shots of one place the worst one represents it, so
    that shots of one fine place cannot dilute a coarse one; shots of one field number that are not
    shown to be one place count each where that is worse. The places that came first, as many as
    are demanded, keep the limit too: fields that are added until the mean keeps it prove nothing.
    """
    wanted, bound = rules.specification, rules.bound_in(rules.specification.subtype[0])
    if rules.by_worst or bound is None or not counted:
        return
    places = distinct_places(counted, facts.same_places)
    first = list_first(places, wanted.fields)
    limit = format_limit(wanted.limit)
    (mean, capped), (first_mean, first_capped) = (
        [
            _compute_worst_mean(some, bound, rules, facts.same_places, is_capped=is_capped)
            for is_capped in (False, True)
        ]
        for some in (places, first)
    )
    if mean is None or capped is None or first_mean is None or first_capped is None:
        return  # the field itself says what is missing
    if not bound.admits(mean):
        yield _("the mean of {n} fields could be {mean}, {limit} is demanded").format(
            n=len(places), mean=format_mean(mean, bound), limit=limit
        )
    elif not bound.admits(first_mean):
        yield _(
            "the mean of the first {n} fields could be {mean}, {limit} is demanded; later fields "
            "do not change it: a lead prepares the specimen again (agent orders supersede "
            "--specimen)"
        ).format(n=len(first), mean=format_mean(first_mean, bound), limit=limit)
    elif not (bound.admits(capped) and bound.admits(first_capped)):
        yield _(
            "the mean keeps {limit} only by fields that the model alone puts beyond it: confirm "
            "them"
        ).format(limit=limit)


def list_first(places: Sequence[SpecimenPlace], n: int) -> list[SpecimenPlace]:
    """Return the places that came first, at least n where there are; those of one instant together.

    Args:
        places: Each came with the first of its fields.
        n: How many are demanded.
    """
    came = [min(field.taken_at or LONG_AGO for field in place.fields) for place in places]
    if len(places) <= n:
        return list(places)
    last = sorted(came)[n - 1]
    return [place for place, at in zip(places, came, strict=True) if at <= last]


def _compute_worst_mean(
    places: Sequence[SpecimenPlace],
    bound: Bound,
    rules: Rules,
    same: Sequence[SamePlace],
    *,
    is_capped: bool = False,
) -> float | None:
    """Return the least favourable mean of places, None where a size is not known.

    Args:
        places: Distinct ones; the fields of a place may share its number alone.
        bound: The limit.
        rules: With the specification.
        same: Pairs of fields that show one place.
        is_capped: A field that rests on the model alone counts as the limit where it is better: a
            validation counts breaks that the model missed, not sizes that it took for finer ones.
    """
    numbers: list[float] = []
    further: list[float] = []
    for place in places:
        each = [
            find_extreme(
                [_find_worst(field, bound, rules, is_capped=is_capped) for field in shown.fields],
                bound,
                is_favourable=False,
            )
            for shown in distinct_places(place.fields, same, by_number=False)
        ]
        known = sorted(number for number in each if number is not None)
        if len(known) < len(each):
            return None
        known = known if bound.wants_large else known[::-1]
        numbers.append(known[0])
        further += known[1:]
    for number in sorted(further, reverse=not bound.wants_large):
        mean = fmean(numbers)
        if (number < mean) if bound.wants_large else (number > mean):
            numbers.append(number)
    return fmean(numbers)


def describe_uncertainty(
    facts: SpecimenFacts, counted: Sequence[FieldFacts], rules: Rules
) -> Iterator[str]:
    """Yield the mean of a specimen with its standard uncertainty, once no field waits for review.

    Source:
        JCGM 100:2008, 4.2.3: the standard deviation of the places over the root of their number.
    """
    bound = rules.bound_in(rules.specification.subtype[0])
    if rules.by_worst or bound is None or any(field.awaits for field in counted):
        return
    places = distinct_places(counted, facts.same_places)
    each = [_compute_worst_mean([place], bound, rules, facts.same_places) for place in places]
    numbers = [number for number in each if number is not None]
    if len(numbers) < max(len(places), 2):
        return
    yield _("specimen {name}: mean {mean} of {n} places, standard uncertainty u = {u}").format(
        name=facts.name,
        mean=format_mean(fmean(numbers), bound),
        n=len(numbers),
        u=decimal(stdev(numbers) / math.sqrt(len(numbers)), ".2g"),
    )


def format_mean(mean: float, bound: Bound) -> str:
    """Return a mean with the digits of its limit."""
    return decimal(mean, ".1f" if isinstance(bound.number, int) else ".3g")


def _find_worst(field: FieldFacts, bound: Bound, rules: Rules, *, is_capped: bool) -> float | None:
    if field.decided:
        codes = [field.decided.said] if field.decided.kind == "code" else []
    else:
        codes = [*field.codes, *([field.code] if field.code else [])]
    parsed = [rules.parsed(code) for code in codes]
    worst = [
        bound.unfavourable(pair[1])
        for pair in parsed
        if pair and pair[0] in rules.specification.subtype
    ]
    numbers = [number for number in worst if number is not None]
    if not numbers or len(numbers) < len(parsed):
        return None
    if is_capped and not field.decided and bound.number is not None:
        numbers.append(bound.number)
    return min(numbers) if bound.wants_large else max(numbers)
