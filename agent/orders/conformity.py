"""Say whether specimens keep what is demanded of them: pure, and never "conforms" by accident.

In:  what is known of a specimen's fields, the specification, what the lab allows. Out: a
`Statement`, with everything that is missing. Next: `assessment`, which fetches and writes.
`conforms` needs a proof of every part; `does_not_conform` needs a person; all else is `undecided`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from agent.orders.automatic_conformity import refuse_field
from agent.orders.evidence import (
    confirming,
    describe_label,
    describe_replaced,
    find_contradiction,
    is_confirmed,
)
from agent.orders.limit import Direction
from agent.orders.places import (
    describe_elsewhere,
    describe_same_numbers,
    describe_same_places,
    distinct_places,
    sum_area_mm2,
)
from agent.orders.specification import same
from agent.orders.specimen_facts import (
    PREPARATION_DEFECTS,
    Conformity,
    Decided,
    FieldFacts,
    SpecimenFacts,
    Statement,
)
from agent.store.numbers import number_key
from agent.triage import Reason
from reports import decimal, language, ngettext, reason, retold
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from agent.orders.judgement_rules import Rules
    from agent.orders.limit import Bound
    from agent.orders.places import Place
    from agent.orders.specification import Specification
    from model import Size

AREA_ROUNDING = 1e-9
TWO = 2


# --- the specimen -------------------------------------------------------------------------------


def specimen(facts: SpecimenFacts, rules: Rules) -> Statement:
    """Say whether one specimen keeps its specification."""
    if fault := rules.fault:
        return Statement(Conformity.UNDECIDED, (fault,))
    counted = list_counted(facts)
    broken = tuple(_broken(facts, counted, rules))
    if broken:
        return Statement(Conformity.DOES_NOT_CONFORM, (), broken)
    missing = (
        *_what_is_there(facts, counted, rules.specification),
        *_describe_questions(facts, counted, rules),
        *_of_the_model(counted, rules),
    )
    if missing:
        return Statement(Conformity.UNDECIDED, _said_once(missing))
    return Statement(Conformity.CONFORMS)


def describe_without_model(
    missing: Sequence[str], facts: SpecimenFacts, rules: Rules
) -> tuple[str, ...]:
    """Return what a specimen lacks, except what rests on the model alone."""
    alone = set(_of_the_model(list_counted(facts), rules))
    return tuple(sentence for sentence in missing if sentence not in alone)


def list_model_refusals(facts: SpecimenFacts, rules: Rules) -> tuple[str, ...]:
    """Return why the model alone proves none of the fields that no reviewer decided, each once."""
    alone = [field for field in list_counted(facts) if field.decided is None]
    refusals = (refuse_field(field, rules) for field in alone)
    return tuple(dict.fromkeys(why for why in refusals if why))


def list_counted(facts: SpecimenFacts) -> list[FieldFacts]:
    """Return the fields of a specimen that count: neither superseded nor unusable."""
    return [one for one in facts.fields if not one.superseded and not _is_unusable(one)]


def has_question(facts: SpecimenFacts, rules: Rules) -> bool:
    """Return whether what is there of a specimen needs a reviewer or a lead before it conforms.

    Missing images are no such question, nor are answers that rest on the model alone.
    """
    counted = list_counted(facts)
    wanted = rules.specification
    bundles = {field.bundle for field in counted if field.bundle}
    return (
        bool(rules.fault)
        or facts.preparations > wanted.max_preparations
        or len(bundles) > 1
        or any(_describe_questions(facts, counted, rules))
    )


def lacks_images(facts: SpecimenFacts, rules: Rules) -> bool:
    """Return whether fields, area or a result that is still to come are missing."""
    wanted = rules.specification
    places = distinct_places(list_counted(facts), facts.same_places)
    area = sum_area_mm2(places, facts.same_places)
    return (
        len(places) < wanted.fields or area < wanted.area_mm2 - AREA_ROUNDING or facts.waiting > 0
    )


def _describe_questions(
    facts: SpecimenFacts, counted: Sequence[FieldFacts], rules: Rules
) -> Iterator[str]:
    """Yield what a reviewer or a lead has to settle of the fields that are there."""
    yield from _held(counted)
    for field in counted:
        yield from _of_the_field(field, rules)
    yield from _together(facts, counted, rules)
    yield from _describe_replaced(facts, counted, rules)


def _is_unusable(field: FieldFacts) -> bool:
    return field.decided is not None and field.decided.kind == "unusable"


def _what_is_there(
    facts: SpecimenFacts, counted: Sequence[FieldFacts], wanted: Specification
) -> Iterator[str]:
    """Say what has not come: distinct places, and the area that they show together."""
    places = distinct_places(counted, facts.same_places)
    if len(places) < wanted.fields:
        yield _("{n} of {of} fields").format(n=len(places), of=wanted.fields)
        yield from describe_same_places(facts, counted)
        yield from describe_same_numbers(counted)
        yield from _to_shoot_again(facts, {number_key(one.name) for one in counted})
    area = sum_area_mm2(places, facts.same_places)
    if area < wanted.area_mm2 - AREA_ROUNDING:
        yield _("{area} of {of} mm²").format(
            area=decimal(area, ".3f"), of=decimal(wanted.area_mm2, "g")
        )
        yield from describe_same_places(facts, counted)
    if facts.preparations > wanted.max_preparations:
        yield _("{n} preparations, at most {most} are allowed by the specification").format(
            n=facts.preparations, most=wanted.max_preparations
        )
    if facts.waiting:
        yield still_to_be_read(facts.waiting)
    bundles = {one.bundle for one in counted if one.bundle}
    if len(bundles) > 1:
        yield _("its fields were judged by {n} bundles ({bundles})").format(
            n=len(bundles), bundles=", ".join(sorted(bundles))
        )


def still_to_be_read(n: int) -> str:
    """Say that files have come and have no result yet."""
    return ngettext("{n} file still to be read", "{n} files still to be read", n).format(n=n)


def _held(counted: Sequence[FieldFacts]) -> Iterator[str]:
    """Say once why results are held: most often it is the same for every field."""
    for why in dict.fromkeys(one.held for one in counted if one.held):
        names = ", ".join(one.called for one in counted if one.held == why)
        yield f"{names}: {why}"


def _to_shoot_again(facts: SpecimenFacts, there: Collection[str]) -> Iterator[str]:
    for one in facts.fields:
        is_there = number_key(one.name) in there
        if one.decided and _is_unusable(one) and not one.superseded and not is_there:
            said = (
                _("{field} is unusable ({why}): prepare the specimen again")
                if one.decided.said in PREPARATION_DEFECTS
                else _("{field} is unusable ({why}): shoot it again")
            )
            why = describe_label(one.decided.kind, one.decided.said)
            yield said.format(field=one.called, why=why)


def _of_the_field(field: FieldFacts, rules: Rules) -> Iterator[str]:
    """Say what keeps one field from proving anything."""
    yield from describe_elsewhere(field)
    yield from _of_its_taking(field, rules)
    if field.other_taxonomy:
        yield f"{field.called}: {field.other_taxonomy}"
    if field.planes_differ:
        yield _(
            "{field}: its file has planes or channels of another place, and one alone was judged: "
            "save each place as a file and let a lead replace it (agent orders supersede)"
        ).format(field=field.called)
    if field.awaits:
        yield _("{field} awaits review").format(field=field.called) + _why(field, rules)
        return
    if field.decided and field.decided.kind == "strange":
        yield _("{field} was called strange ({kind}) by {who}").format(
            field=field.called,
            kind=describe_label(field.decided.kind, field.decided.said),
            who=field.decided.by,
        )
    elif field.decided and field.decided.kind == "cannot_tell":
        yield _("{field}: {who} could not tell").format(field=field.called, who=field.decided.by)
    elif field.decided:
        yield from _of_the_decision(field, field.decided, rules)
    else:
        yield from _of_the_answer(field, rules)
    yield from _of_the_history(field, rules)


def _of_the_history(field: FieldFacts, rules: Rules) -> Iterator[str]:
    """Yield what the labels of a field leave open, although the one that holds keeps the limit."""
    if why := find_contradiction(field, rules):
        yield _("{field} {why}: a lead or two other reviewers decide").format(
            field=field.called, why=why
        )
    held = field.decided
    if held is None or held.kind != "code":
        return
    if held.unsure and not is_confirmed(field):
        yield _("{field}: {who} was not sure of {code}").format(
            field=field.called, who=held.by, code=held.said
        )
    if rules.second_look and rules.is_at_limit(held.said) and len(confirming(field, rules)) < TWO:
        yield _("{field} is {code}, at the limit: a second reviewer is needed").format(
            field=field.called, code=held.said
        )


def _of_its_taking(field: FieldFacts, rules: Rules) -> Iterator[str]:
    wanted = rules.specification
    if field.scale_in_doubt:
        yield _("{field}: its scale is in doubt, as its witnesses disagree").format(
            field=field.called
        )
    elif field.um_per_px is None:
        yield _("{field} has no scale").format(field=field.called)
    elif wanted.um_per_px and not wanted.um_per_px[0] <= field.um_per_px <= wanted.um_per_px[1]:
        low, high = wanted.um_per_px
        yield _("{field} was shot at {um} µm per pixel, {low} to {high} are demanded").format(
            field=field.called,
            um=decimal(field.um_per_px, ".3g"),
            low=decimal(low, "g"),
            high=decimal(high, "g"),
        )
    if field.material and rules.material and not same(field.material, rules.material):
        yield _("{field} says material {found}, the order says {wanted}").format(
            field=field.called, found=field.material, wanted=rules.material
        )
    for what, found, allowed in (
        (_("magnification"), field.magnification, wanted.magnification),
        (_("etchant"), field.etchant, wanted.etchant),
    ):
        if allowed and not any(_plain(found) == _plain(one) for one in allowed):
            said = (
                _("{field} was taken with {what} {found}, {wanted} is demanded")
                if found
                else _("{field} says no {what}, {wanted} is demanded")
            )
            yield said.format(
                field=field.called, what=what, found=found, wanted=_(" or ").join(allowed)
            )


def _plain(name: str) -> str:
    return "".join(name.split()).casefold().replace("×", "x").removesuffix(":1").removesuffix("x")


def _why(field: FieldFacts, rules: Rules) -> str:
    if said := rules.unexpected(field.code):
        return f": {said}"
    words = [
        retold(field.outside) if word == Reason.OUT_OF_SCOPE and field.outside else _reason(word)
        for word in field.reasons
    ]
    return f" ({', '.join(words)})" if words else ""


def _reason(word: str) -> str:
    return word.replace("_", " ") if language() == "en" else reason(word)[0]


def _of_the_decision(field: FieldFacts, decided: Decided, rules: Rules) -> Iterator[str]:
    wanted = rules.specification
    if said := rules.unexpected(decided.said):
        yield f"{field.called}: {said}"
    elif not (rules.keeps if rules.by_worst else rules.is_of)(decided.said):
        yield _("{field} is {code}, decided by {who}: {demand} is demanded").format(
            field=field.called, code=decided.said, who=decided.by, demand=wanted.demand
        )
    if wanted.criterion == "max" and decided.criterion != "max":
        yield _("{field} was decided by {who} without the criterion max, which is demanded").format(
            field=field.called, who=decided.by
        )
    elif wanted.criterion == "mean" and decided.criterion == "max":
        yield _("{field} was decided by the criterion max, mean is demanded").format(
            field=field.called
        )


def _of_the_answer(field: FieldFacts, rules: Rules) -> Iterator[str]:
    if not field.code or not field.codes:
        yield _("{field} has no answer yet").format(field=field.called)
        return
    if said := rules.unexpected(field.code):
        yield f"{field.called}: {said}"
        return
    codes = dict.fromkeys((*field.codes, field.code))
    keeps = rules.keeps if rules.by_worst else rules.is_of
    if not all(keeps(code) for code in codes):
        yield _("{field} could be {codes}").format(field=field.called, codes=rules.either(codes))
    yield from _of_the_coarse(field, rules)


def _of_the_coarse(field: FieldFacts, rules: Rules) -> Iterator[str]:
    """By the criterion max: the share of the field on the wrong side of the limit."""
    wanted = rules.specification
    if wanted.criterion != "max" or wanted.area_threshold is None or not wanted.bound:
        return
    share = _coarse_share(field, rules)
    if share is None:
        yield _("{field}: the share of its coarse regions is not known").format(field=field.called)
    elif wanted.bound.direction is Direction.FINER and share > wanted.area_threshold:
        yield _("{field}: {share} of it looks coarser than {number}, {most} are allowed").format(
            field=field.called,
            share=f"{share:.0%}",
            number=wanted.bound.size,
            most=f"{wanted.area_threshold:.0%}",
        )
    elif wanted.bound.direction is Direction.COARSER and share < wanted.area_threshold:
        yield _("{field}: only {share} of it looks {limit}, {least} are demanded").format(
            field=field.called,
            share=f"{share:.0%}",
            limit=retold(wanted.limit),
            least=f"{wanted.area_threshold:.0%}",
        )


def _coarse_share(field: FieldFacts, rules: Rules) -> float | None:
    """Share of a field coarser than the limit, or for "or coarser" as coarse as that or more."""
    shares, found = field.coarser_share, rules.parsed(field.code) if field.code else None
    bound = rules.bound_in(found[0]) if found else None
    if not shares or bound is None:
        return None
    sizes = bound.subtype.sizes
    if bound.direction is Direction.FINER:
        beyond = [size for size in sizes if bound.keeps(size)]
    else:
        beyond = [size for size in sizes if not bound.keeps(size)]
    known = [shares[size.name] for size in beyond if size.name in shares]
    if known:
        return min(known)  # the coarsest of them: everything before it is on the other side
    return None if beyond else 1.0


# --- what a person confirmed ---------------------------------------------------------------------


def _broken(facts: SpecimenFacts, counted: Sequence[FieldFacts], rules: Rules) -> Iterator[str]:
    """Say which fields a person confirmed to break what is demanded."""
    wanted = rules.specification
    for one in counted:
        if not one.decided or one.decided.kind != "code" or one.awaits or one.other_taxonomy:
            continue
        if one.decided.unsure and not is_confirmed(one):
            continue
        code, by = one.decided.said, one.decided.by
        if not rules.breaks(code):
            continue
        if not rules.is_of(code):
            yield _("{field} is {code}, confirmed by {who}: {wanted} was ordered").format(
                field=one.called, code=code, who=by, wanted=rules.ordered
            )
        elif rules.by_worst and _is_measured(one, one.decided, rules):
            yield _("{field} is {code}, confirmed by {who}: {limit} is demanded").format(
                field=one.called, code=code, who=by, limit=retold(wanted.limit)
            )
    if not rules.by_worst:
        yield from _broken_mean(distinct_places(counted, facts.same_places), rules)


def _is_measured(field: FieldFacts, decided: Decided, rules: Rules) -> bool:
    """Say whether a person's size stands: a scale without doubt, and the criterion demanded."""
    if list(_of_its_taking(field, rules)) or field.held or field.other_taxonomy:
        return False
    wrong = {"max": ("mean", "unrecorded"), "mean": ("max",)}[rules.specification.criterion]
    return decided.criterion not in wrong


