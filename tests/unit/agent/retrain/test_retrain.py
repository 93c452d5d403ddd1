"""A candidate learns from what people said; a gate says why or why not; only a person promotes."""

import hashlib
import json

import pytest
from labs.small import copy_of, import_more

from agent.archive import Archive
from agent.labelled_import import get_key
from agent.retrain import Gate, collect, get_training_config, retrain
from agent.retrain.bundle_registry import get_bundle, get_bundles_folder, list_bundles
from agent.store import Decision, Store, store_url
from model import read_manifest


@pytest.fixture
def lab(own_lab):
    return own_lab


@pytest.fixture
def data(lab):
    return lab.folder / "data"


@pytest.fixture
def store(data):
    with Store.open(store_url(data), site="Small lab", agent="test") as store:
        yield store


def current(store, data):
    return get_bundle(data, store.promotions.find_current())


def learn(store, data, *, min_new):
    bundle = current(store, data)
    manifest = read_manifest(bundle)
    return list(
        retrain(
            collect(store, Archive(data), manifest.taxonomy),
            current=bundle,
            plan=get_training_config(manifest),
            bundles=get_bundles_folder(data),
            min_new=min_new,
            now=manifest.created_at,
        )
    )


@pytest.fixture(scope="module")
def learned(taught_lab, tmp_path_factory):
    """The taught lab after 18 new labels and a retraining; the outcome with it."""
    lab = copy_of(taught_lab, tmp_path_factory.mktemp("learned") / "lab")
    data = lab.folder / "data"
    import_more(lab)
    with Store.open(store_url(data), site="Small lab", agent="test") as store:
        *_, outcome = learn(store, data, min_new=5)
    return lab, outcome


def test_everything_labelled_is_collected_and_what_is_not_is_counted(lab, store, data):
    one, other = store.labelled_micrographs.list_all()[:2]
    blurred = Decision(kind="unusable", by="E. Meier", why="blurred", comment="seen again")
    store.labels.decide(one.id, blurred, at=one.label.at)
    Archive(data).crop_path(other.sha256, other.page).unlink()

    collected = collect(store, Archive(data), read_manifest(current(store, data)).taxonomy)

    assert len(collected.examples) == len(lab.labelled) - 2
    assert collected.left_out == {"its crop is no longer in the archive": 1}


def test_specimens_stay_together(lab, store, data):
    collected = collect(store, Archive(data), read_manifest(current(store, data)).taxonomy)

    groups = {example.group for example in collected.examples}
    assert len(groups) == len({(one.order, one.specimen) for one in lab.labelled})


def test_each_example_is_named_by_its_file_below_the_imported_folder(lab, store, data):
    collected = collect(store, Archive(data), read_manifest(current(store, data)).taxonomy)

    imported = lab.folder / "labelled"
    assert all((imported / example.file).is_file() for example in collected.examples)


def test_with_too_few_new_labels_nothing_is_taught(store, data):
    before = list_bundles(data)

    (outcome,) = learn(store, data, min_new=5)

    assert outcome.gate is Gate.NOT_ENOUGH_EVIDENCE
    assert "0 new or changed labels" in outcome.sentence
    assert list_bundles(data) == before


def test_a_candidate_is_held_against_the_present_bundle_on_images_neither_learned_from(learned):
    lab, outcome = learned

    candidate = read_manifest(get_bundle(lab.folder / "data", outcome.candidate))
    present = read_manifest(get_bundle(lab.folder / "data", outcome.current))
    assert set(present.split["test"]) <= set(candidate.split["test"])
    assert not set(candidate.split["test"]) & candidate.learned_before_test
    assert not set(candidate.split["test"]) & present.learned_before_test
    assert set(candidate.split["test"]) <= candidate.learned_from
    evidence = next(c for c in outcome.numbers["checks"] if c["name"] == "evidence")
    assert evidence["numbers"]["n"] == len(candidate.split["test"])
    assert outcome.numbers["new_labels"] == 18
    assert outcome.gate in Gate


def test_a_dry_run_says_what_would_be_learned_from_and_teaches_nothing(lab, data, capsys):
    before = list_bundles(data)
    import_more(lab, specimens=1)
    capsys.readouterr()

    code = lab.agent("retrain", "--dry-run", "--json")

    said = json.loads(capsys.readouterr().out)
    assert code == 0
    assert said["new_labels"] == 6
    assert said["wanted"] == 20
    assert list_bundles(data) == before


