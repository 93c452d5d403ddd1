"""The user guide names only what exists, is fresh, and is served offline."""

from __future__ import annotations

import hashlib
import re
import shlex
import tomllib
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from folders import ROOT
from labs.lab import HOME, web_of
from markdown_it import MarkdownIt
from pydantic import BaseModel

import reports
from agent.cli.reference import list_commands, render_commands, render_settings
from agent.settings import Objective, Settings, Source
from agent.store.people import auth
from agent.web import create_app

GUIDE = ROOT / "reports" / "guide"
REGENERATE = "stale: run `python -m agent.cli.reference`"
GENERATED = ("commands", "settings")
GERMAN = sorted(path.stem for path in (GUIDE / "de").glob("*.md"))
WRITTEN = [name for name in reports.GUIDE_PAGES if name not in GENERATED]
DOCUMENTS = [GUIDE / f"{name}.md" for name in reports.GUIDE_PAGES] + [
    ROOT / "README.md",
    ROOT / "deploy" / "OPERATIONS.md",
    ROOT / "agent" / "DECISIONS.md",
    ROOT / "tests" / "bench" / "RESULTS.md",
]
COMMANDS = list_commands()
GROUPS = {path.split()[0] for path in COMMANDS if " " in path}
SPECIFICATION_TABLES = ("specification", "size", "subtype")
BANNED = (
    "said|told|beside|anew|at work|taught|somebody|whoever|nobody|otherwise|meanwhile|"
    "take up|taken up|look at|put to work|give back|strange|stranger|errand|in force|gaze|witness"
)
CALL = re.compile(r"(?:sudo )?agent (?:--config \S+ )?")
MORNING = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)


def tokens_of(text: str):
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        yield token
        yield from token.children or ()


def code_of(path: Path) -> list[str]:
    """Return every piece of code on a page: spans, and the lines of blocks but of outputs."""
    pieces = []
    for token in tokens_of(path.read_text(encoding="utf-8")):
        if token.type == "code_inline":
            pieces.append(token.content)
        elif token.type == "fence" and token.info != "text":
            pieces += token.content.splitlines()
    return pieces


def blocks_of(text: str) -> list[tuple[str, str, str]]:
    """Return each block of a page as its shape, what it holds word for word, and its begin."""
    blocks = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        shape, kept = f"{token.type} {token.tag}", token.content if token.type == "fence" else ""
        if token.type == "inline":
            prose = " ".join(child.content for child in token.children if child.type == "text")
            parts = [
                child.content or child.attrGet("href") or child.attrGet("src") or ""
                for child in token.children
                if child.type in ("code_inline", "link_open")
            ] + [child.attrGet("src") for child in token.children if child.type == "image"]
            parts += [number.replace(",", ".") for number in re.findall(r"\d+(?:[.,]\d+)*", prose)]
            kept = ", ".join(sorted(set(parts)))
        blocks.append((shape, kept, token.content[:60]))
    return blocks


def difference(english: list[tuple[str, str, str]], german: list[tuple[str, str, str]]) -> str:
    """Return the first block that differs in its shape or in what both languages hold, or ""."""
    for (shape, kept, begin), (shape_de, kept_de, begin_de) in zip_longest(
        english, german, fillvalue=("nothing", "", "")
    ):
        if (shape, kept) != (shape_de, kept_de):
            return f"{shape} “{begin}” has [{kept}]; {shape_de} “{begin_de}” has [{kept_de}]"
    return ""


def prose_of(path: Path) -> str:
    return " ".join(
        token.content for token in tokens_of(path.read_text(encoding="utf-8"))
        if token.type == "text"
    )  # fmt: skip


def calls_of(path: Path) -> list[str]:
    """Return what follows `agent` on each line of code that calls it."""
    call = re.compile(r"(?:^|[\s/\\])agent(?:\.exe)? ((?:--config \S+ )?[a-z].*)")
    found = (call.search(line.partition(" #")[0]) for line in code_of(path))
    return [re.sub(r"^--config \S+ ", "", match[1]) for match in found if match]


def name_command(words: list[str]) -> str:
    """Return the words of a call that name its command."""
    has_inner = words[0] in GROUPS and len(words) > 1 and not words[1].startswith("-")
    return " ".join(words[: 1 + has_inner])


