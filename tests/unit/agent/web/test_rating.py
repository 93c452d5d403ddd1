"""A rater sees one micrograph after another, blind, and what they submit stands as they gave it."""

from __future__ import annotations

import hashlib
import re

import pytest
from fastapi.testclient import TestClient
from labs.lab import HOME, web_of
from labs.rounds import AT, NAME, Round, comment, lab_in
from servers.pages import PROMISED

from agent.roundrobin.campaign import get_order
from agent.store import NewImage, NewRater
from agent.store.people import auth
from agent.web import create_app
from model import default_taxonomy

G8 = {"answer": "code", "subtype": "G", "size-G": "8", "criterion": "mean"}


@pytest.fixture
def round_(tmp_path):
    played = Round(lab_in(tmp_path), raters=2, images=3)
    yield played
    played.lab.store.close()


@pytest.fixture
def browser(round_):
    app = create_app(web_of(round_.lab))
    with TestClient(app, base_url=HOME, follow_redirects=False, headers=PROMISED) as client:
        yield client


def follow(browser, path):
    answer = browser.get(path)
    while answer.status_code == 303:
        path = answer.headers["location"]
        answer = browser.get(path)
    return path, answer


def link(round_, rater="R01"):
    return f"/rate/{round_.tokens[rater]}"


def picture_of(browser, page):
    (src,) = re.findall(r'<img src="(/rate/[^"]+)"', page)
    return browser.get(src)


def form_of(round_, rater, number):
    subtype, size, criterion = round_.opinion(rater, number)
    if subtype is None:
        return {"answer": "cannot_tell", "comment": comment(rater, number)}
    return {
        "answer": "code",
        "subtype": subtype,
        f"size-{subtype}": size,
        "criterion": criterion,
        "comment": comment(rater, number),
        "viewing_s": "3.5",
    }


def test_a_rater_is_led_through_all_micrographs_to_the_end(round_, browser):
    for rater in round_.tokens:
        for _ in range(3):
            path, page = follow(browser, link(round_, rater))
            shown = picture_of(browser, page.text)
            number = round_.seen[hashlib.sha256(shown.content).hexdigest()]
            assert browser.post(path, data=form_of(round_, rater, number)).status_code == 303

    assert round_.kept() == round_.everything()
    assert "All rated. Thank you." in follow(browser, link(round_))[1].text


def test_each_rater_has_an_order_of_their_own(round_):
    campaign = round_.lab.store.campaigns.find(NAME)

    assert get_order(campaign, "R01") != get_order(campaign, "R02")


def test_the_page_tells_nothing_that_model_or_people_said(round_, browser):
    _, page = follow(browser, link(round_))

    told = page.text
    assert not any(public_id in told for public_id in round_.ids)
    assert not any(word in told for word in ("Person 1", "field_0", "LOM-07", "20261101-0badcafe"))
    assert not re.search(r'name="(subtype|size-\w|criterion)"[^>]* checked', told)


def test_the_picture_of_a_strange_one_has_no_mark(tmp_path):
    """The review draws a box around the strangest spot; a rater must not be led to it."""
    played = Round(lab_in(tmp_path), raters=1, images=1)
    lab, (public_id,) = played.lab, played.ids
    flagged = lab.take("G8", reasons=("strange",))
    token, told = auth.make_token(), {"by": "Lea", "at": AT}
    taxonomy = default_taxonomy().as_json()
    images, raters = [NewImage(flagged)], [NewRater("R1", "Ann")]
    lab.store.campaigns.add("odd", images, raters, taxonomy=taxonomy, seed=1, **told)
    lab.store.campaigns.give_link("odd", "R1", auth.hash_token(token), **told)
    with TestClient(create_app(web_of(lab)), base_url=HOME) as client:
        shown = client.get(f"/rate/{token}/1/picture.jpg").content
        marked = client.get(f"/pictures/{flagged}/crop.jpg").content
    lab.store.close()

    assert hashlib.sha256(shown).hexdigest() == played.shown(flagged)
    assert shown != marked
    assert public_id != flagged


def test_all_sizes_of_every_subtype_are_offered_also_those_not_taught(round_, browser):
    _, page = follow(browser, link(round_))

    for subtype in default_taxonomy().subtypes:
        offered = re.findall(rf'name="size-{subtype.name}" [^>]*value="([^"]+)"', page.text)
        assert offered == [*(size.name for size in subtype.sizes), "?"]


def test_a_scale_bar_lies_over_the_picture(round_, browser):
    _, page = follow(browser, link(round_))

    assert re.search(r'class="ruler".*?>\d+ µm</text>', page.text, re.DOTALL)


MISSING = [
    ({}, "Choose the subtype first"),
    ({"subtype": "X"}, "Choose the subtype first"),
    ({"subtype": "G"}, "Choose the size too"),
    ({"subtype": "G", "size-B": "8"}, "Choose the size too"),
    ({"subtype": "G", "size-G": "8"}, "Say what decided the size"),
    ({"subtype": "G", "size-G": "8", "criterion": "unrecorded"}, "Say what decided the size"),
    ({**G8, "comment": "x" * 501}, "The comment is too long"),
]


def test_what_is_missing_is_said_and_what_was_chosen_is_kept(round_, browser):
    for form, sentence in MISSING:
        path, _ = follow(browser, link(round_))

        answer = browser.post(path, data={"answer": "code", **form})

        assert answer.status_code == 422, form
        assert sentence in answer.text, form
        if form.get("subtype") == "G":
            assert re.search(r'value="G" checked', answer.text), form
        assert round_.kept() == {}, form


