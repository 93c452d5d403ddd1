"""No trick with names, notes, files, labels or dates makes a coarse order conform."""

import errno
import functools
import io
import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import cv2
import numpy as np
import pytest
import tifffile
from labs.ordering import AT, SETTINGS, OrderingLab
from labs.ordering import DEMAND as OF_THREE
from servers.databases import tamper
from servers.failing_share import FailingShare

from agent.backup.verification import Outside, verify_trail
from agent.demo.micrograph import draw_micrograph
from agent.errors import FileError
from agent.imaging import crop, encode_landmarks, read
from agent.orders.facts.process_data import collect_keys, read_notes
from agent.orders.facts.scale_tracing import give_scale, propose_from_number
from agent.service.composition import make_pipeline
from agent.service.jobs.exchange import take_lists
from agent.settings import read as read_settings
from agent.store import NOT_A_PICTURE, Decision
from agent.watch import ListedFile, Provenance
from agent.watch.listing import list_folder

LEAD = "R. Stahl"
DEMAND = OF_THREE.replace("fields = 3", "fields = 1")
COARSE, FINE = "G7", "G8"
NEXT = AT + timedelta(hours=1)


@functools.cache
def steel(seed, code=FINE, size=(240, 180)):
    return draw_micrograph(code, seed=seed, um_per_px=0.2, size=size, bar=None, border=False).pixels


def tif(*pages):
    held = io.BytesIO()
    with tifffile.TiffWriter(held) as file:
        for page in pages:
            file.write(
                page, photometric="rgb", resolution=(50_000, 50_000), resolutionunit="CENTIMETER"
            )
    return held.getvalue()


class Reader:
    """Reads and crops here, as the workers do in processes of their own.

    The same steel is drawn for many tests: its crops are kept. Notes may hold a scale, so a file
    with one is always read.
    """

    _crops: ClassVar[dict] = {}

    def has_outcome(self):
        return True

    def crop_all(self, jobs):
        for path, scale in jobs:
            try:
                yield path, self._crop(path, scale)
            except (FileError, OSError) as error:
                yield path, error

    def _crop(self, path, scale):
        if path.with_suffix(".txt").exists():
            return read_and_crop(path, scale)
        key = path.read_bytes(), path.suffix, scale
        if key not in self._crops:
            self._crops[key] = read_and_crop(path, scale)
        return self._crops[key]


def read_and_crop(path, scale):
    crops = [crop(page, um_per_px_range=(0.01, 5), settings_scale=scale) for page in read(path)]
    return [replace(one, landmarks=encode_landmarks(one)) for one in crops]


class Bench(OrderingLab):
    """A lab whose files lie in a watched folder; reviewers label what is drawn, and are sure."""

    def __init__(self, folder, capsys):
        super().__init__(folder, capsys)
        self.at, self.coarse, self._seed = AT, [], 100
        (folder / "export").mkdir()
        self.set(DEMAND)
        self.check()

    def shoot(self, name, code=FINE, *, note="", pixels=None, cut=False):
        self._seed += 1
        path = self.folder / "export" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        held = tif(steel(self._seed, code) if pixels is None else pixels)
        path.write_bytes(held[:5000] if cut else held)
        if note:
            path.with_suffix(".txt").write_text(note, encoding="utf-8")
        self.coarse += [path.name] if code == COARSE else []
        return path

    def fine(self, order="4711"):
        self.shoot(f"{order}_01_1.tif")

    def arrive(self):
        settings = read_settings(self.folder / "agent.toml")
        for source in settings.sources:
            folder = self.folder / source.folder
            listing = list_folder(folder)
            found = dict(sorted(listing.pictures.items()))
            files = [ListedFile(source.name, folder, name, *facts) for name, facts in found.items()]
            fixed = source.fixed_process_data()
            self.store.sources.note_reading(
                source.name, str(folder), pattern=source.pattern, fixed=fixed
            )
            self.store.files.add(files, at=self.at)
            others = [ListedFile(source.name, folder, n, *f) for n, f in listing.others.items()]
            self.store.files.add_ignored(others, NOT_A_PICTURE, "no picture's", at=self.at)
            there = found.keys() | listing.others.keys()
            missed = self.store.files.list_known(source.name).keys() - there
            self.store.files.mark_gone(source.name, missed, at=self.at)

    def pipeline(self):
        return make_pipeline(
            read_settings(self.folder / "agent.toml"),
            store=self.store,
            pool=Reader(),
            classifier=None,
            now=lambda: self.at,
        )

    def read_one(self, pipeline):
        """Read the file that came first, so that the others wait."""
        assert pipeline.process_batch(1).files == 1
        self._capsys.readouterr()  # the log

    def work(self, *, label=True, pipeline=None):
        self.arrive()
        pipeline = pipeline or self.pipeline()
        while pipeline.process_batch(8).files:
            pass
        pipeline.process_batch(1)  # compares the places of the last ones
        self._capsys.readouterr()  # the log
        bad = {
            f.sha256 for f in self.store.files.iter_status() if f.path.endswith(tuple(self.coarse))
        }
        for view in list(self.store.results.iter_all()) if label else ():
            if view.label is None:
                code = COARSE if self.coarse and view.sha256 in bad else FINE
                self.store.labels.decide(view.id, Decision("code", "Ada", code=code), at=self.at)

    def word(self, number="4711"):
        return self.order(number)["conformity"]

    def missing(self, number="4711"):
        return "; ".join(self.order(number)["missing"])

    def set(self, text):
        (self.folder / "specifications.toml").write_text(text, encoding="utf-8")


@pytest.fixture
def bench(tmp_path, capsys):
    bench = Bench(tmp_path, capsys)
    yield bench
    bench.store.close()


@pytest.fixture
def ordering(ordering, tmp_path):
    (tmp_path / "specifications.toml").write_text(DEMAND, encoding="utf-8")
    return ordering


def fine(ordering, **given):
    ordering.confirm(ordering.take(1, **given))


# --- numbers and names that look alike are one ---------------------------------------------------

SPELLINGS = {
    "full width": ("4711", "４７１１"),
    "Arabic digits": ("4711", "٤٧١١"),
    "zero-width space": ("4711", "47\u200b11"),
    "soft hyphen": ("4711", "47\u00ad11"),
    "byte order mark": ("4711", "\ufeff4711"),
    "variation selector": ("4711", "4711\ufe0f"),
    "loose accent": ("4711", "4711\u0301"),
    "dot behind": ("4711", "4711."),
    "hash before": ("4711", "#4711"),
    "no-break space": ("4711", "4711\u00a0"),
    "Cyrillic letter": ("A4711", "\u04104711"),
    "Greek letter": ("A4711", "\u03914711"),
    "dotless i": ("IN1", "\u0131N1"),
    "no-break hyphen": ("47-11", "47\u201111"),
    "minus": ("47-11", "47\u221211"),
    "division slash": ("4711/26", "4711\u221526"),
    "case": ("a4711", "A4711"),
}


