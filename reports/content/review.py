"""Answers to choose from when a micrograph is decided or rated, and the keys that press them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Choice:
    """An answer that a reviewer gives with one press.

    Args:
        value: What is sent, such as "code:G8".
        text: On the button.
        words: What it means.
        key: The digits that press it, "" for none.
        taught: The bundle was trained on it.
        suggested: It is the bundle's answer.
    """

    value: str
    text: str
    words: str = ""
    key: str = ""
    taught: bool = True
    suggested: bool = False


def number_keys(count: int, *, first: int = 1) -> tuple[str, ...]:
    """Return keys for `count` choices, equally long so that none begins another.

    Args:
        count: How many choices.
        first: Number of the first; 0 gives one more key, such as "0" or "00".
    """
    width = len(str(count))
    return tuple(f"{number:0{width}}" for number in range(first, count + 1))


MOST_DIGITS = 2


def size_keys(lowest: Sequence[float | None]) -> tuple[str, ...]:
    """Return the digits of sizes as their keys, equally long so that none begins another.

    Args:
        lowest: Lowest number of each size, such as 9 of "9-10", None where it has none.

    Returns:
        Such as "7", "8", "9", or "07" … "12"; counted from 1 where numbers are missing, are no
        whole numbers, are not distinct or have more than `MOST_DIGITS` digits.
    """
    whole = [int(value) for value in lowest if value is not None and value >= 0 and value % 1 == 0]
    width = len(str(max(whole, default=0)))
    if len(whole) < len(lowest) or len(set(whole)) < len(whole) or width > MOST_DIGITS:
        return number_keys(len(lowest))
    return tuple(f"{number:0{width}}" for number in whole)


@dataclass(frozen=True, slots=True)
class SubtypeChoice:
    """A subtype, and its sizes, coarse to fine.

    Args:
        name: Of the subtype. title: what it means, "" for nothing more.
        key: The digits that open it. letter: the letter that does so too, "" for none.
        sizes: Of the subtype.
    """

    name: str
    title: str
    key: str
    sizes: tuple[Choice, ...]
    letter: str = ""
