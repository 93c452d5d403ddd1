"""A micrograph is read only once the microscope has finished writing it, and none is missed."""

import os
import random
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from watchdog.events import FileClosedEvent

from agent.settings import Source
from agent.watch import Kind, ListedFile, Provenance, SourceWatcher, StabilityTracker, classify_name
from agent.watch.fs_events import (
    EventListener,
    EventsUnavailableError,
    Hints,
    build_unavailable,
    choose_mode,
    is_silent,
)
from agent.watch.listing import EXTENSIONS, from_text, list_folder, to_text
from agent.watch.write_completion import find_hold

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX file names and links")
ROOT = Path("/export")


def arrival(name, size, mtime_ns=1):
    return ListedFile("LOM", ROOT, name, size, mtime_ns)


GROWING = [arrival("a.tif", size, mtime_ns=size) for size in (1, 2, 3)]


# --- at rest ------------------------------------------------------------------------------------


def test_a_file_still_growing_is_not_at_rest():
    settling = StabilityTracker(quiet_s=5)

    seen = [settling.find_stable([file], now_s=9.0 * i) for i, file in enumerate(GROWING)]

    assert seen == [[], [], []]


def test_a_file_left_alone_for_the_quiet_time_is_at_rest():
    settling = StabilityTracker(quiet_s=5)

    settling.find_stable([GROWING[2]], now_s=0)

    assert settling.find_stable([GROWING[2]], now_s=4.9) == []
    assert settling.find_stable([GROWING[2]], now_s=5) == [GROWING[2]]


def test_an_empty_file_never_comes_to_rest():
    settling = StabilityTracker(quiet_s=0)

    assert settling.find_stable([arrival("a.tif", 0)], now_s=99) == []


def test_same_size_and_restored_time_is_seen_by_the_change_time():
    settling = StabilityTracker(quiet_s=5)
    before = ListedFile("LOM", ROOT, "a.tif", 7, 1, ctime_ns=1)
    after = ListedFile("LOM", ROOT, "a.tif", 7, 1, ctime_ns=2)

    settling.find_stable([before], now_s=0)

    assert settling.find_stable([after], now_s=5) == []


def test_a_file_time_of_1970_or_2038_changes_nothing():
    settling = StabilityTracker(quiet_s=5)
    files = [arrival("old.tif", 1, mtime_ns=-1), arrival("new.tif", 1, mtime_ns=2**31 * 10**9 * 2)]

    settling.find_stable(files, now_s=0)

    assert settling.find_stable(files, now_s=5) == files


files = st.builds(
    arrival, st.sampled_from(["a.tif", "b.tif"]), st.integers(0, 2), st.integers(0, 2)
)


@given(st.lists(st.tuples(st.lists(files, unique=True), st.floats(0, 10)), max_size=9))
def test_whatever_is_at_rest_was_in_every_listing_of_the_quiet_time(history):
    settling, now_s, past = StabilityTracker(quiet_s=5), 0.0, []

    for listing, step_s in history:
        now_s += step_s
        past.append((now_s, listing))
        for file in settling.find_stable(listing, now_s):
            within = [seen for at_s, seen in past if now_s - at_s <= 5]
            assert all(file in seen for seen in within)


# --- names --------------------------------------------------------------------------------------


PICTURES = [
    "image.tif",
    "IMAGE.TIF",
    "a b/ü/漢字 😀.jpeg",
    "scan.ome.tiff",
    "trailing dot .png",
    "trailing dot.png.",
    "trailing blank.tif ",
    "ring.part 2.bmp",
    "x.dm3",
    "5.czi",
]


def test_a_micrograph_is_known_by_its_extension():
    for name in PICTURES:
        assert classify_name(name) is Kind.PICTURE, name


JUNK = [
    ".hidden.tif",
    "._image.tif",
    "~$image.tif",
    "~RF12ab.TMP",
    "image.tif.tmp",
    "image.tmp.tif",
    "image.tif.part",
    "image.tif~",
    "Thumbs.db",
    "desktop.ini",
    "image.tif.crdownload",
    "image.tif.filepart",
    "image_downloading",
    "@eaDir/image.tif",
    ".git/a/image.tif",
    "$RECYCLE.BIN/image.tif",
]


