"""Who signs for a bundle has seen which orders it would judge otherwise; two people may have to."""

import json
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from labs import lab as pages_lab
from labs.ordering import AT, BUNDLE, VALIDATED
from labs.small import twin_of

from agent.archive import Archive
from agent.errors import UsageError
from agent.orders.facts.order_policy import load_policy
from agent.orders.judge import method_validation
from agent.retrain import compute_impact, format_headline, list_sentences, save_impact
from agent.retrain.bundle_registry import get_bundle, list_bundles
from agent.retrain.gate import build_outcome, save_outcome
from agent.retrain.impact import MOST
from agent.settings import read
from agent.store import MicrographResult, Origin, Signature, Store, acting_through, store_url
from agent.store.people import auth
from agent.triage import Handling, Reason, TriageVerdict
from model import ComparisonOutcome, default_taxonomy

NEW = "20261125-beefbeef"
SINCE = AT - timedelta(days=90)


def allow(ordering):
    """Let the model alone say "conforms" under the bundle at work, the day before."""
    before = AT - timedelta(days=1)
    method_validation.save_record(ordering.store, "100Cr6", BUNDLE, VALIDATED, by="Ada", at=before)
    method_validation.set_permission(
        ordering.store,
        "100Cr6",
        on=True,
        bundle=BUNDLE,
        most=0.02,
        by="R. Stahl",
        reason="valid",
        at=before,
    )
    ordering.check()
    ordering.promote()


def answer(ordering, public_id, code, *reasons, role="shadow"):
    """Let the candidate answer about a field."""
    prediction = replace(pages_lab.prediction_of(code), bundle=NEW)
    handling = Handling.REVIEW if reasons else Handling.AUTOMATIC
    verdict = TriageVerdict(handling, tuple(Reason(reason) for reason in reasons))
    finding = MicrographResult({}, {}, {}, prediction, verdict)
    assert ordering.store.results.add(public_id, finding, role=role, at=AT)


def found(ordering, *, has_crop=lambda _: True):
    settings = read(ordering.folder / "agent.toml")
    lab = load_policy(settings, ordering.store, default_taxonomy(), now=AT)
    return compute_impact(ordering.store, lab, NEW, since=SINCE, has_crop=has_crop)


def save(ordering, said):
    archive = Archive(ordering.folder / "data")
    return save_impact(said, ordering.folder / "record", archive, site="Plant 1", at="now")


def test_an_order_that_would_not_conform_any_more_is_named_with_its_field(ordering):
    allow(ordering)
    ids = [ordering.take(field) for field in (1, 2, 3)]
    assert ordering.order()["conformity"] == "conforms"
    for one, code in zip(ids, ("G8", "G7", "G8"), strict=True):
        answer(ordering, one, code)

    said = found(ordering)

    (order,) = said.changed
    assert (order.number, order.before, order.after) == ("4711", "conforms", "undecided")
    assert "field 2: model says 7" in order.why[0]
    (flip,) = order.flips
    assert (flip.id, flip.before, flip.after) == (ids[1], "G8", "G7")
    assert (said.orders, said.fields, said.unasked) == (1, 3, 0)


def test_the_same_answers_change_nothing_though_the_lab_allows_only_the_other_bundle(ordering):
    allow(ordering)
    ids = [ordering.take(field) for field in (1, 2, 3)]
    for one in ids:
        answer(ordering, one, "G8", "out_of_scope")

    said = found(ordering)

    assert (said.changed, said.flips) == ((), ())
    assert "No validation record of 100Cr6 names 20261125-beefbeef" in said.notes[0]


def test_what_a_person_decided_stands_under_any_bundle(ordering):
    ids = [ordering.take(field) for field in (1, 2, 3)]
    for one in ids:
        ordering.confirm(one)
        answer(ordering, one, "G7")

    said = found(ordering)

    assert said.changed == ()
    assert [flip.decided for flip in said.flips] == ["G8", "G8", "G8"]


