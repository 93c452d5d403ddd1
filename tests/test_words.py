"""No banned word of the style guide reaches a user: help, settings, guide, pages.

Code spans and option names are not prose and are left out.
"""

from __future__ import annotations

import re
from pathlib import Path

import catalogue
import pytest

from agent.cli.reference import list_commands

ROOT = Path(__file__).resolve().parents[1]

BANNED = (
    r"said",
    r"told",
    r"asked",
    r"beside",
    r"anew",
    r"at work",
    r"taught",
    r"learn(?:s|ed|t)?",
    r"teach(?:es)?",
    r"known (?:images|fields)",
    r"a person",
    r"some(?:body|one)",
    r"who(?:m)?ever",
    r"nobody",
    r"(?:stands|stood|lies)",
    r"is said",
    r"otherwise",
    r"meanwhile",
    r"none of",
    r"of (?:its|their) own",
    r"tak(?:es?|en|ing) up",
    r"look(?:s|ed|ing)? at",
    r"(?:puts?|putting) (?:\w+ )?to work",
    r"g(?:ive|ives|iven|ave) back",
    r"(?<!throw-)away",
    r"strange(?:r|rs|ly)?",
    r"doubt(?:s|ed|ful)?",
    r"errands?",
    r"in force",
    r"(?:eyes?|gaze|desk|bells?|witness(?:es)?|duels?)",
    r"(?:has|have) heard of",
)
"""STYLE.md, "Banned → use"; a word is banned in each form in which it was used here."""

WORDS = re.compile(rf"\b(?:{'|'.join(BANNED)})\b", re.IGNORECASE)
NOT_PROSE = re.compile(r"```.*?```|`[^`]*`|--[a-z][\w-]*|%\(\w+\)[a-z]|\{\w*\}|\[[\w.]+\] \w+|<[^>]+>", re.DOTALL)


def find_banned(text: str) -> list[str]:
    """Return the banned words of a text, in their order."""
    return WORDS.findall(NOT_PROSE.sub(" ", text))
