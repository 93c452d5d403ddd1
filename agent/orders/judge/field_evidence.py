"""Decide what a field's labels prove, and the questions that keep it from proving anything.

Without a lead an act can only make an order more doubtful: a field leaves the count unnoticed only
where nothing that is known of it could break the limit.
"""

from __future__ import annotations

from collections.abc import Iterator

from agent.orders.facts.places import describe_elsewhere
from agent.orders.facts.specimen_facts import FieldDecision, FieldFacts, LabelFacts
from agent.orders.judge.judgement_rules import Rules
from agent.orders.judge.limit import Direction, format_limit
from agent.orders.specifications.specification import is_same_name
from agent.store import PROGRAMS, is_by_program, voter_of
from agent.triage import Reason
from reports import decimal, language, percent, reason, strange_kind, unusable_why
from reports import gettext as _


def could_break(field: FieldFacts, rules: Rules, *, is_covered: bool) -> str:
    """Return why a field could break what is demanded, in a few words; "" if it could not.

    A sure label that keeps the limit, and that no other label contradicts, settles it. Without one
    the label, the prediction set, the out-of-distribution flag and a missing review each count.

    Args:
        field: The field.
        rules: What is demanded.
        is_covered: The model's answer alone would prove it, by a lead's permission.
    """
    why = _describe_evidence(field, rules, is_covered=is_covered)
    if not why and field.held:  # what keeps the limit was seen through an instrument in doubt
        return _("is held ({why})").format(why=field.held)
    return why


def _describe_evidence(field: FieldFacts, rules: Rules, *, is_covered: bool) -> str:
    if why := find_contradiction(field, rules) or _describe_partial_judgement(field):
        return why
    if field.decided and field.decided.kind == "code":
        if field.decided.unsure and not is_confirmed(field):
            return _("{who} was not sure of {code}").format(
                who=field.decided.by, code=rules.name_code(field.decided.said)
            )
        if rules.keeps(field.decided.said):
            return ""
        return _("was {code}, labelled by {who}").format(
            code=rules.name_code(field.decided.said), who=field.decided.by
        )
    if field.decided and field.decided.kind != "unusable":
        return _("was labelled {what} by {who}").format(
            what=describe_label(field.decided.kind, field.decided.said), who=field.decided.by
        )
    return _describe_answer_risk(field, rules, is_covered=is_covered)


def _describe_partial_judgement(field: FieldFacts) -> str:
    if field.planes_differ:
        return _("has planes or channels of another place")
    if not field.other_taxonomy:
        return ""
    return _("was judged by another list of sizes ({why})").format(why=field.other_taxonomy)


def _describe_answer_risk(field: FieldFacts, rules: Rules, *, is_covered: bool) -> str:
    if not field.code or not field.codes:
        return _("has no answer of a model")
    codes = dict.fromkeys((*field.codes, field.code))
    if not all(rules.keeps(code) for code in codes):
        return _("could be {codes}").format(codes=rules.either(codes))
    if Reason.STRANGE in field.reasons:
        return _("was unlike the reference images")
    if field.decided is None and (field.awaits or not is_covered):
        return _("was not reviewed")
    return ""


def find_contradiction(field: FieldFacts, rules: Rules) -> str:
    """Return which label breaks the limit although the one that holds does not; "" if none does.

    Two other reviewers who are sure outweigh a label, or one lead. The author of a label cannot
    outweigh it, whatever the role, and no program can.
    """
    against = list(iter_breaking_labels(field, rules))
    if not against or (field.decided and field.decided.said == against[-1].said):
        return ""
    authors = {voter_of(label.by) for label in against}
    keeping = {
        voter_of(label.by): label.lead
        for label in field.labels
        if label.kind == "code"
        and not (label.unsure or label.withdrawn or label.other_taxonomy)
        and voter_of(label.by) not in {*authors, PROGRAMS}
        and rules.keeps(label.said)
    }
    holds = field.decided is not None and field.decided.kind == "code"
    if holds and (any(keeping.values()) or len(keeping) > 1):
        return ""
    return _("was {code}, labelled by {who}").format(
        code=rules.name_code(against[-1].said), who=against[-1].by
    )


def iter_breaking_labels(field: FieldFacts, rules: Rules) -> Iterator[LabelFacts]:
    """Yield the labels, also withdrawn ones, whose code does not surely keep the limit."""
    for label in field.labels:
        if label.kind == "code" and (label.other_taxonomy or not rules.keeps(label.said)):
            yield label


def is_confirmed(field: FieldFacts) -> bool:
    """Return whether a reviewer who was sure gave the code that holds."""
    decision = field.decided
    return decision is not None and any(
        label.kind == "code"
        and label.said == decision.said
        and not (label.unsure or label.withdrawn)
        for label in field.labels
    )


