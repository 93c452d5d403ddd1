"""A LIMS gets every final state of an order once, whatever is killed or away in between."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from lab import DAY, RING_A, TAXONOMY

from agent.orders import Specifications, outbox
from agent.orders.assessment import Lab as Rules
from agent.service import errands
from agent.service.problems import Problems
from agent.service.rounds import Rounds
from agent.settings import read
from agent.store import Decision

RULES = Rules(Specifications((RING_A,)), TAXONOMY)


@pytest.fixture
def box(tmp_path):
    folder = tmp_path / "outbox"
    folder.mkdir()
    return folder


def take(lab, order="4711", code="G8"):
    return lab.take(code, order=order, specimen="1", field="1", material="100Cr6")


def confirm(lab, public_id, code="G8", *, at=DAY):
    lab.store.decide(public_id, Decision("code", "Ada", code=code), at=at)


def fill(lab, box, *, formats=("json",), now=DAY):
    return outbox.write(lab.store, RULES, box, formats=formats, site="Plant 1", now=now)


def said_in(box):
    return [json.loads(path.read_text("utf-8")) for path in sorted(box.glob("*.json"))]


def test_an_order_is_written_when_it_is_final_and_not_before(lab, box):
    public_id = take(lab)

    before = fill(lab, box)
    confirm(lab, public_id)
    after = fill(lab, box)

    (document,) = said_in(box)
    assert before == []
    assert after == [f"4711-r1-{document['id']}.json"]
    assert (document["order"], document["revision"]) == ("4711", 1)
    assert (document["conformity"], document["site"]) == ("conforms", "Plant 1")


def test_the_same_state_is_written_once(lab, box):
    confirm(lab, take(lab))
    (name,) = fill(lab, box)
    (box / name).unlink()  # the LIMS has taken it

    again = fill(lab, box, now=DAY + timedelta(hours=1))

    assert again == []
    assert list(box.iterdir()) == []


def test_a_corrected_order_is_a_new_revision_also_where_it_is_no_longer_final(lab, box):
    public_id = take(lab)
    confirm(lab, public_id)
    fill(lab, box)
    lab.store.undo(public_id, by="Ada", at=DAY)
    fill(lab, box)
    confirm(lab, public_id, "G7")
    fill(lab, box)
    lab.store.undo(public_id, by="Ada", at=DAY)
    confirm(lab, public_id)

    fill(lab, box)

    found = [(one["revision"], one["conformity"]) for one in said_in(box)]
    assert found == [(1, "conforms"), (2, "undecided"), (3, "does_not_conform"), (4, "conforms")]
    assert len({one["id"] for one in said_in(box)}) == 4


def test_a_share_that_is_away_is_said_and_everything_is_written_when_it_is_back(lab, tmp_path):
    confirm(lab, take(lab))
    away = tmp_path / "share"

    with pytest.raises(OSError, match="no folder that can be seen"):
        fill(lab, away)
    away.mkdir()

    assert len(fill(lab, away)) == 1


KILLED = """
import os, sys
sys.path[:0] = sys.argv[4:]
import agent.orders.outbox as outbox
from pathlib import Path
from test_outbox import RULES
from lab import DAY
from agent.store import Store

store = Store.open(sys.argv[1], site="Plant 1", agent="test")
whole = outbox.write_whole

def killed(files):
    if sys.argv[3] == "after":
        whole(files)
    os._exit(9)

outbox.write_whole = killed
outbox.write(store, RULES, Path(sys.argv[2]), formats=("json",), site="Plant 1", now=DAY)
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_between_record_and_file_neither_loses_nor_doubles_anything(lab, box, when):
    confirm(lab, take(lab))
    address = f"sqlite:///{lab.folder / 'martensight.db'}"
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

    ended = subprocess.run(
        [sys.executable, "-c", KILLED, address, str(box), when, *paths], check=False
    )
    before = {path.name: path.read_bytes() for path in box.iterdir()}
    names = fill(lab, box, now=DAY + timedelta(hours=1))

    assert ended.returncode == 9
    assert len(before) == (when == "after")
    after = {path.name: path.read_bytes() for path in box.iterdir()}
    assert list(after) == names
    assert before.items() <= after.items()  # the same bytes under the same name
    assert fill(lab, box) == []


