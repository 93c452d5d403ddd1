"""A label is learned from only if it can be trusted, and a doubted one is decided again unseen."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from labs.lab import DAY
from labs.small import past, write_labelled

from agent.retrain import Cleaned, collect, send_back
from agent.store import Decision
from agent.web.orders.order_fields import is_blind
from model import (
    Example,
    Field,
    LabelIssue,
    default_taxonomy,
    find_near_duplicates,
    fingerprint,
    merge_groups,
)
from model.data.near_duplicates import compute_signature
from model.evaluation.labels import (
    InspectedImage,
    find_confident_errors,
    find_conflicting_copies,
    find_mixed_specimens,
    find_unlikely_labels,
    find_unusual_images,
)

STANDARD = default_taxonomy()
LATER = DAY + timedelta(hours=1)


def collected(lab, **asked):
    return collect(lab.store, lab.archive, STANDARD, **asked)


def says(lab, public_id, code, by="E. Meier", **changes):
    decision = Decision(kind="code", by=by, code=code, **changes)
    lab.store.labels.decide(public_id, decision, at=LATER)


# --- which labels count -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "counts"),
    [
        ({"blind": True}, True),
        ({"origin": "import"}, True),
        ({}, False),
    ],
)
def test_a_label_counts_if_it_was_given_blind_or_imported(lab, how, counts):
    says(lab, lab.take("G8"), "G8", **how)

    found = collected(lab)

    assert len(found.examples) == counts
    if not counts:
        (reason,) = found.left_out
        assert "who saw the model's answer (retrain.learns_from)" in reason


def test_what_two_people_say_counts_though_both_saw_the_answer(lab):
    public_id = lab.take("G8")
    says(lab, public_id, "G8", by="E. Meier")
    says(lab, public_id, "G8", by="R. Stahl")

    assert len(collected(lab).examples) == 1
    assert len(collected(lab).vouched) == 1


def test_before_there_is_a_model_nobody_sees_an_answer(lab):
    says(lab, lab.take(None, reasons=("untrained",)), "G8")

    assert len(collected(lab).examples) == 1


def test_the_lab_may_learn_from_all_it_is_told(lab):
    says(lab, lab.take("G8"), "G8")

    assert len(collected(lab, learns_from=("seen",)).examples) == 1


def test_a_control_sample_is_tested_on_and_never_learned_from(lab):
    says(lab, lab.take("G8", reasons=("control_sample",)), "G8", blind=True)
    says(lab, lab.take("G8"), "G8", blind=True)

    found = collected(lab)

    assert len(found.control) == 1
    assert set(found.sides(None)["test"]) == found.control


def test_before_the_first_bundle_there_is_no_control_sample(lab):
    """Its specimen would be tested on, and a code of one specimen be left with nothing to train."""
    says(lab, lab.take(None, reasons=("untrained", "control_sample")), "G8")

    found = collected(lab)

    assert found.sides(None) == {"test": ()}
    assert len(found.for_training(None)) == 1


def test_what_a_person_corrected_is_remembered(lab):
    says(lab, lab.take("G8"), "G7", blind=True)
    says(lab, lab.take("G8"), "G8", blind=True)

    (corrected,) = collected(lab).corrected
    example = next(e for e in collected(lab).examples if e.key == corrected)
    assert example.code == "G7"


# --- back to review -----------------------------------------------------------------------------


def doubt_of(lab, public_id):
    found = collected(lab)
    (key,) = [key for key, (known, _) in found.labels.items() if known == public_id]
    return found, [LabelIssue(key, "label", "G8", "G7")]


def test_a_doubted_label_waits_for_a_second_look_that_does_not_see_the_first(lab):
    public_id = lab.take("G8")
    says(lab, public_id, "G8", blind=True)

    sent = send_back(lab.store, *doubt_of(lab, public_id), by="agent retrain", at=LATER)

    (waiting,) = lab.store.review_queue.list_micrographs(reason="doubted_label")
    assert sent == 1
    assert waiting.id == public_id
    assert waiting.result.reasons == ("doubted_label",)
    assert waiting.label.code == "G8", "it holds until somebody decides again"
    assert is_blind(waiting)
    (reason,) = collected(lab).left_out
    assert reason.startswith("suspect")


def test_it_is_doubted_once_and_never_again_when_somebody_has_looked(lab):
    public_id = lab.take("G8")
    says(lab, public_id, "G8", blind=True)
    told = doubt_of(lab, public_id)
    assert send_back(lab.store, *told, by="agent retrain", at=LATER) == 1
    assert send_back(lab.store, *told, by="agent retrain", at=LATER) == 0

    says(lab, public_id, "G8", by="R. Stahl", blind=True)

    assert lab.store.review_queue.list_micrographs() == []
    assert collected(lab).vouched == collected(lab).labels.keys()
    assert lab.store.audit_log.find_problems() == []


def test_what_somebody_decided_meanwhile_is_not_sent_back(lab):
    public_id = lab.take("G8")
    says(lab, public_id, "G8", blind=True)
    told = doubt_of(lab, public_id)
    says(lab, public_id, "G7", blind=True, comment="looked again")

    assert send_back(lab.store, *told, by="agent retrain", at=LATER) == 0


# --- what gives a label away --------------------------------------------------------------------


def field(seed: int, light: float = 1.0) -> Field:
    rng = np.random.default_rng(seed)
    grey = np.kron(rng.normal(128, 40, (60, 80)), np.ones((4, 4))) * light
    pixels = np.repeat(grey.clip(0, 255)[..., None], 3, axis=2).astype(np.uint8)
    return Field(pixels, np.ones(grey.shape, bool), 0.2)


def example(key: str, code: str) -> Example:
    return Example(key, code, key, lambda: field(0))


def inspected(key: str, code: str, *, place: int = 0, towards: int = 0, flagged=False):
    """Make what was seen of an image: at a place, like images that lie in a direction."""
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    embedding = rng.normal(0, 0.3, 12)
    embedding[towards] += 2.0
    return InspectedImage(
        example(key, code),
        compute_signature(field(place)),
        (embedding / np.linalg.norm(embedding)).astype(np.float32),
        flagged,
    )


def test_two_micrographs_of_one_place_with_two_codes_are_both_in_doubt():
    one, other = inspected("a", "G8", place=1), inspected("b", "G7", place=1)
    third = inspected("c", "G7", place=2)

    some = [one, other, third]

    found = find_conflicting_copies(some, find_near_duplicates([each.signature for each in some]))

    assert {(d.key, d.other) for d in found} == {("a", "b"), ("b", "a")}


def test_micrographs_of_one_place_become_one_specimen():
    signatures = [
        compute_signature(field(1)),
        compute_signature(field(2)),
        compute_signature(field(1, light=0.9)),
    ]
    examples = [example(key, "G8") for key in "abc"]

    found = merge_groups(examples, find_near_duplicates(signatures))

    assert [one.group for one in found] == ["a", "b", "a"]


def test_a_label_that_looks_like_another_codes_is_doubted_if_it_is_new():
    known = [inspected(f"7-{i}", "G7", towards=0) for i in range(20)]
    known += [inspected(f"8-{i}", "G8", towards=1) for i in range(20)]
    wrong = inspected("wrong", "G8", towards=0)

    new = list(find_unlikely_labels([*known, wrong], STANDARD, {"wrong"}))
    old = list(find_unlikely_labels([*known, wrong], STANDARD, set()))

    assert [(d.key, d.code, d.likely) for d in new] == [("wrong", "G8", "G7")]
    assert old == []


def test_a_code_that_the_heads_know_badly_has_no_more_suspects_than_another():
    """Half of what is G8 looks like G7, so that its new labels are no worse for looking so too."""
    known = [inspected(f"7-{i}", "G7", towards=0) for i in range(20)]
    known += [inspected(f"8-{i}", "G8", towards=i % 2) for i in range(20)]
    known += [inspected(f"9-{i}", "G9-10", towards=2) for i in range(20)]
    weak = [inspected(f"new1 8-{i}", "G8", towards=i % 2) for i in range(20)]
    wrong = [inspected(f"wrong1 {i}", "G9-10", towards=0) for i in range(3)]
    keys = {one.key for one in (*weak, *wrong)}

    found = list(find_unlikely_labels([*known, *weak, *wrong], STANDARD, keys))

    suspects = [issue.code for issue in found]
    assert suspects.count("G8") <= 2
    assert suspects.count("G9-10") == 2
    assert {(issue.right, issue.of) for issue in found if issue.code == "G9-10"} == {(20, 20)}


def test_new_images_of_a_code_that_are_mostly_strange_are_strangers():
    some = [inspected(str(i), "G8", flagged=i < 8) for i in range(10)]
    keys = {one.key for one in some}

    assert len(list(find_unusual_images(some, keys, set()))) == 8
    assert list(find_unusual_images(some[4:], keys, set())) == [], "four of six are few"
    assert list(find_unusual_images(some, keys, keys)) == [], "vouched for"


def test_a_specimen_of_two_subtypes_gives_the_odd_one_away():
    fields = [replace(example(f"g{i}", "G8"), group="s1") for i in range(2)]
    odd = replace(example("m", "M9-10"), group="s1")
    keys = {"g0", "g1", "m"}

    def found(*, new, vouched=()):
        told = find_mixed_specimens([*fields, odd], STANDARD, new=new, vouched=vouched)
        return {one.key for one in told}

    assert found(new=keys) == {"m"}
    assert found(new=keys, vouched={"m"}) == {"g0", "g1"}
    assert found(new={"g1"}) == set(), "what was taught from is not the retraining's to doubt"


def test_confident_learning_counts_as_published():
    shares = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.4, 0.6], [np.nan, np.nan]])
    labels = np.array([0, 0, 0, 1, 1])

    # Means of the own class: 0.6 and 0.6. Only the third reaches the other class's.
    assert find_confident_errors(shares, labels).tolist() == [-1, -1, 1, -1, -1]


def test_a_data_set_has_another_name_when_a_label_changes():
    one = [example("a", "G8"), example("b", "G7")]

    assert fingerprint(one) == fingerprint(one[::-1])
    assert fingerprint(one) != fingerprint([replace(one[0], code="G7"), one[1]])
    assert fingerprint(one) != fingerprint([replace(one[0], criterion="max"), one[1]])


def test_what_is_doubted_is_said_with_the_reason(lab):
    found = collected(lab)
    doubts = (LabelIssue("a", "stranger", "G8"), LabelIssue("b", "twin", "G7", "G8", "c"))

    said = Cleaned(found, doubts).sentence()

    assert "1 labelled G8 are unlike the reference images" in said
    assert "1 show the same place as a micrograph of another code" in said


def test_what_resembles_another_code_is_said_with_what_is_known_of_its_own(lab):
    doubts = (LabelIssue("a", "label", "G8", "G7", right=12, of=20),)

    said = Cleaned(collected(lab), doubts).sentence()

    assert said == "1 resemble micrographs of another code; of G8 the networks know 12 of 20"


@pytest.mark.slow
def test_a_foreign_material_under_a_known_code_is_refused_and_waits_for_a_second_look(
    own_lab, monkeypatch, capsys
):
    steel = past(5, first_order=5000, seed=11, codes=("G9-10",))
    foreign = [replace(one, strange="cast_iron") for one in steel]
    manifest = write_labelled(foreign, own_lab.folder / "more")
    monkeypatch.setenv("AGENT_RETRAIN__MIN_NEW_LABELS", "5")
    own_lab.agent("import", own_lab.folder / "more", "--manifest", manifest)
    capsys.readouterr()

    code = own_lab.agent("retrain", "--json")

    said = json.loads(capsys.readouterr().out)
    assert code == 3
    assert said["candidate"] == "", "nothing was taught"
    assert "labelled G9-10 are unlike the reference images" in said["sentence"]
    doubted = {one["key"] for one in said["numbers"]["doubted"]}
    assert len(doubted) >= 6
    own_lab.agent("review", "list", "--reason", "doubted_label", "--json")
    waiting = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {one["sha256"] for one in waiting} == doubted
