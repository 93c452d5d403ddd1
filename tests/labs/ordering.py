"""A lab with one order, and the command in its folder."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from fastapi.testclient import TestClient

from agent.cli.app import main
from agent.orders.instruments.instrument_checks import CONTROL
from agent.settings import read
from agent.store import Decision
from agent.web import app_of
from labs import lab
from model import default_taxonomy

AT = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)

BUNDLE = "20261101-0badcafe"

VALIDATED = {
    "images": 900,
    "limits": {
        "G 8 or finer": {
            "n": 149,
            "wrong": 0,
            "upper95": 0.0199,
            "other_subtype": {"n": 149, "wrong": 0, "upper95": 0.0199},
            "bound95": 0.0199,
            "um_per_px": [0.1, 0.2],
        }
    },
}
"""A validation record of 149 specimens of each kind, none called conforming falsely."""

SETTINGS = """
[site]
name = "Plant 1"
time_zone = "UTC"

[[sources]]
name = "LOM-07"
folder = "export"
pattern = "(?P<order>\\\\d+)_(?P<specimen>\\\\d+)_(?P<field>\\\\d+)"
material = "100Cr6"

[orders]
leads = ["R. Stahl"]
"""

DEMAND = """
[[specification]]
name = "ring-a"
valid_from = 2026-01-01
approved_by = "R. Stahl"
material = "100Cr6"
subtype = ["G"]
limit = "8 or finer"
fields = 3
"""


class OrderingLab:
    """A lab with one order, and the command in its folder."""

    def __init__(self, folder, capsys, filled=None):
        self.folder, self._capsys, self.at = folder, capsys, AT
        (folder / "agent.toml").write_text(SETTINGS, encoding="utf-8")
        (folder / "specifications.toml").write_text(DEMAND, encoding="utf-8")
        self.lab = lab.copy_of(filled, folder / "data") if filled else lab.Lab(folder / "data")
        self.store = self.lab.store

    def take(self, field, code="G8", *, order="4711", specimen="01", **given):
        keys = {"order": order, "specimen": specimen, "field": str(field), "material": "100Cr6"}
        keys |= given.pop("keys", {})
        name = f"{order}_{specimen}_{field}.tif"
        at = given.pop("at", self.at)
        return self.lab.take(code, name=name, at=at, **(keys | given))

    def agent(self, *words):
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(self.folder / "agent.toml"), *map(str, words)])
        said = self._capsys.readouterr()
        self.out, self.err = said.out, said.err
        return int(ended.value.code or 0)

    def order(self, number="4711"):
        assert self.agent("orders", "show", number, "--json") == 0, self.err
        return json.loads(self.out)

    def browser(self):
        settings = read(self.folder / "agent.toml")
        app = app_of(
            settings, store=self.store, archive=self.lab.archive, now=lambda: AT, status=dict
        )
        return TestClient(app, base_url="http://127.0.0.1:8787")

    def promote(self):
        folder = self.folder / "data" / "bundles" / BUNDLE
        folder.mkdir(parents=True)
        said = {"taxonomy": default_taxonomy().as_json()}
        (folder / "bundle.json").write_text(json.dumps(said), encoding="utf-8")
        self.store.promotions.promote(BUNDLE, by="Ada", reason="first", at=AT, metrics={})

    def check(self, *, passed=True, at=AT):
        """Keep the record of a control check, as `agent verify --installation` does."""
        facts = {"passed": passed, "sources": ["LOM-07"], "software": "1", "findings": []}
        self.store.records.add(CONTROL, "PC", by="Ada", at=at, facts=facts)

    def confirm(self, public_id, code="G8", why=""):
        self.store.labels.decide(public_id, Decision("code", "Ada", code=code, comment=why), at=AT)


def word(ordering, number="4711"):
    return ordering.order(number)["conformity"]


def missing(ordering, number="4711"):
    return "; ".join(ordering.order(number)["missing"])


def notes(ordering, number="4711"):
    """Return the notes of an order but the one that holds for every field of this lab."""
    untraced = "scale not traced to a stage micrometer"
    return [note for note in ordering.order(number)["notes"] if note != untraced]
