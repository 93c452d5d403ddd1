"""A campaign can be planned, opened, closed and looked at from the shell."""

from __future__ import annotations

import json

import pytest
from labs.lab import minutes
from labs.shell import Shell

from agent.roundrobin.campaign import get_order
from agent.store import Decision

CODES = ("G7", "G8", "B8", "M9-10", "G8", "B7")


class RatingShell(Shell):
    """A lab with six labelled micrographs, and its command."""

    def __init__(self, folder, capsys) -> None:
        super().__init__(folder, capsys)
        self.ids = [self.lab.take("G8", at=minutes(n)) for n in range(len(CODES))]
        for public_id, code in zip(self.ids, CODES, strict=True):
            said = Decision("code", "Ann", code=code)
            self.lab.store.labels.decide(public_id, said, at=minutes(30))


@pytest.fixture
def shell(tmp_path, capsys):
    shell = RatingShell(tmp_path, capsys)
    yield shell
    shell.lab.store.close()


def spring(shell, *more):
    return shell.agent(
        "roundrobin", "new", "spring", "--stratified", 4, "--limit", "8 or finer", "--seed", 1,
        "--rater", "Ann", "--rater", "Bob", "--by", "Lea", *more,
    )  # fmt: skip


def test_a_campaign_is_planned_opened_and_closed(shell):
    assert spring(shell)[0] == 0
    code, said = shell.agent("roundrobin", "open", "spring", "--by", "Lea")
    assert code == 0
    links = [line.split("\t") for line in said.splitlines() if "/rate/" in line]
    assert sorted(name for _, name, _ in links) == ["Ann", "Bob"]
    assert all(link.startswith("http://127.0.0.1:8787/rate/") for _, _, link in links)
    _, said = shell.agent("roundrobin", "open", "spring", "--again", "R01", "--json")
    (link,) = json.loads(said.splitlines()[0])
    assert (link["pseudonym"], link["name"] in {"Ann", "Bob"}) == ("R01", True)
    assert link["url"].startswith("http://127.0.0.1:8787/rate/")
    code, said = shell.agent("roundrobin", "close", "spring", "--by", "Lea")
    assert code == 0
    assert said.startswith("spring is closed: 0 of 8 ratings; 0 disputed micrographs")

    _, said = shell.agent("roundrobin", "list", "--json")

    (document,) = json.loads(said)
    assert (document["state"], document["images"], document["expected"]) == ("closed", 4, 8)
    assert document["raters"] == ["R01", "R02"]


def test_a_stratified_choice_says_what_it_took_and_holds_the_labels(shell):
    _, said = spring(shell)

    campaign = shell.lab.store.campaigns.find("spring")
    assert {image.reference for image in campaign.images} <= set(CODES)
    assert sum("near a limit" in image.stratum for image in campaign.images) >= 2
    assert "near a limit" in said


def test_micrographs_can_be_named_with_their_reference(shell):
    file = shell.write("these.csv", f"id;code\n{shell.ids[0]};B8\n{shell.ids[1]};\n")

    code, said = shell.agent(
        "roundrobin", "new", "two", "--micrographs", file, "--rater", "Ann", "--by", "Lea"
    )

    assert code == 0, said
    campaign = shell.lab.store.campaigns.find("two")
    assert [image.reference for image in campaign.images] == ["B8", "G8"]


def test_raters_come_from_a_list_and_their_numbers_give_nobody_away(shell):
    names = [f"Rater {letter}" for letter in "ABCDEFGH"]
    rows = "".join(f"{name},,{'daily' if n < 5 else ''}\n" for n, name in enumerate(names))
    file = shell.write("raters.csv", "name,account,team\n" + rows)

    code, said = shell.agent(
        "roundrobin", "new", "w", "--stratified", 2, "--raters", file, "--seed", 5, "--by", "Lea"
    )

    assert code == 0, said
    campaign = shell.lab.store.campaigns.find("w")
    assert sorted(rater.name for rater in campaign.raters) == names
    assert [rater.name for rater in campaign.raters] != names
    assert sum(rater.team == "daily" for rater in campaign.raters) == 5


