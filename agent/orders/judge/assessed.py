"""Values of an assessment: the policy of a lab, an assessed order, an assessed specimen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from agent.errors import UsageError
from agent.orders.facts.field_facts import FieldContext
from agent.orders.facts.needle_lengths import OrderNeedles, SpecimenNeedles, gather_order_needles
from agent.orders.facts.scale_tracing import ScaleMeasurement
from agent.orders.facts.specimen_facts import Allowance, SpecimenFacts, Statement
from agent.orders.judge.decision_rule import DecisionRule
from agent.orders.judge.judgement_rules import MAX_FALSE_CONFORM, Rules
from agent.orders.specifications.specification import Specification, Specifications
from agent.orders.specifications.specification_history import SpecificationHistory, TaxonomyHistory
from agent.store import (
    DoubleReview,
    FileFate,
    MicrographView,
    OrderView,
    Record,
    SpecimenView,
    Unassigned,
)
from agent.watch import Provenance
from model import Taxonomy

Traced = Callable[[MicrographView], ScaleMeasurement | None]


@dataclass(frozen=True, slots=True)
class OrderPolicy:
    """What a lab demands of its orders, apart from their rows.

    Args:
        specifications: What is demanded.
        taxonomy: What a micrograph can be.
        sources: Source → what its paths say, to know the order of a file not yet read.
        allowances: The leads' permissions.
        zone: Time zone of the site.
        max_false_conform: See `Rules`.
        held: Returns why a field's result is held, "" where it is not.
        remarks: Returns what a statement has to mention of a field.
        traced: Finds the stage-micrometer measurement that proves a field's scale, or None.
        is_lead: Returns whether a name is that of a lead; no program is one.
        is_leading_program: Returns whether a name is that of a program with the role of a lead.
        leads: Returns the names of the people who are leads.
        has_leads: Returns whether the lab has accounts or names leads; without them everyone at
            its PC does a lead's acts.
        second_look: A label at the limit counts only where a second reviewer confirms it.
        double_reviews: Returns double reviews and readings of reference values.
        history: Earlier specifications.
        taxonomies: Earlier taxonomies.
        has_needles: Needles are measured, so that orders show them.
        demands: Records of what the settings demanded of orders, oldest first.
        scales: Returns `held`, `remarks` and `traced` by how many months a scale is valid.
    """

    specifications: Specifications
    taxonomy: Taxonomy
    sources: Mapping[str, Provenance] = field(default_factory=dict)
    allowances: tuple[Allowance, ...] = ()
    zone: str = "UTC"
    max_false_conform: float = MAX_FALSE_CONFORM
    held: Callable[[MicrographView], str] = lambda _view: ""
    remarks: Callable[[MicrographView], Iterable[str]] = lambda _view: ()
    traced: Traced = lambda _view: None
    is_lead: Callable[[str], bool] = lambda _name: False
    is_leading_program: Callable[[str], bool] = lambda _name: False
    leads: Callable[[], frozenset[str]] = frozenset
    has_leads: Callable[[], bool] = lambda: True
    second_look: bool = False
    double_reviews: Callable[[], Iterable[DoubleReview]] = lambda: ()
    history: SpecificationHistory = field(default_factory=SpecificationHistory)
    taxonomies: TaxonomyHistory = field(default_factory=TaxonomyHistory)
    has_needles: bool = False
    demands: tuple[Record, ...] = ()
    scales: Callable[[int], Mapping[str, Any]] = lambda _months: {}

    def find_demands(self, since: datetime | None, last: int | None) -> Mapping[str, Any]:
        """Return what the settings demanded when an order was released or reopened.

        Args:
            since: That time, None where it is not known.
            last: Number of the newest record then, None where none was kept.
        """
        if since is None or not self.demands:
            return {}
        before = [
            state
            for state in self.demands
            if (state.at <= since if last is None else state.id <= last)
        ]
        return (before[-1] if before else self.demands[0]).facts

    def demanding(self, demands: Mapping[str, Any]) -> OrderPolicy:
        """Return the policy by which an order is judged of which that was demanded."""
        if not demands:
            return self
        return replace(
            self,
            max_false_conform=demands["max_false_conform"],
            second_look=demands["second_look_at_limit"],
            **self.scales(demands["scale_valid_months"]),
        )

    def may_lead(self, name: str) -> bool:
        """Return whether a lead's act is open to a name; what counts as evidence asks `is_lead`."""
        return self.is_lead(name) or self.is_leading_program(name) or not self.has_leads()

    @property
    def context(self) -> FieldContext:
        """Facts of a field outside its own row, except its place."""
        return FieldContext(self.held, self.is_lead, traced=self.traced)