def test_a_coarse_field_under_a_look_alike_number_belongs_to_the_order(ordering):
    for number in {number for number, _ in SPELLINGS.values()}:
        fine(ordering, order=number)
        others = [other for one, other in SPELLINGS.values() if one == number]
        coarse = {other: ordering.take(n, COARSE, order=other) for n, other in enumerate(others, 4)}
        for public_id in coarse.values():
            ordering.confirm(public_id, COARSE)

        order = ordering.order(number)
        fields = {field["id"] for field in order["specimens"][0]["fields"]}
        assert [other for other in coarse if coarse[other] not in fields] == [], number
        assert order["conformity"] == "does_not_conform", number


@pytest.mark.parametrize("others", [("47-11", "47/11", "47.11", "47_11"), ("047\u201311",)])
def test_orders_whose_numbers_differ_in_a_hyphen_name_each_other(ordering, others):
    for number in ("4711", *others):
        fine(ordering, order=number)

    notes = "; ".join(ordering.order("4711")["notes"])
    for other in others:
        assert f"order {other} differs in hyphens, slashes or dots alone" in notes, other
        said = "; ".join(ordering.order(other)["notes"])
        assert "order 4711 differs in hyphens, slashes or dots alone" in said, other
    assert ordering.order()["conformity"] == "conforms"


def test_orders_whose_numbers_differ_in_a_digit_do_not(ordering):
    fine(ordering)
    fine(ordering, order="47-12")

    assert "differs in hyphens" not in "; ".join(ordering.order()["notes"])


@pytest.mark.parametrize("pair", [("ÄB1", "AB1"), ("1-23", "12-3"), ("47-11", "4711")])
def test_numbers_that_differ_in_what_is_seen_stay_two_orders(ordering, pair):
    number, other = pair
    fine(ordering, order=number)
    for n, code in enumerate((FINE, FINE, COARSE), start=1):  # fewer could be a slip's
        ordering.confirm(ordering.take(n, code, order=other), code)

    assert ordering.order(number)["conformity"] == "conforms"
    assert ordering.order(other)["conformity"] == "does_not_conform"


@pytest.mark.parametrize("spelling", ["1.", "01\u200b", "０１"])
def test_one_specimen_under_two_spellings_is_not_two(ordering, spelling):
    (ordering.folder / "specifications.toml").write_text(
        DEMAND + "specimens = 2\n", encoding="utf-8"
    )
    fine(ordering)
    ordering.confirm(ordering.take(2, specimen=spelling))

    assert ordering.order()["missing"] == ["1 of 2 specimens"]


def test_specimens_with_a_plus_and_a_minus_are_two(ordering):
    (ordering.folder / "specifications.toml").write_text(
        DEMAND + "specimens = 2\n", encoding="utf-8"
    )
    fine(ordering, specimen="A+")
    ordering.confirm(ordering.take(2, specimen="A-"))

    assert ordering.order()["conformity"] == "conforms"


@pytest.mark.parametrize(
    "names",
    [
        ("Bob", "bob"),
        ("Bob Lee", "Bob  Lee"),
        ("Bob", "B\u043eb"),
        ("Jörg", "Jo\u0308rg"),
        ("Bob", "Ｂｏｂ"),
        ("Ada.", "ADA"),
    ],
)
def test_one_reviewer_under_two_spellings_does_not_outweigh_a_label(ordering, names):
    fine(ordering)
    coarse = ordering.take(4, COARSE)
    ordering.confirm(coarse, COARSE)
    for name in names:
        decision = Decision("code", name, code=FINE, comment="seen again")
        ordering.store.labels.decide(coarse, decision, at=NEXT)

    assert ordering.order()["conformity"] == "undecided"
    assert "field 4 was G7, labelled by Ada" in "; ".join(ordering.order()["missing"])


def decide(ordering, field, by, code=FINE, *, at=NEXT, **more):
    decision = Decision("code", by, code=code, comment="seen again", **more)
    return ordering.store.labels.decide(field, decision, at=at)


def decide_bulk(ordering, field, by):
    decision = Decision("code", by, code=FINE, comment="x", bulk=True)
    ordering.store.labels.decide_all([(field, decision, "any")], at=NEXT)


def decide_twice(ordering, field, by):
    decide(ordering, field, by)
    ordering.store.labels.undo(field, by=by, at=NEXT + timedelta(hours=2))
    decide(ordering, field, by, at=NEXT + timedelta(hours=3))


def decide_by_command(ordering, field, by):
    words = ("review", "label", field, FINE, "--comment", "x", "--by", by)
    assert ordering.agent(*words) == 0, ordering.err


def decide_by_api(ordering, field, by):
    sent = {"by": by, "code": FINE, "comment": "x"}
    answer = ordering.browser().post(f"/api/v1/micrographs/{field}/decisions", json=sent)
    assert answer.status_code == 201, answer.text


ONE_VOTER = {
    "a name in other case": ((decide, "Bob"), (decide, "BOB")),
    "a name with punctuation": ((decide, "R.Bob"), (decide, "r bob")),
    "a page and the command": ((decide, "Bob"), (decide_by_command, "bob ")),
    "a page and the API": ((decide, "Bob"), (decide_by_api, "bob")),
    "one act for many and one alone": ((decide_bulk, "Bob"), (decide, "Bob")),
    "given, taken back, given again": ((decide_twice, "Bob"),),
    "a program for a person": ((decide, "Bob"), (decide, "Eve (by lims)")),
    "a program for two": ((decide, "Bob (by lims)"), (decide, "Eve (by lims)")),
    "two programs": ((decide, "lims (program)"), (decide, "Fiji (program)")),
    "a program for the lead": ((decide, "Bob"), (decide, "R. Stahl (by lims)")),
    "a program for the author": ((decide, "Ada (by lims)"), (decide, "Bob")),
    "the author again": ((decide, "ada"), (decide, "Bob")),
}
"""Ways to be two reviewers who outweigh a breaking label, of which each is one."""


@pytest.mark.parametrize("way", ONE_VOTER)
def test_no_way_of_one_voter_outweighs_a_breaking_label(ordering, way):
    fine(ordering)
    coarse = ordering.take(4, COARSE)
    ordering.confirm(coarse, COARSE)
    for act, by in ONE_VOTER[way]:
        act(ordering, coarse, by)

    assert ordering.order()["conformity"] != "conforms"


@pytest.mark.parametrize("way", [name for name in ONE_VOTER if "author" not in name])
def test_no_way_of_one_voter_is_a_second_look(ordering, way):
    fine(ordering)
    field = ordering.take(4, reasons=("uncertain",), thresholds={"double_share": 1.0})
    for act, by in ONE_VOTER[way]:
        act(ordering, field, by)

    view = ordering.store.results.find(field)
    assert (view.label, len(view.votes) < 2) == (None, True)


IMPORTED = Decision("code", "file", code=FINE, origin="import_for_orders")


