"""Process a batch of files: claim, read, judge, store, release."""

from __future__ import annotations

import time
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

import structlog

from agent.imaging.readers.read import read_sidecar_scales
from agent.orders.facts.place_check import PlaceCheck
from agent.orders.facts.process_data import WaitingNotes
from agent.pipeline.crop_triage import (
    BundleChoice,
    BundleRouter,
    NeedleMeasuring,
    ScaleRejudging,
    TriagedCrop,
    UntriagedCrop,
    triage_crops,
)
from agent.pipeline.file_reader import FileReader
from agent.pipeline.in_flight import BatchOutcome, Failures, InFlightFile, StalledError, has_changed
from agent.pipeline.result_archive import Archiving, ResultArchive, run_here
from agent.store import OtherBundleError, StoreFaultError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from agent.archive import Archive
    from agent.features import FeatureBuffer
    from agent.imaging import Crop, CropPool
    from agent.pipeline.result_archive import Run
    from agent.store import Claim, MicrographResult, MicrographView, Ordered, Store
    from agent.triage import Policy
    from agent.watch import Provenance
    from model import Classifier

log = structlog.get_logger()

LEASE_S = 900.0  # then another agent resumes a dead one's files; a living one renews in time
RENEW_AFTER = 1 / 3  # of the lease


