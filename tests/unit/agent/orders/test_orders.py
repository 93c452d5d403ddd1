"""Each field finds its one specimen, each specimen its one bundle; nothing is guessed."""

import csv
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from labs.lab import minutes
from labs.pipeline import Bench, Parrot
from servers.databases import tamper

from agent.archive import Archive
from agent.nightly.page.micrograph_cards import iter_causes
from agent.orders.facts.order_list import AHEAD, import_lists
from agent.orders.facts.process_data import collect_keys, read_notes
from agent.pipeline import Pipeline
from agent.settings import Settings
from agent.store import Decision, Entry, OtherBundleError, Store
from agent.triage import Policy, Scope
from agent.watch import ListedFile, Provenance

SOURCE = Provenance(
    fixed={"material": "100Cr6"},
    pattern=r"(?P<order>\d+)_(?P<specimen>\d+)_(?P<field>\d+)",
)
OLD, NEW = "20260101-00000000", "20260202-00000000"


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    bench.pipeline = bench.made(sources={"LOM": SOURCE})
    yield bench
    bench.store.close()


def specimen(bench, number="4711", name="01"):
    (found,) = [one for one in bench.store.orders.order(number).specimens if one.name == name]
    return found


def fields(bench, number="4711", name="01"):
    found = specimen(bench, number, name)
    return [
        field.view.process_data["field"] for prep in found.preparations for field in prep.fields
    ]


def test_a_field_finds_order_specimen_and_preparation(bench):
    bench.export("4711_01_2.png", seed=2)
    bench.export("4711_01_1.png", seed=1)

    bench.take()

    found = specimen(bench)
    assert fields(bench) == ["1", "2"]
    assert (found.bundle, found.material) == ("20261101-0badcafe", "100Cr6")
    assert [prep.name for prep in found.preparations] == ["1"]
    assert found.preparations[0].fields[0].area_mm2 == pytest.approx(64 * 48 * 0.04e-6)
    assert bench.store.orders.unassigned() == []


def test_a_name_that_the_pattern_does_not_know_is_unassigned(bench):
    bench.export("holiday.png")

    bench.take()

    (one,) = bench.store.orders.unassigned()
    assert one.reason == "the path pattern of its source does not match its name"


def test_the_note_beside_a_picture_says_where_it_belongs(bench):
    bench.export("holiday.png")
    (bench.source / "holiday.txt").write_bytes(
        "Auftrag: 4711\r\nSchliff = 01\r\nFeld: 7\r\nPixel: 0.1\r\n".encode("cp1252")
    )

    bench.take()

    assert fields(bench) == ["7"]


def test_a_path_and_a_note_that_disagree_leave_it_unassigned(bench):
    bench.export("4711_01_1.png")
    (bench.source / "4711_01_1.json").write_text('{"order": 4711, "specimen": "02"}')

    bench.take()

    (one,) = bench.store.orders.unassigned()
    assert one.reason == "it claims two specimens: its path says '01', the note beside it says '02'"
    assert bench.store.orders.order("4711").specimens == ()


def test_a_number_that_goes_on_behind_an_invisible_character_holds_both_orders(bench):
    bench.export("10\u200b05228_01_1.png")

    bench.take()

    (one,) = bench.store.orders.unassigned()
    assert one.reason == "it claims two orders: its path says '05228', its name says '1005228'"
    claims = {
        line.number: bench.store.orders.order(line.number).claims
        for line in bench.store.orders.all()
    }
    assert {number for number, own in claims.items() if own} == {"05228", "1005228"}


def test_the_same_content_under_two_specimens_belongs_to_neither(bench):
    bench.export("4711_01_1.png", seed=1)
    bench.take()
    bench.export("4711_02_1.png", seed=1)

    bench.take()

    (one,) = bench.store.orders.unassigned()
    assert one.reason == "it claims two specimens: 4711/01, and as 4711_02_1.png 4711/02"
    assert fields(bench) == []


def test_the_same_content_as_the_same_field_again_changes_nothing(bench):
    bench.export("4711_01_1.png", seed=1)
    bench.take()
    bench.export("copy/4711_01_1.png", seed=1)

    bench.take()

    assert fields(bench) == ["1"]
    assert bench.store.orders.unassigned() == []


def test_what_the_order_list_says_travels_with_every_field(bench):
    entry = Entry("4711", material="100Cr6", facts={"heat": "H7", "etchant": "Nital 3 %"})
    bench.store.orders.take_list([entry], "monday.csv", by="Ada", at=bench.clock())
    bench.export("4711_01_1.png")

    bench.take()

    (view,) = bench.views()
    assert view.process_data["heat"] == "H7"
    assert view.process_data["etchant"] == "Nital 3 %"
    assert bench.store.orders.by("heat", "H7") == ["4711"]


