"""Find what an undecided order needs next, so that it is in a queue."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from agent.orders.facts.specimen_facts import Conformity
from agent.orders.judge import conformity
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Collection

    from agent.orders.facts.specimen_facts import FieldFacts
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
