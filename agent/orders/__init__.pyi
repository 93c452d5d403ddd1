# Public names, each imported on first use.
from .specifications.specification import (
    SpecificationError as SpecificationError,
    Specifications as Specifications,
    iter_faults as iter_faults,
    list_valid_limits as list_valid_limits,
    read_specifications as read_specifications,
)
