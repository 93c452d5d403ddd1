"""A measuring system is studied by a drawn plan; what is claimed of it says what it rests on."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from fastapi.testclient import TestClient
from labs.lab import HOME, minutes, web_of
from labs.shell import Shell
from labs.words import Words, english_in

from agent.web import create_app

NAME = "MSA-1"
TRUE = {"S1": "G8", "S2": "G7", "S3": "G9-10", "S4": "G7"}


class PlanningShell(Shell):
    """A lab with its command, and a plan of four specimens."""

    def __init__(self, folder, capsys) -> None:
        super().__init__(folder, capsys)
        rows = "".join(f"{name},{code}\n" for name, code in TRUE.items())
        self.specimens = self.write("specimens.csv", "specimen,code\n" + rows)

    def plan(self, *more) -> list[dict[str, str]]:
        """Make the plan; its runs as the CSV has them."""
        code, said = self.agent(
            "msa", "plan", NAME, "--specimens", self.specimens, "--operators", "Ann,Bob",
            "--microscopes", "L1,L2", "--images", 2, "--preparations", 2, "--seed", 7,
            "--by", "Lea", *more,
        )  # fmt: skip
        assert code == 0, said
        text = self.report(f"{NAME}-plan.csv").lstrip("\ufeff")
        return list(csv.DictReader(io.StringIO(text, newline="")))

    def report(self, name) -> str:
        return (self.lab.reports / "msa" / name).read_text("utf-8")

    def image(self, run, said, **more) -> str:
        """Let the image of a run come in, with what the model says of it."""
        told = {"order": NAME, "specimen": run["specimen"], "field": run["run"]} | more
        return self.lab.take(said, at=minutes(int(run["run"])), **told)


@pytest.fixture
def shell(tmp_path, capsys):
    shell = PlanningShell(tmp_path, capsys)
    shell.lab.compares_places = False  # a study asks of no place, and comparing takes seconds
    yield shell
    shell.lab.store.close()


def play(shell, runs) -> None:
    """The model is right but on S4 under Bob, which it calls conforming."""
    for run in runs:
        wrong = run["specimen"] == "S4" and run["operator"] == "Bob"
        shell.image(run, "G8" if wrong else TRUE[run["specimen"]])


def test_a_plan_is_a_sheet_and_a_csv_without_the_true_codes(shell):
    runs = shell.plan()

    sheet = shell.report(f"{NAME}-plan.html")
    assert len(runs) == 4 * 2 * 2 * 2 * 2
    assert re.findall(r"<b>(\d+)</b></td><td>(S\d)", sheet) == [
        (run["run"], run["specimen"]) for run in runs
    ]
    assert not re.search(r"\bG(7|8|9-10)\b", sheet)
    assert {run["code"] for run in runs} == {""}
    assert "Preparation 2" in sheet


def test_the_sheet_speaks_the_labs_language(shell):
    shell.write("agent.toml", '[site]\nname = "Plant 1"\n\n[report]\nlanguage = "de"\n')

    shell.plan()

    assert "Präparation 2" in shell.report(f"{NAME}-plan.html")


def test_a_second_site_of_one_data_folder_writes_among_its_own_reports(shell):
    shell.plan()
    shell.write("agent.toml", '[site]\nname = "Plant 2"\n')

    code, said = shell.agent(
        "msa", "plan", NAME, "--specimens", shell.specimens, "--operators", "Cem",
        "--microscopes", "L3",
    )  # fmt: skip

    own = shell.lab.reports / "site-2" / "msa" / f"{NAME}-plan.html"
    assert (code, "Cem" in own.read_text("utf-8")) == (0, True), said
    assert "Ann" in shell.report(f"{NAME}-plan.html")


def test_the_report_counts_misses_and_says_what_it_rests_on(shell):
    play(shell, shell.plan())

    code, said = shell.agent(
        "msa", "report", NAME, "--limit", "8 or finer", "--json", "--by", "Lea"
    )

    assert code == 0, said
    found = json.loads(said)
    assert (found["runs"], found["missing"], found["specimens"]) == (64, [], 4)
    (name, at) = next(iter(found["limits"].items()))
    assert (name, len(found["limits"])) == ("G 8 or finer", 1)
    assert (at["miss_rate"]["count"], at["miss_rate"]["n"]) == (8, 32)
    assert at["miss_rate"]["bound_specimens"] == 2
    assert at["miss_rate"]["bound95"] == at["non_conforming_specimens"]["bound95"]
    assert (at["non_conforming_specimens"]["count"], at["non_conforming_specimens"]["n"]) == (1, 2)
    assert (at["effectiveness"]["count"], at["effectiveness"]["n"]) == (3, 4)
    assert at["false_alarm_rate"]["count"] == 0
    assert at["claim"]["miss_rate"] == "not met: 25.0 %"
    assert found["scatter"]["variance"]["specimen × operator"]["value"] > 0.1
    assert found["bundles"] == ["20261101-0badcafe"]
    page = shell.report(f"{NAME}.html")
    assert "1 of 2 non-conforming specimens missed at least once" in page
    assert "8 of 32 (25.0 %; at most 97.5 % by 2 specimens)" in page.replace("\xa0", " ")
    assert "AIAG, Measurement Systems Analysis" in page
    assert "alludes to ISO 643; no grain-size rating" in page


def test_no_miss_on_two_specimens_shows_nothing_and_the_report_says_so(shell):
    for run in shell.plan():
        shell.image(run, TRUE[run["specimen"]])

    _, said = shell.agent("msa", "report", NAME, "--limit", "8 or finer", "--json")

    claim = json.loads(said)["limits"]["G 8 or finer"]["claim"]
    assert claim["miss_rate"] == (
        "met, but not shown by 2 non-conforming specimens; 149 without a miss would show it"
    )
    assert claim["effectiveness"] == "met, but not shown: too few specimens"


def test_thresholds_are_settings_and_their_source_stands_in_the_report(shell):
    shell.write(
        "agent.toml",
        '[site]\nname = "Plant 1"\n\n[msa]\nmiss_rate_max = 0.3\nsource = "our QM handbook 7.1"\n',
    )
    play(shell, shell.plan())

    _, said = shell.agent("msa", "report", NAME, "--limit", "8 or finer", "--json")

    found = json.loads(said)
    assert found["limits"]["G 8 or finer"]["claim"]["miss_rate"].startswith("met, but not shown")
    assert found["thresholds"]["source"] == "our QM handbook 7.1"
    assert "our QM handbook 7.1" in shell.report(f"{NAME}.html")


def test_a_mixed_up_image_is_named_and_left_out_and_a_missing_run_too(shell):
    runs = shell.plan()
    for run in runs[2:]:
        shell.image(run, TRUE[run["specimen"]])
    other = next(name for name in TRUE if name != runs[0]["specimen"])
    shell.image(runs[0], "G8", specimen=other)
    shell.image(runs[1], "G8", field="999")

    _, said = shell.agent("msa", "report", NAME, "--json")

    found = json.loads(said)
    assert found["missing"] == [1, 2]
    assert any(f"run 1 is of specimen {runs[0]['specimen']}" in one for one in found["faults"])
    assert any("its field '999' is no run" in one for one in found["faults"])
    assert list(found["limits"]) == ["G 8 or finer", "G 9 or finer"]


def test_an_image_from_another_microscope_than_planned_is_named_and_left_out(shell):
    first, second, third, *_ = runs = shell.plan()
    swapped = {"L1": "L2", "L2": "L1"}
    shell.image(first, "G8", microscope=swapped[first["microscope"]])
    shell.image(second, "G8", microscope=second["microscope"], operator=second["operator"])
    shell.image(third, "G8", microscope="Lab microscope 1")

    _, said = shell.agent("msa", "report", NAME, "--json")

    found = json.loads(said)
    assert (found["runs"], len(found["missing"])) == (2, len(runs) - 2)
    (fault,) = found["faults"]
    assert f"run 1 is planned with microscope {first['microscope']}, the file says" in fault


def test_a_run_that_was_imaged_twice_is_said(shell):
    run = shell.plan()[0]
    shell.image(run, "G7")
    shell.lab.take(
        "G8", name="again.tif", at=minutes(90), order=NAME, specimen=run["specimen"], field="1"
    )

    _, said = shell.agent("msa", "report", NAME, "--json")

    (fault,) = json.loads(said)["faults"]
    (row,) = csv.DictReader(io.StringIO(shell.report(f"{NAME}.csv").lstrip("\ufeff")))
    assert fault.startswith("Run 1 has 2 images; ")
    assert fault.endswith("again.tif, the newest, counts.")
    assert row["said"] == "G8"


def test_people_can_fill_the_codes_in(shell):
    runs = shell.plan()
    rows = "".join(f"{run['run']};{TRUE[run['specimen']]}\n" for run in runs[:-1])
    file = shell.write("filled.csv", f"run;code\n{rows}{runs[-1]['run']};\n")

    _, said = shell.agent("msa", "report", NAME, "--codes", file, "--limit", "8 or finer", "--json")

    found = json.loads(said)
    assert (found["runs"], found["bundles"]) == (64, [])
    assert found["scatter"]["left_out"] == 1
    assert "raters filled in" in shell.report(f"{NAME}.html")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("report", "autumn"), "no plan 'autumn'"),
        (("report", NAME), "Plan 'MSA-1' has no results"),
        (("report", NAME, "--codes", "no.csv"), "cannot be read"),
    ],
)
def test_wrong_use_is_one_sentence(shell, words, sentence):
    shell.plan()

    code, said = shell.agent("msa", *words)

    assert code == 2
    assert sentence in said


def test_a_plan_is_made_once_and_of_known_codes(shell):
    shell.plan()
    again = ("msa", "plan", NAME, "--operators", "A", "--microscopes", "L")

    code, said = shell.agent(*again, "--specimens", shell.specimens)
    assert (code, "take another name" in said) == (2, True)
    wrong = shell.write("wrong.csv", "specimen,code\nS1,X9\n")
    code, said = shell.agent("msa", "plan", "other", *again[3:], "--specimens", wrong)
    assert (code, "X9" in said) == (2, True)
    code, said = shell.agent(
        "msa", "plan", "x", "--specimens", shell.specimens, "--operators", "A,A",
        "--microscopes", "L",
    )  # fmt: skip
    assert (code, "write each name once" in said) == (2, True)


def test_the_page_of_the_round_robins_leads_to_the_analyses(shell):
    browser = TestClient(create_app(web_of(shell.lab)), base_url=HOME)
    play(shell, shell.plan())
    before = browser.get("/roundrobin").text
    shell.agent("msa", "report", NAME)

    page = browser.get("/roundrobin").text

    assert "Measurement-system analyses" not in before
    assert f'<a href="/reports/msa/{NAME}.html">{NAME}</a>' in page
    assert browser.get(f"/reports/msa/{NAME}.html").status_code == 200


def test_plan_and_report_are_records(shell):
    play(shell, shell.plan())
    shell.agent("msa", "report", NAME, "--by", "Lea")

    records = shell.lab.store.records
    assert records.latest("msa_plan", NAME).facts["codes"] == TRUE
    assert records.latest("msa", NAME).facts["runs"] == 64
    assert [act.act for act in shell.lab.store.audit_log.iter_acts("msa")] == [
        "msa_plan.recorded",
        "msa.recorded",
    ]


DOUBTFUL_SPECIMENS = [
    ("S1,G7\nS1,G8\n", "line 3: specimen S1 is repeated"),
    (",G7\n", "line 2: specimen is missing"),
    ("", "the file has no specimen"),
    ("S1\n", "line 2: '' is no structure code"),
]


def test_a_list_of_specimens_that_leaves_a_doubt_is_refused_by_line(shell):
    for rows, sentence in DOUBTFUL_SPECIMENS:
        file = shell.write("doubtful.csv", "specimen,code\n" + rows)

        code, said = shell.agent(
            "msa", "plan", "x", "--specimens", file, "--operators", "A", "--microscopes", "L"
        )

        assert code == 2, rows
        assert f"doubtful.csv: {sentence}" in said, rows


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("1,G8\n1,G7\n", "doubtful.csv: line 3: run 1 is repeated"),
        ("1,Q9\n", "doubtful.csv: line 2: 'Q9' is no structure code"),
        ("999,G8\n", "there is no run '999' in plan 'MSA-1'; it has 64"),
    ],
)
def test_a_filled_in_sheet_that_leaves_a_doubt_is_refused(shell, rows, sentence):
    shell.plan()
    file = shell.write("doubtful.csv", "run,code\n" + rows)

    code, said = shell.agent("msa", "report", NAME, "--codes", file)

    assert code == 2
    assert sentence in said


@pytest.mark.parametrize(
    ("limit", "sentence"),
    [("12 or finer", "has no size 12"), ("10 or finer", "cuts the size 9-10")],
)
def test_a_limit_that_no_specimen_can_be_judged_by_is_refused(shell, limit, sentence):
    play(shell, shell.plan())

    code, said = shell.agent("msa", "report", NAME, "--limit", limit)

    assert (code, sentence in said) == (2, True)


def test_the_share_of_the_measuring_system_stands_with_n_and_interval(shell):
    play(shell, shell.plan())

    _, said = shell.agent("msa", "report", NAME, "--json")

    found, page = json.loads(said)["scatter"], shell.report(f"{NAME}.html")
    assert found["study_share_low"] <= found["study_share"] <= found["study_share_high"]
    assert "(n = 64 runs)" in page
    assert f"groups that it distinguishes: {found['categories']}" in page


def test_a_german_report_says_nothing_in_english_and_its_json_nothing_in_german(shell):
    shell.write("agent.toml", '[site]\nname = "Plant 1"\n[report]\nlanguage = "de"\n')
    play(shell, shell.plan())

    _, said = shell.agent("msa", "report", NAME, "--limit", "8 or finer", "--json")

    page = shell.report(f"{NAME}.html")
    claims = next(iter(json.loads(said)["limits"].values()))["claim"].values()
    assert all(claim.startswith(("met", "not met")) for claim in claims)
    assert Words(page).lang == "de"
    assert [one for one in english_in(page) if "AIAG" not in one] == []
    assert "Schlupf: Ein nicht konformer Schliff wird konform genannt." in page
    assert "8 oder feiner" in page
