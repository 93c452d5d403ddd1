"""No banned word of the style guide reaches a user in help, settings, guide or messages.

Code spans and option names are not prose and are left out.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import catalogue
import pytest

from agent.cli.app import app
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
LENGTH = 76
EXEMPT = {
    " (known, but not taught yet)",
    '"{limit}" cuts the size {size} of subtype {name} in two, which nobody can te',
    "<b>%(by)s</b> decided this micrograph meanwhile: <b>%(said)s</b>, %(at)s. No",
    "A candidate beside the bundle at work",
    "Control samples, decided blind: {same} of {n} as the model said; known to wi",
    "Control samples, decided blind: {same} of {n} as the model said; {more} more",
    "Doubtful specimens, {material}",
    "How strange each micrograph looked, beside known ones. Known micrographs giv",
    "It is decided already: say first why you decide otherwise (R).",
    "It was given a place meanwhile: order {order}, specimen {specimen}. If that ",
    "Mix of the structure codes beside the baseline",
    "Strange",
    "Strange specimens, {material}",
    "Why you decide otherwise",
    "Yellow: strange. White outline: alarm level.",
    "You have judged it. Somebody else judges it too, without seeing what you sai",
    "doubtful",
    "other fields of the specimen say otherwise",
    "somebody",
    "strange",
    "strange (middle: alarm level)",
    "strange by {who}: {kind}",
    "strange, then what kind",
    "strange: {kind}",
    "the sizes of {subtype} apply as {sizes}, as they were in force when the orde",
    "version {n} of {name} applies, as it was in force when the order was release",
    "why you decide otherwise than is decided",
    "{field} was called strange ({kind}) by {who}",
    "{field}: its scale is in doubt, as its witnesses disagree",
    "{micrographs} more that need a person",
    "{name} is not in force on {day}",
    "{who} has this one open. Whoever decides first counts, and the second is tol",
}
"""The first letters of the messages that still have a banned word. Reword them; add none."""


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
        ("Nobody knows; see `agent begin-anew`.", ["Nobody"]),
        ("The bundle at work and one beside it", ["at work", "beside"]),
        ("A throw-away lab, --strange KIND, [strangeness] alpha", []),
    ],
)
def test_a_banned_word_is_found_in_prose_and_not_in_code(text, banned) -> None:
    assert find_banned(text) == banned


@pytest.mark.parametrize("path", COMMANDS)
def test_the_help_of_a_command_has_no_banned_word(path) -> None:
    command = COMMANDS[path]
    texts = [command.help or "", *(getattr(param, "help", "") or "" for param in command.params)]

    assert [word for text in texts for word in find_banned(text)] == []


def test_the_help_of_a_group_has_no_banned_word() -> None:
    helps = [group.typer_instance.info.help or "" for group in app.registered_groups]

    assert len(helps) > 5
    assert [word for text in helps for word in find_banned(text)] == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_the_guide_has_no_banned_word(page) -> None:
    assert find_banned((ROOT / page).read_text(encoding="utf-8")) == []


def test_the_commented_settings_have_no_banned_word() -> None:
    assert find_banned((ROOT / "deploy/agent.toml").read_text(encoding="utf-8")) == []


def test_no_message_has_a_banned_word_but_those_that_wait_for_their_rewording() -> None:
    banned = {text for text in list_messages() if find_banned(text)}

    assert sorted(text for text in banned if text[:LENGTH] not in EXEMPT) == []


def test_a_reworded_message_is_no_longer_exempt() -> None:
    banned = {text[:LENGTH] for text in list_messages() if find_banned(text)}

    assert sorted(EXEMPT - banned) == []
