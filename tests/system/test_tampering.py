"""Ways to rewrite a lab's past: each is named, and an honest one is not."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from labs.lab import DAY, NEXT_DAY, RING_A, TAXONOMY, Lab, copy_of
from labs.predictions import prediction_of
from labs.stored_trail import chain_again
from servers.databases import tamper

from agent.backup.verification import Outside, verify_trail
from agent.evidence.anchors import NOTES, Anchor, iter_lines, write_note
from agent.orders.instruments.instrument_holds import Holds, load_releases
from agent.orders.judge.assessed import OrderPolicy
from agent.orders.judge.assessment import assess
from agent.orders.judge.method_validation import load_allowances
from agent.orders.specifications.specification import Specifications
from agent.orders.specifications.specification_history import load_history
from agent.service.jobs.backup import seal_results
from agent.store import (
    ACCEPTED,
    BEGUN_ANEW,
    FOUND_OLDER,
    RESTORED,
    Decision,
    MicrographResult,
    Origin,
    Store,
    acting_through,
)
from agent.store.tables import load_metadata
from agent.triage import Handling, TriageVerdict
from agent.watch import ListedFile, Provenance

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
    waiting = ListedFile(made.source, made.folder / "export", "4711_1_2.tif", 9, 9)
    made.store.files.add_settling([waiting], at=DAY)
    made.store.close()
    return made


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Lab:
    """A lab with an account and no field; to be copied."""
    made = Lab(tmp_path_factory.mktemp("empty") / "data")
    made.store.accounts.add("Leo", kind="person", role="lead", hashed="x", by="shell", at=DAY)
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
        ("UPDATE promotion SET metrics = '{\"n\": 9}'", "metrics.n was 8"),
        (
            "UPDATE record SET facts = replace(facts, 'false', 'true') WHERE kind = 'control'",
            "record 1 (control of LOM-07): facts.passed was False",
        ),
        ("UPDATE record SET subject = 'LOM-08' WHERE kind = 'control'", "subject was 'LOM-07'"),
        (
            FORGED_CHECK,
            "record 2 (control of LOM-07): by agent is not in the trail",
        ),
        (
            "DELETE FROM record WHERE kind = 'control'",
            "record 1 (control of LOM-07) (control.recorded by agent, tr",
        ),
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
    assert "reasons was ['uncertain'] (as result 2 was filed), is []" in found


ACTS = [
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
]


@pytest.mark.parametrize(
    "facts",
    [
        '{"label": ["x"]}',
        '{"label": 1, "signed": 5, "after": 7, "now": [], "ids": [[0, 9999999999999]]}',
        "{}",
    ],
)
def test_an_act_of_another_shape_ends_no_comparison(lab, facts) -> None:
    tamper(address_of(lab), "UPDATE micrograph SET area_mm2 = 9.5")

    for act in ACTS:
        tamper(
            address_of(lab),
            f"UPDATE trail SET act = '{act}', facts = '{facts}' "  # noqa: S608
            "WHERE subject = '20261101-0badcafe'",
        )
        chain_again(address_of(lab))

        found = verified(lab)[0]
        assert "area_mm2 was changed after it was filed" in found, act
        assert "promotion 1 of 20261101-0badcafe: by Ada is not in the trail" in found, act


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
    "the comment of a label": ("UPDATE label SET comment = 'x'", "comment was '' (trail number"),
    "a label deleted": ("DELETE FROM label", "(label.given by Leo, trail number"),
    "a label added": (FORGED_LABEL, "by Eve is not in the trail"),
    "a result's code": ("UPDATE result SET structure_code = 'G7'", "result"),
    "a result's probability": ("UPDATE result SET probability = 0.99", "result"),
    "a result's thresholds": ("UPDATE result SET thresholds = '{\"double_share\": 0}'", "result"),
    "a reason for review": ("UPDATE result SET reasons = '[]'", "reasons was ['uncertain']"),
    "a result deleted": ("DELETE FROM result WHERE id = 1", "result"),
    "a field's scale": ("UPDATE micrograph SET um_per_px = 9.5", "um_per_px"),
    "a field's area": ("UPDATE micrograph SET area_mm2 = 9.5", "area_mm2 was changed"),
    "a field's order": ("UPDATE micrograph SET \"order\" = '4799'", "4799"),
    "a field's specimen": ("UPDATE micrograph SET specimen_id = NULL", "field"),
    "a field superseded": (
        'UPDATE micrograph SET superseded = \'{"by": "Eve"}\'',
        "superseded was {} (no act), is {'by': 'Eve'}",
    ),
    "a field deleted": ("DELETE FROM micrograph WHERE id = 1", "label 1 of -: micrograph_id was"),
    "a specimen's heat": ("UPDATE specimen SET heat = 'H 9'", "heat was '' (no field was filed"),
    "a specimen's beginning": (
        "UPDATE specimen SET first_seen_at = '2026-11-20'",
        "specimen 1 of order 4711: first_seen_at was '2026-11-24T",
    ),
    "a specimen's facts": ("UPDATE specimen SET facts = '{\"x\": 1}'", "facts was {} (as result"),
    "a preparation's beginning": (
        "UPDATE preparation SET first_seen_at = '2026-11-20'",
        "preparation 1 of order 4711, specimen 1: first_seen_at was '2026-11-24T",
    ),
    "a preparation's facts": (
        "UPDATE preparation SET facts = '{\"x\": 1}'",
        "preparation 1 of specimen 4711/1: facts was {} (no act), is {'x': 1}",
    ),
    "whose accounts a site takes": (
        "UPDATE site SET shares_accounts = 1",
        "site Plant 1: shares was [] (no act), is ['accounts']",
    ),
    "a waiting file that is ignored": (
        "UPDATE content SET state = 'ignored', code = 'not_a_picture' WHERE state = 'settling'",
        "(4711_1_2.tif of LOM-07): it has the name of a picture and was never read",
    ),
    "a waiting file that another one replaced, which is not there": (
        "UPDATE content SET state = 'ignored', code = 'overwritten' WHERE state = 'settling'",
        "it is ignored (overwritten); agent files retry has it read",
    ),
    "an order's number": ("UPDATE \"order\" SET number = '4799'", "number was '4711'"),
    "an order deleted": ('DELETE FROM "order"', "order 4711"),
    "a promotion added": (FORGED_PROMOTION, "promotion 2 of other: by Ada is not in the trail"),
    "a promotion's figures": ("UPDATE promotion SET metrics = '{\"n\": 9}'", "metrics.n was 8"),
    "a control check passed": (
        "UPDATE record SET facts = replace(facts, 'false', 'true') WHERE kind = 'control'",
        "facts.passed was False",
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
    "an account's role": ("UPDATE account SET role = 'lead'", "role was 'reviewer' (trail number"),
    "an account enabled": (
        "UPDATE account SET disabled_at = '2026-11-25'",
        "disabled was False (no act), is True",
    ),
    "an account added": (FORGED_ACCOUNT, "account Eve: is not in the trail"),
    "a password exchanged": (
        "UPDATE account SET hashed = 'of Eve' WHERE name = 'Leo'",
        "account Leo: sha256 of hashed was",
    ),
    "a log-in added": (
        FORGED_LOGIN,
        "log-in of Leo (2026-11-25 00:00:00+00:00): by Leo is not in the trail",
    ),
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


def test_every_alteration_that_was_tried_is_named(filled, tmp_path) -> None:
    for name, (*changes, sentence) in ALTERATIONS.items():
        lab = copy_of(filled, tmp_path / name.replace("/", " "))
        tamper_with(lab, *changes)

        assert sentence in verified(lab)[0], name
        lab.store.close()


def hide_from_index(lab: Lab, where: str) -> None:
    """Make the index of labels again without some rows, while the schema says that it has all."""
    lab.store.close()
    with closing(sqlite3.connect(lab.folder / "martensight.db")) as file, file:
        wanted = "SELECT sql FROM sqlite_master WHERE name = 'ix_label_micrograph_id'"
        (made,) = file.execute(wanted).fetchone()
        file.execute("PRAGMA writable_schema = ON")
        file.execute("DROP INDEX ix_label_micrograph_id")
        file.execute(f"{made} WHERE {where}")
        changed = "UPDATE sqlite_master SET sql = ? WHERE name = 'ix_label_micrograph_id'"
        file.execute(changed, [made])
    lab.store = Store.open(address_of(lab), site="Plant 1", agent="test")


def test_a_row_that_an_index_lacks_is_named(lab) -> None:
    hide_from_index(lab, "code != 'G8'")

    assert "missing from index ix_label_micrograph_id" in verified(lab)[0]


def test_a_live_result_that_no_act_put_in_the_place_of_another_is_named(lab) -> None:
    public_id = lab.take("G8", order="4712", specimen="1")
    judged = replace(prediction_of("G9-10"), bundle="20261102-0badcafe")
    facts = {"sha256": "", "page": 0}
    finding = MicrographResult(facts, {}, {}, judged, TriageVerdict(Handling.AUTOMATIC, ()))
    assert lab.store.results.add(public_id, finding, role="live", at=DAY)
    seal_results(lab.store, at=DAY)
    assert verified(lab)[0] == ""

    tamper_with(lab, "UPDATE trail SET act = 'x.x' WHERE act = 'result.replaced'")
    chain_again(address_of(lab))

    assert "result 3: it took the place of result 2, and no act says so" in verified(lab)[0]


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


# --- nothing makes an order conform in silence ----------------------------------------------------

WANTED = RING_A.model_copy(update={"fields": 2})


def take(lab: Lab, code: str = "G8", field_: str = "1", **more: object) -> str:
    keys = {"order": "4711", "specimen": "1", "field": field_, "material": "100Cr6"}
    return lab.take(code, **(keys | more))


def decide(lab: Lab, public_id: str, code: str = "G8", *, at=DAY) -> None:
    with acting_through(Origin("web", account="Leo", proof="password")):
        lab.store.labels.decide(public_id, Decision("code", "Leo", code=code, comment="x"), at=at)


def break_by_label(lab: Lab) -> None:
    """Two fields, one of which a reviewer called too coarse."""
    decide(lab, take(lab))
    decide(lab, take(lab, "G7", "2"), "G7")


def leave_to_review(lab: Lab) -> None:
    """Two fields, one of which no one decided."""
    decide(lab, take(lab))
    take(lab, field_="2", reasons=("uncertain",))


def fail_check(lab: Lab) -> None:
    """Two fields, and a control check of their source that failed."""
    decide(lab, take(lab))
    decide(lab, take(lab, field_="2"))
    facts = {"passed": False, "sources": ["LOM-07"], "software": "1", "findings": []}
    lab.store.records.add("control", "LOM-07", by="agent", at=DAY, facts=facts)


def lack_field(lab: Lab) -> None:
    """One field where two are wanted; another order has more."""
    decide(lab, take(lab))
    decide(lab, take(lab, field_="2", order="4712"))
    decide(lab, take(lab, field_="3", specimen="2", order="4712"))


def lose_file(lab: Lab) -> None:
    """Two fields, and a file of the order that could not be read."""
    decide(lab, take(lab))
    decide(lab, take(lab, field_="2"))
    lab.set_aside("4711_1_3.tif", "damaged", "cannot be read")


SCENARIOS = (break_by_label, leave_to_review, fail_check, lack_field, lose_file)


def answer(lab: Lab) -> str:
    try:
        assessed = assess(lab.store, "4711", load_rules(lab.store))
    except Exception as error:  # noqa: BLE001 - an order that cannot be assessed does not conform
        return type(error).__name__
    return assessed.statement.conformity.value if assessed else "no order"


def load_rules(store: Store) -> OrderPolicy:
    return OrderPolicy(
        Specifications((WANTED,)),
        TAXONOMY,
        sources={"LOM-07": Provenance(pattern=r"(?P<order>\d+)_(?P<specimen>\d+)_(?P<field>\d+)")},
        allowances=load_allowances(store),
        held=Holds(store.records.all("control"), {}, load_releases(store)),
        history=load_history(store),
    )


def sweep(columns: dict[str, list[str]]) -> Iterator[tuple[str, ...]]:
    """Yield each row deleted or doubled, and each column of each table with other values."""
    values = ("NULL", "0", "1", "2", "''", "'G8'", "'live'", "'Leo'", "'4711'", "'[]'", "'{}'")
    for table, names in columns.items():
        quoted = f'"{table}"'
        yield (f"DELETE FROM {quoted}",)  # noqa: S608 - our own tables
        for edge in ("min", "max"):
            yield (f"DELETE FROM {quoted} WHERE rowid = (SELECT {edge}(rowid) FROM {quoted})",)  # noqa: S608
        for name in names:
            largest = f'(SELECT max("{name}") FROM {quoted})'  # noqa: S608
            for value in (*values, "'2026-11-25 09:00:00.000000'", largest):
                yield (f'UPDATE OR IGNORE {quoted} SET "{name}" = {value}',)  # noqa: S608
        kept = ", ".join(f'"{name}"' for name in names if name != "id")
        yield (f"INSERT OR IGNORE INTO {quoted} ({kept}) SELECT {kept} FROM {quoted}",)  # noqa: S608


def guard_again(file: sqlite3.Connection, guarded: dict[str, str], tried: Iterable[str]) -> None:
    """Create the guards again, except those that were to be removed, and those of views."""
    for name, made in guarded.items():
        if not any(name in statement for statement in tried):
            with suppress(sqlite3.OperationalError):
                file.execute(made)
    file.commit()


def try_all(lab: Lab, alterations: Iterable[tuple[str, ...]]) -> tuple[int, list[str], list[str]]:
    """Return how many were tried, which made the order conform, and which did so in silence."""
    tried, turned, silent = 0, [], []
    with (
        closing(sqlite3.connect(lab.folder / "martensight.db")) as file,
        closing(sqlite3.connect(":memory:")) as before,
    ):
        wanted = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
        guarded = dict(file.execute(wanted).fetchall())
        for name in guarded:
            file.execute(f'DROP TRIGGER "{name}"')
        file.commit()
        file.backup(before)
        for statements in alterations:
            try:
                for statement in statements:
                    file.execute(statement)
            except sqlite3.Error:
                file.rollback()
            else:
                file.commit()
                tried += 1
                if answer(lab) == "conforms":
                    turned.append(statements[0])
                    guard_again(file, guarded, statements)
                    if not verified(lab)[0]:
                        silent.append(statements[0])
            before.backup(file)
    return tried, turned, silent


@pytest.fixture(params=SCENARIOS)
def open_order(request, empty, tmp_path) -> Lab:
    """A lab with an order that does not conform for one reason alone."""
    lab = copy_of(empty, tmp_path / "data")
    request.param(lab)
    lab.what = request.param.__doc__
    assert answer(lab) != "conforms"
    assert verified(lab)[0] == ""
    return lab


def print_tried(lab: Lab, tried: int, turned: list[str], silent: list[str]) -> None:
    """Print a line of the table: what was tried, what made the order conform, what was silent."""
    sys.stdout.write(
        f"{lab.what} {tried} alterations, {len(turned)} let it conform, silent: {silent}\n"
    )


def test_no_alteration_that_was_tried_makes_an_order_conform_in_silence(open_order) -> None:
    alterations = (changes for *changes, _sentence in ALTERATIONS.values())

    tried, turned, silent = try_all(open_order, alterations)

    print_tried(open_order, tried, turned, silent)
    assert silent == []


@pytest.mark.slow
def test_no_value_of_a_row_makes_an_order_conform_in_silence(open_order) -> None:
    with closing(sqlite3.connect(open_order.folder / "martensight.db")) as file:
        columns = {
            table.name: [column.name for column in table.columns]
            for table in load_metadata().sorted_tables
            if file.execute(f'SELECT 1 FROM "{table.name}" LIMIT 1').fetchone()  # noqa: S608
        }

    tried, turned, silent = try_all(open_order, sweep(columns))

    print_tried(open_order, tried, turned, silent)
    assert silent == []


# --- attacks of more than one statement, as an order's answer -------------------------------------


@pytest.fixture
def broken(empty, tmp_path) -> Lab:
    """A lab whose order does not conform, as a reviewer labelled."""
    lab = copy_of(empty, tmp_path / "data")
    break_by_label(lab)
    assert answer(lab) == "does_not_conform"
    return lab


def test_an_index_without_the_breaking_row_turns_no_answer_in_silence(broken) -> None:
    hide_from_index(broken, "code != 'G7'")

    word, found = answer(broken), verified(broken)[0]

    assert word != "conforms" or found
    assert "missing from index ix_label_micrograph_id" in found


def append_forged(
    lab: Lab, what: str, *, at=DAY + timedelta(hours=1), note: bool = True, **facts: object
) -> int:
    """Append an act as the command does, with its note next to the archive; return its number."""
    number, sha256 = lab.store.audit_log.get_end()
    told = {"trail": number, "sha256": sha256, "until": 99, "is_named": True} | facts
    lab.store.audit_log.add(at=at, actor="Ada", act=what, subject="safe.zip", facts=told)
    end = Anchor.of(lab.store.audit_log.get_head(), at=at)
    if note:
        write_note(lab.folder, end)
    return end.number


def list_ends(lab: Lab) -> list[object]:
    """Return every end that is known outside, as a restore by a wrong clock lists them."""
    (anchor,) = iter_lines(lab.folder.parent / "anchor.jsonl")
    return [[anchor.number, anchor.sha256]]


def forge_older(lab: Lab, *, what: str = FOUND_OLDER, **facts: object) -> None:
    """Append that the database is older, or another, and the acceptance of a lead, with notes."""
    number = append_forged(lab, what, trail=0, end=lab.store.audit_log.get_end()[0], **facts)
    append_forged(lab, ACCEPTED, act=number)


def begin_forged(lab: Lab) -> None:
    """Let the whole audit log begin with the act by which a lost lab begins again."""
    facts = json.dumps({"trail": 0, "is_named": True})
    tamper(
        address_of(lab),
        f"UPDATE trail SET act = '{BEGUN_ANEW}', facts = '{facts}', at = '2026-11-24 10:00:00' "  # noqa: S608
        "WHERE id = 1",
    )
    chain_again(address_of(lab))
    number, sha256 = 1, lab.store.audit_log.get_first_hash()
    write_note(lab.folder, Anchor(number, number, sha256, DAY + timedelta(hours=1)))


def swap_note(lab: Lab) -> None:
    """Let the note of a restore that was undone confirm another act."""
    append_forged(lab, RESTORED, trail=0)
    (note,) = (lab.folder / NOTES).iterdir()
    end = Anchor.of(lab.store.audit_log.get_head(), at=DAY)
    document = json.loads(note.read_text(encoding="utf-8"))
    note.write_text(json.dumps(document | {"number": end.number, "sha256": end.sha256}))


def note_old_end(lab: Lab) -> None:
    """Let a note call the end that is known outside a restore that was undone."""
    (anchor,) = iter_lines(lab.folder.parent / "anchor.jsonl")
    write_note(lab.folder, anchor)


def rewind_presence(lab: Lab) -> None:
    """Write the presence of the lab again, with the end as it is now."""
    number, sha256 = lab.store.audit_log.get_end()
    presence = {"number": number, "sha256": sha256, "at": DAY.isoformat(), "pc": "PC"}
    folder = lab.folder / ".martensight"
    folder.mkdir(exist_ok=True)
    for file in (*folder.glob("*.presence"), folder / "lab-0.presence"):
        file.write_text(json.dumps(presence), encoding="utf-8")


def forge_report(lab: Lab) -> None:
    """Let the report of a night hold the end as it is now."""
    lab.reports.mkdir(exist_ok=True)
    end = Anchor.of(lab.store.audit_log.get_head(), at=DAY)
    report = {"gathered_at": DAY.isoformat(), "trail": end.to_json()}
    (lab.reports / "2026-11-24.json").write_text(json.dumps(report), encoding="utf-8")


LATER = DAY + timedelta(days=36500)
FORGED = {
    "nothing but right hashes": lambda _lab: None,
    "the presence goes back": rewind_presence,
    "a report holds the new end": forge_report,
    "a restore of an empty back-up": partial(append_forged, what=RESTORED, trail=0, note=False),
    "… with a note": partial(append_forged, what=RESTORED, trail=0),
    "… of the future": partial(append_forged, what=RESTORED, trail=0, at=LATER),
    "… of less than nothing": partial(append_forged, what=RESTORED, trail=-1),
    "… that is true": partial(append_forged, what=RESTORED, trail=True),
    "a restore of the rewritten acts": partial(append_forged, what=RESTORED),
    "… that names the ends outside": lambda lab: append_forged(lab, RESTORED, ends=list_ends(lab)),
    "… with ends of no shape": partial(append_forged, what=RESTORED, ends=[5, None, [1], "xx"]),
    "a restore of another site's back-up": partial(
        append_forged, what=RESTORED, trail=0, site="Plant 2"
    ),
    "two restores, one of the other": lambda lab: (
        append_forged(lab, RESTORED, trail=0),
        append_forged(lab, RESTORED),
    ),
    "a restore that a lead accepts": lambda lab: append_forged(
        lab, ACCEPTED, act=append_forged(lab, RESTORED, trail=0)
    ),
    "an older database, accepted": forge_older,
    "… found older, with the ends outside": lambda lab: forge_older(lab, ends=list_ends(lab)),
    "an older one, accepted before it was found": lambda lab: (
        append_forged(lab, ACCEPTED, act=lab.store.audit_log.get_end()[0] + 2),
        append_forged(lab, FOUND_OLDER, trail=0),
    ),
    "the database of another lab, accepted": partial(forge_older, what=BEGUN_ANEW),
    "a log that begins with a beginning": begin_forged,
    "a note that was put in another's place": swap_note,
    "a note of the old end": note_old_end,
}
"""What hides that the audit log was written again, with right hashes, from an anchor elsewhere."""


@pytest.mark.parametrize("more", [{}, {"event": "trail.anchored"}], ids=["file", "log"])
def test_no_forged_restore_hides_a_rewritten_log_from_an_anchor(broken, tmp_path, more) -> None:
    head = broken.store.audit_log.get_head()
    broken.store.close()
    hidden = []
    for place, (name, forge) in enumerate(FORGED.items()):
        lab = copy_of(broken, tmp_path / str(place) / "data")
        outside = Outside(lab.reports, files=(lab.folder.parent / "anchor.jsonl",), data=lab.folder)
        outside.files[0].write_text(json.dumps(Anchor.of(head, at=DAY).to_json() | more) + "\n")
        tamper(
            address_of(lab),
            "UPDATE label SET code = 'G8'",
            "UPDATE trail SET facts = replace(facts, 'G7', 'G8')",
        )
        chain_again(address_of(lab))
        forge(lab)

        word, found = answer(lab), verified_with(lab, outside)

        assert word == "conforms", name
        if "the hashes were computed again" not in found:
            hidden.append(name)
        lab.store.close()

    assert hidden == []


def restore_by_wrong_clock(lab: Lab) -> None:
    """Append a restore with a note in both places, and a label of the time after it."""
    append_forged(lab, RESTORED, at=LATER, trail=lab.store.audit_log.get_end()[0])
    (note,) = (lab.folder / NOTES).iterdir()
    shutil.copy(note, lab.folder.parent / "anchor.jsonl")
    decide(lab, next(lab.store.results.iter_all()).id, "G7", at=DAY + timedelta(hours=2))


def rename_site(lab: Lab) -> None:
    """Let the site have another name, whose ends the file of anchors does not hold."""
    tamper(address_of(lab), "UPDATE site SET name = 'Plant 2'")
    lab.store.close()
    lab.store = Store.open(address_of(lab), site="Plant 2", agent="test")


AROUND = {
    "a restore by a clock ahead, long before": (restore_by_wrong_clock, None, ""),
    "another name of the site": (None, rename_site, ""),
    "a line of brackets": (None, None, "[" * 200_000),
    "an endless number": (None, None, '{"number": Infinity, "count": 1, "sha256": "", "at": ""}'),
    "a number of 40 digits": (
        *(None, None),
        json.dumps({"number": 10**39, "count": 1, "sha256": "", "at": "2026-11-24"}),
    ),
}
"""Ways around an anchor elsewhere that forge no act → before the end is kept, after it, a line."""


@pytest.mark.parametrize("way", AROUND)
def test_no_way_around_an_anchor_hides_a_rewritten_log(broken, way) -> None:
    before, after, line = AROUND[way]
    file = broken.folder.parent / "anchor.jsonl"
    outside = Outside(broken.reports, files=(file,), data=broken.folder)
    if before:
        before(broken)
    end = Anchor.of(broken.store.audit_log.get_head(), at=NEXT_DAY, site="Plant 1")
    with file.open("a", encoding="utf-8") as opened:
        opened.write(f"{line}\n{json.dumps(end.to_json())}\n")
    assert verified_with(broken, outside) == ""
    tamper(
        address_of(broken),
        "UPDATE label SET code = 'G8'",
        "UPDATE trail SET facts = replace(facts, 'G7', 'G8')",
    )
    chain_again(address_of(broken))
    if after:
        after(broken)

    found = verified_with(broken, outside)

    assert "the hashes were computed again" in found or "it holds no end of the site" in found


def verified_with(lab: Lab, outside: Outside) -> str:
    return "\n".join(verify_trail(lab.store, outside)[0])


@pytest.mark.parametrize(
    "names", [("lims (program)", "lims"), ("Bob (by lims)", "Eve (by lims)", "lims (program)")]
)
def test_a_program_under_several_names_does_not_outvote_a_reviewer(broken, names) -> None:
    (coarse,) = [view.id for view in broken.store.results.iter_all() if view.label.code == "G7"]

    for name in names:
        again = Decision("code", name, code="G8", comment="again")
        broken.store.labels.decide(coarse, again, at=DAY + timedelta(hours=1))

    assert answer(broken) != "conforms"
