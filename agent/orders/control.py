"""Hold results back whose instrument was not checked.

In:  control records. Out: a sentence per held field. Next: `assessment`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.settings import Settings
    from agent.store import MicrographView, Store


def held_by(settings: Settings, store: Store) -> Callable[[MicrographView], str]:
    """Say why a field's result is held, "" where it is not."""
    del settings, store
    return lambda _: ""
