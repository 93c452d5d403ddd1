"""Every file at rest meets exactly one fate, and only the guilty one pays for a fault."""

import errno
import hashlib
import os
import sys
import threading
from collections import Counter
from datetime import date, timedelta

import pytest
import structlog
from labs import lab
from labs.pipeline import Bench, Parrot

from agent.archive import Archive
from agent.errors import FileCode, FileError
from agent.orders import Specifications
from agent.orders.judge.assessed import OrderPolicy
from agent.orders.judge.assessment import assess
from agent.pipeline import StalledError, run_in_thread
from agent.store import RingRules, Signature, Store, StoreFaultError
from agent.store.work.work_queue import WorkQueue
from agent.watch import Calibration, ListedFile, Provenance
from agent.watch.listing import list_folder
from agent.web import Inbox
from model import default_taxonomy
from model.runtime.engines import Engine

BEFORE_THE_NEXT = pytest.mark.parametrize("bench", [None], indirect=True, ids=["one by one"])
"""Each file is archived and stored before the next one is judged."""
MEANWHILE = pytest.mark.parametrize("bench", [run_in_thread], indirect=True, ids=["meanwhile"])


@pytest.fixture(params=[None, run_in_thread], ids=["one by one", "meanwhile"])
def bench(tmp_path, request):
    bench = Bench(tmp_path, request.param)
    yield bench
    bench.store.close()


def test_a_file_at_rest_becomes_rows_and_pixels(bench):
    bench.export("a.png")

    taken = bench.take()

    (view,) = bench.views()
    assert taken.stored == 1
    assert bench.fates() == {"a.png": "done"}
    assert view.result.structure_code == "G8"
    assert bench.archive.crop_path(view.sha256, 0).is_file()
    assert sorted(bench.archive.maps(view.sha256, 0, view.result.bundle)) == [
        "size",
        "strangeness",
        "subtype",
    ]


def test_without_a_bundle_everything_is_stored_and_waits_for_a_person(bench):
    bench.pipeline = bench.made(classifier=None)
    bench.export("a.png")

    bench.take()

    (view,) = bench.store.review_queue.list_micrographs()
    assert (view.result.handling, tuple(view.result.reasons)) == ("review", ("untrained",))
    assert view.result.structure_code is None
    assert bench.archive.original_path(view.sha256)


def test_a_file_of_no_use_is_set_aside_and_the_next_goes_on(bench):
    bench.export("bad.png")
    bench.export("good.png")
    bench.pool.faults["bad.png"] = FileError(FileCode.TRUNCATED, "it ends too early.")

    taken = bench.take()

    (fate,) = bench.store.files.iter_status(state="set_aside")
    assert (taken.set_aside, taken.stored) == (1, 1)
    assert (fate.code, fate.reason) == ("truncated", "it ends too early.")


def test_the_same_content_under_another_name_is_a_duplicate_with_one_result(bench):
    bench.export("a.png", seed=1)
    bench.export("b.png", seed=1)

    taken = bench.take()

    assert (taken.stored, taken.duplicates) == (1, 1)
    assert bench.fates() == {"a.png": "done", "b.png": "duplicate"}
    assert len(bench.views()) == 1


PLACED = {"order": "4711", "specimen": "01", "field": "1", "material": "100Cr6"}


def test_what_a_program_sends_is_judged_at_once(bench, tmp_path):
    inbox = Inbox(tmp_path / "inbox", bench.store, now=bench.clock)
    sent = inbox.take("a.png", bench.export("a.png").read_bytes(), PLACED)

    taken = bench.pipeline.process_batch(4)

    (view,) = bench.views()
    assert (taken.stored, taken.given_back, sent["state"]) == (1, 0, "queued")
    assert (view.id, view.process_data["order"]) == (sent["id"], "4711")


def test_what_a_program_sent_is_waited_for_until_it_is_read(bench, tmp_path):
    inbox = Inbox(tmp_path / "inbox", bench.store, now=bench.clock)
    inbox.take("a.png", bench.export("a.png", seed=1).read_bytes(), PLACED)
    bench.pipeline.process_batch(4)
    inbox.take("b.png", bench.export("b.png", seed=2).read_bytes(), {**PLACED, "field": "2"})
    laid = OrderPolicy(Specifications((lab.RING_A,)), default_taxonomy())

    waiting = assess(bench.store, "4711", laid).specimens[0].facts.waiting
    bench.pipeline.process_batch(4)

    assert waiting == 1
    assert assess(bench.store, "4711", laid).specimens[0].facts.waiting == 0


