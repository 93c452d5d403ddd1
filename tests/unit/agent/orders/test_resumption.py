"""After an older back-up is put back no revision and no statement goes back; lists come again."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from labs.lab import DAY, HOME, Lab, web_of
from labs.plant import HOUR, SETTINGS, Plant

from agent.evidence.anchors import Anchor, append
from agent.orders.facts.place_check import PlaceCheck
from agent.orders.statements.statement_files import Unsigned, write_files
from agent.service.copies import check_start, write_presence
from agent.service.health.status import build_status_from_store
from agent.service.jobs import exchange
from agent.service.jobs.exchange import take_lists
from agent.service.statements import make_lab
from agent.settings import read
from agent.store import FOUND_OLDER, Decision, Store
from agent.web import create_app


@pytest.fixture
def plant(tmp_path, capsys) -> Plant:
    return Plant(tmp_path, capsys)


def sent_before_backup(plant: Plant) -> tuple[str, Path]:
    """Send 1 conforms, and back up."""
    public_id = plant.take()
    plant.say(public_id, "G8")
    plant.send()
    file = plant.folder / "safe.zip"
    assert plant.agent("backup", file)[0] == 0
    return public_id, file


def corrected_after_backup(plant: Plant) -> tuple[str, Path]:
    """Send 1 conforms, back up, send 2 does not conform."""
    public_id, file = sent_before_backup(plant)
    plant.say(public_id, "G7", at=DAY + HOUR)
    plant.send(at=DAY + HOUR)
    assert plant.sent() == [(1, "conforms"), (2, "does_not_conform")]
    return public_id, file


def lose_database(plant: Plant) -> None:
    """Leave nothing of the database that a restore could read, such as on another PC."""
    plant.lab.store.close()
    for part in (plant.folder / "data").glob("martensight.db*"):
        part.unlink()
    shutil.rmtree(plant.folder / "data/.martensight", ignore_errors=True)


def test_revisions_go_on_above_what_the_lims_holds(plant) -> None:
    public_id, file = corrected_after_backup(plant)
    said = plant.restore(file)
    plant.resume_order()
    plant.say(public_id, "G9-10", at=DAY + 2 * HOUR)

    plant.send(at=DAY + 2 * HOUR)

    assert "order 4711: the LIMS holds revision 2, the database 1" in said
    assert "does not conform" in said
    assert plant.sent() == [(1, "conforms"), (2, "does_not_conform"), (3, "conforms")]


def test_a_correction_that_is_entered_again_is_not_sent_twice(plant) -> None:
    public_id, file = corrected_after_backup(plant)
    plant.restore(file)
    before = build_status_from_store(plant.settings, plant.lab.store, now=DAY + HOUR, running=False)
    plant.say(public_id, "G7", at=DAY + HOUR)

    plant.send(at=DAY + 2 * HOUR)

    after = build_status_from_store(plant.settings, plant.lab.store, now=DAY + HOUR, running=False)
    assert plant.sent() == [(1, "conforms"), (2, "does_not_conform")]
    assert any("1 order (4711)" in one for one in before["problems"])
    assert not any("the LIMS holds" in one for one in after["problems"])


def test_a_revision_after_a_restore_has_another_id_and_names_the_restore(plant) -> None:
    public_id, file = corrected_after_backup(plant)
    plant.restore(file)
    plant.resume_order()
    plant.say(public_id, "G9-10", at=DAY + 2 * HOUR)
    plant.send(at=DAY + 2 * HOUR)

    documents = [json.loads(path.read_text("utf-8")) for path in plant.outbox.glob("*.json")]
    first, second, third = sorted(documents, key=lambda one: one["revision"])

    assert "epoch" not in first | second
    assert third["epoch"].endswith("Z")
    assert len({first["id"], second["id"], third["id"]}) == 3


def test_an_older_back_up_twice_never_uses_a_number_again(plant) -> None:
    public_id, file = corrected_after_backup(plant)
    for hour, code in enumerate(("G9-10", "G7", "G8"), start=2):
        plant.restore(file)
        plant.resume_order()
        plant.say(public_id, code, at=DAY + hour * HOUR)
        plant.send(at=DAY + hour * HOUR)

    revisions = [number for number, _ in plant.sent()]
    assert revisions == [1, 2, 3, 4, 5]


def test_what_was_pending_in_the_back_up_does_not_overtake(plant) -> None:
    public_id = plant.take()
    plant.say(public_id, "G8")
    plant.outbox.rename(plant.folder / "away")
    plant.send()
    file = plant.folder / "safe.zip"
    assert plant.agent("backup", file)[0] == 0
    (plant.folder / "away").rename(plant.outbox)
    plant.send()
    plant.say(public_id, "G7", at=DAY + HOUR)
    plant.send(at=DAY + HOUR)
    for sent in plant.outbox.glob("*.json"):
        sent.unlink()  # the LIMS has taken them
    plant.restore(file)

    plant.send(at=DAY + HOUR)

    assert plant.sent() == []


@pytest.mark.parametrize("lost", ["data folder", "outbox"])
def test_one_of_the_two_notes_is_enough(plant, lost) -> None:
    public_id, file = corrected_after_backup(plant)
    shutil.rmtree(
        plant.folder / "data/sent" if lost == "data folder" else plant.outbox / ".martensight"
    )
    plant.restore(file)
    plant.resume_order()
    plant.say(public_id, "G9-10", at=DAY + 2 * HOUR)

    plant.send(at=DAY + 2 * HOUR)

    assert [number for number, _ in plant.sent()] == [1, 2, 3]


def test_while_the_share_is_away_after_a_restore_no_revision_is_recorded(plant) -> None:
    public_id, file = corrected_after_backup(plant)
    shutil.rmtree(plant.folder / "data/sent")  # another PC
    plant.outbox.rename(plant.folder / "away")
    said = plant.restore(file)
    plant.say(public_id, "G9-10", at=DAY + 2 * HOUR)

    away = plant.send(at=DAY + 2 * HOUR)
    (plant.folder / "away").rename(plant.outbox)
    plant.send(at=DAY + 2 * HOUR)  # it is compared
    plant.resume_order()
    back = plant.send(at=DAY + 3 * HOUR)

    assert "no revision is sent before it was compared" in said
    assert "since a back-up was restored" in away
    assert back == ""
    assert [number for number, _ in plant.sent()] == [1, 2, 3]


def test_an_order_that_came_after_the_back_up_goes_on_too_by_any_spelling(plant) -> None:
    file = plant.folder / "safe.zip"
    plant.take("4712")
    assert plant.agent("backup", file)[0] == 0
    plant.say(plant.take("04711"), "G8")
    plant.send()
    said = plant.restore(file)
    told = {"order": "4711", "specimen": "1", "material": "100Cr6"}
    plant.say(plant.lab.take("G7", name="again.tif", **told), "G7")

    plant.send()

    assert "order 04711: the LIMS holds revision 1, the database 0" in said
    assert [number for number, _ in plant.sent()] == [1, 2]


def test_numbers_of_statements_are_not_used_twice(plant) -> None:
    public_id, file = corrected_after_backup(plant)
    made = [statement.number for statement in plant.lab.store.statements.all("4711")]
    plant.restore(file)
    plant.resume_order()
    plant.say(public_id, "G9-10", at=DAY + 2 * HOUR)
    plant.send(at=DAY + 2 * HOUR)

    kept, *later = plant.lab.store.statements.all("4711")
    assert [one.number - max(made) for one in later] == [1, 2, 3]  # held, acknowledged, new
    assert later[0].previous == kept.sha256
    assert plant.lab.store.statements.problems() == []


def test_a_database_that_was_put_back_by_hand_sends_nothing_below_what_was_sent(plant) -> None:
    public_id = plant.take()
    plant.say(public_id, "G8")
    plant.send()
    plant.say(public_id, "G7", at=DAY + HOUR)
    plant.lab.store.close()
    file = plant.folder / "data/martensight.db"
    shutil.copy(file, plant.folder / "snapshot.db")
    plant.lab = Lab(plant.folder / "data")
    plant.send(at=DAY + HOUR)
    plant.say(public_id, "G8", at=DAY + 2 * HOUR)
    plant.send(at=DAY + 2 * HOUR)
    plant.lab.store.close()
    shutil.copy(plant.folder / "snapshot.db", file)
    plant.lab = Lab(plant.folder / "data")
    plant.say(public_id, "G9-10", at=DAY + 3 * HOUR)

    refused = plant.send(at=DAY + 3 * HOUR)
    plant.lab.store.close()
    code, found = plant.agent("restore", "--accept", "database", "--reason", "it is meant")
    assert code == 0
    accept_loss(plant, found)
    plant.say(public_id, "G7", at=DAY + 4 * HOUR)
    taken = plant.send(at=DAY + 4 * HOUR)

    assert "revision 3 was sent before" in refused
    assert "older than what the LIMS holds" in refused
    assert taken == ""
    assert [number for number, _ in plant.sent()] == [1, 2, 3, 4]


def test_lists_that_were_taken_after_the_back_up_are_read_again(plant) -> None:
    file = plant.folder / "safe.zip"
    plant.write("lists/old.csv", "order,material\n4700,100Cr6\n")
    plant.take("4712")
    now = datetime.now(UTC)
    take_lists(plant.settings, plant.lab.store, at=now - 9 * HOUR, rest_s=-(10**9))
    assert plant.agent("backup", file)[0] == 0
    plant.write("lists/new.csv", "order,material\n4711,100Cr6\n")
    plant.write("lists/broken.csv", "order,material,urgent\n4713,100Cr6,\n4714,x,perhaps\n")
    take_lists(plant.settings, plant.lab.store, at=datetime.now(UTC) + HOUR, rest_s=0)

    said = plant.restore(file)

    assert "new.csv read again: 1 order new or changed" in said
    assert "broken.csv read again: 1 order new or changed" in said
    assert "old.csv" not in said
    numbers = {age.number for age in plant.lab.store.order_changes.ages()}
    assert numbers == {"4700", "4711", "4712", "4713"}


# --- what was lost counts until it is entered again, or a lead acknowledges it ------------------


def status_names(plant: Plant) -> bool:
    status = build_status_from_store(plant.settings, plant.lab.store, now=DAY, running=False)
    return any("1 order (4711)" in one for one in status["problems"])


def test_a_new_file_of_the_order_does_not_send_better_than_what_was_lost(plant) -> None:
    _, file = corrected_after_backup(plant)
    plant.restore(file)
    told = {"order": "4711", "specimen": "1", "material": "100Cr6"}
    second = plant.lab.take("G8", name="again.tif", field="2", **told)
    plant.send(at=DAY + 2 * HOUR)
    plant.say(second, "G8", at=DAY + 3 * HOUR)

    plant.send(at=DAY + 3 * HOUR)

    assert not [one for one in plant.sent() if one[0] > 2 and one[1] == "conforms"]
    assert status_names(plant)


def test_the_same_label_again_does_not_clear_what_was_lost(plant) -> None:
    public_id, file = corrected_after_backup(plant)
    plant.restore(file)
    plant.lab.store.labels.undo(public_id, by="Ada", at=DAY + HOUR)
    plant.send(at=DAY + HOUR)
    plant.say(public_id, "G8", at=DAY + 2 * HOUR)
    plant.send(at=DAY + 2 * HOUR)

    assert plant.sent() == [(1, "conforms"), (2, "does_not_conform"), (3, "undecided")]
    assert status_names(plant)


def test_what_was_lost_is_remembered_over_a_second_restore(plant) -> None:
    public_id, file = corrected_after_backup(plant)
    plant.restore(file)
    plant.lab.store.labels.undo(public_id, by="Ada", at=DAY + HOUR)
    plant.send(at=DAY + HOUR)
    plant.restore(file)
    plant.lab.store.labels.undo(public_id, by="Ada", at=DAY + HOUR)
    plant.send(at=DAY + HOUR)
    plant.say(public_id, "G9-10", at=DAY + 2 * HOUR)
    plant.send(at=DAY + 2 * HOUR)

    assert "conforms" not in [word for number, word in plant.sent() if number > 2]
    assert status_names(plant)


def test_a_lost_break_that_is_entered_again_may_be_corrected_again(plant) -> None:
    public_id, file = corrected_after_backup(plant)
    plant.restore(file)
    plant.say(public_id, "G7", at=DAY + 2 * HOUR)
    plant.send(at=DAY + 2 * HOUR)
    plant.lab.store.labels.undo(public_id, by="Ada", at=DAY + 2 * HOUR)
    plant.say(public_id, "G9-10", at=DAY + 3 * HOUR)
    plant.send(at=DAY + 3 * HOUR)

    assert plant.sent()[-1] == (3, "conforms")
    assert not status_names(plant)


def test_what_was_lost_holds_the_order_wherever_it_is_shown(plant) -> None:
    _, file = corrected_after_backup(plant)
    plant.restore(file)

    _, command = plant.agent("orders", "show", "4711")
    before = plant.lab.store.statements.all("4711")
    refused = [
        plant.agent(
            "orders", "statements", "--customer", "4711", plant.folder, "--statement", one.number
        )
        for one in before
        if one.conformity == "conforms"
    ]
    plant.send(at=DAY + 2 * HOUR)
    policy = make_lab(plant.settings, plant.lab.store, now=DAY)
    web = replace(web_of(plant.lab), lab=lambda: policy)
    with TestClient(create_app(web), base_url=HOME) as browser:
        browser.cookies.set("reviewer", "Leo")
        page = browser.get("/order/4711").text
        answer = browser.get("/api/v1/orders/4711").json()

    assert "a restored back-up lost revision 2, which the LIMS holds (does not conform)" in command
    assert "undecided" in command
    assert "agent orders resume 4711" in command
    assert [code for code, _ in refused] == [2]
    assert "is not reported: a restored back-up lost revision 2" in refused[0][1]
    assert (answer["conformity"], answer["held_back"]["revision"]) == ("undecided", 2)
    assert "lost revision 2" in page
    assert plant.sent() == [(1, "conforms"), (2, "does_not_conform")]
    newest = plant.lab.store.statements.newest()["4711"]
    assert newest.conformity == "undecided"


def test_an_undecided_revision_that_was_lost_is_not_followed_by_its_own_hold(plant) -> None:
    public_id, file = sent_before_backup(plant)
    plant.lab.store.labels.undo(public_id, by="Ada", at=DAY + HOUR)
    plant.send(at=DAY + HOUR)
    assert plant.sent() == [(1, "conforms"), (2, "undecided")]
    plant.restore(file)
    for hour in (2, 3):
        plant.send(at=DAY + hour * HOUR)

    _, held = plant.agent("orders", "show", "4711")
    plant.lab.store.labels.undo(public_id, by="Ada", at=DAY + 4 * HOUR)
    plant.send(at=DAY + 4 * HOUR)
    plant.say(public_id, "G8", at=DAY + 5 * HOUR)
    plant.send(at=DAY + 5 * HOUR)
    _, entered = plant.agent("orders", "show", "4711")

    assert "lost revision 2" in held
    assert "lost revision" not in entered
    assert plant.sent()[-1][1] == "conforms"


def test_without_an_outbox_a_lost_statement_holds_the_order(plant) -> None:
    plant.write("agent.toml", SETTINGS.replace('outbox = "outbox"\n', ""))
    plant.settings = read(plant.folder / "agent.toml")
    public_id, file = sent_before_backup(plant)
    plant.say(public_id, "G7", at=DAY + HOUR)
    plant.send(at=DAY + HOUR)
    for statement in plant.lab.store.statements.all("4711"):
        write_files(
            plant.lab.store, plant.lab.archive, statement, language="en", signer=Unsigned(), now=DAY
        )
    plant.restore(file)

    _, held = plant.agent("orders", "show", "4711")
    plant.send(at=DAY + 2 * HOUR)
    plant.resume_order()
    _, known = plant.agent("orders", "show", "4711")

    assert "a restored back-up lost statement 2 (does not conform)" in held
    assert "lost statement" not in known
    assert "conforms" in known


def corrected_in_the_database_alone(plant: Plant) -> tuple[str, Path]:
    """Send 1 conforms, back up, and freeze a statement 2 of which no file is outside."""
    public_id, file = sent_before_backup(plant)
    label = ("review", "label", public_id, "G7", "--by", "Ada", "--comment", "looked again")
    code, said = plant.agent(*label)
    assert code == 0, said
    assert [one.number for one in plant.lab.store.statements.all("4711")] == [1, 2]
    assert list((plant.folder / "data").glob("statements/??/*.json")) == []
    return public_id, file


def test_a_statement_that_only_the_replaced_database_held_holds_the_order(plant) -> None:
    public_id, file = corrected_in_the_database_alone(plant)
    said = plant.restore(file)

    _, held = plant.agent("orders", "show", "4711")
    is_named = status_names(plant)
    plant.send(at=DAY + 2 * HOUR)
    plant.restore(file)  # the one that was just restored is replaced
    _, again = plant.agent("orders", "show", "4711")
    plant.send(at=DAY + 3 * HOUR)
    made = [one.number for one in plant.lab.store.statements.all("4711")]
    plant.say(public_id, "G7", at=DAY + 4 * HOUR)
    plant.send(at=DAY + 4 * HOUR)
    _, entered = plant.agent("orders", "show", "4711")

    assert "order 4711: statement 2 was made, the database holds 1" in said
    assert "a restored back-up lost statement 2 (does not conform)" in held
    assert "undecided" in held
    assert is_named
    assert "a restored back-up lost statement 3 (does not conform)" in again
    assert made == [1, 4]
    assert "lost statement" not in entered
    assert plant.sent() == [(1, "conforms"), (2, "does_not_conform")]


@pytest.fixture
def other_plant(plant):
    """A second site of the database, with an outbox of its own."""
    (plant.folder / "other_outbox").mkdir()
    anchored = SETTINGS + '[trail]\nanchor = "anchor.txt"\n'
    plant.write("agent.toml", anchored)
    own = anchored.replace("Plant 1", "Plant 2").replace('"outbox"', '"other_outbox"')
    plant.write("other.toml", own)
    settings = read(plant.folder / "other.toml")
    with open_lab(plant, settings) as lab:
        public_id = lab.take("G8", order="9001", specimen="1", field="1", material="100Cr6")
        lab.store.labels.decide(public_id, Decision("code", "Ada", code="G8"), at=DAY)
        exchange.fill_outbox(settings, lab.store, now=DAY)
    return settings, public_id


@contextmanager
def open_lab(plant, settings):
    lab = Lab(plant.folder / "data")
    lab.store.close()
    url = f"sqlite:///{plant.folder / 'data/martensight.db'}"
    lab.store = Store.open(url, site=settings.site.name, agent="other")
    lab.places = PlaceCheck(lab.store)
    yield lab
    lab.store.close()


def show_other(plant):
    return plant.agent("orders", "show", "9001", config="other.toml")[1]


@pytest.mark.parametrize("is_torn", [False, True], ids=["readable", "torn"])
def test_a_restore_of_all_sites_holds_the_orders_of_each_site(plant, other_plant, is_torn) -> None:
    settings, public_id = other_plant
    before = show_other(plant)
    plant.agent("backup", plant.folder / "all.zip")
    with open_lab(plant, settings) as lab:
        again = Decision("code", "Ada", code="G7", comment="looked again")
        lab.store.labels.decide(public_id, again, at=DAY + HOUR)
        end = replace(Anchor.of(lab.store.audit_log.get_head(), at=DAY), site="Plant 2")
    plant.lab.store.close()
    if is_torn:
        append(plant.folder / "anchor.txt", end)
        (plant.folder / "data/martensight.db").write_bytes(b"torn" * 4096)
    code, said = plant.agent("restore", "--all-sites", plant.folder / "all.zip")
    held = show_other(plant)
    with open_lab(plant, settings) as lab:
        exchange.fill_outbox(settings, lab.store, now=DAY + 2 * HOUR)
    compared = show_other(plant)
    plant.lab = Lab(plant.folder / "data")

    assert code == 0, said
    assert "undecided" not in before
    assert "undecided" in held
    assert "undecided" in compared
    expected = "which orders they concern" if is_torn else "a restored back-up lost statement 2"
    assert expected in compared


def test_a_label_that_no_statement_states_yet_is_lost_with_the_replaced_database(plant) -> None:
    public_id, file = sent_before_backup(plant)
    plant.say(public_id, "G7", at=DAY + HOUR)
    plant.restore(file)

    assert (
        "a restored back-up lost statement 2 (does not conform)"
        in plant.agent("orders", "show", "4711")[1]
    )


@pytest.mark.parametrize("fault", ["away", "torn", "changed"])
def test_where_the_lost_orders_cannot_be_named_none_conforms_until_a_lead_accepts(
    plant, fault
) -> None:
    plant.write("agent.toml", SETTINGS + '[trail]\nanchor = "anchor.txt"\n')
    plant.settings = read(plant.folder / "agent.toml")
    _, file = corrected_in_the_database_alone(plant)
    end = Anchor.of(plant.lab.store.audit_log.get_head(), at=DAY)
    append(plant.folder / "anchor.txt", end)
    database = plant.folder / "data/martensight.db"
    if fault == "away":
        lose_database(plant)
    plant.lab.store.close()
    if fault == "torn":
        database.write_bytes(b"torn" * 4096)
    elif fault == "changed":
        with closing(sqlite3.connect(database)) as opened, opened:
            names = "select name from sqlite_master where type = 'trigger'"
            for (name,) in opened.execute(names).fetchall():
                opened.execute(f'drop trigger "{name}"')
            opened.execute("update statement set conformity = 'conforms'")
    said = plant.restore(file)

    _, held = plant.agent("orders", "show", "4711")
    waits = plant.send(at=DAY + 2 * HOUR)
    status = build_status_from_store(plant.settings, plant.lab.store, now=DAY, running=False)
    (number,) = re.findall(r"--accept (\d+)", said)
    plant.lab.store.close()
    accept = ("restore", "--accept", number, "--by", "Leo", "--reason", "the label is known")
    assert plant.agent(*accept)[0] == 0
    plant.lab = Lab(plant.folder / "data")
    settled = plant.send(at=DAY + 3 * HOUR)
    _, shown = plant.agent("orders", "show", "4711")

    assert "which orders they concern is not known" in said
    assert any("which orders they concern is not known" in one for one in status["problems"])
    assert "undecided" in held
    assert f"--accept {number}" in held
    assert f"--accept {number}" in waits
    assert settled == ""
    assert f"--accept {number}" not in shown


def test_while_the_share_is_away_after_a_restore_no_order_conforms(plant) -> None:
    _, file = corrected_after_backup(plant)
    shutil.rmtree(plant.folder / "data/sent")  # another PC
    plant.outbox.rename(plant.folder / "away")
    lose_database(plant)
    plant.restore(file)

    _, away = plant.agent("orders", "show", "4711")
    plant.send(at=DAY + 2 * HOUR)
    (plant.folder / "away").rename(plant.outbox)
    plant.send(at=DAY + 3 * HOUR)
    _, back = plant.agent("orders", "show", "4711")

    assert "what the LIMS holds was not compared with it yet" in away
    assert "a restored back-up lost revision 2" in back
    assert plant.sent() == [(1, "conforms"), (2, "does_not_conform")]


@pytest.mark.parametrize("code", ["", "G9-10"])
def test_a_lead_acknowledges_and_the_order_is_sent_as_it_stands(plant, code) -> None:
    public_id, file = corrected_after_backup(plant)
    plant.restore(file)
    if code:
        plant.say(public_id, code, at=DAY + 2 * HOUR)
    plant.send(at=DAY + 2 * HOUR)
    before = plant.sent()

    refused = plant.resume_order(by="Ada")
    taken = plant.resume_order()
    plant.send(at=DAY + 3 * HOUR)

    assert before == [(1, "conforms"), (2, "does_not_conform")]
    assert "only a lead" in refused
    assert "by Leo" in taken
    assert plant.sent() == [*before, (3, "conforms")]
    assert not status_names(plant)


def test_only_an_order_that_waits_is_resumed(plant) -> None:
    plant.say(plant.take(), "G8")
    plant.send()

    assert "has nothing of the kind to settle now" in plant.resume_order()


# --- an older database, copied back by hand -----------------------------------------------------


def corrected_after_copy(plant: Plant, left: str) -> tuple[str, Path]:
    """Send 1 conforms, copy the database, correct by a command; one proof of it stays outside."""
    plant.write("agent.toml", SETTINGS + '[trail]\nanchor = "anchor.txt"\n')
    plant.settings = read(plant.folder / "agent.toml")
    public_id = plant.take()
    plant.say(public_id, "G8")
    plant.send()
    snapshot = plant.keep_copy()
    label = ("review", "label", public_id, "G7", "--by", "Ada", "--comment", "looked again")
    code, said = plant.agent(*label)
    assert code == 0, said
    store, data = plant.lab.store, plant.folder / "data"
    if left == "data":
        return public_id, snapshot
    shutil.rmtree(data / ".martensight", ignore_errors=True)
    if left == "outbox":
        write_presence(plant.settings, store, now=DAY, is_stopped=True)
        shutil.rmtree(data / ".martensight", ignore_errors=True)
    elif left == "anchor":
        append(plant.folder / "anchor.txt", Anchor.of(store.audit_log.get_head(), at=DAY))
    elif left == "statement":
        newest = store.statements.newest()["4711"]
        write_files(store, plant.lab.archive, newest, language="en", signer=Unsigned(), now=DAY)
    elif left == "sent":
        plant.send(at=DAY + HOUR)
        for file in plant.outbox.glob(".martensight/*.presence"):
            file.unlink()
    return public_id, snapshot


def read_answers(plant: Plant) -> tuple[str, str, dict[str, object], str]:
    """Return what command, page, API and the customer's report answer of order 4711."""
    _, command = plant.agent("orders", "show", "4711")
    wanted = ("--customer", "4711", plant.folder, "--statement", 1)
    _, report = plant.agent("orders", "statements", *wanted)
    policy = make_lab(plant.settings, plant.lab.store, now=DAY)
    web = replace(web_of(plant.lab), lab=lambda: policy)
    with TestClient(create_app(web), base_url=HOME) as browser:
        browser.cookies.set("reviewer", "Leo")
        return (
            command,
            browser.get("/order/4711").text,
            browser.get("/api/v1/orders/4711").json(),
            report,
        )


