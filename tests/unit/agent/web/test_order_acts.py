"""What a lead does with a whole order from its page, and what a program does through the API."""

import re
from datetime import timedelta
from html import unescape

import pytest
from labs.order_acts import AT, SETTINGS, Plant
from labs.words import english_in

from agent.cli.app import main
from agent.store import Decision
from agent.store.people import auth


@pytest.fixture
def plant(tmp_path):
    plant = Plant(tmp_path)
    yield plant
    plant.store.close()


def test_an_order_offers_what_would_change_something(plant) -> None:
    plain = plant.offers()
    plant.act("urgent")
    plant.act("hold", "complaint")
    plant.lists(material="C56E2")
    plant.loses()

    assert plain == ["urgent", "hold"]
    assert plant.offers() == ["normal", "accept", "dismiss", "resume", "release"]


def test_priority_and_protection_are_recorded_with_their_author(plant) -> None:
    assert plant.act("urgent").headers["location"] == "/order/4711"
    plant.act("hold", "complaint 7")
    held = plant.store.retention.is_on_hold("4711")
    plant.act("release", "settled")
    plant.act("normal")

    assert (held, plant.store.retention.is_on_hold("4711")) == (True, False)
    assert plant.acts("order.held") == [("R. Stahl", "complaint 7")]
    assert plant.acts("order.released") == [("R. Stahl", "settled")]
    assert [actor for actor, _ in plant.acts("order.urgent")] == ["R. Stahl"] * 2


@pytest.mark.parametrize(("act", "material"), [("accept", "C56E2"), ("dismiss", "100Cr6")])
def test_a_lead_settles_the_change_of_a_list(plant, act, material) -> None:
    plant.lists(material="C56E2")
    assert "material: 100Cr6 → C56E2" in plant.browser.get("/order/4711").text

    plant.act(act, "the customer agreed")

    assert plant.store.orders.order("4711").material == material
    assert plant.offers() == ["urgent", "hold"] or act == "accept"


def test_an_order_is_reopened_where_a_newer_specification_is_in_force(plant) -> None:
    plant.browser.get("/order/4711")
    plant.at += timedelta(days=1)
    plant.demand("9")
    plant.browser = plant.open()
    assert plant.offers() == ["urgent", "reopen", "hold"]
    before = plant.browser.get("/api/v1/orders/4711").json()["conformity"]

    plant.act("reopen", "the limit was raised")

    assert before == "conforms"
    assert plant.browser.get("/api/v1/orders/4711").json()["conformity"] == "does_not_conform"
    assert "reopened by R. Stahl: the limit was raised" in plant.browser.get("/order/4711").text
    assert plant.offers() == ["urgent", "hold"]


def test_a_loss_is_acknowledged_at_the_page(plant) -> None:
    plant.loses()
    assert "lost revision 3" in plant.browser.get("/order/4711").text

    plant.act("resume", "labels checked on paper")

    assert "resume" not in plant.offers()
    (record,) = plant.store.records.all("outbox_acknowledged")
    assert (record.by, record.facts["reason"]) == ("R. Stahl", "labels checked on paper")


def test_what_is_refused_says_why_and_changes_nothing(plant) -> None:
    before = plant.store.orders.order("4711")
    for act, reason, by, sentence in (
        ("release", "why not", "Ada", "Ada is not a lead"),
        ("accept", "x", "Ada", "Ada is not a lead"),
        ("hold", "  ", "R. Stahl", "Add a reason"),
        ("hold", "x" * 501, "R. Stahl", "at most 500 letters"),
        ("hold", "x", "", "Your name"),
        ("release", "x", "R. Stahl", "has nothing of the kind to settle"),
        ("reopen", "x", "R. Stahl", "has nothing of the kind to settle"),
        ("burn", "x", "R. Stahl", "accept"),
    ):
        plant.browser.cookies.clear()
        answer = plant.act(act, reason, by)

        assert (answer.status_code, sentence in answer.text) == (422, True), (act, answer.text)
        assert plant.store.orders.order("4711") == before
        assert not plant.store.retention.is_on_hold("4711")


def test_an_order_that_is_unknown_is_404(plant) -> None:
    assert plant.act("urgent", order="4712").status_code == 404
    assert plant.store.orders.order("4712") is None


