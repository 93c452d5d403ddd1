"""A customer gets a frozen statement with pictures in the lab's own layout, in either language."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from fastapi.testclient import TestClient
from labs.lab import DAY, HOME, web_of
from labs.statements import PIXELS, freeze, label, take
from PIL import Image
from pyhanko.pdf_utils.reader import PdfFileReader

from agent.cli import main
from agent.errors import SetupError, UsageError
from agent.files import pictures
from agent.orders.statements.customer_report import (
    find_statement,
    load_picture,
    render_customer_report,
)
from agent.web import create_app

OURS = '{% extends "builtin/customer.html" %}{% block verdict %}<h1>OURS {{ page.word }}</h1>'
OURS += "{% endblock %}"


@pytest.fixture
def layout(tmp_path):
    folder = tmp_path / "layout"
    folder.mkdir()
    logo = io.BytesIO()
    Image.new("RGBA", (200, 60), (10, 60, 120, 200)).save(logo, "PNG")
    (folder / "logo.png").write_bytes(logo.getvalue())
    (folder / "address.txt").write_text("Härterei Nord <GmbH>\nBremen", encoding="utf-8")
    (folder / "closing.de.txt").write_text("Mit freundlichen Grüßen", encoding="utf-8")
    return folder


def state(lab, code="G8", *, at=DAY):
    public_id = take(lab, pixels=PIXELS)
    label(lab, public_id, code)
    freeze(lab, at=at)
    return public_id


def build(lab, number=None, *, language="en", folder=None):
    statement = find_statement(lab.store, "4711", number)
    return render_customer_report(
        lab.store, lab.archive, statement, language=language, folder=folder
    )


def test_a_report_shows_the_statement_and_its_number_under_the_labs_letterhead(lab, layout):
    state(lab)

    made = build(lab, language="de", folder=layout)

    html = made["html"].decode()
    assert "Aussage 1" in html
    assert "Härterei Nord &lt;GmbH&gt;" in html
    assert "Mit freundlichen Grüßen" in html
    assert find_statement(lab.store, "4711").sha256 in html
    assert '<html lang="de">' in html
    assert html.count("data:image/jpeg") == 1
    assert 'src="http' not in html
    assert "url(" not in html


def test_the_pdf_is_the_same_again_and_has_the_frozen_document_inside(lab, layout):
    state(lab)

    pdf = build(lab, folder=layout)["pdf"]

    root = PdfFileReader(io.BytesIO(pdf)).root
    named = root["/Names"]["/EmbeddedFiles"]["/Names"]
    document = json.loads(named[1]["/EF"]["/F"].data)
    assert named[0] == "statement.json"
    assert document["order"] == "4711"
    assert pdf == build(lab, folder=layout)["pdf"]


def test_an_earlier_statement_is_shown_as_it_was(lab):
    public_id = state(lab)
    label(lab, public_id, "G7", at=DAY + timedelta(hours=1))
    freeze(lab, at=DAY + timedelta(hours=1))

    words = [build(lab, number)["html"].decode() for number in (1, 2)]

    assert "The order conforms" in words[0]
    assert "The order does not conform" in words[1]
    assert find_statement(lab.store, "4711").number == 2


def test_an_order_without_a_statement_is_refused_with_what_to_do(lab):
    take(lab)

    with pytest.raises(
        UsageError, match=r"Order 4711 has no statement yet.*agent orders show 4711"
    ):
        build(lab)
    state(lab)
    with pytest.raises(UsageError, match="has no statement 9; there are: 1"):
        build(lab, 9)


def test_a_lab_may_replace_blocks_of_the_layout(lab, layout):
    (layout / "customer.html").write_text(OURS, encoding="utf-8")
    state(lab)

    html = build(lab, folder=layout)["html"].decode()

    assert "<h1>OURS The order conforms</h1>" in html
    assert "Härterei Nord" in html


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("<p>\n{% if %}", "customer.html, line 2"),
        ("<p>\n\n{{ page.nothing.more }}", "customer.html, line 3"),
        ("{{ page.__class__.__mro__ }}", "unsafe"),
        ("{{ letterhead.address.__init__.__globals__ }}", "unsafe"),
        ('{% extends "../../etc/passwd" %}', "passwd"),
    ],
)
def test_a_broken_template_is_named_with_its_line_and_the_way_back(lab, layout, template, said):
    (layout / "customer.html").write_text(template, encoding="utf-8")
    state(lab)

    with pytest.raises(SetupError, match="built-in layout") as fault:
        build(lab, folder=layout)

    assert said in str(fault.value)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "customer.html: rendering it took longer than 3 s",
        ),
        pytest.param(
            "{% set long = 'x' * 10 ** 10 %}{{ long }}",
            "MemoryError",
            marks=pytest.mark.skipif(sys.platform == "win32", reason="a limit of POSIX"),
        ),
    ],
)
def test_a_template_without_end_or_bound_is_stopped_and_named(lab, layout, template, said):
    (layout / "customer.html").write_text(template, encoding="utf-8")
    state(lab)
    statement = find_statement(lab.store, "4711")

    with pytest.raises(SetupError, match="use the built-in layout") as raised:
        render_customer_report(
            lab.store, lab.archive, statement, language="en", folder=layout, time_limit_s=3
        )

    assert said in str(raised.value)


def test_texts_of_an_order_cannot_become_markup_in_a_labs_template(lab, layout):
    (layout / "customer.html").write_text("{{ page.site }}{{ letterhead.address[0] }}")
    state(lab)

    assert b"<GmbH>" not in build(lab, folder=layout)["html"]


@pytest.mark.parametrize(("name", "content"), [("logo.png", b"no"), ("address.txt", b"\xff\xfe")])
def test_a_file_of_the_layout_that_cannot_be_used_is_named(lab, layout, name, content):
    (layout / name).write_bytes(content)
    state(lab)

    with pytest.raises(SetupError, match="customer_templates"):
        build(lab, folder=layout)


def test_only_the_pixels_that_the_statement_names_are_shown(lab):
    public_id = state(lab)
    sha256 = lab.store.results.find(public_id).sha256
    crop, thumb = lab.archive.crop_path(sha256, 0), lab.archive.thumbnail_path(sha256, 0)
    named = {
        "crop": hashlib.sha256(crop.read_bytes()).hexdigest(),
        "thumb": hashlib.sha256(thumb.read_bytes()).hexdigest(),
    }
    field = {"sha256": sha256, "page": 0, "files": named, "um_per_px": 0.12}

    whole = load_picture(lab.archive, field)
    crop.write_bytes(pictures.encode_png(np.zeros((600, 800, 3), np.uint8)))
    other = load_picture(lab.archive, field)
    thumb.unlink()

    assert whole[1:] == (800, 600)
    assert other[1:] == (320, 240)
    assert load_picture(lab.archive, field) is None


def test_a_scale_bar_has_a_round_length_and_its_true_number_of_pixels():
    drawn = pictures.draw_scale_bar(np.full((600, 800, 3), 128, np.uint8), 0.12)

    line = (drawn[-17] == 255).all(axis=1)  # 24 µm fit in a quarter of 96 µm: 20 µm
    assert abs(int(line.sum()) - round(20 / 0.12)) <= 1


def test_an_order_may_be_named_like_a_report(lab):
    lab.take("G8", order="A/report.pdf", specimen="01", field="1")
    with TestClient(create_app(web_of(lab)), base_url=HOME) as browser:
        page = browser.get("/order/A%2Freport.pdf")
        document = browser.get("/api/v1/orders/A%2Freport.pdf")
        report = browser.get("/order/A/report.pdf")

    assert "<bdi>A/report.pdf</bdi>" in page.text
    assert document.json()["order"] == "A/report.pdf"
    assert report.status_code == 404


def test_a_report_is_offered_for_a_stated_verdict_alone(lab):
    take(lab, pixels=PIXELS)
    freeze(lab, at=DAY)
    with TestClient(create_app(web_of(lab)), base_url=HOME) as browser:
        undecided = browser.get("/order/4711").text

    assert find_statement(lab.store, "4711").conformity == "undecided"
    assert "/order/4711/report." not in undecided


def test_page_api_and_command_give_the_same_report(lab, tmp_path, layout):
    state(lab)
    (tmp_path / "agent.toml").write_text(
        f'[store]\nfolder = "data"\n[report]\ncustomer_templates = "{layout.as_posix()}"\n',
        encoding="utf-8",
    )
    web = replace(web_of(lab), customer_templates=layout)
    with TestClient(create_app(web), base_url=HOME) as browser:
        page = browser.get("/order/4711")
        served = browser.get("/order/4711/report.pdf?language=de")
        api = browser.get("/api/v1/orders/4711/report.html?language=de")
        unknown = browser.get("/api/v1/orders/9/report.html")
    command = [
        "--config",
        str(tmp_path / "agent.toml"),
        "orders",
        "statements",
        "--customer",
        "4711",
    ]
    with pytest.raises(SystemExit) as ended:
        main([*command, str(tmp_path / "out"), "--language", "de"])

    made = build(lab, language="de", folder=layout)
    assert "/order/4711/report.pdf?language=de" in page.text
    assert served.content == made["pdf"]
    assert api.text.encode() == made["html"]
    assert "img-src data:; style-src 'unsafe-inline'" in api.headers["Content-Security-Policy"]
    assert api.headers["X-Statement"] == f"1; sha256={find_statement(lab.store, '4711').sha256}"
    assert unknown.status_code == 404
    assert not ended.value.code
    assert (tmp_path / "out" / "4711-1-customer.pdf").read_bytes() == made["pdf"]
