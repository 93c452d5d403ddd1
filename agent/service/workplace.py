"""Set a lab's workplace up from its settings: books, shelf, tools.

In:  `Settings`. Out: store, archive, pool, pipeline, each given plain values. Next: `daemon`,
`once`, and the commands that work on the same files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from agent.archive import Archive
from agent.imaging import CropPool
from agent.pipeline import LEASE_S, Pipeline
from agent.service.place import agent_name, bundles_folder, clock
from agent.store import Store, StoreFault, store_url
from agent.triage import Policy
from agent.watch import Calibration, Provenance
from model import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from agent.settings import Settings, Source
    from model import Classifier

log = structlog.get_logger()

SCOPE_MARGIN = 0.1  # a lab's own scales scatter; a tenth beyond the validated ones is still inside


def open_store(settings: Settings) -> Store:
    """Open the lab's database, made or migrated where needed. Raises `BadStore`."""
    address = store_url(settings.store.folder, settings.store.url)
    return Store.open(address, site=settings.site.name, agent=agent_name())


def make_pool(settings: Settings) -> CropPool:
    """Start the workers that read and crop."""
    imaging = settings.imaging
    return CropPool(
        workers=imaging.workers,
        time_limit_s=imaging.time_limit_s,
        memory_limit_mb=imaging.memory_limit_mb,
        max_megapixels=imaging.max_megapixels,
        um_per_px_range=imaging.um_per_px_range,
        sidecars=imaging.sidecars,
    )


def provenance_of(source: Source) -> Provenance:
    """Say what a source's settings tell of its files."""
    return Provenance(
        fixed=source.fixed_process_data(),
        pattern=source.pattern,
        objectives=tuple(
            Calibration(o.name, o.um_per_px, o.width, o.height, o.valid_from)
            for o in source.objectives
        ),
    )


def policy_of(settings: Settings, classifier: Classifier | None = None) -> Policy:
    """Say the lab's triage policy, within the scales the bundle was validated for."""
    scope = classifier.manifest.validated.get("um_per_px") if classifier else None
    low, high = scope or (0.0, 0.0)
    return Policy(
        min_probability=settings.triage.min_probability,
        control_share=settings.triage.control_share,
        um_per_px_range=(low * (1 - SCOPE_MARGIN), high * (1 + SCOPE_MARGIN)) if scope else None,
    )


def thresholds_of(settings: Settings) -> dict[str, float]:
    """Say what is written beside every result: what the lab had set."""
    return {
        "alpha": settings.strangeness.alpha,
        "min_probability": settings.triage.min_probability,
        "control_share": settings.triage.control_share,
    }


def make_pipeline(
    settings: Settings,
    *,
    store: Store,
    pool: CropPool,
    classifier: Classifier | None,
    now: Callable[[], datetime] = clock,
    sources: Mapping[str, Provenance] | None = None,
) -> Pipeline:
    """Put a pipeline together; `sources` stands in for the settings' own."""
    own = {source.name: provenance_of(source) for source in settings.sources}
    return Pipeline(
        store=store,
        archive=Archive(settings.store.folder),
        pool=pool,
        classifier=classifier,
        policy=policy_of(settings, classifier),
        now=now,
        sources=own if sources is None else sources,
        batch=settings.model.batch,
        keep_originals=settings.archive.originals == "all",
        thresholds=thresholds_of(settings),
        lease_s=max(LEASE_S, 4 * settings.imaging.time_limit_s),
    )


def load_bundle(settings: Settings, name: str) -> Classifier:
    """Load one bundle by its name. Raises `model.ModelError`."""
    from model import Classifier  # noqa: PLC0415 - PyTorch takes seconds; a lab may start without

    classifier = Classifier.load(
        bundles_folder(settings) / name,
        device=settings.model.device,
        precision=settings.model.precision,
        alpha=settings.strangeness.alpha,
    )
    classifier.require_alarm_rate()
    return classifier


@dataclass
class CurrentBundle:
    """The bundle that a person promoted last, loaded, and taken up anew when another is.

    Args:
        settings: Of the lab. store: says which bundle is current.
    """

    settings: Settings
    store: Store
    name: str | None = None
    classifier: Classifier | None = None
    problem: str = ""
    _refused: str | None = field(default=None, repr=False)

    def refresh(self) -> bool:
        """Ask which bundle is current, and load it if it is another.

        A bundle that cannot be loaded leaves the one before in its place, and is a problem.

        Returns:
            Whether there is another classifier now.
        """
        try:
            current = self.store.current_bundle()
        except StoreFault:
            return False
        if current in (self.name, self._refused):
            return False
        if current is None:
            self.name = self.classifier = None
            return True
        return self._load(current)

    def policy(self) -> Policy:
        """Say the triage policy that goes with it."""
        return policy_of(self.settings, self.classifier)

    def _load(self, name: str) -> bool:
        try:
            self.classifier = load_bundle(self.settings, name)
        except (ModelError, OSError) as error:
            self.problem, self._refused = f"bundle {name}: {error}", name
            log.error("bundle.refused", bundle=name, reason=str(error))  # noqa: TRY400 - said
            return False
        self.name, self.problem, self._refused = name, "", None
        log.info("bundle.taken_up", bundle=name)
        return True