def test_the_csv_has_sizes_as_numbers_and_runs_nothing(lab, box):
    confirm(lab, take(lab, "=4711", "G9-10"), "G9-10")

    (name,) = fill(lab, box, formats=("csv",))

    (row,) = csv.DictReader((box / name).read_text("utf-8").splitlines())
    assert (row["structure_code"], row["size_min"], row["size_max"]) == ("G9-10", "9", "10")
    assert row["order"] == "'=4711"
    assert (row["conformity"], row["decided_by"]) == ("conforms", "Ada")


def test_names_that_no_file_can_have_stay_apart(lab, box):
    for number in ("a/b", "a:b"):
        confirm(lab, take(lab, number))

    assert len(set(fill(lab, box))) == 2
    assert {one["order"] for one in said_in(box)} == {"a/b", "a:b"}


# --- in the service -----------------------------------------------------------------------------


SETTINGS = """
[site]
name = "Plant 1"

[orders]
outbox = "outbox"

[notify]
urls = ["json://127.0.0.1:{port}/x"]
"""


def settings_of(lab, port=9):
    folder = lab.folder.parent
    (folder / "agent.toml").write_text(SETTINGS.format(port=port), encoding="utf-8")
    (folder / "specifications.toml").write_text(
        """
[[specification]]
name = "ring-a"
valid_from = 2026-01-01
approved_by = "R. Stahl"
material = "100Cr6"
subtype = ["G"]
limit = "8 or finer"
fields = 1
""",
        encoding="utf-8",
    )
    return read(folder / "agent.toml")


def test_the_service_fills_the_outbox_and_says_when_it_is_away(lab):
    settings = settings_of(lab)
    confirm(lab, take(lab))

    away = errands.fill_outbox(settings, lab.store, now=DAY)
    Path(settings.orders.outbox).mkdir()
    back = errands.fill_outbox(settings, lab.store, now=DAY)

    assert away.startswith("[orders] outbox: ")
    assert "no folder that can be seen" in away
    assert back == ""
    assert len(list(Path(settings.orders.outbox).iterdir())) == 2


def test_an_errand_that_crashes_is_said_and_done_again():
    problems, done = Problems(), []

    def errand():
        done.append(1)
        if len(done) == 1:
            raise RuntimeError("once")
        thread.stop()
        return ""

    thread = Rounds("outbox", errand, every_s=0, problems=problems)
    thread.start()
    thread.join(60)

    assert len(done) == 2
    assert problems.all() == []


def test_an_errand_without_news_leaves_standing_what_it_said_before():
    problems, news = Problems(), ["order list 4711.csv is broken", None]

    def errand():
        said = news.pop(0)
        if not news:
            thread.stop()
        return said

    thread = Rounds("order lists", errand, every_s=0, problems=problems)
    thread.start()
    thread.join(60)

    assert news == []
    assert problems.all() == ["order list 4711.csv is broken"]


def notice(lab):
    facts = {"title": "Plant 1, night of 2026-11-24", "text": "3 need a person", "pictures": []}
    lab.store.records.add(errands.NOTICE, "2026-11-24", by="agent", at=DAY, facts=facts)


def test_a_notice_nobody_took_is_sent_again_and_then_never_more(lab, listener):
    pytest.importorskip("apprise", reason="the notify extra is not installed")
    port, heard = listener
    notice(lab)

    away = errands.send_notices(settings_of(lab), lab.store, now=DAY)
    taken = errands.send_notices(settings_of(lab, port), lab.store, now=DAY)
    errands.send_notices(settings_of(lab, port), lab.store, now=DAY)

    assert "is tried again" in away
    assert taken == ""
    assert [one["message"] for one in heard] == ["3 need a person"]


def test_a_notice_of_days_ago_is_old_news(lab, listener):
    pytest.importorskip("apprise", reason="the notify extra is not installed")
    port, heard = listener
    notice(lab)

    errands.send_notices(settings_of(lab, port), lab.store, now=DAY + timedelta(days=4))

    assert heard == []
