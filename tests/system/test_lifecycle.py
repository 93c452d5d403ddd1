"""Whatever befalls the bundle at work, one serves that a person put to work, and it is said."""

import json
import os
import sqlite3
import time
from contextlib import closing, contextmanager

import pytest
from bench.lifecycle import run
from labs.service import until
from labs.small import past, twin_of

from agent import settings as settings_of
from agent.archive import Archive
from agent.demo.exporter import encode
from agent.nightly import night_settings, write_report
from agent.retrain.bundle_registry import get_bundle, list_previous_bundles
from agent.service import run_once
from agent.service.active_bundle import CurrentBundle
from agent.service.composition import make_pipeline, make_pool, open_store
from agent.service.data_folder import clock
from agent.service.health.problems import Problems
from agent.service.worker import Worker
from agent.site_time import night_of
from model import verify_bundle
from model.inference.classifier import COMPILED, CONVERTED

BY = ("--by", "E. Meier", "--reason")


@pytest.fixture
def lab(own_lab):
    return own_lab


@pytest.fixture
def settings(lab):
    return settings_of.read(lab.folder / "agent.toml", {})


@pytest.fixture
def store(settings):
    with open_store(settings) as store:
        yield store


@pytest.fixture
def two(lab, settings, store):
    """The first bundle, and a second one that is at work in its place."""
    first = get_bundle(settings.store.folder, store.promotions.find_current())
    second = twin_of(first)
    verify_bundle(second)
    assert lab.agent("models", "promote", second.name, *BY, "better") == 0
    return first, second


def spoil(bundle):
    """Change one byte of a bundle, and say how to put it back."""
    heads = bundle / "heads.safetensors"
    whole = heads.read_bytes()
    heads.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    return lambda: heads.write_bytes(whole)


@contextmanager
def no_file_beyond(size_bytes):
    """Let this process write no file larger than that, as on a disk that is full."""
    import resource  # noqa: PLC0415 - POSIX

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def shoot(lab, seed):
    """Let the microscope export one specimen; the fields come back."""
    pictures = past(1, first_order=5000 + seed, seed=seed, codes=("G7",))
    for picture in pictures:
        drawn = picture.drawn((280, 210), border=False)
        (lab.folder / "export" / picture.name).write_bytes(
            encode(drawn, picture.name.rpartition(".")[2])
        )
    return pictures


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_killed_at_random_moments_the_bundle_at_work_is_whole_and_one_that_was_signed_for(tmp_path):
    tally = run(tmp_path / "lab", moments=2)

    assert tally.faults == []
    assert tally.refused == tally.altered > 3


def bundles_of(store):
    return [
        view.result.bundle for view in store.results.iter_all() if view.result.origin == "watch"
    ]


def test_a_bundle_changed_by_one_byte_is_refused_by_name_and_the_one_before_serves(
    settings, store, two
):
    first, second = two
    spoil(second)
    bundle = CurrentBundle(settings, store)

    assert bundle.refresh()

    assert bundle.name == first.name
    assert bundle.classifier.name == first.name
    assert second.name in str(bundle.problem)
    assert f"{first.name} serves instead" in str(bundle.problem)
    assert not bundle.refresh(), "it is not loaded again and again"
    (record,) = store.records.all("bundle_refused")
    assert (record.subject, record.facts["serves"]) == (second.name, first.name)


def test_the_one_before_serves_though_the_database_takes_no_record_of_it(
    settings, store, two, monkeypatch
):
    first, second = two
    spoil(second)
    monkeypatch.setattr("agent.store.engine.BUSY_TIMEOUT_MS", 50)
    with (
        open_store(settings) as hurried,
        closing(sqlite3.connect(settings.store.folder / "martensight.db")) as other,
    ):
        bundle = CurrentBundle(settings, hurried)
        other.execute("BEGIN IMMEDIATE")

        assert bundle.refresh()

        assert (bundle.name, hurried.records.all("bundle_refused")) == (first.name, [])
        other.rollback()
        assert not bundle.refresh()
        (record,) = hurried.records.all("bundle_refused")
        assert (record.subject, record.facts["serves"]) == (second.name, first.name)


def test_a_running_agent_keeps_the_bundle_it_has_where_the_promoted_one_cannot_be_loaded(
    lab, settings, store, two
):
    first, second = two
    lab.agent("models", "rollback", *BY, "for now")
    bundle = CurrentBundle(settings, store)
    bundle.refresh()
    classifier = bundle.classifier
    store.promotions.promote(second.name, by="E. Meier", reason="again", at=clock(), metrics={})
    spoil(second)

    assert not bundle.refresh()

    assert bundle.classifier is classifier
    assert first.name in str(bundle.problem)


