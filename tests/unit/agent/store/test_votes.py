"""Where two people are asked, nothing holds until they say the same or a third has spoken."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from labs.lab import DAY

from agent.store import Decision
from agent.store.people.label_resolution import asks_two, holding, votes_of


@dataclass(frozen=True)
class Said:
    by: str
    code: str | None
    kind: str = "code"
    strange_kind: str | None = None
    why: str | None = None
    origin: str = "review"


@pytest.mark.parametrize(
    ("said", "holds"),
    [
        ("", None),
        ("A:G8", None),
        ("A:G8 A:G8", None),
        ("A:G8 B:G8", "G8"),
        ("A:G8 B:G7", None),
        ("A:G8 B:G7 A:G7", "G7"),
        ("A:G8 B:G7 C:G7", "G7"),
        ("A:G8 B:G7 C:G9-10", "G9-10"),
        ("A:G8 B:G8 C:G7", "G7"),
        ("A:G8 B:G8 A:G7", None),
    ],
)
def test_what_holds_where_two_are_asked(said, holds):
    standing = [Said(*one.split(":")) for one in said.split()]

    found = holding(standing, two=True)

    assert (found.code if found else None) == holds


@pytest.mark.parametrize(
    ("said", "holds"),
    [
        ("A:G8|P (program):G8", None),
        ("A:G8|B (by P):G8|P (program):G8", None),
        ("A (by P):G8|B (by Q):G8|C (by R):G8", None),
        ("A (by P) (by 1):G8|A (by P) (by 2):G8", None),
        ("A:G7|B:G7|P (program):G8", "G7"),
        ("A:G7|P (program):G8|B:G8|Q (program):G8", None),
    ],
)
def test_no_program_is_one_of_two_reviewers(said, holds):
    standing = [Said(*one.split(":")) for one in said.split("|")]

    found = holding(standing, two=True)

    assert (found.code if found else None) == holds


def test_where_one_is_asked_the_newest_holds():
    assert holding([Said("A", "G8"), Said("B", "G7")], two=False).code == "G7"


def test_imported_labels_are_one_vote_and_none_beside_a_reviewers():
    lead = Said("Lead", "G8", origin="import")
    second = Said("Second lead", "G8", origin="import_for_orders")
    anna, ben = Said("Anna", "G7"), Said("Ben", "G7")

    assert holding([lead, second], two=True) is None
    assert holding([lead, second], two=False) is second
    assert holding([anna, lead, second], two=False) is anna
    assert holding([lead, anna, second], two=True) is None
    assert holding([lead, anna, second, ben], two=True) is ben


def test_another_kind_of_decision_is_another_answer():
    one, other = Said("A", None, "unusable", why="scratched"), Said("B", None, "cannot_tell")

    assert holding([one, other], two=True) is None
    assert votes_of([one, other]) == [one, other]


def test_the_share_is_kept_and_only_of_what_is_reviewed():
    hashes = [f"{0:08x}{number * 2**22:08x}" for number in range(1024)]

    asked = [asks_two(sha256, {"double_share": 0.25}, "review") for sha256 in hashes]

    assert sum(asked) == 256
    assert not any(asks_two(sha256, {"double_share": 0.25}, "automatic") for sha256 in hashes)
    assert not any(asks_two(sha256, {}, "review") for sha256 in hashes)


def test_codes_are_counted_by_the_newest_decision_of_each_micrograph(lab):
    first, second, third = (lab.take("G8", name=f"{n}.tif") for n in range(3))
    for public_id, code in ((first, "G7"), (second, "G8"), (third, "G8"), (first, "G8")):
        decision = Decision("code", "Ann", code=code, comment="seen")
        lab.store.labels.decide(public_id, decision, at=DAY)
    lab.store.labels.undo(third, by="Ann", at=DAY)
    lab.store.labels.decide(second, Decision("cannot_tell", "Ann", comment="seen"), at=DAY)

    assert lab.store.labels.count_codes() == {"G8": 1}
