"""Labs whose classes are not bearing steel go from first label to statement, in their own words."""

from __future__ import annotations

import ast
import csv
import json
import re
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED
from fastapi.testclient import TestClient
from folders import ROOT
from labs.lab import HOME, NEXT_DAY, Lab, web_of
from numpy.typing import NDArray

from agent.archive import Archive
from agent.cli.app import main
from agent.files.pictures import encode_png
from agent.settings import read
from agent.store import Store, store_url
from agent.web import create_app
from agent.web.app import app_of

BEARING = re.compile(
    r"[Cc]arbide|[Kk]arbid|[Aa]usteni|[Nn]eedle|Nadel|ISO 643|100Cr6|C56E2|[Aa]cicular|"
    r"[Bb]ainit|\bmartensit"
)
"""Words of the default taxonomy; `Martensight` is the product's name."""
CONTRACT = {"carbide network", "Karbidnetzwerk", "needles", "martensit"}
"""A kind of strangeness that reviewers can name in any steel, the name of a command, and the word
by which the title of a subtype tells that laths are to be expected."""
OF_NEEDLES = re.compile(r"[Nn]eedle\w*|Nadel\w*|[Ll]ath martensite")
"""Words of a function that a lab with classes of its own does not see unless it switches it on."""
SETTINGS = """
[site]
name = "Labor Süd"
time_zone = "UTC"

[[sources]]
name = "LOM-1"
folder = "export"
quiet_s = 0.2
pattern = "(?P<order>\\\\d+)_(?P<specimen>\\\\d+)_(?P<field>\\\\d+)_(?P<objective>\\\\d+x)"
objectives = [{ name = "50x", um_per_px = 0.2 }]

[report]
language = "de"

[imaging]
workers = 1

[web]
port = 0

[strangeness]
alpha = 0.1

[model]
taxonomy = "taxonomy.toml"

[orders]
specifications = "specifications.toml"
leads = ["Ada"]
"""
QUICK = ("--frozen", "--arch", "efficientnet-lite0", "--framing", "resize", "--frame", 128)