def test_a_program_does_the_same(plant) -> None:
    body = {"act": "hold", "by": "R. Stahl", "reason": "complaint"}

    answer = plant.browser.post("/api/v1/orders/4711/acts", json=body)
    again = plant.browser.post("/api/v1/orders/4711/acts", json=body)

    assert (answer.status_code, answer.json()["order"]) == (200, "4711")
    assert again.status_code == 422
    assert plant.store.retention.is_on_hold("4711")


@pytest.mark.parametrize(("role", "code"), [("viewer", 403), ("reviewer", 403), ("lead", 303)])
def test_with_accounts_the_role_decides(plant, role, code) -> None:
    hashed = auth.hash_password("a long pass phrase")
    plant.store.accounts.add("Eva", kind="person", role=role, hashed=hashed, by="x", at=AT)
    plant.browser.headers["origin"] = "http://127.0.0.1:8787"
    plant.browser.post("/login", data={"name": "Eva", "password": "a long pass phrase"})

    offered = {"viewer": [], "reviewer": ["hold"], "lead": ["urgent", "hold"]}
    assert plant.offers() == offered[role]
    assert plant.act("urgent", by="R. Stahl").status_code == code
    assert [actor for actor, _ in plant.acts("order.urgent")] == (["Eva"] if code == 303 else [])


@pytest.fixture
def open_plant(tmp_path):
    """A lab that has neither accounts nor names leads."""
    plant = Plant(tmp_path)
    free = SETTINGS.replace('leads = ["R. Stahl"]', "")
    (tmp_path / "agent.toml").write_text(free, encoding="utf-8")
    plant.browser = plant.open()
    yield plant
    plant.store.close()


def test_an_unusable_file_of_an_order_is_dismissed_on_its_page(open_plant):
    open_plant.lab.set_aside("4711_01_2.tif", "truncated", "it ends in the middle", at=AT)
    before = open_plant.browser.get("/order/4711").text

    unreasoned = open_plant.act("dismiss_files", by="Ann")
    done = open_plant.act("dismiss_files", "a test shot", by="Ann")

    after = open_plant.browser.get("/order/4711").text
    assert "The order is assessed without 4711_01_2.tif." in before
    assert (unreasoned.status_code, done.status_code) == (422, 303)
    assert "4711_01_2.tif could not be used, dismissed by Ann: a test shot" in after
    assert "dismiss_files" not in open_plant.offers()
    assert "conforms" in after


def test_what_is_not_of_an_order_is_dismissed_on_its_page_in_one_act(plant):
    plant.loses_track_of("Image 3.tif")
    keys = {"order": "47I1", "specimen": "01", "field": "4", "material": "100Cr6"}
    plant.lab.take("G7", name="upload.tif", at=AT, **keys)
    before, page = plant.conformity(), plant.browser.get("/order/4711").text

    unreasoned = plant.act("dismiss_possible", by="Ann")
    done = plant.act("dismiss_possible", "a test shot", by="Ann")

    assert before == "undecided"
    assert "Not of this order: Image 3.tif, 47I1." in page
    assert (unreasoned.status_code, done.status_code) == (422, 303)
    assert plant.conformity() == "conforms"
    assert "dismiss_possible" not in plant.offers()
    assert {actor for actor, _ in plant.acts("file_dismissed.recorded")} == {"Ann"}


def test_what_came_after_the_page_was_opened_is_not_dismissed_with_the_rest(plant):
    plant.loses_track_of("Image 3.tif")
    page = plant.browser.get("/order/4711").text
    (about,) = re.findall(r'name="about" value="([^"]+)"', page)
    plant.loses_track_of("Image 4.tif")
    form = {"act": "dismiss_possible", "reason": "a test shot", "by": "Ann", "about": about}

    answer = plant.browser.post("/order/4711", data=form)

    assert (answer.status_code, "has changed since" in answer.text) == (422, True)
    assert plant.conformity() == "undecided"