def test_what_a_program_sends_for_two_orders_holds_both(bench, tmp_path):
    inbox = Inbox(tmp_path / "inbox", bench.store, now=bench.clock)
    held = bench.export("a.png").read_bytes()
    for order in ("4711", "4712", "4712"):
        inbox.take("a.png", held, {**PLACED, "order": order})
        bench.pipeline.process_batch(4)

    claims = {n: [c.origin for c in bench.store.orders.order(n).claims] for n in ("4711", "4712")}
    assert claims == {"4711": ["path"], "4712": ["copy"]}
    assert len(list(bench.store.files.iter_status())) == 2


def test_a_rename_keeps_its_result(bench):
    path = bench.export("a.png")
    bench.take()

    path.rename(path.with_name("renamed.png"))
    bench.take()

    (view,) = bench.views()
    assert bench.fates() == {"renamed.png": "done"}
    assert view.result.structure_code == "G8"


def test_a_file_overwritten_while_it_is_read_is_not_taken_half_written(bench):
    path = bench.export("a.png", seed=1)
    bench.pool.meanwhile = lambda _: bench.export("a.png", seed=2)

    first = bench.take()
    bench.pool.meanwhile = lambda _: None
    bench.clock.at += timedelta(minutes=1)
    second = bench.take()

    (view,) = bench.views()
    assert (first.stored, first.given_back) == (0, 1)
    assert second.stored == 1
    assert view.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_deleted_before_it_is_read_is_said_to_be_gone(bench):
    bench.export("a.png")
    bench.export("b.png")
    bench.arrive()
    (bench.source / "a.png").unlink()

    bench.pipeline.process_batch(16)
    before = bench.fates()
    bench.store.files.mark_gone(
        "LOM", ["a.png"], at=bench.clock()
    )  # the next listing misses it too
    bench.clock.at += timedelta(minutes=1)
    bench.pipeline.process_batch(16)

    assert before == {"a.png": "queued", "b.png": "done"}
    assert bench.fates() == {"a.png": "ignored", "b.png": "done"}


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes of POSIX")
@pytest.mark.parametrize("what", ["link", "folder", "pipe", "folder that is a link"])
def test_a_file_replaced_by_what_is_none_is_said_to_be_gone(bench, what):
    path = bench.export("4711/a.png")
    bench.export("b.png")
    bench.arrive()
    elsewhere = bench.source.parent / "elsewhere"
    if what == "folder that is a link":
        path.parent.rename(elsewhere)
        path.parent.symlink_to(elsewhere)
    else:
        path.unlink()
        {
            "link": lambda: path.symlink_to(bench.source / "b.png"),
            "folder": path.mkdir,
            "pipe": lambda: os.mkfifo(path),
        }[what]()

    bench.pipeline.process_batch(16)
    bench.store.files.mark_gone("LOM", ["4711/a.png"], at=bench.clock())
    bench.clock.at += timedelta(minutes=1)
    bench.pipeline.process_batch(16)

    assert bench.fates() == {"a.png": "ignored", "b.png": "done"}


def test_a_share_that_goes_away_costs_time_and_no_attempt(bench):
    bench.export("a.png")
    bench.pool.faults["a.png"] = OSError(errno.EHOSTDOWN, "Host is down")

    for _ in range(7):
        bench.take()
        bench.clock.at += timedelta(hours=1)
    del bench.pool.faults["a.png"]
    bench.take()

    (fate,) = bench.store.files.iter_status()
    assert (fate.state, fate.attempts) == ("done", 1)


def test_a_file_that_is_overwritten_while_it_is_read_is_not_called_unusable(bench):
    path = bench.export("a.png")
    bench.pool.faults["a.png"] = FileError(FileCode.TRUNCATED, "it ends too early.")
    bench.pool.meanwhile = lambda _: path.write_bytes(b"another picture, half")

    taken = bench.take()

    (fate,) = bench.store.files.iter_status()
    assert (taken.set_aside, taken.given_back) == (0, 1)
    assert (fate.state, fate.reason) == ("queued", "still being written")


class BrieflyShort(Archive):
    """An archive whose share gives other bytes once."""

    is_short = True

    def keep_original(self, path, sha256):
        was_short, self.is_short = self.is_short, False
        return not was_short and super().keep_original(path, sha256)


