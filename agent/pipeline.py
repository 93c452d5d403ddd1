"""Take files at rest to stored verdicts: the whole story of a micrograph on one page.

In:  claims from `store`. Out: rows in `store`, pixels in `archive`. Next: `night` and `web`.
`judge` decides and writes nothing; `take` keeps the books and decides nothing. What fails is told
apart by who is at fault: the file (set aside), the share, disk or database (given back, the
attempt not counted, and `Stalled` where nothing can go on), or this program (tried again later).
"""

from __future__ import annotations

import errno
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import structlog

from agent.errors import AgentError, FileError
from agent.imaging.crop_json import crop_to_json
from agent.orders.instrument_checks import CONTROL, measured
from agent.orders.lost_files import name_lost
from agent.orders.place_check import PlaceCheck, landmarks_of
from agent.orders.waiting_notes import WaitingNotes, list_missing_notes
from agent.process_data import keys_of, merge_notes, notes_beside
from agent.scale_rejudging import ScaleRejudging
from agent.settings import PROCESS_COLUMNS
from agent.store import Finding, OtherBundle, StoreFault
from agent.triage import Handling, Policy, Reason, Verdict, triage
from agent.watch import Provenance, find_facts, locate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from agent.archive import Archive
    from agent.imaging import Crop, CropPool
    from agent.store import Claim, ClaimedPlace, MicrographView, Ordered, Store
    from model import Classifier, Prediction

Judge = tuple["Classifier | None", Policy]
"""Whose answer is asked, and what goes with it."""

log = structlog.get_logger()

T = TypeVar("T")

LEASE_S = 900.0  # a dead agent's work is taken over after it; a living one renews it in time
RENEW_AFTER = 1 / 3  # of the lease
AWAY_AGAIN_S = (10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)  # a file that cannot be read for now
CHANGED_AGAIN_S = 30.0  # the watch will have seen the change by then, and holds the file back
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})
FROM_METADATA = ("microscope", "objective", "magnification", "operator")
"""Process data that the file itself may know, where neither the source nor the path says it."""


class Stalled(AgentError):  # noqa: N818 - a state, said in the message
    """Nothing can go on for now, and no file is to blame; the message says what to look at."""


class Judged(NamedTuple):
    """What was seen in one micrograph, and what is to be done about it."""

    crop: Crop
    process_data: dict[str, str]
    extra: dict[str, str]
    prediction: Prediction | None
    verdict: Verdict
    expected: dict[str, object]


@dataclass(slots=True)
class Taken:
    """How a round ended: how many files met which fate."""

    stored: int = 0
    duplicates: int = 0
    set_aside: int = 0
    failed: int = 0
    given_back: int = 0

    @property
    def files(self) -> int:
        """How many files were in hand."""
        return self.stored + self.duplicates + self.set_aside + self.failed + self.given_back


@dataclass(slots=True)
class _InHand:
    """One claim on its way."""

    claim: Claim
    path: Path
    process_data: dict[str, str]
    um_per_px: float | None
    conflict: str = ""
    claims: tuple[ClaimedPlace, ...] = ()
    again: bool = False
    began_s: float = 0.0
    crops: list[Crop] = field(default_factory=list)