def test_temporary_and_system_files_are_junk():
    for name in JUNK:
        assert classify_name(name) is Kind.JUNK, name


@pytest.mark.parametrize("name", ["notes.txt", "MANIFEST.json", "tif", "image", "a.tif.xml"])
def test_a_file_that_is_no_picture_is_named_as_such(name):
    assert classify_name(name) is Kind.OTHER


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1))
def test_any_text_name_comes_back_as_it_was(name):
    assert from_text(to_text(name)) == name
    to_text(name).encode()


@posix
@given(st.binary(min_size=1))
def test_any_bytes_of_a_name_come_back_as_they_were(raw):
    name = os.fsdecode(raw)

    assert os.fsencode(from_text(to_text(name))) == raw
    to_text(name).encode()


# --- listing ------------------------------------------------------------------------------------


def test_the_listing_goes_into_folders_and_says_relative_paths(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "deep.tif").write_bytes(b"x")
    (tmp_path / "top.png").write_bytes(b"xy")
    (tmp_path / "notes.txt").write_bytes(b"x")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "no.tif").write_bytes(b"x")

    listing = list_folder(tmp_path)

    assert sorted(listing.pictures) == ["a/b/deep.tif", "top.png"]
    assert listing.pictures["top.png"][0] == 2
    assert list(listing.others) == ["notes.txt"]


@posix
@pytest.mark.parametrize("at_s", [-(2**31), 10_400_000_000, 13_000_000_000])
def test_a_file_dated_beyond_what_a_database_takes_is_listed_with_a_time_of_its_own(tmp_path, at_s):
    (tmp_path / "odd.tif").write_bytes(b"x")
    (tmp_path / "now.tif").write_bytes(b"x")
    os.utime(tmp_path / "odd.tif", (at_s, at_s))

    facts = list_folder(tmp_path).pictures

    assert all(-(2**63) <= number < 2**63 for number in facts["odd.tif"])
    assert facts["odd.tif"][1] != facts["now.tif"][1]
    assert (
        find_hold(ListedFile("LOM", tmp_path, "odd.tif", *facts["odd.tif"]), is_local=True) is None
    )