def test_fields_nobody_asked_about_are_counted_and_pruned_ones_apart(ordering):
    ids = [ordering.take(field) for field in (1, 2, 3)]
    answer(ordering, ids[0], "G8")

    said = found(ordering, has_crop=lambda view: view.id == ids[1])

    assert (said.fields, said.unasked, said.lost) == (1, 1, 1)


def test_without_a_compared_field_the_page_says_not_known_and_what_finds_it_out(ordering):
    for field in (1, 2, 3):
        ordering.take(field)
    said = found(ordering)

    page = save(ordering, said)

    text = page.read_text("utf-8")
    assert format_headline(said) == "Not known: 0 of 3 fields compared"
    assert "<h1>Not known: 0 of 3 fields compared</h1>" in text
    assert f"agent models reprocess --bundle {NEW} --shadow --days 90" in text
    assert "would change</h1>" not in text
    assert "bg-attention" in text


def test_where_some_fields_were_compared_the_headline_names_how_many(ordering):
    ids = [ordering.take(field) for field in (1, 2, 3)]
    answer(ordering, ids[0], "G8")

    some = format_headline(found(ordering))
    for one in ids[1:]:
        answer(ordering, one, "G8")

    assert some == "The conformity of at least 0 of 1 order would change: 1 of 3 fields compared"
    assert format_headline(found(ordering)) == "The conformity of 0 of 1 order would change"


def test_where_every_crop_is_gone_no_run_is_offered_that_finds_nothing_out(ordering):
    ordering.take(1)

    said = found(ordering, has_crop=lambda _: False)

    assert format_headline(said) == "Not known: 0 of 1 field compared"
    assert "reprocess" not in " ".join(list_sentences(said))


def test_nothing_that_counts_is_changed_by_asking(ordering):
    ids = [ordering.take(field) for field in (1, 2, 3)]
    for one in ids:
        answer(ordering, one, "G7", "uncertain")
    before = ordering.order()

    found(ordering)

    assert ordering.order() == before
    assert ordering.store.review_queue.count() == 0


def test_what_was_shown_is_known_again_by_its_hash_and_the_page_has_the_picture(ordering):
    ids = [ordering.take(field) for field in (1, 2, 3)]
    answer(ordering, ids[0], "G7")
    said = found(ordering)

    page = save(ordering, said)

    text = page.read_text("utf-8")
    document = json.loads(page.with_suffix(".json").read_text("utf-8"))
    assert said.sha256() in text
    assert said.in_short()["sha256"] == said.sha256()
    assert document["flips"][0]["id"] == ids[0]
    assert 'src="data:image/jpeg;base64,' in text
    assert 'href="http' not in text
    assert found(ordering).sha256() == said.sha256()


def test_a_page_of_very_many_flips_says_how_many_it_leaves_out(ordering):
    ids = [ordering.take(field) for field in (1, 2)]
    for one in ids:
        answer(ordering, one, "G7")
    said = found(ordering)
    many = replace(said, flips=said.flips * MOST)

    page = save_impact(
        many,
        ordering.folder / "record",
        Archive(ordering.folder / "nothing"),
        site="Plant 1",
        at="now",
    )

    assert f"{MOST} more are in the JSON file" in page.read_text("utf-8")
    assert "no picture" in page.read_text("utf-8")


# --- who signs ----------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    with Store.open(store_url(tmp_path), site="Plant 1", agent="test") as store:
        yield store


def signed(by, at=AT):
    return Signature(by, "better on G7", at, {"sha256": "0bad"})


def test_one_person_is_enough_where_the_lab_asks_for_one(store):
    assert store.promotions.sign("b", signed("Ada"), metrics={"n": 3}, promoters=1, instead_of=None)

    (act,) = store.promotions.list_all()
    assert (act.bundle, act.by, act.metrics["n"]) == ("b", "Ada", 3)
    assert [signature["by"] for signature in act.signatures] == ["Ada"]
    assert act.signatures[0]["shown"] == {"sha256": "0bad"}


