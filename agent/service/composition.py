"""Build store, archive, pool and pipeline of a lab from its settings, each from plain values."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from agent.archive import Archive
from agent.errors import AgentError, is_out_of_resources
from agent.features import FeatureFolder
from agent.files import shares
from agent.imaging import WALL_CLOCK, CropPool, Limits
from agent.needle_truth import needle_calibration
from agent.needles import LengthCorrection, SizeRule
from agent.needles.measuring import NeedleMeasurer
from agent.orders import SpecificationError, Specifications, list_valid_limits, read_specifications
from agent.orders.facts.order_policy import build_provenance, note_specifications, read_taxonomy
from agent.orders.judge.method_validation import load_scopes
from agent.orders.specifications.specification_history import STATE, TAXONOMY
from agent.pipeline import (
    LEASE_S,
    BundleChoice,
    NeedleMeasuring,
    Pipeline,
    StalledError,
    choose_archiving,
)
from agent.retrain import Collected, Demands
from agent.retrain.bundle_registry import require_allowed
from agent.service.data_folder import agent_name, bundles_folder, clock
from agent.service.statements import StatementKeeper
from agent.settings import Settings
from agent.store import Ordered, Store, Upgrade, store_url
from agent.store.sites.site_folders import get_features_folder
from agent.triage import WAYS, Policy, Scope
from agent.watch import Provenance
from model import Classifier, ModelError, Taxonomy, TaxonomyError

log = structlog.get_logger()

_UNREAD = object()
FEW_CORES = 4  # of a PC that reads with all of them where nothing else is done
SCOPE_MARGIN = 0.1  # a lab's own scales scatter; a tenth beyond the validated ones is still inside


def open_store(
    settings: Settings, *, on_upgrade: Callable[[Upgrade], None] = lambda _upgrade: None
) -> Store:
    """Open the lab's database, made or migrated where needed.

    After each act of this store the statements of the orders that it touched are frozen.

    Args:
        settings: Of the lab.
        on_upgrade: Called with how far an upgrade of the schema is, every few seconds.

    Raises:
        StoreError: It cannot be used.
    """

    def listen(upgrade: Upgrade) -> None:
        facts = {"what": upgrade.sentence, "step": upgrade.step, "steps": upgrade.steps}
        if upgrade.is_done:
            log.info("database.upgraded", **facts)
        else:
            log.info("database.upgrading", **facts)
        on_upgrade(upgrade)

    address = store_url(settings.store.folder, settings.store.url)
    store = Store.open(
        address,
        site=settings.site.name,
        agent=agent_name(),
        exact_numbers=settings.orders.exact_numbers,
        folder=settings.store.folder,
        on_upgrade=listen,
        shares=settings.site.shares,
        connections=settings.store.connections,
    )
    StatementKeeper(settings, store).listen()
    return store


def make_pool(
    settings: Settings,
    *,
    workers: int | None = None,
    is_all: bool = False,
    has_landmarks: bool = True,
) -> CropPool:
    """Start the workers that read and crop.

    Args:
        settings: Settings of the lab.
        workers: Their number; None takes it from the settings.
        is_all: Whether nothing else is done during this time; then a PC of few cores uses each.
        has_landmarks: Whether the crops are stored, with the landmarks of their place, for which a
            drawn micrograph takes a quarter of its time.
    """
    imaging = settings.imaging
    cores = os.cpu_count() or 1
    few = max(cores // 2, min(cores, FEW_CORES)) if is_all else 0
    return CropPool(
        workers=workers or imaging.workers or few,
        time_limit_s=imaging.time_limit_s,
        memory_limit_mb=imaging.memory_limit_mb,
        limits=Limits(
            imaging.max_megapixels,
            sidecars=imaging.sidecars,
            roots=tuple(source.folder for source in settings.sources),
        ),
        um_per_px_range=imaging.um_per_px_range,
        keep_surface=imaging.surface_layer == "keep",
        landmarks=has_landmarks,
    )


def build_policy(
    settings: Settings, classifier: Classifier | None, store: Store | None = None
) -> Policy:
    """Return the lab's triage policy, within what the bundle was validated for."""
    scope = classifier.manifest.validated.get("um_per_px") if classifier else None
    low, high = scope or (0.0, 0.0)
    return Policy(
        min_probability=settings.triage.min_probability,
        control_share=settings.triage.control_share,
        um_per_px_range=(low * (1 - SCOPE_MARGIN), high * (1 + SCOPE_MARGIN)) if scope else None,
        scope=build_scope(classifier, store) if classifier else Scope(),
    )


