"""The mean size number over distinct places, for specifications that limit the mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.orders.limit import format_limit
from agent.orders.places import (
    distinct_places,
)
from reports import decimal
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from agent.orders.judgement_rules import Rules
    from agent.orders.limit import Bound
    from agent.orders.specimen_facts import (
        FieldFacts,
        SpecimenFacts,
    )
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
    that shots of one fine place cannot dilute a coarse one.
    """
    wanted, bound = rules.specification, rules.bound_in(rules.specification.subtype[0])
    if rules.by_worst or bound is None or not counted:
        return
    worst = [
        find_extreme(
            [_find_worst(field, bound, rules) for field in place.fields], bound, is_favourable=False
        )
        for place in distinct_places(counted, facts.same_places)
    ]
    numbers = [number for number in worst if number is not None]
    if len(numbers) < len(worst):
        return  # the field itself says what is missing
    mean = sum(numbers) / len(numbers)
    if not bound.admits(mean):
        yield _("the mean of {n} fields could be {mean}, {limit} is demanded").format(
            n=len(numbers), mean=format_mean(mean, bound), limit=format_limit(wanted.limit)
        )


def format_mean(mean: float, bound: Bound) -> str:
    """Return a mean with the digits of its limit."""
    return decimal(mean, ".1f" if isinstance(bound.number, int) else ".3g")


def _find_worst(field: FieldFacts, bound: Bound, rules: Rules) -> float | None:
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
    return min(numbers) if bound.wants_large else max(numbers)
