"""The mean size number over distinct places, for specifications that limit the mean."""

from __future__ import annotations

import math
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from agent.orders.facts.places import distinct_places
from agent.orders.judge.limit import format_limit
from agent.store import number_key
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
    They keep it by each record of what came first, since one clock alone can be set.
    """
    wanted, bound = rules.specification, rules.bound_in(rules.specification.subtype[0])
    if rules.by_worst or bound is None or not counted:
        return
    places = distinct_places(counted, facts.same_places)
    limit = format_limit(wanted.limit)
    each = [places, *list_first(places, wanted.fields)]
    means, capped = (
        [
            _compute_worst_mean(group, bound, rules, facts.same_places, is_capped=is_capped)
            for group in each
        ]
        for is_capped in (False, True)
    )
    mean, first_mean = means[0], find_extreme(means[1:], bound, is_favourable=False)
    worst_capped = find_extreme(capped, bound, is_favourable=False)
    if mean is None or first_mean is None or worst_capped is None:
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
        ).format(
            n=len(each[means.index(first_mean, 1)]),
            mean=format_mean(first_mean, bound),
            limit=limit,
        )
    elif not bound.admits(worst_capped):
        yield _(
            "the mean keeps {limit} only by fields that the model alone puts beyond it: confirm "
            "them"
        ).format(limit=limit)


def list_first(places: Sequence[SpecimenPlace], n: int) -> list[list[SpecimenPlace]]:
    """Return the places that came first by each record of that: file times and field numbers.

    Those of one instant came together. Without a record of each field all came together.

    Args:
        places: Each came with the first of its fields.
        n: How many are demanded; at least so many where there are.
    """
    if len(places) <= n:
        return [list(places)]
    times = [
        [min(times) for times in zip(*(field.came_at for field in place.fields), strict=True)]
        for place in places
    ]
    records: list[Sequence[Any]] = [*zip(*times, strict=True)]
    if all(field.name for place in places for field in place.fields):
        records.append([min(map(_order_number, place.fields)) for place in places])
    return [
        [place for place, came in zip(places, record, strict=True) if came <= sorted(record)[n - 1]]
        for record in records
    ] or [list(places)]


def _order_number(field: FieldFacts) -> tuple[int, str]:
    """Return what sorts field numbers: "2" before "10", and "A2" before "A10"."""
    key = number_key(field.name)
    return len(key), key


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
