"""A reviewer decides by plain forms, a program by JSON; a stranger's page can do neither."""

from __future__ import annotations

import dataclasses
import threading
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from labs.lab import DAY, HOME, Lab, minutes, web_of
from labs.lab import NEXT_DAY as NOW
from servers.pages import PROMISED, form_of

from agent.errors import BadSettingsError
from agent.files.pictures import decode, encode_png
from agent.nightly import write_report
from agent.retrain import send_back
from agent.retrain.training_set import Collected
from agent.settings import WebSection
from agent.store import Decision, StoreFaultError
from agent.web import Inbox, api, create_app, refuse_strangers
from agent.web.context import LEASE, Leases
from agent.web.review.images import Linked
from model import LabelIssue

FORM = (
    "criterion",
    "unsure",
    "viewing_s",
    "result_id",
    "label_id",
    "blind",
    "reason",
    "source",
    "order",
)


@pytest.fixture
def web(lab):
    return web_of(lab)


@dataclass
class Still:
    """A lab, a browser whose reviewer is known; nothing may change but the spare micrograph."""

    lab: Lab
    browser: TestClient
    public_id: str
    spare: str

    def unchanged(self) -> bool:
        return self.lab.store.results.find(self.public_id).labels == ()


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("still"))
    public_id, spare = (lab.take(reasons=("uncertain",)) for _ in range(2))
    app = create_app(web_of(lab))
    with TestClient(app, base_url=HOME, follow_redirects=False) as browser:
        browser.post("/review/name", data={"by": "Ann", "then": "/review"})
        yield Still(lab, browser, public_id, spare)
    lab.store.close()


@pytest.fixture
def browser(web):
    """A browser on this PC; what it keeps, it keeps."""
    with TestClient(create_app(web), base_url=HOME, follow_redirects=False) as client:
        yield client


@pytest.fixture
def ann(browser):
    """A browser whose reviewer has said who she is."""
    browser.post("/review/name", data={"by": "Ann", "then": "/review"})
    return browser


# --- the queue and the page ---------------------------------------------------------------------


def test_the_queue_shows_what_waits_the_weightiest_first(lab, browser):
    lab.take(reasons=("uncertain",), name="later.tif")
    lab.take(reasons=("strange",), name="first.tif")
    lab.take(name="fine.tif")

    page = browser.get("/review").text

    assert page.index("first.tif") < page.index("later.tif")
    assert "fine.tif" not in page


def test_an_empty_queue_says_so(browser):
    assert "Every flagged micrograph has been decided" in browser.get("/review").text


def test_the_queue_can_be_narrowed(lab, browser):
    lab.take(reasons=("uncertain",), name="unsure.tif")
    lab.take(reasons=("strange",), name="odd.tif")

    page = browser.get("/review?reason=uncertain").text

    assert "unsure.tif" in page
    assert "odd.tif" not in page


def test_the_page_shows_why_it_is_here_and_every_code(lab, browser):
    public_id = lab.take(reasons=("strange",), order="4711")

    page = browser.get(f"/review/{public_id}").text

    assert "Unlike all 160 reference images; unusual texture." in page
    assert 'value="code:G9-10"' in page
    assert 'value="strange:pearlite"' in page
    assert 'value="unusable:out_of_focus"' in page
    assert "4711" in page
    assert "Confirm G8" in page


@pytest.mark.parametrize("name", ["crop.jpg", "field.jpg", "thumb.jpg", "subtype.png", "size.png"])
def test_every_picture_is_given_and_may_be_kept(lab, browser, name):
    public_id = lab.take(reasons=("strange",))

    answer = browser.get(f"/pictures/{public_id}/{name}")

    assert answer.status_code == 200
    assert answer.headers["content-type"] in ("image/jpeg", "image/png")
    assert "immutable" in answer.headers["cache-control"]


@pytest.mark.parametrize(
    "content", [b"", b"garbage", encode_png(np.zeros((6000, 6000, 3), np.uint8))]
)
def test_a_file_of_the_archive_that_is_no_picture_of_its_size_is_not_shown(lab, browser, content):
    public_id = lab.take("G8", reasons=("uncertain",))
    view = lab.store.results.find(public_id)
    key = view.sha256, view.page
    maps = lab.archive.maps_path(*key, view.result.bundle)
    for path in (lab.archive.crop_path(*key), maps):
        path.write_bytes(content)
    lab.archive.preview_path(*key).write_bytes(content[:20])

    names = ("crop.jpg", "plain.jpg", "full.jpg", "field.jpg", "window.jpg?um=9", "subtype.png")
    asked = [browser.get(f"/pictures/{public_id}/{name}").status_code for name in names]
    pages = [browser.get(f"/review/{public_id}{end}").status_code for end in ("", "/viewer")]

    assert asked == [404] * 6
    assert pages == [200, 200]


