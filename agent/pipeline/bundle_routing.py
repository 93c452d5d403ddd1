"""Choose the bundle that judges a file: one specimen is judged by one bundle to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from agent.triage import Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from agent.pipeline.in_flight import InFlightFile
    from agent.store import MicrographView, Store
    from model import Classifier

log = structlog.get_logger()

BundleChoice = tuple["Classifier | None", Policy]
"""A bundle, None where there is none, and the triage policy that goes with it."""


class BundleRouter:
    """Choose the bundle of each file.

    The store records which bundle began a specimen, so that two agents, or one that was killed,
    never split it.

    Args:
        store: Open.
        now: Returns the time, aware UTC.
        classifier: The bundle in use, or None.
        policy: The triage policy of the lab.
        load_bundle: Loads a bundle that began a specimen; None where it is not available.
    """

    def __init__(
        self,
        store: Store,
        now: Callable[[], datetime],
        classifier: Classifier | None,
        policy: Policy,
        load_bundle: Callable[[str], BundleChoice | None],
    ) -> None:
        self._store, self._now, self._load = store, now, load_bundle
        self._newest, self._policy = classifier, policy
        self._by_source: dict[str, tuple[str, BundleChoice]] = {}
        self._cached: dict[str, BundleChoice | None] = {}

    def use(self, classifier: Classifier | None, policy: Policy | None) -> None:
        """Judge specimens that begin from now on by another bundle."""
        if self._newest:
            self._cached = {self._newest.name: (self._newest, self._policy)}
        self._newest = classifier
        self._policy = policy or self._policy

    def is_batched(self) -> bool:
        """Return whether the bundle in use runs on a GPU, which pads each batch."""
        return self._newest is not None and self._newest.engine.on_gpu

    def iter_groups(
        self, files: Sequence[InFlightFile]
    ) -> Iterator[tuple[BundleChoice, list[InFlightFile]]]:
        """Yield the files of a batch by the bundle that judges them."""
        groups: dict[int, tuple[BundleChoice, list[InFlightFile]]] = {}
        for file in files:
            choice = self.choose(file)
            groups.setdefault(id(choice[0]), (choice, []))[1].append(file)
        yield from groups.values()

    def choose(self, file: InFlightFile) -> BundleChoice:
        """Return the bundle that judges a file: the one that began its specimen, else the newest.

        A promotion holds from the next specimen on. A bundle whose rollout was stopped judges no
        more: the rest of its specimens goes to review, since a specimen is not split.
        """
        newest = (self._newest, self._policy)
        order, specimen = (file.process_data.get(key, "") for key in ("order", "specimen"))
        if file.claim.origin == "import" or file.conflict or not specimen:
            return newest
        if not order:  # the specimen has no name beyond its source; it is one run of files there
            before = self._by_source.get(file.claim.source)
            if before is None or before[0] != specimen:
                self._by_source[file.claim.source] = (specimen, newest)
            return self._by_source[file.claim.source][1]
        wish = self._newest.name if self._newest else ""
        named = self._store.orders.expect(order, specimen).bundle
        if named is None and wish:
            named = self._store.orders.reserve(order, specimen, wish, at=self._now())
        return newest if not named or named == wish else self._get_earlier(named)

    def choose_again(self, view: MicrographView) -> BundleChoice | None:
        """Return the bundle that judges a known micrograph again; None where it is not available.

        It is the one that began its specimen, else the newest.
        """
        order, specimen = (view.process_data.get(key, "") for key in ("order", "specimen"))
        begun = self._store.orders.expect(order, specimen).bundle if order and specimen else ""
        bundle = begun or (view.result.bundle if specimen else "")
        if not bundle or (self._newest and bundle == self._newest.name):
            return self._newest, self._policy
        choice = self._get_earlier(bundle)
        return choice if choice[0] else None

    def _get_earlier(self, bundle: str) -> BundleChoice:
        if self._store.rollouts.is_withdrawn(bundle):
            log.warning("bundle.withdrawn", bundle=bundle)
            return None, self._policy
        if bundle not in self._cached:
            self._cached = {bundle: self._load(bundle)}
            if self._cached[bundle] is None:
                log.warning("bundle.missing", bundle=bundle)
        return self._cached[bundle] or (None, self._policy)