@dataclass
class OwnLab:
    """A folder with `agent.toml` and a taxonomy of its own."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    def agent(self, *words: object, code: int = 0) -> str:
        """Run a command; what it said comes back."""
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(self.folder / "agent.toml"), *map(str, words)])
        said = self.capsys.readouterr()
        assert int(ended.value.code or 0) == code, said.out + said.err
        return said.out

    def write(self, name: str, rows: list[tuple[object, ...]]) -> Path:
        path = self.folder / name
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
        return path

    def store(self) -> Store:
        return Store.open(store_url(self.folder / "data", ""), site="Labor Süd", agent="test")

    def texts(self) -> str:
        """Every page that was written, as text."""
        found = [
            path.read_text("utf-8")
            for path in sorted((self.folder / "data" / "reports").rglob("*.html"))
        ]
        return "\n".join(found)


def plain(page: str) -> str:
    """The words of a page, without tags, styles, scripts and embedded pictures."""
    page = re.sub(r"<(style|script)\b.*?</\1>", " ", page, flags=re.DOTALL)
    text = re.sub(r"<[^>]+>", " ", page)
    for kept in CONTRACT:
        text = text.replace(kept, "")
    return text


def make_lab(folder: Path, capsys, taxonomy: str, demand: str) -> OwnLab:
    (folder / "export").mkdir()
    (folder / "agent.toml").write_text(SETTINGS, encoding="utf-8")
    (folder / "taxonomy.toml").write_text(taxonomy, encoding="utf-8")
    (folder / "specifications.toml").write_text(demand, encoding="utf-8")
    return OwnLab(folder, capsys)


def review_everything(own: OwnLab, codes: dict[str, str]) -> list[tuple[str, str]]:
    """Decide every exported micrograph by its true code; id and code come back."""
    store = own.store()
    try:
        views = [view for view in store.results.iter_all() if view.result.origin != "import"]
    finally:
        store.close()
    decided = []
    for view in views:
        code = codes[Path(view.path).name]
        own.agent("review", "label", view.id, code, "--by", "Ada", "--comment", "am Mikroskop")
        decided.append((view.id, code))
    return decided


def rate_everything(own: OwnLab, chosen: list[tuple[str, str]]) -> None:
    """Play a round robin with two raters who say the true code."""
    rows: list[tuple[object, ...]] = [("id", "code"), *chosen]
    own.agent(
        "roundrobin", "new", "runde", "--micrographs", own.write("chosen.csv", rows),
        "--rater", "Ann", "--rater", "Bob", "--by", "Ada",
    )  # fmt: skip
    printed = own.agent("roundrobin", "open", "runde", "--by", "Ada")
    links = re.findall(r"/rate/([A-Za-z0-9_-]{43})", printed)
    assert len(links) == 2
    store, settings = own.store(), read(own.folder / "agent.toml")
    app = app_of(
        settings,
        store=store,
        archive=Archive(own.folder / "data"),
        now=lambda: NEXT_DAY,
        status=dict,
    )
    from model import load_taxonomy  # noqa: PLC0415 - brings PyTorch

    taxonomy, true = load_taxonomy(own.folder / "taxonomy.toml"), dict(chosen)
    campaign = store.campaigns.find("runde")
    home = "http://127.0.0.1:8787"
    with TestClient(app, base_url=home, headers={"origin": home}) as browser:
        pages = [browser.get("/review").text, browser.get(f"/review/{chosen[0][0]}").text]
        from agent.roundrobin.campaign import get_order  # noqa: PLC0415
        from agent.store.people import auth  # noqa: PLC0415

        for token in links:
            seat = store.campaigns.seat(hashed=auth.hash_token(token))
            order = get_order(campaign, seat.rater.pseudonym)
            for place, number in enumerate(order, start=1):
                pages.append(browser.get(f"/rate/{token}/{place}").text)
                subtype, size = taxonomy.parse(true[campaign.images[number - 1].micrograph])
                answer = {"answer": "code", "subtype": subtype, "criterion": "mean"}
                answer |= {f"size-{subtype}": size} if size else {}
                sent = browser.post(f"/rate/{token}/{place}", data=answer)
                assert sent.status_code == 200, sent.text
    store.close()
    assert not BEARING.findall(plain("\n".join(pages)))
    own.agent("roundrobin", "close", "runde", "--by", "Ada")
    found = json.loads(own.agent("roundrobin", "report", "runde", "--json"))
    assert found["accuracy"]["code"]["value"] == 1.0
    assert found["ratings"] == 2 * len(chosen)


def measure_everything(own: OwnLab, true: dict[str, str], limit: str) -> None:
    """Study the measuring system by codes that people filled in, each the true one."""
    rows: list[tuple[object, ...]] = [("specimen", "code"), *true.items()]
    own.agent(
        "msa", "plan", "MSA-1", "--specimens", own.write("specimens.csv", rows),
        "--operators", "Ann,Bob", "--microscopes", "L1,L2", "--seed", 7, "--by", "Ada",
    )  # fmt: skip
    plan = next((own.folder / "data" / "reports").rglob("MSA-1-plan.csv"))
    runs = list(csv.DictReader(plan.read_text("utf-8-sig").splitlines()))
    told: list[tuple[object, ...]] = [("run", "code")]
    told += [(run["run"], true[run["specimen"]]) for run in runs]
    said = own.write("said.csv", told)
    found = own.agent(
        "msa", "report", "MSA-1", "--codes", said, "--limit", limit, "--by", "Ada", "--json"
    )
    assert json.loads(found)["missing"] == []


def state_everything(own: OwnLab) -> str:
    """Write the statements of order 4711; the words of their pages come back."""
    out = own.folder / "statements"
    own.agent("orders", "statements", "4711", out)
    return "\n".join(plain(path.read_text("utf-8")) for path in sorted(out.rglob("*.html")))


def test_the_pages_of_any_lab_hold_no_word_of_the_bearing_steel():
    """The words of the paper stand in the default taxonomy, the demo and the guide alone."""
    found = []
    for path in (*(ROOT / "reports" / "templates").glob("*.html"),):
        text = OF_NEEDLES.sub("", path.read_text("utf-8"))
        found += [(path.name, word) for word in BEARING.findall(text)]
    catalogue = (ROOT / "reports" / "languages" / "de.po").read_text("utf-8")
    for message in re.findall(r'^(?:msgid|msgstr|)\s*"(.*)"$', catalogue, re.MULTILINE):
        if message not in CONTRACT:
            text = OF_NEEDLES.sub("", message)
            found += [("de.po", word) for word in BEARING.findall(text)]

    assert found == []


ALLOWED = (
    "agent/demo/",
    "agent/cli/examples.py",
    "agent/cli/models/datasets.py",
    "agent/store/people/auth.py",
    "model/needles/",
)
"""The demo and the examples show the default classes, open sets are named as they are; `auth` lists
words easy to guess; the network of the needles was trained on drawings of the default classes."""


def test_a_lab_of_other_classes_is_shown_no_needles_unless_it_wants_them(tmp_path) -> None:
    lab = Lab(tmp_path / "data")
    micrograph = lab.take("G8", order="4711", specimen="01", reasons=("uncertain",))
    addresses = ("/models", f"/review/{micrograph}", f"/review/{micrograph}/viewer", "/order/4711")
    shown = {}
    for wanted in (False, True):
        web = replace(web_of(lab), measures_needles=wanted)
        with TestClient(create_app(web), base_url=HOME) as browser:
            pages = [browser.get(address) for address in addresses]
        assert {page.status_code for page in pages} == {200}
        text = "\n".join(page.text for page in pages)
        shown[wanted] = {mark for mark in ("data-needle-words", 'href="/needles"') if mark in text}
    lab.store.close()

    assert shown == {False: set(), True: {"data-needle-words", 'href="/needles"'}}


def sentences_of(path: Path, *, with_docstrings: bool) -> list[str]:
    """Return the texts in a module's code; a command's docstring is its help."""
    tree = ast.parse(path.read_text("utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and isinstance(node.body[0], ast.Expr)
    }
    # A text below a constant is its comment, and is no statement of the program.
    docstrings |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    helps = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.decorator_list and with_docstrings
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and (id(node) not in docstrings or id(node) in helps)
    ]


def test_no_sentence_of_the_program_holds_a_word_of_the_bearing_steel():
    found = []
    for package in ("agent", "model", "reports"):
        for path in (ROOT / package).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(ALLOWED):
                texts = sentences_of(path, with_docstrings=name.startswith("agent/cli/"))
                found += [
                    (name, text)
                    for text in texts
                    if text not in CONTRACT
                    and BEARING.search(OF_NEEDLES.sub("", text.replace("carbide_network", "")))
                ]
    for path in (ROOT / "reports" / "assets").iterdir():
        text = OF_NEEDLES.sub("", path.read_text("utf-8"))
        found += [(path.name, word) for word in BEARING.findall(text)]
    page = (ROOT / "reports" / "guide" / "own-classes.md").read_text("utf-8")
    found += [("own-classes.md", word) for word in BEARING.findall(page)]

    assert found == []


# --- twelve sizes, decimals, umlauts, a subtype without sizes -----------------------------------

STEPS = ("0,5", "1", "1,5", "2", "3", "4", "5", "6", "7", "8", "9", "10")
TWELVE = (
    'name = "Grauguss"\ncriterion = "Graphit-Kriterium"\nscale = "Hausreihe"\n'
    + "".join(f'[[size]]\nname = "{step}"\ntitle = "Stufe {step}"\n' for step in STEPS)
    + '[[subtype]]\nname = "Körnig"\ntitle = "körniger Graphit"\n'
    + f"sizes = {list(STEPS)!r}\n".replace("'", '"')
    + '[[subtype]]\nname = "Übrig"\ntitle = "übriges Gefüge"\n'
)
ABOVE_FOUR = """
[[specification]]
name = "guss"
valid_from = 2026-01-01
approved_by = "R. Stahl"
material = "GJL"
subtype = ["Körnig"]
limit = "4 or finer"
fields = 2
"""


def texture(seed: int, length_px: float, *, striped: bool = False) -> NDArray[np.uint8]:
    """Draw a texture whose grains are about `length_px` long, (240, 320, 3) uint8."""
    rng = np.random.default_rng(seed)
    height, width = 240, 320
    rows, columns = np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij")
    pass_ = np.exp(-((rows**2 + (columns * (6 if striped else 1)) ** 2) * length_px**2) * 8)
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((height, width))) * pass_).real
    grey = np.clip(128 + 38 * (field - field.mean()) / field.std(), 30, 230).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def length_of(code: str) -> float:
    size = code.removeprefix("Körnig")
    return 14.0 * 0.85 ** STEPS.index(size)


@pytest.mark.slow
def test_twelve_sizes_with_decimals_and_umlauts_go_from_label_to_statement(tmp_path, capsys):
    own = make_lab(tmp_path, capsys, TWELVE, ABOVE_FOUR)
    rows: list[tuple[object, ...]] = [("file", "code", "specimen", "um_per_px")]
    codes = [f"Körnig{step}" for step in STEPS] + ["Übrig"]
    labelled = tmp_path / "labelled"
    labelled.mkdir()
    for at, code in enumerate(codes):
        for n in range(4):
            name = f"{at:02d}_{n}.png"
            drawn = (
                texture(100 * at + n, 9.0, striped=True)
                if code == "Übrig"
                else texture(100 * at + n, length_of(code))
            )
            (labelled / name).write_bytes(encode_png(drawn))
            rows.append((name, unicodedata.normalize("NFD", code), f"S{at}-{n}", "0,2"))
    manifest = own.write("labels.csv", rows)

    trained = json.loads(own.agent("train", labelled, "--manifest", manifest, *QUICK, "--json"))
    assert trained["in_use"]
    assert trained["metrics"]
    shown = json.loads(own.agent("spec", "taxonomy", "--json"))
    assert [row["labelled"] for row in shown["codes"]] == [4] * 13
    assert [row["in_bundle"] for row in shown["codes"]] == [True] * 13

    moved = own.write("moved.csv", [rows[0], (*rows[1][:2], "S99", "0,2")])
    own.agent("import", labelled, "--manifest", moved, code=1)
    own.agent("import", labelled, "--manifest", moved, "--update")
    found = json.loads(own.agent("import", labelled, "--manifest", moved, "--json"))
    assert (found["changed"], found["unchanged"]) == ([], 1)

    truth = {}
    for order, code in ((4711, "Körnig6"), (4712, "Körnig1,5")):
        for field in (1, 2):
            name = f"{order}_01_{field}_50x.png"
            truth[name] = code
            drawn = texture(9000 + order + field, length_of(code))
            (tmp_path / "export" / name).write_bytes(encode_png(drawn))
    own.agent("orders", "import", own.write("list.csv", [
        ("order", "material", "specimen"), (4711, "GJL", "01"), (4712, "GJL", "01"),
    ]))  # fmt: skip
    own.agent("run", "--once")
    decided = review_everything(own, truth)
    assert len(decided) == 4

    keeps = json.loads(own.agent("orders", "show", "4711", "--json"))
    breaks = json.loads(own.agent("orders", "show", "4712", "--json"))
    assert (keeps["conformity"], breaks["conformity"]) == ("conforms", "does_not_conform"), keeps
    words = state_everything(own)
    assert "Körnig 6: körniger Graphit, Stufe 6." in words  # a name of words is set off by a space
    assert "Hausreihe" in words
    assert not BEARING.findall(words)
    rate_everything(own, decided)
    measure_everything(own, {"S1": "Körnig6", "S2": "Körnig1,5", "S3": "Übrig"}, "4 or finer")
    own.agent("report")
    assert not BEARING.findall(plain(own.texts()))
    assert "Hausreihe" in own.texts()


# --- real micrographs of another steel ----------------------------------------------------------

UHCS = SHARED / "uhcs"
SPHEROIDITE = """
name = "UHCS"
subtypes_per_specimen = "several"