def test_a_damaged_bundle_is_made_whole_by_a_copy_and_keeps_what_was_written_about_it(
    lab, two, tmp_path, capsys
):
    _, second = two
    assert lab.agent("models", "export", second.name, tmp_path / "usb") == 0
    assert lab.agent("models", "add", tmp_path / "usb" / second.name) == 2, "it is here, and whole"
    (second / "record" / "note.txt").write_text("ours", encoding="utf-8")
    spoil(second)

    assert lab.agent("models", "add", tmp_path / "usb" / second.name) == 0

    assert "was damaged here and is repaired" in capsys.readouterr().out
    verify_bundle(second)
    assert (second / "record" / "note.txt").read_text(encoding="utf-8") == "ours"
    assert {hidden.name for hidden in second.parent.glob(".*")} <= {COMPILED, CONVERTED}


def test_a_copy_that_cannot_be_written_leaves_what_was_there(lab, two, tmp_path, capsys):
    _, second = two
    lab.agent("models", "export", second.name, tmp_path / "usb")
    spoil(second)
    (second.parent / f".{second.name}.part").write_bytes(b"")  # nobody can make a folder of it

    assert lab.agent("models", "add", tmp_path / "usb" / second.name) == 2

    said = capsys.readouterr().err
    assert "cannot be written" in said
    assert "[(" not in said
    assert (second / "heads.safetensors").is_file()


@pytest.mark.skipif(os.name == "nt", reason="POSIX limits")
def test_a_disk_that_takes_no_more_is_said_in_one_plain_sentence(lab, two, tmp_path, capsys):
    _, second = two
    largest = max(path.stat().st_size for path in second.iterdir())

    with no_file_beyond(largest - 1):
        assert lab.agent("models", "export", second.name, tmp_path / "usb") == 2

    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"{second.name}: cannot be written (File too large). Nothing was left there." in said
    assert list((tmp_path / "usb").iterdir()) == []


def test_a_bundle_that_is_put_back_is_taken_up(settings, store, two, monkeypatch):
    _, second = two
    mend = spoil(second)
    bundle = CurrentBundle(settings, store)
    bundle.refresh()
    mend()
    assert not bundle.refresh(), "it is tried again later, not with every file"

    later_s = time.monotonic() + 301
    monkeypatch.setattr("agent.service.active_bundle.time.monotonic", lambda: later_s)

    assert bundle.refresh()
    assert (bundle.name, bundle.problem) == (second.name, "")


def test_a_roll_back_to_what_serves_ends_the_problem(lab, settings, store, two):
    _, second = two
    spoil(second)
    bundle = CurrentBundle(settings, store)
    bundle.refresh()

    assert lab.agent("models", "rollback", *BY, "damaged") == 0
    bundle.refresh()

    assert bundle.problem == ""


def test_with_no_bundle_that_can_be_loaded_every_micrograph_goes_to_review(settings, store, two):
    for bundle in two:
        spoil(bundle)
    bundle = CurrentBundle(settings, store)

    assert not bundle.refresh()

    assert bundle.classifier is None
    assert "every micrograph goes to review" in str(bundle.problem)


def test_results_and_the_report_say_who_judged_in_place_of_a_damaged_bundle(
    lab, settings, store, two
):
    first, second = two
    manifest = second / "bundle.json"
    manifest.write_bytes(manifest.read_bytes()[:-1])
    shoot(lab, 1)

    outcome = run_once(settings, store)

    assert set(bundles_of(store)) == {first.name}
    assert any(second.name in problem for problem in outcome.problems)
    night = night_of(clock(), settings.night.at, settings.site.time_zone)
    reports = settings.store.folder / "reports"
    lab_of = night_settings(settings, store, now=clock())
    written = write_report(
        store, Archive(settings.store.folder), reports, night, lab_of, now=clock()
    )
    said = written.path.read_text("utf-8")
    assert f"bundle {second.name} cannot be loaded; {first.name} serves instead" in said
    assert written.summary.tone == "problem"


def test_after_a_roll_back_results_name_the_old_bundle_and_it_is_on_record(
    lab, settings, store, two, capsys
):
    first, second = two
    shoot(lab, 1)
    run_once(settings, store)
    capsys.readouterr()

    assert lab.agent("models", "rollback", *BY, "too many doubts") == 0

    shoot(lab, 2)
    run_once(settings, store)
    assert bundles_of(store) == [second.name, second.name, first.name, first.name]
    assert store.promotions.list_all()[0].reason == f"back from {second.name}: too many doubts"
    lab.agent("models", "show", first.name, "--json")
    assert (
        "too many doubts"
        in json.loads(capsys.readouterr().out.splitlines()[-1])["promotions"][0]["reason"]
    )


