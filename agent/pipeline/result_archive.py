"""Archive the pixels of a result, then build the row that names them."""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING

import structlog

from agent.features import FeatureBuffer, build_row
from agent.imaging import Crop, encode_landmarks
from agent.imaging.crop import crop_to_json
from agent.orders.instruments.instrument_checks import CONTROL, measure_image
from agent.pipeline.in_flight import InFlightFile, StalledError, is_as_listed, is_gone
from agent.store import MicrographResult
from agent.triage import Handling
from model.data.feature_cache import hash_field

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from agent.archive import Archive
    from agent.pipeline.crop_triage import TriagedCrop
    from agent.store import Claim, MicrographView
    from model import Prediction

    Run = Callable[[Callable[[], None]], None]
    """Runs a function, in this thread or in another."""


log = structlog.get_logger()

DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})
"""Errors of the data folder's disk, not of the share that a file is copied from."""


class ResultArchive:
    """Archive crops, maps and originals of a batch.

    Args:
        archive: Pixels by content hash.
        control_orders: Numbers of control orders, whose micrographs check the instrument.
        thresholds: Stored with each result: what the lab had set.
        keep_all_originals: Whether the bytes of every micrograph are archived, or only of those
            in review and imported ones.
        features: Where the features of crops are kept, or None.
    """

    def __init__(
        self,
        archive: Archive,
        control_orders: frozenset[str],
        thresholds: Mapping[str, float],
        *,
        keep_all_originals: bool,
        features: FeatureBuffer | None,
    ) -> None:
        self._features = features
        self._archive, self._control_orders = archive, control_orders
        self._thresholds, self._keep_all = dict(thresholds), keep_all_originals

    def store(self, file: InFlightFile, triaged: TriagedCrop) -> MicrographResult:
        """Archive the pixels of a crop and return its row.

        Raises:
            StalledError: The data folder cannot be written.
            OSError: The share did not give the original.
        """
        crop, prediction = triaged.crop, triaged.prediction
        try:
            artefacts: dict[str, object] = {**self._archive.keep(crop)}
            if prediction:
                artefacts["maps"] = self._archive.keep_maps(
                    crop.sha256, crop.page, prediction.bundle, select_maps(prediction)
                )
        except OSError as error:
            raise StalledError(f"the data folder cannot be written: {error}") from error
        original = self._wants_original(file.claim, triaged) and self._store_original(file, crop)
        self._keep_features(triaged)
        return MicrographResult(
            crop_facts=crop_to_json(crop),
            process_data=triaged.process_data,
            process_extra=triaged.extra | self._measure_control(triaged),
            prediction=prediction,
            verdict=triaged.verdict,
            thresholds=self._list_thresholds(prediction),
            origin=file.claim.origin,
            artefacts={**artefacts, "original": original},
            area_mm2=_compute_area_mm2(crop),
            unassigned=file.conflict,
            expected=triaged.expected,
            landmarks=crop.landmarks or encode_landmarks(crop),
            claims=file.claims if file.conflict else (),
            needles=triaged.needles,
        )

    def store_again(self, view: MicrographView, triaged: TriagedCrop) -> MicrographResult:
        """Archive the maps of a known micrograph that was judged again and return its row.

        Raises:
            OSError: The data folder cannot be written.
        """
        prediction = triaged.prediction
        if prediction:
            maps = select_maps(prediction)
            self._archive.keep_maps(view.sha256, view.page, prediction.bundle, maps)
        self._keep_features(triaged)
        return MicrographResult(
            crop_facts={},
            process_data={},
            process_extra={},
            prediction=prediction,
            verdict=triaged.verdict,
            thresholds=self._list_thresholds(prediction),
            origin=view.result.origin,
            expected=triaged.expected,
            needles=triaged.needles,
        )

    def _keep_features(self, triaged: TriagedCrop) -> None:
        """Keep the features of a crop. A fault costs no result, since they can be made again."""
        crop, prediction = triaged.crop, triaged.prediction
        if self._features is None or prediction is None or prediction.features is None:
            return
        from model import Field  # noqa: PLC0415 - PyTorch, which has classified by now

        of, row = build_row(
            prediction.features,
            sha256=crop.sha256,
            page=crop.page,
            recipe=crop.recipe,
            crop=hash_field(Field(crop.pixels, crop.valid, crop.um_per_px)),
            um_per_px=crop.um_per_px,
        )
        try:
            self._features.append(of, row)
        except OSError as error:
            log.warning("features.unwritable", micrograph=crop.sha256[:16], reason=str(error))

    def _list_thresholds(self, prediction: Prediction | None) -> dict[str, float]:
        return {**self._thresholds, **(prediction.evidence_limits if prediction else {})}

    def _measure_control(self, triaged: TriagedCrop) -> dict[str, object]:
        """Measure focus and brightness of a control specimen."""
        if triaged.process_data.get("order") not in self._control_orders:
            return {}
        return {CONTROL: measure_image(triaged.crop.pixels, triaged.crop.valid)}

    def _store_original(self, file: InFlightFile, crop: Crop) -> bool:
        try:
            kept = self._archive.keep_original(file.path, crop.sha256)
        except OSError as error:
            if error.errno in DISK_ERRORS:
                raise StalledError(f"the data folder cannot be written: {error}") from error
            if is_gone(file.claim):
                return False  # deleted after it was read: the result is stored without it
            raise
        if not kept and is_as_listed(file.claim):
            raise OSError(errno.EIO, "the share gave other bytes than a moment ago")
        return kept

    def _wants_original(self, claim: Claim, triaged: TriagedCrop) -> bool:
        return (
            self._keep_all
            or claim.origin == "import"
            or triaged.verdict.handling is Handling.REVIEW
        )