def test_two_people_sign_and_both_are_on_record(store):
    sign = partial(store.promotions.sign, "b", metrics={}, promoters=2, instead_of=None)

    assert not sign(signed("Ada"))
    assert store.promotions.find_current() is None
    assert [signature.by for signature in store.promotions.list_signatures("b")] == ["Ada"]
    assert sign(signed("Bob", AT + timedelta(hours=1)))

    assert store.promotions.find_current() == "b"
    assert [signature["by"] for signature in store.promotions.list_all()[0].signatures] == [
        "Ada",
        "Bob",
    ]
    assert store.promotions.list_signatures("b") == []
    acts = [entry.act for entry in store.audit_log.iter_acts()]
    assert acts == ["promotion_proposed.recorded", "model.promoted"]
    assert store.audit_log.find_problems() == []


def test_no_program_is_one_of_two_who_sign(store):
    store.promotions.sign("b", signed("Ada"), metrics={}, promoters=2, instead_of=None)

    with (
        acting_through(Origin("shell", account="robot", proof="token")),
        pytest.raises(UsageError, match="robot is a program"),
    ):
        store.promotions.sign("b", signed("robot"), metrics={}, promoters=2, instead_of=None)

    assert store.promotions.find_current() is None


@pytest.mark.parametrize("again", ["Ada", " ada", "A da"])
def test_the_same_person_does_not_sign_twice(store, again):
    store.promotions.sign("b", signed("Ada"), metrics={}, promoters=2, instead_of=None)

    with pytest.raises(UsageError, match="a second person has to sign"):
        store.promotions.sign("b", signed(again), metrics={}, promoters=2, instead_of=None)

    assert store.promotions.find_current() is None


def test_what_was_shown_beside_a_bundle_that_is_no_longer_at_work_is_not_signed_for(store):
    store.promotions.promote("c", by="Eve", reason="first", at=AT, metrics={})

    with pytest.raises(UsageError, match=r"c was promoted in between.* with a\. Compare again"):
        store.promotions.sign("b", signed("Ada"), metrics={}, promoters=1, instead_of="a")

    assert store.promotions.find_current() == "c"
    assert store.promotions.sign("b", signed("Ada"), metrics={}, promoters=1, instead_of="c")


def test_a_proposal_ends_with_the_promotion_of_another_bundle(store):
    store.promotions.sign("b", signed("Ada"), metrics={}, promoters=2, instead_of=None)
    store.promotions.promote("c", by="Eve", reason="first", at=AT + timedelta(hours=1), metrics={})

    later = signed("Bob", AT + timedelta(hours=2))
    assert not store.promotions.sign("b", later, metrics={}, promoters=2, instead_of="c")

    assert store.promotions.find_current() == "c"


@pytest.mark.parametrize(("by", "reason"), [("", "r"), ("Ada", " ")])
def test_a_signature_has_a_name_and_a_reason(by, reason):
    with pytest.raises(UsageError):
        Signature(by, reason, AT)


# --- the command --------------------------------------------------------------------------------


@pytest.fixture
def small(own_lab):
    """A copy of the taught lab, and a second bundle that is no one's yet."""
    (first,) = list_bundles(own_lab.folder / "data")
    return own_lab, twin_of(first).name


def test_a_promotion_says_what_would_change_and_keeps_what_was_shown(small, capsys):
    lab, name = small

    code = lab.agent("models", "promote", name, "--by", "E. Meier", "--reason", "better")

    said = capsys.readouterr().out
    assert code == 0
    assert "Nothing to compare: 0 orders without a field" in said
    with Store.open(store_url(lab.folder / "data"), site="Small lab", agent="test") as store:
        shown = store.promotions.list_all()[0].signatures[0]["shown"]
    record = get_bundle(lab.folder / "data", name) / "record"
    assert (record / f"impact-{shown['sha256'][:12]}.html").is_file()


def judged(lab, name, *, against):
    """Write down that the gate refused a bundle when it was held against another one."""
    outcome = build_outcome(
        ComparisonOutcome.WORSE, f"{name} is worse.", candidate=name, current=against, numbers={}
    )
    save_outcome(get_bundle(lab.folder / "data", name), outcome)


