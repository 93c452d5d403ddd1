"""A reviewer gives a scale that the file does not say; it is kept, judged with and named."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from labs.lab import HOME, Lab, minutes, web_of
from labs.pipeline import Bench, Parrot
from labs.statements import ISSUER, RULES
from servers.browser import until_ready
from servers.pages import served

import reports
from agent.errors import UsageError
from agent.orders.facts.scale_tracing import (
    find_settled,
    give_scale,
    propose_from_line,
    propose_from_objective,
    settle,
)
from agent.orders.statements.freezing import freeze_orders
from agent.orders.statements.statement_page import build_statement_page
from agent.retrain import build_judge, reprocess
from agent.store import GIVEN, Record
from agent.triage import Policy
from agent.watch import Calibration
from agent.web import create_app

SIZE = (1000, 800)
RANGE = (0.01, 5.0)


# --- what is computed -----------------------------------------------------------------------------


def test_a_line_over_the_bar_and_its_length_give_the_scale():
    proposal = propose_from_line((100, 700), (350, 700), 50.0, SIZE)

    assert proposal.um_per_px == pytest.approx(0.2)
    assert proposal.facts["line"] == [[100, 700], [350, 700]]


@pytest.mark.parametrize(
    ("start", "end", "length_um", "sentence"),
    [
        ((100, 700), (110, 700), 50.0, "The line is 10 px long"),
        ((100, 700), (1001, 700), 50.0, "leaves the micrograph"),
        ((100, 700), (float("nan"), 700), 50.0, "leaves the micrograph"),
        ((100, 700), (350, 700), 0.0, "Type the length"),
        ((100, 700), (350, 700), float("inf"), "Type the length"),
    ],
)
def test_a_line_that_cannot_be_is_refused_in_a_sentence(start, end, length_um, sentence):
    with pytest.raises(UsageError, match=sentence):
        propose_from_line(start, end, length_um, SIZE)


def test_an_objective_holds_for_the_image_size_of_its_entry():
    table = [Calibration("50x", 0.2, *SIZE), Calibration("50x", 0.4, 500, 400)]

    assert propose_from_objective(table, "50x", SIZE).um_per_px == 0.2
    with pytest.raises(UsageError, match="has no '100x'"):
        propose_from_objective(table, "100x", SIZE)


def record(number, by, um_per_px):
    facts = {"um_per_px": um_per_px}
    return Record(id=number, kind=GIVEN, subject="id", by=by, at=minutes(number), facts=facts)


def test_one_reviewer_settles_it_and_the_newest_word_counts():
    records = [record(1, "Ann", 0.2), record(2, "Bea", 0.5)]

    assert settle(records[:1], two=False).by == ("Ann",)
    assert settle(records, two=False).um_per_px == 0.5
    assert settle([], two=False) is None


def test_where_two_are_asked_both_have_to_give_it():
    ann, again = record(1, "Ann", 0.2), record(2, "Ann", 0.2)
    other, same = record(3, "Bea", 0.21), record(4, "Cem", 0.2035)

    assert settle([ann, again], two=True) is None
    assert settle([ann, again, other], two=True) is None
    settled = settle([ann, again, other, same], two=True)
    assert (settled.um_per_px, settled.by, settled.record) == (0.2035, ("Ann", "Cem"), 4)


# --- the page and the API -------------------------------------------------------------------------


class Unscaled(Lab):
    """A lab whose files say no scale."""

    def take(self, *args, **more):
        """Take one micrograph whose scale is unknown."""
        more.setdefault("reasons", ("scale_unknown",))
        return super().take(*args, um_per_px=None, **more)


@pytest.fixture
def unscaled(tmp_path):
    lab = Unscaled(tmp_path / "data")
    yield lab
    lab.store.close()


@pytest.fixture
def web(unscaled):
    return replace(web_of(unscaled), objectives={"LOM-07": (Calibration("50x", 0.2),)})


def reviewer(web, name="Ann"):
    client = TestClient(create_app(web), base_url=HOME, headers={"origin": HOME})
    client.post("/review/name", data={"by": name})
    return client


LINE = {"from_x": "10", "from_y": "85", "to_x": "60", "to_y": "85"}


def test_the_review_page_leads_to_where_the_scale_is_given(unscaled, web):
    public_id = unscaled.take("G8")
    ann = reviewer(web)
    assert f'href="/review/{public_id}/scale"' in ann.get(f"/review/{public_id}").text

    page = ann.get(f"/review/{public_id}/scale").text
    assert 'value="50x"' in page
    after = ann.post(f"/review/{public_id}/scale", data=LINE | {"length_um": "10,5"}).text

    assert "Ann gave the scale 0.21 µm per pixel." in after
    (kept,) = unscaled.store.records.all(GIVEN, public_id)
    assert (kept.by, kept.facts["length_um"], kept.facts["how"]) == ("Ann", 10.5, "line")
    acts = [
        act for act in unscaled.store.audit_log.iter_acts() if act.act == "scale_given.recorded"
    ]
    assert [(act.actor, act.subject) for act in acts] == [("Ann", public_id)]


def test_an_objective_of_the_table_is_given_by_one_press(unscaled, web):
    public_id = unscaled.take("G8")

    reviewer(web).post(f"/review/{public_id}/scale", data={"objective": "50x"})

    view = unscaled.store.results.find(public_id)
    assert find_settled(unscaled.store, view).um_per_px == 0.2


def test_a_typed_scale_is_given_to_one_micrograph_or_to_all_of_its_source(unscaled, web):
    first, second, third = (unscaled.take("G8", name=f"{n}.tif") for n in "abc")
    ann = reviewer(web)

    ann.post(f"/review/{first}/scale", data={"um_per_px": "0,21"})
    alone = len(unscaled.store.records.all(GIVEN))
    ann.post(f"/review/{second}/scale", data={"um_per_px": "0.2", "whole_source": "1"})

    views = map(unscaled.store.results.find, (second, third))
    assert alone == 1
    assert [find_settled(unscaled.store, view).um_per_px for view in views] == [0.2, 0.2]
    assert unscaled.store.records.all(GIVEN, third)[0].facts["how"] == "number"


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        (LINE | {"length_um": "5000"}, "100 µm per pixel is implausible"),
        (LINE | {"length_um": "50", "unit": "mm"}, "1000 µm per pixel is implausible"),
        (LINE | {"length_um": "fifty"}, "Type the length that is printed"),
        ({"length_um": "50"}, "Draw a line over the scale bar"),
        ({"um_per_px": "a lot"}, "Type the µm of one pixel"),
        ({"um_per_px": "nan"}, "is implausible"),
        ({"objective": "100x"}, "The table of objectives has no"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence_and_nothing_is_kept(unscaled, web, form, sentence):
    public_id = unscaled.take("G8")

    answer = reviewer(web).post(f"/review/{public_id}/scale", data=form)

    assert answer.status_code == 422
    assert sentence in answer.text
    assert unscaled.store.records.all(GIVEN) == []


def test_a_scale_that_the_file_says_is_not_replaced(lab):
    public_id = lab.take("G8", reasons=("uncertain",))

    answer = reviewer(web_of(lab)).post(
        f"/review/{public_id}/scale", data=LINE | {"length_um": "10"}
    )

    assert answer.status_code == 422
    assert "The file gives the scale of this micrograph itself" in answer.text


def test_the_second_of_two_does_not_see_what_the_first_gave(unscaled, web):
    public_id = unscaled.take("G8", thresholds={"double_share": 1.0})
    reviewer(web).post(f"/review/{public_id}/scale", data=LINE | {"length_um": "10.5"})

    page = reviewer(web, "Bea").get(f"/review/{public_id}/scale").text
    assert "Ann gave a scale. A second reviewer has to give it too" in page
    assert "0.21" not in page
    after = reviewer(web, "Bea").post(
        f"/review/{public_id}/scale", data=LINE | {"length_um": "10.5"}
    )

    assert "Ann and Bea gave the scale 0.21 µm per pixel." in after.text


def test_a_program_gives_the_scale_and_is_told_whether_it_holds(unscaled, web):
    public_id = unscaled.take("G8")
    path = f"/api/v1/micrographs/{public_id}/scale"
    body = {"by": "Ann", "line_from": [10, 85], "line_to": [60, 85], "length_um": 10}

    answer = reviewer(web).post(path, json=body)
    neither = reviewer(web).post(path, json={"by": "Ann"})

    assert answer.status_code == 201
    assert answer.json() == {"um_per_px": 0.2, "settled": True, "by": ["Ann"]}
    assert neither.status_code == 422


# --- judged again ---------------------------------------------------------------------------------


class Watching(Parrot):
    """A classifier that remembers at which scale it was asked."""

    def __init__(self, **given):
        super().__init__(**given)
        self.scales = []

    def classify(self, fields):
        self.scales += [field.um_per_px for field in fields]
        return super().classify(fields)


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    bench.classifier = Watching()
    bench.pipeline = bench.made(classifier=bench.classifier)
    yield bench
    bench.store.close()


def unknown(bench, name="4711.png", *, warnings=()):
    """Take a file whose scale is unknown; its view comes back."""
    path = bench.export(name)
    ((_, [whole]),) = bench.pool.crop_all([(path, None)])
    bench.pool.faults[name] = [
        replace(whole, um_per_px=None, um_per_px_source=None, warnings=tuple(warnings))
    ]
    bench.take()
    (view,) = bench.store.results.search(path=name)
    return view


def give(bench, view, um_per_px, by="Ann"):
    size = (view.width, view.height)
    proposal = propose_from_line((0, 1), (25, 1), 25 * um_per_px, size)
    give_scale(bench.store, view, proposal, plausible=RANGE, by=by, at=bench.clock())


def test_the_running_agent_judges_it_again_at_the_scale_that_was_given(bench):
    view = unknown(bench)
    assert view.result.reasons == ("scale_unknown",)

    give(bench, view, 0.25)
    bench.pipeline.process_batch(4)

    after = bench.store.results.find(view.id)
    assert bench.classifier.scales == [None, 0.25]
    assert (after.um_per_px, after.um_per_px_source) == (0.25, "reviewer")
    assert (after.result.handling, after.result.reasons, after.awaits) == ("automatic", (), False)
    assert after.result.thresholds[GIVEN]["by"] == ["Ann"]
    assert bench.store.review_queue.count() == 0
    assert bench.store.audit_log.find_problems() == []


def test_it_is_judged_once_for_each_scale_also_by_the_next_agent(bench):
    view = unknown(bench)
    give(bench, view, 0.25)

    for _ in range(2):
        bench.pipeline.process_batch(4)
    bench.made(classifier=bench.classifier).process_batch(4)
    give(bench, view, 0.5, by="Bea")
    bench.pipeline.process_batch(4)

    assert bench.classifier.scales == [None, 0.25, 0.5]
    assert bench.store.results.find(view.id).um_per_px == 0.5


def test_scales_that_disagreed_are_replaced_and_no_longer_in_doubt(bench):
    view = unknown(bench, warnings=("scale_conflict",))
    assert view.result.reasons == ("scale_conflict",)

    give(bench, view, 0.25)
    bench.pipeline.process_batch(4)

    after = bench.store.results.find(view.id)
    assert (after.result.reasons, after.warnings) == ((), ())


def test_another_bundle_is_asked_at_the_scale_that_was_given(bench):
    view = unknown(bench)
    give(bench, view, 0.25)
    bench.pipeline.process_batch(4)
    other = Watching(name="20261125-beefbeef")
    policy = Policy(control_share=0.0)
    judge = build_judge(bench.archive, other, policy=policy, thresholds={})

    list(reprocess(bench.store, other.name, judge, role="shadow", since=None, now=bench.clock))

    (answer,) = bench.store.results.iter_by_bundle(other.name, since=None)
    assert (other.scales, answer.um_per_px) == ([0.25], 0.25)


def test_an_impossible_scale_is_not_recorded(bench):
    view = unknown(bench)

    with pytest.raises(UsageError, match="implausible"):
        give(bench, view, 7.0)

    assert bench.store.records.all(GIVEN) == []


# --- in a browser ---------------------------------------------------------------------------------


def test_the_line_is_drawn_by_pointer_and_moved_by_keys(unscaled, web, tab):
    public_id = unscaled.take("G8")
    with served(web) as address:
        tab.goto(f"{address}/review/{public_id}")
        tab.fill("#by", "Ann")
        tab.locator("h1").click()
        until_ready(tab, public_id)
        tab.keyboard.press("l")
        tab.wait_for_url("**/scale")
        tab.wait_for_load_state()
        box = tab.locator("[data-paper] img").bounding_box()
        per_px = box["width"] / 100  # the file is 100 px wide
        x, y = box["x"] + 20 * per_px, box["y"] + 40 * per_px

        tab.mouse.move(x, y)
        tab.mouse.down()
        tab.mouse.move(x + 30 * per_px, y)
        tab.mouse.up()
        tab.focus("[data-end=to]")
        tab.keyboard.press("Shift+ArrowRight")
        for _ in range(10):
            tab.keyboard.press("ArrowRight")
        drawn = [float(tab.input_value(f"[name={name}]")) for name in LINE]
        tab.fill("#length", "10")
        shown = tab.inner_text("[data-result]")
        tab.fill("#by-of-line", "Ann")
        tab.keyboard.press("Enter")
        tab.wait_for_url(f"**/{public_id}")
        tab.get_by_text("Ann gave the scale").wait_for()

    assert drawn == pytest.approx([20, 40, 70, 40], abs=1)
    assert "0.2" in shown
    (kept,) = unscaled.store.records.all(GIVEN, public_id)
    assert kept.facts["um_per_px"] == pytest.approx(0.2, rel=0.03)


# --- the statement --------------------------------------------------------------------------------


def test_the_statement_and_the_trace_name_who_gave_the_scale(bench):
    view = unknown(bench, "4711_01_01.png")
    give(bench, view, 0.25, by="Ann")
    bench.pipeline.process_batch(4)
    keys = {"order": "4711", "specimen": "01", "field": "1"}
    bench.store.order_corrections.assign(view.id, keys, by="Ann", reason="it is", at=bench.clock())
    freeze_orders(bench.store, RULES, ISSUER, ("4711",), now=bench.clock())

    (statement,) = bench.store.statements.all("4711")
    whole = bench.store.statements.document(statement.sha256)
    (field,) = whole["fields"]
    page = reports.render(
        "statement", page=build_statement_page(whole, statement.sha256, lambda _: None)
    )

    assert (field["um_per_px"], field["um_per_px_source"]) == (0.25, "reviewer")
    assert field["scale_given"]["by"] == ["Ann"]
    assert "the scale was given by Ann (record" in page