def fault_in(call: str) -> str:
    """Return what of a call does not exist, or ""."""
    # An ellipsis or an alternative in a sentence is no word of a command.
    words = [word for word in shlex.split(call.partition(" && ")[0]) if word != "…"]
    path = name_command(words)
    if path in GROUPS - set(COMMANDS):
        return ""
    if path not in COMMANDS:
        return f"agent {path}"
    known = {
        name
        for parameter in COMMANDS[path].params
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    options = {word.partition("=")[0] for word in words if word.startswith("--")} - {"--help"}
    return ", ".join(f"agent {path} {option}" for option in sorted(options - known))


def section(name: str) -> type[BaseModel] | None:
    if name == "sources":
        return Source
    if name == "sources.objectives":
        return Objective
    field = Settings.model_fields.get(name)
    return field.annotation if field else None  # type: ignore[return-value]


def unknown_settings(tables: dict[str, Any], above: str = "") -> list[str]:
    wrong = []
    for name, value in tables.items():
        kind = section(above + name)
        if kind is None:
            wrong.append(above + name)
            continue
        for table in value if isinstance(value, list) else [value]:
            inner = {key: table[key] for key in table if section(f"{above}{name}.{key}")}
            wrong += [
                f"{above}{name}.{key}"
                for key in table
                if key not in inner and key not in kind.model_fields
            ]
            wrong += unknown_settings(inner, f"{above}{name}.")
    return wrong


# --- what the pages name ------------------------------------------------------------------------


def test_the_reference_pages_are_what_the_program_says():
    assert (GUIDE / "commands.md").read_text("utf-8") == render_commands(), REGENERATE
    assert (GUIDE / "settings.md").read_text("utf-8") == render_settings(), REGENERATE


def test_every_file_of_the_guide_is_a_page_of_it():
    assert {path.stem for path in GUIDE.glob("*.md")} == set(reports.GUIDE_PAGES)


def test_every_command_and_option_that_a_page_names_exists():
    for path in DOCUMENTS:
        faults = [fault for call in calls_of(path) if (fault := fault_in(call))]

        assert faults == [], path


def test_every_line_to_type_is_understood_by_its_command():
    for path in DOCUMENTS:
        blocks = [
            token.content
            for token in tokens_of(path.read_text(encoding="utf-8"))
            if token.type == "fence" and token.info == "sh"
        ]
        for line in (line for block in blocks for line in block.splitlines()):
            if called := CALL.match(line):
                words = shlex.split(line[called.end() :], comments=True)
                name = name_command(words)
                rest = words[len(name.split()) :]
                COMMANDS[name].make_context(name, rest)  # a usage error says what is wrong


def test_a_command_or_an_option_that_does_not_exist_is_found():
    assert fault_in("orders supersede ID --by NAME --reason TEXT") == ""
    assert fault_in("frobnicate 4711") == "agent frobnicate"
    assert fault_in("orders frobnicate 4711") == "agent orders frobnicate"
    assert fault_in("status --yaml") == "agent status --yaml"


def test_every_setting_that_a_page_names_exists():
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        spans = " ".join(f"`{piece}`" for piece in code_of(path))
        named = re.findall(r"`\[{1,2}([a-z.]+)\]{1,2}(?: (\w+))?", spans)
        variables = re.findall(r"AGENT_([A-Z]+)__([A-Z_]+)", text)
        for name, key in [*named, *((a.lower(), b.lower()) for a, b in variables)]:
            if name in SPECIFICATION_TABLES or (name, key) == ("section", "key"):
                continue
            kind = section(name)
            assert kind is not None, f"[{name}]"
            assert key in ("", "key") or key in kind.model_fields, f"[{name}] {key}"


def test_every_block_of_settings_on_a_page_can_be_read():
    for path in DOCUMENTS:
        blocks = [
            token.content
            for token in tokens_of(path.read_text(encoding="utf-8"))
            if token.type == "fence" and token.info == "toml"
        ]
        for block in blocks:
            tables = tomllib.loads(block)
            if not set(tables) & {*SPECIFICATION_TABLES, "name"}:
                assert unknown_settings(tables) == [], path


def test_a_setting_that_does_not_exist_is_found():
    tables = tomllib.loads(
        "[web]\nprot = 1\n[sauces]\n[[sources]]\nquiet = 1\n[[sources.objectives]]\nx = 1\n"
    )

    wrong = ["web.prot", "sauces", "sources.quiet", "sources.objectives.x"]
    assert unknown_settings(tables) == wrong


def test_every_link_of_a_page_leads_to_a_page_and_a_heading():
    for name in reports.GUIDE_PAGES:
        for address in re.findall(r'href="([^"]+)"', str(reports.get_guide_page(name).html)):
            if address.startswith("https://"):
                continue
            page, _, anchor = address.partition("#")
            target = reports.get_guide_page(page.removeprefix("/help/") or name)
            anchors = {heading.anchor for heading in target.headings}
            assert not anchor or anchor in anchors, address


def test_every_file_of_the_project_that_a_page_names_is_there():
    for path in DOCUMENTS:
        named = re.findall(
            r"`((?:deploy|tests|reports|agent|model)/[\w./-]+)`", path.read_text("utf-8")
        )

        assert [one for one in named if not (ROOT / one).exists()] == [], path


def test_a_page_holds_the_glossary():
    for name in (*WRITTEN, "README"):
        path = ROOT / "README.md" if name == "README" else GUIDE / f"{name}.md"

        assert re.findall(rf"\b({BANNED})\b", prose_of(path), re.IGNORECASE) == [], name


@pytest.mark.parametrize("name", GERMAN)
def test_a_german_page_is_of_its_english_one_as_it_is_now(name):
    english, german = reports.read_guide(name), reports.read_guide(name, "de")
    of = f"[of]: # ({hashlib.sha256(' '.join(english.split()).encode()).hexdigest()[:12]})"
    found = difference(blocks_of(english), blocks_of(german))

    assert not found, f"bring reports/guide/de/{name}.md up to reports/guide/{name}.md: {found}"
    assert german.endswith(f"\n\n{of}\n"), (
        f"reports/guide/{name}.md has changed: bring reports/guide/de/{name}.md up to it, "
        f"then write as its last line {of}"
    )


def test_every_page_that_is_written_is_there_in_german():
    assert sorted(WRITTEN) == GERMAN


def test_a_change_of_the_english_page_alone_is_found():
    german = blocks_of("# Felder\n\nNach 0,5 s kommen 5 [Felder](a.md#b) aus `[x] y`.")

    assert (
        difference(blocks_of("# Fields\n\nAfter 0.5 s `[x] y` sends 5 [f](a.md#b)."), german) == ""
    )
    for english in (
        "# Fields\n\nAfter 0.5 s `[x] y` sends 6 [f](a.md#b).",
        "# Fields\n\nAfter 0.5 s `[x] z` sends 5 [f](a.md#b).",
        "# Fields\n\nAfter 0.5 s `[x] y` sends 5 [f](a.md#c).",
        "## Fields\n\nAfter 0.5 s `[x] y` sends 5 [f](a.md#b).",
        "# Fields\n\nAfter 0.5 s `[x] y` sends 5 [f](a.md#b).\n\nMore.",
        "# Fields",
    ):
        assert difference(blocks_of(english), german), english


def test_the_readme_fits_on_a_page_and_the_operations_on_ten():
    operations = (ROOT / "deploy" / "OPERATIONS.md").read_text(encoding="utf-8")

    assert (ROOT / "README.md").stat().st_size <= 6000
    assert len(operations.encode()) <= 25_000
    assert len(re.findall("^## ", operations, re.MULTILINE)) == 10


def test_results_have_a_row_for_each_promise_and_trials_a_screen_for_each_subject():
    bench = ROOT / "tests" / "bench"

    assert (bench / "RESULTS.md").stat().st_size <= 12000
    assert all(page.stat().st_size <= 4000 for page in (bench / "notebook").glob("*.md"))


# --- rendering and search -----------------------------------------------------------------------


def test_a_page_has_a_title_unique_anchors_and_no_style_that_the_policy_refuses():
    for name in reports.GUIDE_PAGES:
        page = reports.get_guide_page(name)
        anchors = re.findall(r'<h\d id="([^"]+)"', str(page.html))

        assert page.title, name
        assert len(anchors) == len(set(anchors)) == len(page.headings) + 1, name
        assert " style=" not in str(page.html), name
        assert "<script" not in str(page.html), name
        assert "&lt;!--" not in str(page.html), f"{name}: a comment is shown as text"


def test_a_name_outside_the_guide_is_no_page():
    with pytest.raises(KeyError):
        reports.get_guide_page("../words")


def test_a_search_finds_the_section_whatever_the_case_and_order_of_the_words():
    best = reports.search_guide("RETRAIN agent")[0]

    assert (best.page, best.anchor) == ("commands", "agent-retrain")
    assert "".join(text for text, _is_hit in best.excerpt)
    assert {text.casefold() for text, is_hit in best.excerpt if is_hit} <= {"retrain", "agent"}


def test_every_word_has_to_be_in_the_section():
    assert reports.search_guide("retrain zebra") == ()
    assert reports.search_guide("  ") == ()


def test_every_picture_of_the_guide_is_shown_with_words_and_all_are_small():
    shown = [
        picture
        for name in reports.GUIDE_PAGES
        for picture in re.findall(r"<img [^>]+>", str(reports.get_guide_page(name).html))
    ]

    assert {re.search(r'src="/help/pictures/([^"]+)"', one)[1] for one in shown} == set(
        reports.GUIDE_PICTURES
    )
    assert all(len(re.search(r'alt="([^"]*)"', one)[1]) > 20 for one in shown)
    assert {path.name for path in GUIDE.glob("*.webp")} == set(reports.GUIDE_PICTURES)
    assert sum(len(reports.read_guide_picture(name)) for name in reports.GUIDE_PICTURES) < 150_000


# --- at /help -----------------------------------------------------------------------------------


@pytest.fixture
def browser(lab):
    with TestClient(create_app(web_of(lab)), base_url=HOME) as client:
        yield client


def test_a_page_is_served_with_the_contents(browser):
    for name in reports.GUIDE_PAGES:
        answer = browser.get(f"/help/{name}")

        assert answer.status_code == 200, name
        assert answer.text.count('aria-current="page"') == 1, name
        assert all(f'href="/help/{page}"' in answer.text for page in reports.GUIDE_PAGES), name


def test_no_page_loads_anything_from_another_place(browser):
    loaded = re.compile(r'(?:src|<link[^>]*href)="(https?:|//)')

    pages = [browser.get(f"/help/{name}").text for name in reports.GUIDE_PAGES]

    assert [page for page in pages if loaded.search(page)] == []


def test_the_pictures_are_served_and_no_other_file(browser):
    for name in reports.GUIDE_PICTURES:
        answer = browser.get(f"/help/pictures/{name}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
        assert answer.content[8:12] == b"WEBP"

    assert browser.get("/help/pictures/own-classes.md").status_code == 404


def test_the_contents_name_every_page(browser):
    page = browser.get("/help").text

    assert all(one.title in page and one.lead[:20] in page for one in reports.list_guide()[:3])


def test_what_was_searched_for_is_shown_as_text(browser):
    page = browser.get("/help", params={"q": '"><script>alert(1)</script>'}).text

    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page


def test_a_search_marks_what_it_found(browser):
    page = browser.get("/help", params={"q": "exit code"}).text

    assert re.search(r"<mark>exit</mark>", page, re.IGNORECASE)
    assert 'href="/help/commands#commands"' in page


def test_an_unknown_page_is_not_here(browser):
    assert browser.get("/help/nothing").status_code == 404
    assert browser.get("/help/..%2Fwords").status_code == 404


def test_every_page_links_to_its_help(browser):
    for path in (
        "/review",
        "/orders",
        "/models",
        "/roundrobin",
        "/help",
        "/nowhere",
        "/review/name",
    ):
        [address] = re.findall(r'class="help" href="([^"]+)"', browser.get(path).text)

        assert browser.get(address).status_code == 200, path


def test_where_there_are_accounts_the_guide_needs_a_login(lab):
    hashed = auth.hash_password("a long pass phrase")
    lab.store.accounts.add(
        "Ann", kind="person", role="viewer", hashed=hashed, by="shell", at=MORNING
    )
    with TestClient(create_app(web_of(lab)), base_url=HOME, follow_redirects=False) as client:
        answer = client.get("/help/concepts")

    assert (answer.status_code, answer.headers["location"]) == (
        303,
        "/login?then=%2Fhelp%2Fconcepts",
    )


def test_the_guide_follows_the_language_of_the_pages(lab):
    with TestClient(create_app(web_of(lab), language="de"), base_url=HOME) as client:
        page, contents = client.get("/help/concepts").text, client.get("/help").text
        hits = client.get("/help", params={"q": "Maßstabsbalken"}).text

    assert '<article class="prose" lang="de">' in page
    assert '<h2 id="structure-code">Gefügekennzahl</h2>' in page
    assert "nur auf Englisch" not in page
    assert '<li lang="de"><a href="/help/concepts">Grundbegriffe</a>' in contents
    assert "<mark>Maßstabsbalken</mark>" in hits


def test_a_page_without_a_german_text_is_in_english_and_says_so(lab):
    with TestClient(create_app(web_of(lab), language="de"), base_url=HOME) as client:
        page = client.get("/help/commands").text

    assert "Diese Seite gibt es nur auf Englisch." in page
    assert '<article class="prose" lang="en">' in page
    assert '<li lang="en"><a href="/help/commands" aria-current="page">' in page