def test_an_original_that_a_share_gives_short_for_now_is_waited_for(bench):
    path = bench.export("a.png")
    archive = BrieflyShort(bench.archive.folder)
    bench.pipeline = bench.made(classifier=None, archive=archive)

    first = bench.take()
    bench.clock.at += timedelta(minutes=1)
    second = bench.take()

    (view,) = bench.views()
    assert (first.stored, first.given_back, second.stored) == (0, 1, 1)
    assert archive.original_path(view.sha256).read_bytes() == path.read_bytes()


def test_a_note_that_a_share_does_not_give_for_now_is_waited_for(bench, monkeypatch):
    bench.export("4711_1_1.png")
    note = bench.source / "4711_1_1.txt"
    note.write_text("Auftrag: 4799\n", encoding="utf-8")
    source = Provenance(pattern=r"(?P<order>\d+)_(?P<specimen>\d+)_(?P<field>\d+)")
    bench.pipeline = bench.made(sources={"LOM": source})
    open_file = os.open

    def refuse(path, *given, **named):
        if str(path).endswith(".txt"):
            raise OSError(errno.ESTALE, "Stale file handle")
        return open_file(path, *given, **named)

    with monkeypatch.context() as context:
        context.setattr(os, "open", refuse)
        first = bench.take()
    bench.clock.at += timedelta(minutes=1)
    second = bench.take()

    (unassigned,) = bench.store.orders.unassigned()
    assert (first.stored, first.given_back, second.stored) == (0, 1, 1)
    assert "4799" in unassigned.reason


def test_a_note_that_was_read_while_the_file_waited_counts_though_the_share_hides_it(bench):
    bench.export("4711_1_1.png")
    note = bench.source / "4711_1_1.txt"
    note.write_text("Auftrag: 4799\n", encoding="utf-8")
    source = Provenance(pattern=r"(?P<order>\d+)_(?P<specimen>\d+)_(?P<field>\d+)")
    bench.pipeline = bench.made(sources={"LOM": source})
    bench.pool.faults["4711_1_1.png"] = OSError(errno.EIO, "Input/output error")
    first = bench.take()
    note.unlink()  # as a share does that lists an empty folder for a moment
    bench.pool.faults.clear()
    bench.clock.at += timedelta(minutes=1)
    second = bench.take()

    (unassigned,) = bench.store.orders.unassigned()
    assert (first.stored, first.given_back, second.stored) == (0, 1, 1)
    assert "4799" in unassigned.reason


def test_a_database_that_is_away_while_it_is_judged_costs_the_file_no_attempt(bench):
    def asked(_told, _ordered):
        raise StoreFaultError("database: server closed the connection")

    bench.export("a.png")
    bench.pipeline = bench.made(ordered=asked)
    with pytest.raises(StalledError, match="server closed the connection"):
        bench.take()
    bench.pipeline = bench.made()

    taken = bench.take()

    (fate,) = bench.store.files.iter_status()
    assert (taken.stored, fate.state, fate.attempts) == (1, "done", 1)


def test_a_crash_is_tried_again_later_and_set_aside_after_five_attempts(bench):
    bench.export("a.png")
    bench.pool.faults["a.png"] = ZeroDivisionError("a bug of ours")

    states = []
    for _ in range(5):
        bench.take()
        states.append(bench.fates()["a.png"])
        bench.clock.at += timedelta(hours=7)

    (fate,) = bench.store.files.iter_status()
    assert states == ["failed", "failed", "failed", "failed", "set_aside"]
    assert (fate.code, fate.attempts) == ("crashed", 5)


def test_one_field_that_breaks_the_network_costs_itself_alone(bench):
    bench.pipeline = bench.made(classifier=Parrot(breaks_on=70))
    for index in range(4):
        bench.export(f"{index}.png", seed=index)
    bench.export("poison.png", width=70)

    taken = bench.take()

    assert (taken.stored, taken.failed) == (4, 1)
    assert bench.fates()["poison.png"] == "failed"


@pytest.mark.parametrize(("device", "batches"), [("cpu", [1, 1, 1]), ("cuda:0", [2, 1])])
def test_a_cpu_judges_while_the_next_file_is_read_and_a_gpu_waits_for_its_batch(
    bench, device, batches
):
    parrot = Parrot()
    parrot.engine = Engine("pytorch", device, "fp32")
    bench.pipeline = bench.made(classifier=parrot, batch=2)
    bench.pool.is_ahead = False
    for index in range(3):
        bench.export(f"{index}.png", seed=index)

    bench.take()

    assert parrot.batches == batches