def test_labels_of_files_are_no_second_look_whatever_names_they_hold(ordering):
    fine(ordering)
    field = ordering.take(4, reasons=("uncertain",), thresholds={"double_share": 1.0})
    for name in ("Bob", "Eve", "Zoe"):
        ordering.store.labels.decide(field, replace(IMPORTED, by=name), at=NEXT)
    before = ordering.store.results.find(field).label
    decide(ordering, field, "Ada")

    assert (before, ordering.store.results.find(field).label) == (None, None)


def test_labels_of_files_outweigh_no_label_though_a_reviewer_agrees(ordering):
    fine(ordering)
    coarse = ordering.take(4, COARSE)
    for name in ("Bob", "Eve"):
        ordering.store.labels.decide(coarse, replace(IMPORTED, by=name), at=NEXT)
    decide(ordering, coarse, "Ada", COARSE)
    decide(ordering, coarse, "Zoe")

    assert ordering.order()["conformity"] != "conforms"


def test_two_other_reviewers_outweigh_a_label(ordering):
    fine(ordering)
    field = ordering.take(4, FINE)
    ordering.confirm(field, COARSE, why="looked coarse")
    for name in ("Bob Lee", "Eve"):
        decision = Decision("code", name, code=FINE, comment="seen again")
        ordering.store.labels.decide(field, decision, at=NEXT)

    assert ordering.order()["conformity"] == "conforms"


# --- rules have dates, whether or not a page was opened ------------------------------------------

LOOSER = {
    "in place": DEMAND.replace("8 or", "7 or"),
    "an earlier date": DEMAND.replace("8 or", "7 or").replace("2026-01-01", "2025-01-01"),
    "a second version": DEMAND
    + "valid_until = 2026-11-20\n"
    + DEMAND.replace("8 or", "7 or").replace("2026-01-01", "2026-11-21"),
    "another subtype": DEMAND.replace("8 or", "7 or").replace('["G"]', '["G", "B"]'),
}


@pytest.mark.parametrize("edit", LOOSER)
def test_an_edit_before_anybody_looked_at_an_order_does_not_change_it(bench, edit):
    bench.fine()
    bench.shoot("4711_01_4.tif", COARSE)
    bench.work()

    bench.set(LOOSER[edit])

    assert bench.word() == "does_not_conform"


@pytest.mark.parametrize("by_folder", [True, False])
def test_an_order_that_a_list_released_is_judged_by_what_was_in_force_then(
    bench, by_folder, capsys
):
    lists = bench.folder / "lists"
    lists.mkdir()
    (lists / "monday.csv").write_text("order;material\n4711;100Cr6\n", encoding="utf-8")
    with (bench.folder / "agent.toml").open("a", encoding="utf-8") as file:
        file.write('lists = "lists"\n')
    if by_folder:
        settings = read_settings(bench.folder / "agent.toml")
        assert take_lists(settings, bench.store, at=AT, rest_s=-1e9) == []
        capsys.readouterr()  # the log
    else:
        assert bench.agent("orders", "import", lists / "monday.csv") == 0

    bench.set(LOOSER["in place"])
    bench.at = datetime.now(UTC) + timedelta(hours=1)
    bench.fine()
    bench.shoot("4711_01_4.tif", COARSE)
    bench.work()

    assert bench.word() == "does_not_conform"


def list_sizes(bench, sizes):
    """Write the lab's own taxonomy: the sizes of G, coarse to fine."""
    entries = "".join(f'[[size]]\nname = "{name}"\n' for name in sizes)
    file = bench.folder / "taxonomy.toml"
    listed = ", ".join(f'"{name}"' for name in sizes)
    file.write_text(f'{entries}[[subtype]]\nname = "G"\nsizes = [{listed}]\n', encoding="utf-8")
    own = f'\n[model]\ntaxonomy = "{file.as_posix()}"\n'
    (bench.folder / "agent.toml").write_text(SETTINGS + own, encoding="utf-8")


def test_sizes_listed_otherwise_before_anybody_looked_at_an_order_do_not_change_it(bench):
    list_sizes(bench, ["6", "7", "8"])
    bench.shoot("4711_01_1.tif", COARSE)
    bench.work()

    list_sizes(bench, ["8", "7", "6"])

    assert bench.word() == "does_not_conform"
    assert "apply as 6, 7, 8" in "; ".join(bench.order()["notes"])


def test_an_edit_that_keeps_the_time_of_the_file_is_noted(bench):
    bench.set(LOOSER["in place"])
    bench.fine("4700")
    bench.work()
    file = bench.folder / "specifications.toml"
    before = file.stat()
    bench.set(DEMAND)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    bench.at = NEXT
    bench.fine()
    bench.shoot("4711_01_4.tif", COARSE)
    bench.work()
    bench.set(LOOSER["in place"])

    assert bench.word("4700") == "conforms"
    assert bench.word() == "does_not_conform"


def test_a_reopened_order_is_judged_by_the_version_of_that_day(bench):
    bench.set(DEMAND + "valid_until = 2026-11-25\n")
    bench.fine()
    bench.shoot("4711_01_4.tif", COARSE)
    bench.work()
    bench.set(
        DEMAND
        + "valid_until = 2026-11-25\n"
        + DEMAND.replace("8 or", "7 or").replace("2026-01-01", "2026-11-26")
    )
    before = bench.word()

    bench.agent("orders", "reopen", "4711", "--by", LEAD, "--reason", "agreed with the customer")

    assert before == "does_not_conform"
    assert bench.word() == "conforms"


# --- files that were never read ------------------------------------------------------------------


def anchored(bench):
    file = bench.folder / "agent.toml"
    file.write_text(SETTINGS.replace("(?P<order>", "^(?P<order>"), encoding="utf-8")


def test_a_file_that_could_not_be_used_holds_its_order_where_the_pattern_is_anchored(bench):
    anchored(bench)
    bench.fine()
    bench.shoot("4711_01_4.tif", COARSE, cut=True)
    bench.work()

    assert bench.word() == "undecided"
    assert "4711_01_4.tif could not be used" in bench.missing()


def test_a_queued_file_holds_its_order_where_the_pattern_is_anchored(bench):
    anchored(bench)
    bench.fine()
    bench.work()
    bench.shoot("4711_01_4.tif", COARSE)
    bench.arrive()

    assert bench.missing() == "specimen 01: 1 file still to be read"


def test_a_folder_above_the_source_that_fits_the_pattern_hides_no_file(tmp_path, capsys):
    folder = tmp_path / "lab_1_2_3"
    folder.mkdir()
    bench = Bench(folder, capsys)
    bench.fine()
    bench.shoot("4711_01_4.tif", COARSE, cut=True)
    bench.work()

    assert "4711_01_4.tif could not be used" in bench.missing()
    bench.store.close()


def test_a_file_deleted_before_it_was_read_holds_its_order_until_it_comes_again(bench):
    bench.fine()
    path = bench.shoot("4711_01_4.tif", COARSE)
    bench.arrive()
    path.unlink()
    bench.work()
    gone = bench.missing()
    bench.at = NEXT
    bench.coarse.clear()
    bench.shoot("4711_01_4.tif")
    bench.work()

    assert "4711_01_4.tif could not be used" in gone
    assert bench.word() == "conforms"