[[size]]
name = "grob"

[[size]]
name = "fein"

[[subtype]]
name = "Sphäroidit"
title = "eingeformter Zementit"
sizes = ["grob", "fein"]

[[subtype]]
name = "Netzwerk"

[[subtype]]
name = "Sphäroidit+Widmanstätten"
"""
NO_NETWORK = """
[[specification]]
name = "weich"
valid_from = 2026-01-01
approved_by = "R. Stahl"
material = "UHCS"
subtype = ["Sphäroidit"]
limit = "fein or finer"
fields = 2
"""


def own_code(row: dict[str, str]) -> str:
    """Return the code of a real micrograph: spheroidite coarsens with the annealing."""
    kind = {"network": "Netzwerk", "spheroidite+widmanstatten": "Sphäroidit+Widmanstätten"}
    if row["microconstituent"] != "spheroidite":
        return kind.get(row["microconstituent"], "")
    coarse = row["specimen"] in {"970C-24H-Q", "970C-48H-Q", "970C-3H-Q"}
    return "Sphäroidit grob" if coarse else "Sphäroidit fein"


@pytest.mark.slow
def test_real_micrographs_of_another_steel_go_from_label_to_statement(tmp_path, capsys):
    if not UHCS.is_dir():
        pytest.skip("no folder of ultrahigh-carbon steel beside the project")
    own = make_lab(tmp_path, capsys, SPHEROIDITE, NO_NETWORK)
    with (UHCS / "MANIFEST.csv").open(encoding="utf-8", newline="") as file:
        known = [(row, own_code(row)) for row in csv.DictReader(file) if own_code(row)]
    taken: list[tuple[object, ...]] = [("file", "code", "specimen", "um_per_px")]
    spare: dict[str, list[Path]] = {}
    for code in dict.fromkeys(code for _, code in known):
        own_rows = [row for row, of in known if of == code]
        by_specimen: dict[str, list[dict[str, str]]] = {}
        for row in own_rows:
            by_specimen.setdefault(row["specimen"], []).append(row)
        chosen = [row for rows in by_specimen.values() for row in rows[:3]][:12]
        taken += [(row["file"], code, row["specimen"], row["um_per_px"]) for row in chosen]
        spare[code] = [UHCS / row["file"] for row in own_rows if row not in chosen][:2]

    own.agent("train", UHCS, "--manifest", own.write("labels.csv", taken), *QUICK)
    doubts = json.loads(own.agent("retrain", "--dry-run", "--json"))["doubted"]
    assert [doubt for doubt in doubts if doubt["kind"] == "specimen"] == []

    truth = {}
    for order, code in ((4711, "Sphäroidit fein"), (4712, "Netzwerk")):
        for field, picture in enumerate(spare[code], start=1):
            name = f"{order}_01_{field}_50x.png"
            truth[name] = code
            (tmp_path / "export" / name).write_bytes(picture.read_bytes())
    own.agent("orders", "import", own.write("list.csv", [
        ("order", "material", "specimen"), (4711, "UHCS", "01"), (4712, "UHCS", "01"),
    ]))  # fmt: skip
    own.agent("run", "--once")
    decided = review_everything(own, truth)

    keeps = json.loads(own.agent("orders", "show", "4711", "--json"))
    breaks = json.loads(own.agent("orders", "show", "4712", "--json"))
    assert breaks["conformity"] == "does_not_conform"
    assert keeps["conformity"] in {"conforms", "undecided"}, keeps
    assert not BEARING.findall(state_everything(own))
    rate_everything(own, decided)
    true = {"S1": "Sphäroidit fein", "S2": "Sphäroidit grob", "S3": "Netzwerk"}
    measure_everything(own, true, "fein or finer")
    own.agent("report")
    assert not BEARING.findall(plain(own.texts()))