def list_confirming(field: FieldFacts, rules: Rules) -> set[str]:
    """Return the reviewers whose sure labels keep the limit, each by `person_key`; no program."""
    return {
        voter_of(label.by)
        for label in field.labels
        if label.kind == "code"
        and not is_by_program(label.by)
        and not (label.unsure or label.withdrawn or label.other_taxonomy)
        and rules.keeps(label.said)
    }


def describe_replaced(field: FieldFacts, where: str, rules: Rules, *, is_covered: bool) -> str:
    """Return what speaks against a field that no longer counts; "" where nothing does.

    A lead releases it; a confirmed break only a second person, with a picture of the defect.

    Args:
        field: It was superseded, belongs to an earlier preparation, or is unusable.
        where: In which shot or preparation, in words.
        rules: What is demanded.
        is_covered: As in `could_break`.
    """
    why = could_break(field, rules, is_covered=is_covered)
    if not why:
        return ""
    against = {
        voter_of(label.by) for label in iter_breaking_labels(field, rules) if not label.unsure
    }
    if against and _is_led(field):
        if _is_shown(field, against):
            return ""
        return _(
            "{where}: {field} {why}: a second person, a lead, names the defect with a picture "
            "(agent orders supersede --defect --picture)"
        ).format(where=where, field=field.called, why=why)
    if _is_led(field):
        return ""
    return _("{where}: {field} {why}: a lead decides (agent orders supersede)").format(
        where=where, field=field.called, why=why
    )


def _is_led(field: FieldFacts) -> bool:
    if field.superseded and field.superseded.lead:
        return True
    last = field.labels[-1:]
    return bool(last) and last[0].kind == "unusable" and last[0].lead and not last[0].withdrawn


def _is_shown(field: FieldFacts, against: set[str]) -> bool:
    gone = field.superseded
    return (
        gone is not None
        and gone.lead
        and voter_of(gone.by) not in {*against, PROGRAMS}
        and bool(gone.defect and gone.picture)
    )


def describe_label(kind: str, said: str) -> str:
    """Return a label that is no code, as a page shows it in the reader's language."""
    if kind == "cannot_tell":
        return _("cannot tell")
    if language() == "en":
        return said.replace("_", " ")
    return (strange_kind if kind == "strange" else unusable_why)(said)


TWO = 2


def describe_field(field: FieldFacts, rules: Rules) -> Iterator[str]:
    """Yield what keeps one field from proving anything."""
    yield from describe_elsewhere(field)
    yield from describe_acquisition(field, rules)
    if field.other_taxonomy:
        yield f"{field.called}: {field.other_taxonomy}"
    if field.planes_differ:
        yield _(
            "{field}: its file has planes or channels of another place, and one alone was judged: "
            "save each place as a file and let a lead replace it (agent orders supersede)"
        ).format(field=field.called)
    if field.awaits:
        yield describe_wait(field, rules)
        return
    if field.decided and field.decided.kind == "strange":
        yield _("{field} was called unusual ({kind}) by {who}").format(
            field=field.called,
            kind=describe_label(field.decided.kind, field.decided.said),
            who=field.decided.by,
        )
    elif field.decided and field.decided.kind == "cannot_tell":
        yield _("{field}: {who} could not tell").format(field=field.called, who=field.decided.by)
    elif field.decided:
        yield from _describe_decision(field, field.decided, rules)
    else:
        yield from _describe_answer(field, rules)
    yield from _describe_history(field, rules)


def describe_wait(field: FieldFacts, rules: Rules) -> str:
    """Return that a field awaits review, and why."""
    return _("{field} awaits review").format(field=field.called) + _explain_review(field, rules)


def _describe_history(field: FieldFacts, rules: Rules) -> Iterator[str]:
    """Yield what the labels of a field leave open, although the valid one keeps the limit."""
    if why := find_contradiction(field, rules):
        yield _("{field} {why}: a lead or two other reviewers decide").format(
            field=field.called, why=why
        )
    decision = field.decided
    if decision is None or decision.kind != "code":
        return
    if decision.unsure and not is_confirmed(field):
        yield _("{field}: {who} was not sure of {code}").format(
            field=field.called, who=decision.by, code=rules.name_code(decision.said)
        )
    if (
        rules.second_look
        and rules.is_at_limit(decision.said)
        and len(list_confirming(field, rules)) < TWO
    ):
        yield _("{field} is {code}, at the limit: a second reviewer is needed").format(
            field=field.called, code=rules.name_code(decision.said)
        )