@pytest.mark.parametrize("code", [FINE, COARSE])
def test_a_file_renamed_within_its_order_before_it_was_read_is_the_same_file(bench, code):
    bench.fine()
    path = bench.shoot("4711_01_4.tif", code)
    bench.arrive()
    path.rename(path.with_name("4711_01_04.tif"))
    bench.coarse = ["4711_01_04.tif"] if code == COARSE else []
    bench.at = NEXT
    bench.work()

    assert bench.word() == ("conforms" if code == FINE else "does_not_conform"), bench.missing()
    assert "4711_01_4.tif was renamed to 4711_01_04.tif" in "; ".join(bench.order()["notes"])


@pytest.mark.parametrize("name", ["4712_01_4.tif", "4711_02_4.tif", "trial.tif"])
def test_a_file_renamed_to_another_place_before_it_was_read_holds_its_order(bench, name):
    bench.fine()
    path = bench.shoot("4711_01_4.tif", COARSE)
    bench.arrive()
    path.rename(path.with_name(name))
    bench.at = NEXT
    bench.work()

    assert bench.word() == "undecided"


@pytest.mark.parametrize("is_deleted", [False, True])
@pytest.mark.parametrize(("by", "word"), [("copy", "undecided"), ("own", "conforms")])
def test_a_file_that_is_replaced_before_it_was_read_holds_its_order_until_its_field_comes(
    bench, by, word, is_deleted
):
    bench.fine()
    bench.work()
    path = bench.shoot("4711_01_4.tif", COARSE)
    bench.arrive()
    if is_deleted:
        path.unlink()
        bench.arrive()
        bench.work()
    bench.coarse = []

    copied = (bench.folder / "export" / "4711_01_1.tif").read_bytes()
    path.write_bytes(copied if by == "copy" else tif(steel(4242)))
    bench.arrive()
    waiting = bench.missing()
    bench.work()

    assert "still to be read" in waiting
    assert is_deleted or "could not be used" not in waiting
    assert bench.word() == word
    if word == "undecided":
        assert "4711_01_4.tif could not be used" in bench.missing()


def test_a_file_that_is_listed_again_after_the_agent_died_holds_nothing(bench):
    for field in (1, 2):
        bench.shoot(f"4711_01_{field}.tif")
    bench.arrive()
    bench.store.work_queue.claim(1, at=bench.at, lease_s=60)
    bench.store.work_queue.requeue_own(at=bench.at)

    bench.work()

    assert bench.word() == "conforms", bench.missing()
    assert {fate.state for fate in bench.store.files.iter_status()} == {"done"}


def test_a_file_that_is_replaced_by_another_of_its_size_and_time_was_not_renamed(bench):
    bench.fine()
    path = bench.shoot("4711_01_4.tif", COARSE)
    other = bench.shoot("4711_01_5.tif")
    os.utime(other, ns=(path.stat().st_mtime_ns, path.stat().st_mtime_ns))
    bench.arrive()
    path.unlink()
    bench.coarse.clear()
    bench.at = NEXT
    bench.work()

    assert "4711_01_4.tif could not be used" in bench.missing()


def test_a_queued_file_holds_the_order_that_its_note_alone_names(bench):
    bench.fine()
    bench.work()
    before = bench.word()
    bench.shoot("IMG_1.tif")
    bench.arrive()
    bench.shoot("IMG_4.tif", COARSE, note="order: 4711\nspecimen: 01")
    bench.arrive()
    bench.read_one(bench.pipeline())
    held = bench.missing()
    bench.work()

    assert before == "conforms"
    assert "1 file still to be read" in held
    assert bench.word() == "does_not_conform"


def test_a_note_that_comes_after_its_queued_file_holds_the_order_too(bench):
    bench.fine()
    bench.work()
    for n in (1, 2, 3):
        bench.shoot(f"IMG_{n}.tif")
    bench.arrive()
    late = bench.shoot("IMG_4.tif", COARSE)
    bench.arrive()
    pipeline = bench.pipeline()
    bench.read_one(pipeline)
    late.with_suffix(".txt").write_text("order: 4711", encoding="utf-8")
    bench.at = NEXT
    bench.read_one(pipeline)

    assert "1 file still to be read" in bench.missing()


def test_a_lead_dismisses_a_file_that_was_deleted_before_it_was_read(bench):
    bench.fine()
    path = bench.shoot("4711_01_4.tif", COARSE)
    bench.arrive()
    path.unlink()
    bench.work()
    words = ("orders", "dismiss-file", "4711", "4711_01_4.tif", "--reason", "empty stage", "--by")

    assert bench.agent(*words, "Ada") == 2
    assert bench.agent(*words, LEAD) == 0
    assert bench.word() == "conforms"


@pytest.mark.parametrize("name", ["IMG_4.tif", "9999_01_4.tif"])
def test_an_unusable_file_holds_the_order_that_its_note_names(bench, name):
    bench.fine()
    bench.shoot(name, COARSE, note="order: 4711\nspecimen: 01", cut=True)
    bench.work()

    assert f"{name} could not be used" in bench.missing()


def test_an_unusable_file_in_a_folder_of_another_order_holds_both(bench):
    bench.fine()
    bench.fine("9999")
    bench.shoot("9999_01_1/4711_01_4.tif", COARSE, cut=True)
    bench.work()

    assert (bench.word(), bench.word("9999")) == ("undecided", "undecided")


def test_an_unusable_file_that_is_renamed_still_holds_its_order(bench):
    bench.fine()
    path = bench.shoot("4711_01_4.tif", COARSE, cut=True)
    bench.work()
    path.rename(path.with_name("trial.tif"))
    bench.at = NEXT
    bench.work()

    assert bench.word() == "undecided"


def copied(bench, path, first):
    path.write_bytes(first.read_bytes())


def copied_as_it_is_queued_again(bench, path, first):
    bench.store.files.retry(None, at=bench.at)
    copied(bench, path, first)


def copied_and_queued_again(bench, path, first):
    copied(bench, path, first)
    bench.work()
    bench.store.files.retry([str(path)], at=bench.at)


def copied_while_it_is_read_again(bench, path, first):
    bench.store.work_queue.make_due("LOM-07")
    bench.at += timedelta(minutes=5)
    (claim,) = bench.store.work_queue.claim(1, at=bench.at, lease_s=60)
    bench.store.work_queue.release(claim, at=bench.at, retry_at=bench.at)
    copied(bench, path, first)


def saved_again(bench, path, first):
    path.write_bytes(first.read_bytes() + b"\0")


def another_renamed_to_it(bench, path, first):
    first.rename(path)


def emptied(bench, path, first):
    path.write_bytes(b"")
    bench.at += timedelta(minutes=30)
    bench.work()
    copied(bench, path, first)


def no_image(bench, path, first):
    path.write_text("nothing", encoding="utf-8")


def another_suffix(bench, path, first):
    path.rename(path.with_suffix(".txt"))