@posix
def test_one_bad_entry_costs_that_entry_alone(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.tif").write_bytes(b"x")
    export = tmp_path / "export"
    export.mkdir()
    (export / "loop.tif").symlink_to("loop.tif")
    (export / "dangling.tif").symlink_to("nowhere.tif")
    (export / "way out").symlink_to(outside)
    (export / "out.tif").symlink_to(outside / "secret.tif")
    (export / "self").symlink_to(".")
    os.mkfifo(export / "pipe.tif")
    Path(os.fsdecode(os.fsencode(export) + b"/gr\xf6sse.tif")).write_bytes(b"latin-1")
    (export / "good.tif").write_bytes(b"x")

    listing = list_folder(export)

    assert len(listing.pictures) == 2
    assert "good.tif" in listing.pictures
    assert listing.not_files.keys() == {"loop.tif", "dangling.tif", "out.tif", "pipe.tif"}
    (odd,) = listing.pictures.keys() - {"good.tif"}
    assert arrival_in(export, odd).path.read_bytes() == b"latin-1"


def arrival_in(folder, relative):
    return ListedFile("LOM", folder, relative, 0, 0)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read anything")
def test_a_folder_without_rights_is_named_and_the_rest_is_listed(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    (tmp_path / "good.tif").write_bytes(b"x")

    listing = list_folder(tmp_path)

    assert list(listing.pictures) == ["good.tif"]
    assert "closed" in listing.troubles


def test_a_missing_folder_is_an_error_and_not_an_empty_listing(tmp_path):
    with pytest.raises(FileNotFoundError):
        list_folder(tmp_path / "missing")


# --- one source ---------------------------------------------------------------------------------


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def watch():
    made = []

    def make(folder, **given):
        clock = Clock()
        own = {key: given.pop(key) for key in list(given) if key in Source.model_fields}
        source = Source(**({"name": "LOM", "folder": folder, "mode": "poll"} | own))
        wanted = {"known": {}, "ring": lambda: None, "clock": clock}
        watched = SourceWatcher(source, **(wanted | given))
        made.append(watched)
        return watched, clock

    yield make
    for watched in made:
        watched.close()


def names(found):
    return [file.relative for file in found]


def run(watched, until_s, *, since_s=0.0):
    """Look whenever it asks to be looked at; give back all that came to rest, taken at once."""
    now_s, found = since_s, []
    while now_s <= until_s:
        look = watched.look(now_s)
        watched.taken((*look.at_rest, *look.ignored))
        found += look.at_rest
        now_s = watched.next_look_at_s(now_s)
    return found


def test_a_file_is_offered_after_the_quiet_time_and_until_it_is_taken(tmp_path, watch):
    (tmp_path / "a.tif").write_bytes(b"x")
    watched, _ = watch(tmp_path)

    first = watched.look(0)
    early = watched.look(4.9)
    offered = [watched.look(now_s) for now_s in (5.0, 6.0)]
    watched.taken(offered[-1].at_rest)
    after = watched.look(70)

    assert names(first.settling) == ["a.tif"]
    assert not early.at_rest
    assert [names(look.at_rest) for look in offered] == [["a.tif"], ["a.tif"]]
    assert not after.at_rest


def test_what_the_journal_knows_is_not_offered_again(tmp_path, watch):
    (tmp_path / "old.tif").write_bytes(b"x")
    (tmp_path / "new.tif").write_bytes(b"x")
    known = {"old.tif": list_folder(tmp_path).pictures["old.tif"]}
    watched, _ = watch(tmp_path, known=known)

    assert names(run(watched, 10)) == ["new.tif"]


def test_the_same_name_with_new_content_is_offered_again(tmp_path, watch):
    (tmp_path / "a.tif").write_bytes(b"x")
    watched, _ = watch(tmp_path)
    first = run(watched, 10)
    (tmp_path / "a.tif").write_bytes(b"yy")

    second = run(watched, 80, since_s=70)

    assert names(first) == names(second) == ["a.tif"]
    assert [file.size_bytes for file in (*first, *second)] == [1, 2]


def test_a_placeholder_is_named_when_it_stays_empty_and_taken_when_it_fills(tmp_path, watch):
    (tmp_path / "a.tif").touch()
    watched, _ = watch(tmp_path)

    early = run(watched, 20)
    named = run(watched, 40, since_s=20)
    (tmp_path / "a.tif").write_bytes(b"pixels")
    filled = run(watched, 60, since_s=50)

    assert not early
    assert [(file.relative, file.size_bytes) for file in (*named, *filled)] == [
        ("a.tif", 0),
        ("a.tif", 6),
    ]


def test_a_file_that_is_no_picture_is_offered_once_to_be_named(tmp_path, watch):
    (tmp_path / "notes.txt").write_bytes(b"x")
    watched, _ = watch(tmp_path)

    look = watched.look(0)
    watched.taken(look.ignored)
    (tmp_path / "notes.txt").write_bytes(b"more")

    assert names(look.ignored) == ["notes.txt"]
    assert not watched.look(100).ignored


def test_a_missing_folder_is_offline_by_name_and_comes_back(tmp_path, watch):
    folder = tmp_path / "export"
    watched, _ = watch(folder)

    watched.look(0)
    missing = watched.state
    folder.mkdir()
    (folder / "a.tif").write_bytes(b"x")
    found = run(watched, 60, since_s=1)

    assert not missing.online
    assert str(folder) in missing.problem
    assert watched.state.online
    assert names(found) == ["a.tif"]


def test_a_suddenly_empty_folder_is_offline_and_nothing_is_forgotten(tmp_path, watch):
    (tmp_path / "a.tif").write_bytes(b"x")
    watched, _ = watch(tmp_path)
    run(watched, 10)
    (tmp_path / "a.tif").rename(tmp_path.with_name("aside.tif"))

    watched.look(100)
    empty = watched.state
    tmp_path.with_name("aside.tif").rename(tmp_path / "a.tif")
    os.utime(tmp_path / "a.tif", ns=(1, 1))
    watched.look(200)

    assert not empty.online
    assert "is the share mounted?" in empty.problem
    assert watched.state.online


@posix
def test_what_has_a_name_of_a_picture_and_is_no_file_is_offered_once_and_named(tmp_path, watch):
    (tmp_path / "a.tif").symlink_to("nowhere.tif")
    (tmp_path / "b.tif").mkdir()
    (tmp_path / "c.tif").mkdir()
    (tmp_path / "c.tif" / "d.tif").write_bytes(b"x")
    watched, _ = watch(tmp_path)

    look = watched.look(0)
    watched.taken(look.ignored)

    assert names(look.ignored) == ["a.tif", "b.tif"]
    assert watched.state.problem == (
        "a.tif: it is a link, a pipe or an empty folder, not a file; links are not followed "
        "(and 1 more)"
    )
    assert not watched.look(100).ignored
    assert watched.state.online


def test_a_match_within_a_number_names_the_whole_number_too():
    source = Provenance(pattern=r"(?P<order>\d+)_(?P<specimen>\d+)")
    five = Provenance(pattern=r"(?P<order>\d{5})_(?P<specimen>\d+)")

    def orders(named, relative):
        return [place["order"] for place in named.named_places(relative)]

    assert orders(source, "10\u200b05228_01.tif") == ["05228", "1005228"]
    assert orders(source, "1\u202f005\u202f228_01.tif") == ["228", "1005228"]
    assert orders(source, "A\u206005228_01.tif") == ["05228", "A05228"]
    assert orders(five, "1005228_01.tif") == ["05228", "1005228"]
    assert orders(source, "2026-12-01 05228_01_500x.tif") == ["05228"]
    assert orders(source, "Probe05228_01\n.tif") == ["05228"]


@posix
def test_a_source_full_of_bad_entries_is_still_online_and_says_so(tmp_path, watch):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "a.tif").write_bytes(b"x")
    watched, _ = watch(tmp_path)

    assert names(run(watched, 10)) == ["a.tif"]
    assert watched.state.online


def test_a_file_that_is_no_longer_listed_is_gone_and_new_when_it_comes_back(tmp_path, watch):
    for name in ("a.tif", "b.tif"):
        (tmp_path / name).write_bytes(b"x")
    watched, _ = watch(tmp_path)
    run(watched, 10)
    (tmp_path / "a.tif").rename(tmp_path.with_name("aside.tif"))

    look = watched.look(100)
    watched.let_go(look.gone)
    tmp_path.with_name("aside.tif").rename(tmp_path / "a.tif")

    assert look.gone == ("a.tif",)
    assert names(run(watched, 210, since_s=200)) == ["a.tif"]


def test_a_file_that_vanishes_before_it_rests_is_said_to_be_gone(tmp_path, watch):
    (tmp_path / "a.tif").write_bytes(b"x")
    (tmp_path / "b.tif").write_bytes(b"x")
    watched, _ = watch(tmp_path, settling=["gone since the last start.tif"])
    watched.look(0)
    (tmp_path / "a.tif").unlink()

    look = watched.look(100)

    assert sorted(look.gone) == ["a.tif", "gone since the last start.tif"]


def test_a_file_announced_by_a_sidecar_waits_for_it(tmp_path, watch):
    (tmp_path / "a.tif").write_bytes(b"x")
    watched, _ = watch(tmp_path, completion="sidecar")

    before = run(watched, 30)
    (tmp_path / "a.xml").write_bytes(b"<done/>")
    after = run(watched, 60, since_s=30)

    assert not before
    assert names(after) == ["a.tif"]


def test_a_name_that_a_rename_gives_needs_no_long_quiet_time(tmp_path, watch):
    watched, _ = watch(tmp_path, completion="rename", quiet_s=30)
    watched.look(0)
    (tmp_path / "a.tif.tmp").write_bytes(b"x")
    (tmp_path / "a.tif.tmp").rename(tmp_path / "a.tif")

    found = run(watched, 4, since_s=2)

    assert names(found) == ["a.tif"]


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may open anything")
def test_a_file_that_will_not_open_is_asked_again_and_then_handed_on(tmp_path, watch):
    (tmp_path / "a.tif").write_bytes(b"x")
    (tmp_path / "a.tif").chmod(0)
    watched, _ = watch(tmp_path)

    assert not run(watched, 10)
    assert names(run(watched, 60, since_s=10)) == ["a.tif"]


def test_a_file_whose_size_was_taken_in_advance_is_not_taken_while_it_has_holes(tmp_path, watch):
    path = tmp_path / "a.tif"
    with path.open("wb") as file:
        file.truncate(1 << 20)
        file.write(b"x" * 4096)
    facts = list_folder(tmp_path).pictures["a.tif"]
    if find_hold(ListedFile("LOM", tmp_path, "a.tif", *facts), is_local=False) is None:
        pytest.skip("this file system keeps no holes")
    watched, _ = watch(tmp_path)

    early = run(watched, 300)
    path.write_bytes(b"x" * (1 << 20))
    filled = run(watched, 400, since_s=301)

    assert not early
    assert names(filled) == ["a.tif"]


@pytest.fixture
def slow_writer(tmp_path):
    """A writer that pauses in the middle of a file, longer than any quiet time."""
    with (tmp_path / "a.tif").open("wb") as file:
        file.write(b"x" * 4096)
        file.flush()
        facts = list_folder(tmp_path).pictures["a.tif"]
        arrival = ListedFile("LOM", tmp_path, "a.tif", *facts)
        if os.name == "nt" or find_hold(arrival, is_local=True) is None:
            pytest.skip("this system does not say who has a file open")
        yield file


def test_a_file_that_a_program_has_open_for_writing_waits_until_it_is_closed(
    tmp_path, watch, slow_writer
):
    watched, _ = watch(tmp_path)

    meanwhile = run(watched, 60)
    slow_writer.close()
    closed = run(watched, 200, since_s=61)

    assert not meanwhile
    assert names(closed) == ["a.tif"]


def test_a_file_that_is_closed_is_asked_at_once(tmp_path, watch, slow_writer):
    watched, _ = watch(tmp_path, mode="native", hear=False)
    watched._listener = Replayed(tmp_path, lambda: None)
    run(watched, 30)
    (due_s,) = {not_before_s for _, not_before_s in watched._postponed.values()}

    slow_writer.close()
    watched._listener.on_any_event(FileClosedEvent(str(tmp_path / "a.tif")))

    assert names(watched.look(due_s - 1).at_rest) == ["a.tif"]


@pytest.mark.usefixtures("slow_writer")
def test_a_file_that_a_program_never_closes_is_handed_on_all_the_same(tmp_path, watch):
    watched, _ = watch(tmp_path)

    assert names(run(watched, 120)) == ["a.tif"]


@pytest.mark.skipif(sys.platform != "linux", reason="leases are Linux's")
def test_asking_who_has_a_file_open_holds_no_writer_up_and_ends_nobody(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"x")
    facts = list_folder(tmp_path).pictures["a.tif"]
    file, ends = ListedFile("LOM", tmp_path, "a.tif", *facts), threading.Event()

    def ask():
        while not ends.is_set():
            find_hold(file, is_local=True)

    asking = threading.Thread(target=ask)
    asking.start()
    for _ in range(2000):
        with (tmp_path / "a.tif").open("r+b") as opened:
            opened.write(b"y")
    ends.set()
    asking.join()

    assert (tmp_path / "a.tif").read_bytes() == b"y"


def test_a_file_that_keeps_its_holes_is_handed_on_all_the_same(tmp_path, watch):
    with (tmp_path / "a.tif").open("wb") as file:
        file.truncate(1 << 20)
        file.write(b"x" * 4096)
    watched, _ = watch(tmp_path)

    assert names(run(watched, 600)) == ["a.tif"]


def test_a_file_that_no_row_can_hold_is_said_and_not_offered_until_it_changes(tmp_path, watch):
    (tmp_path / "a.tif").write_bytes(b"x")
    (tmp_path / "b.tif").write_bytes(b"x")
    watched, _ = watch(tmp_path, quiet_s=1)
    watched.look(0)
    first, second = watched.look(1).at_rest

    watched.taken([first])
    watched.refuse(second, "it cannot be written down")
    said = watched.state.problem
    after = watched.look(70)
    (tmp_path / second.relative).write_bytes(b"yy")
    changed = run(watched, 140, since_s=131)

    assert second.relative in said
    assert not after.at_rest
    assert not after.settling
    assert names(changed) == [second.relative]
    assert not watched.state.problem


def test_a_file_that_is_recorded_is_no_longer_pending(tmp_path, watch):
    (tmp_path / "a.tif").write_bytes(b"x")
    watched, _ = watch(tmp_path)
    watched.look(0)
    look = watched.look(60)

    watched.taken(look.at_rest)

    assert [file.relative for file in look.at_rest] == ["a.tif"]
    assert watched.state.pending == 0


def test_a_hundred_thousand_known_files_cost_one_set_difference(tmp_path, watch):
    for index in range(300):
        (tmp_path / f"{index}.tif").write_bytes(b"x")
    known = list_folder(tmp_path).pictures
    (tmp_path / "new.tif").write_bytes(b"x")
    watched, _ = watch(tmp_path, known=known)

    watched.look(0)

    assert watched.state.pending == 1


# --- the bell -----------------------------------------------------------------------------------


class Rung:
    def __init__(self):
        self.event = threading.Event()

    def __call__(self):
        self.event.set()


def hints_until(bell, rung, wanted, deadline_s=60.0):
    """Gather hints until `wanted` holds of them; the deadline is only there to fail."""
    gathered, ends_s = set(), time.monotonic() + deadline_s
    while time.monotonic() < ends_s:
        rung.event.wait(timeout=0.5)
        rung.event.clear()
        hints = bell.take_hints()
        gathered |= hints.paths | ({"*"} if hints.list_all else set())
        if wanted(gathered):
            return gathered
    raise AssertionError(f"only {gathered} was heard")


@pytest.fixture
def bell(tmp_path):
    rung = Rung()
    bell = EventListener(tmp_path, rung)
    bell.start()
    yield bell, rung
    bell.stop()


def test_a_new_file_rings(tmp_path, bell):
    heard, rung = bell

    (tmp_path / "a.tif").write_bytes(b"x")

    assert hints_until(heard, rung, lambda names: "a.tif" in names)


def test_a_file_renamed_into_place_rings_under_its_new_name(tmp_path, bell):
    heard, rung = bell

    (tmp_path / "a.tif.tmp").write_bytes(b"x")
    (tmp_path / "a.tif.tmp").rename(tmp_path / "a.tif")

    assert "a.tif.tmp" not in hints_until(heard, rung, lambda names: "a.tif" in names)


def test_a_folder_that_comes_with_files_in_it_asks_for_a_listing(tmp_path, bell):
    heard, rung = bell
    (tmp_path.parent / "moved").mkdir()
    (tmp_path.parent / "moved" / "a.tif").write_bytes(b"x")

    (tmp_path.parent / "moved").rename(tmp_path / "moved")

    assert hints_until(heard, rung, lambda names: "*" in names)


def test_reading_a_file_does_not_ring(tmp_path, bell):
    heard, rung = bell
    (tmp_path / "a.tif").write_bytes(b"x")
    hints_until(heard, rung, lambda names: "a.tif" in names)

    (tmp_path / "a.tif").read_bytes()
    (tmp_path / "b.tif").write_bytes(b"x")

    hints_until(heard, rung, lambda names: "b.tif" in names)


def test_a_missing_folder_makes_the_bell_deaf_in_one_sentence(tmp_path):
    with pytest.raises(EventsUnavailableError, match="polling instead"):
        EventListener(tmp_path / "missing", lambda: None).start()


def test_the_words_of_inotify_are_translated():
    assert "max_user_watches" in str(build_unavailable(OSError(28, "No space left on device")))
    assert "max_user_instances" in str(build_unavailable(OSError(24, "Too many open files")))


def test_an_event_that_cannot_be_understood_asks_for_a_listing_and_harms_nothing(tmp_path):
    rung = Rung()
    bell = EventListener(tmp_path, rung)

    bell.on_any_event(object_without_path := type("Odd", (), {"src_path": 7, "dest_path": ""})())

    assert object_without_path
    assert bell.take_hints().list_all
    assert rung.event.is_set()


def test_a_root_removed_and_made_again_is_heard_again(tmp_path, watch):
    folder = tmp_path / "export"
    folder.mkdir()
    rung = Rung()
    watched, _ = watch(folder, mode="native", ring=rung)
    watched.look(0)
    folder.rmdir()
    watched.look(10)
    offline = watched.state
    folder.mkdir()
    watched.look(50)
    rung.event.clear()

    (folder / "a.tif").write_bytes(b"x")

    assert not offline.online
    assert rung.event.wait(60)
    assert watched.state.online


# --- recorded events ----------------------------------------------------------------------------


class Recorder(EventListener):
    """Writes every event down."""

    def __init__(self, folder):
        super().__init__(folder, lambda: None)
        self.events = []

    def on_any_event(self, event):
        self.events.append(event)


class Replayed(EventListener):
    """Hears what it is fed, and nothing else."""

    def start(self):
        pass

    def is_healthy(self):
        return True


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A folder in which much happened, and what watchdog said of it while it did."""
    folder = tmp_path_factory.mktemp("recorded")
    recorder = Recorder(folder)
    recorder.start()
    for number in range(6):
        (folder / f"{number}.tif").write_bytes(b"x" * number)
    (folder / "0.tif").rename(folder / "renamed.tif")
    (folder / "1.tif").unlink()
    (folder / "2.tif").write_bytes(b"longer")
    (folder / "half.tif.tmp").write_bytes(b"whole")
    (folder / "half.tif.tmp").rename(folder / "whole.tif")
    (folder / "job").mkdir()
    (folder / "job" / "a.tif").write_bytes(b"x")
    (folder / "job").rename(folder / "job done")
    (folder / "job done" / "b.tif").write_bytes(b"x")
    (folder / "notes.txt").write_bytes(b"x")
    (folder / "last.tif").write_bytes(b"x")
    ends_s = time.monotonic() + 60
    while not any("last.tif" in str(event.src_path) for event in recorder.events):
        assert time.monotonic() < ends_s, "no events came"
        time.sleep(0.01)
    recorder.stop()
    return folder, list(recorder.events)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_becomes_of_the_events_the_listing_is_the_truth(recording, watch, seed):
    folder, events = recording
    rng = random.Random(seed)
    heard = rng.sample(events, rng.randrange(len(events) + 1))
    heard += rng.choices(events, k=rng.randrange(10))  # and some of them twice
    watched, _ = watch(folder, mode="native", hear=False, scan_every_s=60, quiet_s=1)
    watched.look(0)
    watched._listener = Replayed(folder, lambda: None)

    found, now_s = [], 0.0
    while now_s < 70:
        for _ in range(rng.randrange(4)):
            if heard:
                watched._listener.on_any_event(heard.pop())
        look = watched.look(now_s)
        watched.taken((*look.at_rest, *look.ignored))
        found += names(look.at_rest)
        now_s += rng.uniform(0.1, 3)

    assert sorted(found) == sorted(list_folder(folder).pictures)
    assert "job done/a.tif" in found


def test_an_event_that_names_a_file_wrongly_asks_for_a_listing(tmp_path, watch):
    watched, _ = watch(tmp_path, mode="native", hear=False, scan_every_s=3600, quiet_s=1)
    watched.look(0)
    watched._listener = Replayed(tmp_path, lambda: None)
    (tmp_path / "job done").mkdir()
    (tmp_path / "job done" / "a.tif").write_bytes(b"x")

    watched._listener.on_any_event(FileClosedEvent(str(tmp_path / "job" / "a.tif")))

    assert names(run(watched, 60, since_s=1)) == ["job done/a.tif"]


def test_files_that_come_without_events_turn_an_automatic_source_to_polling(tmp_path, watch):
    watched, _ = watch(tmp_path, mode="auto")
    watched._watch_mode = None
    run(watched, 61)
    if watched._listener is None:
        pytest.skip("this file system is polled anyway")
    watched._listener.take_hints = lambda: Hints(frozenset(), list_all=False)

    for index in range(3):
        (tmp_path / f"{index}.tif").write_bytes(b"x")
    run(watched, 200, since_s=130)

    assert watched.state.mode == "poll"
    assert "without an event" in watched.state.why


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "9p", "network share"])
def test_a_network_file_system_is_polled(kind):
    assert is_silent(kind)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "ntfs", "overlay", "fuseblk", "tmpfs"])
def test_a_local_file_system_is_listened_to(kind):
    assert not is_silent(kind)


def test_a_wish_is_respected(tmp_path):
    assert choose_mode("poll", tmp_path).mode == "poll"
    assert choose_mode("native", tmp_path).mode == "native"


def test_the_extensions_that_count_are_written_down():
    assert {"tif", "tiff", "png", "jpg", "jpeg", "bmp", "czi", "nd2", "lif"} <= EXTENSIONS
    assert not {"txt", "json", "xml", "pdf", "zip", "tmp"} & EXTENSIONS