def test_what_a_later_list_changes_waits_and_the_trail_says_what(bench):
    orders = bench.store.orders
    orders.take_list([Entry("4711", material="100Cr6")], "monday.csv", by="Ada", at=bench.clock())
    again = orders.take_list([Entry("4711")], "same.csv", by="Ada", at=bench.clock())
    changed = orders.take_list(
        [Entry("4711", material="C56E2")], "tuesday.csv", by="Ada", at=bench.clock()
    )

    acts = list(bench.store.audit_log.iter_acts("order.listed"))
    order = orders.order("4711")
    change = {"from": "100Cr6", "to": "C56E2", "list": "tuesday.csv"}
    assert (again, changed, order.material) == ([], ["4711"], "100Cr6")
    assert acts[-1].facts["pending"] == [None, {"material": change}]


# --- expected subtype ---------------------------------------------------------------------------


class Knowing(Parrot):
    """Says B8, and knows which size it would be as a G."""

    def size_probabilities_for(self, fields, subtype):
        return [{"7": 0.2, "8": 0.8} if subtype == "G" else {} for _ in fields]


def test_another_subtype_than_ordered_is_the_first_reason_and_the_size_as_ordered_is_kept(bench):
    entry = Entry("4711", facts={"subtype": ["G"]})
    bench.store.orders.take_list([entry], "monday.csv", by="Ada", at=bench.clock())
    parrot = Knowing(code="B8")
    parrot._prediction = replace(parrot._prediction, probability=0.1)
    bench.pipeline = bench.made(sources={"LOM": SOURCE}, classifier=parrot)
    bench.export("4711_01_1.png")

    bench.take()

    (view,) = bench.store.review_queue.list_micrographs()
    assert view.result.reasons == ("unexpected_subtype", "uncertain")
    assert view.result.expected["subtypes"] == ["G"]
    assert view.result.expected["codes"] == ["G8"]
    assert view.result.expected["sizes"]["G"] == {"7": 0.2, "8": 0.8}
    first, _ = iter_causes(view)
    assert first.sentence == "Ordered G, looks like B: mix-up or heat treatment?"


def test_a_material_nobody_validated_goes_to_a_person_with_the_sentence(bench):
    scope = Scope(({"material": "C56E2"},))
    policy = Policy(control_share=0.0, scope=scope)
    bench.pipeline = bench.made(sources={"LOM": SOURCE}, policy=policy)
    bench.export("4711_01_1.png")

    bench.take()

    (view,) = bench.store.review_queue.list_micrographs()
    assert view.result.reasons == ("out_of_scope",)
    (cause,) = iter_causes(view)
    assert cause.sentence == "Material 100Cr6 has 0 validated specimens."


SCOPES = [
    ({"material": "100cr6", "etchant": "Nital"}, (), ""),
    ({"material": "100Cr6"}, ("G",), ""),
    ({"material": "100Cr6"}, ("M",), "subtype M has 0 validated specimens of material 100Cr6"),
    ({"material": "100Cr6", "etchant": "Picral"}, (), "etchant Picral has 0 validated"),
    ({"material": "C56E2"}, (), "material C56E2 has 0 validated specimens"),
    ({}, (), ""),
]


def test_a_scope_is_material_treatment_etchant_and_microscope():
    for told, expected, sentence in SCOPES:
        scope = Scope(({"material": "100Cr6", "subtype": "G", "etchant": "Nital"},))

        outside = scope.outside(told, expected)
        assert str(outside or "").startswith(sentence), told
        assert bool(outside) == bool(sentence), told


# --- one specimen, one bundle -------------------------------------------------------------------


def test_a_specimen_begun_before_a_restart_is_judged_to_its_end_by_its_bundle(bench):
    bench.pipeline = bench.made(sources={"LOM": SOURCE}, classifier=Parrot(OLD))
    bench.export("4711_01_1.png", seed=1)
    bench.take()

    bench.pipeline = bench.made(
        sources={"LOM": SOURCE},
        classifier=Parrot(NEW),
        earlier=lambda name: (Parrot(name), Policy(control_share=0.0)),
    )
    bench.export("4711_01_2.png", seed=2)
    bench.export("4711_02_1.png", seed=3)
    bench.take()

    assert {view.process_data["specimen"]: view.result.bundle for view in bench.views()} == {
        "01": OLD,
        "02": NEW,
    }


def test_a_bundle_that_is_gone_leaves_the_rest_of_its_specimen_to_people(bench):
    bench.pipeline = bench.made(sources={"LOM": SOURCE}, classifier=Parrot(OLD))
    bench.export("4711_01_1.png", seed=1)
    bench.take()

    bench.pipeline = bench.made(sources={"LOM": SOURCE}, classifier=Parrot(NEW))
    bench.export("4711_01_2.png", seed=2)
    bench.take()

    (view,) = bench.store.review_queue.list_micrographs()
    assert (view.result.bundle, view.result.reasons) == ("", ("untrained",))