def _compute_area_mm2(crop: Crop) -> float | None:
    """Return the area of steel in a crop, mm², or None without a scale."""
    if crop.um_per_px is None:
        return None
    return float(crop.valid.sum()) * crop.um_per_px**2 * 1e-6


def select_maps(prediction: Prediction) -> dict[str, NDArray[np.float16]]:
    """Return the maps of a prediction that are archived, by the name of their file."""
    maps = {
        "subtype": prediction.subtype_map,
        "size": prediction.size_map,
        "contrast": prediction.contrast_map,
        "coarser": prediction.coarser_map,
        "strangeness": prediction.strangeness.heat,
    }
    return {name: values for name, values in maps.items() if values is not None}


# --- archive the pixels of a judged file while the next file is judged ----------------------------


def run_here(function: Callable[[], None]) -> None:
    """Run a function in this thread."""
    function()


def run_in_thread(function: Callable[[], None]) -> None:
    """Run a function in a thread.

    It is a daemon: a share that does not answer must not keep the process from its end.
    """
    threading.Thread(target=function, name="archiving", daemon=True).start()


def choose_archiving() -> Run | None:
    """Return what runs the archiving of a pipeline: a thread where there is a core for it."""
    cores = os.sched_getaffinity(0) if sys.platform == "linux" else range(os.cpu_count() or 1)
    return run_in_thread if len(cores) > 1 else None


class Archiving:
    """A judged file whose pixels are being archived; nothing of it is in the database yet.

    Args:
        file: The file.
        triaged: Its judged crops.
        archive: Where pixels are written.
        run: Runs the archiving.
    """

    def __init__(
        self,
        file: InFlightFile,
        triaged: Sequence[TriagedCrop],
        archive: ResultArchive,
        run: Run,
    ) -> None:
        self.file, self.triaged = file, triaged
        self.took_s = 0.0
        self._archive = archive
        self._results: Future[list[MicrographResult]] = Future()
        run(self._run)

    def _run(self) -> None:
        began_s = time.perf_counter()
        try:
            results = [self._archive.store(self.file, crop) for crop in self.triaged]
        except BaseException as error:  # noqa: BLE001 - raised where the results are waited for
            self.took_s = time.perf_counter() - began_s
            self._results.set_exception(error)
        else:
            self.took_s = time.perf_counter() - began_s
            self._results.set_result(results)

    def wait(self) -> None:
        """Wait for the end, whether or not it succeeds."""
        wait([self._results])

    def get_results(self) -> list[MicrographResult]:
        """Wait for the end and return the rows to store.

        Raises:
            StalledError: The data folder cannot be written.
            OSError: The share did not give the original.
        """
        return self._results.result()
