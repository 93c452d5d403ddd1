"""Decide what a field's labels prove, and what a field that no longer counts leaves open.

Without a lead an act can only make an order more doubtful: a field leaves the count unnoticed only
where nothing that is known of it could break the limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.store import PROGRAMS, is_by_program, voter_of
from agent.triage import Reason
from reports import gettext as _
from reports import language, strange_kind, unusable_why

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.orders.facts.specimen_facts import FieldFacts, LabelFacts
    from agent.orders.judge.judgement_rules import Rules


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
