"""A page speaks one language, and a catalogue knows whatever a page can say."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import UTC, datetime
from string import Formatter

import pytest
from catalogue import LANGUAGES, ROOT, known, said
from fastapi.testclient import TestClient
from labs.lab import DAY, SETTINGS, Lab, minutes, web_of
from labs.page_facts import NIGHT, QUEUE, REVIEW
from labs.words import ENGLISH, Words, english_in

import reports
from agent.nightly import write_report
from agent.web import create_app
from model.image_quality import DEFECTS
from reports.i18n import PARTS
from reports.vocabulary import DEFECT_WORDS

HOW = (
    "a page says what no catalogue has. Run `python tests/catalogue.py`, write the empty "
    "translations into reports/languages/*.po by hand, and run this test again"
)
KEYS = {"Enter", "Esc", "Martensight"}
ENGLISH_ALONE = ("experiments.html", "impact.html")
"""Pages for who trains a model: in English whatever is set."""
TEMPLATES = [
    path
    for path in sorted((ROOT / "reports" / "templates").glob("*.html"))
    if path.name not in ENGLISH_ALONE
]
AFTERWARDS = datetime(2026, 11, 25, 6, 0, tzinfo=UTC)
GERMAN = dataclasses.replace(SETTINGS, language="de")


def strings(message) -> tuple[str, ...]:
    return message if isinstance(message, tuple) else (message,)


def places(text: str) -> list[str]:
    """The places of a message that are filled in, in either manner."""
    return sorted(
        [name for _, name, _, _ in Formatter().parse(re.sub(r"%\(\w+\)s", "", text)) if name]
        + re.findall(r"%\((\w+)\)s", text)
    )


# --- the catalogue ------------------------------------------------------------------------------


def test_every_message_of_a_page_is_translated():
    wanted = {message.id for message in said() if message.id}

    for path in LANGUAGES.glob("*.po"):
        kept = known(path.stem)
        filled = {m.id for m in kept if m.id and all(strings(m.string)) and not m.fuzzy}
        assert wanted - filled == set(), f"{path.name}: {HOW}"
        assert filled - wanted == set(), f"{path.name} knows what no page says. {HOW}"


def test_a_translation_fills_in_the_same_places():
    for message in known("de"):
        if message.id:
            known_of, said_of = strings(message.id), strings(message.string)
            assert places(said_of[-1]) == places(known_of[-1]), message.id
            # One thing alone may be said with or without its number.
            assert set(places(said_of[0])) <= {*places(known_of[0]), *places(known_of[-1])}


def test_a_translation_has_the_markup_of_its_message():
    for message in known("de"):
        if message.id:
            tags = [
                re.findall(r"</?\w+>", one)
                for one in (*strings(message.id), *strings(message.string))
            ]
            assert all(sorted(tag) == sorted(tags[0]) for tag in tags), message.id


def test_a_template_says_nothing_past_the_catalogue():
    for path in TEMPLATES:
        text = re.sub(
            r"\{%-? *trans\b.*?endtrans *-?%\}|\{% block kind .*?endblock %\}|\{#.*?#\}",
            "",
            path.read_text("utf-8"),
            flags=re.DOTALL,
        )
        text = re.sub(r"\{%.*?%\}|\{\{.*?\}\}", " ", text, flags=re.DOTALL)

        found = [word for one in Words(text).found for word in re.findall(r"[^\W\d_]{2,}", one)]

        assert set(found) <= KEYS, f"write {{{{ _(…) }}}} or {{% trans %}} around it; then {HOW}"


def test_a_template_translates_no_text_of_a_person():
    for path in TEMPLATES:
        # What is translated counts as our own text, and is not escaped.
        for call in re.findall(r"\b_\(([^)]*)", path.read_text("utf-8")):
            assert call[:1] in "'\"", f"{call} is no message of our own"


def test_a_message_that_is_in_no_catalogue_is_said_in_english():
    with reports.speaking("de"):
        assert reports.gettext("not in any catalogue") == "not in any catalogue"
        assert reports.ngettext("{n} moose", "{n} mooses", 2) == "{n} mooses"
        assert reports.gettext("") == ""


# --- numbers and dates --------------------------------------------------------------------------


def test_numbers_and_dates_are_said_as_the_language_says_them():
    at = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)

    assert (reports.decimal(0.1234, ".2g"), reports.day_and_time(at)) == ("0.12", "4 Mar 05:06")
    with reports.speaking("de"):
        assert (reports.decimal(0.1234, ".2g"), reports.day_and_time(at)) == (
            "0,12",
            "4. März 05:06",
        )
        assert reports.whole_date(at.date()) == "Mittwoch, 4. März 2026"


def test_a_language_ends_with_its_block():
    with reports.speaking("de"), reports.speaking("en"):
        assert reports.gettext("Order") == "Order"

    assert reports.language() == "en"


# --- what was kept in English -------------------------------------------------------------------


def test_every_sentence_of_strangeness_is_shown_in_german():
    for p_value in (0.001, 0.01, 0.5):
        for is_resolvable in (True, False):
            for size_ratio in (None, 0.05, 16.2):
                for look in ("", *PARTS):
                    message = reports.compose_ood_message(
                        p_value,
                        160,
                        look=look,
                        area_um2=13_000,
                        size_ratio=size_ratio,
                        is_resolvable=is_resolvable,
                    )
                    stored = json.loads(json.dumps(message.to_json()))

                    with reports.speaking("de"):
                        shown = str(reports.read_message(stored, "not used"))

                    assert not ENGLISH & set(re.findall(r"\w+", shown.lower())), shown


def test_every_defect_is_shown_in_german():
    with reports.speaking("de"):
        assert (
            reports.describe_defect("out of focus: shoot again")
            == "unscharf: noch einmal aufnehmen"
        )
        for defect in DEFECTS:
            assert {defect.finding, defect.action} <= set(DEFECT_WORDS)
            assert reports.describe_defect(str(defect)) != str(defect)


def test_a_text_stored_without_a_message_stays_as_it_was_stored():
    with reports.speaking("de"):
        assert str(reports.read_message(None, "{0} % something")) == "{0} % something"
        assert reports.describe_defect("blue spots: look again") == "blue spots: look again"


# --- pages --------------------------------------------------------------------------------------


def a_night_of_everything(lab: Lab, settings=GERMAN) -> str:
    for number, why in enumerate(reports.REASONS):
        lab.take("G8", reasons=(why,), at=minutes(number), material="100Cr6", order="4711")
    lab.take("G9-10", at=minutes(30))
    lab.set_aside("cut.tif", "truncated", "")
    lab.duplicate("copy.tif", lab.take("G7", at=minutes(31)))
    written = write_report(
        lab.store, lab.archive, lab.reports, DAY.date(), settings, now=AFTERWARDS
    )
    return written.path.read_text("utf-8")


def test_a_german_report_says_nothing_in_english(lab):
    words = Words(a_night_of_everything(lab, dataclasses.replace(GERMAN, words={})))

    assert words.lang == "de"
    assert f"{len(reports.REASONS)} Aufnahmen zu prüfen · 1 Datei nicht lesbar" in words.found
    assert "unbrauchbare Datei: Abgeschnitten (1)" in words.found
    assert english_in(a_page_of(lab, "index.html")) == []
    assert english_in(a_page_of(lab, f"{DAY.date()}.html")) == []


def a_page_of(lab: Lab, name: str) -> str:
    return (lab.reports / name).read_text("utf-8")


def test_a_night_is_written_again_in_the_language_it_was_first_reported_in(lab):
    first = a_night_of_everything(lab)

    again = write_report(
        lab.store, lab.archive, lab.reports, DAY.date(), SETTINGS, now=AFTERWARDS
    ).path.read_text("utf-8")

    assert again == first
    assert Words(a_page_of(lab, "index.html")).lang == "en"


def test_what_programs_read_stays_as_it_is_in_every_language(lab):
    a_night_of_everything(lab)

    row = (lab.reports / f"{DAY.date()}.csv").read_text("utf-8").splitlines()[1]

    assert ",review," in row
    assert "24 Nov " in row


@pytest.fixture
def browser(lab):
    app = create_app(web_of(lab, at=AFTERWARDS), language="de")
    with TestClient(app, base_url="http://127.0.0.1:8787") as client:
        yield client


def test_german_pages_of_the_review_say_nothing_in_english(lab, browser):
    field = {"order": "4711", "specimen": "01", "material": "100Cr6"}
    ids = [
        lab.take("G8", reasons=(why,), at=minutes(number), field=str(number), **field)
        for number, why in enumerate(reports.REASONS)
    ]
    lab.take("G8", reasons=("strange",), order="4712")
    browser.post("/review/name", data={"by": "Ann", "then": "/review"})
    decided = browser.post(f"/review/{ids[1]}/decide", data={"decision": "strange:pearlite"})

    pages = [decided, *map(browser.get, ("/review", "/orders", "/order/4711", "/order/1", "/x"))]
    pages += [browser.get(f"/review/{one}") for one in (*ids[:3], ids[-1])]

    for page in pages:
        assert Words(page.text).lang == "de"
        assert english_in(page.text) == []
    assert "Gesichtsfeld 1" in decided.text


def test_a_program_is_answered_in_english_whatever_the_pages_speak(lab, browser):
    lab.take("G8", reasons=("uncertain",), order="4711", specimen="01")

    page, document = browser.get("/order/4711"), browser.get("/api/v1/orders/4711").json()

    assert "keine Grenze gesetzt" in page.text or "darum gilt keine Grenze" in page.text
    assert document["missing"] == [
        "no material, product or customer is known of it, so no specification limit applies"
    ]


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("night", {"page": NIGHT}),
        ("queue", QUEUE),
        ("review", REVIEW),
    ],
)
def test_a_template_in_german_has_the_shape_it_has_in_english(name, facts):
    english = re.findall(r"<(\w+)", reports.render(name, **facts))

    with reports.speaking("de"):
        german = reports.render(name, **facts)

    assert re.findall(r"<(\w+)", german) == english
    assert '<html lang="de">' in german