@pytest.mark.parametrize(("role", "code"), [("viewer", 403), ("reviewer", 303), ("lead", 303)])
def test_with_accounts_each_reviewer_dismisses_what_is_not_of_an_order(plant, role, code) -> None:
    plant.loses_track_of("Image 3.tif")
    hashed = auth.hash_password("a long pass phrase")
    plant.store.accounts.add("Eva", kind="person", role=role, hashed=hashed, by="x", at=AT)
    plant.browser.headers["origin"] = "http://127.0.0.1:8787"
    plant.browser.post("/login", data={"name": "Eva", "password": "a long pass phrase"})

    offered = "dismiss_possible" in plant.offers()
    answer = plant.act("dismiss_possible", "a test shot", by="R. Stahl")

    assert (offered, answer.status_code) == (code == 303, code)
    assert [actor for actor, _ in plant.acts("file_dismissed.recorded")] == ["Eva"] * offered


def test_without_accounts_and_leads_everyone_at_the_pc_does_a_leads_acts(open_plant):
    open_plant.act("hold", "a claim", by="Ann")

    released = open_plant.act("release", "settled", by="Ann")

    assert released.status_code == 303
    assert not open_plant.store.retention.is_on_hold("4711")


COMMANDS = {  # in an order in which each leaves the next one possible
    "urgent": ("urgent",),
    "hold": ("hold",),
    "dismiss_possible": ("dismiss-file", "Image 3.tif"),
    "reopen": ("reopen",),
    "accept": ("amend",),
    "dismiss": ("amend", "--dismiss"),
    "dismiss_files": ("dismiss-file", "4711_01_2.tif"),
    "resume": ("resume",),
    "release": ("hold", "--off"),
    "normal": ("urgent", "--off"),
}  # fmt: skip
PASSWORD = "a long pass phrase"  # noqa: S105 - of a test


class Ways:
    """The three ways to do an act with order 4711: its page, the API and the command.

    Args:
        plant: The lab.
        monkeypatch: Of the test; a command signs with the token of a program.
    """

    def __init__(self, plant, monkeypatch):
        self._plant, self._patch = plant, monkeypatch
        self.role = self._token = ""

    def become(self, role):
        """Act from now on as an account of that role, or without accounts as that name."""
        self.role, accounts = role, self._plant.store.accounts
        if role in {"viewer", "reviewer", "lead"}:
            self._token = f"token-of-{role}"
            hashed = auth.hash_password(PASSWORD)
            accounts.add(role, kind="person", role=role, hashed=hashed, by="x", at=AT)
            hashed = auth.hash_token(self._token)
            accounts.add(f"p-{role}", kind="program", role=role, hashed=hashed, by="x", at=AT)
            self._plant.browser.headers["origin"] = "http://127.0.0.1:8787"
            self._plant.browser.post("/login", data={"name": role, "password": PASSWORD})

    def page(self, act, reason):
        """Return whether the page did it."""
        return self._plant.act(act, reason, by=self.role).status_code == 303

    def api(self, act, reason):
        """Return whether the API did it."""
        body = {"act": act, "by": self.role, "reason": reason}
        path = "/api/v1/orders/4711/acts"
        headers = {}
        if self._token:
            headers, body["by"] = {"authorization": f"Bearer {self._token}"}, f"p-{self.role}"
        browser = self._plant.open()
        return browser.post(path, json=body, headers=headers).status_code == 200

    def command(self, act, reason):
        """Return whether the command did it."""
        words = [*COMMANDS[act][:1], "4711", *COMMANDS[act][1:]]
        if reason and act not in {"urgent", "normal"}:
            words += ["--reason", reason]
        if self._token:
            self._patch.setenv("AGENT_TOKEN", self._token)
        else:
            words += ["--by", self.role]
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(self._plant.folder / "agent.toml"), "orders", *words])
        return not ended.value.code


def _ready(plant):
    """Make every act possible."""
    plant.browser.get("/order/4711")
    plant.at += timedelta(days=1)
    plant.demand("9")
    plant.browser = plant.open()
    plant.lists(material="C56E2")
    plant.lab.set_aside("4711_01_2.tif", "truncated", "it ends in the middle", at=AT)
    plant.loses_track_of("Image 3.tif")
    plant.loses()


BY_REVIEWERS = {"hold", "dismiss_possible"}
UNREASONED = {"urgent", "normal"}
MAY = {
    "Ada": BY_REVIEWERS | UNREASONED,  # without accounts, and no lead
    "R. Stahl": set(COMMANDS),
    "viewer": set(),
    "reviewer": BY_REVIEWERS,
    "lead": set(COMMANDS),
}