def describe_acquisition(field: FieldFacts, rules: Rules) -> Iterator[str]:
    """Yield what is wrong with how a field was taken: scale, material, magnification, etchant."""
    wanted = rules.specification
    if field.scale_in_doubt:
        yield _("{field}: its scale is uncertain, as its sources disagree").format(
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
    if field.material and rules.material and not is_same_name(field.material, rules.material):
        yield _("{field} says material {found}, the order says {wanted}").format(
            field=field.called, found=field.material, wanted=rules.material
        )
    for what, actual, allowed in (
        (_("magnification"), field.magnification, wanted.magnification),
        (_("etchant"), field.etchant, wanted.etchant),
    ):
        if allowed and not any(_normalise(actual) == _normalise(value) for value in allowed):
            sentence = (
                _("{field} was taken with {what} {found}, {wanted} is demanded")
                if actual
                else _("{field} says no {what}, {wanted} is demanded")
            )
            yield sentence.format(
                field=field.called, what=what, found=actual, wanted=_(" or ").join(allowed)
            )


def _normalise(name: str) -> str:
    return "".join(name.split()).casefold().replace("×", "x").removesuffix(":1").removesuffix("x")


def _explain_review(field: FieldFacts, rules: Rules) -> str:
    if sentence := rules.unexpected(field.code):
        return f": {sentence}"
    words = [
        str(field.outside)
        if word == Reason.OUT_OF_SCOPE and field.outside
        else _translate_reason(word)
        for word in field.reasons
    ]
    return f" ({', '.join(words)})" if words else ""


def _translate_reason(word: str) -> str:
    return word.replace("_", " ") if language() == "en" else reason(word)[0]


def _describe_decision(field: FieldFacts, decided: FieldDecision, rules: Rules) -> Iterator[str]:
    wanted = rules.specification
    if sentence := rules.unexpected(decided.said):
        yield f"{field.called}: {sentence}"
    elif not (rules.keeps if rules.by_worst else rules.is_of)(decided.said):
        yield _("{field} is {code}, decided by {who}: {demand} is demanded").format(
            field=field.called,
            code=rules.name_code(decided.said),
            who=decided.by,
            demand=wanted.demand,
        )
    if wanted.criterion == "max" and decided.criterion != "max":
        yield _("{field} was decided by {who} without the criterion max, which is demanded").format(
            field=field.called, who=decided.by
        )
    elif wanted.criterion == "mean" and decided.criterion == "max":
        yield _("{field} was decided by the criterion max, mean is demanded").format(
            field=field.called
        )


def _describe_answer(field: FieldFacts, rules: Rules) -> Iterator[str]:
    if not field.code or not field.codes:
        yield _("{field} has no answer yet").format(field=field.called)
        return
    if sentence := rules.unexpected(field.code):
        yield f"{field.called}: {sentence}"
        return
    keeps = rules.keeps if rules.by_worst else rules.is_of
    if not all(keeps(code) for code in (*field.codes, field.code)):
        yield _describe_open_answer(field, field.code, rules)
    yield from _describe_coarse_share(field, rules)


def _describe_open_answer(field: FieldFacts, code: str, rules: Rules) -> str:
    """Return what the model says, how sure it is, and the limit that a reviewer confirms it by."""
    answer = rules.either((code,))
    if field.probability is not None:
        answer = f"{answer} ({percent(field.probability)})"
    others = [other for other in dict.fromkeys(field.codes) if other != code]
    wanted = rules.specification
    limit = next(filter(None, map(rules.limit_words, (code, *field.codes))), "")
    if not limit and rules.parsed(code) is None:
        limit = format_limit(wanted.limit)
    demand = (
        _("limit is {limit}").format(limit=limit)
        if limit
        else _("{demand} is demanded").format(demand=wanted.demand)
    )
    if others:
        return _("{field}: model says {answer}, {others} is possible; {demand}: confirm").format(
            field=field.called, answer=answer, others=rules.either(others), demand=demand
        )
    return _("{field}: model says {answer}, {demand}: confirm").format(
        field=field.called, answer=answer, demand=demand
    )


def _describe_coarse_share(field: FieldFacts, rules: Rules) -> Iterator[str]:
    """Yield, for the criterion max, that too much of the field is beyond the limit."""
    wanted = rules.specification
    parsed = rules.parsed(field.code) if field.code else None
    bound = rules.limit_in(parsed[0]) if parsed else wanted.bound
    if wanted.criterion != "max" or wanted.area_threshold is None or not bound:
        return
    share = _find_coarse_share(field, rules)
    if share is None:
        yield _("{field}: the share of its coarse regions is not known").format(field=field.called)
    elif bound.direction is Direction.FINER and share > wanted.area_threshold:
        yield _("{field}: {share} of it looks coarser than {number}, {most} are allowed").format(
            field=field.called,
            share=f"{share:.0%}",
            number=bound.size,
            most=f"{wanted.area_threshold:.0%}",
        )
    elif bound.direction is Direction.COARSER and share < wanted.area_threshold:
        yield _("{field}: only {share} of it looks {limit}, {least} are demanded").format(
            field=field.called,
            share=f"{share:.0%}",
            limit=bound.words,
            least=f"{wanted.area_threshold:.0%}",
        )


def _find_coarse_share(field: FieldFacts, rules: Rules) -> float | None:
    """Return the share of a field coarser than the limit; for "or coarser", as coarse or more."""
    shares, parsed = field.coarser_share, rules.parsed(field.code) if field.code else None
    bound = rules.bound_in(parsed[0]) if parsed else None
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