def _broken_mean(places: Sequence[Place], rules: Rules) -> Iterator[str]:
    """The mean over distinct places in its most favourable reading, all decided by reviewers."""
    wanted, bound = rules.specification, rules.bound_in(rules.specification.subtype[0])
    if bound is None or len(places) < wanted.fields:
        return
    counted = [one for place in places for one in place.fields]
    if not all(_is_settled(one, rules) for one in counted):
        return
    numbers = [
        [_size_number(one, rules, bound.favourable) for one in place.fields] for place in places
    ]
    best = [_extreme(some, bound, is_favourable=True) for some in numbers]
    if any(one is None for one in best):
        return
    mean = sum(one for one in best if one is not None) / len(best)
    if not bound.admits(mean):
        names = ", ".join(sorted({one.decided.by for one in counted if one.decided}))
        yield _("the mean of {n} fields is {mean}, confirmed by {who}: {limit} is demanded").format(
            n=len(best), mean=_format_mean(mean, bound), who=names, limit=retold(wanted.limit)
        )


def _is_settled(field: FieldFacts, rules: Rules) -> bool:
    decided = field.decided
    return (
        decided is not None
        and not field.awaits
        and decided.kind == "code"
        and (not decided.unsure or is_confirmed(field))
        and _is_measured(field, decided, rules)
    )