@pytest.mark.parametrize("who", MAY)
@pytest.mark.parametrize("way", ["page", "api", "command"])
def test_page_api_and_command_refuse_alike(plant, monkeypatch, way, who):
    _ready(plant)
    ways = Ways(plant, monkeypatch)
    ways.become(who)
    do, refused, done = getattr(ways, way), [], set()

    for act in COMMANDS:
        if act == "dismiss" and "accept" in done:
            plant.lists(material="100Cr6")
        if act == "release" and "hold" not in done:
            plant.store.retention.set_legal_hold("4711", hold=True, by="x", at=AT, reason="x")
        if act == "normal" and "urgent" not in done:
            plant.store.order_corrections.set_urgent("4711", urgent=True, by="x", at=AT)
        if act in MAY[who] - UNREASONED:  # who may not do it is refused with any reason
            refused += [do(act, ""), do(act, "x" * 501), do(act, "\u200b")]
        if do(act, " it is\nsettled "):
            done.add(act)

    assert not any(refused)
    assert done == MAY[who]
    reasons = [
        *(reason for kind in ("order.held", "order.amended") for _, reason in plant.acts(kind)),
        *(
            record.facts["reason"]
            for kind in ("file_dismissed", "reopened", "outbox_acknowledged")
            for record in plant.store.records.all(kind)
        ),
    ]
    assert set(reasons) - {"x"} == ({"it is settled"} if done else set())


def card_of(page, number):
    """The card of an order on the board."""
    return page.partition(f'<bdi class="number">{number}</bdi>')[2].partition("</li>")[0]


def test_the_board_offers_what_an_order_waits_for_and_names_an_alike_order_as_one(plant):
    keys = {"order": "47I1", "specimen": "01", "field": "4", "material": "100Cr6"}
    plant.lab.take("G7", name="upload.tif", at=AT, **keys)
    alike = card_of(plant.browser.get("/orders").text, "4711")
    plant.loses_track_of("Image 3.tif")
    both = card_of(plant.browser.get("/orders").text, "4711")
    (about,) = re.findall(r'name="about" value="([^"]+)"', both)
    form = {"act": "dismiss_possible", "reason": "a test shot", "about": about, "by": "Ann"}

    done = plant.browser.post("/order/4711", data=form | {"then": "/orders"})

    assert "order 47I1 might be this one: dismiss or assign" in alike
    assert "1 file of no order: assign or dismiss" in both
    assert "Not of this order: Image 3.tif, 47I1." in both
    assert (done.status_code, done.headers["location"]) == (303, "/orders")
    assert "dismiss_possible" not in card_of(plant.browser.get("/orders").text, "4711")


def test_the_board_offers_a_leads_acts_to_who_leads(plant):
    plant.lab.set_aside("4711_01_2.tif", "truncated", "it ends in the middle", at=AT)
    plant.lists(material="C56E2")
    offered = {}
    for name in ("Ada", "R. Stahl"):
        plant.browser.cookies.set("reviewer", name.replace(" ", "%20"))
        card = card_of(plant.browser.get("/orders").text, "4711")
        offered[name] = re.findall(r'name="act" value="(\w+)"', card)

    assert offered == {"Ada": [], "R. Stahl": ["accept", "dismiss", "dismiss_files"]}


def test_a_field_of_no_specimen_is_dismissed_below_the_board_for_all_its_orders(plant):
    public_id = plant.loses_track_of("Image 3.tif")
    to = f"/review/{public_id}/dismiss"
    before = plant.browser.get("/orders").text

    unreasoned = plant.browser.post(to, data={"by": "Ann"})
    done = plant.browser.post(to, data={"by": "Ann", "reason": "a test shot"})

    after = plant.browser.get("/orders").text
    assert (before.count(f'action="{to}"'), after.count(f'action="{to}"')) == (1, 0)
    assert (unreasoned.status_code, done.status_code) == (422, 303)
    assert "dismissed by Ann" in after
    assert plant.conformity() == "conforms"


def test_a_seen_break_is_not_dismissed_below_the_board_by_who_saw_it(plant):
    public_id = plant.loses_track_of("Image 3.tif")
    plant.store.labels.decide(public_id, Decision("code", "R. Stahl", code="G7"), at=AT)
    form = {"by": "R. Stahl", "reason": "a test shot"}

    answer = plant.browser.post(f"/review/{public_id}/dismiss", data=form)

    assert (answer.status_code, "a second person, a lead" in answer.text) == (422, True)
    assert plant.conformity() == "undecided"