WRONG_USE = [
    (("new", "spring"), "Choose the micrographs"),
    (("new", "a/b", "--stratified", 2), "up to 40 letters"),
    (("new", "x", "--stratified", 2, "--account", "Nobody"), "no account 'Nobody'"),
    (("new", "x", "--stratified", 2, "--merge", "G9"), "write CODE=CODE"),
    (("new", "x", "--stratified", 2, "--merge", "G7=G88"), "'G88' is no structure code"),
    (("new", "x", "--stratified", 2, "--limit", "fine"), "a limit is written"),
    (("new", "x", "--micrographs", "no.csv"), "cannot be read"),
    (("open", "autumn"), "no campaign 'autumn'"),
    (("close", "autumn"), "no campaign 'autumn'"),
]


def test_wrong_use_is_one_sentence(shell):
    for words, sentence in WRONG_USE:
        code, said = shell.agent("roundrobin", *words, "--by", "Lea")

        assert code == 2, words
        assert said.splitlines()[-1].startswith("agent: "), words
        assert sentence in said, words


def test_a_list_without_its_column_and_an_unknown_micrograph_are_named(shell):
    wrong = shell.write("wrong.csv", "micrograph\nx\n")
    unknown = shell.write("unknown.csv", "id\n0000000000000000\n")

    _, said = shell.agent("roundrobin", "new", "x", "--micrographs", wrong)
    assert "column 'id' is missing. Columns: micrograph" in said
    _, said = shell.agent("roundrobin", "new", "x", "--micrographs", unknown)
    assert "line 2: unknown micrograph id '0000000000000000'" in said


def test_one_more_rater_and_a_lost_link(shell):
    spring(shell)
    _, said = shell.agent("roundrobin", "open", "spring")
    before = [line for line in said.splitlines() if line.startswith("R01")]

    _, said = shell.agent("roundrobin", "open", "spring", "--rater", "Cem", "--team", "daily")
    assert said.startswith("R03\tCem\t")
    _, said = shell.agent("roundrobin", "open", "spring", "--again", "R01")
    assert said.startswith("R01\t")
    assert said.splitlines()[0] not in before
    assert len([line for line in said.splitlines() if "/rate/" in line]) == 1


def test_each_rater_has_an_order_of_their_own_that_stays(shell):
    spring(shell)
    campaign = shell.lab.store.campaigns.find("spring")

    orders = [get_order(campaign, f"R{n:02d}") for n in range(1, 15)]

    assert all(sorted(order) == [1, 2, 3, 4] for order in orders)
    assert len({tuple(order) for order in orders}) > 5
    assert orders[0] == get_order(campaign, "R01")


def test_no_name_of_a_rater_is_in_the_trail(shell):
    spring(shell)
    shell.agent("roundrobin", "open", "spring", "--by", "Lea")

    acts = list(shell.lab.store.audit_log.iter_acts("campaign."))

    told = json.dumps([[act.actor, act.act, act.subject, act.facts] for act in acts])
    assert "Ann" not in told
    assert "Bob" not in told


def test_a_limit_of_no_known_size_chooses_nothing(shell):
    code, said = shell.agent("roundrobin", "new", "x", "--stratified", 2, "--limit", "12 or finer")

    assert (code, "has no size 12" in said) == (2, True)


def test_a_wrong_code_in_a_list_is_named_with_its_line(shell):
    known = shell.lab.store.labelled_micrographs.list_all()[0].id
    file = shell.write("wrong.csv", f"code,id\nG88,{known}\n")
    short = shell.write("short.csv", "code,id\nG8\n")

    code, said = shell.agent("roundrobin", "new", "x", "--micrographs", file)
    assert (code, "wrong.csv: line 2: 'G88' is no structure code" in said) == (2, True)
    code, said = shell.agent("roundrobin", "new", "x", "--micrographs", short)
    assert (code, "short.csv: line 2: id is missing" in said) == (2, True)


def test_links_that_open_on_this_pc_alone_are_said_to(shell):
    spring(shell)
    _, here = shell.agent("roundrobin", "open", "spring")
    shell.agent("roundrobin", "new", "other", "--stratified", 2, "--rater", "Ann")
    _, there = shell.agent("roundrobin", "open", "other", "--at", "http://lab-pc:8787")

    assert "The links work on this PC only" in here
    assert "The links work on this PC only" not in there
    assert "http://lab-pc:8787/rate/" in there
