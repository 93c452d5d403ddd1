"""Each PC records its file when it changed; PCs with different files do not record in turns."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.orders.specifications.specification_history import STATE, TAXONOMY, note_taxonomy
from agent.store import Store
from model import default_taxonomy

AT = datetime(2026, 11, 24, 21, 0, tzinfo=UTC)
PCS = ("PC-1", "PC-2", "PC-3")
FILES = ("a" * 64, "b" * 64)
ROUNDS = 3


def entry_of(sha256: str) -> tuple:
    return ("ring-a", date(2026, 1, 1), "R. Stahl", sha256, {"limit": sha256[:1]})


@pytest.fixture
def pcs(address):
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(Store.open(address, site="Plant 1", agent=name))
            for name in PCS
        }


def note(store: Store, sha256: str, minute: int = 0) -> None:
    store.specifications.note([entry_of(sha256)], zone="UTC", at=AT + timedelta(minutes=minute))


def list_states(store: Store) -> list[tuple[str, str]]:
    return [(record.subject, record.facts["entries"][0]) for record in store.records.all(STATE)]


def test_a_file_is_recorded_after_each_edit_and_not_after_a_restart(pcs, address):
    for sha256 in (FILES[0], FILES[0], FILES[1], FILES[0]):
        note(pcs["PC-1"], sha256)
    with Store.open(address, site="Plant 1", agent="PC-1") as restarted:
        note(restarted, FILES[0])

    assert list_states(pcs["PC-1"]) == [("PC-1", FILES[n]) for n in (0, 1, 0)]


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(edits=st.lists(st.tuples(st.sampled_from(PCS), st.sampled_from(FILES)), min_size=1))
def test_however_pcs_edit_their_files_each_edit_is_one_record_and_the_last_one_is_valid(pcs, edits):
    files = dict.fromkeys(PCS, FILES[0])
    for name in PCS:  # an example begins where the one before ended
        note(pcs[name], FILES[0])
    before = len(list_states(pcs["PC-1"]))
    changes = []

    for name, sha256 in edits:
        if files[name] != sha256:
            files[name] = sha256
            changes.append((name, sha256))
        for _ in range(ROUNDS):
            for pc, own in files.items():
                note(pcs[pc], own)

    assert list_states(pcs["PC-1"])[before:] == changes


def test_two_pcs_with_different_taxonomies_record_each_once(pcs):
    other = replace(default_taxonomy(), name="own")

    for _ in range(ROUNDS):
        note_taxonomy(pcs["PC-1"], default_taxonomy(), now=AT)
        note_taxonomy(pcs["PC-2"], other, now=AT)

    assert [record.subject for record in pcs["PC-1"].records.all(TAXONOMY)] == ["PC-1", "PC-2"]
