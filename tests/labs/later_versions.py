"""Later versions of this program, each with one migration more than the one before."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from agent.store import schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from folders import GOLDEN

MIGRATION = '''"""a column that {number} adds"""

import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "{number}", "{before}", None, None


def upgrade() -> None:
    op.add_column("content", sa.Column("later_{number}", sa.Integer(), nullable=True))
'''


@contextmanager
def later_versions(folder: Path) -> Iterator[Callable[[], str]]:
    """Yield a function that installs the next version and returns the number of its schema.

    Args:
        folder: For the migrations of these versions.
    """
    configuration, head = schema.configuration, schema.HEAD
    ours = Path(schema.__file__).parent / "migrations" / "versions"

    def with_later():
        config = configuration()
        config.set_main_option("version_locations", f"{ours}{os.pathsep}{folder}")
        return config

    def install() -> str:
        folder.mkdir(exist_ok=True)
        before, number = schema.HEAD, f"{int(schema.HEAD) + 1:04d}"
        file = folder / f"{number}_later.py"
        file.write_text(MIGRATION.format(number=number, before=before), encoding="utf-8")
        schema.configuration, schema.HEAD = with_later, number
        return number

    try:
        yield install
    finally:
        schema.configuration, schema.HEAD = configuration, head


KEPT = sorted((GOLDEN / "schemas").glob("*.sql"))
"""A store of the schema of every revision, each with a few rows, as SQLite writes it out."""