@pytest.mark.parametrize("case", [
    ("R. Stahl", "Ada", True),
    ("R. Stahl", "R. Stahl", False),
    ("Ada", "Bob", False),
    ("lead", "lead", False),
    ("reviewer", "Ada", False),
    ("lead", "Ada", None),
])  # fmt: skip
@pytest.mark.parametrize("way", ["page", "api", "command"])
def test_a_seen_break_is_dismissed_by_a_second_person_who_leads_and_by_no_program(
    plant, monkeypatch, way, case
):
    who, author, may = case
    public_id = plant.loses_track_of("Image 3.tif")
    ways = Ways(plant, monkeypatch)
    ways.become(who)
    plant.store.labels.decide(public_id, Decision("code", author, code="G7"), at=AT)

    done = getattr(ways, way)("dismiss_possible", "a test shot")

    assert done is (way == "page" if may is None else may)  # a command signs as a program here
    assert len(plant.acts("file_dismissed.recorded")) == done


def test_an_account_that_the_settings_name_as_lead_does_a_leads_acts(plant) -> None:
    hashed = auth.hash_password(PASSWORD)
    plant.store.accounts.add(
        "R. Stahl", kind="person", role="reviewer", hashed=hashed, by="x", at=AT
    )
    plant.browser.headers["origin"] = "http://127.0.0.1:8787"
    plant.browser.post("/login", data={"name": "R. Stahl", "password": PASSWORD})

    assert plant.offers() == ["urgent", "hold"]
    assert plant.act("urgent").status_code == 303


def test_an_undone_assignment_takes_no_break_out_of_an_order_and_leaves_it_undecided(plant):
    loose = plant.loses_track_of("shot.tif")
    asked = {"micrograph": loose, "order": "4711", "specimen": "01", "assign_why": "it is"}
    page = plant.browser.post("/archive/assign", data=asked | {"by": "Ada"}).text
    sent = dict(re.findall(r'<input type="hidden" name="([a-z_]+)" value="([^"]*)">', page))
    location = plant.browser.post("/archive/assign", data=sent | {"by": "Ada"}).headers["location"]
    (act,) = plant.store.audit_log.iter_acts("field.assigned")
    undo = {"what": "assigned", "of": "Ada", "act": act.at.isoformat()}
    plant.at += timedelta(minutes=1)
    plant.store.labels.decide(loose, Decision("code", "Ada", code="G7"), at=plant.at)
    broken = plant.conformity()

    plant.browser.cookies.clear()
    refused = plant.browser.post("/archive/undo", data=undo | {"by": "Ada"})
    plant.browser.cookies.clear()
    by_another = plant.browser.post("/archive/undo", data=undo | {"by": "Eva"})
    still = plant.conformity()
    plant.browser.cookies.clear()
    done = plant.browser.post("/archive/undo", data=undo | {"by": "R. Stahl"})

    assert "assigned=1" in location
    assert (refused.status_code, by_another.status_code) == (422, 403)
    assert "a second person, a lead" in refused.text
    assert (broken, still) == ("does_not_conform", "does_not_conform")
    assert done.status_code == 303
    assert plant.store.orders.of_micrograph(loose) is None
    assert plant.conformity() == "undecided"


# --- the page on which a lead writes a specification ----------------------------------------------


def form_of(page: str) -> dict[str, str]:
    """The fields of a page's specification as a browser without script would send them."""
    page = page[page.index('id="spec"') :]
    fields = {}
    for tag in re.findall(r"<input[^>]*>", page):
        name, value = (re.search(rf' {key}="([^"]*)"', tag) for key in ("name", "value"))
        is_choice = 'type="radio"' in tag or 'type="checkbox"' in tag
        if name and (not is_choice or " checked" in tag):
            fields[name[1]] = unescape(value[1]) if value else ""
    return fields


def number_of(plant: Plant, subtype: str) -> int:
    """The place of a subtype in the form."""
    page = plant.browser.get("/specifications").text
    return re.findall(r'<b><bdi>(\w+)</bdi></b> <span class="soft">', page).index(subtype)


