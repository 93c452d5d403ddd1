"""What a statement, a hold or a record names is not pruned before its time; prune says why."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from labs.lab import DAY
from labs.plant import Plant

from agent.backup import maintenance
from agent.store import KeptFor
from agent.triage import Reason

EARLIER = DAY - timedelta(days=2)
LATER = DAY + timedelta(days=400)
YEARS = timedelta(days=365.25 * 15)


@pytest.fixture
def plant(tmp_path, capsys) -> Plant:
    return Plant(tmp_path, capsys)


def planned(plant: Plant, *, at=LATER) -> maintenance.Pruning:
    (plan,) = maintenance.plan(
        plant.lab.store,
        plant.lab.archive,
        befores={"crops": at - timedelta(days=1)},
        statements_since=at - YEARS,
    )
    return plan


def test_the_crops_of_a_stated_order_stay_and_go_when_the_statement_may(plant) -> None:
    plain = plant.lab.take("G8", at=EARLIER)  # no file of that hour, which might be of the order
    stated = plant.lab.take("G8", order="4711", specimen="1", field="1", material="100Cr6")
    plant.send()  # freezes the statement
    assert plant.lab.store.statements.all("4711")

    now = planned(plant)
    then = planned(plant, at=DAY + YEARS + timedelta(days=2))

    assert now.ids == (plain,)
    assert now.kept == {KeptFor.STATEMENT: 1}
    assert set(then.ids) == {stated, plain}


def test_a_field_that_was_moved_stays_for_the_statement_that_named_it(plant) -> None:
    public_id = plant.lab.take("G8", order="4711", specimen="1", field="1", material="100Cr6")
    plant.send()
    keys = {"order": "4712", "specimen": "1"}
    plant.lab.store.order_corrections.assign(public_id, keys, by="Ada", reason="mixed up", at=DAY)

    assert planned(plant).ids == ()


def test_what_a_record_names_stays(plant) -> None:
    public_id = plant.lab.take("G8")
    facts = {"images": [{"id": public_id}]}
    plant.lab.store.records.add("validation", "100Cr6", by="Ada", at=DAY, facts=facts)

    assert planned(plant).kept == {KeptFor.RECORD: 1}


@pytest.mark.parametrize("spelling", ["4711", " 04711", "4711."])
def test_an_order_on_hold_is_kept_whatever_the_spelling(plant, spelling) -> None:
    plant.lab.take("G8", order="04711")

    assert plant.agent("orders", "hold", spelling, "--by", "R. Stahl", "--reason", "x")[0] == 0

    assert planned(plant).ids == ()
    assert planned(plant).kept == {KeptFor.HOLD: 1}
    plant.write("agent.toml", '[site]\nname = "Plant 1"\n[orders]\nleads = ["R. Stahl"]\n')
    assert (
        plant.agent("orders", "hold", "4711", "--off", "--by", "R. Stahl", "--reason", "y")[0] == 0
    )
    assert KeptFor.HOLD not in planned(plant).kept
    again = plant.agent("orders", "hold", "4711", "--off", "--by", "R. Stahl", "--reason", "z")
    assert again[0] == 2
    assert "04711 has nothing of the kind to settle now" in again[1]
    acts = [
        (act.act, act.facts.get("reason")) for act in plant.lab.store.audit_log.iter_acts("order.")
    ]
    assert acts[-2:] == [("order.held", "x"), ("order.released", "y")]


def test_an_unknown_order_is_not_held_and_no_reviewer_ends_a_hold(plant) -> None:
    plant.lab.take("G8", order="4711", specimen="1")

    unknown = plant.agent("orders", "hold", "4712", "--by", "Ada", "--reason", "x")
    nobody = plant.agent("orders", "hold", "4711", "--off", "--by", "Ada", "--reason", "x")
    silent = plant.agent("orders", "hold", "4711", "--by", "Ada")

    assert unknown[0] == nobody[0] == silent[0] == 2
    assert "Unknown order 4712" in unknown[1]
    assert "only a lead may do this" in nobody[1]
    assert "Add a reason" in silent[1]


def test_prune_says_what_it_keeps_and_why_also_when_it_only_tries(plant) -> None:
    plant.lab.take("G8", reasons=(Reason.STRANGE,), at=EARLIER)
    plant.lab.take("G8", at=EARLIER)
    plant.lab.take("G8", order="4711", specimen="1", field="1", material="100Cr6")
    plant.send()
    plant.write("agent.toml", '[site]\nname = "Plant 1"\n[retention]\ncrops_days = 1\n')

    tried = plant.agent("files", "prune", "--dry-run")
    done = plant.agent("files", "prune")

    for word, said in (("would keep", tried[1]), ("keeping", done[1])):
        assert f"{word} 1: named by a statement" in said
        assert f"{word} 1: flagged for review" in said
    assert "of 1 micrograph (crops)" in tried[1]
    assert plant.agent("verify")[0] == 0


def test_what_upgrades_and_restores_kept_is_named_with_its_size(plant) -> None:
    data = plant.folder / "data"
    (data / "martensight.db.before-schema-0002").write_bytes(b"x" * 2_000_000)
    (data / "settings-of-backup-20261124T120000Z").mkdir()
    (data / "settings-of-backup-20261124T120000Z" / "agent.toml").write_bytes(b"x" * 500_000)

    code, said = plant.agent("files", "prune", "--dry-run")
    status = json.loads(plant.agent("status", "--json")[1])
    shown = plant.agent("status")[1]

    assert code == 0
    assert "before-schema-0002, 2.0 MB" in " ".join(said.split())
    assert "settings-of-backup-20261124T120000Z, 0.5 MB" in " ".join(said.split())
    assert status["kept_copies"] == {"n": 2, "size_bytes": 2_500_000}
    assert "kept from before upgrades and restores: 2, 2.5 MB" in shown
    assert (data / "martensight.db.before-schema-0002").exists()
