"""Values of an assessment: the policy of a lab, an assessed order, an assessed specimen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.errors import WrongUse
from agent.orders.field_facts import FieldContext
from agent.orders.judgement_rules import MAX_FALSE_CONFORM, Rules
from agent.orders.specification_history import SpecificationHistory
from agent.orders.taxonomy_history import TaxonomyHistory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from agent.orders.decision_rule import DecisionRule
    from agent.orders.scale_tracing import ScaleMeasurement
    from agent.orders.specification import Specification, Specifications
    from agent.orders.specimen_facts import Allowance, SpecimenFacts, Statement
    from agent.store import (
        FileFate,
        MicrographView,
        OrderView,
        SpecimenView,
        Unassigned,
    )
    from agent.watch import Provenance
    from model import Taxonomy

    Traced = Callable[[MicrographView], ScaleMeasurement | None]


@dataclass(frozen=True, slots=True)
class OrderPolicy:
    """What a lab has laid down, beside the rows.

    Args:
        specifications: What is demanded. taxonomy: what a micrograph can be.
        sources: Source → what its paths say, to know the order of a file not yet read.
        allowances: What the leads have switched on.
        zone: Time zone of the site. max_false_conform: see `Rules`.
        held: Says why a field's result is held, "" where it is not.
        remarks: Says what a statement has to mention of a field.
        traced: Finds the stage-micrometer measurement that proves a field's scale, or None.
        is_lead: Says whether somebody may do what only a lead may.
        second_look: A label at the limit counts only where a second reviewer confirms it.
        double_reviews: Returns the codes that two people gave to one micrograph.
        history: The specifications as they were. taxonomies: the taxonomy as it was.
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

    second_look: bool = False
    double_reviews: Callable[[], Iterable[tuple[str, str]]] = lambda: ()
    history: SpecificationHistory = field(default_factory=SpecificationHistory)
    taxonomies: TaxonomyHistory = field(default_factory=TaxonomyHistory)

    @property
    def context(self) -> FieldContext:
        """What is known of a field outside its own row; its place is not."""
        return FieldContext(self.held, self.is_lead, traced=self.traced)


@dataclass(frozen=True, slots=True)
class AssessedSpecimen:
    """One specimen and what is said of it.

    Args:
        view: Its rows. facts: what was decided on. statement: what was decided.
        notes: What a reader should know besides, such as an earlier preparation's result.
    """

    view: SpecimenView
    facts: SpecimenFacts
    statement: Statement
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Assessed:
    """One order and what is said of it.

    Args:
        view: Its rows. statement: of the whole order. material: of the order.
        specification: What is demanded, or None. version: of it, 0 where it was never seen.
        specimens: By name. unassigned: fields that name the order and belong to no specimen.
        lost: Files of it that could not be used. taxonomy: by which it is judged.
        notes: What leads decided about it, and which version of the specification applies.
        decision_rule: By which rule it is decided, None without a specification.
        order_doubts: What is open about the order as a whole, besides its specimens.
        material_doubt: Why its material is not known for sure, "" where it is.
        needs_lead: Some of the doubts are settled by a lead alone; the others by more images.
        lacks_specimens: Specimens that the order names have no image yet.
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
    needs_lead: bool = False
    lacks_specimens: bool = False

    def rules(self, lab: OrderPolicy) -> Rules:
        """Return what its specimens are held against. Raises `WrongUse` without a specification."""
        if self.specification is None:
            raise WrongUse(f"No specification applies to order {self.view.number}.")
        return build_rules(self.view, self.specification, self.material, self.taxonomy, lab)


def build_rules(
    view: OrderView, wanted: Specification, material: str, taxonomy: Taxonomy, lab: OrderPolicy
) -> Rules:
    """Build what the specimens of an order are held against."""
    return Rules(
        specification=wanted,
        taxonomy=taxonomy,
        material=material,
        expected=tuple(view.facts.get("subtype") or ()),
        allowances=lab.allowances,
        max_false_conform=lab.max_false_conform,
        second_look=lab.second_look,
    )