def send(plant: Plant, act: str, **changed: str):
    form = form_of(plant.browser.get("/specifications").text) | {"by": "R. Stahl"} | changed
    return plant.browser.post("/specifications", data=form | {"act": act})


def signed(plant: Plant, **changed: str):
    """Check a form, then sign what was shown."""
    shown = form_of(send(plant, "check", **changed).text)
    return plant.browser.post(
        "/specifications",
        data=shown | {"by": "R. Stahl", "reason": "order 12", "act": "sign"},
    )


def test_a_lead_writes_the_first_specification_for_an_order_that_none_applies_to(plant) -> None:
    file = plant.folder / "specifications.toml"
    file.write_text("# ours\n", encoding="utf-8")
    order = plant.browser.get("/order/4711").text
    before = plant.conformity()
    page = plant.browser.get("/specifications?order=4711").text
    n = number_of(plant, "G")
    form = form_of(page) | {f"allow-{n}": "1", f"limit-{n}": "8", "fields": "1", "by": "R. Stahl"}

    shown = plant.browser.post("/specifications", data=form | {"act": "check"}).text
    signing = form_of(shown) | {"by": "R. Stahl", "reason": "customer", "act": "sign"}
    answer = plant.browser.post("/specifications", data=signing)

    assert (before, 'href="/specifications?order=4711#spec"' in order) == ("not_assessed", True)
    assert (form["material"], form["valid_from"]) == ("100Cr6", f"{AT:%Y-%m-%d}")
    assert "Limit of G: 8 or finer" in shown
    assert "conforms, now not assessed" in shown
    assert answer.status_code == 303
    assert plant.conformity() == "conforms"
    text = file.read_text("utf-8")
    assert text.startswith("# ours\n")
    assert 'approved_by = "R. Stahl"' in text
    (act,) = [
        act
        for act in plant.store.audit_log.iter_acts("specifications.recorded")
        if act.facts.get("reason")
    ]
    assert (act.actor, act.facts["reason"]) == ("R. Stahl", "customer")


def test_an_order_of_which_nothing_is_known_is_sent_to_its_source(plant) -> None:
    plant.lab.take("G8", name="4800_01_1.tif", at=AT, order="4800", specimen="01", field="1")

    order = plant.browser.get("/order/4800").text
    page = plant.browser.get("/specifications?order=4800").text

    assert "/specifications?order" not in order
    assert 'href="/setup#source"' in order
    assert "Neither material, product nor customer is known of it" in page


def test_a_change_is_shown_in_words_and_becomes_a_version_that_can_be_taken_back(plant) -> None:
    file, today = plant.folder / "specifications.toml", f"{plant.at:%Y-%m-%d}"
    plant.browser.get("/order/4711")
    first, n = file.read_text("utf-8"), number_of(plant, "G")
    tighter = {f"limit-{n}": "9-10", "valid_from": today, "fields": "3"}

    shown = send(plant, "check", **tighter).text
    answer = signed(plant, **tighter)
    both = file.read_text("utf-8")
    page = plant.browser.get("/specifications").text
    seen = re.search(r'name="seen" value="(\w+)"', page)[1]
    taken_back = plant.browser.post(
        "/specifications",
        data={"act": "take_back", "seen": seen, "reason": "a slip", "by": "R. Stahl"},
    )

    assert "Limit of G: 9 or finer, before 8 or finer" in shown
    assert "Fields of a specimen: 3, before 1" in shown
    assert "0 conform" not in shown
    assert (answer.status_code, both.count("[[specification]]")) == (303, 2)
    assert both.startswith(first.rstrip())
    assert "version 2" in page
    assert "Limit of G: 8 or finer, before 9 or finer" in page
    assert (taken_back.status_code, file.read_text("utf-8").strip()) == (303, first.strip())
    assert plant.conformity() == "conforms"


