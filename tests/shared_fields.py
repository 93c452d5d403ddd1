"""All web applications of a test run share what pydantic compiles for parameters and answers.

The agent builds its application once; a test run builds it hundreds of times, always with the same
hundred routes, and would spend a fifth of its time on compiling their types.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi._compat.v2 import ModelField, asdict
from sqlalchemy.util import LRUCache

if TYPE_CHECKING:
    from collections.abc import Hashable

    from pydantic import TypeAdapter

SIZE = 4000
"""Fields; about four times as many as the application has."""
MADE_FOR_A_ROUTE = "Body_"
"""How FastAPI names the class of a form: a new one each time, which nobody finds again."""
COMPILE = ModelField.__post_init__
"""What FastAPI itself does with each field."""


def share_fields() -> None:
    """Let fields of the same type and the same limits use the same compiled type from now on."""
    shared: LRUCache[Hashable, TypeAdapter[Any]] = LRUCache(SIZE)

    def find_or_compile(field: ModelField) -> None:
        key = _find_key(field)
        if key is not None and (adapter := shared.get(key)):
            field._type_adapter = adapter
            return
        COMPILE(field)
        if key is not None:
            shared[key] = field._type_adapter

    ModelField.__post_init__ = find_or_compile


def _find_key(field: ModelField) -> Hashable | None:
    """Return what two fields of one type have in common; None if that cannot be told."""
    kind = field.field_info.annotation
    limits = repr((asdict(field.field_info), field.config))
    if " at 0x" in limits or getattr(kind, "__name__", "").startswith(MADE_FOR_A_ROUTE):
        return None
    try:
        hash(kind)
    except TypeError:
        return None
    return kind, limits
