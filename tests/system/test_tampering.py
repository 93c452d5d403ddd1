"""Ways to rewrite a lab's past: each is named, and an honest one is not."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest
from databases import tamper
from lab import DAY, Lab, copy_of

from agent.store import Decision, Origin, Store, acting_through
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
    """A lab with a decided field, a promoted bundle, a check and an account; to be copied."""
    made = Lab(tmp_path_factory.mktemp("filled") / "data")
    public_id = made.take("G8", order="4711", specimen="1", reasons=("uncertain",))
    made.store.labels.decide(public_id, Decision("code", "Leo", code="G8"), at=DAY)
    made.store.promotions.promote(
        "20261101-0badcafe", by="Ada", reason="first", at=DAY, metrics={"n": 8}
    )
    facts = {"specimen": "REF-1", "code": "G8", "expected": "G8", "passed": False}
    made.store.records.add("control", "LOM-07", by="agent", at=DAY, facts=facts)
    made.store.accounts.add(
        "Leo", kind="person", role="reviewer", hashed="of Leo", by="shell", at=DAY
    )
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
    with acting_through(Origin("web", account="Ben", proof="password")):
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


# --- every alteration that was tried, and what names it -------------------------------------------

FORGED_LABEL = (
    'INSERT INTO label (micrograph_id, site_id, kind, code, criterion, unsure, comment, "by", '
    "decided_at, origin, blind, bulk, after_record) SELECT micrograph_id, site_id, kind, 'G7', "
    "criterion, unsure, comment, 'Eve', decided_at, origin, blind, bulk, after_record FROM label"
)
FORGED_ACCOUNT = (
    "INSERT INTO account (site_id, name, kind, role, hashed, created_at, failures) "
    "VALUES (1, 'Eve', 'person', 'admin', 'x', '2026-11-25', 0)"
)
FORGED_LOGIN = (
    "INSERT INTO login (site_id, sha256, account_id, began_at, seen_at) "
    "VALUES (1, 'of Eve', 1, '2026-11-25', '2026-11-25')"
)
ALTERATIONS = {
    "a label's code": ("UPDATE label SET code = 'G7'", "code was 'G8'"),
    "who gave a label": ("UPDATE label SET \"by\" = 'Eve'", "by was 'Leo'"),
    "when a label was given": ("UPDATE label SET decided_at = '2026-11-20'", "decided_at was"),
    "that a label is unsure": ("UPDATE label SET unsure = 1", "unsure was False"),
    "the comment of a label": ("UPDATE label SET comment = 'x'", "comment was None"),
    "a label deleted": ("DELETE FROM label", "(trail number"),
    "a label added": (FORGED_LABEL, "G7 by Eve is not in the trail"),
    "a result's code": ("UPDATE result SET structure_code = 'G7'", "result"),
    "a result's probability": ("UPDATE result SET probability = 0.99", "result"),
    "a result's thresholds": ("UPDATE result SET thresholds = '{\"double_share\": 0}'", "result"),
    "a reason for review": ("UPDATE result SET reasons = '[]'", "was taken away"),
    "a result deleted": ("DELETE FROM result WHERE id = 1", "result"),
    "a field's scale": ("UPDATE micrograph SET um_per_px = 9.5", "um_per_px"),
    "a field's area": ("UPDATE micrograph SET area_mm2 = 9.5", "area_mm2 was changed"),
    "a field's order": ("UPDATE micrograph SET \"order\" = '4799'", "4799"),
    "a field's specimen": ("UPDATE micrograph SET specimen_id = NULL", "field"),
    "a field superseded": (
        'UPDATE micrograph SET superseded = \'{"by": "Eve"}\'',
        "superseded by Eve is not in the trail",
    ),
    "a field deleted": ("DELETE FROM micrograph WHERE id = 1", "label 1 of None"),
    "an order's number": ("UPDATE \"order\" SET number = '4799'", "number was '4711'"),
    "an order deleted": ('DELETE FROM "order"', "order 4711"),
    "a promotion added": (FORGED_PROMOTION, "promotion 2 of other: by Ada is not in the trail"),
    "a promotion's figures": ("UPDATE promotion SET metrics = '{\"n\": 9}'", "metrics was"),
    "a control check passed": (
        "UPDATE record SET facts = replace(facts, 'false', 'true') WHERE kind = 'control'",
        "passed was False",
    ),
    "a control check of another source": (
        "UPDATE record SET subject = 'LOM-08' WHERE kind = 'control'",
        "subject was 'LOM-07'",
    ),
    "a control check added": (FORGED_CHECK, "record 2 (control of LOM-07): by agent is not in"),
    "a control check deleted": ("DELETE FROM record WHERE kind = 'control'", "was deleted"),
    "an act changed": ("UPDATE trail SET actor = 'Eve' WHERE act = 'label.given'", "was changed"),
    "an act deleted": ("DELETE FROM trail WHERE act = 'label.given'", "a row is missing"),
    "the last act deleted": (
        "DELETE FROM trail WHERE id = (SELECT max(id) FROM trail)",
        "the acts after it were deleted",
    ),
    "an account's role": ("UPDATE account SET role = 'lead'", "role was 'reviewer' by the trail"),
    "an account enabled": (
        "UPDATE account SET disabled_at = '2026-11-25'",
        "disabled was",
    ),
    "an account added": (FORGED_ACCOUNT, "account Eve: admin is not in the trail"),
    "a password exchanged": (
        "UPDATE account SET hashed = 'of Eve' WHERE name = 'Leo'",
        "account Leo: its password or token is not the one that the trail holds",
    ),
    "a log-in added": (FORGED_LOGIN, "of Leo (2026-11-25 00:00 UTC) is not in the trail"),
    "a table that is a view": (
        "ALTER TABLE record RENAME TO hidden",
        "CREATE VIEW record AS SELECT * FROM hidden WHERE kind != 'control'",
        "the table record is a view",
    ),
    "a view added": (
        "CREATE VIEW helper AS SELECT * FROM label",
        "the view helper is not this program's",
    ),
    "an index over a part of the rows": (
        "DROP INDEX ix_label_micrograph_id",
        "CREATE INDEX ix_label_micrograph_id ON label (micrograph_id) WHERE code != 'G8'",
        "the index ix_label_micrograph_id is not as this program makes it",
    ),
    "an index removed": (
        "DROP INDEX ix_label_micrograph_id",
        "the index ix_label_micrograph_id is missing",
    ),
    "a guard removed": ("DROP TRIGGER guard_label_update", "guard_label_update is missing"),
    "a trigger added": (
        "CREATE TRIGGER helper AFTER INSERT ON label BEGIN DELETE FROM login; END",
        "the trigger helper on label is not this program's",
    ),
}


def tamper_with(lab: Lab, *statements: str) -> None:
    """Execute statements as somebody does who knows SQLite: the guards are there again after it."""
    lab.store.close()
    with closing(sqlite3.connect(lab.folder / "martensight.db")) as file, file:
        wanted = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
        kept = dict(file.execute(wanted).fetchall())
        for name in kept:
            file.execute(f'DROP TRIGGER "{name}"')
        for statement in statements:
            if statement.startswith("DROP TRIGGER"):
                del kept[statement.split()[-1]]
            else:
                file.execute(statement)
        wanted = "SELECT name FROM sqlite_master WHERE type = 'table'"
        tables = {name for (name,) in file.execute(wanted)}
        for made in kept.values():
            if any(f'ON "{table}"' in made for table in tables):
                file.execute(made)


@pytest.mark.parametrize("name", ALTERATIONS)
def test_every_alteration_that_was_tried_is_named(lab, name) -> None:
    *changes, sentence = ALTERATIONS[name]
    tamper_with(lab, *changes)

    assert sentence in verified(lab)[0]


def test_a_row_that_an_index_lacks_is_named(lab) -> None:
    lab.store.close()
    with closing(sqlite3.connect(lab.folder / "martensight.db")) as file, file:
        wanted = "SELECT sql FROM sqlite_master WHERE name = 'ix_label_micrograph_id'"
        (made,) = file.execute(wanted).fetchone()
        file.execute("PRAGMA writable_schema = ON")
        file.execute("DROP INDEX ix_label_micrograph_id")
        file.execute(f"{made} WHERE code != 'G8'")
        changed = "UPDATE sqlite_master SET sql = ? WHERE name = 'ix_label_micrograph_id'"
        file.execute(changed, [made])
    lab.store = Store.open(address_of(lab), site="Plant 1", agent="test")

    assert "missing from index ix_label_micrograph_id" in verified(lab)[0]


def test_a_label_of_somebody_whom_no_account_is_behind_is_named(lab) -> None:
    public_id = lab.take("G8", order="4711", specimen="1")
    lab.store.labels.decide(public_id, Decision("code", "Invented", code="G8"), at=DAY)
    with acting_through(Origin("web", account="Leo", proof="password")):
        lab.store.labels.decide(
            public_id, Decision("code", "Second", code="G8", comment="x"), at=DAY
        )

    found, _ = verified(lab)

    assert "Invented gave it, and no account signed it though the lab has accounts" in found
    assert "Second gave it, and Leo signed it" in found
