"""Format a count with its noun, in the singular where it is one."""

from __future__ import annotations


def format_count(n: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun: "1 order", "0 orders", "2 orders".

    Args:
        n: The count.
        noun: In the singular, as "file" or "order new or changed".
        plural: Where it is not the singular with an s.
    """
    return f"{n} {noun}" if n == 1 else f"{n} {plural or f'{noun}s'}"