def test_fields_are_judged_in_batches_where_none_is_archived_meanwhile(bench):
    parrot = Parrot()
    bench.pipeline = bench.made(classifier=parrot, batch=4, archiving=None)
    for index in range(10):
        bench.export(f"{index}.png", seed=index)

    bench.take()

    assert parrot.batches == [4, 4, 2]


def test_a_full_disk_stalls_the_pipeline_and_nothing_is_lost(bench, monkeypatch):
    for index in range(3):
        bench.export(f"{index}.png", seed=index)
    full = OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("agent.archive.write_whole", lambda *_: (_ for _ in ()).throw(full))
    with pytest.raises(StalledError, match="cannot be written"):
        bench.take()
    monkeypatch.undo()
    during = set(bench.fates().values())
    bench.take()

    assert during == {"queued"}
    assert {fate.attempts for fate in bench.store.files.iter_status()} == {1}
    assert set(bench.fates().values()) == {"done"}


def test_a_database_that_goes_away_stalls_the_pipeline(bench):
    class GoneQueue(WorkQueue):
        def finish(self, *_, **__):
            raise StoreFaultError("database: gone")

    class Gone(Store):
        @property
        def work_queue(self):
            return GoneQueue(self._engine, self._whose)

    bench.export("a.png")
    bench.store.__class__ = Gone

    with pytest.raises(StalledError, match="gone"):
        bench.take()
    bench.store.__class__ = Store
    bench.take()

    assert bench.fates() == {"a.png": "done"}


def test_what_cannot_be_given_back_now_is_given_back_before_the_next_round(bench):
    class FullQueue(WorkQueue):
        def finish(self, *_, **__):
            raise StoreFaultError("database: full")

        release = finish

    class Full(Store):
        @property
        def work_queue(self):
            return FullQueue(self._engine, self._whose)

    bench.export("a.png")
    bench.store.__class__ = Full
    with pytest.raises(StalledError, match="full"):
        bench.take()
    during = bench.fates()

    bench.store.__class__ = Store
    bench.take()

    assert during == {"a.png": "processing"}
    assert bench.fates() == {"a.png": "done"}


def test_what_a_slow_round_has_in_hand_is_not_taken_over_by_another_agent(bench):
    bench.pipeline = bench.made(lease_s=900)
    for index in range(5):
        bench.export(f"{index}.png", seed=index)
    stolen = []

    def meanwhile(_):
        bench.clock.at += timedelta(seconds=400)
        stolen.extend(bench.store.work_queue.claim(9, at=bench.clock.at, lease_s=60))

    bench.pool.meanwhile = meanwhile
    taken = bench.take()

    assert not stolen
    assert taken.stored == 5


@BEFORE_THE_NEXT
def test_a_stop_gives_back_what_was_not_begun(bench):
    for index in range(6):
        bench.export(f"{index}.png", seed=index)
    bench.pipeline = bench.made(batch=1)
    seen = []

    taken = bench.take(should_stop=lambda: len(seen) >= 2, on_file=seen.append)

    assert (taken.stored, taken.given_back) == (2, 4)
    assert sorted(bench.fates().values()) == ["done"] * 2 + ["queued"] * 4


def _export_many(bench, count):
    for index in range(count):
        bench.export(f"{index}.png", seed=index)
    bench.arrive()


def _states(bench):
    return dict(sorted(Counter(bench.fates().values()).items()))


@BEFORE_THE_NEXT
def test_a_file_is_read_while_the_last_of_its_round_is_judged(bench):
    _export_many(bench, 6)

    rounds = []
    while (taken := bench.pipeline.process_batch(3, reads_ahead=True)).files:
        rounds.append((taken.stored, _states(bench)))

    assert rounds == [
        (2, {"done": 2, "processing": 1, "queued": 3}),
        (2, {"done": 4, "processing": 1, "queued": 1}),
        (2, {"done": 6}),
    ]
    assert [name for name, _ in bench.pool.jobs] == [f"{index}.png" for index in range(6)]
    assert len(bench.views()) == 6


