"""Decide what is trained on what: codes, split, heads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from model.data.dataset import validate_examples
from model.data.splits import Split, split
from model.evaluation.evaluate import group_untrained
from model.networks.schemes import Scheme
from model.training.provenance import describe_data, hash_inputs, list_versions
from model.training.split_checks import (
    describe_uneven_codes,
    leave_out_codes,
    require_every_code,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import Self

    from model.data.dataset import Example
    from model.taxonomy import Taxonomy
    from model.training.config import TrainingConfig


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What is trained on what.

    Args:
        config: The training configuration; its taxonomy lists codes without examples as untrained.
        given_taxonomy: The taxonomy as the lab wrote it.
        sides: The split.
        untrained: Kind → images of codes that are not trained.
        n: Number of all examples of trained codes.
        scheme: Defines the heads.
        notes: Sentences for the record; later steps append to it.
        tested_only: Keys of test examples that the heads never learn from.
    """

    config: TrainingConfig
    given_taxonomy: Taxonomy
    sides: Split
    untrained: Mapping[str, Sequence[Example]]
    n: int
    scheme: Scheme
    notes: list[str]
    tested_only: Collection[str]

    @classmethod
    def build(
        cls,
        labelled: Sequence[Example],
        config: TrainingConfig,
        kept: Mapping[str, Sequence[str]],
        tested_only: Collection[str],
    ) -> Self:
        """Check the examples and split them.

        Raises:
            TrainingError: The examples cannot be used for training as they are.
        """
        examples, taxonomy, notes = validate_examples(
            labelled, wanted := leave_out_codes(config), mixed_groups=config.mixed_groups
        )
        given, config = config.taxonomy, replace(config, taxonomy=taxonomy)
        sides = split(examples, shares=config.shares, kept=kept, seed=config.seed)
        require_every_code(sides, taxonomy, config.group_by, frozenset(kept.get("test", ())))
        notes += describe_uneven_codes(sides, taxonomy, config.group_by, config.shares)
        return cls(
            config=config,
            given_taxonomy=given,
            sides=sides,
            untrained=group_untrained(labelled, wanted),
            n=len(examples),
            scheme=Scheme(config.scheme, taxonomy),
            notes=notes,
            tested_only=tested_only,
        )

    @property
    def learned_after_test(self) -> tuple[Example, ...]:
        """Test examples that the heads learn from when they have been tested."""
        return tuple(e for e in self.sides.test if e.key not in self.tested_only)

    @property
    def learned(self) -> tuple[Example, ...]:
        """Training and validation examples."""
        return (*self.sides.train, *self.sides.validation)

    def describe(self) -> dict[str, Any]:
        """Return the record of configuration, labels, notes and versions."""
        return {
            "plan": self.config.as_json(),
            "taxonomy": self.given_taxonomy.as_json(),
            "notes": self.notes,
            "versions": list_versions(),
            "data": hash_inputs(self.config, self.sides),
            "data_set": describe_data(self.sides),
        }