def accept_loss(plant: Plant, said: str) -> tuple[int, str]:
    """Accept as a lead what a sentence asks for."""
    number = re.findall(r"--accept (\d+)", said)[0]
    plant.lab.store.close()
    accept = ("restore", "--accept", number, "--by", "Leo", "--reason", "the label is known")
    outcome = plant.agent(*accept)
    plant.lab = Lab(plant.folder / "data")
    return outcome


PROOFS = ["outbox", "data", "anchor", "statement", "sent"]


@pytest.mark.parametrize(("left", "is_started"), [("outbox", True), *((p, False) for p in PROOFS)])
def test_an_older_database_copied_back_by_hand_says_conforms_nowhere(
    plant, left, is_started
) -> None:
    _, snapshot = corrected_after_copy(plant, left)
    before = plant.sent()
    plant.copy_back(snapshot)

    started = plant.agent("run", "--once") if is_started else (0, "")
    command, page, answer, report = read_answers(plant)
    waits = plant.send(at=DAY + 2 * HOUR)
    status = build_status_from_store(plant.settings, plant.lab.store, now=DAY, running=False)
    code, said = accept_loss(plant, waits)
    settled = plant.send(at=DAY + 3 * HOUR)
    _, shown = plant.agent("orders", "show", "4711")

    acts = [entry.act for entry in plant.lab.store.audit_log.iter_acts()]
    assert (acts.count(FOUND_OLDER), acts.count("resumption.recorded")) == (1, 4)
    assert started[0] == 0, started[1]
    assert "replaced by an older one" in " ".join(started[1].split()) or not is_started
    assert "undecided" in command
    assert answer["conformity"] == "undecided"
    assert "a restored back-up lost" in command
    assert "a restored back-up lost" in page
    assert "is not reported" in report
    assert any("replaced by an older one" in sentence for sentence in status["problems"])
    assert plant.sent() == before
    assert (code, settled) == (0, ""), said
    assert "--accept" not in shown
    names_order = left in {"statement", "sent"}
    assert ("a restored back-up lost" in shown) is names_order
    assert plant.agent("verify")[0] == 0