def test_nothing_is_signed_that_was_not_shown_or_that_changed_since(plant) -> None:
    file = plant.folder / "specifications.toml"
    plant.browser.get("/order/4711")
    before = file.read_text("utf-8")

    unseen = send(plant, "sign", fields="2", reason="why")
    shown = form_of(send(plant, "check", fields="2").text) | {"by": "R. Stahl", "reason": "why"}
    other = plant.browser.post("/specifications", data=shown | {"fields": "5", "act": "sign"})
    without = plant.browser.post("/specifications", data=shown | {"reason": "", "act": "sign"})
    file.write_text(before + "# somebody was here\n", encoding="utf-8")
    meanwhile = plant.browser.post("/specifications", data=shown | {"act": "sign"})

    answers = (unseen, other, without, meanwhile)
    assert [answer.status_code for answer in answers] == [422] * 4
    assert "Fields of a specimen: 5, before 1" in other.text
    assert "needs a reason" in without.text
    assert file.read_text("utf-8") == before + "# somebody was here\n"


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"material": "", "customer": ""}, "would apply to all"),
        ({"fields": "many"}, "Fields of a specimen: must be a whole number."),
        ({"fields": ""}, "Fields of a specimen: is missing."),
        ({"valid_from": "soon"}, "Valid from: write a day as 2026-01-31."),
        ({"area_threshold": "x"}, "may look coarser than the limit: must be a number."),
        ({"um_min": "0,3", "um_max": "0,2"}, "[smallest, largest]"),
        ({"name": "other"}, "both apply to an order of material 100Cr6"),
        ({"allow-0": "", "allow-1": "", "allow-2": "", "allow-3": ""}, "subtypes: choose at least"),
    ],
)
def test_what_cannot_be_signed_is_named_in_words(plant, changed, fault) -> None:
    plant.browser.get("/order/4711")

    page = send(plant, "check", **changed)

    assert page.status_code == 200
    assert fault in unescape(page.text)
    assert 'name="seen"' not in page.text.partition('id="spec"')[2]


def test_a_limit_forgotten_for_one_of_two_subtypes_and_two_limits_for_a_mean_are_faults(plant):
    plant.browser.get("/order/4711")
    g, m = number_of(plant, "G"), number_of(plant, "M")

    forgotten = send(plant, "check", **{f"allow-{m}": "1"}).text
    own = {f"allow-{m}": "1", f"limit-{m}": "9-10"}
    mean = send(plant, "check", specimen_rule="mean_of_fields", **own).text
    each = send(plant, "check", **own).text

    assert g != m
    assert "subtype M has sizes and no limit" in forgotten
    assert "one limit for every subtype" in mean
    assert "Limit of M: 9 or finer" in each


def test_only_a_lead_writes_specifications_by_account_or_by_name(plant) -> None:
    plant.browser.get("/order/4711")
    password = "four long words here"  # noqa: S105 - of a test
    for name, role in (("Vera", "viewer"), ("Rita", "reviewer"), ("Lea", "lead")):
        plant.store.accounts.add(
            name, kind="person", role=role, by="Ada", at=AT,
            hashed=auth.hash_password(password, name=name),
        )  # fmt: skip
    codes = {}
    for name in ("Vera", "Rita", "Lea"):
        browser = plant.open()
        sent = {"origin": "http://127.0.0.1:8787"}
        browser.post("/login", data={"name": name, "password": password}, headers=sent)
        page = browser.get("/specifications").text
        form = {} if "data-spec" not in page else form_of(page)
        checked = browser.post(
            "/specifications", data=form | {"fields": "2", "act": "check"}, headers=sent
        )
        signing = (form_of(checked.text) if "data-spec" in checked.text else {}) | {
            "act": "sign", "reason": "why", "password": password,
        }  # fmt: skip
        answer = browser.post("/specifications", data=signing, headers=sent)
        codes[name] = ("data-spec" in page, answer.status_code)

    assert codes == {"Vera": (False, 403), "Rita": (False, 422), "Lea": (True, 303)}


def test_the_german_page_of_specifications_says_nothing_in_english(plant) -> None:
    plant.browser.get("/order/4711")
    plant.browser.cookies.set("language", "de")

    checked = send(plant, "check", fields="2", um_min="0,1", um_max="0,3").text
    faulty = send(plant, "check", fields="x", material="", customer="").text

    assert english_in(checked) == []
    assert english_in(faulty) == []


def test_where_the_file_cannot_be_written_the_page_says_so_before_anything_is_filled_in(
    plant, monkeypatch
) -> None:
    plant.browser.get("/order/4711")
    monkeypatch.setattr("os.access", lambda path, _mode: "specifications" not in str(path))

    page = plant.browser.get("/specifications").text

    assert "ReadWritePaths=" in page