def test_the_viewer_gets_plain_pixels_and_draws_the_place_and_the_border_itself(lab, browser):
    pixels = np.full((1500, 2000, 3), 90, np.uint8)
    public_id = lab.take(reasons=("strange",), pixels=pixels)

    page = browser.get(f"/review/{public_id}").text
    shapes = {}
    for name in ("plain", "full"):
        picture = decode(browser.get(f"/pictures/{public_id}/{name}.jpg").content)
        assert picture.min() > 80  # no line is drawn into it
        assert picture.max() < 100
        shapes[name] = picture.shape[:2]

    assert shapes == {"plain": (1200, 1600), "full": (1500, 2000)}
    assert 'data-um-per-px="0.12"' in page
    assert f'data-full="/pictures/{public_id}/full.jpg"' in page
    assert 'id="over-place"' in page
    assert 'id="over-border"' in page
    unscaled = lab.take(reasons=("uncertain",), um_per_px=None)
    assert 'data-um-per-px=""' in browser.get(f"/review/{unscaled}").text


NOT_THERE = [
    "/review/0000000000000000",
    "/review/..%2F..%2Fetc",
    "/pictures/0000000000000000/crop.jpg",
    "/pictures/known/..%2F..%2Fagent.jpg",
    "/static/../render.py",
    "/static/none.css",
    "/reports/none.html",
    "/api/v1/micrographs/xyz",
    "/nowhere",
]


def test_what_is_not_there_is_a_plain_404(still):
    for path in NOT_THERE:
        assert still.browser.get(path).status_code == 404, path


def test_a_micrograph_without_a_bundle_can_be_labelled(lab, ann):
    public_id = lab.take(None, reasons=("untrained",))

    page = ann.get(f"/review/{public_id}").text
    ann.post(f"/review/{public_id}/decide", data=form_of(lab, public_id, "code:M8"))

    assert "Confirm" not in page
    assert lab.store.results.find(public_id).label.code == "M8"


# --- deciding -----------------------------------------------------------------------------------


def test_a_decision_is_kept_with_who_and_when_and_the_next_one_shown(lab, ann):
    first = lab.take(reasons=("strange",))
    second = lab.take(reasons=("uncertain",))

    answer = ann.post(
        f"/review/{first}/decide",
        data=form_of(
            lab,
            first,
            "code:G9-10",
            criterion="max",
            unsure="1",
            comment=" fine needles ",
            viewing_s="12.5",
        ),
        headers=PROMISED,
    )

    label = lab.store.results.find(first).label
    assert (answer.status_code, answer.headers["location"]) == (303, f"/review/{second}")
    assert (label.kind, label.code, label.by, label.at) == ("code", "G9-10", "Ann", NOW)
    assert (label.criterion, label.comment, label.viewing_s) == ("max", "fine needles", 12.5)
    assert label.unsure
    assert "not sure" in ann.get(f"/review/{first}").text


ELSE_SAID = [
    ("strange:pearlite", "strange", "pearlite"),
    ("unusable:out_of_focus", "unusable", "out_of_focus"),
    ("cannot_tell", "cannot_tell", None),
]


def test_everything_else_a_reviewer_can_say_is_kept(lab, ann):
    for said, kind, what in ELSE_SAID:
        public_id = lab.take(reasons=("strange",))

        ann.post(f"/review/{public_id}/decide", data=form_of(lab, public_id, said))

        label = lab.store.results.find(public_id).label
        assert label.kind == kind, said
        assert what in (label.strange_kind, label.why), said


def test_the_name_is_asked_once_and_kept(lab, browser):
    first, second = (lab.take(reasons=("uncertain",)) for _ in range(2))

    asked = browser.post(f"/review/{first}/decide", data=form_of(lab, first, "code:G8"))
    browser.post(f"/review/{first}/decide", data={**form_of(lab, first, "code:G8"), "by": "Bea"})
    browser.post(f"/review/{second}/decide", data=form_of(lab, second, "code:G8"))

    assert asked.status_code == 422
    assert 'name="decision" value="code:G8"' in asked.text
    assert [lab.store.results.find(one).label.by for one in (first, second)] == ["Bea", "Bea"]


@pytest.mark.parametrize("name", ["", " ", "x" * 81, "a\x01b", "a\nb", "agent", " Agent. "])
def test_a_name_that_is_none_is_asked_again(still, name):
    assert still.browser.post("/review/name", data={"by": name}).status_code == 422


def test_a_decision_that_says_nothing_is_refused(still):
    for said in ("code:G99", "code:", "nonsense", "", "strange:", "unusable:"):
        form = form_of(still.lab, still.public_id, said)

        answer = still.browser.post(f"/review/{still.public_id}/decide", data=form)

        assert answer.status_code == 422, said
        assert still.unchanged(), said


def test_somebody_elses_decision_is_shown_not_overwritten(lab, ann):
    public_id = lab.take(reasons=("uncertain",))
    seen = form_of(lab, public_id, "code:G9-10", comment="mine")
    lab.store.labels.decide(public_id, Decision("code", "Bea", code="G8"), at=minutes(9))

    answer = ann.post(f"/review/{public_id}/decide", data=seen)

    assert answer.status_code == 409
    assert "Bea" in answer.text
    assert "Nothing was overwritten" in answer.text
    assert lab.store.results.find(public_id).label.code == "G8"