def _size_number(
    field: FieldFacts, rules: Rules, read: Callable[[Size], float | None]
) -> float | None:
    code = field.decided.said if field.decided else field.code
    found = rules.parsed(code) if code else None
    if found is None or found[0] not in rules.specification.subtype:
        return None
    return read(found[1])


def _extreme(numbers: Sequence[float | None], bound: Bound, *, is_favourable: bool) -> float | None:
    """Return the number that keeps the limit best or worst, None where one is not known."""
    known = [one for one in numbers if one is not None]
    if len(known) < len(numbers):
        return None
    return max(known) if bound.wants_large == is_favourable else min(known)


def _together(facts: SpecimenFacts, counted: Sequence[FieldFacts], rules: Rules) -> Iterator[str]:
    """By the rule `mean_of_fields`: the mean over distinct places, least favourable reading.

    All places count, also more than the specification asks for. Of several shots of one place the
    worst one stands for it, so that shots of one fine place cannot dilute a coarse one.
    """
    wanted, bound = rules.specification, rules.bound_in(rules.specification.subtype[0])
    if rules.by_worst or bound is None or not counted:
        return
    worst = [
        _extreme([_worst(one, bound, rules) for one in place.fields], bound, is_favourable=False)
        for place in distinct_places(counted, facts.same_places)
    ]
    numbers = [one for one in worst if one is not None]
    if len(numbers) < len(worst):
        return  # the field itself says what is missing
    mean = sum(numbers) / len(numbers)
    if not bound.admits(mean):
        yield _("the mean of {n} fields could be {mean}, {limit} is demanded").format(
            n=len(numbers), mean=_format_mean(mean, bound), limit=retold(wanted.limit)
        )


