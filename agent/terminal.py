"""Text as a terminal may show it: what would steer it is made visible."""

from __future__ import annotations

import re

STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and line end, and those that turn the reading direction."""


def visible(text: str) -> str:
    r"""Return a text with its control characters written out, such as "\x1b"."""
    return STEERING.sub(_written_out, text)


def _written_out(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode()