def build_scope(classifier: Classifier, store: Store | None) -> Scope:
    """Return the scope a bundle was validated for, by its manifest and the lab's records."""
    validated = classifier.manifest.validated
    own = validated.get("scope")
    ways = (
        own
        if isinstance(own, list)
        else [{"material": subtype} for subtype in validated.get("material", {})]
    )
    known = [*ways, *(load_scopes(store, classifier.name) if store else ())]
    keys = ("material", *WAYS)
    return Scope(tuple({key: str(way.get(key) or "") for key in keys} for way in known))


def collect_thresholds(settings: Settings) -> dict[str, Any]:
    """Return the settings that are stored with every result."""
    return {
        "alpha": settings.strangeness.alpha,
        "min_probability": settings.triage.min_probability,
        "control_share": settings.triage.control_share,
        "double_share": settings.triage.double_share,
    }


def hash_settings(settings: Settings, store: Store) -> str:
    """Return a short hash of the settings that change answers; PCs with other ones are marked.

    Paths and what a PC can do (device, workers, limits) are left out. Specifications and taxonomy
    are as this PC noted them last.
    """
    noted = (store.records.latest(kind, agent_name()) for kind in (STATE, TAXONOMY))
    known = {
        "files": [state.facts if state else None for state in noted],
        "zone": settings.site.time_zone,
        "imaging": settings.imaging.model_dump(
            mode="json", include={"um_per_px_range", "sidecars", "surface_layer"}
        ),
        "precision": settings.model.precision,
        "has_taxonomy": bool(settings.model.taxonomy),
        "strangeness": settings.strangeness.model_dump(mode="json"),
        "triage": settings.triage.model_dump(mode="json"),
    }
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:8]


def collect_labels(
    settings: Settings, store: Store, taxonomy: Taxonomy, *, group_by: str = ""
) -> Collected:
    """Collect the labels that the lab has allowed to count, with their archived crops."""
    from agent.retrain import collect  # noqa: PLC0415 - PyTorch takes seconds

    return collect(
        store,
        Archive.open(settings),
        taxonomy,
        group_by=group_by,
        learns_from=settings.retrain.learns_from,
    )


def build_demands(settings: Settings, taxonomy: Taxonomy, *, now: datetime) -> Demands:
    """Return what the lab demands of a candidate, at the limits that are valid today.

    Raises:
        SpecificationError: The limits cannot be read, so that the risk is not known.
    """
    from agent.retrain import Demands  # noqa: PLC0415 - PyTorch takes seconds
    from model import GateThresholds  # noqa: PLC0415 - PyTorch takes seconds

    retrain = settings.retrain
    specifications = read_specifications(settings.orders.specifications)
    return Demands(
        rules=GateThresholds(
            may_lose=retrain.max_loss_points / 100,
            min_accuracy=retrain.min_accuracy,
            min_recall=retrain.min_recall,
            may_flip_back=retrain.may_flip_back,
            max_slowdown=retrain.max_slowdown,
        ),
        limits=list_limits(settings, specifications, taxonomy, now=now),
        alpha=settings.strangeness.alpha,
    )


def list_limits(
    settings: Settings, specifications: Specifications, taxonomy: Taxonomy, *, now: datetime
) -> dict[str, Callable[[str], bool]]:
    """Return which limits are valid today, on the lab's own calendar."""
    on = now.astimezone(ZoneInfo(settings.site.time_zone)).date()
    return list_valid_limits(specifications, taxonomy, on=on)


def make_pipeline(
    settings: Settings,
    *,
    store: Store,
    pool: CropPool,
    classifier: Classifier | None,
    now: Callable[[], datetime] = clock,
    sources: Mapping[str, Provenance] | None = None,
    on_stage: Callable[[str, float], None] = lambda _stage, _seconds: None,
    on_fate: Callable[[str, str, str], None] = lambda _source, _relative, _fate: None,
) -> Pipeline:
    """Build a pipeline; `sources` replaces the settings' own."""
    own = {source.name: build_provenance(source) for source in settings.sources}
    return Pipeline(
        store=store,
        archive=Archive.open(settings),
        pool=pool,
        classifier=classifier,
        policy=build_policy(settings, classifier, store),
        now=now,
        sources=own if sources is None else sources,
        batch=settings.model.batch,
        keep_originals=settings.archive.originals == "all",
        thresholds=collect_thresholds(settings),
        lease_s=max(LEASE_S, 2 * WALL_CLOCK * settings.imaging.time_limit_s),
        earlier=lambda name: _load_earlier(settings, store, name),
        ordered=Demanded(settings, store, now=now),
        sidecars=settings.imaging.sidecars,
        control=settings.orders.control,
        features=open_features(settings, store).buffer if settings.features.keep else None,
        needles=build_needle_measuring(settings, store) if settings.needles.enabled else None,
        archiving=choose_archiving(),
        on_stage=on_stage,
        on_fate=on_fate,
    )


