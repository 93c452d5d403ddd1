# Public names, each imported on first use.
from .specifications.specification import (
    SpecificationError as SpecificationError,
    Specification as Specification,
    Specifications as Specifications,
    iter_faults as iter_faults,
    list_valid_limits as list_valid_limits,
    read_specifications as read_specifications,
)
from .facts.specimen_facts import Conformity as Conformity