@pytest.mark.parametrize(
    "replace_by",
    [
        copied,
        copied_as_it_is_queued_again,
        copied_and_queued_again,
        copied_while_it_is_read_again,
        saved_again,
        another_renamed_to_it,
        emptied,
        no_image,
        another_suffix,
    ],
)
def test_a_picture_of_another_field_replaces_no_unusable_file(bench, replace_by):
    bench.fine()
    first = bench.folder / "export" / "4711_01_1.tif"
    path = bench.shoot("4711_01_4.tif", cut=True)
    bench.work()
    bench.at = NEXT
    replace_by(bench, path, first)
    for _ in range(2):
        bench.work()
        bench.at += timedelta(hours=7)  # whatever is read again is due

    assert bench.word() == "undecided"
    assert "4711_01_4.tif could not be used" in bench.missing()


def test_an_unusable_file_that_is_exported_again_holds_its_order_no_more(bench):
    bench.fine()
    path = bench.shoot("4711_01_4.tif", cut=True)
    bench.work()
    path.write_bytes(b"")
    bench.at = NEXT
    bench.work()
    held = bench.word()
    bench.shoot("4711_01_4.tif")
    bench.at += timedelta(hours=1)
    bench.work()

    assert held == "undecided"
    assert bench.word() == "conforms", bench.missing()


def test_an_unusable_file_that_comes_again_as_a_copy_of_its_own_field_holds_nothing(bench):
    bench.fine()
    good = bench.shoot("again/4711_01_4.tif")
    path = bench.shoot("4711_01_4.tif", cut=True)
    bench.work()
    held = bench.word()
    path.write_bytes(good.read_bytes())
    bench.at = NEXT
    bench.work()

    assert held == "undecided"
    assert bench.word() == "conforms", bench.missing()


def test_of_two_empty_files_each_has_to_be_exported_again(bench):
    bench.fine()
    for n in (4, 5):
        bench.shoot(f"4711_01_{n}.tif").write_bytes(b"")
    bench.work()
    words = []
    for n in (4, 5):
        bench.at += timedelta(hours=1)
        bench.shoot(f"4711_01_{n}.tif")
        bench.work()
        words.append(bench.word())

    assert words == ["undecided", "conforms"], bench.missing()


# --- what names an order -------------------------------------------------------------------------


def test_a_file_in_a_folder_of_another_order_holds_both(bench):
    bench.fine()
    bench.fine("9999")
    bench.shoot("9999_01_1/4711_01_4.tif", COARSE)
    bench.work()

    assert (bench.word(), bench.word("9999")) == ("undecided", "undecided")
    assert "is named for specimen 01 by its path" in bench.missing()


CUT_SHORT = [("A4711", "A4711_01_4.tif"), ("4711", "47 11_01_4.tif"), ("47-11", "47-11_01_4.tif")]
"""Number of an order, and a file of it of which the pattern takes the last digits for the order."""


def shoot_by_note(bench, number):
    bench.shoot("IMG_1.tif", note=f"order: {number}\nspecimen: 01\nfield: 1")
    bench.work()


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize(("number", "name"), CUT_SHORT)
def test_a_number_that_the_pattern_cuts_short_holds_the_order_of_the_whole_word(
    bench, number, name, is_known
):
    if is_known:
        shoot_by_note(bench, number)
    bench.shoot(name, COARSE)
    bench.work()
    if not is_known:
        shoot_by_note(bench, number)

    assert bench.word(number) == "undecided"


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize(("number", "name"), CUT_SHORT)
def test_an_unread_file_holds_the_order_of_the_whole_word(bench, number, name, cut):
    shoot_by_note(bench, number)
    bench.shoot(name, COARSE, cut=cut)
    if cut:
        bench.work()
    else:
        bench.arrive()

    assert bench.word(number) == "undecided"


@pytest.mark.parametrize("name", ["Probe4711_01_1.tif", "P 4711_01_1.tif", "2026 4711_01_1.tif"])
def test_a_word_before_the_number_that_makes_no_known_order_of_it_is_no_other_order(bench, name):
    bench.shoot(name)
    bench.work()

    assert bench.word() == "conforms", bench.missing()


@pytest.mark.parametrize("back", [timedelta(0), timedelta(hours=9)], ids=["", "clock set back"])
def test_a_file_read_after_an_edit_of_the_pattern_holds_what_its_name_meant_before(bench, back):
    bench.fine()
    bench.work()
    bench.shoot("4711_01_4.tif", COARSE)
    bench.arrive()
    bench.at -= back
    settings = bench.folder / "agent.toml"
    text = settings.read_text("utf-8")
    settings.write_text(text.replace("(?P<order>", r"(?P<order>\\d)(?:"), encoding="utf-8")
    waiting = bench.word()
    bench.work()

    assert bench.store.orders.order("4") is not None
    assert (waiting, bench.word()) == ("undecided", "undecided")
    assert "is named for specimen 01 by its path" in bench.missing()


def test_a_wrong_pattern_that_is_mended_while_files_wait_makes_no_order_and_holds_none(bench):
    settings = bench.folder / "agent.toml"
    right = settings.read_text("utf-8")
    settings.write_text(right.replace("(?P<order>", r"(?P<order>\\d)(?:"), encoding="utf-8")
    bench.fine()
    bench.arrive()
    settings.write_text(right, encoding="utf-8")
    bench.work()

    assert bench.word() == "conforms", bench.missing()
    assert bench.store.orders.order("4") is None


def test_a_folder_of_the_same_order_is_no_conflict():
    source = Provenance(pattern=r"(?P<order>\d+)_(?P<specimen>\d+)_(?P<field>\d+)")

    keys = collect_keys(source, "4711_1_9/4711_01_4.tif", beside={}, given={})

    assert keys.conflict == ""
    assert keys.process_data["order"] == "4711"


def test_a_note_that_says_nothing_hides_no_other_note(bench):
    bench.fine()
    path = bench.shoot("IMG_4.tif", COARSE, note="order: 4711\nspecimen: 01")
    path.with_suffix(".json").write_text('{"camera": "A"}', encoding="utf-8")
    bench.work()

    assert bench.word() == "does_not_conform"


@pytest.mark.parametrize("is_restarted", [False, True])
@pytest.mark.parametrize("name", ["9999_01_4.tif", "IMG_4.tif"])
def test_a_note_that_comes_after_its_picture_was_read_holds_the_order_that_it_names(
    bench, name, is_restarted
):
    bench.fine()
    bench.work()
    bench.at += timedelta(hours=2)
    path = bench.shoot(name, COARSE)
    pipeline = None if is_restarted else bench.pipeline()
    bench.work(pipeline=pipeline)
    before = bench.word()
    bench.at = AT + timedelta(hours=3)
    path.with_suffix(".txt").write_text("order: 4711\nspecimen: 01", encoding="utf-8")
    bench.work(pipeline=pipeline)

    assert (before, bench.word()) == ("conforms", "undecided")
    assert "is named for specimen 01 by the note next to it" in bench.missing()