def test_after_a_lead_accepted_an_older_database_the_lab_goes_on_as_before(plant) -> None:
    def start() -> tuple[str, ...]:
        now = datetime.now(UTC)
        warnings = check_start(plant.settings, plant.lab.store, now=now).warnings
        assert write_presence(plant.settings, plant.lab.store, now=now) in {"", *warnings}
        return warnings

    public_id, snapshot = corrected_after_copy(plant, "data")
    plant.copy_back(snapshot)
    (found,) = start()
    accept_loss(plant, found)
    again = start(), start()
    plant.say(public_id, "G7", at=DAY + 2 * HOUR)
    plant.send(at=DAY + 2 * HOUR)
    snapshot = plant.keep_copy()
    plant.agent("review", "label", public_id, "G6", "--by", "Ada", "--comment", "again")
    plant.copy_back(snapshot)
    (twice,) = start()

    assert again == ((), ())
    assert plant.sent() == [(1, "conforms"), (2, "does_not_conform")]
    assert "replaced by an older one" in twice
    assert twice != found


# --- unreadable notes ---------------------------------------------------------------------------

NOTE = {"order": "4711", "id": "x", "state": "x", "conformity": "conforms", "statement": "x"}
NOTE |= {"statement_number": 1, "at": "2026-11-24T09:00:00+00:00", "lab": ""}
UNREADABLE = [
    "",
    '{"order": "4711", "revi',
    json.dumps(NOTE),
    json.dumps(NOTE | {"revision": "two"}),
    json.dumps(NOTE | {"revision": 2.5}),
    json.dumps(NOTE | {"revision": 10**7}),
    json.dumps(NOTE | {"revision": 1}).replace('"revision": 1', '"revision": 1e999'),
]


