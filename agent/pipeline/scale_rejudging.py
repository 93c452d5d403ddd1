"""Judge micrographs again at the scale that reviewers gave them, from the archived crop."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from agent.imaging.crop import Crop, SpecimenArea
from agent.imaging.readers.metadata import Scale
from agent.orders.facts.scale_tracing import GivenScale, find_settled
from agent.store import BY_REVIEWER, GIVEN, StoreFault, find_given, keep_warnings

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from agent.archive import Archive
    from agent.store import MicrographResult, MicrographView, Store

log = structlog.get_logger()


class ScaleRejudging:
    """Finds the scales that no result has been judged with yet.

    Args:
        store: Open.
        archive: The pixels.
        judge: Judges a crop of a micrograph; None where its bundle cannot be had now.
    """

    def __init__(
        self,
        store: Store,
        archive: Archive,
        judge: Callable[[MicrographView, Crop], MicrographResult | None],
    ) -> None:
        self._store, self._archive, self._judge = store, archive, judge
        self._last_record = 0

    def judge_pending(self, *, now: Callable[[], datetime]) -> int:
        """Judge what waits; return how many micrographs have a new result.

        Raises:
            StoreFault: The database does not answer; what waits goes on waiting.
        """
        judged = 0
        records = self._store.records.list_after(GIVEN, self._last_record)
        for public_id in dict.fromkeys(record.subject for record in records):
            try:
                judged += self._judge_one(public_id, now)
            except StoreFault:
                raise
            except Exception:  # one micrograph that cannot be judged never stops the work
                log.exception("scale.crashed", micrograph=public_id)
        if records:
            self._last_record = records[-1].id
        return judged

    def _judge_one(self, public_id: str, now: Callable[[], datetime]) -> bool:
        view = self._store.results.find(public_id)
        scale = find_settled(self._store, view) if view else None
        if view is None or scale is None:
            return False
        if find_given(view.result.thresholds).get("record") == scale.record:
            return False
        crop = self._load(view, scale)
        finding = self._judge(view, crop) if crop else None
        if finding is None:
            log.warning("scale.unjudged", micrograph=public_id, has_crop=crop is not None)
            return False
        thresholds = {**finding.thresholds, GIVEN: scale.to_json()}
        at = now()
        self._store.results.add(
            public_id, replace(finding, thresholds=thresholds), role="live", at=at
        )
        log.info("scale.judged", micrograph=public_id, um_per_px=scale.um_per_px)
        return True

    def _load(self, view: MicrographView, scale: GivenScale) -> Crop | None:
        if view.crop is None or not self._archive.has_crop(view.sha256, view.page):
            return None
        pixels, valid = self._archive.field(view.sha256, view.page)
        return Crop(
            sha256=view.sha256,
            page=view.page,
            pages=1,
            width=view.width,
            height=view.height,
            format="",
            um_per_px=scale.um_per_px,
            um_per_px_source=BY_REVIEWER,
            scales=(Scale(BY_REVIEWER, scale.um_per_px),),
            micron_bar=None,
            band=None,
            specimen_area=SpecimenArea(whole_frame=True, outside_fraction=0.0, polygon=()),
            box=view.crop,
            recipe=view.recipe,
            warnings=keep_warnings({GIVEN: scale.to_json()}, view.warnings),
            pixels=pixels,
            valid=valid,
            preview=pixels,
            metadata={},
        )
