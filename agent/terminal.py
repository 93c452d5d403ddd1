"""Text for people at a terminal: what would steer it is made visible, counts with their nouns."""

from __future__ import annotations

import re

STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and line end, and those that turn the reading direction."""


def visible(text: str) -> str:
    r"""Return a text with its control characters written out, such as "\x1b"."""
    return STEERING.sub(_written_out, text)


def _written_out(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode()


def format_count(n: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun: "1 order", "0 orders", "2 orders".

    Args:
        n: The count.
        noun: In the singular, as "file" or "order new or changed".
        plural: Where it is not the singular with an s.
    """
    return f"{n} {noun}" if n == 1 else f"{n} {plural or f'{noun}s'}"