def list_notes(plant: Plant) -> list[Path]:
    folders = (plant.folder / "data/sent", plant.outbox / ".martensight")
    notes = [next(folder.glob("*/4711-*.json")) for folder in folders]
    assert len(notes) == 2
    return notes


@pytest.mark.parametrize("text", UNREADABLE)
def test_an_order_with_no_readable_note_is_held_by_name(plant, text) -> None:
    public_id, file = corrected_after_backup(plant)
    notes = list_notes(plant)
    for note in notes:
        note.write_text(text, encoding="utf-8")
    lose_database(plant)
    told = plant.restore(file)
    plant.say(public_id, "G9-10", at=DAY + 2 * HOUR)

    said = plant.send(at=DAY + 2 * HOUR)

    assert plant.sent() == [(1, "conforms"), (2, "does_not_conform")]
    assert notes[0].name in said
    assert "order 4711" in said
    assert notes[0].name in told


@pytest.mark.parametrize("place", [0, 1])
def test_one_readable_note_is_enough(plant, place) -> None:
    public_id, file = corrected_after_backup(plant)
    list_notes(plant)[place].write_text("", encoding="utf-8")
    plant.restore(file)
    plant.say(public_id, "G7", at=DAY + HOUR)
    plant.say(public_id, "G9-10", at=DAY + 2 * HOUR)

    assert plant.resume_order()
    assert plant.send(at=DAY + 2 * HOUR) == ""
    assert [number for number, _ in plant.sent()] == [1, 2, 3]


def test_a_restore_without_any_record_of_what_was_sent_says_so(plant) -> None:
    _, file = corrected_after_backup(plant)
    shutil.rmtree(plant.folder / "data/sent")
    shutil.rmtree(plant.outbox / ".martensight")

    assert "no record of what was sent was found" in plant.restore(file)