def _format_mean(mean: float, bound: Bound) -> str:
    return decimal(mean, ".1f" if isinstance(bound.number, int) else ".3g")


def _worst(field: FieldFacts, bound: Bound, rules: Rules) -> float | None:
    if field.decided:
        codes = [field.decided.said] if field.decided.kind == "code" else []
    else:
        codes = [*field.codes, *([field.code] if field.code else [])]
    found = [rules.parsed(code) for code in codes]
    worst = [
        bound.unfavourable(one[1]) for one in found if one and one[0] in rules.specification.subtype
    ]
    numbers = [one for one in worst if one is not None]
    if not numbers or len(numbers) < len(found):
        return None
    return min(numbers) if bound.wants_large else max(numbers)


# --- what was replaced, and what rests on the model alone ---------------------------------------


def _describe_replaced(
    facts: SpecimenFacts, counted: Sequence[FieldFacts], rules: Rules
) -> Iterator[str]:
    """A field that could break the limit leaves the count by a lead's word alone."""
    here = {one.id for one in counted}
    for one in (*facts.earlier, *facts.fields):
        if one.id in here:
            continue
        where = _("an earlier preparation") if one in facts.earlier else _("a replaced shot")
        if said := describe_replaced(one, where, rules, is_covered=is_covered(one, rules)):
            yield said


