"""A file is taken once, its fate is never forgotten, and what was said is never written over."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from labs.stored import AT, FOLDER, OTHER, SHA, claimed, file, finding, taken
from servers.databases import tamper
from sqlalchemy import event

from agent.errors import StoreError, UsageError
from agent.settings import PROCESS_COLUMNS
from agent.store import (
    Decision,
    DecisionConflictError,
    SourceHealth,
    Store,
    StoreFaultError,
    engine,
    store_url,
)
from agent.store.sites.sites import CLOCK_SET
from agent.store.tables import MicrographRow
from agent.triage import Reason


def fates(store: Store) -> dict[str, str]:
    return {Path(fate.path).name: fate.state for fate in store.files.iter_status()}


# --- taken once ---------------------------------------------------------------------------------


def test_a_file_that_arrives_twice_is_news_once(store) -> None:
    assert store.files.add([file("a.tif"), file("b.tif")], at=AT) == 2
    assert store.files.add([file("a.tif"), file("b.tif")], at=AT) == 0

    assert fates(store) == {"a.tif": "queued", "b.tif": "queued"}


def test_what_is_claimed_is_not_claimed_again(store) -> None:
    first = claimed(store, "a.tif", "b.tif")

    assert [claim.relative for claim in first] == ["a.tif", "b.tif"]
    assert store.work_queue.claim(5, at=AT, lease_s=60) == []


@pytest.mark.both_databases
def test_two_agents_never_hold_the_same_file(address) -> None:
    first = Store.open(address, site="Plant 1", agent="PC 1")
    second = Store.open(address, site="Plant 1", agent="PC 2")
    first.files.add([file(f"{n}.tif") for n in range(40)], at=AT)
    held: list[str] = []

    def work(store: Store) -> None:
        while claims := store.work_queue.claim(3, at=AT, lease_s=60):
            held.extend(claim.relative for claim in claims)

    threads = [threading.Thread(target=work, args=(store,)) for store in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for opened in (first, second):
        opened.close()

    assert sorted(held) == sorted(f"{n}.tif" for n in range(40))


def at_once(*acts) -> list[Any]:
    """Let each act run in a thread of its own, all beginning together; give back their answers."""
    start = threading.Barrier(len(acts))

    def run(act) -> Any:
        start.wait()
        return act()

    with ThreadPoolExecutor(len(acts)) as threads:
        return list(threads.map(run, acts))


@pytest.mark.both_databases
def test_two_agents_that_list_the_same_folder_at_once_write_each_file_down_once(address) -> None:
    files = [file(f"{n}.tif") for n in range(300)]
    with (
        Store.open(address, site="Plant 1", agent="PC 1") as one,
        Store.open(address, site="Plant 1", agent="PC 2") as two,
    ):
        news = at_once(lambda: one.files.add(files, at=AT), lambda: two.files.add(files, at=AT))

        assert sum(news) == 300
        assert len(list(one.files.iter_status())) == 300


@pytest.mark.both_databases
def test_two_agents_that_see_new_sources_at_once_both_go_on(address) -> None:
    names = [f"LOM-{number:02}" for number in range(30)]
    files = [replace(file("a.tif"), source=name) for name in names]
    seen = [SourceHealth(name, str(FOLDER)) for name in names]
    with (
        Store.open(address, site="Plant 1", agent="PC 1") as one,
        Store.open(address, site="Plant 1", agent="PC 2") as two,
    ):
        at_once(
            lambda: [one.sources.record([health]) for health in seen],
            lambda: [two.files.add([arrived], at=AT) for arrived in files],
            lambda: [two.sources.record([health]) for health in seen],
        )

        assert [health.name for health in one.sources.list_all()] == names
        assert one.files.count_by_state()["queued"] == 30


@pytest.mark.both_databases
def test_the_same_bytes_read_by_two_agents_at_once_are_new_to_one_of_them(address) -> None:
    with (
        Store.open(address, site="Plant 1", agent="PC 1") as one,
        Store.open(address, site="Plant 1", agent="PC 2") as two,
    ):
        first, second = claimed(one, "a.tif", "b.tif")

        known = at_once(
            lambda: one.work_queue.identify(first, SHA, at=AT, is_there=lambda _: True),
            lambda: two.work_queue.identify(second, SHA, at=AT, is_there=lambda _: True),
        )

        assert known.count(None) == 1
        assert sorted(fates(one).values()) == ["duplicate", "processing"]


def test_a_lease_that_ran_out_is_taken_over_and_the_first_worker_changes_nothing(store) -> None:
    (first,) = claimed(store, "a.tif")
    (second,) = store.work_queue.claim(1, at=AT + timedelta(seconds=61), lease_s=60)

    assert second.attempts == 2
    assert store.work_queue.identify(first, SHA, at=AT) == first.content_id
    assert not store.work_queue.finish(first, [finding()], at=AT)
    assert not store.work_queue.set_aside(first, "truncated", "cut", at=AT)
    assert store.work_queue.fail(first, "crash", at=AT) is None
    assert not store.work_queue.release(first, at=AT, retry_at=AT)
    assert fates(store) == {"a.tif": "processing"}
    assert store.work_queue.finish(second, [finding()], at=AT)


def test_a_renewed_lease_is_not_taken_over(store) -> None:
    claims = claimed(store, "a.tif")
    store.work_queue.renew(claims, at=AT + timedelta(seconds=50), lease_s=60)

    assert store.work_queue.claim(1, at=AT + timedelta(seconds=61), lease_s=60) == []


def test_an_agent_that_starts_again_has_its_own_work_back_at_once(store) -> None:
    claimed(store, "a.tif", "b.tif")

    assert store.work_queue.requeue_own(at=AT) == 2
    assert len(store.work_queue.claim(5, at=AT, lease_s=60)) == 2


def test_a_finished_file_is_done_with_its_result_or_not_at_all(store) -> None:
    (claim,) = claimed(store, "a.tif")
    broken = replace(finding(), crop_facts={"id": "x", "sha256": SHA, "page": 0})

    with pytest.raises(KeyError):
        store.work_queue.finish(claim, [finding(OTHER), broken], at=AT)

    assert fates(store) == {"a.tif": "processing"}
    assert list(store.results.iter_all()) == []


def test_several_pages_are_several_micrographs(store) -> None:
    (claim,) = claimed(store, "a.tif")

    store.work_queue.finish(claim, [finding(page=0), finding(page=1)], at=AT)

    assert [view.id for view in store.results.iter_all()] == [SHA[:16], f"{SHA[:16]}-p2"]


# --- versions, duplicates, renames --------------------------------------------------------------


def test_new_bytes_before_a_file_came_to_rest_are_the_same_version(store) -> None:
    store.files.add_settling([file("a.tif")], at=AT)

    assert store.files.add([file("a.tif", size=20)], at=AT) == 1

    (fate,) = store.files.iter_status()
    assert (fate.size_bytes, fate.state) == (20, "queued")


def test_new_bytes_of_a_whole_file_that_no_one_read_are_another_version(store) -> None:
    store.files.add([file("a.tif")], at=AT)

    assert store.files.add([file("a.tif", size=20)], at=AT) == 1

    found = {(fate.size_bytes, fate.state, fate.code) for fate in store.files.iter_status()}
    assert found == {(10, "ignored", "overwritten"), (20, "queued", None)}


def test_a_queued_file_that_grows_again_is_not_claimed(store) -> None:
    store.files.add([file("a.tif")], at=AT)

    store.files.add_settling([file("a.tif", size=20)], at=AT)

    assert fates(store) == {"a.tif": "settling"}
    assert store.work_queue.claim(1, at=AT, lease_s=60) == []


def test_a_settling_file_has_to_come_to_rest_after_a_restart(store) -> None:
    store.files.add_settling([file("a.tif")], at=AT)
    store.files.add([file("b.tif")], at=AT)

    assert store.files.list_known("LOM-07") == {"b.tif": (10, 1, 1)}


def test_the_same_name_with_new_content_is_a_new_version_linked_to_the_old(store) -> None:
    taken(store, "a.tif", finding(SHA))
    store.files.add([file("a.tif", mtime=2)], at=AT)
    (claim,) = store.work_queue.claim(1, at=AT, lease_s=60)
    assert store.work_queue.identify(claim, OTHER, at=AT) is None
    store.work_queue.finish(claim, [finding(OTHER)], at=AT)

    old, new = store.files.iter_status()
    assert (old.state, new.state, new.previous) == ("done", "done", old.id)
    assert [view.sha256 for view in store.results.iter_all()] == [SHA, OTHER]


def test_a_touched_file_is_neither_new_nor_a_duplicate(store) -> None:
    taken(store, "a.tif", finding())
    store.files.add([file("a.tif", ctime=9)], at=AT)
    (claim,) = store.work_queue.claim(1, at=AT, lease_s=60)

    assert store.work_queue.identify(claim, SHA, at=AT, is_there=lambda _: True) is not None

    assert fates(store) == {"a.tif": "done"}
    assert store.files.list_known("LOM-07") == {"a.tif": (10, 1, 9)}


def test_the_same_content_under_another_name_is_a_duplicate_with_all_names(store) -> None:
    taken(store, "a.tif", finding())
    (claim,) = claimed(store, "b.tif")

    store.work_queue.identify(claim, SHA, at=AT, is_there=lambda _: True)

    first, second = store.files.iter_status()
    assert (second.state, second.duplicate_of) == ("duplicate", first.path)
    assert [Path(path).name for path in first.paths] == ["a.tif", "b.tif"]
    assert len(list(store.results.iter_all())) == 1


def test_the_newest_file_and_the_files_done_since_are_found_without_the_others(store) -> None:
    later = AT + timedelta(hours=2)
    taken(store, "a.tif", finding(process={"order": "4711"}))
    taken(store, "b.tif", finding("cd" * 32, process={"order": "4712"}), at=later)

    assert store.files.find_last_done(later) == {"LOM-07": later}
    assert store.files.find_last_done(later - timedelta(seconds=1)) == {"LOM-07": AT}
    assert store.files.find_last_done(AT - timedelta(seconds=1)) == {}
    (since,) = store.files.iter_status("done", done_after=AT)
    assert Path(since.path).name == "b.tif"
    assert [line.number for line in store.orders.all(since=later)] == ["4712"]
    assert [line.number for line in store.orders.all(since=AT)] == ["4712", "4711"]


def test_a_rename_keeps_the_results_and_is_no_duplicate(store) -> None:
    taken(store, "a.tif", finding())
    (claim,) = claimed(store, "sub/b.tif")

    store.work_queue.identify(claim, SHA, at=AT, is_there=lambda path: path.name != "a.tif")

    (fate,) = store.files.iter_status()
    assert fate.state == "done"
    assert [Path(path).name for path in fate.paths] == ["b.tif", "a.tif"]


def test_a_rename_that_the_listing_saw_needs_no_look_at_the_share(store) -> None:
    taken(store, "a.tif", finding())
    store.files.mark_gone("LOM-07", ["a.tif"], at=AT)
    (claim,) = claimed(store, "b.tif")

    store.work_queue.identify(claim, SHA, at=AT, is_there=lambda _: True)

    assert fates(store) == {"b.tif": "done"}


def test_a_renamed_file_that_gets_its_old_name_back_is_no_news(store) -> None:
    taken(store, "a.tif", finding())
    (claim,) = claimed(store, "b.tif")
    store.work_queue.identify(claim, SHA, at=AT, is_there=lambda path: path.name != "a.tif")

    store.files.add([file("a.tif")], at=AT)

    assert len(list(store.files.iter_status())) == 1


def test_a_file_overwritten_while_it_was_read_is_taken_in_its_new_version(store) -> None:
    (claim,) = claimed(store, "a.tif")
    store.files.add([file("a.tif", size=99)], at=AT)

    store.work_queue.release(claim, at=AT, retry_at=AT)

    old, new = store.files.iter_status()
    assert (old.state, old.code) == ("ignored", "overwritten")
    assert (new.state, new.size_bytes) == ("queued", 99)


def test_a_file_deleted_before_it_was_read_is_taken_when_it_comes_back(store) -> None:
    (claim,) = claimed(store, "a.tif")
    store.files.mark_gone("LOM-07", ["a.tif"], at=AT)
    store.work_queue.miss(claim, "no such file", at=AT, retry_at=AT)
    assert fates(store) == {"a.tif": "ignored"}

    assert store.files.add([file("a.tif")], at=AT) == 1

    assert fates(store) == {"a.tif": "queued"}


def test_a_file_that_a_share_does_not_show_for_a_moment_is_asked_for_again(store) -> None:
    (claim,) = claimed(store, "a.tif")

    vanished = store.work_queue.miss(
        claim, "no such file", at=AT, retry_at=AT + timedelta(seconds=10)
    )

    (fate,) = store.files.iter_status()
    assert vanished is False
    assert (fate.state, fate.reason, fate.attempts) == ("queued", "no such file", 0)
    assert "a.tif" in store.files.list_known("LOM-07")


def test_a_file_that_a_program_sent_vanishes_at_once_as_no_listing_looks_for_it(store) -> None:
    store.files.add([file("a.tif")], at=AT, origin="api")
    (claim,) = store.work_queue.claim(1, at=AT, lease_s=60)

    assert store.work_queue.miss(claim, "no such file", at=AT, retry_at=AT) is True

    assert fates(store) == {"a.tif": "ignored"}


def test_a_name_that_was_taken_for_a_rename_stays_known_until_a_listing_misses_it(store) -> None:
    taken(store, "a.tif", finding())
    store.files.add([file("b.tif")], at=AT)
    (claim,) = store.work_queue.claim(1, at=AT, lease_s=60)

    store.work_queue.identify(claim, SHA, at=AT, is_there=lambda _: False)

    assert {"a.tif", "b.tif"} <= store.files.list_known("LOM-07").keys()


def test_a_duplicate_takes_over_when_the_first_file_vanishes_unfinished(store) -> None:
    first, second = claimed(store, "a.tif", "b.tif")
    store.work_queue.identify(first, SHA, at=AT)
    store.work_queue.identify(second, SHA, at=AT, is_there=lambda _: True)

    store.files.mark_gone("LOM-07", ["a.tif"], at=AT)
    store.work_queue.miss(first, "no such file", at=AT, retry_at=AT)

    assert fates(store) == {"a.tif": "ignored", "b.tif": "queued"}
    (claim,) = store.work_queue.claim(1, at=AT, lease_s=60)
    assert store.work_queue.identify(claim, SHA, at=AT) is None


def test_a_vanished_root_forgets_nothing(store) -> None:
    taken(store, "a.tif", finding())

    store.files.mark_gone("LOM-07", ["a.tif"], at=AT)
    back = store.files.add([file("a.tif")], at=AT)

    assert back == 0
    assert fates(store) == {"a.tif": "done"}


# --- failures -----------------------------------------------------------------------------------


def test_a_crash_is_tried_again_after_a_minute_ten_an_hour_and_six(store) -> None:
    store.files.add([file("a.tif")], at=AT)
    at, waits = AT, []
    while True:
        (claim,) = store.work_queue.claim(1, at=at, lease_s=60)
        next_at = store.work_queue.fail(claim, "ValueError: no idea", at=at)
        if next_at is None:
            break
        assert store.work_queue.claim(1, at=next_at - timedelta(seconds=1), lease_s=60) == []
        waits.append(next_at - at)
        at = next_at

    assert waits == [timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=1),
                     timedelta(hours=6)]  # fmt: skip
    (fate,) = store.files.iter_status()
    assert (fate.state, fate.code, fate.attempts) == ("set_aside", "crashed", 5)


def test_a_fault_of_the_share_does_not_count_as_an_attempt(store) -> None:
    store.files.add([file("a.tif")], at=AT)
    for _ in range(20):
        (claim,) = store.work_queue.claim(1, at=AT, lease_s=60)
        store.work_queue.release(claim, at=AT, retry_at=AT, sentence="the share does not answer")

    (fate,) = store.files.iter_status()
    assert (fate.state, fate.attempts, fate.reason) == ("queued", 0, "the share does not answer")


def test_a_file_that_kills_the_agent_is_tried_alone_then_later_and_then_set_aside(store) -> None:
    store.files.add([file(f"{n}.tif") for n in range(6)], at=AT)
    at, sizes, waited = AT, [], []
    for _ in range(20):
        claims = store.work_queue.claim(4, at=at, lease_s=60)
        if not claims:
            failed = list(store.files.iter_status("failed"))
            if not failed:
                break
            (fate,) = failed
            waited.append(fate.next_try_at - at)
            at = fate.next_try_at
            continue
        sizes.append(len(claims))
        poison = [claim for claim in claims if claim.relative == "0.tif"]
        for claim in claims if not poison else []:
            store.work_queue.finish(claim, [finding(claim.relative[0] * 64)], at=at)
        if poison:  # the agent dies with all of them in hand, and starts again
            store.work_queue.requeue_own(at=at)

    assert sizes[:2] == [4, 4]
    assert set(sizes[2:5]) == {1}
    assert waited == [timedelta(minutes=m) for m in (1, 10, 60, 360, 360)]
    states = {Path(fate.path).name: (fate.state, fate.code) for fate in store.files.iter_status()}
    assert states.pop("0.tif") == ("set_aside", "crashed")
    assert set(states.values()) == {("done", None)}


def test_what_may_be_a_stale_cache_is_read_again_by_itself_and_is_news_once(store) -> None:
    store.files.add([file("a.tif")], at=AT)
    at, waited = AT, []
    for _ in range(9):
        for claim in store.work_queue.claim(1, at=at, lease_s=60):
            store.work_queue.set_aside(claim, "truncated", "the file ends early", at=at)
        (fate,) = store.files.iter_status()
        if fate.next_try_at is None:
            break
        waited.append(fate.next_try_at - at)
        assert not store.work_queue.claim(1, at=fate.next_try_at - timedelta(seconds=1), lease_s=60)
        at = fate.next_try_at

    assert waited == [timedelta(minutes=m) for m in (1, 10, 60, 360)]
    assert (fate.state, fate.attempts, fate.done_at) == ("set_aside", 5, AT)


def test_a_file_that_is_no_use_for_good_is_not_read_again(store) -> None:
    (claim,) = claimed(store, "a.tif")
    store.work_queue.set_aside(claim, "no_steel", "nothing of it is steel", at=AT)

    assert not store.work_queue.claim(1, at=AT + timedelta(days=30), lease_s=60)


def test_files_of_a_share_that_is_back_wait_no_longer(store) -> None:
    store.files.add([file("a.tif"), replace(file("b.tif"), source="LOM-08")], at=AT)
    for claim in store.work_queue.claim(2, at=AT, lease_s=60):
        store.work_queue.release(
            claim, at=AT, retry_at=AT + timedelta(hours=1), sentence="it is away"
        )

    store.work_queue.make_due("LOM-07")

    assert [claim.relative for claim in store.work_queue.claim(2, at=AT, lease_s=60)] == ["a.tif"]


@pytest.mark.parametrize(
    ("apart", "has_other_pc", "steps"),
    [
        (timedelta(minutes=7), False, 2),
        (timedelta(minutes=7), True, 0),
        (timedelta(hours=2), True, 2),
    ],
)
def test_the_clocks_of_two_pcs_of_one_source_are_no_clock_that_is_set_at_each_turn(
    tmp_path, apart, has_other_pc, steps
) -> None:
    url = f"sqlite:///{tmp_path}/lab.db"
    with Store.open(url, site="Plant 1", agent="PC-2") as own:
        other = Store.open(url, site="Plant 1", agent="PC-1" if has_other_pc else "PC-2")
        for turn in range(2):
            at = AT + timedelta(hours=turn)
            other.files.add([file(f"a{turn}.tif")], at=at + apart)
            own.files.add([file(f"b{turn}.tif")], at=at)
        other.close()

        assert len(own.records.all(CLOCK_SET)) == steps


def test_a_clock_set_back_puts_nothing_off_for_longer(store) -> None:
    store.files.add([file("a.tif"), file("b.tif")], at=AT)
    first, second = store.work_queue.claim(2, at=AT, lease_s=60)
    store.work_queue.release(
        first, at=AT, retry_at=AT + timedelta(seconds=30), sentence="it is away"
    )
    store.work_queue.fail(second, "ValueError: no idea", at=AT)
    earlier = AT - timedelta(hours=1)

    store.work_queue.shift_clock(timedelta(hours=1), at=earlier)

    waiting = {
        f.path.rpartition("/")[2]: f.next_try_at - earlier for f in store.files.iter_status()
    }
    assert waiting == {"a.tif": timedelta(seconds=30), "b.tif": timedelta(minutes=1)}


def test_what_another_clock_put_off_for_years_is_due_at_the_next_start(store) -> None:
    (claim,) = claimed(store, "a.tif")
    store.work_queue.release(claim, at=AT, retry_at=AT + timedelta(days=900), sentence="it is away")

    store.work_queue.requeue_own(at=AT)

    assert store.work_queue.claim(1, at=AT, lease_s=60)


def test_retry_starts_from_the_first_attempt(store) -> None:
    (claim,) = claimed(store, "sub/a.tif")
    store.work_queue.set_aside(claim, "truncated", "the file ends early", at=AT, sha256=SHA)

    for which in ("sub/a.tif", str(FOLDER / "sub/a.tif"), SHA, SHA[:12], str(claim.content_id)):
        assert store.files.retry([which], at=AT) == 1
        (claim,) = store.work_queue.claim(1, at=AT, lease_s=60)
        assert claim.attempts == 1
        store.work_queue.set_aside(claim, "truncated", "the file ends early", at=AT)

    assert store.files.retry(["unknown.tif"], at=AT) == 0
    assert store.files.retry(None, at=AT) == 1
    assert {entry.act for entry in store.audit_log.iter_acts()} == {
        "files.retried",
        "files.set_aside",
    }


def test_the_fate_of_a_file_says_code_and_sentence(store) -> None:
    (claim,) = claimed(store, "a.tif")
    store.work_queue.set_aside(claim, "truncated", "the file ends early", at=AT)

    (fate,) = store.files.iter_status("set_aside")

    assert fate.as_json() == {
        "path": str(FOLDER / "a.tif"),
        "paths": [str(FOLDER / "a.tif")],
        "sha256": None,
        "size_bytes": 10,
        "source": "LOM-07",
        "state": "set_aside",
        "reason": "truncated: the file ends early",
        "attempts": 1,
        "first_seen_at": "2026-11-24T21:00:00.000+00:00",
        "done_at": "2026-11-24T21:00:00.000+00:00",
        "duplicate_of": None,
        "code": "truncated",
        "next_try_at": "2026-11-24T21:01:00.000+00:00",
    }


@pytest.mark.both_databases
def test_urgent_goes_first_then_fresh_then_the_backlog(store) -> None:
    store.files.add([file("old.tif")], at=AT, lane="backlog")
    store.files.add([file("new.tif")], at=AT + timedelta(seconds=1))
    store.files.add([file("order.tif")], at=AT + timedelta(seconds=2), lane="urgent")

    claims = store.work_queue.claim(3, at=AT + timedelta(seconds=3), lease_s=60)

    assert [claim.relative for claim in claims] == ["order.tif", "new.tif", "old.tif"]


@pytest.mark.both_databases
def test_half_of_a_backlogs_round_is_its_newest(store) -> None:
    store.files.add([file(f"{n}.tif") for n in range(20)], at=AT, lane="backlog")

    claims = store.work_queue.claim(4, at=AT, lease_s=60)

    assert [claim.relative for claim in claims] == ["0.tif", "1.tif", "19.tif", "18.tif"]


def test_how_many_of_a_source_wait_in_a_lane_is_counted_no_further_than_asked(store) -> None:
    store.files.add([file(f"{n}.tif") for n in range(9)], at=AT)
    store.files.add([replace(file("b.tif"), source="LOM-08")], at=AT, lane="backlog")

    assert store.work_queue.count_waiting("LOM-07", at_most=5) == 5
    assert store.work_queue.count_waiting("LOM-07", at_most=50) == 9
    assert store.work_queue.count_waiting("LOM-08", at_most=50) == 0


def test_a_clock_set_back_delays_no_file(store) -> None:
    store.files.add([file("a.tif")], at=AT)

    assert len(store.work_queue.claim(1, at=AT - timedelta(hours=1), lease_s=60)) == 1


def test_an_agent_claims_only_from_the_sources_it_can_reach(store) -> None:
    store.files.add([file("a.tif"), replace(file("b.tif"), source="LOM-08")], at=AT)

    claims = store.work_queue.claim(5, at=AT, lease_s=60, only=["LOM-08"])

    assert [claim.relative for claim in claims] == ["b.tif"]


def test_sites_that_share_a_database_do_not_see_each_others_files(address) -> None:
    with (
        Store.open(address, site="Plant 1", agent="PC") as one,
        Store.open(address, site="Plant 2", agent="PC") as two,
    ):
        one.files.add([file("a.tif")], at=AT)

        assert list(two.files.iter_status()) == []
        assert two.work_queue.claim(1, at=AT, lease_s=60) == []
        assert two.files.list_known("LOM-07") == {}


@pytest.mark.both_databases
def test_names_of_any_letters_come_back_as_they_were(store) -> None:
    names = ["Prüfung/漢字 🔬.tif", "trailing .tif", "a'b\"c%_.tif", "x" * 300 + ".tif"]

    store.files.add([file(name) for name in names], at=AT)

    assert sorted(store.files.list_known("LOM-07")) == sorted(names)
    assert sorted(
        claim.relative for claim in store.work_queue.claim(9, at=AT, lease_s=9)
    ) == sorted(names)


@pytest.mark.both_databases
def test_times_far_away_are_kept(store) -> None:
    far = 4_102_444_800_000_000_000  # the year 2100, in nanoseconds
    store.files.add([file("a.tif", mtime=far, ctime=-1)], at=AT)

    assert store.files.list_known("LOM-07") == {"a.tif": (10, far, -1)}


def test_counts_name_every_state(store) -> None:
    claimed(store, "a.tif")
    store.files.add([file("b.tif")], at=AT)

    assert store.files.count_by_state() == {
        "settling": 0, "queued": 1, "processing": 1, "done": 0,
        "failed": 0, "set_aside": 0, "duplicate": 0, "ignored": 0,
    }  # fmt: skip


def test_counts_are_of_one_site_however_many_there_are(tmp_path) -> None:
    url = f"sqlite:///{tmp_path}/two.db"
    with Store.open(url, site="A", agent="PC") as alone:
        taken(alone, "a.tif", finding())
        alone.files.add([file("b.tif")], at=AT)
        before = alone.files.count_by_state()
        with Store.open(url, site="B", agent="PC") as other:
            other.files.add([file(name) for name in ("c.tif", "d.tif")], at=AT)

            counts = [before, alone.files.count_by_state(), other.files.count_by_state()]

    assert [(count["done"], count["queued"]) for count in counts] == [(1, 1), (1, 1), (0, 2)]


def test_a_file_left_alone_on_purpose_says_why(store) -> None:
    store.files.add_ignored(
        [file("a.tif")], "too_long", "the path is longer than the system allows", at=AT
    )

    (fate,) = store.files.iter_status("ignored")
    assert fate.said == "too_long: the path is longer than the system allows"
    assert store.work_queue.claim(1, at=AT, lease_s=60) == []


# --- results ------------------------------------------------------------------------------------


def test_a_view_says_what_was_found(store) -> None:
    taken(store, "a.tif", finding(process={"order": "4711", "specimen": "3"}, p_value=0.01))

    view = store.results.find(SHA[:16])

    assert view is not None
    assert view.path == str(FOLDER / "a.tif")
    assert (view.result.structure_code, view.result.size_min, view.result.size_max) == ("G8", 8, 8)
    assert view.crop == (0, 0, 2000, 1400)
    assert view.process_data == {"order": "4711", "specimen": "3"}
    assert view.result.strangeness.p_value == 0.01
    assert view.result.strangeness.where == (40, 20, 60, 40)
    assert (view.result.reasons, view.awaits, view.label) == (("uncertain",), True, None)


def test_without_a_bundle_a_micrograph_waits_untrained(store) -> None:
    taken(store, "a.tif", replace(finding(reasons=(Reason.UNTRAINED,)), prediction=None))

    (view,) = store.review_queue.list_micrographs()

    assert (view.result.structure_code, view.result.bundle, view.result.reasons) == (
        None,
        "",
        ("untrained",),
    )


@pytest.mark.both_databases
def test_the_queue_has_the_weightiest_first_and_can_be_narrowed(store) -> None:
    cases = [
        ("a", (Reason.UNCERTAIN,), 0.9, 0.55, "1"),
        ("b", (Reason.STRANGE, Reason.UNCERTAIN), 0.015, 0.5, "1"),
        ("c", (Reason.STRANGE,), 0.001, 0.9, "2"),
        ("d", (Reason.CONTROL_SAMPLE,), 0.9, 0.9, "2"),
        ("e", (), 0.9, 0.9, "2"),
        ("f", (Reason.UNCERTAIN,), 0.9, 0.31, "2"),
    ]
    for letter, reasons, p_value, probability, order in cases:
        found = finding(letter * 64, reasons=reasons, p_value=p_value, probability=probability,
                        process={"order": order})  # fmt: skip
        taken(store, letter, found)

    def letters(**narrowed: Any) -> str:
        return "".join(view.id[0] for view in store.review_queue.list_micrographs(**narrowed))

    assert letters() == "cbfad"
    assert letters(reason="uncertain") == "bfa"
    assert letters(order="2") == "cfd"
    assert letters(limit=2) == "cb"
    assert letters(source="another") == ""
    assert store.review_queue.count() == 5


def test_what_was_drawn_has_one_place_in_ten_however_much_else_waits(store) -> None:
    drawn = (Reason.CONTROL_SAMPLE, Reason.UNLIKE_TAUGHT, Reason.CONTROL_SAMPLE)
    for number, reason in enumerate((*drawn, *[Reason.STRANGE] * 25)):
        found = finding(f"{number:064x}"[::-1], reasons=(reason,), probability=0.9 - number / 100)
        taken(store, str(number), found)

    whole, first = (
        store.review_queue.list_micrographs(),
        store.review_queue.list_micrographs(limit=20),
    )

    at = [n for n, view in enumerate(whole) if view.result.reasons != ("strange",)]
    assert at == [9, 19, 27]  # the last one behind the seven that are left
    assert [whole[n].id[0] for n in at] == ["0", "2", "1"]  # samples as they came
    assert [view.id for view in first] == [view.id for view in whole[:20]]
    assert len({view.id for view in whole}) == 28


def test_a_night_has_what_was_done_after_its_beginning_and_until_its_end(store) -> None:
    for hour, letter in enumerate("abc"):
        taken(store, letter, finding(letter * 64), at=AT + timedelta(hours=hour))
    taken(store, "d", finding("d" * 64, origin="import"), at=AT + timedelta(hours=1))

    views = store.results.list_between(AT, AT + timedelta(hours=2))

    assert [view.id[0] for view in views] == ["b", "c"]


def test_large_questions_go_by_their_indexes(tmp_path) -> None:
    asked: list[tuple[str, Any]] = []
    with Store.open(f"sqlite:///{tmp_path}/martensight.db", site="Plant 1", agent="PC") as store:

        def hear(_connection, _cursor, said, told, *_) -> None:
            asked.append((said, told))

        event.listen(store._engine, "before_cursor_execute", hear)
        store.results.list_between(AT - timedelta(days=1), AT)
        store.review_queue.list_micrographs(limit=50)
        store.review_queue.list_micrographs(order="4711")
        list(store.files.iter_status("failed"))
        store.work_queue.claim(8, at=AT, lease_s=60)
        store.places.known([SHA[:16]])
        event.remove(store._engine, "before_cursor_execute", hear)
        with store._engine.connect() as connection:
            plans = [
                str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {said}", told).all())
                for said, told in asked
                if said.startswith("SELECT")
            ]

    indexes = (
        "ix_micrograph_site_id_order",
        "ix_result_night",
        "ix_result_queue",
        "ix_content_site_id_state_id",
        "ix_content_due",
        "ix_same_place_other_id",
    )
    assert [name for name in indexes if not any(name in plan for plan in plans)] == []
    assert not any("SCAN micrograph" in plan for plan in plans)


def test_an_imported_micrograph_is_in_no_queue(store) -> None:
    taken(store, "a.tif", finding(origin="import"))

    assert store.review_queue.list_micrographs() == []


def test_a_result_is_never_written_over(store) -> None:
    taken(store, "a.tif", finding(probability=0.7))
    before = store.results.find(SHA[:16])

    assert not store.results.add(SHA[:16], finding(probability=0.2), role="live", at=AT)

    assert store.results.find(SHA[:16]) == before


def test_a_promoted_bundles_answer_stands_beside_the_first_and_is_the_current_one(store) -> None:
    taken(store, "a.tif", finding())

    assert store.results.add(SHA[:16], finding(bundle="20261124-00c0ffee"), role="live", at=AT)

    assert [view.result.bundle for view in store.review_queue.list_micrographs()] == [
        "20261124-00c0ffee"
    ]


def test_a_shadow_answer_changes_no_page(store) -> None:
    taken(store, "a.tif", finding())

    assert store.results.add(SHA[:16], finding(bundle="20261124-00c0ffee"), role="shadow", at=AT)

    assert [view.result.bundle for view in store.review_queue.list_micrographs()] == [
        "20261101-0badcafe"
    ]


def test_a_worker_that_finishes_known_bytes_writes_no_second_result(store) -> None:
    taken(store, "a.tif", finding())
    (claim,) = claimed(store, "b.tif")

    assert not store.work_queue.finish(claim, [finding()], at=AT)

    assert len(list(store.results.iter_all())) == 1


# --- labels -------------------------------------------------------------------------------------


def test_a_decision_is_a_row_and_leaves_the_queue(store) -> None:
    taken(store, "a.tif", finding(process={"order": "4711", "specimen": "3"}))

    decision = Decision("code", "Ada", code="G9-10", criterion="max", viewing_s=7.5)
    store.labels.decide(SHA[:16], decision, at=AT)

    assert store.review_queue.list_micrographs() == []
    (labelled,) = store.labelled_micrographs.list_all()
    label = labelled.label
    assert (label.code, label.by, label.criterion) == ("G9-10", "Ada", "max")
    assert (labelled.group, labelled.model_code) == ("4711/3", "G8")
    view = store.results.find(SHA[:16])
    assert view is not None
    assert view.label is not None
    assert (view.label.viewing_s, view.label.result_seen) == (7.5, view.result.id)


def test_of_several_decisions_all_are_stored_or_none(store) -> None:
    taken(store, "a.tif", finding())
    fine = (SHA[:16], Decision("code", "Ada", code="G8"), "any")

    with pytest.raises(UsageError):
        store.labels.decide_all([fine, ("0" * 16, fine[1], "any")], at=AT)
    before = store.labelled_micrographs.list_all()
    store.labels.decide_all([fine], at=AT)

    assert before == []
    assert [one.label.code for one in store.labelled_micrographs.list_all()] == ["G8"]
    assert not store.audit_log.find_problems()


def test_decisions_that_may_be_skipped_answer_in_their_order(store) -> None:
    taken(store, "a.tif", finding())
    fine = (SHA[:16], Decision("code", "Ada", code="G8"), None)
    unknown = ("0" * 16, fine[1], None)

    first, second = store.labels.decide_all((), or_skip=[fine, unknown], at=AT)

    assert isinstance(first, int)
    assert isinstance(second, UsageError)
    assert [one.label.code for one in store.labelled_micrographs.list_all()] == ["G8"]


def test_a_later_decision_holds_and_the_earlier_one_stays(store) -> None:
    taken(store, "a.tif", finding())
    first = store.labels.decide(SHA[:16], Decision("code", "Ada", code="G8"), at=AT)
    again = Decision("strange", "Bob", strange_kind="scratch", comment="looked again")
    store.labels.decide(SHA[:16], again, at=AT)

    view = store.results.find(SHA[:16])

    assert view is not None
    assert [label.kind for label in view.labels] == ["code", "strange"]
    assert view.label is not None
    assert (view.label.by, view.label.supersedes) == ("Bob", first)
    assert store.labelled_micrographs.list_all() == []
    assert [
        labelled_micrograph.label.strange_kind
        for labelled_micrograph in store.labelled_micrographs.list_all(kinds=("strange",))
    ] == ["scratch"]


def test_an_undo_takes_back_one_decision_and_then_the_queue_has_it_again(store) -> None:
    taken(store, "a.tif", finding())
    store.labels.decide(SHA[:16], Decision("code", "Ada", code="G8"), at=AT)
    store.labels.decide(SHA[:16], Decision("code", "Bob", code="G7", comment="looked again"), at=AT)

    store.labels.undo(SHA[:16], by="Bob", at=AT)
    (after_one,) = store.labelled_micrographs.list_all()
    store.labels.undo(SHA[:16], by="Bob", at=AT)

    assert after_one.label.code == "G8"
    assert store.labelled_micrographs.list_all() == []
    assert [view.id for view in store.review_queue.list_micrographs()] == [SHA[:16]]
    view = store.results.find(SHA[:16])
    assert view is not None
    assert [label.undone for label in view.labels] == [True, True]
    with pytest.raises(UsageError, match="no decision to take back"):
        store.labels.undo(SHA[:16], by="Bob", at=AT)


@pytest.mark.parametrize(
    ("decision", "sentence"),
    [
        (Decision("code", "Ada"), "has to say which or why"),
        (Decision("strange", "Ada"), "has to say which or why"),
        (Decision("unusable", "Ada"), "has to say which or why"),
        (Decision("code", "  ", code="G8"), "needs the name"),
        (Decision("maybe", "Ada"), "a decision is one of"),
        (Decision("code", "Ada", code="G8", criterion="median"), "a criterion is one of"),
    ],
)
def test_an_incomplete_decision_is_refused(store, decision, sentence) -> None:
    taken(store, "a.tif", finding())

    with pytest.raises(UsageError, match=sentence):
        store.labels.decide(SHA[:16], decision, at=AT)

    assert len(store.review_queue.list_micrographs()) == 1


@pytest.mark.both_databases
def test_of_two_decisions_on_what_both_saw_one_is_written(address) -> None:
    with Store.open(address, site="Plant 1", agent="PC") as store:
        taken(store, "a.tif", finding())

        def decide(by: str) -> int | DecisionConflictError:
            decision = Decision("code", by, code="G8")
            try:
                return store.labels.decide(SHA[:16], decision, at=AT, expected=None)
            except DecisionConflictError as overtaken:
                return overtaken

        answers = at_once(*(partial(decide, by) for by in ("Ada", "Bob", "Eve", "Kim")))
        (view,) = store.results.iter_all()

    assert sum(isinstance(answer, int) for answer in answers) == 1
    assert sum("decided in between" in str(answer) for answer in answers) == 3
    assert len(view.labels) == 1


def test_a_decision_on_the_label_that_was_seen_is_written(store) -> None:
    taken(store, "a.tif", finding())
    first = store.labels.decide(SHA[:16], Decision("code", "Ada", code="G8"), at=AT, expected=None)

    again = Decision("code", "Bob", code="G7", comment="looked again")
    second = store.labels.decide(SHA[:16], again, at=AT, expected=first)

    with pytest.raises(DecisionConflictError, match="Bob decided in between"):
        store.labels.decide(SHA[:16], Decision("code", "Eve", code="G7"), at=AT, expected=first)
    (view,) = store.results.iter_all()
    assert view.label.id == second


def test_who_decides_otherwise_than_was_decided_says_why(store) -> None:
    taken(store, "a.tif", finding())
    store.labels.decide(SHA[:16], Decision("code", "Ada", code="G8"), at=AT)

    with pytest.raises(UsageError, match="already decided by Ada"):
        store.labels.decide(SHA[:16], Decision("code", "Bob", code="G7", comment="  "), at=AT)
    store.labels.decide(
        SHA[:16], Decision("code", "Bob", code="G8"), at=AT
    )  # the same corrects nothing

    (view,) = store.results.iter_all()
    assert [(label.by, label.code) for label in view.labels] == [("Ada", "G8"), ("Bob", "G8")]


def test_a_decision_on_nothing_is_refused(store) -> None:
    with pytest.raises(UsageError, match="no micrograph has the id 'ffff'"):
        store.labels.decide("ffff", Decision("cannot_tell", "Ada"), at=AT)


def test_a_content_of_no_known_specimen_is_a_group_of_its_own(store) -> None:
    taken(store, "a.tif", finding(process={"order": "4711"}))
    store.labels.decide(SHA[:16], Decision("code", "Ada", code="G8"), at=AT)

    assert [
        labelled_micrograph.group for labelled_micrograph in store.labelled_micrographs.list_all()
    ] == [SHA]


def test_process_data_that_the_settings_name_has_columns_of_its_own() -> None:
    assert set(PROCESS_COLUMNS) <= set(MicrographRow.model_fields)


# --- bundles, nights, sources -------------------------------------------------------------------


def test_the_current_bundle_is_the_one_promoted_last(store) -> None:
    assert store.promotions.find_current() is None

    store.promotions.promote(
        "20261101-aaaaaaaa", by="Ada", reason="first", at=AT, metrics={"n": 10}
    )
    store.promotions.promote("20261102-bbbbbbbb", by="Ada", reason="better", at=AT, metrics={})
    store.promotions.promote("20261101-aaaaaaaa", by="Bob", reason="roll back", at=AT, metrics={})

    assert store.promotions.find_current() == "20261101-aaaaaaaa"
    assert [promotion.by for promotion in store.promotions.list_all()] == ["Bob", "Ada", "Ada"]


@pytest.mark.parametrize(("by", "reason"), [("", "better"), ("Ada", " ")])
def test_a_promotion_needs_a_person_and_a_reason(store, by, reason) -> None:
    with pytest.raises(UsageError, match="promotion"):
        store.promotions.promote("20261101-aaaaaaaa", by=by, reason=reason, at=AT, metrics={})

    assert store.promotions.find_current() is None


@pytest.mark.both_databases
def test_a_nights_facts_come_back_byte_for_byte_and_the_first_writing_holds(store) -> None:
    facts = '{"b":1,  "a":"ü 漢"}\n'
    store.nightly_reports.freeze(date(2026, 11, 24), facts, at=AT)
    store.nightly_reports.freeze(date(2026, 11, 24), "{}", at=AT)

    night = store.nightly_reports.find(date(2026, 11, 24))

    assert night is not None
    assert (night.facts, night.revision) == (facts, 1)


def test_a_refresh_is_a_recorded_revision(store) -> None:
    store.nightly_reports.freeze(date(2026, 11, 23), "{}", at=AT)
    store.nightly_reports.freeze(date(2026, 11, 24), "{}", at=AT)
    store.nightly_reports.freeze(date(2026, 11, 24), '{"again":1}', at=AT, revision=2)

    assert [(report.date.day, report.revision) for report in store.nightly_reports.list_all()] == [
        (24, 2),
        (23, 1),
    ]
    assert [entry.facts["revision"] for entry in store.audit_log.iter_acts("night.")] == [1, 1, 2]
    assert store.nightly_reports.find(date(2026, 11, 22)) is None


def test_sources_and_agents_are_as_last_seen(store) -> None:
    seen = SourceHealth("LOM-07", str(FOLDER), "poll", online=False, offline_since=AT,
                        last_scan_at=AT, found_by_scan=3, problem="does not answer")  # fmt: skip
    store.sources.record([seen])
    store.agents.record_start(at=AT)
    store.agents.record_heartbeat({"bundle": "b"}, at=AT + timedelta(seconds=5))

    assert store.sources.list_all() == [seen]
    (agent,) = store.agents.list_all()
    assert (agent.name, agent.started_at, agent.seen_at) == ("PC", AT, AT + timedelta(seconds=5))


def test_a_row_that_left_its_transaction_is_a_value(store) -> None:
    store.records.add("validation", "100Cr6", by="Ada", at=AT, facts={"n": 1})

    (record,) = store.records.all("validation")

    with pytest.raises(AttributeError, match="after its transaction"):
        record.by = "Bob"
    assert (record.by, record.facts) == ("Ada", {"n": 1})
    assert store.records.all("validation") == [record]


def test_a_job_says_how_it_ended(store) -> None:
    job = store.jobs.begin("night", at=AT, due_at=AT)

    store.jobs.end(job, "done", at=AT, facts={"pages": 1})


# --- the trail ----------------------------------------------------------------------------------


def test_every_act_of_a_person_is_in_the_trail(store) -> None:
    taken(store, "a.tif", finding())
    store.labels.decide(SHA[:16], Decision("code", "Ada", code="G8", comment="sure"), at=AT)
    store.labels.undo(SHA[:16], by="Ada", at=AT)
    store.promotions.promote("b", by="Bob", reason="better", at=AT, metrics={})
    store.audit_log.add(at=AT, actor="Bob", act="setting.changed", subject="night.at")

    assert [(entry.actor, entry.act) for entry in store.audit_log.iter_acts()] == [
        ("Ada", "label.given"),
        ("Ada", "label.undone"),
        ("Bob", "model.promoted"),
        ("Bob", "setting.changed"),
    ]
    assert next(store.audit_log.iter_acts()).facts["comment"] == "sure"
    assert store.audit_log.find_problems() == []


def test_a_changed_setting_is_in_the_trail_and_an_unchanged_one_is_not(store) -> None:
    before = {"night": {"at": "23:30"}, "triage": {"min_probability": 0.6}, "sources": [1]}
    after = {**before, "triage": {"min_probability": 0.5}}

    store.settings_history.record(before, at=AT)
    store.settings_history.record(before, at=AT)
    changed = store.settings_history.record(after, at=AT)

    assert changed == {"triage.min_probability": (0.6, 0.5)}
    entries = list(store.audit_log.iter_acts("settings.changed"))
    assert [entry.subject for entry in entries] == ["PC", "PC"]
    assert entries[1].facts["in_force"]["night.at"] == "23:30"


def test_a_password_never_gets_into_the_trail(store) -> None:
    secret = {"store": {"url": "postgresql://lab:sesame@h/x"}, "notify": {"urls": ["x://sesame"]}}

    store.settings_history.record(secret, at=AT)

    assert "sesame" not in str([entry.facts for entry in store.audit_log.iter_acts()])


@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("UPDATE trail SET actor = 'Eve' WHERE id = 2", "number 2 (act 2) was changed"),
        ("DELETE FROM trail WHERE id = 2", "a row is missing before number 3"),
    ],
)
def test_a_changed_or_deleted_act_shows(address, store, statement, sentence) -> None:
    for number in (1, 2, 3):
        store.audit_log.add(at=AT, actor="Ada", act=f"act {number}", facts={"n": number})
    tamper(address, statement)

    (problem,) = store.audit_log.find_problems()
    assert sentence in problem


@pytest.mark.both_databases
def test_acts_of_many_at_once_are_one_chain(address) -> None:
    stores = [Store.open(address, site="Plant 1", agent=f"PC {n}") for n in range(3)]

    def act(store: Store) -> None:
        for number in range(10):
            store.audit_log.add(at=AT, actor="Ada", act="setting.changed", facts={"n": number})

    threads = [threading.Thread(target=act, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert stores[0].audit_log.find_problems() == []
    assert len(list(stores[0].audit_log.iter_acts())) == 30
    for opened in stores:
        opened.close()


# --- opening ------------------------------------------------------------------------------------


def test_a_time_without_a_zone_is_refused(store) -> None:
    naive = datetime(2026, 11, 24, 21, 0)  # noqa: DTZ001 - the point of the test

    with pytest.raises(Exception, match="a time without a zone"):
        store.files.add([file("a.tif")], at=naive)


def test_the_address_is_the_labs_own_or_a_file_in_the_data_folder(tmp_path) -> None:
    assert store_url(Path("/srv/data")) == "sqlite:////srv/data/martensight.db"
    assert store_url(tmp_path, "postgresql+psycopg://h/x") == "postgresql+psycopg://h/x"


@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("not an address", "not a database address"),
        ("mysql+pymysql://h/x", "not supported"),
        ("nonsense://h/x", "not supported"),
        ("postgresql+psycopg://nobody@127.0.0.1:1/x", "cannot be opened"),
    ],
)
def test_an_address_that_cannot_be_is_one_sentence(url, sentence) -> None:
    with pytest.raises(StoreError, match=sentence) as caught:
        Store.open(url, site="Plant 1", agent="PC")

    assert "\n" not in str(caught.value)


def test_a_password_is_never_said() -> None:
    url = "postgresql+psycopg://lab:sesame@127.0.0.1:1/x"

    with pytest.raises(StoreError) as caught:
        Store.open(url, site="Plant 1", agent="PC")

    assert "sesame" not in str(caught.value)


def test_a_file_that_is_no_database_is_one_sentence(tmp_path) -> None:
    broken = tmp_path / "martensight.db"
    broken.write_bytes(b"this is no database, by any reading of its first page" * 40)

    with pytest.raises(StoreError, match=r"not a usable database .*agent restore"):
        Store.open(f"sqlite:///{broken}", site="Plant 1", agent="PC")


def test_a_damaged_database_is_said(tmp_path) -> None:
    path = tmp_path / "martensight.db"
    with Store.open(f"sqlite:///{path}", site="Plant 1", agent="PC") as store:
        store.files.add([file(f"{n}.tif") for n in range(2000)], at=AT)
        assert store.checks.find_problems(thorough=True) == []
    held = bytearray(path.read_bytes())
    behind_the_schema = len(held) * 3 // 4
    held[behind_the_schema : behind_the_schema + 3 * 4096] = bytes(3 * 4096)
    path.write_bytes(held)

    with Store.open(f"sqlite:///{path}", site="Plant 1", agent="PC") as store:
        assert store.checks.find_problems()


def test_sqlite_is_refused_on_a_network_drive(monkeypatch, tmp_path) -> None:
    mounts = f"/dev/sda1 / ext4 rw 0 0\n//nas/lab {tmp_path}/nas\\040lab cifs rw 0 0\n"
    (tmp_path / "nas lab").mkdir()

    assert engine._mount_kind(tmp_path / "nas lab" / "data", mounts) == "cifs"
    assert engine._mount_kind(tmp_path / "data", mounts) == "ext4"
    monkeypatch.setattr(engine, "network_kind", lambda _: "cifs")
    with pytest.raises(StoreError, match=r"network drive \(cifs\).*PostgreSQL"):
        Store.open(f"sqlite:///{tmp_path}/martensight.db", site="Plant 1", agent="PC")


def test_a_locked_database_is_a_fault_to_wait_for(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_MS", 50)
    url = f"sqlite:///{tmp_path}/martensight.db"
    with (
        Store.open(url, site="Plant 1", agent="PC") as one,
        Store.open(url, site="Plant 1", agent="PC") as two,
        engine.writing(one._engine) as session,
    ):
        session.connection()
        with pytest.raises(StoreFaultError, match="locked"):
            two.files.add([file("a.tif")], at=AT)


def test_a_full_disk_is_a_fault_that_loses_nothing_and_passes(tmp_path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/martensight.db", site="Plant 1", agent="PC") as store:
        taken(store, "a.tif", finding())
        with store._engine.connect() as connection:  # the pool gives this one to the next writer
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

        with pytest.raises(StoreFaultError, match="full"):
            store.files.add([file(f"{n}.tif") for n in range(5000)], at=AT)

        assert fates(store) == {"a.tif": "done"}
        with store._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
        assert store.files.add([file(f"{n}.tif") for n in range(5000)], at=AT) == 5000


def test_reading_goes_on_while_another_writes(tmp_path) -> None:
    url = f"sqlite:///{tmp_path}/martensight.db"
    with (
        Store.open(url, site="Plant 1", agent="PC") as one,
        Store.open(url, site="Plant 1", agent="PC") as two,
        engine.writing(one._engine) as session,
    ):
        session.connection()
        assert two.files.count_by_state()["queued"] == 0


@pytest.mark.both_databases
def test_threads_that_read_think_and_write_lose_no_update(address) -> None:
    store = Store.open(address, site="Plant 1", agent="PC")
    store.files.add([file(f"{n}.tif") for n in range(60)], at=AT)

    def work() -> None:
        while claims := store.work_queue.claim(1, at=AT, lease_s=60):
            store.work_queue.release(claims[0], at=AT, retry_at=AT + timedelta(days=1))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert store.files.count_by_state()["queued"] == 60
    assert {fate.attempts for fate in store.files.iter_status()} == {0}
    store.close()


@pytest.mark.both_databases
def test_a_postgresql_that_stops_is_a_fault_and_work_goes_on_when_it_is_back(postgres) -> None:
    store = Store.open(postgres.empty("ours"), site="Plant 1", agent="PC")
    store.files.add([file("a.tif")], at=AT)
    postgres.stop()
    try:
        with pytest.raises(StoreFaultError, match="database"):
            store.work_queue.claim(1, at=AT, lease_s=60)
    finally:
        postgres.resume()

    assert len(store.work_queue.claim(1, at=AT, lease_s=60)) == 1
    store.close()


@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("kind", "after"), [("half a \udcff letter", 0), ("a\0b", 0), ("statement", 10**30)]
)
def test_a_value_that_no_database_keeps_is_refused_in_a_sentence(address, kind, after) -> None:
    with Store.open(address, site="Plant 1", agent="PC") as store:
        if kind == "a\0b" and store.kind == "sqlite":
            assert store.records.list_after(kind, after) == []  # it keeps a NUL
            return

        with pytest.raises(UsageError, match="cannot be kept in the database"):
            store.records.list_after(kind, after)


# --- threads ------------------------------------------------------------------------------------

FIRST_USES = """
import importlib, sys, tempfile, threading
from pathlib import Path
from agent.store import Store
from agent.store.results import places

sys.setswitchinterval(1e-6)
faults = []
for number in range(6):
    importlib.reload(places)  # as in a process that has just begun
    folder = Path(tempfile.mkdtemp(dir=sys.argv[1]))
    store = Store.open(f"sqlite:///{folder / 'x.db'}", site="Plant 1", agent="PC")
    barrier = threading.Barrier(8)

    def use():
        repository = store.places
        barrier.wait()
        try:
            repository.known(["a"])
        except Exception as fault:
            faults.append(f"{type(fault).__name__}: {fault}"[:200])

    threads = [threading.Thread(target=use) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    store.close()
print(*faults, sep="\\n")
"""


def test_threads_that_begin_together_spoil_no_statement_for_each_other(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FIRST_USES, str(tmp_path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert done.stdout.strip() == ""
