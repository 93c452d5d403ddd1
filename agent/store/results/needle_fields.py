"""Needles of micrographs, stored with the result that they were measured with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlmodel import col, select

from agent.needles import NeedleField
from agent.store.engine import reading
from agent.store.repository import Repository
from agent.store.tables import NeedleFieldRow
from agent.store.work.file_states import chunks

if TYPE_CHECKING:
    from collections.abc import Sequence


class NeedleFields(Repository):
    """Repository of measured needles; they are written with their result."""

    def list_of(self, result_ids: Sequence[int]) -> dict[int, NeedleField]:
        """Return the needles of results, by the number of the result.

        Results without a row are left out: nothing was to be measured with them.
        """
        found: dict[int, NeedleField] = {}
        with reading(self._engine) as session:
            for batch in chunks(list(result_ids)):
                query = select(NeedleFieldRow).where(
                    NeedleFieldRow.site_id == self._whose.site_id,
                    col(NeedleFieldRow.result_id).in_(batch),
                )
                for row in session.exec(query):
                    found[row.result_id] = NeedleField.from_columns(row.model_dump())
        return found