@BEFORE_THE_NEXT
def test_no_more_files_are_in_hand_than_were_asked_for(bench):
    _export_many(bench, 6)
    most = []
    bench.pool.meanwhile = lambda _: most.append(_states(bench).get("processing", 0))

    while bench.pipeline.process_batch(2, reads_ahead=True).files:
        pass

    assert max(most) == 2
    assert _states(bench) == {"done": 6}


def test_a_single_file_does_not_wait_for_the_next_round(bench):
    _export_many(bench, 1)

    assert bench.pipeline.process_batch(1, reads_ahead=True).stored == 1


@BEFORE_THE_NEXT
def test_what_is_in_hand_between_rounds_can_be_given_back(bench):
    _export_many(bench, 4)
    bench.pipeline.process_batch(3, reads_ahead=True)

    assert bench.pipeline.release_held() == 1
    assert bench.pipeline.release_held() == 0
    assert _states(bench) == {"done": 2, "queued": 2}
    assert {fate.attempts for fate in bench.store.files.iter_status("queued")} == {0}
    assert bench.pipeline.process_batch(4).stored == 2


@BEFORE_THE_NEXT
def test_a_stop_gives_back_what_was_read_ahead(bench):
    _export_many(bench, 6)
    bench.pipeline.process_batch(3, reads_ahead=True)

    taken = bench.pipeline.process_batch(3, reads_ahead=True, should_stop=lambda: True)

    assert (taken.stored, taken.given_back) == (0, 3)
    assert _states(bench) == {"done": 2, "queued": 4}


