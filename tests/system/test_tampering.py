"""Ways to rewrite a lab's past that nobody had tried: each is named, and an honest one is not."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest
from databases import tamper
from lab import DAY, Lab, copy_of

from agent.store import Decision
from agent.verification import Outside, verify_trail
from tests.unit.agent.store.test_trail import chain_again

FORGED_PROMOTION = (
    'INSERT INTO promotion (site_id, bundle, "by", reason, promoted_at, metrics) '
    "VALUES (1, 'other', 'Ada', 'x', '2026-11-25 09:00:00', '{}')"
)
FORGED_CHECK = (
    'INSERT INTO record (site_id, kind, subject, "by", at, facts) '
    "VALUES (1, 'control', 'LOM-07', 'agent', '2026-11-25 09:00:00', '{}')"
)


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Lab:
    """A lab with a decided field, a promoted bundle and a control check; to be copied."""
    made = Lab(tmp_path_factory.mktemp("filled") / "data")
    public_id = made.take("G8", order="4711", specimen="1")
    made.store.labels.decide(public_id, Decision("code", "Leo", code="G8"), at=DAY)
    made.store.promotions.promote(
        "20261101-0badcafe", by="Ada", reason="first", at=DAY, metrics={"n": 8}
    )
    facts = {"specimen": "REF-1", "code": "G8", "expected": "G8", "passed": False}
    made.store.records.add("control", "LOM-07", by="agent", at=DAY, facts=facts)
    made.store.close()
    return made


@pytest.fixture
def lab(filled, tmp_path) -> Lab:
    return copy_of(filled, tmp_path / "data")


def address_of(lab: Lab) -> str:
    return f"sqlite:///{lab.folder / 'martensight.db'}"


def verified(lab: Lab) -> tuple[str, list[str]]:
    found, notes = verify_trail(lab.store, Outside(lab.reports))
    return "\n".join(found), notes


def test_a_clock_that_was_set_back_between_acts_is_a_note_and_no_fault(lab) -> None:
    public_id = lab.take("G8", order="4711", specimen="1", at=DAY - timedelta(days=3))
    lab.store.labels.decide(
        public_id, Decision("code", "Ben", code="G8"), at=DAY - timedelta(days=3, minutes=5)
    )

    found, notes = verified(lab)

    assert found == ""
    (note,) = notes
    assert "a clock was set back; their numbers say what came first" in note


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            FORGED_PROMOTION,
            "promotion 2 of other: by Ada is not in the trail",
        ),
        ("UPDATE promotion SET metrics = '{\"n\": 9}'", "metrics was {'n': 8}"),
        (
            "UPDATE record SET facts = replace(facts, 'false', 'true') WHERE kind = 'control'",
            "record 1 (control of LOM-07): passed was False",
        ),
        ("UPDATE record SET subject = 'LOM-08' WHERE kind = 'control'", "subject was 'LOM-07'"),
        (
            FORGED_CHECK,
            "record 2 (control of LOM-07): by agent is not in the trail",
        ),
        ("DELETE FROM record WHERE kind = 'control'", "record 1 (control of LOM-07, by agent, tr"),
    ],
)
def test_a_promotion_or_a_control_check_that_was_edited_is_named(lab, change, sentence) -> None:
    tamper(address_of(lab), change)

    assert sentence in verified(lab)[0]


def test_rows_of_an_attached_database_are_named(lab, tmp_path) -> None:
    file = lab.folder / "martensight.db"
    lab.store.close()
    shutil.copy(file, tmp_path / "other.db")
    with closing(sqlite3.connect(tmp_path / "other.db")) as other, other:
        other.execute("DROP TRIGGER guard_label_update")
        other.execute("UPDATE label SET code = 'G7'")
    with closing(sqlite3.connect(file)) as held, held:
        held.execute("ATTACH ? AS other", [str(tmp_path / "other.db")])
        with pytest.raises(sqlite3.IntegrityError, match="is evidence"):
            held.execute("REPLACE INTO label SELECT * FROM other.label")
        held.execute("PRAGMA foreign_keys = OFF")
        held.execute("ALTER TABLE main.label RENAME TO gone")
        held.execute("CREATE TABLE main.label AS SELECT * FROM other.label")
        held.execute("DROP TABLE gone")

    found, _ = verified(lab)

    assert "code was 'G8'" in found
    assert "database: the guard guard_label_update is missing" in found


def test_a_trigger_that_changes_what_is_written_is_named(lab) -> None:
    tamper(
        address_of(lab),
        "CREATE TRIGGER helper AFTER INSERT ON result BEGIN "
        "UPDATE result SET reasons = '[]' WHERE id = NEW.id; END",
    )
    lab.take("G8", order="4711", specimen="1", reasons=("uncertain",))

    found, _ = verified(lab)

    assert "the trigger helper on result is not this program's" in found
    assert "the reason uncertain why a person is to look was taken away" in found


@pytest.mark.parametrize(
    "facts",
    [
        '{"label": ["x"]}',
        '{"label": 1, "signed": 5, "after": 7, "now": [], "ids": [[0, 9999999999999]]}',
        "{}",
    ],
)
@pytest.mark.parametrize(
    "act",
    [
        "label.given",
        "field.assigned",
        "order.listed",
        "order.amended",
        "order.claimed",
        "results.sealed",
        "files.set_aside",
        "pixels.pruned",
        "place.found",
        "place.decided",
        "trail.timestamped",
        "backup.restored",
        "specification.seen",
        "order.seen",
        "statement.frozen",
        "trail.covered",
        "specimen.prepared_again",
    ],
)
def test_an_act_of_another_shape_ends_no_comparison(lab, act, facts) -> None:
    tamper(
        address_of(lab),
        f"UPDATE trail SET act = '{act}', facts = '{facts}' WHERE act = 'model.promoted'",  # noqa: S608
        "UPDATE micrograph SET area_mm2 = 9.5",
    )
    chain_again(address_of(lab))

    assert "area_mm2 was changed after it was filed" in verified(lab)[0]
    assert "promotion 1 of 20261101-0badcafe: by Ada is not in the trail" in verified(lab)[0]


@pytest.mark.parametrize("filed", ['{"a": 1}', "[]", '{"reasons": 5}', '{"place": 3}', "7"])
def test_what_a_result_was_filed_with_of_another_shape_ends_no_comparison(lab, filed) -> None:
    lab.take("G7", order="4712", specimen="1")
    tamper(
        address_of(lab),
        f"UPDATE result SET filed = '{filed}' WHERE id = 1",  # noqa: S608
        "UPDATE micrograph SET area_mm2 = 9.5 WHERE id = 2",
    )

    found, _ = verified(lab)

    assert "result 1 of field" in found
    assert "area_mm2 was changed after it was filed (as result 2 was filed)" in found
