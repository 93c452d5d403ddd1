"""What is read for one order is what all files, fields and numbers together say of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.orders.facts.open_items import (
    OpenItems,
    describe_alike,
    find_alike,
    is_renamed,
    iter_lost,
    iter_named_files,
)
from agent.orders.facts.possible_fields import name_lost
from agent.store import VANISHED, ClaimedPlace, Entry, Store, number_key
from agent.watch import ListedFile, Provenance

AT = datetime(2026, 11, 24, 21, 0, tzinfo=UTC)
FOLDER = Path("/export")
NAMED = Provenance(pattern=r"(?P<order>[^_]+)_(?P<specimen>[^_]*)_")
SOURCES = {
    "LOM": NAMED,
    "SEM": Provenance(fixed={"order": "o 0500"}),
    "BOTH": Provenance(fixed={"order": "4711"}, pattern=NAMED.pattern),
}
NUMBERS = ("4711", "47-11", "47/11", "O-500", "o0500", "a7", "ü12", "10%", "x?1", "0", "-", "İ7")

SPELLINGS = (
    str,
    str.upper,
    str.lower,
    "0{}".format,
    "{}.,".format,
    " ".join,
    "\u200b".join,
    lambda number: number.replace("O", "\u041e").replace("a", "\u0430"),  # Cyrillic
    lambda number: number.translate({ord("0") + n: 0xFF10 + n for n in range(10)}),  # wide digits
    lambda number: number.replace("/", "\\"),
    lambda number: number.replace("/", "\u2044"),
    lambda number: number.replace("-", "\u2013"),
    lambda number: "\t" + number,
    lambda number: number[:1] + "\x01" + number[1:],
    lambda number: number.replace("-", "").replace("/", ""),
    lambda number: number[:-1],
)
"""How people write a number: alike, equal to one another, or not."""

numbers = st.builds(
    lambda number, spell: spell(number), st.sampled_from(NUMBERS), st.sampled_from(SPELLINGS)
)
files = st.fixed_dictionaries(
    {
        "source": st.sampled_from([*SOURCES, "gone"]),
        "path": numbers,
        "folder": st.one_of(st.just(""), numbers),
        "sent": st.one_of(st.just(""), numbers),
        "noted": st.one_of(st.just(""), numbers),
        "recorded": st.one_of(st.just(""), numbers),
        "state": st.sampled_from(("queued", "settling", "vanished", "set_aside", "ignored")),
        "content": st.integers(1, 3),
        "mtime": st.integers(1, 3),
    }
)

ASKED = 5
"""Numbers that each example asks for; asking takes most of the test's time."""


@pytest.fixture(params=[False, True], ids=["folded", "exact"])
def store(address, request):
    with Store.open(address, site="Plant 1", agent="PC", exact_numbers=request.param) as opened:
        yield opened


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(files, min_size=6, max_size=16), st.lists(numbers, max_size=6))
def test_what_is_read_for_an_order_is_what_all_of_it_says(store, drawn, listed) -> None:
    # Examples add up in one database: more files and numbers make the law only harder to keep.
    newest = 0
    store.sources.note_reading("gone", "/export", pattern="", fixed={"order": "a7"})
    for facts in drawn:
        newest = take(store, SimpleNamespace(**facts), newest)
    store.orders.take_list(
        [Entry(number) for number in listed if number.strip()], "list.csv", by="Ada", at=AT
    )

    everything = OpenItems.of(store)
    # There are few numbers and spellings, so that each is asked for in one example or another.
    spelt = dict.fromkeys([*listed[:2], *(facts["path"] for facts in drawn)])
    for number in list(spelt)[:ASKED]:
        own = OpenItems.of_order(store, number, SOURCES)
        assert list_concerned(store, own, number) == list_concerned(store, everything, number)


