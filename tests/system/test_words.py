"""No banned word of the style guide reaches a user in help, settings, guide or messages.

Code spans and option names are not prose and are left out.
"""

from __future__ import annotations

import re
from functools import cache

import catalogue
import pytest
from folders import ROOT

from agent.cli.app import app
from agent.cli.reference import list_commands

BANNED = (
    r"said",
    r"told",
    r"asked",
    r"beside",
    r"anew",
    r"at work",
    r"taught",
    r"learn(?:s|ed|t)?",
    r"teach(?:es|ing)?",
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

REPLACED = re.compile(
    r"password do not belong|who decides\?|\bgo on(?: as\b|$)|updated by themselves"
    r"|settled by a reviewer"
    r"|never checked|\bteaching|\bbegun\b|strangeness|not comparable|\bOOD\b|looks again"
    r"|no longer go first|who is there now|specimen of {at} is off",
    re.IGNORECASE,
)
"""Wordings of pages that their readers stumbled over; none comes back."""

WORDS = re.compile(rf"\b(?:{'|'.join(BANNED)})\b", re.IGNORECASE)
NOT_PROSE = re.compile(
    r"```.*?```"  # a block of code
    r"|`[^`\n]*`"
    r"|<(?:style|script).*?</(?:style|script)>"
    r"|<[^>]+>"
    r"|\{[{%#].*?[#%}]\}"  # Jinja
    r"|%\(\w+\)[a-z]|\{\w*\}"  # what is filled in
    r"|\bagent [a-z]+(?:-[a-z]+)+"  # a command with a hyphen, such as begin-anew
    r"|--[a-z][\w-]*"
    r"|\[\w+\] \w+",  # a setting
    re.DOTALL,
)
PAGES = (
    "README.md",
    "deploy/OPERATIONS.md",
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "reports/guide").glob("*.md")),
)
COMMANDS = list_commands()


def find_banned(text: str) -> list[str]:
    """Return the banned words of a text, in their order."""
    return WORDS.findall(NOT_PROSE.sub(" ", text))


@cache
def list_messages() -> frozenset[str]:
    """Return every message of the catalogue, singular and plural."""
    messages = (message.id for message in catalogue.said() if message.id)
    return frozenset(
        text
        for message in messages
        for text in (message if isinstance(message, (list, tuple)) else [message])
    )


@pytest.mark.parametrize(
    ("text", "banned"),
    [
        ("Nobody knows; see `agent restore --accept database`.", ["Nobody"]),
        ("The bundle at work and one beside it", ["at work", "beside"]),
        ("A throw-away lab, --strange KIND, [strangeness] alpha", []),
    ],
)
def test_a_banned_word_is_found_in_prose_and_not_in_code(text, banned) -> None:
    assert find_banned(text) == banned


def test_the_help_of_a_command_has_no_banned_word() -> None:
    for path, command in COMMANDS.items():
        texts = [
            command.help or "",
            *(getattr(param, "help", "") or "" for param in command.params),
        ]

        assert [word for text in texts for word in find_banned(text)] == [], path


def test_the_help_of_a_group_has_no_banned_word() -> None:
    helps = [group.typer_instance.info.help or "" for group in app.registered_groups]

    assert len(helps) > 5
    assert [word for text in helps for word in find_banned(text)] == []


def test_a_page_of_the_guide_has_no_banned_word() -> None:
    for page in PAGES:
        assert find_banned((ROOT / page).read_text(encoding="utf-8")) == [], page


def test_the_commented_settings_have_no_banned_word() -> None:
    assert find_banned((ROOT / "deploy/agent.toml").read_text(encoding="utf-8")) == []


def test_no_message_has_a_banned_word() -> None:
    assert sorted(text for text in list_messages() if find_banned(text)) == []


def test_no_message_has_a_wording_that_was_replaced() -> None:
    assert sorted(text for text in list_messages() if REPLACED.search(text)) == []