def test_two_people_who_go_back_do_not_put_to_work_again_what_both_wanted_to_be_rid_of(
    lab, store, two, capsys
):
    first, second = two
    third = twin_of(second, "a third")
    assert lab.agent("models", "promote", third.name, *BY, "better still") == 0

    assert lab.agent("models", "rollback", "--by", "Ada", "--reason", "doubts") == 0
    assert lab.agent("models", "rollback", "--by", "Bob", "--reason", "doubts") == 0

    assert [promotion.bundle for promotion in store.promotions.list_all()[:2]] == [
        first.name,
        second.name,
    ]
    capsys.readouterr()
    assert lab.agent("models", "rollback", "--by", "Bob", "--reason", "doubts") == 2
    assert "no previous bundle" in capsys.readouterr().err


def test_going_back_needs_a_reason(lab, store, two):
    _, second = two

    assert lab.agent("models", "rollback", "--by", "Ada", "--reason", " ") == 2

    assert store.promotions.find_current() == second.name


def test_a_bundle_that_somebody_went_back_from_does_not_serve_instead(lab, settings, store, two):
    first, _ = two
    lab.agent("models", "rollback", *BY, "worse on B")
    spoil(first)
    bundle = CurrentBundle(settings, store)

    bundle.refresh()

    assert bundle.classifier is None
    assert "every micrograph goes to review" in str(bundle.problem)


def test_one_may_go_back_from_a_bundle_that_was_promoted_again(store):
    for name in "ABA":
        store.promotions.promote(name, by="Ada", reason="r", at=clock(), metrics={})

    assert list_previous_bundles(store.promotions.list_all())[0] == "B"


def test_a_gpu_that_the_cpu_stands_in_for_is_a_problem_until_it_answers_again(settings, store, two):
    bundle, problems = CurrentBundle(settings, store), Problems()
    bundle.refresh()

    def tools():
        pool = make_pool(settings)
        return pool, make_pipeline(
            settings, store=store, pool=pool, classifier=bundle.classifier, now=clock
        )

    worker = Worker(tools, bundle=bundle, reachable=list, problems=problems)
    bundle.classifier._predictor.degraded_reason = "The GPU cuda does not answer any more."
    worker.start()
    try:
        until(lambda: problems.all() == ["The GPU cuda does not answer any more."])
        bundle.classifier._predictor.degraded_reason = ""
        until(lambda: not problems.all())
    finally:
        worker.stop()
        worker.join()


# --- what passes is no verdict ------------------------------------------------------------------


@contextmanager
def no_file_left():
    """Let this process open no further file, as where connections have used them up."""
    import resource  # noqa: PLC0415 - POSIX

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


posix = pytest.mark.skipif(os.name == "nt", reason="POSIX limits")


@posix
def test_a_bundle_that_cannot_be_read_for_want_of_files_is_waited_for_and_not_refused(
    settings, store, two
):
    _, second = two
    bundle = CurrentBundle(settings, store)
    store.promotions.find_current()  # the database is open
    with no_file_left():
        assert not bundle.refresh()
        assert second.name in bundle.waits_for
    assert store.records.all("bundle_refused") == []

    bundle.refresh()

    assert (bundle.name, bundle.waits_for, bundle.problem) == (second.name, "", "")


@posix
def test_a_bundle_that_cannot_be_read_for_want_of_files_leaves_the_one_at_work_at_work(
    lab, settings, store, two
):
    first, second = two
    lab.agent("models", "rollback", *BY, "for now")
    bundle = CurrentBundle(settings, store)
    bundle.refresh()
    store.promotions.promote(second.name, by="E. Meier", reason="again", at=clock(), metrics={})

    with no_file_left():
        bundle.refresh()

    assert (bundle.name, bundle.waits_for) == (first.name, "")
    assert "Too many open files" in str(bundle.problem)
    assert store.records.all("bundle_refused") == []


@posix
def test_no_micrograph_is_judged_without_its_bundle_for_want_of_files(settings, store, two):
    bundle = CurrentBundle(settings, store)
    worker = Worker(
        lambda: pytest.fail("nothing is taken meanwhile"),
        bundle=bundle,
        reachable=list,
        problems=(problems := Problems()),
        after_round=lambda _files, _classifier: pytest.fail("no check passes without a bundle"),
    )
    store.promotions.find_current()
    with no_file_left():
        worker.start()
        until(problems.all)
        worker.stop()
        worker.join(60)

    assert any(two[1].name in problem for problem in problems.all())