class Pipeline:
    """Take files from the queue to their fate.

    Args:
        store: The books. archive: the pixels at rest.
        pool: Worker processes that read and crop.
        classifier: The current bundle, or None: then every micrograph is `untrained`.
        policy: The lab's triage policy.
        now: Says the time, aware UTC.
        sources: Source name → what it and its paths say of a file.
        batch: How many micrographs the model judges together.
        keep_originals: Whether the bytes of every micrograph are kept, or only of those in review.
        thresholds: Written beside each result: what the lab had set.
        earlier: Loads another bundle than the current one, for a specimen that it has begun; None
            where it cannot be had.
        ordered: Says which subtypes were ordered, for a field's process data.
        sidecars: Whether the note beside a picture is asked where it belongs.
        control: Numbers of control orders, whose micrographs check the instrument.
        on_stage: Called with a stage ("read", "judge", "keep") and how long (s) a file was in it.
        on_fate: Called with source, relative path and what became of a file.
        lease_s: How long (s) what is in hand stays ours without a word; longer than one file takes.
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
        earlier: Callable[[str], Judge | None] = lambda _: None,
        ordered: Callable[[Mapping[str, str], Ordered], tuple[str, ...]] = lambda _, o: o.subtypes,
        sidecars: bool = True,
        control: Sequence[str] = (),
        on_stage: Callable[[str, float], None] = lambda _stage, _seconds: None,
        on_fate: Callable[[str, str, str], None] = lambda _source, _relative, _fate: None,
    ) -> None:
        self._on_stage, self._on_fate = on_stage, on_fate
        self._control_orders = frozenset(control)
        self._earlier, self._ordered, self._sidecars = earlier, ordered, sidecars
        self._lease_s = lease_s
        self._store, self._archive, self._pool = store, archive, pool
        self._policy, self._now, self._batch = policy, now, batch
        self._sources = dict(sources or {})
        self._keep_originals = keep_originals
        self._thresholds = dict(thresholds or {})
        self._newest = classifier
        self._bundle_of: dict[str, tuple[str, Judge]] = {}
        self._kept: dict[str, Judge | None] = {}
        self._away: dict[int, int] = {}
        self._missed: set[int] = set()
        self._owed: list[Claim] = []
        self._places = PlaceCheck(store, self._control_orders)
        self._notes = WaitingNotes(store, self._sources)
        self._scales = ScaleRejudging(store, archive, self._judge_at_scale)

    def use(self, classifier: Classifier | None, policy: Policy | None = None) -> None:
        """Take up another bundle; a specimen that was begun is judged to its end by its own."""
        if self._newest:
            self._kept = {self._newest.name: (self._newest, self._policy)}
        self._newest = classifier
        self._policy = policy or self._policy

    # --- deciding -------------------------------------------------------------------------------

    def judge(
        self,
        crops: Sequence[tuple[Crop, Mapping[str, str]]],
        classifier: Classifier | None,
        policy: Policy | None = None,
    ) -> list[Judged]:
        """Classify crops and say who speaks last on each; writes nothing.

        Args:
            crops: Each with the process data known of it.
            classifier: Whose answer is asked, or None where there is no bundle yet.
            policy: That goes with it, or None: the current one.
        """
        held = policy or self._policy
        predictions: Sequence[Prediction | None] = [None] * len(crops)
        if classifier:
            from model import Field  # noqa: PLC0415 - PyTorch takes seconds; a lab may start without

            fields = [
                Field(crop.pixels, crop.valid, crop.um_per_px, _microscope(crop, told))
                for crop, told in crops
            ]
            predictions = classifier.classify(fields)
        return [
            self._judged(crop, told, prediction, classifier, held)
            for (crop, told), prediction in zip(crops, predictions, strict=True)
        ]

    def _judged(
        self,
        crop: Crop,
        told: Mapping[str, str],
        prediction: Prediction | None,
        classifier: Classifier | None,
        policy: Policy,
    ) -> Judged:
        process_data, extra = _with_metadata(told, crop.metadata)
        order = self._store.orders.expect(told.get("order", ""), told.get("specimen", ""))
        process_data = {**{k: v for k, v in order.told.items() if k in TRAVELS}, **process_data}
        wanted = self._ordered({**order.told, **process_data}, order)
        verdict = triage(
            prediction,
            sha256=crop.sha256,
            um_per_px=crop.um_per_px,
            warnings=crop.warnings,
            material=process_data.get("material", ""),
            policy=policy,
            told=process_data,
            expected=wanted,
        )
        expected = _expected(crop, prediction, verdict, wanted, classifier)
        return Judged(crop, process_data, extra, prediction, verdict, expected)

    def _judge_at_scale(self, view: MicrographView, crop: Crop) -> Finding | None:
        """Judge a known micrograph at another scale by its specimen's bundle, None without it."""
        judge = (self._newest, self._policy)
        order, specimen = (view.process_data.get(key, "") for key in ("order", "specimen"))
        begun = self._store.orders.expect(order, specimen).bundle if order and specimen else ""
        bundle = begun or (view.bundle if specimen else "")
        if bundle and (self._newest is None or bundle != self._newest.name):
            judge = self._begun_by(bundle)
            if judge[0] is None:
                return None
        (judged,) = self.judge([(crop, view.process_data)], *judge)
        prediction = judged.prediction
        if prediction:
            maps = maps_of(prediction)
            self._archive.keep_maps(view.sha256, view.page, prediction.bundle, maps)
        return Finding(
            crop_facts={},
            process_data={},
            process_extra={},
            prediction=prediction,
            verdict=judged.verdict,
            thresholds={**self._thresholds, **(prediction.evidence_limits if prediction else {})},
            origin=view.origin,
            expected=judged.expected,
        )

    # --- keeping the books ----------------------------------------------------------------------

    def take(
        self,
        n: int,
        *,
        only: Sequence[str] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        on_file: Callable[[str], None] = lambda _: None,
    ) -> Taken:
        """Claim up to `n` files and bring each to its fate, or give it back.

        Args:
            n: How many at most.
            only: Names of the sources to take from; None means all.
            should_stop: Asked after each file; the rest is then given back, uncounted.
            on_file: Called with a relative path when its fate is written.

        Raises:
            Stalled: Disk or database is at fault; what was in hand is given back.
        """
        taken = Taken()
        owed, self._owed = self._owed, []
        self._give_back(owed, None)
        self._guarded(lambda: self._places.compare_pending(at=self._now()))
        self._guarded(lambda: self._scales.judge_pending(now=self._now))
        claims = self._guarded(
            lambda: self._store.work_queue.claim(
                n, at=self._now(), lease_s=self._lease_s, only=only
            )
        )
        waiting = {claim.content_id: claim for claim in claims}
        try:
            if self._sidecars:
                self._guarded(lambda: self._notes.read(now=self._now()))
            for hand in self._ended(claims, taken, waiting, should_stop):
                on_file(hand.claim.relative)
        except (StoreFault, Stalled) as fault:
            self._give_back(waiting.values(), str(fault))
            raise Stalled(str(fault)) from fault
        except BaseException:
            self._give_back(waiting.values(), "the agent was interrupted")
            raise
        if waiting:
            self._give_back(waiting.values(), None)
            taken.given_back += len(waiting)
        return taken

    def _ended(
        self,
        claims: Sequence[Claim],
        taken: Taken,
        waiting: dict[int, Claim],
        should_stop: Callable[[], bool],
    ) -> Iterator[_InHand]:
        """Bring claims to their fate, each out of `waiting` the moment it is written."""
        batch: list[_InHand] = []
        renewed_at = self._now()
        for hand, outcome in self._cropped(claims):
            if should_stop():
                return
            if (self._now() - renewed_at).total_seconds() > RENEW_AFTER * self._lease_s:
                renewed_at = self._now()
                self._store.work_queue.renew(waiting.values(), at=renewed_at, lease_s=self._lease_s)
            if isinstance(outcome, BaseException):
                self._spoilt(hand, outcome, taken)
                waiting.pop(hand.claim.content_id, None)
                yield hand
            elif self._is_news(hand, outcome, taken):
                hand.crops = outcome
                batch.append(hand)
            else:
                waiting.pop(hand.claim.content_id, None)
                yield hand
            if sum(len(one.crops) for one in batch) >= self._batch:
                yield from self._finished(batch, taken, waiting)
                batch = []
        yield from self._finished(batch, taken, waiting)

    def _cropped(
        self, claims: Sequence[Claim]
    ) -> Iterator[tuple[_InHand, list[Crop] | BaseException]]:
        """Read and crop in the pool, in order of completion.

        The table of objectives may need what only the file says (its objective, its size): then
        a file is cropped a second time with the scale that the table vouches for.
        """
        jobs: deque[_InHand] = deque()
        for claim in claims:
            try:
                jobs.append(self._in_hand(claim))
            except OSError as error:  # the share would not give the note beside it
                yield _InHand(claim, locate(claim.folder, claim.relative), {}, None), error
        while jobs:
            by_path: dict[Path, list[_InHand]] = {}
            for hand in jobs:
                by_path.setdefault(hand.path, []).append(hand)
            round_ = [(path, hands[0].um_per_px) for path, hands in by_path.items()]
            jobs.clear()
            for path, outcome in self._pool.crop_all(round_):
                for hand in by_path[path]:
                    if isinstance(outcome, list) and self._needs_another_scale(hand, outcome):
                        jobs.append(hand)
                    else:
                        self._on_stage("read", time.perf_counter() - hand.began_s)
                        yield hand, outcome

    def _in_hand(self, claim: Claim) -> _InHand:
        source = self._sources.get(claim.source, Provenance())
        path = locate(claim.folder, claim.relative)
        notes = notes_beside(path) if self._sidecars and claim.origin == "watch" else []
        notes += list_missing_notes(claim.noted, notes)
        keys = keys_of(
            source,
            claim.relative,
            beside=merge_notes(notes),
            notes=notes,
            given=claim.process_data,
            exact_numbers=self._store.exact_numbers,
        )
        scale = source.um_per_px(keys.process_data, on=self._now().date())
        began_s = time.perf_counter()
        return _InHand(
            claim,
            path,
            keys.process_data,
            scale,
            conflict=keys.conflict,
            claims=keys.claims,
            began_s=began_s,
        )

    def _needs_another_scale(self, hand: _InHand, crops: Sequence[Crop]) -> bool:
        source = self._sources.get(hand.claim.source)
        if source is None or not source.objectives or hand.again or not crops:
            return False
        told, _ = _with_metadata(hand.process_data, crops[0].metadata)
        size = (crops[0].width, crops[0].height)
        scale = source.um_per_px(told, on=self._now().date(), size=size)
        if scale == hand.um_per_px:
            return False
        hand.um_per_px, hand.again = scale, True
        return True

    def _is_news(self, hand: _InHand, crops: Sequence[Crop], taken: Taken) -> bool:
        """Say whether a cropped file is to be judged; else its fate is written here."""
        claim, at = hand.claim, self._now()
        if self._has_changed(hand, if_unknown=False):
            self._wait_for_writer(hand, taken)
            return False
        names = () if claim.origin == "import" else hand.claims
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
            taken.duplicates += 1
            self._on_fate(claim.source, claim.relative, "duplicate")
            return False
        return True

    def _wait_for_writer(self, hand: _InHand, taken: Taken) -> None:
        claim, at = hand.claim, self._now()
        again_at = at + timedelta(seconds=CHANGED_AGAIN_S)
        self._store.work_queue.release(
            claim, at=at, retry_at=again_at, sentence="still being written"
        )
        log.info("file.changed", source=claim.source, file=claim.relative)
        taken.given_back += 1

    def _has_changed(self, hand: _InHand, *, if_unknown: bool) -> bool:
        """Say whether the bytes that were read may be another content than the one at rest.

        Args:
            hand: What was read.
            if_unknown: What is said where the file is gone, or its share is. What was read whole is
                what came to rest; what could not be used may have been cut short.
        """
        claim = hand.claim
        try:
            facts = find_facts(claim.folder, claim.relative)
        except OSError:
            return if_unknown
        if facts is None:
            return if_unknown
        return facts != (claim.size_bytes, claim.mtime_ns, claim.ctime_ns)

    def _finished(
        self, batch: Sequence[_InHand], taken: Taken, waiting: dict[int, Claim]
    ) -> Iterator[_InHand]:
        for judge, hands in self._by_bundle(batch):
            for hand, judged in self._judged_one_by_one(hands, judge):
                self._settled(hand, judged, taken)
                waiting.pop(hand.claim.content_id, None)
                yield hand

    def _settled(self, hand: _InHand, judged: Sequence[Judged] | Exception, taken: Taken) -> None:
        if isinstance(judged, Exception):
            self._crashed(hand, judged, taken)
            return
        try:
            self._keep(hand, judged, taken)
        except (StoreFault, Stalled):
            raise
        except OSError as error:  # the share would not give the original
            self._unread(hand, error, taken)
        except Exception as error:  # noqa: BLE001 - as in `_judged_one_by_one`
            self._crashed(hand, error, taken)

    def _by_bundle(self, batch: Sequence[_InHand]) -> Iterator[tuple[Judge, list[_InHand]]]:
        groups: dict[int, tuple[Judge, list[_InHand]]] = {}
        for hand in batch:
            judge = self._judge_for(hand)
            groups.setdefault(id(judge[0]), (judge, []))[1].append(hand)
        yield from groups.values()

    def _judge_for(self, hand: _InHand) -> Judge:
        """One specimen is judged by one bundle: a promotion holds from the next specimen on.

        Of which bundle that is the store decides, so that two agents, or one that was killed,
        never split a specimen.
        """
        newest = (self._newest, self._policy)
        order, specimen = (hand.process_data.get(key, "") for key in ("order", "specimen"))
        if hand.claim.origin == "import" or hand.conflict or not specimen:
            return newest
        if not order:  # no specimen anybody could name again; it is kept together as it comes
            before = self._bundle_of.get(hand.claim.source)
            if before is None or before[0] != specimen:
                self._bundle_of[hand.claim.source] = (specimen, newest)
            return self._bundle_of[hand.claim.source][1]
        wish = self._newest.name if self._newest else ""
        named = self._store.orders.expect(order, specimen).bundle
        if named is None and wish:
            named = self._store.orders.reserve(order, specimen, wish, at=self._now())
        return newest if not named or named == wish else self._begun_by(named)

    def _begun_by(self, bundle: str) -> Judge:
        """Another bundle than the current one; where it cannot be had nobody answers."""
        if bundle not in self._kept:
            self._kept = {bundle: self._earlier(bundle)}
            if self._kept[bundle] is None:
                log.warning("bundle.missing", bundle=bundle)
        return self._kept[bundle] or (None, self._policy)

    def _judged_one_by_one(
        self, hands: Sequence[_InHand], judge: Judge
    ) -> Iterator[tuple[_InHand, list[Judged] | Exception]]:
        """Judge a batch together; if that crashes, alone, so that only the guilty one pays."""
        together = [(crop, hand.process_data) for hand in hands for crop in hand.crops]
        began_s = time.perf_counter()
        try:
            judged = deque(self.judge(together, *judge))
        except StoreFault:
            raise  # what was ordered is asked of the store; no file is to blame
        except Exception as error:  # noqa: BLE001 - the one edge where a bug costs a file, not the agent
            if len(hands) == 1:
                yield hands[0], error
                return
            for hand in hands:
                yield from self._judged_one_by_one([hand], judge)
            return
        each_s = (time.perf_counter() - began_s) / len(hands)
        for hand in hands:
            self._on_stage("judge", each_s)
            yield hand, [judged.popleft() for _ in hand.crops]

    def _keep(self, hand: _InHand, judged: Sequence[Judged], taken: Taken) -> None:
        claim, began_s = hand.claim, time.perf_counter()
        findings = [self._archived(hand, one) for one in judged]
        try:
            self._store.work_queue.finish(claim, findings, at=self._now())
        except OtherBundle as other:  # another agent has begun this specimen meanwhile
            self._store.work_queue.release(
                claim, at=self._now(), retry_at=self._now(), sentence=str(other)
            )
            log.info("file.judged_again", file=claim.relative, bundle=other.bundle)
            taken.given_back += 1
            return
        self._on_stage("keep", time.perf_counter() - began_s)
        self._away.pop(claim.content_id, None)
        self._places.compare_pending(at=self._now())
        taken.stored += 1
        self._on_fate(claim.source, claim.relative, "stored")
        log.info(
            "file.stored",
            source=claim.source,
            file=claim.relative,
            micrographs=len(judged),
            handling=max((str(one.verdict.handling) for one in judged), default=""),
            took_ms=round((time.perf_counter() - hand.began_s) * 1000),
        )

    def _archived(self, hand: _InHand, judged: Judged) -> Finding:
        """Put pixels to rest before the row that names them."""
        crop, prediction = judged.crop, judged.prediction
        try:
            artefacts: dict[str, object] = {**self._archive.keep(crop)}
            if prediction:
                artefacts["maps"] = self._archive.keep_maps(
                    crop.sha256, crop.page, prediction.bundle, maps_of(prediction)
                )
        except OSError as error:
            raise Stalled(f"the data folder cannot be written: {error}") from error
        original = self._wants_original(hand.claim, judged) and self._original(hand, crop)
        return Finding(
            crop_facts=crop_to_json(crop),
            process_data=judged.process_data,
            process_extra=judged.extra | self._control(judged),
            prediction=prediction,
            verdict=judged.verdict,
            thresholds={**self._thresholds, **(prediction.evidence_limits if prediction else {})},
            origin=hand.claim.origin,
            artefacts={**artefacts, "original": original},
            area_mm2=_area_mm2(crop),
            unassigned=hand.conflict,
            expected=judged.expected,
            landmarks=landmarks_of(crop),
            claims=hand.claims if hand.conflict else (),
        )

    def _control(self, judged: Judged) -> dict[str, object]:
        """Measure focus and brightness where it is a control specimen that was taken."""
        if judged.process_data.get("order") not in self._control_orders:
            return {}
        return {CONTROL: measured(judged.crop.pixels, judged.crop.valid)}

    def _original(self, hand: _InHand, crop: Crop) -> bool:
        try:
            kept = self._archive.keep_original(hand.path, crop.sha256)
        except OSError as error:
            if error.errno in FULL:
                raise Stalled(f"the data folder cannot be written: {error}") from error
            is_gone = isinstance(error, FileNotFoundError) and _is_alone_missing(hand.claim)
            if is_gone and not _is_as_listed(hand.claim):
                return False  # deleted after it was read: the result stands without it
            raise
        if not kept and _is_as_listed(hand.claim):
            raise OSError(errno.EIO, "the share gave other bytes than a moment ago")
        return kept

    def _wants_original(self, claim: Claim, judged: Judged) -> bool:
        return (
            self._keep_originals
            or claim.origin == "import"
            or judged.verdict.handling is Handling.REVIEW
        )

    # --- what went wrong, and whose fault it is -------------------------------------------------

    def _spoilt(self, hand: _InHand, error: BaseException, taken: Taken) -> None:
        claim, at = hand.claim, self._now()
        if isinstance(error, FileError) and self._has_changed(hand, if_unknown=True):
            self._wait_for_writer(hand, taken)
        elif isinstance(error, FileError):
            name_lost(self._store, claim.content_id, hand.claims, at=at)
            self._store.work_queue.set_aside(claim, error.code, error.message, at=at)
            log.warning(
                "file.set_aside",
                source=claim.source, file=claim.relative, code=str(error.code), reason=str(error),
            )  # fmt: skip
            taken.set_aside += 1
            self._on_fate(claim.source, claim.relative, "set_aside")
        elif isinstance(error, OSError):
            self._unread(hand, error, taken)
        else:
            self._crashed(hand, error, taken)

    def _unread(self, hand: _InHand, error: OSError, taken: Taken) -> None:
        """The share would not give the file: if it is gone for good say so, else ask again."""
        claim, at = hand.claim, self._now()
        sentence = error.strerror or str(error)
        tries = self._away[claim.content_id] = self._away.get(claim.content_id, 0) + 1
        again_at = at + timedelta(seconds=AWAY_AGAIN_S[min(tries, len(AWAY_AGAIN_S)) - 1])
        gone: bool | None = False
        if isinstance(error, FileNotFoundError) and _is_alone_missing(claim):
            if claim.content_id not in self._missed:
                self._missed.add(claim.content_id)
                name_lost(self._store, claim.content_id, hand.claims, at=at)
            gone = self._store.work_queue.miss(claim, sentence, at=at, retry_at=again_at)
        else:
            self._store.work_queue.release(claim, at=at, retry_at=again_at, sentence=sentence)
        log.warning(
            "file.vanished" if gone else "file.unreadable",
            source=claim.source, file=claim.relative, reason=sentence,
        )  # fmt: skip
        taken.given_back += 1

    def _crashed(self, hand: _InHand, error: BaseException, taken: Taken) -> None:
        claim = hand.claim
        sentence = f"{type(error).__name__}: {error}"
        next_at = self._store.work_queue.fail(claim, sentence, at=self._now())
        log.error(
            "file.crashed",
            source=claim.source, file=claim.relative, attempts=claim.attempts,
            next_try_at=next_at, exc_info=error,
        )  # fmt: skip
        taken.failed += 1
        self._on_fate(claim.source, claim.relative, "failed")

    def _give_back(self, claims: Iterable[Claim], sentence: str | None) -> None:
        at = self._now()
        owed = list(claims)
        while owed:
            try:
                self._store.work_queue.release(owed[-1], at=at, retry_at=at, sentence=sentence)
            except StoreFault:
                self._owed += owed  # given back before the next round; else the lease runs out
                return
            owed.pop()

    def _guarded(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except StoreFault as fault:
            raise Stalled(str(fault)) from fault


TRAVELS = ("heat", "batch", "material", "etchant")
"""What of an order's data stands with each of its fields."""


def _area_mm2(crop: Crop) -> float | None:
    """Say how much steel a crop shows, mm², or None without a scale."""
    if crop.um_per_px is None:
        return None
    return float(crop.valid.sum()) * crop.um_per_px**2 * 1e-6


def _expected(
    crop: Crop,
    prediction: Prediction | None,
    verdict: Verdict,
    wanted: Sequence[str],
    classifier: Classifier | None,
) -> dict[str, object]:
    """Say what was ordered where it matters: the size inside that subtype, or the scope left."""
    said: dict[str, object] = {"outside": verdict.outside} if verdict.outside else {}
    if Reason.UNEXPECTED_SUBTYPE not in verdict.reasons or not (prediction and classifier):
        return said
    from model import Field  # noqa: PLC0415 - as in `judge`

    field_ = Field(crop.pixels, crop.valid, crop.um_per_px)
    sizes = {name: classifier.size_probabilities_for([field_], name)[0] for name in wanted}
    best = {
        name + max(shares, key=shares.__getitem__): shares
        for name, shares in sizes.items()
        if shares
    }
    return {**said, "subtypes": list(wanted), "sizes": sizes, "codes": list(best)}


def _is_alone_missing(claim: Claim) -> bool:
    """Say whether the file is gone while its folder is there and not empty: no share's fault."""
    try:
        return any(True for _ in claim.folder.iterdir())
    except OSError:
        return False


def _is_as_listed(claim: Claim) -> bool:
    """Say whether the file is there and as it was listed, as far as its share answers."""
    try:
        facts = find_facts(claim.folder, claim.relative)
    except OSError:
        return True
    return facts == (claim.size_bytes, claim.mtime_ns, claim.ctime_ns)


def _microscope(crop: Crop, told: Mapping[str, str]) -> str:
    return _with_metadata(told, crop.metadata)[0].get("microscope", "")


def _with_metadata(
    told: Mapping[str, str], metadata: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Let the file's own words fill what neither source nor path said; the rest goes beside."""
    fills = {k: metadata[k] for k in FROM_METADATA if metadata.get(k) and not told.get(k)}
    process_data = {**told, **fills}
    columns = {k: v for k, v in process_data.items() if k in PROCESS_COLUMNS}
    others = {k: v for k, v in process_data.items() if k not in PROCESS_COLUMNS}
    beside = {k: v for k, v in metadata.items() if process_data.get(k) != v}
    return columns, {**beside, **others}


def maps_of(prediction: Prediction) -> dict[str, NDArray[np.float16]]:
    """Say which maps of a prediction are archived."""
    maps = {
        "subtype": prediction.subtype_map,
        "size": prediction.size_map,
        "contrast": prediction.contrast_map,
        "coarser": prediction.coarser_map,
        "strangeness": prediction.strangeness.heat,
    }
    return {which: drawn for which, drawn in maps.items() if drawn is not None}