def test_a_reviewer_may_insist_with_a_reason_once_the_other_decision_was_seen(lab, ann):
    public_id = lab.take(reasons=("uncertain",))
    lab.store.labels.decide(public_id, Decision("code", "Bea", code="G8"), at=minutes(9))

    page = ann.get(f"/review/{public_id}").text
    form = form_of(lab, public_id, "code:G9-10")
    silent = ann.post(f"/review/{public_id}/decide", data=form)
    ann.post(f"/review/{public_id}/decide", data=form | {"comment": "a slip of the hand"})

    view = lab.store.results.find(public_id)
    assert 'name="comment" required' in page
    assert (silent.status_code, "Add a comment" in silent.text) == (422, True)
    assert [label.code for label in view.labels] == ["G8", "G9-10"]
    assert (view.label.supersedes, view.label.comment) == (view.labels[0].id, "a slip of the hand")


def test_undo_is_a_row_of_its_own_and_the_micrograph_waits_again(lab, ann):
    public_id = lab.take(reasons=("uncertain",))
    ann.post(f"/review/{public_id}/decide", data=form_of(lab, public_id, "code:G8"))
    offered = ann.get("/review").text

    answer = ann.post(f"/review/{public_id}/undo")

    view = lab.store.results.find(public_id)
    assert f"/review/{public_id}/undo" in offered
    assert answer.headers["location"].startswith(f"/review/{public_id}")
    assert (view.label, len(view.labels), view.labels[0].undone) == (None, 1, True)
    assert [micrograph.id for micrograph in lab.store.review_queue.list_micrographs()] == [
        public_id
    ]


def specimen_of(lab, *codes):
    """Take some fields of one specimen; their public ids."""
    return [
        lab.take(code, reasons=("uncertain",), order="4711", specimen="2", field=str(number))
        for number, code in enumerate(codes, 1)
    ]


def test_the_fields_of_a_specimen_stand_side_by_side(lab, ann):
    ids = specimen_of(lab, "G8", "G7", "G8")
    lab.take(reasons=("uncertain",), order="4711", specimen="3", field="1")
    alone = lab.take(reasons=("uncertain",))

    page = ann.get(f"/review/{ids[0]}").text
    at = page.index('id="siblings"')
    beside = page[at : page.index("</section>", at)]

    places = [beside.index(f"/review/{one}") for one in ids]
    assert places == sorted(places)
    assert beside.count("<li") == 3
    assert "The same for the 2 other fields" in page
    assert 'id="siblings"' not in ann.get(f"/review/{alone}").text


def test_one_decision_holds_for_every_waiting_field_and_is_taken_back_at_once(lab, ann):
    first, second, third = specimen_of(lab, "G8", "G7", "G8")
    hidden = lab.take(reasons=("control_sample",), order="4711", specimen="2", field="4")
    elsewhere = lab.take(reasons=("uncertain",), order="4711", specimen="3", field="1")
    ann.post(f"/review/{third}/decide", data=form_of(lab, third, "code:G7"))

    form = form_of(lab, first, "code:G9-10") | {"together": "1"}
    answer = ann.post(f"/review/{first}/decide", data=form)

    def said(one):
        label = lab.store.results.find(one).label
        return label and label.code

    after = [said(one) for one in (first, second, third, hidden, elsewhere)]
    assert after == ["G9-10", "G9-10", "G7", None, None]
    assert lab.store.results.find(second).label.bulk
    assert answer.headers["location"] in (f"/review/{hidden}", f"/review/{elsewhere}")

    ann.post(f"/review/{second}/undo")
    assert [said(one) for one in (first, second, third)] == [None, None, "G7"]


def test_a_decision_for_one_field_is_for_one_field(lab, ann):
    first, second = specimen_of(lab, "G8", "G7")

    ann.post(f"/review/{first}/decide", data=form_of(lab, first, "code:G8"))

    assert not lab.store.results.find(first).label.bulk
    assert lab.store.results.find(second).label is None


def test_two_reviewers_at_once_decide_no_micrograph_twice_unknowingly(lab, web):
    waiting = [lab.take(reasons=("uncertain",), at=minutes(n)) for n in range(12)]
    conflicts: list[int] = []
    said = {"Ann": "code:G8", "Bea": "code:G7"}  # the same answer would be a confirmation
    app = create_app(web)  # once: FastAPI changes the warnings' filters of the whole process

    def work(name):
        with TestClient(app, base_url=HOME, follow_redirects=False) as client:
            client.post("/review/name", data={"by": name})
            for public_id in waiting:
                form = form_of(lab, public_id, said[name]) | {"label_id": ""}
                answer = client.post(f"/review/{public_id}/decide", data=form)
                conflicts.append(answer.status_code)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("Ann", "Bea")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(conflicts) == [303] * 12 + [409] * 12
    assert all(len(lab.store.results.find(one).labels) == 1 for one in waiting)


def test_a_control_sample_is_decided_before_the_answer_is_seen(lab, ann):
    public_id = lab.take("M8", reasons=("control_sample",))

    before = ann.get(f"/review/{public_id}").text
    ann.post(f"/review/{public_id}/decide", data=form_of(lab, public_id, "code:M8", blind="1"))
    after = ann.get(f"/review/{public_id}").text

    assert "85 %" not in before
    assert "/subtype.png" not in before
    assert lab.store.results.find(public_id).label.blind
    assert "85 %" in after


def test_what_is_decided_blind_says_nothing_of_the_answer(lab, ann):
    thresholds = {"double_share": 1.0}
    public_id = lab.take(reasons=("uncertain",), thresholds=thresholds)

    page = ann.get(f"/review/{public_id}").text

    assert "against" not in page
    assert "Most similar known" not in page