def test_labels_that_were_put_right_since_count_as_much_as_new_ones(lab, store, data, capsys):
    learned = read_manifest(current(store, data)).learned_from
    manifest = lab.folder / "labelled" / "manifest.csv"
    heading, *rows = manifest.read_text(encoding="utf-8").splitlines(keepends=True)
    right = [row.replace(",G7,", ",G8,") for row in rows if ",G7," in row][:6]
    same = [row for row in rows if ",G7," not in row][:2]
    manifest.write_text("".join([heading, *right, *same]), encoding="utf-8")
    assert lab.agent("import", lab.folder / "labelled", "--manifest", manifest) == 0
    capsys.readouterr()

    lab.agent("retrain", "--dry-run", "--json")

    said = json.loads(capsys.readouterr().out)
    files = [manifest.parent / row.partition(",")[0] for row in right]
    keys = {get_key(hashlib.sha256(file.read_bytes()).hexdigest(), 0) for file in files}
    assert said["codes"]["G8"] == 6
    assert said["new_labels"] == len(keys & set(learned)) > 2


def test_a_gate_that_says_no_ends_with_3(lab, capsys):
    code = lab.agent("retrain", "--json")

    said = json.loads(capsys.readouterr().out)
    assert code == 3
    assert said["gate"] == "not_enough_evidence"


def test_every_check_of_the_gate_stands_in_the_candidates_record_with_its_numbers(learned, capsys):
    lab, outcome = learned
    capsys.readouterr()

    assert lab.agent("models", "show", outcome.candidate, "--why", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert lab.agent("models", "show", outcome.candidate, "--why") == 0
    words = capsys.readouterr().out

    assert said["gate"] == str(outcome.gate)
    assert said["outcome"] == str(outcome.finding)
    assert [one["name"] for one in said["numbers"]["checks"]] == [
        number["name"] for number in outcome.numbers["checks"]
    ]
    assert "points of accuracy" in " ".join(words.split())
    assert lab.agent("models", "show", outcome.current, "--why") == 2


def test_two_bundles_are_held_against_each_other_on_the_labels_that_count(
    learned, monkeypatch, capsys
):
    lab, outcome = learned
    words = ("models", "show", outcome.candidate, "--against", outcome.current)
    capsys.readouterr()

    assert lab.agent(*words) == 0
    imported = " ".join(capsys.readouterr().out.split())
    monkeypatch.setenv("AGENT_RETRAIN__LEARNS_FROM", '["blind"]')
    assert lab.agent(*words) == 0
    blind = " ".join(capsys.readouterr().out.split())

    assert f" of {outcome.numbers['n']} test micrographs right" in imported
    assert " of 0 test micrographs right" in blind


@pytest.mark.slow
def test_a_candidate_too_leaves_a_record_of_how_it_was_taught(lab, monkeypatch, capsys):
    import_more(lab)
    monkeypatch.setenv("AGENT_RETRAIN__MIN_NEW_LABELS", "5")
    capsys.readouterr()

    lab.agent("retrain", "--json")

    candidate = json.loads(capsys.readouterr().out)["candidate"]
    assert (
        get_bundles_folder(lab.folder / "data") / candidate / "record" / "confusion.svg"
    ).is_file()


def test_a_person_promotes_and_goes_back_and_both_are_in_the_trail(learned):
    lab, outcome = learned
    first, second = outcome.current, outcome.candidate

    with Store.open(store_url(lab.folder / "data"), site="Small lab", agent="test") as store:
        assert store.promotions.find_current() == first, "a retraining promotes nothing"
        by = ("--by", "E. Meier", "--reason")
        assert lab.agent("models", "promote", second, *by, "more data") == 0
        assert store.promotions.find_current() == second
        assert lab.agent("models", "rollback", *by, "worse on B") == 0

        assert store.promotions.find_current() == first
        acts = [(act.actor, act.subject) for act in store.audit_log.iter_acts("model.promoted")]
        assert acts[-2:] == [("E. Meier", second), ("E. Meier", first)]
        assert store.audit_log.find_problems() == []


def test_promotion_needs_a_name_and_a_reason(lab, store, capsys):
    name = store.promotions.find_current()

    assert lab.agent("models", "promote", name, "--reason", "r") == 2
    assert lab.agent("models", "promote", name, "--by", "E. Meier", "--reason", " ") == 2
    assert "Traceback" not in capsys.readouterr().err


def test_judging_again_stands_beside_the_old_answers(learned, capsys):
    lab, outcome = learned
    with Store.open(store_url(lab.folder / "data"), site="Small lab", agent="test") as store:
        before = {view.id: view.result.bundle for view in store.results.iter_all()}

        assert lab.agent("models", "reprocess", "--bundle", outcome.candidate, "--json") == 0

        judged = json.loads(capsys.readouterr().out)
        assert (judged["judged"], judged["known"]) == (len(before), 0)
        assert {view.id: view.result.bundle for view in store.results.iter_all()} == before
