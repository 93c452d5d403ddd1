"""Find what an undecided order needs next, and the fields that a reviewer's answer settles.

A field is listed only once its answer can be given: answers of the model alone are confirmed when
all images of the order are there, so that nobody looks at a specimen twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from agent.orders.facts.needle_lengths import list_order_doubts, list_specimen_doubts
from agent.orders.facts.places import distinct_places
from agent.orders.facts.specimen_facts import Conformity, FieldFacts
from agent.orders.judge import conformity
from agent.orders.judge.field_evidence import could_break, is_confirmed, list_confirming
from agent.store import voter_of
from reports import gettext as _
from reports import ngettext

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from agent.orders.judge.assessed import Assessed, OrderPolicy
    from agent.orders.judge.judgement_rules import Rules


class NextStep(StrEnum):
    """Next step of an undecided order, most pressing first; stored with the night."""

    PROBABLY_OUT = "probably_out"
    HELD = "held"
    TO_CONFIRM = "to_confirm"
    WAITING_FOR_IMAGES = "waiting_for_images"

    @property
    def words(self) -> str:
        """The word on pages: "probably out of specification"."""
        return {
            NextStep.PROBABLY_OUT: _("probably out of specification"),
            NextStep.HELD: _("held"),
            NextStep.TO_CONFIRM: _("to confirm"),
            NextStep.WAITING_FOR_IMAGES: _("waiting for images"),
        }[self]


def find_next_step(
    assessed: Assessed, policy: OrderPolicy, *, hidden: Collection[str] = ()
) -> NextStep | None:
    """Return what an order needs next, None where it is not undecided.

    An order waits for images only where no field needs a reviewer or a lead; answers that rest on
    the model alone are confirmed once all images are there.

    Args:
        assessed: The order.
        policy: Order policy of the lab.
        hidden: Public ids of fields whose answer must not show, so that it makes no order
            probably out of specification.
    """
    if assessed.statement.conformity is not Conformity.UNDECIDED:
        return None
    if assessed.specification is None:
        return NextStep.TO_CONFIRM
    rules = assessed.rules(policy)
    fields = [
        field
        for specimen in assessed.specimens
        for field in conformity.list_counted(specimen.facts)
    ]
    if any(looks_broken(field, rules) for field in fields if field.id not in hidden):
        return NextStep.PROBABLY_OUT
    if any(field.held for field in fields):
        return NextStep.HELD
    has_question = assessed.needs_lead or _has_question(assessed, rules)
    only_waits = not has_question and lacks_images(assessed, rules)
    return NextStep.WAITING_FOR_IMAGES if only_waits else NextStep.TO_CONFIRM


def looks_broken(field: FieldFacts, rules: Rules) -> bool:
    """Return whether what is known of a field breaks what is demanded, though unconfirmed.

    By the rule `mean_of_fields` one coarse field breaks no limit; another subtype does.
    """
    code = field.decided.said if field.decided and field.decided.kind == "code" else field.code
    if not code:
        return False
    return rules.breaks(code) if rules.by_worst else bool(rules.unexpected(code))


def _has_question(assessed: Assessed, rules: Rules) -> bool:
    return any(conformity.has_question(specimen.facts, rules) for specimen in assessed.specimens)


def lacks_images(assessed: Assessed, rules: Rules) -> bool:
    """Return whether images are missing: of a specimen, whole specimens, files still to be read."""
    return assessed.lacks_specimens or any(
        conformity.lacks_images(specimen.facts, rules) for specimen in assessed.specimens
    )


TWO = 2


def list_to_confirm(assessed: Assessed, policy: OrderPolicy, *, by: str = "") -> list[FieldFacts]:
    """Return the fields whose answer a reviewer has to give, in the order of the specimens.

    Args:
        assessed: The order.
        policy: Order policy of the lab.
        by: The reviewer; fields that need another reviewer's answer are left out. "": anybody.
    """
    if assessed.specification is None:
        return [counted for counted in _list_all_counted(assessed) if counted.awaits]
    rules, step = assessed.rules(policy), find_next_step(assessed, policy)
    is_complete = not lacks_images(assessed, rules)
    found = []
    for specimen in assessed.specimens:
        is_open = specimen.statement.conformity is Conformity.UNDECIDED
        for field in conformity.list_counted(specimen.facts):
            needs_answer = is_open and (
                _needs_second(field, rules, by)
                if field.decided
                else step in {NextStep.PROBABLY_OUT, NextStep.TO_CONFIRM}
                and _needs_first(field, rules, is_complete=is_complete)
            )
            if field.awaits or needs_answer:
                found.append(field)
    return found


def _list_all_counted(assessed: Assessed) -> Iterator[FieldFacts]:
    for specimen in assessed.specimens:
        yield from conformity.list_counted(specimen.facts)


def _needs_first(field: FieldFacts, rules: Rules, *, is_complete: bool) -> bool:
    covered = conformity.is_covered(field, rules) if is_complete else True
    return bool(could_break(field, rules, is_covered=covered))


def _needs_second(field: FieldFacts, rules: Rules, by: str) -> bool:
    """Return whether a field that has a code needs one more reviewer who gives the same one."""
    held = field.decided
    if held is None or held.kind != "code":
        return False
    if held.unsure and not is_confirmed(field):
        return True
    sure = list_confirming(field, rules)
    at_limit = rules.second_look and rules.is_at_limit(held.said) and len(sure) < TWO
    return at_limit and (not by or voter_of(by) not in sure)


@dataclass(frozen=True, slots=True)
class Lack:
    """What an order lacks, as a stable word and numbers, translated when it is shown.

    Attributes:
        kind: "broken", "out", "held", "lead", "possible", "alike", "confirm", "specimens",
            "fields", "area", "files", "specification" or "" for nothing.
        n: How many there are, or need an answer.
        of: How many are demanded, where that counts.
        word: Structure codes, sources or orders.
    """

    kind: str = ""
    n: int = 0
    of: int = 0
    word: str = ""

    @property
    def words(self) -> str:
        """As it is read, in about five words."""
        n, of, word = self.n, self.of, self.word
        sentences = {
            "": _("nothing is missing"),
            "broken": ngettext("{word} in {n} field", "{word} in {n} fields", n),
            "out": ngettext(
                "{word} in {n} field, unconfirmed", "{word} in {n} fields, unconfirmed", n
            ),
            "held": ngettext("{n} field held: {word}", "{n} fields held: {word}", n),
            "lead": _("a lead decides"),
            "needles": _("needle limit open: a lead decides"),
            "possible": ngettext(
                "{n} file of no order: assign or dismiss",
                "{n} files of no order: assign or dismiss",
                n,
            ),
            "alike": ngettext(
                "order {word} might be this one: dismiss or assign",
                "orders {word} might be this one: dismiss or assign",
                n,
            ),
            "confirm": ngettext("{n} field to confirm", "{n} fields to confirm", n),
            "specimens": _("{n} of {of} specimens here"),
            "fields": _("{n} of {of} fields here"),
            "area": _("more area is needed"),
            "files": ngettext("{n} file still unread", "{n} files still unread", n),
            "specification": _("no specification applies"),
        }
        return sentences[self.kind].format(n=n, of=of, word=word)


def find_lack(
    assessed: Assessed, policy: OrderPolicy, *, n_to_confirm: int, hidden: Collection[str] = ()
) -> Lack:
    """Return what an order lacks most.

    Args:
        assessed: The order.
        policy: Order policy of the lab.
        n_to_confirm: How many fields a reviewer has to answer.
        hidden: Public ids of fields whose answer must not show.
    """
    word = assessed.statement.conformity
    if word is Conformity.CONFORMS:
        return Lack()
    if assessed.specification is None:
        return Lack("specification")
    rules = assessed.rules(policy)
    broken = [counted for counted in _list_all_counted(assessed) if looks_broken(counted, rules)]
    if word is Conformity.DOES_NOT_CONFORM:
        return _name_codes("broken", [counted for counted in broken if counted.decided])
    step = find_next_step(assessed, policy, hidden=hidden)
    if step is NextStep.WAITING_FOR_IMAGES:
        return _name_missing(assessed, rules)
    to_answer = Lack("confirm", n_to_confirm) if n_to_confirm else _name_decision(assessed)
    return {
        NextStep.PROBABLY_OUT: _name_codes(
            "out", [counted for counted in broken if counted.id not in hidden]
        ),
        NextStep.HELD: _name_held(assessed),
    }.get(step or NextStep.TO_CONFIRM, to_answer)


def _name_decision(assessed: Assessed) -> Lack:
    """Return what is left to a lead, and of what might belong to it, where no field is."""
    wanted = assessed.specification
    if assessed.possible and not assessed.needs_lead:
        return Lack("possible", len(assessed.possible))
    if assessed.alike and not assessed.needs_lead:
        return Lack("alike", len(assessed.alike), word=", ".join(assessed.alike))
    if wanted is None or not wanted.demands_needles:
        return Lack("lead")
    own = [specimen.needles for specimen in assessed.specimens if specimen.needles]
    is_open = any(list_specimen_doubts(needles, wanted) for needles in own) or (
        assessed.needles is not None and list_order_doubts(assessed.needles, wanted)
    )
    return Lack("needles" if is_open else "lead")


def _name_codes(kind: str, fields: list[FieldFacts]) -> Lack:
    codes = dict.fromkeys(_get_code(field_view) for field_view in fields)
    return Lack(kind, len(fields), word=", ".join(codes))


def _get_code(field: FieldFacts) -> str:
    decided = field.decided
    return decided.said if decided and decided.kind == "code" else field.code or ""


def _name_held(assessed: Assessed) -> Lack:
    held = {counted.id for counted in _list_all_counted(assessed) if counted.held}
    sources = {
        field.view.source
        for specimen in assessed.view.specimens
        for prepared in specimen.preparations
        for field in prepared.fields
        if field.view.id in held
    }
    return Lack("held", len(held), word=", ".join(sorted(sources)))


def _name_missing(assessed: Assessed, rules: Rules) -> Lack:
    wanted, there = rules.specification, len(assessed.specimens)
    waiting = sum(specimen.facts.waiting for specimen in assessed.specimens)
    if assessed.lacks_specimens:
        named = len(assessed.view.facts.get("specimens") or ())
        demanded = max(
            int(assessed.view.facts.get("count") or 0), wanted.specimens or 0, named, there
        )
        return Lack("specimens", there, max(demanded, 1))
    places = [
        len(distinct_places(conformity.list_counted(specimen.facts), specimen.facts.same_places))
        for specimen in assessed.specimens
    ]
    if min(places, default=0) < wanted.fields:
        n = sum(min(count, wanted.fields) for count in places)
        return Lack("fields", n, wanted.fields * max(there, 1))
    return Lack("files", waiting) if waiting else Lack("area")