def test_a_late_note_that_agrees_or_names_no_order_changes_nothing(bench):
    bench.shoot("4711_01_1.tif")
    bench.shoot("4711_01_2.tif", note="order: 4711\nspecimen: 01")
    bench.work()
    bench.at = NEXT
    for field, text in ((1, "operator: Ada"), (2, "order: 4711")):
        file = bench.folder / "export" / f"4711_01_{field}.json"
        file.write_text(text, encoding="utf-8")
    bench.work()

    assert bench.word() == "conforms"


def test_what_a_person_moved_is_not_moved_back_by_the_note_that_it_came_with(bench):
    bench.fine()
    bench.shoot("IMG_4.tif", note="order: 9999\nspecimen: 01\nfield: 4")
    bench.work()
    (public_id,) = [v.id for v in bench.store.results.iter_all() if v.path.endswith("IMG_4.tif")]
    words = ("orders", "assign", public_id, "4711", "01", "--field", "4", "--reason", "slip")
    assert bench.agent(*words, "--by", LEAD) == 0
    bench.at = NEXT
    bench.work()

    assert bench.word() == "conforms"


def test_two_notes_that_disagree_hold_both_orders(bench):
    for order in ("4711", "9999"):
        bench.fine(order)
    path = bench.shoot("IMG_4.tif", COARSE, note="order: 4711\nspecimen: 01")
    path.with_suffix(".json").write_text('{"order": "9999", "specimen": "01"}', encoding="utf-8")
    bench.work()

    assert (bench.word(), bench.word("9999")) == ("undecided", "undecided")


def test_a_note_that_names_two_orders_holds_both(bench):
    for order in ("4711", "9999"):
        bench.fine(order)
    bench.shoot("IMG_4.tif", COARSE, note="order: 4711\nspecimen: 01\norder: 9999")
    bench.work()

    assert (bench.word(), bench.word("9999")) == ("undecided", "undecided")


def test_a_note_in_the_unicode_of_windows_notepad_is_read():
    assert read_notes("Auftrag: 4711\r\nSchliff: 01".encode("utf-16")) == [
        {"order": "4711", "specimen": "01"}
    ]


@pytest.mark.parametrize("name", ["9999_01_4.tif", "trial.tif"])
def test_a_copy_of_a_known_file_holds_the_order_that_its_note_names_without_a_specimen(bench, name):
    first = bench.shoot(name, COARSE)
    bench.work()
    bench.fine()
    copy = first.with_name("IMG_4.tif")
    copy.write_bytes(first.read_bytes())
    copy.with_suffix(".txt").write_text("order: 4711", encoding="utf-8")
    bench.at = NEXT
    bench.work()

    assert bench.word() == "undecided"
    assert "is named for specimen ? by a copy of it" in bench.missing()


def test_a_copy_whose_note_names_its_own_order_changes_nothing(bench):
    bench.fine()
    bench.work()
    first = bench.folder / "export" / "4711_01_1.tif"
    copy = first.with_name("IMG_1.tif")
    copy.write_bytes(first.read_bytes())
    copy.with_suffix(".txt").write_text("order: 4711", encoding="utf-8")
    bench.at = NEXT
    bench.work()

    assert bench.word() == "conforms"


@pytest.mark.parametrize("first", ["0001_01_4.tif", "0_trial.tif"])
def test_of_two_names_that_come_at_once_neither_is_forgotten(bench, first):
    bench.fine()
    path = bench.shoot(first, COARSE)
    path.with_name("4711_01_4.tif").write_bytes(path.read_bytes())
    bench.work()

    assert bench.word() == "undecided"
    assert "is named for specimen 01 by a copy of it" in bench.missing()


HONEST = {
    "a folder per day": "2026-11-24/4711_01_{n}.tif",
    "a time behind": "4711_01_{n}_20261124_120000_1.tif",
    "a folder of the order": "4711/4711_01_{n}.tif",
    "zeros": "004711_1_00{n}.tif",
}


@pytest.mark.parametrize("kind", HONEST)
def test_an_honest_order_conforms_however_its_files_are_named(bench, kind):
    bench.set(OF_THREE)
    for n in (1, 2, 3):
        bench.shoot(HONEST[kind].format(n=n))
    bench.work()

    assert bench.word() == "conforms"


def test_an_honest_order_conforms_with_notes_trial_shots_and_files_of_others(bench):
    for n in (1, 2, 3):
        path = bench.shoot(f"4711_01_{n}.tif", note=f"Auftrag: 4711\nSchliff: 1\nFeld: {n}")
        path.with_suffix(".json").write_text('{"objective": "50x"}', encoding="utf-8")
    bench.shoot("trial.tif", COARSE)
    bench.shoot("5290_01_1.tif", COARSE)
    bench.shoot("5391_01_1.tif", cut=True)
    bench.work()

    assert bench.word() == "undecided"  # the trial shot may be a field of the order
    words = ("orders", "dismiss-file", "4711", "trial.tif", "--reason", "a trial", "--by")
    by_ada, by_lead = bench.agent(*words, "Ada"), bench.agent(*words, LEAD)
    assert (by_ada, by_lead) == (2, 0)  # Ada saw it break the limit
    assert bench.word() == "conforms"


def test_pages_of_one_file_count_once_and_it_is_said_why(bench):
    bench.set(OF_THREE)
    path = bench.folder / "export" / "4711_01_1.tif"
    path.write_bytes(tif(steel(95), steel(96), steel(97)))
    bench.work()

    assert "1 of 3 fields; 3 micrographs carry the field number 1" in bench.missing()


PARTS = {"ZYX": "planes the sharpest one", "CYX": "channels the first one"}


@pytest.mark.parametrize("axes", PARTS)
def test_a_statement_names_the_planes_and_channels_that_nobody_looked_at(bench, axes):
    bench.fine()
    pages = np.stack([steel(97)[..., 0], cv2.GaussianBlur(steel(98, COARSE)[..., 0], (0, 0), 2)])
    tifffile.imwrite(
        bench.folder / "export" / "4711_01_4.tif",
        pages,
        imagej=True,
        metadata={"axes": axes, "unit": "um"},
        resolution=(5, 5),
    )
    bench.work()

    notes = "; ".join(bench.order()["notes"])
    assert f"specimen 01, field 4: of several {PARTS[axes]} alone was judged" in notes


def stack_of(bench, planes, *, name="4711_01_3.tif", axes="ZYX"):
    tifffile.imwrite(
        bench.folder / "export" / name,
        np.stack(planes),
        imagej=True,
        metadata={"axes": axes, "unit": "um"},
        resolution=(5, 5),
    )


def blurred(pixels, by):
    return cv2.GaussianBlur(pixels, (0, 0), by)


