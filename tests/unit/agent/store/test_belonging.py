"""A field that was moved, or a demand that was changed, behind the agent's back is named."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from labs.shell import Shell
from labs.stored import OTHER, SHA
from labs.stored_trail import AT, faults, fill
from servers.databases import tamper

from agent.backup.verification import verify_trail
from agent.errors import UsageError
from agent.store import Entry, NewStatement

FIRST, SECOND = SHA[:16], OTHER[:16]
TAKEN_AWAY = f"UPDATE micrograph SET {{}} WHERE public_id = '{FIRST}'"  # noqa: S608
THERE = "{0} = (SELECT {0} FROM micrograph AS o WHERE o.public_id = '{1}')"
MOVED = ", ".join(THERE.format(name, SECOND) for name in ("specimen_id", "preparation_id"))
NOWHERE = "specimen_id = NULL, preparation_id = NULL"


@pytest.fixture
def store(store):
    fill(store)
    return store


def freeze(store, number, specimen, public_id):
    view = store.results.find(public_id)
    field = {
        "id": public_id,
        "structure_code": view.result.structure_code,
        "bundle": view.result.bundle,
        "um_per_px": view.um_per_px,
        "decided": None,
    }
    own = {"specimen": specimen, "preparation": "1", "fields": [field], "superseded": []}
    named = {"order": number, "number": 1, "conformity": "undecided", "at": AT.isoformat()}
    document = named | {"document": {"order": number, "specimens": [own]}}
    stated = NewStatement(number, 1, "", "undecided", "state", final=False, document=document)
    store.statements.add(stated, at=AT)


def listed(store, material, *, name, subtype=("G",)):
    entry = Entry("4711", material=material, facts={"subtype": list(subtype), "specimens": ["1"]})
    store.orders.take_list([entry], name, by="order list", at=AT)


def assign(store, number, specimen):
    keys = {"order": number, "specimen": specimen}
    store.order_corrections.assign(FIRST, keys, by="Ada", reason="swapped", at=AT, lead=True)


@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("values", "where"),
    [(MOVED, "is 'order 4712, specimen 1"), (NOWHERE, "is 'no order'")],
)
@pytest.mark.parametrize("by_act", [False, True])
def test_a_field_that_no_act_moved_is_named(address, store, outside, values, where, *, by_act):
    freeze(store, "4711", "1", FIRST)
    if by_act:
        assign(store, "4712", "1")
        assign(store, "4711", "1")
    assert verify_trail(store, outside) == ([], [])

    tamper(address, TAKEN_AWAY.format(values))

    said = faults(store, outside)
    assert f"field {FIRST}: place was 'order 4711, specimen 1" in said
    assert ("(trail number" if by_act else "(statement 1 of order 4711)") in said
    assert where in said


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("material = 'C56E2'", "order 4711: material was '100Cr6' (trail number 10), is 'C56E2'"),
        (
            "facts = '{\"specification_record\": -1}'",
            "order 4711: facts.subtype was ['G'] (trail number 10), is None",
        ),
    ],
)
def test_what_an_order_list_said_is_compared_with_the_order(
    address,
    store,
    outside,
    statement,
    sentence,
):
    listed(store, "100Cr6", name="a.csv")
    assert verify_trail(store, outside) == ([], [])

    tamper(address, f"UPDATE \"order\" SET {statement} WHERE number = '4711'")  # noqa: S608

    assert sentence in faults(store, outside)


def again(store, *, at=AT):
    return store.order_corrections.prepare_again(
        "4711", "1", by="Ada", reason="scratched", defect="scratched", lead=True, at=at
    )


def test_no_preparation_begins_by_a_clock_that_was_set_back(store):
    freeze(store, "4711", "1", FIRST)

    with pytest.raises(UsageError, match="Set the clock"):
        again(store, at=AT - timedelta(days=2))

    assert again(store, at=AT - timedelta(minutes=1)) == "2"


def test_a_clock_that_was_once_ahead_is_forgotten(store):
    store.audit_log.add(at=AT + timedelta(days=400), actor="agent", act="settings.changed")
    for _ in range(100):
        store.audit_log.add(at=AT, actor="agent", act="settings.changed")

    assert again(store) == "2"


def test_a_preparation_that_nobody_replaced_is_named(address, store, outside):
    tamper(address, 'UPDATE preparation SET facts = \'{"superseded": {"by": "Ada"}}\' WHERE id = 1')

    sentence = "facts was {} (no act), is {'superseded': {'by': 'Ada'}}"
    assert sentence in faults(store, outside)


def test_a_replaced_preparation_that_counts_again_is_named(address, store, outside):
    again(store)
    tamper(address, "UPDATE preparation SET facts = '{}'")

    assert "preparation 1 of specimen 4711/1: facts was {'superseded': {" in faults(store, outside)


@pytest.mark.parametrize("accept", [True, False])
def test_what_people_and_lists_do_to_an_order_is_no_fault(store, outside, accept):
    freeze(store, "4711", "1", FIRST)
    again(store)
    listed(store, "100Cr6", name="late.csv")
    store.order_corrections.amend("4711", accept=accept, by="Ada", reason="as agreed", at=AT)
    listed(store, "100Cr6", name="again.csv")
    listed(store, "C56E2", name="other.csv", subtype=("M",))
    store.order_corrections.amend("4711", accept=accept, by="Ada", reason="as agreed", at=AT)
    assign(store, "4712", "02")
    assign(store, "04711", "1")

    assert verify_trail(store, outside) == ([], [])


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("UPDATE specification SET valid_from = 'x'", "specification 1: valid_from holds 'x'"),
        ("UPDATE label SET decided_at = '12:00' WHERE id = 2", "label 2: decided_at holds '12:00'"),
        ("UPDATE micrograph SET um_per_px = 'wide' WHERE id = 1", "um_per_px holds 'wide'"),
        ("UPDATE \"order\" SET facts = '{' WHERE id = 1", "order 1: facts holds '{'"),
        ("UPDATE trail SET facts = '[' WHERE id = 3", "trail 3: facts holds '['"),
        ("UPDATE label SET \"by\" = 'Eve' WHERE id = 2", "label 2 of"),
    ],
)
def test_a_value_that_cannot_be_read_is_named_and_ends_no_comparison(
    tmp_path, capsys, statement, sentence
):
    shell = Shell(tmp_path, capsys)
    fill(shell.lab.store)
    entry = ("ring", date(2026, 1, 1), "Ada", "0" * 64, {"name": "ring"})
    shell.lab.store.specifications.note([entry], zone="UTC", at=AT)
    tamper(f"sqlite:///{shell.lab.folder / 'martensight.db'}", statement)

    code, said = shell.agent("verify")

    assert code == 3
    assert sentence in said
