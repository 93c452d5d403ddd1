"""A field keeps what it was filed with: a change behind the agent's back is named."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from labs.lab import DAY, Lab, copy_of
from labs.shell import Shell
from labs.stored_trail import chain_again
from servers.databases import tamper

from agent.backup.verification import Outside, verify_trail
from agent.evidence.anchors import Anchor, append, iter_lines
from agent.service.jobs.backup import Anchoring
from agent.store import Decision, PlaceMatch
from agent.store.tables import load_metadata
from agent.triage import Reason

FORGED_PREPARATION = (
    "INSERT INTO preparation (site_id, specimen_id, name, etchant, first_seen_at, facts) "
    "VALUES (1, 1, '2', '', '2026-11-24 09:00:00', '{}')"
)


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Lab:
    """A lab with two fields of an order that was never final, and one of another; to be copied."""
    made = Lab(tmp_path_factory.mktemp("filled") / "data")
    made.take("G8", order="4711", specimen="1", field="1", material="100Cr6", microscope="LOM-7")
    made.take("G8", order="4711", specimen="1", field="2", reasons=("uncertain",))
    made.take("G7", order="4712", specimen="1", field="1")
    made.store.close()
    return made


@pytest.fixture
def lab(filled, tmp_path) -> Lab:
    return copy_of(filled, tmp_path / "data")


def address_of(lab: Lab) -> str:
    return f"sqlite:///{lab.folder / 'martensight.db'}"


def faults(lab: Lab) -> str:
    return "\n".join(verify_trail(lab.store, Outside(lab.reports))[0])


def test_fields_that_nobody_changed_are_whole(lab) -> None:
    assert verify_trail(lab.store, Outside(lab.reports)) == ([], [])


def test_a_field_that_is_taken_out_of_its_specimen_by_hand_is_named(tmp_path, capsys) -> None:
    shell = Shell(tmp_path, capsys)
    public_id = shell.lab.take("G8", order="4711", specimen="1")
    assert shell.agent("verify")[0] == 0
    with closing(sqlite3.connect(shell.lab.folder / "martensight.db")) as held, held:
        held.execute("UPDATE micrograph SET specimen_id = NULL, preparation_id = NULL")

    code, said = shell.agent("verify")

    assert code == 3
    assert f"field {public_id}: place was 'order 4711, specimen 1, preparation 1'" in said


OF_FIELD = {
    "specimen_id = NULL": "(as result 1 was filed), is 'no order'",
    "preparation_id = NULL": "(as result 1 was filed), is 'order 4711, specimen 1, preparation '",
    "specimen_id = (SELECT max(id) FROM specimen)": "is 'order 4712, specimen 1,",
    "\"order\" = '4713'": "order was '4711' (as result 1 was filed), is '4713'",
    "field = '7'": "field was '1' (as result 1 was filed), is '7'",
    "material = 'C45'": "material was '100Cr6' (as result 1 was filed), is 'C45'",
    "area_mm2 = 9.5": "area_mm2 was changed after it was filed (as result 1 was filed), is 9.5",
    "warnings = '[\"dark\"]'": "warnings was changed after it was filed",
    "um_per_px = 0.5": "um_per_px was changed after it was filed",
    "microscope = 'LOM-8', width = 7": "(as result 1 was filed), is 7",
    'artefacts = \'{"crop": "x"}\'': "artefacts was changed after it was filed",
    "relative = 'other.tif'": "relative was changed after it was filed",
    "unassigned = 'two specimens'": "unassigned was '' (as result 1 was filed), is 'two specimens'",
    "pruned_at = '2026-11-24 09:00:00'": "pruned was False (no act), is True",
}


@pytest.mark.parametrize("change", OF_FIELD, ids=lambda change: change.split(" =")[0])
def test_a_value_of_a_field_that_was_never_stated_is_named(lab, change) -> None:
    tamper(address_of(lab), f"UPDATE micrograph SET {change} WHERE id = 1")  # noqa: S608

    assert OF_FIELD[change] in faults(lab)


OF_RESULT = {
    'prediction_set = \'["G8", "G7"]\'': "prediction_set was changed after it was filed",
    "probability = 0.99": "probability was changed after it was filed",
    "p_value = 0.9": "p_value was changed after it was filed",
    "thresholds = '{\"tau\": 1}'": "thresholds was changed after it was filed",
    "role = 'shadow'": "role was changed after it was filed",
    "reasons = '[]'": "reasons was ['uncertain'] (as result 2 was filed), is []",
    "handling = 'automatic'": "handling was 'review' (as result 2 was filed), is 'automatic'",
    "after_record = 99": "after_record was changed after it was filed",
    "done_at = '2026-11-24 09:00:01'": "done_at was changed after it was filed",
    "filed = ''": "filed is '', which no result was filed with",
    "filed = 'x'": "filed is 'x', which no result was filed with",
}


@pytest.mark.parametrize("change", OF_RESULT, ids=lambda change: change.split(" =")[0])
def test_a_value_of_a_result_that_was_never_reported_is_named(lab, change) -> None:
    tamper(address_of(lab), f"UPDATE result SET {change} WHERE id = 2")  # noqa: S608

    said = faults(lab)
    assert "result 2 of field" in said
    assert OF_RESULT[change] in said


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            "UPDATE specimen SET bundle = 'other'",
            "specimen 1 of order 4711: bundle was '20261101-0badcafe' (as result 1 was filed)",
        ),
        ("UPDATE specimen SET material = 'C45'", "material was '100Cr6'"),
        ('UPDATE "order" SET legal_hold = 1', "order 4711: legal_hold was False (no act), is True"),
        (
            "UPDATE source SET name = 'LOM-08'",
            "source was 'LOM-07' (as result 1 was filed), is 'LOM-08'",
        ),
        ("UPDATE place SET landmarks = NULL", "(as result 1 was filed), is ''"),
        ("DELETE FROM place", "(as result 1 was filed), is None"),
        (
            FORGED_PREPARATION,
            "preparation 2 of order 4711, specimen 1: no field was filed in it and no act began",
        ),
    ],
)
def test_what_fields_are_counted_by_is_named(lab, change, sentence) -> None:
    tamper(address_of(lab), change)

    assert sentence in faults(lab)


def test_a_field_that_was_deleted_before_it_was_sealed_is_named_by_its_file(lab) -> None:
    tamper(
        address_of(lab),
        "DELETE FROM result WHERE id = 3",
        "DELETE FROM place WHERE micrograph_id = 3",
        "DELETE FROM search_entry WHERE micrograph_id = 3",
        "DELETE FROM micrograph WHERE id = 3",
    )

    assert "it was read, and its fields were deleted" in faults(lab)


def test_a_result_that_was_deleted_before_it_was_sealed_is_named_by_its_field(lab) -> None:
    last = list(lab.store.results.iter_all())[-1].id
    tamper(address_of(lab), "DELETE FROM result WHERE id = 3")

    assert f"field {last}: its result was deleted" in faults(lab)


def test_what_acts_change_of_a_field_is_no_fault(lab) -> None:
    first, second = (view.id for view in list(lab.store.results.iter_all())[:2])
    lab.store.order_corrections.assign(
        first, {"order": "4712", "specimen": "1"}, by="Leo", reason="mixed up", at=DAY, lead=True
    )
    lab.store.review_queue.add([second], Reason.CONTROL_SAMPLE, by="Leo", at=DAY)
    lab.store.retention.mark_pruned([first], "crops", at=DAY)

    assert verify_trail(lab.store, Outside(lab.reports)) == ([], [])


def test_a_field_that_was_assigned_is_where_the_act_put_it(lab) -> None:
    first = next(iter(lab.store.results.iter_all())).id
    lab.store.order_corrections.assign(
        first, {"order": "4712", "specimen": "1"}, by="Leo", reason="mixed up", at=DAY, lead=True
    )
    tamper(address_of(lab), "UPDATE micrograph SET field = '9', specimen_id = 1 WHERE id = 1")

    said = faults(lab)
    assert "place was 'order 4712, specimen 1, preparation 1' (trail number" in said
    assert "field was '1' (trail number" in said


def test_an_older_result_does_not_count_again(lab) -> None:
    given = {"id": "99", "bundle": "'b'", "current": "0"}
    columns = [column.name for column in load_metadata().tables["result"].columns]
    names = ", ".join(f'"{name}"' for name in columns)
    values = ", ".join(given.get(name, f'"{name}"') for name in columns)
    tamper(
        address_of(lab),
        f"INSERT INTO result ({names}) SELECT {values} FROM result WHERE id = 1",  # noqa: S608
    )

    assert "result 99: it is the newest of its field and does not count; result 1 does" in faults(
        lab
    )


# --- seals --------------------------------------------------------------------------------------


def forge(lab: Lab) -> None:
    """Change a result together with what it was filed with, as somebody does who reads our code."""
    tamper(
        address_of(lab),
        "UPDATE result SET filed = (SELECT filed FROM result WHERE id = 1) WHERE id = 2",
    )


def test_what_was_filed_is_sealed_into_the_trail_and_deletion_is_named(lab) -> None:
    assert lab.store.results.seal(at=DAY) == 3
    assert lab.store.results.seal(at=DAY) == 0
    lab.take("G8", order="4713", specimen="1")
    assert lab.store.results.seal(at=DAY) == 1
    assert verify_trail(lab.store, Outside(lab.reports)) == ([], [])

    forge(lab)
    tamper(address_of(lab), "DELETE FROM result WHERE id = 4")

    said = faults(lab)
    assert "result 2: filed was changed after it was sealed (trail number" in said
    assert "result 4 (results.sealed by agent, trail number" in said


def test_a_result_that_another_agent_files_late_is_sealed_too(lab) -> None:
    lab.store.results.seal(at=DAY)
    tamper(
        address_of(lab),
        "UPDATE result SET id = 50 WHERE id = 3",
        "DELETE FROM trail WHERE act = 'results.sealed'",
    )
    chain_again(address_of(lab))
    lab.store.results.seal(at=DAY)
    tamper(address_of(lab), "UPDATE result SET id = 3 WHERE id = 50")

    assert lab.store.results.seal(at=DAY) == 1


def test_the_end_of_the_trail_that_is_kept_outside_holds_what_was_filed(lab, tmp_path) -> None:
    Anchoring(lab.store, str(tmp_path / "trail.jsonl")).write(at=DAY)

    acts = {act.act: act.id for act in lab.store.audit_log.iter_acts()}
    (kept,) = iter_lines(tmp_path / "trail.jsonl")
    assert kept.number == acts["results.sealed"]
    append(tmp_path / "trail.jsonl", Anchor.of(lab.store.audit_log.get_head(), at=DAY))


# --- claims and places --------------------------------------------------------------------------


@pytest.fixture
def doubted(lab) -> Lab:
    """A lab in which a field left an order by a reviewer, and two fields show one place."""
    first = next(iter(lab.store.results.iter_all())).id
    lab.store.order_corrections.assign(
        first, {"order": "4712", "specimen": "1"}, by="Leo", reason="mixed up", at=DAY
    )
    match = PlaceMatch(1, 2, 0.6, 900.0, {"transform": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]})
    lab.store.places.settle(2, [match], at=DAY)
    lab.store.places.settle(2, [match], at=DAY)
    return lab


def test_claims_and_places_that_acts_explain_are_whole(doubted) -> None:
    first, second = (view.id for view in list(doubted.store.results.iter_all())[:2])
    doubted.store.places.decide(first, second, belongs=first, by="Leo", reason="one", at=DAY)
    doubted.store.order_corrections.assign(
        first, {"order": "4712", "specimen": "2"}, by="Ada", reason="why", at=DAY, lead=True
    )

    assert verify_trail(doubted.store, Outside(doubted.reports)) == ([], [])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("DELETE FROM order_claim", "claim 1 of field"),
        ("DELETE FROM order_claim", "on order 4711 (order.claimed by agent, trail number"),
        ("UPDATE order_claim SET settled_by = 'Leo'", "settled_by was '' (no act), is 'Leo'"),
        ("UPDATE order_claim SET order_id = 2", "order_id was '4711'"),
        ("UPDATE order_claim SET specimen = '2'", "specimen was '1'"),
        ("DELETE FROM same_place", "(place.found by agent, trail number"),
        ("UPDATE same_place SET share = 0.1", "share was 0.6 (trail number"),
        ("UPDATE same_place SET area_px = 1.0", "area_px was 900.0 (trail number"),
        ("UPDATE same_place SET facts = '{}'", "sha256 of facts was"),
        ("UPDATE same_place SET other_id = 3", ": is not in the trail"),
    ],
)
def test_a_claim_or_a_place_that_no_act_explains_is_named(doubted, change, sentence) -> None:
    tamper(address_of(doubted), change)

    assert sentence in faults(doubted)


def test_after_which_record_a_label_was_given_is_compared(lab) -> None:
    lab.store.records.add("control", "LOM-07", by="agent", at=DAY, facts={"n": 1})
    first = next(iter(lab.store.results.iter_all())).id
    lab.store.labels.decide(first, Decision("code", "Leo", code="G8"), at=DAY)

    tamper(address_of(lab), "UPDATE label SET after_record = 0")

    assert f"label 1 of {first}: after_record was 1" in faults(lab)


# --- files that could not be used ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("UPDATE content SET state = 'ignored' WHERE id = 4", "it is ignored now, though no one"),
        (
            "UPDATE content SET state = 'ignored', code = 'overwritten' WHERE id = 4",
            "it is ignored now, though no one",
        ),
        (
            "UPDATE content SET state = 'duplicate', duplicate_of = 1, sha256 = 'x' WHERE id = 4",
            "it counts as a copy of another file, and is none",
        ),
        ("UPDATE content SET state = 'done' WHERE id = 4", "its fields were deleted"),
        ("UPDATE path SET relative = 'x.tif' WHERE content_id = 4", "no file of that name is"),
        ("DELETE FROM path WHERE content_id = 4", "no file of that name is known any more"),
    ],
)
def test_a_file_that_could_not_be_used_is_not_hidden(lab, change, sentence) -> None:
    lab.set_aside("4711_1_3.tif", "unreadable", "cut off")  # named at once, by an act of its own
    assert verify_trail(lab.store, Outside(lab.reports)) == ([], [])

    tamper(address_of(lab), change)

    assert sentence in faults(lab)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("UPDATE content SET state = 'G8' WHERE id = 4", "state is 'G8', which this program never"),
        ("DELETE FROM path WHERE content_id = 4", "it is set_aside, and no name of it"),
        ("UPDATE path SET content_id = 1 WHERE content_id = 4", "it is set_aside, and no name"),
    ],
)
def test_a_file_that_could_not_be_used_is_not_hidden_before_it_is_sealed(lab, change, sentence):
    lab.set_aside("4711_1_3.tif", "unreadable", "cut off")
    assert verify_trail(lab.store, Outside(lab.reports)) == ([], [])

    tamper(address_of(lab), change)

    assert f"file 4: {sentence}" in faults(lab)


def test_a_file_that_is_read_again_or_exported_again_is_no_fault(lab) -> None:
    lab.set_aside("4711_1_3.tif", "unreadable", "cut off")
    lab.store.results.seal(at=DAY)
    lab.store.files.retry(None, at=DAY)
    assert verify_trail(lab.store, Outside(lab.reports)) == ([], [])

    lab.take("G8", name="4711_1_3.tif", order="4711", specimen="1", field="3")

    assert verify_trail(lab.store, Outside(lab.reports)) == ([], [])