@pytest.mark.parametrize("axes", ["ZYX", "CYX"])
def test_a_file_whose_planes_show_two_places_is_no_field_until_a_lead_replaces_it(bench, axes):
    bench.set(OF_THREE)
    for field in (1, 2):
        bench.shoot(f"4711_01_{field}.tif")
    fine, coarse = steel(97)[..., 0], steel(98, COARSE)[..., 0]
    stack_of(bench, [fine, blurred(coarse, 1)], axes=axes)
    bench.work()
    before = (bench.order()["conformity"], bench.missing())

    (public_id,) = [
        result.id for result in bench.store.results.iter_all() if "planes_differ" in result.warnings
    ]
    bench.shoot("4711_01_4.tif")
    bench.work()
    words = ("orders", "supersede", public_id, "--reason", "saved as two files", "--by")
    by_ada, by_lead = bench.agent(*words, "Ada"), bench.agent(*words, LEAD)

    assert before[0] == "undecided"
    assert "field 3: its file has planes or channels of another place" in before[1]
    assert (by_ada, by_lead) == (2, 0)
    assert bench.order()["conformity"] == "conforms"


def test_a_focus_series_of_one_place_is_a_field(bench):
    bench.set(OF_THREE)
    for field in (1, 2):
        bench.shoot(f"4711_01_{field}.tif")
    sharp = steel(97)[..., 0]
    moved = np.roll(sharp, (3, -2), (0, 1))
    empty = np.full_like(sharp, 90)
    stack_of(bench, [blurred(sharp, 8), blurred(moved, 3), sharp, blurred(sharp, 1), empty])
    bench.work()

    assert bench.order()["conformity"] == "conforms", bench.missing()


def test_channels_of_one_place_in_other_contrast_are_a_field(bench):
    bench.set(OF_THREE)
    for field in (1, 2):
        bench.shoot(f"4711_01_{field}.tif")
    bright = steel(97)[..., 0]
    stack_of(bench, [bright, 255 - bright], axes="CYX")
    bench.work()

    assert bench.order()["conformity"] == "conforms", bench.missing()


def test_a_scale_bar_in_every_plane_makes_two_places_no_single_one(bench):
    planes = [steel(97)[..., 0].copy(), steel(98, COARSE)[..., 0].copy()]
    for plane in planes:
        plane[160:172, 20:160] = 255
        plane[164:168, 24:156] = 0
    stack_of(bench, planes)
    bench.work()

    assert "planes or channels of another place" in bench.missing()


# --- scales --------------------------------------------------------------------------------------

NEW_CAMERA = """
objective = "50x"
objectives = [
  { name = "50x", um_per_px = 0.2 },
  { name = "50x", um_per_px = 0.1, valid_from = 2026-11-24 },
]
"""


@pytest.mark.parametrize(
    ("changed", "listed", "um_per_px"),
    [
        (timedelta(days=-4), timedelta(days=-3), 0.2),  # read after the camera was changed
        (timedelta(0), timedelta(0), 0.1),
        (timedelta(days=-4), timedelta(0), None),  # copied after it: one of the two dates is wrong
        (timedelta(days=9000), timedelta(0), 0.1),  # the microscope's clock is ahead
    ],
)
def test_a_scale_of_the_table_is_that_of_the_day_of_the_picture(bench, changed, listed, um_per_px):
    file = bench.folder / "agent.toml"
    line = 'material = "100Cr6"\n'
    file.write_text(SETTINGS.replace(line, line + NEW_CAMERA), encoding="utf-8")
    path = bench.shoot("4711_01_1.tif")
    tifffile.imwrite(path, steel(1234), photometric="rgb")
    changed_s = (AT + changed).timestamp()
    os.utime(path, (changed_s, changed_s))
    bench.at = AT + listed
    bench.arrive()
    bench.at = AT
    bench.work()

    (view,) = bench.store.results.iter_all()
    assert view.um_per_px == um_per_px


LATE_SCALES = {
    ".txt": "Image Pixel Size = 0.4 um",
    ".tif.txt": "um_per_px: 0.4",
    ".hdr": "Image Pixel Size: 400 nm",
    "-tif.hdr": "Image Pixel Size: 400 nm",
    "_meta.xml": "<a>Image Pixel Size: 400 nm</a>",
    ".cal.xml": "<a>Image Pixel Size: 400 nm</a>",
}


@pytest.mark.parametrize("is_restarted", [False, True])
@pytest.mark.parametrize("tail", LATE_SCALES)
def test_a_scale_file_that_comes_after_its_picture_was_judged_holds_the_order_until_it_is_entered(
    bench, tail, is_restarted
):
    path = bench.shoot("4711_01_1.tif")
    pipeline = None if is_restarted else bench.pipeline()
    bench.work(pipeline=pipeline)
    before = bench.word()
    bench.at = NEXT
    path.with_name(f"4711_01_1{tail}").write_text(LATE_SCALES[tail], encoding="utf-8")
    bench.work(pipeline=pipeline)

    assert (before, bench.word()) == ("conforms", "undecided")
    assert f"the file 4711_01_1{tail}, which came later, gives 0.4 µm per pixel" in bench.missing()
    (view,) = bench.store.results.iter_all()
    proposal = propose_from_number(0.2)
    give_scale(bench.store, view, proposal, plausible=(0.01, 5), by="Ada", at=bench.at)
    bench.work()

    assert bench.word() == "conforms"


def test_a_scale_file_that_is_written_again_after_its_picture_was_judged_holds_the_order(bench):
    path = bench.shoot("4711_01_1.tif", note="um_per_px: 0.2")
    bench.work()
    before = bench.word()
    bench.at = NEXT
    path.with_suffix(".txt").write_text("um_per_px: 0.40", encoding="utf-8")
    bench.work()

    assert (before, bench.word()) == ("conforms", "undecided")


def test_a_late_scale_file_that_agrees_or_names_no_scale_changes_nothing(bench):
    path = bench.shoot("4711_01_1.tif")
    bench.work()
    bench.at = NEXT
    path.with_suffix(".txt").write_text("um_per_px: 0.204", encoding="utf-8")
    path.with_suffix(".xml").write_text("<a>Exposure 4 ms</a>", encoding="utf-8")
    bench.work()

    assert bench.word() == "conforms"


@pytest.mark.parametrize("text", ["um_per_px: 0.4", "order: 4712"])
def test_a_late_file_that_its_folder_does_not_give_for_now_is_read_in_a_later_round(bench, text):
    path = bench.shoot("4711_01_1.tif")
    pipeline = bench.pipeline()
    bench.work(pipeline=pipeline)
    bench.at = NEXT
    path.with_suffix(".txt").write_text(text, encoding="utf-8")
    bench.arrive()
    with FailingShare(bench.folder / "export", errno.EIO):
        pipeline.process_batch(1)
    bench.at += timedelta(minutes=1)
    bench.work(pipeline=pipeline)

    assert bench.word() == "undecided"


# --- places --------------------------------------------------------------------------------------


def crops(ordering, width, step, demand=OF_THREE):
    (ordering.folder / "specifications.toml").write_text(demand, encoding="utf-8")
    strip = steel(7, size=(width + 2 * step, 360))
    for n in range(3):
        pixels = np.ascontiguousarray(strip[:, n * step : n * step + width])
        ordering.confirm(ordering.take(n + 1, pixels=pixels))


def test_fields_that_overlap_by_a_tenth_are_distinct_places(ordering):
    crops(ordering, 480, 432)

    assert ordering.order()["conformity"] == "conforms"