def test_a_doubted_label_is_decided_again_without_the_first_one_in_view(lab, ann):
    public_id = lab.take("G7", reasons=("control_sample",))
    first = Decision(kind="code", by="Meier the first", code="M9-10", blind=True)
    label_id = lab.store.labels.decide(public_id, first, at=DAY)
    doubt = {"label_id": label_id, "sentence": "label", "by": "agent retrain", "at": DAY}
    assert lab.store.labels.mark_suspect(public_id, **doubt)

    page = ann.get(f"/review/{public_id}").text
    ann.post(f"/review/{public_id}/decide", data=form_of(lab, public_id, "code:M8", blind="1"))

    assert "Meier the first" not in page
    assert "Micrographs that look like this one were given another code." in page
    view = lab.store.results.find(public_id)
    assert (view.label.code, view.label.blind, view.doubt) == ("M8", True, "")
    assert lab.store.review_queue.list_micrographs() == []


def test_a_suspect_label_shows_what_the_networks_get_right_of_its_code_and_not_the_code(lab, ann):
    public_id = lab.take("G7", reasons=("control_sample",))
    first = Decision(kind="code", by="Meier the first", code="M9-10", blind=True)
    label_id = lab.store.labels.decide(public_id, first, at=DAY)
    issue = LabelIssue("key", "label", "M9-10", "G7", right=8, of=12)
    collected = Collected((), {}, {}, labels={"key": (public_id, label_id)})

    sent = send_back(lab.store, collected, [issue], by="agent retrain", at=DAY)

    page = ann.get(f"/review/{public_id}").text
    assert sent == 1
    assert "look like this one were given another code. The networks that suspect it are right" in (
        page
    )
    assert "right about 8 of 12 micrographs of its code." in page
    assert "M9-10" not in page.partition("<main")[2].partition("<form")[0]
    assert not lab.store.results.find(public_id).awaits_decision


def test_known_micrographs_stand_beside_a_part_as_wide_as_theirs(lab, web):
    known = lab.take("G8", name="known.tif")
    sha256 = lab.store.results.find(known).sha256
    gallery = Linked(lambda key: known if key == sha256 else None, 5.0)

    scaled, whole = gallery.known(sha256, "G8"), gallery.known("f" * 64, "G7")

    assert scaled.src == f"/pictures/{known}/window.jpg?um=5"
    assert scaled.alt == "Known G8, 5 µm wide"
    assert whole.src == f"/pictures/known/{'f' * 64}.jpg"


def test_a_part_is_cut_at_its_scale_and_never_beyond_what_there_is(lab, browser):
    public_id = lab.take("G8")

    wide = browser.get(f"/pictures/{public_id}/window.jpg?um=5")
    refused = [
        browser.get(f"/pictures/{public_id}/window.jpg?um={um}") for um in ("0", "1e9", "nan")
    ]

    assert wide.headers["content-type"] == "image/jpeg"
    assert [one.status_code for one in refused] == [404, 404, 404]


def test_the_queue_says_how_well_the_true_agreement_is_known(lab, ann):
    ids = [lab.take("G8", reasons=("control_sample",)) for _ in range(3)]
    lab.take("G8", reasons=("uncertain",))
    assert "Control samples" not in ann.get("/review").text

    for public_id, said in zip(ids, ("G8", "G7", "G7"), strict=True):
        form = form_of(lab, public_id, f"code:{said}") | {"blind": "1"}
        ann.post(f"/review/{public_id}/decide", data=form)
    ann.post(f"/review/{ids[2]}/undo")

    assert lab.store.labels.count_blind() == (2, 1)
    assert "Control samples, decided blind: 1 of 2 as the model answered" in ann.get("/review").text


@pytest.fixture
def two(lab):
    """A micrograph that two people judge, each unseen by the other."""
    return lab.take("G8", reasons=("uncertain",), thresholds={"double_share": 1.0})


def reviewer(web, name):
    client = TestClient(create_app(web), base_url=HOME, follow_redirects=False)
    client.post("/review/name", data={"by": name})
    return client


def says(lab, client, public_id, code):
    form = form_of(lab, public_id, f"code:{code}") | {"blind": "1"}
    return client.post(f"/review/{public_id}/decide", data=form)


def test_two_who_say_the_same_settle_it_and_see_nothing_of_each_other(lab, web, two):
    first, second = reviewer(web, "Ann"), reviewer(web, "Bea")
    assert "hidden until you have decided" in first.get(f"/review/{two}").text

    assert says(lab, first, two, "G9-10").status_code == 303
    view = lab.store.results.find(two)
    assert (view.label, view.awaits) == (None, True)
    assert "Nothing waits" in first.get("/review").text
    page = second.get(f"/review/{two}").text
    assert "hidden until you have decided" in page
    assert "Ann" not in page

    assert says(lab, second, two, "G9-10").status_code == 303
    view = lab.store.results.find(two)
    assert (view.label.code, view.label.by, view.awaits) == ("G9-10", "Bea", False)
    assert lab.store.labels.count_blind() == (0, 0)  # flagged micrographs are no sample of all
    assert [two.codes for two in lab.store.labels.list_double_reviews()] == [("G9-10", "G9-10")]


