"""Where two people are asked, nothing holds until they say the same or a third has spoken."""

from __future__ import annotations

from dataclasses import dataclass

from labs.lab import DAY, TAXONOMY
from sqlalchemy import event

from agent.retrain.label_use import decide_use
from agent.store import Decision
from agent.store.people.label_decisions import asks_two, holding, votes_of
from agent.store.tables import MicrographRow


@dataclass(frozen=True)
class Said:
    by: str
    code: str | None
    kind: str = "code"
    strange_kind: str | None = None
    why: str | None = None
    origin: str = "review"


STANDING = [
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
]


def test_what_holds_where_two_are_asked():
    for said, holds in STANDING:
        standing = [Said(*one.split(":")) for one in said.split()]

        found = holding(standing, two=True)

        assert (found.code if found else None) == holds, said


WITH_PROGRAMS = [
    ("A:G8|P (program):G8", None),
    ("A:G8|B (by P):G8|P (program):G8", None),
    ("A (by P):G8|B (by Q):G8|C (by R):G8", None),
    ("A (by P) (by 1):G8|A (by P) (by 2):G8", None),
    ("A:G7|B:G7|P (program):G8", "G7"),
    ("A:G7|P (program):G8|B:G8|Q (program):G8", None),
]


def test_no_program_is_one_of_two_reviewers():
    for said, holds in WITH_PROGRAMS:
        standing = [Said(*one.split(":")) for one in said.split("|")]

        found = holding(standing, two=True)

        assert (found.code if found else None) == holds, said


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


HISTORIES = [
    [("code", "Ann", "G8", {})],
    [("code", "Ann", "G8", {"blind": True})],
    [("code", "Ann", "G7", {}), ("code", "Ben", "G7", {"comment": "x"})],
    [("code", "Ann", "G7", {}), ("code", "Ben", "G8", {"comment": "x"})],
    [("code", "Ann", "G8", {}), ("undo", "Ann", "", {})],
    [("code", "Ann", "G8", {}), ("undo", "Ann", "", {}), ("code", "Ben", "G8", {})],
    [("code", "Ann", "G8", {}), ("doubt", "", "", {})],
    [("code", "Ann (by Fiji)", "G8", {}), ("code", "Ben", "G8", {})],
    [("cannot_tell", "Ann", None, {"comment": "x"})],
    [("code", "Ann", "G8", {}), ("strange", "Ann", None, {"strange_kind": "crack"})],
]


def label_by(lab, public_id, history):
    for kind, by, code, more in history:
        if kind == "undo":
            lab.store.labels.undo(public_id, by=by, at=DAY)
        elif kind == "doubt":
            label = lab.store.results.find(public_id).label
            if label:
                lab.store.labels.mark_suspect(
                    public_id, label_id=label.id, sentence="x", by="check", at=DAY
                )
        else:
            decision = Decision(kind, by, code=code, **{"comment": "x", **more})
            lab.store.labels.decide(public_id, decision, at=DAY)


def judge(labelled):
    return [
        decide_use(labelled, has_crop=has_crop, taxonomy=TAXONOMY, learns_from=learns_from)
        for has_crop in (True, False)
        for learns_from in (["blind"], ["seen"], ["confirmed"], ["imported"])
    ]


def test_labels_that_are_used_alike_are_one_group_and_no_other_is_in_it(lab):
    lab.compares_places = False
    control, two = ("control_sample",), {"double_share": 1.0}
    shown = [{}, {}, {"reasons": control}, {"reasons": ("uncertain",), "thresholds": two}]
    for taken in shown:
        for history in HISTORIES:
            label_by(lab, lab.take("G8", **taken), history)
    alone = {
        (labelled.sha256, labelled.page, labelled.group): judge(labelled)
        for labelled in lab.store.labelled_micrographs.list_all()
    }

    groups = lab.store.labelled_micrographs.list_alike()

    members = {key: judge(labelled) for labelled, keys in groups for key in keys}
    assert members == alone
    assert len(groups) < len(alone)
    assert {uses[0].why for uses in alone.values()} >= {"blind", "seen", "doubted"}


def test_no_more_rows_are_loaded_where_more_labels_are_alike(lab):
    lab.compares_places = False
    for _ in range(30):
        label_by(lab, lab.take("G8"), HISTORIES[0])
    loaded = []
    event.listen(MicrographRow, "load", lambda row, _: loaded.append(row.id))

    ((_, keys),) = lab.store.labelled_micrographs.list_alike()

    assert len(keys) == 30
    assert len(loaded) == 1