@dataclass(frozen=True, slots=True)
class AssessedSpecimen:
    """A specimen and its conformity.

    Args:
        view: Its rows.
        facts: What was judged.
        statement: Its conformity.
        notes: Further facts for the reader, such as the result of an earlier preparation.
        needles: Of its fields; None where neither settings nor specification want them.
    """

    view: SpecimenView
    facts: SpecimenFacts
    statement: Statement
    notes: tuple[str, ...]
    needles: SpecimenNeedles | None = None


@dataclass(frozen=True, slots=True)
class Assessed:
    """An order and its conformity.

    Args:
        view: Its rows.
        statement: Conformity of the whole order.
        material: Of the order.
        specification: What is demanded, or None.
        version: Of the specification, 0 where none is stored.
        specimens: In the order of their names.
        unassigned: Fields that name the order and belong to no specimen.
        lost: Files of the order that could not be used.
        taxonomy: By which it is judged.
        notes: What leads decided about it, and which version of the specification applies.
        decision_rule: By which rule it is decided, None without a specification.
        order_doubts: What is open about the order as a whole, apart from its specimens.
        material_doubt: Why its material is uncertain, "" where it is not.
        held_back: What a restored database lost of an order that conforms but for that; None where
            it is not held back.
        possible: Fields of no specimen that might belong to it, until a reviewer settles them, by
            public id with their files.
        alike: Orders that might be this one, until a reviewer settles them.
        needs_lead: Only a lead can settle at least one of the doubts.
        lacks_specimens: Specimens that the order names have no image yet.
        demands: What the settings demanded at its release or reopening; {} where none was kept.
    """

    view: OrderView
    statement: Statement
    material: str
    specification: Specification | None
    version: int
    specimens: tuple[AssessedSpecimen, ...]
    unassigned: tuple[Unassigned, ...]
    lost: tuple[FileFate, ...]
    taxonomy: Taxonomy
    notes: tuple[str, ...] = ()
    decision_rule: DecisionRule | None = None
    order_doubts: tuple[str, ...] = ()
    material_doubt: str = ""
    held_back: Mapping[str, object] | None = None
    possible: Mapping[str, str] = field(default_factory=dict)
    alike: tuple[str, ...] = ()
    needs_lead: bool = False
    lacks_specimens: bool = False
    demands: Mapping[str, Any] = field(default_factory=dict)

    @property
    def needles(self) -> OrderNeedles | None:
        """The needles of its fields, None where neither settings nor specification want them."""
        own = tuple(specimen.needles for specimen in self.specimens if specimen.needles)
        return gather_order_needles(own, self.specification) if own else None

    def rules(self, policy: OrderPolicy) -> Rules:
        """Return the rules that its specimens are judged by.

        Raises:
            UsageError: No specification applies.
        """
        if self.specification is None:
            raise UsageError(f"No specification applies to order {self.view.number}.")
        own = policy.demanding(self.demands)
        return build_rules(self.view, self.specification, self.material, self.taxonomy, own)


def build_rules(
    view: OrderView, wanted: Specification, material: str, taxonomy: Taxonomy, policy: OrderPolicy
) -> Rules:
    """Build the rules that the specimens of an order are judged by."""
    return Rules(
        specification=wanted,
        taxonomy=taxonomy,
        material=material,
        expected=tuple(view.facts.get("subtype") or ()),
        allowances=policy.allowances,
        max_false_conform=policy.max_false_conform,
        second_look=policy.second_look,
    )