@pytest.mark.parametrize("first", [OLD, NEW])
def test_two_agents_with_two_bundles_never_split_a_specimen(address, tmp_path, first):
    folder = tmp_path / "export"
    folder.mkdir()
    names = (OLD, NEW) if first == OLD else (NEW, OLD)
    agents = [_agent(address, tmp_path, f"PC {n}", name) for n, name in enumerate(names)]
    bench = agents[0]
    for field in range(1, 7):
        path = bench.export(f"4711_01_{field}.png", seed=field)
        facts = path.stat()
        bench.store.files.add(
            [
                ListedFile(
                    "LOM", folder, path.name, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns
                )
            ],
            at=bench.clock(),
        )

    claims = [agent.pipeline.process_batch(1) for agent in agents for _ in range(3)]

    assert sum(taken.stored for taken in claims) == 6
    assert {view.result.bundle for view in bench.store.results.iter_all()} == {first}
    for agent in agents:
        agent.store.close()


def test_two_agents_that_compare_the_same_places_at_once_are_both_done(address, tmp_path):
    (tmp_path / "export").mkdir()
    agents = [_agent(address, tmp_path, f"PC {n}", OLD) for n in range(2)]
    bench = agents[0]
    for field in range(1, 7):
        bench.export(f"4711_01_{field}.png", seed=field)
        bench.take()
    numbers = [view.number for view in bench.store.results.iter_all()]
    tamper(address, "UPDATE place SET compared_at = NULL")
    together, faults = threading.Barrier(2), []

    def settle(store, at):
        try:
            for number in numbers:
                together.wait()
                store.places.settle(number, [], at=at)
        except Exception as fault:  # noqa: BLE001 - shown below
            faults.append(fault)
            together.abort()

    assert len(numbers) == 6
    threads = [
        threading.Thread(target=settle, args=(agent.store, minutes(n)))
        for n, agent in enumerate(agents)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert faults == []
    assert bench.store.places.list_pending(10) == []
    for agent in agents:
        agent.store.close()


def _agent(address, folder, name, bundle):
    """One more agent on the same database and share."""
    bench = Bench.__new__(Bench)
    known = Bench.made
    from labs.pipeline import Clock, InProcessPool  # noqa: PLC0415 - its parts, put together anew

    bench._archiving = None
    bench.source, bench.clock, bench.pool = folder / "export", Clock(), InProcessPool()
    bench.store = Store.open(address, site="Plant 1", agent=name)
    bench.archive = Archive(folder / "data")
    bench.pipeline = known(
        bench,
        sources={"LOM": SOURCE},
        classifier=Parrot(bundle),
        earlier=lambda wanted: (Parrot(wanted), Policy(control_share=0.0)),
    )
    assert isinstance(bench.pipeline, Pipeline)
    return bench


def test_the_store_itself_refuses_a_second_bundle(bench):
    bench.export("4711_01_1.png", seed=1)
    bench.take()
    bench.export("4711_01_2.png", seed=2)
    stubborn = bench.made(sources={"LOM": SOURCE}, classifier=Parrot(NEW))
    stubborn._router.choose = lambda _: (Parrot(NEW), Policy(control_share=0.0))
    bench.pipeline, careful = stubborn, bench.pipeline

    given_back = bench.take()
    bench.pipeline = careful
    bench.take()

    assert (given_back.stored, given_back.given_back) == (0, 1)
    assert {view.result.bundle for view in bench.views()} == {"20261101-0badcafe"}
    assert issubclass(OtherBundleError, Exception)


# --- urgent orders ------------------------------------------------------------------------------


def test_an_urgent_order_goes_first_in_review(bench):
    bench.pipeline = bench.made(sources={"LOM": SOURCE}, classifier=None)
    bench.export("4711_01_1.png", seed=1)
    bench.export("4712_01_1.png", seed=2)
    bench.take()
    before = [view.process_data["order"] for view in bench.store.review_queue.list_micrographs()]

    bench.store.order_corrections.set_urgent("4712", urgent=True, by="Ada", at=bench.clock())
    bench.export("4713_01_1.png", seed=3)
    bench.take()

    assert before == ["4711", "4712"]
    assert [v.process_data["order"] for v in bench.store.review_queue.list_micrographs()] == [
        "4712",
        "4711",
        "4713",
    ]


def test_a_doubted_label_waits_on_whether_its_order_is_urgent_or_not(bench):
    bench.pipeline = bench.made(sources={"LOM": SOURCE}, policy=Policy(control_share=0))
    for seed, number in enumerate(("4711", "4712")):
        bench.export(f"{number}_01_1.png", seed=seed)
    bench.take()
    assert bench.store.review_queue.list_micrographs() == [], "all of them are automatic"
    for view in bench.views():
        label = Decision(kind="code", by="Ada", code=view.result.structure_code)
        label_id = bench.store.labels.decide(view.id, label, at=bench.clock())
        doubt = {"label_id": label_id, "sentence": "label", "by": "agent", "at": bench.clock()}
        assert bench.store.labels.mark_suspect(view.id, **doubt)

    def waiting():
        return [view.process_data["order"] for view in bench.store.review_queue.list_micrographs()]

    bench.store.order_corrections.set_urgent("4712", urgent=True, by="Ada", at=bench.clock())
    assert waiting() == ["4712", "4711"]
    bench.store.order_corrections.set_urgent("4712", urgent=False, by="Ada", at=bench.clock())
    assert sorted(waiting()) == ["4711", "4712"]


# --- the drop folder ----------------------------------------------------------------------------


def test_a_dropped_list_is_taken_once_it_rests_and_a_broken_one_is_laid_aside(bench, tmp_path):
    folder = tmp_path / "lists"
    folder.mkdir()
    good, bad = folder / "GOOD.CSV", folder / "bad.csv"
    for path, rows in ((good, [["4711", "yes"]]), (bad, [["4712", "perhaps"], ["4713", ""]])):
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["order", "urgent"], *rows])
    at = _later(good, 1.0)
    early = import_lists(bench.store, folder, subtypes=("G",), at=at)

    taken = import_lists(bench.store, folder, subtypes=("G",), at=_later(good, 9.0))

    assert early == []
    assert {one.name: one.changed for one in taken} == {"bad.csv": ("4713",), "GOOD.CSV": ("4711",)}
    assert [said for one in taken for said in one.sentences] == [
        "bad.csv, line 2: urgent: write yes or no, found 'perhaps'"
    ]
    assert len(list(folder.glob("taken/*-GOOD.CSV"))) == 1
    assert len(list(folder.glob("refused/*-bad.csv"))) == 1
    assert {order.number for order in bench.store.orders.all()} == {"4711", "4713"}


