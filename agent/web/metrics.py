"""Serve metrics to Prometheus: of the database, and of the agent's own process."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

    from agent.web.context import WebContext

MEASURES = "metrics.prom"
"""File of the data folder to which the agent writes its numbers."""
KIND = CONTENT_TYPE_PLAIN_0_0_4


def written(web: WebContext) -> bytes:
    """Return all numbers in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Lab(web))
    return generate_latest(registry)


class _Lab(Collector):
    def __init__(self, web: WebContext) -> None:
        self._web = web

    def describe(self) -> list[Metric]:
        return []  # registering must not read the database

    def collect(self) -> Iterator[Metric]:
        yield from _of_database(self._web)
        yield from _of_agent(self._web)


def _of_database(web: WebContext) -> Iterator[Metric]:
    store = web.store
    files = GaugeMetricFamily("martensight_files", "Content versions per state.", labels=["state"])
    for state, n in store.files.count_by_state().items():
        files.add_metric([state], n)
    yield files
    yield GaugeMetricFamily(
        "martensight_review_waiting",
        "Micrographs that wait for a person.",
        value=store.review_queue.count(),
    )
    online = GaugeMetricFamily(
        "martensight_source_online", "Whether a source can be reached.", labels=["source"]
    )
    for source in store.sources.list_all():
        online.add_metric([source.name], int(source.online))
    yield online
    yield InfoMetricFamily(
        "martensight",
        "Version of the program, and the bundle in use.",
        value={"version": version("martensight"), "bundle": store.promotions.find_current() or ""},
    )


def _of_agent(web: WebContext) -> Iterator[Metric]:
    if web.measures is None:
        return
    try:
        text = web.measures.read_text("utf-8")
    except OSError:  # no agent has run here yet
        return
    yield from text_string_to_metric_families(text)