def build_needle_measuring(settings: Settings, store: Store) -> NeedleMeasuring:
    """Return how needles are measured and calibrated, and which lengths contradict a size."""
    needles = settings.needles
    rule = SizeRule(needles.l90_of_size_8_um, needles.size_tolerance)

    def find_correction(subtype: str, microscope: str) -> LengthCorrection | None:
        calibration = needle_calibration(store, subtype, microscope)
        if calibration is None:
            return None
        return LengthCorrection(calibration.version, calibration.ratio.value)

    return NeedleMeasuring(NeedleMeasurer().measure, rule, find_correction)


def open_features(settings: Settings, store: Store) -> FeatureFolder:
    """Return the kept features of this site."""
    return FeatureFolder(get_features_folder(settings.store.folder, store), agent_name())


def _load_earlier(settings: Settings, store: Store, name: str) -> BundleChoice | None:
    """Load the bundle that began a specimen; None where it is gone.

    Raises:
        StalledError: It cannot be read for want of files or memory.
    """
    try:
        classifier = load_bundle(settings, name)
    except (ModelError, OSError, MemoryError) as error:
        if is_out_of_resources(error):
            raise StalledError(f"bundle {name} cannot be read for now: {error}") from error
        log.error("bundle.refused", bundle=name, reason=str(error))  # noqa: TRY400 - one sentence
        return None
    return classifier, build_policy(settings, classifier, store)


class Demanded:
    """Finds which subtypes were ordered: by the order list, else by the specification.

    A changed file, or another taxonomy, is recorded before the order of the next micrograph is
    first
    seen: an order is judged by what was valid then, whether or not a page was opened.

    Args:
        settings: Of the lab; its specifications are read again when the file changes.
        store: Where a changed file is recorded.
        now: Returns the time, aware UTC.
    """

    def __init__(self, settings: Settings, store: Store, *, now: Callable[[], datetime]) -> None:
        self._file, self._zone = settings.orders.specifications, settings.site.time_zone
        self._store, self._now = store, now
        self._settings = settings
        self._last_read: bytes | None = None
        self._classes: object = _UNREAD
        self._known = Specifications()

    def __call__(self, process_data: Mapping[str, str], order: Ordered) -> tuple[str, ...]:
        """Return the subtypes, () where none are named."""
        known = self._read()
        self._note_taxonomy()
        if order.subtypes or not process_data.get("order"):
            return order.subtypes
        on = (order.day or self._now()).astimezone(ZoneInfo(self._zone)).date()
        specification = known.for_order(process_data, on=on).specification
        return specification.subtype if specification else ()

    def _read(self) -> Specifications:
        try:
            content = shares.inspect(self._file, self._file.read_bytes)
        except OSError:
            content = b""
        if content != self._last_read:
            self._last_read = content
            try:
                self._known = note_specifications(self._settings, self._store, now=self._now())
            except SpecificationError as error:
                log.error("specifications.refused", reason=str(error))  # noqa: TRY400 - one sentence
        return self._known

    def _note_taxonomy(self) -> None:
        """Record the taxonomy, where its file or the current bundle is another one."""
        file = self._settings.model.taxonomy
        try:
            current: bytes | str | None
            if file:
                current = shares.inspect(file, Path(file).read_bytes)
            else:
                current = self._store.promotions.find_current()
            if current == self._classes:
                return
            read_taxonomy(self._settings, self._store, now=self._now())
        except (OSError, AgentError, TaxonomyError) as error:
            log.error("taxonomy.refused", reason=str(error))  # noqa: TRY400 - one sentence
            return
        self._classes = current


def load_bundle(settings: Settings, name: str, *, precision: str = "") -> Classifier:
    """Load one bundle by its name. Raises `model.ModelError`.

    Args:
        settings: Of the lab.
        name: Of the bundle.
        precision: Arithmetic in place of the lab's; "" is the lab's.
    """
    from model import Classifier  # noqa: PLC0415 - PyTorch takes seconds; a lab may start without

    classifier = Classifier.load(
        bundles_folder(settings) / name,
        device=settings.model.device,
        precision=precision or settings.model.precision,
        alpha=settings.strangeness.alpha,
    )
    require_allowed(settings.store.folder, classifier.manifest)
    classifier.require_alarm_rate()
    return classifier