def _of_the_model(counted: Sequence[FieldFacts], rules: Rules) -> Iterator[str]:
    """What rests on the model alone needs a lead's permission, with the record behind it."""
    alone = [one for one in counted if one.decided is None]
    refusals = [(one.called, refuse_field(one, rules)) for one in alone]
    for why, n in Counter(why for _name, why in refusals if why).items():
        names = [name for name, said in refusals if said == why]
        yield ngettext(
            "{field} rests on the model alone, and {why}",
            "{n} fields rest on the model alone, and {why}",
            n,
        ).format(field=names[0], n=n, why=why)


def is_covered(field: FieldFacts, rules: Rules) -> bool:
    """Return whether a lead's permission covers what the model alone says of a field."""
    return not refuse_field(field, rules)


def _said_once(sentences: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(sentences))


# --- the order ----------------------------------------------------------------------------------


def order(
    statements: Mapping[str, Statement], required: Sequence[str], count: int | None
) -> Statement:
    """Say whether an order keeps its specification: every required specimen has to.

    Args:
        statements: Specimen → what is said of it.
        required: Specimens the order names.
        count: How many it demands, None where it does not say.
    """
    lacking = [
        _("specimen {name}: no images received").format(name=name)
        for name in required
        if name not in statements
    ]
    short = (count or 0) - len(set(statements) | set(required))
    if short > 0:
        lacking.append(_("{n} of {of} specimens").format(n=len(statements), of=count))
    if not statements and not lacking:
        lacking.append(_("no images received"))
    found = {one.conformity for one in statements.values()}
    missing = (
        *lacking,
        *(
            _("specimen {name}: {said}").format(name=name, said="; ".join(one.missing))
            for name, one in sorted(statements.items())
            if one.missing
        ),
    )
    because = tuple(
        _("specimen {name}: {said}").format(name=name, said="; ".join(one.because))
        for name, one in sorted(statements.items())
        if one.because
    )
    if Conformity.DOES_NOT_CONFORM in found:
        return Statement(Conformity.DOES_NOT_CONFORM, missing, because)
    if missing or found != {Conformity.CONFORMS}:
        return Statement(Conformity.UNDECIDED, missing)
    return Statement(Conformity.CONFORMS)