def test_fields_that_overlap_by_more_than_a_quarter_are_one(ordering):
    crops(ordering, 480, 340)

    assert ordering.order()["missing"][0].startswith(
        "specimen 01: 1 of 3 fields; field 1 and field 2"
    )


def test_the_area_of_overlapping_fields_is_counted_once(ordering):
    each = 480 * 360 * 0.12**2 / 1e6
    crops(ordering, 480, 432, OF_THREE + f"area_mm2 = {2.9 * each:.6f}\n")

    assert "mm²" in ordering.order()["missing"][0]


def test_a_patchwork_of_places_that_count_already_is_no_further_place(ordering):
    (ordering.folder / "specifications.toml").write_text(
        DEMAND.replace("fields = 1", "fields = 5"), encoding="utf-8"
    )
    places = [steel(20 + n, size=(640, 480)) for n in range(4)]
    for n, pixels in enumerate(places):
        ordering.confirm(ordering.take(n, pixels=pixels))
    patches = [pixels[:, 150 * n : 150 * (n + 1)] for n, pixels in enumerate(places)]
    ordering.confirm(ordering.take(6, pixels=np.ascontiguousarray(np.hstack(patches))))

    assert ordering.order()["conformity"] == "undecided"


EDITS = {
    "turned by 37°": lambda p: cv2.warpAffine(
        p, cv2.getRotationMatrix2D((360, 270), 37, 1.3), (720, 540), flags=cv2.INTER_CUBIC
    )[90:450, 120:600],
    "mirrored": lambda p: p[90:450, 120:600][:, ::-1],
    "inverted": lambda p: 255 - p[90:450, 120:600],
    "inverted and mirrored": lambda p: 255 - p[90:450, 120:600][:, ::-1],
    "out of focus": lambda p: cv2.GaussianBlur(p, (0, 0), 2.4)[90:450, 120:600],
    "gamma": lambda p: (255 * (p[90:450, 120:600] / 255) ** 1.6).astype(np.uint8),
    "in few greys": lambda p: p[90:450, 120:600] // 32 * 32,
    "strips in another order": lambda p: np.hstack(
        np.array_split(p[90:450, 120:600], 4, axis=1)[::-1]
    ),
    "stretched": lambda p: cv2.resize(p[90:450, 120:600], (552, 360)),
    "with a frame": lambda p: cv2.copyMakeBorder(
        p[90:450, 120:600], 60, 60, 60, 60, cv2.BORDER_CONSTANT, value=(255, 255, 255)
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_copy_of_a_place_is_no_further_field(ordering, edit):
    (ordering.folder / "specifications.toml").write_text(OF_THREE, encoding="utf-8")
    whole = steel(31, size=(720, 540))
    ordering.confirm(ordering.take(1, pixels=np.ascontiguousarray(whole[90:450, 120:600])))
    ordering.confirm(ordering.take(2, pixels=steel(32, size=(480, 360))))
    ordering.confirm(ordering.take(3, pixels=np.ascontiguousarray(EDITS[edit](whole))))

    assert "2 of 3 fields; field 1 and field 3 show one place" in ordering.order()["missing"][0]


# --- what no check on the same disk sees, an empty data folder does ------------------------------


def mark_as_compared(bench):
    """File a second picture of one place, and mark both as compared before they are."""
    pixels = steel(7)
    bench.shoot("4711_01_1.tif", pixels=pixels)
    bench.shoot("4711_01_2.tif", pixels=np.clip(pixels.astype(int) + 9, 0, 255).astype(np.uint8))
    address = f"sqlite:///{bench.folder / 'data' / 'martensight.db'}"
    tamper(
        address,
        "CREATE TRIGGER mark AFTER INSERT ON place BEGIN "
        "UPDATE place SET compared_at = '2026-11-24 09:00:00'; END",
    )
    bench.work()
    tamper(address, "DROP TRIGGER mark")


def file_a_field_of_no_file(bench):
    """File a field with pixels and right acts, of which there is no file."""
    bench.fine()
    bench.take(2)


@pytest.mark.parametrize("forge", [mark_as_compared, file_a_field_of_no_file])
def test_an_empty_data_folder_shows_what_no_check_on_the_same_disk_sees(
    bench, tmp_path, capsys, forge
):
    demand = DEMAND.replace("fields = 1", "fields = 2")
    bench.set(demand)
    forge(bench)
    bench.work()
    (tmp_path / "again").mkdir()
    again = Bench(tmp_path / "again", capsys)
    again.set(demand)
    shutil.copytree(bench.folder / "export", again.folder / "export", dirs_exist_ok=True)
    again.work()

    answers = [one.word() for one in (bench, again)]
    faults = verify_trail(bench.store, Outside(bench.folder / "reports"))[0]
    again.store.close()

    assert (answers, faults) == (["conforms", "undecided"], [])


# --- acts of people who are no leads -------------------------------------------------------------

ACTS = {
    "unusable": ("--unusable", "over_etched"),
    "wrong crop": ("--unusable", "wrong_crop"),
    "cannot tell": ("--cannot-tell",),
    "no micrograph": ("--strange", "no_micrograph"),
    "not sure": (FINE, "--unsure"),
}


@pytest.mark.parametrize("act", ACTS)
def test_no_decision_of_a_reviewer_lets_a_coarse_field_leave_the_count(ordering, act):
    fine(ordering)
    field = ordering.take(4, COARSE)

    assert ordering.agent("review", "label", field, *ACTS[act], "--by", "Ada") == 0
    assert ordering.order()["conformity"] == "undecided"


def test_a_field_of_another_subtype_is_named_with_it(ordering):
    fine(ordering)
    field = ordering.take(4, "B8")
    ordering.agent("review", "label", field, "--unusable", "stained", "--by", "Ada")

    assert "field 4 could be B8: a lead decides" in ordering.order()["missing"][0]


PREPARATIONS = ["2", "0", "A", "1.5", "999999999999999999999"]


@pytest.mark.parametrize("preparation", PREPARATIONS)
def test_a_coarse_field_stays_whatever_the_later_preparation_is_called(ordering, preparation):
    ordering.confirm(ordering.take(1, COARSE), COARSE)
    ordering.confirm(ordering.take(2, preparation=preparation, at=NEXT))

    assert ordering.order()["conformity"] != "conforms"


NOTES = ["order: CTRL", "specimen: 77", "preparation: 0", "material: 42CrMo4", "field: 1", "order:"]


@pytest.mark.parametrize("note", NOTES)
def test_no_note_takes_a_coarse_field_out_of_its_order(bench, note):
    bench.fine()
    bench.shoot("4711_01_4.tif", COARSE, note=note)
    bench.work()

    assert bench.word() != "conforms"


def test_a_second_page_of_half_the_size_is_no_preview_that_is_left_out(bench):
    bench.fine()
    path = bench.folder / "export" / "4711_01_4.tif"
    path.write_bytes(tif(steel(90, size=(480, 360)), steel(91, COARSE)))
    bench.coarse.append(path.name)
    bench.work()

    assert bench.word() == "does_not_conform"
