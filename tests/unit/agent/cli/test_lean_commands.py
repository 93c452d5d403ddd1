"""A command that is called often imports only what it shows.

Modules are counted, because times depend on load.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache

import pytest

HEAVY = (
    "PIL", "agent.store.backup", "agent.store.people.campaigns",
    "agent.store.evidence.database_checks", "alembic",
    "babel", "boto3", "cv2", "fastapi", "jinja2", "matplotlib", "model.inference.classifier",
    "numpy", "onnxruntime", "openvino", "psutil", "pyarrow", "pygments", "rich.progress", "scipy",
    "sqlalchemy.dialects.postgresql.base", "structlog", "tifffile", "torch", "uvicorn", "watchdog",
)  # fmt: skip
DATABASE = ("alembic", "pydantic_settings", "rich.console", "sqlalchemy", "sqlmodel")
LIST = "order;specimen\n4711;1\n"
MOST_MODULES = 800
"""Of the standard library, of SQLAlchemy and of our own; before, `agent status` had 1190."""

PLAIN = (
    "agent.orders.facts.specimen_facts", "agent.store.tables.campaigns",
    "agent.store.tables.places", "agent.store.tables.statements", "rich.console",
)  # fmt: skip
"""What a command that judges no order and prints no table does not need."""

UNREAD = (
    "agent.store.search.search_index", "agent.store.tables.logins",
    "agent.store.tables.nights", "agent.store.tables.search",
)  # fmt: skip
"""Tables that neither the state of the agent nor an order is read from; each takes 4 ms."""
MICROGRAPHS = ("agent.store.tables.micrographs", "agent.store.tables.orders")
"""Tables that the state of the agent is not read from."""

JUDGING = ("agent.needles.pooling", "agent.orders.judge.assessed", "agent.store.results.places")
"""What judges an order."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A lab with one order, whose database is at the newest schema."""
    folder = tmp_path_factory.mktemp("lean")
    (folder / "export").mkdir()
    (folder / "agent.toml").write_text(
        '[[sources]]\nname = "LOM"\nfolder = "export"\n', encoding="utf-8"
    )
    (folder / "list.csv").write_text(LIST, encoding="utf-8")
    agent(folder, "orders", "import", "list.csv", "--by", "R. Stahl")
    agent(folder, "orders", "show", "4711")  # the first one records specifications and taxonomy
    return folder


@cache
def agent(folder, *words: str) -> list[str]:
    """Run a command in a process of its own, once; return the modules that it imported."""
    script = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('IMPORTED', *sys.modules))\n"
        "from agent.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        capture_output=True, text=True, check=False, cwd=folder,
        env={**os.environ, "AGENT_CONFIG": str(folder / "agent.toml")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.rpartition("IMPORTED ")[2].split()


@pytest.mark.parametrize(
    ("words", "unused"),
    [
        (("status",), (*PLAIN, *UNREAD, *MICROGRAPHS)),
        (("status", "--json"), (*PLAIN, *UNREAD, *MICROGRAPHS)),
        (("files",), ()),
    ],
)
def test_a_short_command_imports_nothing_heavy(folder, words, unused) -> None:
    imported = agent(folder, *words)

    assert [name for name in (*HEAVY, *JUDGING, *unused) if name in imported] == []
    assert len(imported) < MOST_MODULES


def test_an_order_is_shown_without_numpy_or_the_page_templates(folder) -> None:
    imported = agent(folder, "orders", "show", "4711", "--json")

    assert [name for name in (*HEAVY, *UNREAD) if name in imported] == []
    assert len(imported) < MOST_MODULES


def test_a_command_that_only_reads_would_keep_the_search_in_step_if_it_wrote(folder) -> None:
    imported = agent(folder, "status")

    assert "agent.store.search.search_updates" in imported


def test_the_version_needs_no_database(folder) -> None:
    imported = agent(folder, "--version")

    assert [name for name in (*HEAVY, *DATABASE) if name in imported] == []