def test_a_third_settles_what_two_disagree_on_and_sees_both(lab, web, two):
    first, second, third = (reviewer(web, name) for name in ("Ann", "Bea", "Cem"))
    says(lab, first, two, "G8")
    says(lab, second, two, "G7")
    assert lab.store.results.find(two).label is None
    assert list(lab.store.labelled_micrographs.list_all()) == []

    page = third.get(f"/review/{two}").text
    assert "Two people disagree: Ann says G8 and Bea says G7" in page
    says(lab, third, two, "G7")
    assert [two.codes for two in lab.store.labels.list_double_reviews()] == [("G8", "G7")]

    view = lab.store.results.find(two)
    assert (view.label.code, view.label.by, view.awaits) == ("G7", "Cem", False)
    assert [
        labelled_micrograph.label.code
        for labelled_micrograph in lab.store.labelled_micrographs.list_all()
    ] == ["G7"]


def test_one_person_is_not_two(lab, web, two):
    ann = reviewer(web, "Ann")
    says(lab, ann, two, "G8")
    says(lab, ann, two, "G8")

    assert lab.store.results.find(two).label is None


def test_each_takes_back_their_own_before_it_is_settled(lab, web, two):
    first, second = reviewer(web, "Ann"), reviewer(web, "Bea")
    says(lab, first, two, "G8")
    says(lab, second, two, "G7")

    first.post(f"/review/{two}/undo")

    view = lab.store.results.find(two)
    assert [vote.by for vote in view.votes] == ["Bea"]
    assert view.awaits


def test_the_filter_goes_along_from_one_to_the_next(lab, ann):
    first, second = (lab.take(reasons=("uncertain",), at=minutes(n)) for n in range(2))
    lab.take(reasons=("strange",))

    answer = ann.post(
        f"/review/{first}/decide", data=form_of(lab, first, "code:G8", reason="uncertain")
    )

    assert answer.headers["location"] == f"/review/{second}?reason=uncertain"


# --- strangers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "", "a@127.0.0.1", "192.168.1.9"]
)
def test_a_name_that_is_not_ours_is_refused(still, host):
    assert still.browser.get("/review", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:8787", "localhost:8787", "LOCALHOST", "[::1]:8787"])
def test_this_pc_may_call_itself_by_all_its_names(still, host):
    assert still.browser.get("/review", headers={"host": host}).status_code == 200


OF_OTHERS = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:9999"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
]


def test_another_sites_form_decides_nothing(still):
    for headers in OF_OTHERS:
        for path in ("decide", "undo"):
            form = form_of(still.lab, still.public_id, "code:G8")

            answer = still.browser.post(
                f"/review/{still.public_id}/{path}", data=form, headers=headers
            )

            assert answer.status_code == 403, (headers, path)
            assert still.unchanged(), (headers, path)


@pytest.mark.parametrize("then", ["//evil.example", "https://evil.example", "/\\evil.example", "x"])
def test_nobody_is_sent_to_another_site(still, then):
    answer = still.browser.post("/review/name", data={"by": "Ann", "then": then})

    assert answer.headers["location"] == "/review"


def test_every_answer_carries_the_security_headers(lab, browser):
    public_id = lab.take(reasons=("strange",))

    for path in ("/review", f"/pictures/{public_id}/crop.jpg", "/nowhere", "/api/v1/status"):
        headers = browser.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe-inline" not in headers["content-security-policy"]


@pytest.mark.parametrize(
    "path", ["../martensight.db", "..%2fmartensight.db", "../agent.toml", "x.db"]
)
def test_nothing_but_reports_is_given_from_the_reports_folder(still, path):
    still.lab.reports.mkdir(exist_ok=True)
    (still.lab.reports / "x.db").write_bytes(b"secret")

    assert still.browser.get(f"/reports/{path}").status_code == 404


def test_a_report_is_served_with_its_own_policy(lab, browser):
    from labs.lab import SETTINGS  # noqa: PLC0415

    lab.take()
    write_report(lab.store, lab.archive, lab.reports, DAY.date(), SETTINGS, now=NOW)

    answer = browser.get("/reports/2026-11-24.html")

    assert answer.status_code == 200
    assert "script-src 'sha256-" in answer.headers["content-security-policy"]


def test_before_the_first_report_the_page_says_when_it_comes(browser):
    assert browser.get("/reports").headers["location"] == "/reports/index.html"
    assert "The first is written when the first night is over" in browser.get("/reports/").text


def test_a_database_that_does_not_answer_is_said_not_thrown(lab, browser, monkeypatch):
    def gone(*_, **__):
        raise StoreFaultError("database: locked")

    monkeypatch.setattr(type(lab.store.review_queue), "list_micrographs", gone)

    answer = browser.get("/review")

    assert answer.status_code == 503
    assert "database: locked" in answer.text


def test_a_hostile_name_is_text_on_every_page(lab, ann):
    public_id = lab.take(reasons=("strange",), name="<img onerror=x>.tif", order="<b>")

    for path in ("/review", f"/review/{public_id}"):
        page = ann.get(path).text
        assert "<img onerror" not in page
        assert "&lt;img onerror=x&gt;.tif" in page


def test_an_address_that_others_reach_is_refused_without_accounts(lab):
    for host in ("0.0.0.0", "192.168.1.9", "lab-pc", "::"):  # noqa: S104 - refused
        with pytest.raises(BadSettingsError, match="no accounts"):
            refuse_strangers(WebSection(host=host), lab.store.accounts)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_this_pcs_own_addresses_need_none(lab, host):
    refuse_strangers(WebSection(host=host), lab.store.accounts)


