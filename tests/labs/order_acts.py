"""A lab of which every act on orders is done by page, API and command."""

from __future__ import annotations

from fastapi.testclient import TestClient

from agent.orders.lims.resumption import SentRevision, adopt, begin_resumption, list_beyond
from agent.settings import read
from agent.store import Decision, Entry
from agent.web import app_of
from labs import lab
from labs.ordering import AT, DEMAND, SETTINGS


class Plant:
    """A lab with order 4711, whose one field is confirmed."""

    def __init__(self, folder):
        self.folder, self.at = folder, AT
        (folder / "agent.toml").write_text(SETTINGS, encoding="utf-8")
        self.demand("8")
        self.lab = lab.Lab(folder / "data")
        self.store = self.lab.store
        self.lists(material="100Cr6")
        keys = {"order": "4711", "specimen": "01", "field": "1", "material": "100Cr6"}
        self.field = self.lab.take("G8", name="4711_01_1.tif", at=AT, **keys)
        self.store.labels.decide(self.field, Decision("code", "Ada", code="G8"), at=AT)
        self.browser = self.open()

    def demand(self, limit):
        (self.folder / "specifications.toml").write_text(
            DEMAND.replace("8 or finer", f"{limit} or finer").replace("fields = 3", "fields = 1"),
            encoding="utf-8",
        )

    def open(self):
        settings = read(self.folder / "agent.toml")
        app = app_of(
            settings, store=self.store, archive=self.lab.archive, now=lambda: self.at, status=dict
        )
        return TestClient(app, base_url="http://127.0.0.1:8787", follow_redirects=False)

    def act(self, act, reason="", by="R. Stahl", order="4711"):
        form = {"act": act, "reason": reason, "by": by}
        return self.browser.post(f"/order/{order}", data=form)

    def offers(self):
        page = self.browser.get("/order/4711").text
        names = (
            "urgent",
            "normal",
            "accept",
            "dismiss",
            "dismiss_files",
            "dismiss_possible",
            "reopen",
            "resume",
            "hold",
            "release",
        )
        return [name for name in names if f'name="act" value="{name}"' in page]

    def lists(self, **changed):
        self.store.orders.take_list([Entry("4711", **changed)], "tue.csv", by="Ada", at=self.at)

    def loses(self):
        """Restore a back-up that is older than what the LIMS has."""
        begin_resumption(self.store, since=AT, at=self.at)
        sent = SentRevision("4711", revision=3, id="x", conformity="does_not_conform")
        adopt(self.store, list_beyond(self.store, [sent]), at=self.at)

    def loses_track_of(self, name):
        """Take a coarse field that belongs to no specimen."""
        return self.lab.take("G7", name=name, at=AT, material="100Cr6")

    def conformity(self):
        return self.browser.get("/api/v1/orders/4711").json()["conformity"]

    def acts(self, kind):
        return [
            (act.actor, act.facts.get("reason")) for act in self.store.audit_log.iter_acts(kind)
        ]