def test_whoever_signs_is_told_what_the_gate_said_and_that_is_kept(small, capsys):
    lab, name = small
    (first,) = {bundle.name for bundle in list_bundles(lab.folder / "data")} - {name}
    judged(lab, name, against=first)

    assert lab.agent("models", "promote", name, "--by", "E. Meier", "--reason", "needed") == 0

    told = f"Result of the gate: {name} is worse."
    said = " ".join(capsys.readouterr().out.split())
    assert told in said
    assert "agent models show --against" not in said
    with Store.open(store_url(lab.folder / "data"), site="Small lab", agent="test") as store:
        assert store.promotions.list_all()[0].signatures[0]["shown"]["gate"] == told


def test_a_gate_that_held_it_against_another_bundle_than_is_at_work_is_said_to_be_so(small, capsys):
    lab, name = small
    judged(lab, name, against="20250101-00000000")

    assert lab.agent("models", "promote", name, "--by", "E. Meier", "--reason", "needed") == 0

    said = " ".join(capsys.readouterr().out.split())
    assert "The gate compared it with 20250101-00000000" in said
    assert "agent models show --against" in said


def test_without_a_gate_whoever_signs_is_told_that_too(small, capsys):
    lab, name = small

    assert lab.agent("models", "promote", name, "--by", "E. Meier", "--reason", "needed") == 0

    assert f"No gate has compared {name} with another" in " ".join(capsys.readouterr().out.split())


def test_a_broken_record_of_the_gate_is_a_sentence_and_keeps_nobody_from_signing(small, capsys):
    lab, name = small
    judged(lab, name, against="20250101-00000000")
    gate = get_bundle(lab.folder / "data", name) / "record" / "gate.json"
    gate.write_bytes(gate.read_bytes()[:20])

    assert lab.agent("models", "show", name, "--why") == 2
    assert "the result of the gate cannot be read" in capsys.readouterr().err
    assert lab.agent("models", "promote", name, "--by", "E. Meier", "--reason", "needed") == 0

    assert "the result of the gate cannot be read" in " ".join(capsys.readouterr().out.split())


def test_the_shell_takes_two_people_where_the_lab_says_so(small, monkeypatch, capsys):
    lab, name = small
    monkeypatch.setenv("AGENT_RETRAIN__PROMOTERS", "2")
    promote = ("models", "promote", name, "--reason", "better", "--by")

    assert lab.agent(*promote, "E. Meier") == 0
    assert "needs a second signature" in capsys.readouterr().out
    lab.agent("models", "list", "--json")
    listed = json.loads(capsys.readouterr().out)["bundles"]
    assert [one["proposed_by"] for one in listed if one["name"] == name] == [["E. Meier"]]
    assert lab.agent(*promote, "E. Meier") == 2
    assert "a second person has to sign" in capsys.readouterr().err
    assert lab.agent(*promote, "R. Stahl") == 0

    assert "is in use" in capsys.readouterr().out
    lab.agent("models", "show", name)
    assert "E. Meier and R. Stahl: better" in capsys.readouterr().out


def test_where_there_are_accounts_only_a_lead_signs(small, capsys):
    lab, name = small
    tokens = {"reviewing": auth.make_token(), "releasing": auth.make_token()}
    with Store.open(store_url(lab.folder / "data"), site="Small lab", agent="test") as store:
        for who, role in (("reviewing", "reviewer"), ("releasing", "lead")):
            hashed = auth.hash_token(tokens[who])
            store.accounts.add(who, kind="program", role=role, hashed=hashed, at=AT, by="test")

    def agent(who: str, *words: str) -> int:
        token = ("--token", tokens[who]) if who in tokens else ()
        return lab.agent(*token, "models", *words, "--reason", "better", "--by", who)

    assert agent("reviewing", "promote", name) == 2
    assert "requires role lead" in capsys.readouterr().err
    assert agent("Nobody", "promote", name) == 2
    assert agent("releasing", "promote", name) == 0
    assert agent("reviewing", "rollback") == 2