# --- programs -----------------------------------------------------------------------------------


def test_a_program_reads_a_result_as_classify_says_it(lab, browser):
    public_id = lab.take(reasons=("strange",), order="4711")

    told = browser.get(f"/api/v1/micrographs/{public_id}").json()

    assert (told["structure_code"], told["size_min"], told["size_max"]) == ("G8", 8, 8)
    assert told["strangeness"]["flagged"] is True
    assert told["handling"] == "review"
    assert told["label"] is None


def test_a_program_decides_and_takes_back(lab, browser):
    public_id = lab.take(reasons=("uncertain",))

    decided = browser.post(
        f"/api/v1/micrographs/{public_id}/decisions", json={"by": "Fiji", "code": "g9-10"}
    )
    undone = browser.post(f"/api/v1/micrographs/{public_id}/undo", json={"by": "Fiji"})

    assert decided.status_code == 201
    assert decided.json()["micrograph"]["label"]["code"] == "G9-10"
    assert undone.json()["micrograph"]["label"] is None


def test_a_program_that_saw_an_older_label_is_told_of_the_newer_one(lab, browser):
    public_id = lab.take(reasons=("uncertain",))
    lab.store.labels.decide(public_id, Decision("code", "Bea", code="G8"), at=minutes(9))

    answer = browser.post(
        f"/api/v1/micrographs/{public_id}/decisions",
        json={"by": "Fiji", "code": "G7", "label_seen": None},
    )

    assert answer.status_code == 409
    assert answer.json()["holds"]["by"] == "Bea"


NOT_TOGETHER = [
    {},
    {"by": "x"},
    {"by": "x", "code": "G8", "strange": "y"},
    {"by": "", "code": "G8"},
    {"by": "x", "code": "Q1"},
    {"by": "x", "code": "G8", "criterion": "median"},
    {"by": "x", "code": "G8", "unknown": 1},
    {"by": "x", "code": "G8", "viewing_s": -1},
    {"by": "x", "code": "G8", "viewing_s": "1"},
]


def test_a_decision_that_does_not_hold_together_is_refused(still):
    for body in NOT_TOGETHER:
        address = f"/api/v1/micrographs/{still.public_id}/decisions"

        assert still.browser.post(address, json=body).status_code == 422, body
        assert still.unchanged(), body


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=90),
    st.sampled_from(["G8", "median", "", "x" * 600, "\x00", "\ud7ff"]),
)
FIELDS = (
    "by",
    "code",
    "strange",
    "unusable",
    "cannot_tell",
    "criterion",
    "unsure",
    "comment",
    "viewing_s",
)
bodies = st.dictionaries(st.sampled_from([*FIELDS, "result_seen", "label_seen", "x"]), anything)


@given(bodies, st.text(max_size=40), st.sampled_from(["decisions", "undo"]))
@settings(max_examples=60, deadline=None)
def test_nothing_a_program_sends_ends_in_a_server_error(still, body, public_id, what):
    for one in (still.spare, public_id):
        path = f"/api/v1/micrographs/{quote(one, safe='')}/{what}"
        assert still.browser.post(path, json=body).status_code < 500


BAD_BODIES = [
    '{"by": "x", "code": "G8", "result_seen": 1000000000000000000000000000000}',
    '{"by": "x", "code": "G8", "result_seen": 12345}',
    '{"by": "x", "strange": "\\ud800"}',
    '{"by": "\\u0000", "code": "G8"}',
    '{"by": "x", "code": "G8", "viewing_s": 1e400}',
    '{"by": "x", "code": "G8", "viewing_s": NaN}',
    "[]",
    "{",
]


def test_what_json_or_a_database_cannot_say_is_refused(still):
    for body in BAD_BODIES:
        answer = still.browser.post(
            f"/api/v1/micrographs/{still.public_id}/decisions",
            content=body,
            headers={"content-type": "application/json"},
        )

        assert answer.status_code in (400, 409, 422), body
        assert still.unchanged(), body


def test_a_decision_on_an_answer_that_has_changed_is_not_kept(lab, ann):
    public_id = lab.take(reasons=("uncertain",))
    form = form_of(lab, public_id, "code:G8") | {"result_id": "99"}

    answer = ann.post(f"/review/{public_id}/decide", data=form)

    assert answer.status_code == 409
    assert "Another bundle" in answer.text
    assert lab.store.results.find(public_id).label is None


def test_a_comment_is_one_line_of_what_can_be_shown(lab, browser):
    public_id = lab.take(reasons=("uncertain",))

    browser.post(
        f"/api/v1/micrographs/{public_id}/decisions",
        json={"by": "x", "code": "G8", "comment": " a\nb\x01 c "},
    )

    assert lab.store.results.find(public_id).label.comment == "a b c"


@given(st.dictionaries(st.sampled_from(["decision", "by", "comment", *FORM]), st.text(max_size=90)))
@settings(max_examples=60, deadline=None)
def test_nothing_a_form_sends_ends_in_a_server_error(still, form):
    answer = still.browser.post(f"/review/{still.spare}/decide", data=form)

    assert answer.status_code < 500