def take(store: Store, facts: SimpleNamespace, newest: int) -> int:
    """Store a file in the state that the facts name; return the number of the newest file.

    Args:
        store: Where the file is taken in.
        facts: Its names, state and content.
        newest: Number of the newest file before, if it is known: listing all takes most of a test.
    """
    folder = f"{facts.folder}/" if facts.folder else ""
    name = f"{folder}{facts.path}_1_{facts.content}.tif".replace("\0", "")
    at = AT + timedelta(seconds=facts.mtime)
    file = ListedFile(facts.source, FOLDER, name, 10 + facts.content, facts.mtime)
    if facts.state == "settling":
        store.files.add_settling([file], at=at)
    elif facts.state in {"vanished", "ignored"}:
        code = VANISHED if facts.state == "vanished" else "name"
        store.files.add_ignored([file], code, "gone", at=at)
    else:
        sent = {name: {"order": facts.sent}} if facts.sent else {}
        store.files.add([file], at=at, process_data=sent)
    newest = max((fate.id for fate in store.files.iter_status(after=newest)), default=newest)
    if facts.noted:
        store.unread_names.note({newest: {facts.noted: "1"}})
    if facts.recorded:
        place = ClaimedPlace(facts.recorded, "1", "note", name)
        name_lost(store, newest, [place], at=at)
    if facts.state == "set_aside":
        for claim in store.work_queue.claim(1, at=at, lease_s=60):
            sha256 = f"{facts.content:064x}"
            store.work_queue.set_aside(claim, "empty", "It is empty.", at=at, sha256=sha256)
    return newest


def list_concerned(store: Store, items: OpenItems, number: str) -> tuple[object, ...]:
    """Return what the files, fields and numbers say of an order."""
    key = partial(number_key, exact=store.exact_numbers)
    lost = list(iter_lost(items, number, SOURCES, key))
    return (
        list(iter_named_files(items.waiting, number, SOURCES, key)),
        lost,
        [is_renamed(fate, items, SOURCES, key) for fate in lost],
        list(describe_alike(number, items.alike)),
    )


def test_a_waiting_file_that_does_not_name_the_order_is_not_read(store) -> None:
    names = ["4711_1_1.tif", *(f"{number}_1_1.tif" for number in range(5000, 5050))]
    store.files.add([ListedFile("LOM", FOLDER, name, 10, 1) for name in names], at=AT)

    own = OpenItems.of_order(store, "4711", SOURCES)

    assert [fate.seen_as for fate in own.waiting] == [(("LOM", "4711_1_1.tif"),)]


@pytest.mark.both_databases
def test_numbers_are_alike_also_where_their_letters_are_not_ascii(store) -> None:
    listed = ["47-11", "4\uff17/11", "4712"]
    store.orders.take_list([Entry(number) for number in listed], "list.csv", by="Ada", at=AT)

    alike = tuple(sorted(number for number in listed if number != "4712"))
    assert find_alike(store, "4711") == ({} if store.exact_numbers else {"4711": alike})


def test_only_files_after_a_number_are_new(store) -> None:
    names = [f"{number}_1_1.tif" for number in (1, 2, 3)]
    store.files.add([ListedFile("LOM", FOLDER, name, 10, 1) for name in names], at=AT)
    first, second, third = store.files.iter_status()

    new = OpenItems.of_new_files(store, after=first.id)

    assert [fate.id for fate in new.waiting] == [second.id, third.id]


def test_a_copy_under_the_name_of_the_order_makes_a_lost_file_its_own(store) -> None:
    for name in ("8_1_1.tif", "4711_1_1.tif"):
        store.files.add([ListedFile("LOM", FOLDER, name, 10, 1)], at=AT)
        (claim,) = store.work_queue.claim(1, at=AT, lease_s=60)
        store.work_queue.set_aside(claim, "empty", "It is empty.", at=AT, sha256="ab" * 32)

    own = OpenItems.of_order(store, "4711", SOURCES)

    assert [fate.seen_as for fate in own.lost] == [(("LOM", "8_1_1.tif"), ("LOM", "4711_1_1.tif"))]


def test_two_files_that_vanished_share_one_later_name_also_where_one_is_read(store) -> None:
    vanished = [ListedFile("LOM", FOLDER, f"{n}_1_1.tif", 10, 1) for n in (8, 4711)]
    store.files.add_ignored(vanished, VANISHED, "gone", at=AT)
    later = ListedFile("LOM", FOLDER, "4711_1_01.tif", 10, 1)
    store.files.add([later], at=AT + timedelta(seconds=1))

    own = OpenItems.of_order(store, "4711", SOURCES)

    assert [fate.renamed_to for fate in own.lost] == [None]  # it is the later name of the first