def test_the_size_alone_can_be_untold(round_, browser):
    path, _ = follow(browser, link(round_))

    browser.post(path, data={"answer": "code", "subtype": "G", "size-G": "?"})

    assert [one[:2] for one in round_.kept().values()] == [("G", None)]


def test_there_is_no_way_back_and_no_way_ahead(round_, browser):
    first, page = follow(browser, link(round_))
    assert "Previous micrograph" not in page.text
    browser.post(first, data=G8)

    for place in (1, 3, 4, 0):
        path, _ = follow(browser, f"{link(round_)}/{place}")
        assert path == f"{link(round_)}/2"


def test_a_second_rating_of_one_micrograph_is_not_kept_and_the_rater_is_told(round_, browser):
    path, _ = follow(browser, link(round_))
    browser.post(path, data=G8)

    answer = browser.post(path, data={**G8, "size-G": "7"})

    _, page = follow(browser, answer.headers["location"])
    assert "Your first rating was kept." in page.text
    assert [one[1] for one in round_.kept().values()] == ["8"]


def test_where_it_is_allowed_one_can_go_back_and_change(tmp_path):
    played = Round(lab_in(tmp_path), raters=1, images=2, may_go_back=True)
    app = create_app(web_of(played.lab))
    with TestClient(app, base_url=HOME, follow_redirects=False, headers=PROMISED) as browser:
        path, _ = follow(browser, link(played))
        browser.post(path, data={**G8, "comment": "first"})
        _, second = follow(browser, link(played))
        assert "Previous micrograph" in second.text

        _, again = follow(browser, path)
        assert re.search(r'name="size-G"[^>]*value="8" checked', again.text)
        (revision,) = re.findall(r'name="revision" value="(\d+)"', again.text)
        browser.post(path, data={**G8, "size-G": "7", "revision": revision})

        campaigns = played.lab.store.campaigns
        assert [rating.said.size for rating in campaigns.ratings(NAME)] == ["8", "7"]
        seat = campaigns.seat(hashed=auth.hash_token(played.tokens["R01"]))
        assert [rating.said.size for rating in seat.ratings.values()] == ["7"]
    played.lab.store.close()


def test_who_could_not_tell_the_size_finds_that_again(tmp_path):
    played = Round(lab_in(tmp_path), raters=1, images=2, may_go_back=True)
    app = create_app(web_of(played.lab))
    with TestClient(app, base_url=HOME, follow_redirects=False, headers=PROMISED) as browser:
        path, _ = follow(browser, link(played))
        browser.post(path, data={"answer": "code", "subtype": "G", "size-G": "?"})

        _, again = follow(browser, path)

        assert re.findall(r'name="size-(.)"[^>]*value="([^"]+)" checked', again.text) == [
            ("G", "?")
        ]
    played.lab.store.close()


def test_closed_is_closed_also_for_a_page_that_was_open(round_, browser):
    path, _ = follow(browser, link(round_))
    round_.lab.store.campaigns.close(NAME, by="Lea", at=AT)

    answer = browser.post(path, data=G8)

    assert "takes no more ratings" in follow(browser, answer.headers["location"])[1].text
    assert round_.kept() == {}


@pytest.mark.parametrize("path", ["x" * 43, NAME, "nothing", f"{'x' * 43}/1"])
def test_who_was_not_invited_learns_nothing(browser, path):
    assert browser.get(f"/rate/{path}").status_code == 404


def test_a_foreign_page_cannot_rate_and_neither_can_one_that_hides(round_, browser):
    path, _ = follow(browser, link(round_))

    foreign = browser.post(path, data=G8, headers={"origin": "http://evil.example"})
    del browser.headers["origin"]
    hidden = browser.post(path, data=G8)

    assert (foreign.status_code, hidden.status_code) == (403, 403)
    assert round_.kept() == {}


# --- with accounts ------------------------------------------------------------------------------


@pytest.fixture
def ann(round_):
    """An account that is invited to a campaign of its own."""
    lab, told = round_.lab, {"by": "Lea", "at": AT}
    hashed = auth.hash_password("a long pass phrase")
    lab.store.accounts.add("Ann", kind="person", role="viewer", hashed=hashed, **told)
    taxonomy = default_taxonomy().as_json()
    lab.store.campaigns.add(
        "own",
        [NewImage(one) for one in round_.ids],
        [NewRater("R1", "Ann", account="Ann")],
        taxonomy=taxonomy,
        seed=1,
        **told,
    )
    lab.store.campaigns.open("own", **told)


def test_a_link_lets_in_without_an_account_and_only_to_rating(round_, ann, browser):
    assert follow(browser, link(round_))[1].status_code == 200
    assert browser.get("/review").headers["location"].startswith("/login")
    assert browser.get("/roundrobin").headers["location"].startswith("/login")


def test_who_rates_by_account_logs_in_first(round_, ann, browser):
    assert browser.get("/rate/own").headers["location"] == "/login?then=/rate/own"

    told = {"name": "Ann", "password": "a long pass phrase", "then": "/rate/own"}
    assert browser.post("/login", data=told).headers["location"] == "/rate/own"

    path, page = follow(browser, "/rate/own")
    assert page.status_code == 200
    browser.post(path, data=G8)
    (rating,) = round_.lab.store.campaigns.ratings("own")
    assert (rating.rater, rating.said.size) == ("R1", "8")


def test_an_account_sees_where_to_rate_and_how_far_all_have_come(round_, ann, browser):
    path, _ = follow(browser, link(round_))
    browser.post(path, data=G8)
    browser.post("/login", data={"name": "Ann", "password": "a long pass phrase"})

    page = browser.get("/roundrobin").text

    assert 'href="/rate/own"' in page
    assert "1 of 6 ratings" in page
    assert "Person 1" not in page