def test_a_list_that_cannot_be_moved_is_imported_once_and_named_until_it_is(bench, tmp_path):
    folder = tmp_path / "lists"
    folder.mkdir()
    (folder / "taken").write_text("no folder, as on a share that is read-only", encoding="utf-8")
    file = folder / "a.csv"
    file.write_text("order,urgent\n4711,yes\n", encoding="utf-8")

    rounds = [
        import_lists(bench.store, folder, subtypes=("G",), at=_later(file, 9.0 + n))
        for n in range(3)
    ]
    (folder / "taken").unlink()
    (moved,) = import_lists(bench.store, folder, subtypes=("G",), at=_later(file, 20.0))

    assert [[one.changed for one in taken] for taken in rounds] == [[("4711",)], [()], [()]]
    assert all("cannot be moved to taken (" in taken[0].sentences[0] for taken in rounds)
    assert moved.sentences == ()
    assert len(list(folder.glob("taken/*-a.csv"))) == 1
    acts = [act.act for act in bench.store.audit_log.iter_acts("order_list")]
    assert len(acts) == 2  # that it was imported, and that it stays


def test_a_list_of_the_future_is_named_and_one_that_cannot_be_read_too(bench, tmp_path):
    folder = tmp_path / "lists"
    (folder / "folder.csv").mkdir(parents=True)  # which opens for no one
    file = folder / "ahead.csv"
    file.write_text("order\n4711\n", encoding="utf-8")
    at = _later(file, 9.0)
    os.utime(file, (at.timestamp() + 86_400 * 400,) * 2)

    early = import_lists(bench.store, folder, subtypes=("G",), at=at)
    later = import_lists(
        bench.store, folder, subtypes=("G",), at=_later(folder / "folder.csv", 700)
    )

    assert [said for one in early for said in one.sentences] == [f"ahead.csv: {AHEAD}"]
    assert "folder.csv: it cannot be read (" in later[1].sentences[0]
    assert bench.store.orders.all() == []


def _later(path: Path, seconds: float):
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415

    return datetime.fromtimestamp(path.stat().st_mtime, UTC) + timedelta(seconds=seconds)


def test_a_note_of_another_program_says_nothing():
    assert read_notes(b"<xml><order>1</order></xml>") == []
    assert read_notes(b"\x00\xff\xfe") == []
    assert read_notes(b"[1, 2]") == []


def test_fixed_values_of_a_source_are_no_claim():
    source = Provenance(fixed={"order": "0"}, pattern=r"(?P<specimen>\d+)_")

    keys = collect_keys(source, "7_a.png", beside={"order": "4711"}, given={})

    assert keys.conflict == ""
    assert keys.process_data == {"order": "4711", "specimen": "7"}


def test_the_settings_name_no_drop_folder_until_a_lab_does():
    assert Settings().orders.lists == ""