@BEFORE_THE_NEXT
def test_a_database_that_goes_away_between_rounds_costs_what_was_read_ahead_no_attempt(
    bench, monkeypatch
):
    _export_many(bench, 4)
    bench.pipeline.process_batch(3, reads_ahead=True)

    def away(*_args, **_kwargs):
        raise StoreFaultError("the database does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(WorkQueue, "claim", away)
        with pytest.raises(StalledError):
            bench.pipeline.process_batch(3, reads_ahead=True)

    assert {fate.attempts for fate in bench.store.files.iter_status("queued")} == {0}
    assert _states(bench) == {"done": 2, "queued": 2}
    assert bench.pipeline.process_batch(4).stored == 2
    assert len(bench.views()) == 4


@BEFORE_THE_NEXT
def test_what_is_read_ahead_is_not_taken_over_by_another_agent(bench):
    bench.pipeline = bench.made(lease_s=900)
    _export_many(bench, 5)
    stolen = []

    def meanwhile(_):
        bench.clock.at += timedelta(seconds=400)
        stolen.extend(bench.store.work_queue.claim(9, at=bench.clock.at, lease_s=60))

    bench.pool.meanwhile = meanwhile
    rounds = [bench.pipeline.process_batch(5, reads_ahead=True).stored for _ in range(2)]

    assert not stolen
    assert rounds == [4, 1]


@BEFORE_THE_NEXT
def test_a_file_that_agents_died_with_twice_waits_until_no_other_is_in_hand(bench):
    _export_many(bench, 4)
    bench.pipeline.process_batch(3, reads_ahead=True)  # 2.png is in hand
    for _ in range(2):
        (claim,) = bench.store.work_queue.claim(1, at=bench.clock.at, lease_s=60)
        assert claim.relative == "3.png"
        bench.clock.at += timedelta(seconds=61)
    beside = {}
    bench.pool.meanwhile = lambda path: beside.update({path.name: _states(bench)["processing"]})

    while bench.pipeline.process_batch(3, reads_ahead=True).files:
        pass

    assert beside == {"2.png": 1, "3.png": 1}
    assert _states(bench) == {"done": 4}


@BEFORE_THE_NEXT
def test_an_urgent_file_is_next_but_for_the_one_that_is_read_already(bench):
    _export_many(bench, 5)
    done = []
    bench.pipeline.process_batch(3, reads_ahead=True, on_file=done.append)
    bench.export("urgent.png", seed=99)
    found = list_folder(bench.source).pictures
    urgent = ListedFile("LOM", bench.source, "urgent.png", *found["urgent.png"])
    bench.store.files.add([urgent], at=bench.clock(), lane="urgent")

    bench.pipeline.process_batch(3, reads_ahead=True, on_file=done.append)

    assert done == ["0.png", "1.png", "2.png", "urgent.png"]


def test_a_file_overwritten_between_rounds_is_not_taken_half_written(bench):
    _export_many(bench, 4)
    bench.pipeline.process_batch(3, reads_ahead=True)
    bench.export("2.png", seed=77, width=80)

    taken = bench.pipeline.process_batch(3, reads_ahead=True)

    assert taken.given_back == 1
    assert len(bench.views()) == 3


def test_a_later_claim_of_a_path_is_not_answered_by_what_was_read_before(bench):
    _export_many(bench, 3)
    bench.pipeline.process_batch(3, reads_ahead=True)
    bench.export("2.png", seed=77, width=80)
    bench.arrive()  # the newer bytes are a version of their own, and are claimed too

    while bench.pipeline.process_batch(3, reads_ahead=True).files:
        bench.clock.at += timedelta(seconds=60)

    lies_there = {hashlib.sha256(path.read_bytes()).hexdigest() for path in bench.source.iterdir()}
    assert {view.sha256 for view in bench.views()} == lies_there


def test_process_data_come_from_path_source_and_file_in_this_order(bench):
    source = Provenance(
        fixed={"plant": "Schweinfurt", "order": "none"}, pattern=r"(?P<order>\d+)_(?P<specimen>\d+)"
    )
    bench.pipeline = bench.made(sources={"LOM": source})
    bench.pool.metadata = {"microscope": "Axio", "operator": "M.", "detector": "CCD"}
    bench.export("4711/4711_03.png")

    bench.take()

    (view,) = bench.views()
    assert view.process_data["order"] == "4711"
    assert view.process_data["specimen"] == "03"
    assert view.process_data["plant"] == "Schweinfurt"
    assert view.process_data["microscope"] == "Axio"
    assert view.process_extra == {"detector": "CCD"}


def test_a_furnace_is_known_from_the_path_a_note_or_the_source(bench):
    pattern = r"(?P<furnace>F\d)/(?P<batch>B\d)"
    source = Provenance(fixed={"furnace": "F3"}, pattern=pattern)
    bench.pipeline = bench.made(sources={"LOM": source})
    bench.export("F1/B1/a.png", seed=1)
    noted = bench.export("F1/B2/b.png", seed=2)
    noted.with_suffix(".txt").write_text("Ofen: F2\n", encoding="utf-8")
    bench.export("c.png", seed=3)

    bench.take()

    furnaces = {view.path[-5:]: view.process_extra["furnace"] for view in bench.views()}
    assert furnaces == {"a.png": "F1", "b.png": "F2", "c.png": "F3"}


def test_the_table_of_objectives_is_asked_with_what_the_file_itself_says(bench):
    table = (Calibration("50x", 0.1), Calibration("20x", 0.25, width=64))
    bench.pipeline = bench.made(sources={"LOM": Provenance(objectives=table)})
    bench.pool.metadata = {"objective": "20 X"}
    bench.export("a.png")

    bench.take()

    assert bench.pool.jobs == [("a.png", None), ("a.png", 0.25)]
    assert bench.views()[0].um_per_px == 0.25


def test_an_entry_for_another_image_size_says_nothing():
    table = Provenance(objectives=(Calibration("50x", 0.1, width=2048),))

    assert table.um_per_px({"objective": "50x"}, on=date(2026, 1, 1), size=(1024, 768)) is None
    assert table.um_per_px({"objective": "50×"}, on=date(2026, 1, 1), size=(2048, 1536)) == 0.1


@pytest.mark.parametrize("said", ["50", "50.0", "50x", "50 X"])
def test_a_magnification_is_known_with_and_without_its_x(said):
    table = Provenance(objectives=(Calibration("50x", 0.1), Calibration("5x", 1.0)))

    assert table.um_per_px({"magnification": said}, on=date(2026, 1, 1)) == 0.1


def test_the_newest_valid_calibration_holds():
    table = Provenance(
        objectives=(
            Calibration("50x", 0.10, valid_from=date(2025, 1, 1)),
            Calibration("50x", 0.11, valid_from=date(2026, 1, 1)),
            Calibration("50x", 0.12, valid_from=date(2027, 1, 1)),
        )
    )

    assert table.um_per_px({"objective": "50x"}, on=date(2026, 6, 1)) == 0.11


def test_a_promotion_holds_from_the_next_specimen_on(bench):
    source = Provenance(pattern=r"(?P<order>\d+)_(?P<specimen>\d+)_")
    bench.pipeline = bench.made(sources={"LOM": source}, classifier=Parrot("20260101-00000000"))
    bench.export("1_1_a.png", seed=1)
    bench.take()

    bench.pipeline.use(Parrot("20260202-00000000"))
    bench.export("1_1_b.png", seed=2)
    bench.export("1_2_a.png", seed=3)
    bench.take()

    bundles = {os.path.basename(view.path): view.result.bundle for view in bench.views()}  # noqa: PTH119
    assert bundles == {
        "1_1_a.png": "20260101-00000000",
        "1_1_b.png": "20260101-00000000",
        "1_2_a.png": "20260202-00000000",
    }


def test_the_rest_of_a_specimen_whose_rollout_was_stopped_goes_to_review(bench):
    """Two bundles never make up one specimen, and the stopped one judges no more."""
    old, new, at = "20260101-00000000", "20260202-00000000", bench.clock()
    bench.store.agents.record_start(at=at)
    bench.store.promotions.promote(old, by="Lea", reason="first", at=at, metrics={})
    bench.store.promotions.sign(
        new, Signature("Lea", "better", at), metrics={}, promoters=1, instead_of=old,
        rings=RingRules(("PC",)),
    )  # fmt: skip
    answers = {"g8": {"image": "g8.tif", "code": "G8", "probability": 0.9}}
    bench.store.rollouts.record_answers(bench.store.rollouts.find_wanted().ticket, answers, at=at)
    source = Provenance(pattern=r"(?P<order>\d+)_(?P<specimen>\d+)_")
    bench.pipeline = bench.made(sources={"LOM": source}, classifier=Parrot(new))
    bench.export("1_1_a.png", seed=1)
    bench.take()

    bench.store.rollouts.stop(by="Rita", at=at)
    bench.pipeline.use(Parrot(old))
    bench.export("1_1_b.png", seed=2)
    bench.export("1_2_a.png", seed=3)
    bench.take()

    views = {os.path.basename(view.path): view for view in bench.views()}  # noqa: PTH119
    assert {name: view.result.bundle for name, view in views.items()} == {
        "1_1_a.png": new,
        "1_1_b.png": "",
        "1_2_a.png": old,
    }
    assert [view.id for view in bench.store.review_queue.list_micrographs()] == [
        views["1_1_b.png"].id
    ]


def test_every_fate_is_an_event(bench):
    bench.export("bad.png")
    bench.export("good.png")
    bench.pool.faults["bad.png"] = FileError(FileCode.EMPTY, "it is empty.")

    with structlog.testing.capture_logs() as events:
        bench.take()

    assert sorted(event["event"] for event in events) == ["file.set_aside", "file.stored"]


@pytest.mark.skipif(os.name == "nt", reason="a POSIX name that is no text")
def test_a_name_that_is_no_text_is_taken_like_any_other(bench):
    path = bench.export("a.png")
    path.rename(os.fsdecode(os.fsencode(path.parent) + b"/gr\xf6sse.png"))

    taken = bench.take()

    assert taken.stored == 1


# --- archiving while the next file is judged ----------------------------------------------------


class Rung(Parrot):
    """A classifier that tells when it judges its n-th batch."""

    def __init__(self, n):
        super().__init__()
        self._n, self.is_reached = n, threading.Event()

    def classify(self, fields):
        answers = super().classify(fields)
        if len(self.batches) == self._n:
            self.is_reached.set()
        return answers


def _run_after(event):
    """Return what archives in a thread, but not before an event; that it never comes is a fault."""

    def run(function):
        def wait_and_run():
            assert event.wait(60)
            function()

        run_in_thread(wait_and_run)

    return run


def test_a_file_is_archived_while_the_next_one_is_judged(bench):
    second = Rung(2)
    bench.pipeline = bench.made(classifier=second, archiving=_run_after(second.is_reached))
    _export_many(bench, 2)

    taken = bench.pipeline.process_batch(2)

    assert taken.stored == 2
    assert second.batches == [1, 1]


@MEANWHILE
def test_a_result_is_stored_by_the_callers_thread_after_its_pixels(bench, monkeypatch):
    _export_many(bench, 4)
    finish, seen = WorkQueue.finish, []

    def observe(queue, claim, results, *, at):
        pixels = [bench.archive.crop_path(one.crop_facts["sha256"], 0) for one in results]
        is_ours = threading.current_thread() is threading.main_thread()
        seen.append((claim.relative, is_ours, all(path.is_file() for path in pixels)))
        return finish(queue, claim, results, at=at)

    monkeypatch.setattr(WorkQueue, "finish", observe)
    bench.pipeline.process_batch(4)

    assert seen == [(f"{index}.png", True, True) for index in range(4)]


@MEANWHILE
def test_a_file_is_stored_before_the_next_one_is_waited_for(bench):
    bench.pool.is_ahead = False
    _export_many(bench, 3)
    done = []
    bench.pool.meanwhile = lambda _: done.append(_states(bench).get("done", 0))

    bench.pipeline.process_batch(3)

    assert done == [0, 1, 2]


@MEANWHILE
def test_a_file_that_is_being_archived_stays_in_hand_until_the_next_round(bench):
    _export_many(bench, 4)

    rounds = []
    while True:
        taken = bench.pipeline.process_batch(2, reads_ahead=True)
        rounds.append((taken.stored, _states(bench)))
        if not bench.pipeline.has_held:
            break

    assert rounds == [
        (0, {"processing": 2, "queued": 2}),
        (1, {"done": 1, "processing": 2, "queued": 1}),
        (1, {"done": 2, "processing": 2}),
        (2, {"done": 4}),
    ]
    assert {fate.attempts for fate in bench.store.files.iter_status()} == {1}


@MEANWHILE
def test_what_is_being_archived_is_given_back_uncounted_once_nothing_writes_its_pixels(bench):
    second = Rung(2)
    bench.pipeline = bench.made(classifier=second, archiving=_run_after(second.is_reached))
    _export_many(bench, 3)
    bench.pipeline.process_batch(2, reads_ahead=True)
    waits = threading.Thread(target=bench.pipeline.release_held)
    waits.start()
    waits.join(0.05)
    during = (waits.is_alive(), _states(bench))
    second.is_reached.set()
    waits.join(60)

    assert during == (True, {"processing": 2, "queued": 1})
    assert _states(bench) == {"queued": 3}
    assert {fate.attempts for fate in bench.store.files.iter_status()} == {0}
    assert bench.pipeline.process_batch(4).stored == 3
    assert len(bench.views()) == 3


@MEANWHILE
def test_a_stop_stores_the_file_that_is_being_archived(bench):
    _export_many(bench, 5)
    seen = []

    taken = bench.pipeline.process_batch(
        5, should_stop=lambda: len(seen) >= 2, on_file=seen.append, reads_ahead=True
    )

    assert (taken.stored, taken.given_back) == (3, 2)
    assert _states(bench) == {"done": 3, "queued": 2}


@MEANWHILE
def test_a_database_that_goes_away_costs_neither_the_archived_nor_the_judged_file_an_attempt(
    bench, monkeypatch
):
    _export_many(bench, 3)

    def away(*_args, **_kwargs):
        raise StoreFaultError("the database does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(WorkQueue, "finish", away)
        with pytest.raises(StalledError):
            bench.pipeline.process_batch(3)

    assert {fate.attempts for fate in bench.store.files.iter_status("queued")} == {0}
    assert bench.pipeline.process_batch(4).stored == 3
    assert len(bench.views()) == 3


@MEANWHILE
def test_a_share_that_does_not_give_an_original_costs_that_file_alone(bench, monkeypatch):
    bench.pipeline = bench.made(keep_originals=True)
    _export_many(bench, 3)
    keep = Archive.keep_original

    def refuse(archive, path, sha256):
        if path.name == "1.png":
            raise OSError(errno.EIO, "Input/output error")
        return keep(archive, path, sha256)

    monkeypatch.setattr(Archive, "keep_original", refuse)
    taken = bench.pipeline.process_batch(3)

    assert (taken.stored, taken.given_back) == (2, 1)
    assert bench.fates() == {"0.png": "done", "1.png": "queued", "2.png": "done"}


@MEANWHILE
def test_a_field_that_breaks_the_network_is_recorded_after_the_one_before_is_stored(bench):
    bench.pipeline = bench.made(classifier=Parrot(breaks_on=70))
    bench.export("0.png", seed=1)
    bench.export("1.png", width=70)
    bench.arrive()
    fates = []

    taken = bench.pipeline.process_batch(2, on_file=fates.append)

    assert (taken.stored, taken.failed, fates) == (1, 1, ["0.png", "1.png"])