@given(st.text(max_size=60), st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_no_address_ends_in_a_server_error(still, path, query):
    asked = f"{quote(path, safe='')}?reason={quote(query)}&order={quote(query)}"

    for room in ("review", "reports", "pictures", "static", "api/v1/micrographs", "api/v1/orders"):
        assert still.browser.get(f"/{room}/{asked}").status_code < 500
    assert still.browser.get(f"/review?source={quote(query)}&undone=1").status_code < 500
    assert still.browser.get(f"/api/v1/queue?limit={quote(query)}").status_code < 500


def test_an_order_is_told_field_by_field(lab, browser):
    lab.take(order="4711", specimen="1")
    lab.take(order="4711", specimen="2")
    lab.take(order="4712")

    told = browser.get("/api/v1/orders/4711").json()

    assert told["conformity"] == "not_assessed"
    assert [one["specimen"] for one in told["specimens"]] == ["1", "2"]
    assert browser.get("/api/v1/orders/9").status_code == 404


def test_micrographs_are_found_by_content_path_and_order(lab, browser):
    first = lab.take(order="4711", name="a.tif")
    second = lab.take(order="4711", name="sub/b.tif")
    lab.take(order="4712", name="c.tif")

    def found(**asked):
        told = browser.get("/api/v1/micrographs", params=asked).json()
        return [one["id"] for one in told["micrographs"]]

    sha256 = lab.store.results.find(first).sha256
    assert found(order="4711") == [second, first]
    assert found(order="4711", limit=1) == [second]
    assert found(order="4711", specimen="2") == []
    assert found(sha256=sha256) == [first]
    assert found(path="sub/b.tif") == [second]
    assert found(path=lab.store.results.find(second).path) == [second]
    assert found(path="b.tif") == []
    assert len(found()) == 3


def test_what_is_wrong_with_a_question_is_one_sentence(browser):
    told = browser.get("/api/v1/micrographs?sha256=xyz")

    assert told.status_code == 422
    assert told.json()["detail"].startswith("sha256: ")


def test_the_queue_and_the_status_are_told(lab, browser):
    lab.take(reasons=("strange",))

    assert browser.get("/api/v1/queue").json()["waiting"] == 1
    assert browser.get("/api/v1/queue?limit=0").status_code == 422
    assert browser.get("/api/v1/status").json() == {"running": True}


def test_a_file_is_refused_where_nothing_takes_it(browser):
    answer = browser.post("/api/v1/micrographs?name=a.tif", content=b"bytes")

    assert answer.status_code == 503


@pytest.fixture
def inbox(lab, web):
    """A browser of a process that takes files in."""
    taking = Inbox(lab.folder / "inbox", lab.store, now=lambda: NOW)
    app = create_app(dataclasses.replace(web, inbox=taking))
    with TestClient(app, base_url=HOME) as client:
        yield client


def test_a_file_that_a_program_sends_is_queued_with_its_process_data(lab, inbox):
    answer = inbox.post("/api/v1/micrographs?name=a.tif&order=4711", content=b"bytes")

    claim = lab.store.work_queue.claim(1, at=NOW, lease_s=60)[0]
    assert answer.status_code == 202
    assert answer.json()["state"] == "queued"
    assert claim.path.read_bytes() == b"bytes"
    assert (claim.source, claim.origin, dict(claim.process_data)) == (
        "api",
        "api",
        {"order": "4711"},
    )


@pytest.mark.parametrize("key", ["order", "specimen", "name"])
def test_a_file_that_is_sent_with_two_values_of_one_key_is_refused(lab, inbox, key):
    given = {"name": "a.tif", "order": "4711", "specimen": "01"}
    address = "&".join(f"{name}={value}" for name, value in given.items())

    answer = inbox.post(f"/api/v1/micrographs?{address}&{key}=4712", content=b"bytes")

    assert answer.status_code == 422
    assert answer.json()["detail"] == f"The address has {key!r} more than once. Send one value."
    assert lab.store.work_queue.claim(1, at=NOW, lease_s=60) == []


def test_sending_a_file_twice_is_sending_it_once(lab, inbox):
    for _ in range(2):
        inbox.post("/api/v1/micrographs?name=a.tif", content=b"bytes")

    assert lab.store.files.count_by_state()["queued"] == 1


@pytest.mark.parametrize(
    "name", ["../../../agent.toml", "..", "C:\\x\\a.tif", "/etc/passwd", "a\x01b"]
)
def test_a_sent_name_leads_nowhere_else(lab, inbox, name):
    answer = inbox.post("/api/v1/micrographs", params={"name": name}, content=b"bytes")

    kept = [path for path in (lab.folder / "inbox").rglob("*") if path.is_file()]
    counted = lab.folder / "inbox" / ".parts"  # what each token sent that day
    assert answer.status_code == 202
    assert [p.parent.parent for p in kept if p.parent != counted] == [lab.folder / "inbox"]


def test_a_file_with_unknown_process_data_is_refused(lab, inbox):
    for query in ("name=a.tif&colour=red", f"name=a.tif&order={'x' * 201}", ""):
        answer = inbox.post(f"/api/v1/micrographs?{query}", content=b"bytes")

        assert answer.status_code == 422, query
        assert lab.store.files.count_by_state()["queued"] == 0, query


MEGABYTE = b"x" * 1_000_000


def test_a_form_too_large_is_refused_whether_it_says_so_or_not(still):
    for path in ("/login", "/review/name", "/review/{id}/decide"):
        for says_how_long in (True, False):
            body = b"by=" + MEGABYTE if says_how_long else iter([b"by=", MEGABYTE])
            kind = {"content-type": "application/x-www-form-urlencoded"}

            answer = still.browser.post(path.format(id=still.public_id), content=body, headers=kind)

            assert answer.status_code == 413, (path, says_how_long)
            assert still.unchanged(), (path, says_how_long)


def test_a_file_too_large_is_refused_and_not_kept(lab, inbox, monkeypatch):
    monkeypatch.setattr(api, "LARGEST_FILE_BYTES", 100)

    answer = inbox.post("/api/v1/micrographs?name=a.tif", content=iter([b"x" * 60] * 2))

    assert answer.status_code == 413
    assert [path for path in (lab.folder / "inbox").rglob("*") if path.is_file()] == []


def test_an_empty_body_is_refused(inbox):
    assert inbox.post("/api/v1/micrographs?name=a.tif", content=b"").status_code == 422


def test_whoever_watches_over_the_agent_is_told(lab, browser):
    lab.take(reasons=("strange",))

    assert browser.get("/healthz").status_code == 200
    assert browser.get("/readyz").json() == {"status": "ready"}
    metrics = browser.get("/metrics").text
    assert 'martensight_files{state="done"} 1.0\n' in metrics
    assert "martensight_review_waiting 1.0\n" in metrics
    assert 'martensight_info{bundle="",version="' in metrics


def test_a_store_that_is_gone_is_not_ready(lab, browser, monkeypatch):
    def gone(_):
        raise StoreFaultError("database: gone")

    monkeypatch.setattr(type(lab.store.review_queue), "count", gone)

    assert browser.get("/healthz").status_code == 200
    assert browser.get("/readyz").status_code == 503


def test_every_answer_to_a_program_is_described(browser):
    described = browser.get("/api/v1/openapi.json").json()["paths"]

    assert set(described) == {
        "/api/v1/alarms/acknowledge",
        "/api/v1/archive/campaign",
        "/api/v1/archive/export",
        "/api/v1/archive/review",
        "/api/v1/bundles",
        "/api/v1/files/retry",
        "/api/v1/history",
        "/api/v1/holds/release",
        "/api/v1/jobs",
        "/api/v1/jobs/cancel",
        "/api/v1/map",
        "/api/v1/micrographs",
        "/api/v1/micrographs/{public_id}",
        "/api/v1/micrographs/{public_id}/assign",
        "/api/v1/micrographs/{public_id}/decisions",
        "/api/v1/micrographs/{public_id}/needles",
        "/api/v1/micrographs/{public_id}/needles/{measurement_id}/withdraw",
        "/api/v1/micrographs/{public_id}/proposals",
        "/api/v1/micrographs/{public_id}/scale",
        "/api/v1/micrographs/{public_id}/similar",
        "/api/v1/micrographs/{public_id}/undo",
        "/api/v1/orders",
        "/api/v1/orders/{number}",
        "/api/v1/orders/{number}/acts",
        "/api/v1/orders/{number}/report.{kind}",
        "/api/v1/places/{one}/{other}",
        "/api/v1/queue",
        "/api/v1/rollout",
        "/api/v1/rollout/stop",
        "/api/v1/search",
        "/api/v1/status",
        "/api/v1/today",
        "/api/v1/views",
        "/api/v1/views/delete",
    }


# --- two at once --------------------------------------------------------------------------------


def two_at_once(lab):
    application = create_app(web_of(lab))
    for name in ("Ann", "Bob"):
        browser = TestClient(application, base_url=HOME, follow_redirects=False)
        browser.post("/review/name", data={"by": name, "then": "/review"})
        yield browser


def test_what_somebody_has_open_is_passed_over_and_said(lab):
    first, second, third = (lab.take(reasons=("uncertain",), at=minutes(n)) for n in range(3))
    ann, bob = two_at_once(lab)
    ann.get(f"/review/{second}")

    queue, item = bob.get("/review").text, bob.get(f"/review/{second}").text
    onward = bob.post(f"/review/{first}/decide", data=form_of(lab, first, "code:G8"))

    assert "open at <bdi>Ann</bdi>" in queue
    assert "Ann has this one open" in item
    assert onward.headers["location"] == f"/review/{third}"


def test_who_goes_on_to_another_micrograph_lets_the_first_one_go(lab):
    first, second = (lab.take(reasons=("uncertain",), at=minutes(n)) for n in range(2))
    ann, bob = two_at_once(lab)

    ann.get(f"/review/{first}")
    ann.get(f"/review/{second}")

    assert "has this one open" not in bob.get(f"/review/{first}").text


def test_a_micrograph_left_open_is_free_again_by_itself():
    leases = Leases()
    leases.take("a", "Ann", at=NOW)

    assert leases.others("Bob", at=NOW) == {"a": "Ann"}
    assert leases.take("a", "Bob", at=NOW) == "Ann"
    assert leases.take("a", "Bob", at=NOW + LEASE) == ""
    assert leases.others("Ann", at=NOW + LEASE) == {"a": "Bob"}