class Pipeline:
    """Process files from the queue to a stored result.

    Args:
        store: Open.
        archive: Pixels by content hash.
        pool: Worker processes that read and crop.
        classifier: The bundle in use, or None: then every micrograph is `untrained`.
        policy: The lab's triage policy.
        now: Returns the time, aware UTC.
        sources: Source → what it and its paths say of a file.
        batch: How many micrographs the model judges together.
        keep_originals: Whether the bytes of every micrograph are archived, or only of those in
            review and imported ones.
        thresholds: Stored with each result: what the lab had set.
        lease_s: How long (s) a claim holds without renewal; longer than one file takes.
        earlier: Loads another bundle than the one in use, for a specimen that it has begun; None
            where it is not available.
        ordered: Returns the subtypes that were ordered, for a field's process data.
        sidecars: Whether the notes next to a picture are read.
        control: Numbers of control orders, whose micrographs check the instrument.
        features: Where the features of crops are kept, or None.
        needles: Measures the needles of new micrographs, not of imported ones; None: of none.
        archiving: Runs the archiving of a file while the next one is judged, in another thread;
            None: each is archived and stored before the next one is judged. The database is used
            by the caller's thread alone.
        on_stage: Called with a stage ("read", "judge", "keep") and how long (s) a file was in it.
        on_fate: Called with source, relative path and what became of a file.
    """

    def __init__(
        self,
        *,
        store: Store,
        archive: Archive,
        pool: CropPool,
        classifier: Classifier | None,
        policy: Policy,
        now: Callable[[], datetime],
        sources: Mapping[str, Provenance] | None = None,
        batch: int = 8,
        keep_originals: bool = False,
        thresholds: Mapping[str, float] | None = None,
        lease_s: float = LEASE_S,
        earlier: Callable[[str], BundleChoice | None] = lambda _: None,
        ordered: Callable[[Mapping[str, str], Ordered], tuple[str, ...]] = lambda _, o: o.subtypes,
        sidecars: bool = True,
        control: Sequence[str] = (),
        features: FeatureBuffer | None = None,
        needles: NeedleMeasuring | None = None,
        archiving: Run | None = None,
        on_stage: Callable[[str, float], None] = lambda _stage, _seconds: None,
        on_fate: Callable[[str, str, str], None] = lambda _source, _relative, _fate: None,
    ) -> None:
        self._store, self._now, self._ordered = store, now, ordered
        self._batch, self._lease_s, self._sidecars = batch, lease_s, sidecars
        self._needles = needles
        self._on_stage, self._on_fate = on_stage, on_fate
        control_orders, by_name = frozenset(control), dict(sources or {})
        self._places = PlaceCheck(store, control_orders)
        self._notes = WaitingNotes(store, by_name, read_sidecar_scales)
        self._reader = FileReader(store, pool, now, by_name, on_stage, has_sidecars=sidecars)
        self._router = BundleRouter(store, now, classifier, policy, earlier)
        self._archive = ResultArchive(
            archive,
            control_orders,
            thresholds or {},
            keep_all_originals=keep_originals,
            features=features,
        )
        self._failures = Failures(store, now, on_fate)
        self._scales = ScaleRejudging(store, archive, self._judge_at_scale)
        self._held: dict[int, Claim] = {}
        self._run_archiving = archiving
        self._archiving: Archiving | None = None
        self._renewed_at = now()

    def use(self, classifier: Classifier | None, policy: Policy | None = None) -> None:
        """Judge specimens that begin from now on by another bundle; begun ones keep theirs."""
        self._router.use(classifier, policy)

    def process_batch(
        self,
        n: int,
        *,
        only: Sequence[str] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        on_file: Callable[[str], None] = lambda _: None,
        reads_ahead: bool = False,
    ) -> BatchOutcome:
        """Claim files until `n` are in hand, and process each, or release it.

        Args:
            n: How many at most.
            only: Names of the sources to claim from; None means all.
            should_stop: Called after each file; True releases the rest, uncounted.
            on_file: Called with a relative path when its result is stored.
            reads_ahead: Whether one file for each worker, at most half of `n`, stays in hand at
                the end, so that it is read while the last ones are judged. The next call processes
                it first, unless `release_held` gives it back. So does one that is being archived;
                it is not counted before its result is stored.

        Raises:
            StalledError: Disk or database is at fault; what was claimed is released.
        """
        outcome = BatchOutcome()
        ahead = min(self._reader.workers, n // 2) if reads_ahead else 0
        try:
            self._claim(n - self._count_unjudged(), only)
            n = max(n, self._count_unjudged()) - ahead
            for file in self._process(n, outcome, should_stop, reads_ahead=ahead > 0):
                on_file(file.claim.relative)
        except (StoreFaultError, StalledError) as fault:
            self.release_held(str(fault))
            raise StalledError(str(fault)) from fault
        except BaseException:
            self.release_held("the agent was interrupted")
            raise
        if not (ahead and self._reader.is_busy) or should_stop():
            outcome.given_back += self.release_held()
        return outcome

    @property
    def has_held(self) -> bool:
        """Whether files are in hand that the next call processes."""
        return bool(self._held)

    def release_held(self, sentence: str | None = None) -> int:
        """Release what is in hand, the attempt not counted; return the number of files.

        Args:
            sentence: Why, if somebody is to know.
        """
        held, self._held = self._held, {}
        archiving, self._archiving = self._archiving, None
        self._reader.clear()
        if archiving:
            archiving.wait()  # its files are not written twice at once
        self._failures.release(held.values(), sentence)
        return len(held)

    def _count_unjudged(self) -> int:
        """Return how many files in hand are still to be judged."""
        return len(self._held) - (self._archiving is not None)

    def _claim(self, n: int, only: Sequence[str] | None) -> None:
        """Claim up to `n` more files."""
        self._failures.release_remaining()
        self._places.compare_pending(at=self._now())
        self._scales.judge_pending(now=self._now)
        if not self._held:
            self._renewed_at = self._now()
        claims = self._store.work_queue.claim(
            n, at=self._now(), lease_s=self._lease_s, only=only, has_others=bool(self._held)
        )
        self._held |= {claim.content_id: claim for claim in claims}
        if self._sidecars:
            self._notes.read(now=self._now())
        self._reader.add(claims)

    def _process(
        self,
        n: int,
        outcome: BatchOutcome,
        should_stop: Callable[[], bool],
        *,
        reads_ahead: bool,
    ) -> Iterator[InFlightFile]:
        """Process up to `n` files, each in hand until the moment its result is written."""
        batch: list[InFlightFile] = []
        for file, crops in islice(self._reader.iter_cropped(), n):
            if should_stop():
                self._reader.clear()
                batch = []
                break
            self._renew()
            if isinstance(crops, BaseException):
                self._failures.record(file, crops, outcome)
                self._held.pop(file.claim.content_id, None)
                yield file
            elif self._is_new(file, crops, outcome):
                file.crops = crops
                batch.append(file)
            else:
                self._held.pop(file.claim.content_id, None)
                yield file
            if batch and self._is_due(batch):
                yield from self._finish(batch, outcome)
                batch = []
            if self._archiving and not self._reader.has_outcome():  # nothing to judge meanwhile
                yield from self._store_archived(outcome)
        yield from self._finish(batch, outcome)
        has_next = reads_ahead and self._reader.is_busy and self._reader.has_outcome()
        if not has_next or should_stop():
            yield from self._store_archived(outcome)

    def _renew(self) -> None:
        """Extend the leases of what is in hand, in time; also where the clock was set back."""
        now = self._now()
        if 0 <= (now - self._renewed_at).total_seconds() <= RENEW_AFTER * self._lease_s:
            return
        self._renewed_at = now
        self._store.work_queue.renew(self._held.values(), at=now, lease_s=self._lease_s)

    def _is_due(self, batch: Sequence[InFlightFile]) -> bool:
        """Return whether a batch is judged now: it is full, or a CPU would wait for the next file.

        The workers read on while it is judged. A CPU processes one image after the other anyway,
        and judges each by itself where the one before is archived during this time.
        """
        is_full = sum(len(file.crops) for file in batch) >= self._batch
        has_next = not self._run_archiving and self._reader.has_outcome()
        return is_full or not (has_next or self._router.is_batched())

    def _is_new(self, file: InFlightFile, crops: Sequence[Crop], outcome: BatchOutcome) -> bool:
        """Return whether a cropped file is to be judged; else what became of it is written."""
        claim, at = file.claim, self._now()
        if has_changed(claim, if_unknown=False):
            self._failures.record_change(file, outcome)
            return False
        names = () if claim.origin == "import" else file.claims
        known = self._store.work_queue.identify(
            claim,
            crops[0].sha256,
            at=at,
            names=names,
            on_torn=lambda torn: log.warning(
                "field.unassigned", micrograph=torn, file=claim.relative
            ),
        )
        if known is not None:
            log.info("file.duplicate", source=claim.source, file=claim.relative, content=known)
            outcome.duplicates += 1
            self._on_fate(claim.source, claim.relative, "duplicate")
            return False
        return True

    def _finish(
        self, batch: Sequence[InFlightFile], outcome: BatchOutcome
    ) -> Iterator[InFlightFile]:
        for choice, files in self._router.iter_groups(batch):
            for file, triaged in self._judge(files, choice):
                if isinstance(triaged, Exception):
                    yield from self._store_archived(outcome)
                    self._failures.record_crash(file, triaged, outcome)
                    self._held.pop(file.claim.content_id, None)
                    yield file
                else:
                    yield from self._store_archived(outcome, then=(file, triaged))
                    if not self._run_archiving:
                        yield from self._store_archived(outcome)

    def _store_archived(
        self,
        outcome: BatchOutcome,
        *,
        then: tuple[InFlightFile, Sequence[TriagedCrop]] | None = None,
    ) -> Iterator[InFlightFile]:
        """Store the results of the file that is being archived, if any.

        Args:
            outcome: Is counted in.
            then: What is archived next, while those results are stored; one file at a time.
        """
        archived, self._archiving = self._archiving, None
        if archived:
            archived.wait()
        if then:
            self._archiving = Archiving(*then, self._archive, self._run_archiving or run_here)
        if archived:
            self._store_or_record(archived, outcome)
            self._held.pop(archived.file.claim.content_id, None)
            yield archived.file

    def _judge(
        self, files: Sequence[InFlightFile], choice: BundleChoice
    ) -> Iterator[tuple[InFlightFile, list[TriagedCrop] | Exception]]:
        """Judge a batch together; if that crashes, alone, so that only the cause fails."""
        together = [
            UntriagedCrop(
                crop,
                file.process_data,
                file.claim.source,
                self._choose_measuring(file.claim.origin),
            )
            for file in files
            for crop in file.crops
        ]
        began_s = time.perf_counter()
        try:
            triaged = deque(
                triage_crops(together, *choice, store=self._store, ordered=self._ordered)
            )
        except StoreFaultError:
            raise  # the database is queried for what was ordered; no file is to blame
        except Exception as error:  # noqa: BLE001 - the one edge where a bug costs a file, not the agent
            if len(files) == 1:
                yield files[0], error
                return
            for file in files:
                yield from self._judge([file], choice)
            return
        each_s = (time.perf_counter() - began_s) / len(files)
        for file in files:
            self._on_stage("judge", each_s)
            yield file, [triaged.popleft() for _ in file.crops]

    def _choose_measuring(self, origin: str) -> NeedleMeasuring | None:
        return None if origin == "import" else self._needles

    def _judge_at_scale(self, view: MicrographView, crop: Crop) -> MicrographResult | None:
        """Judge a known micrograph at another scale by its specimen's bundle, None without it."""
        choice = self._router.choose_again(view)
        if choice is None:
            return None
        (triaged,) = triage_crops(
            [
                UntriagedCrop(
                    crop, view.process_data, view.source, self._choose_measuring(view.result.origin)
                )
            ],
            *choice,
            store=self._store,
            ordered=self._ordered,
        )
        return self._archive.store_again(view, triaged)

    def _store_or_record(self, archived: Archiving, outcome: BatchOutcome) -> None:
        file = archived.file
        try:
            self._store_results(archived, outcome)
        except (StoreFaultError, StalledError):
            raise
        except OSError as error:  # the share did not give the original
            self._failures.record_unreadable(file, error, outcome)
        except Exception as error:  # noqa: BLE001 - as in `_judge`
            self._failures.record_crash(file, error, outcome)

    def _store_results(self, archived: Archiving, outcome: BatchOutcome) -> None:
        file, claim = archived.file, archived.file.claim
        results, began_s = archived.get_results(), time.perf_counter()
        try:
            self._store.work_queue.finish(claim, results, at=self._now())
        except OtherBundleError as other:  # another agent has begun this specimen during this time
            self._store.work_queue.release(
                claim, at=self._now(), retry_at=self._now(), sentence=str(other)
            )
            log.info("file.judged_again", file=claim.relative, bundle=other.bundle)
            outcome.given_back += 1
            return
        self._on_stage("keep", archived.took_s + time.perf_counter() - began_s)
        self._failures.forget(claim)
        self._places.compare_pending(at=self._now())
        outcome.stored += 1
        self._on_fate(claim.source, claim.relative, "stored")
        log.info(
            "file.stored",
            source=claim.source,
            file=claim.relative,
            micrographs=len(archived.triaged),
            handling=max((str(crop.verdict.handling) for crop in archived.triaged), default=""),
            took_ms=round((time.perf_counter() - file.began_s) * 1000),
        )
