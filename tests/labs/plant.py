"""A lab with an outbox, whose orders are decided and sent one act at a time."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from agent.service.jobs import exchange
from agent.settings import read
from agent.store import Decision
from labs.lab import DAY, Lab
from labs.shell import Shell

HOUR = timedelta(hours=1)

SETTINGS = """
[site]
name = "Plant 1"

[orders]
outbox = "outbox"
lists = "lists"
outbox_formats = ["json"]
leads = ["Leo"]
"""

LIMITS = """
[[specification]]
name = "ring-a"
valid_from = 2026-01-01
approved_by = "R. Stahl"
material = "100Cr6"
subtype = ["G"]
limit = "8 or finer"
fields = 1
"""


class Plant(Shell):
    """A lab with an outbox, whose orders are decided and sent one act at a time."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        super().__init__(folder, capsys)
        self.write("agent.toml", SETTINGS)
        self.write("specifications.toml", LIMITS)
        self.settings = read(folder / "agent.toml")
        self.outbox = Path(self.settings.orders.outbox)
        for name in ("outbox", "lists"):
            (folder / name).mkdir(exist_ok=True)

    def take(self, order: str = "4711") -> str:
        return self.lab.take("G8", order=order, specimen="1", field="1", material="100Cr6")

    def say(self, public_id: str, code: str, *, at: datetime = DAY) -> None:
        decision = Decision("code", "Ada", code=code, comment="looked again")
        self.lab.store.labels.decide(public_id, decision, at=at)

    def send(self, *, at: datetime = DAY) -> str:
        return exchange.fill_outbox(self.settings, self.lab.store, now=at)

    def restore(self, file: Path) -> str:
        self.lab.store.close()
        code, said = self.agent("restore", file)
        assert code == 0, said
        self.lab = Lab(self.folder / "data")
        return said

    def keep_copy(self) -> Path:
        """Copy the database as somebody would by hand, with the agent stopped."""
        self.lab.store.close()
        shutil.copy(self.folder / "data/martensight.db", self.folder / "snapshot.db")
        self.lab = Lab(self.folder / "data")
        return self.folder / "snapshot.db"

    def copy_back(self, snapshot: Path) -> None:
        """Put a copy of the database back by hand; no command knows of it."""
        self.lab.store.close()
        for end in ("", "-wal", "-shm"):
            (self.folder / f"data/martensight.db{end}").unlink(missing_ok=True)
        shutil.copy(snapshot, self.folder / "data/martensight.db")
        self.lab = Lab(self.folder / "data")

    def resume_order(self, *, by: str = "Leo") -> str:
        """Acknowledge what was lost of order 4711."""
        self.lab.store.close()
        _, said = self.agent("orders", "resume", "4711", "--by", by, "--reason", "checked")
        self.lab = Lab(self.folder / "data")
        return said

    def sent(self) -> list[tuple[int, str]]:
        documents = [json.loads(path.read_text("utf-8")) for path in self.outbox.glob("*.json")]
        return sorted((document["revision"], document["conformity"]) for document in documents)
