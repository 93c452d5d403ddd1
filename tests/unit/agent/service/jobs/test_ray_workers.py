"""Tasks of a Ray cluster judge the archive, also where a node is lost in the middle."""

from __future__ import annotations

import sys

import pytest
from folders import TESTS
from labs.second_bundle import NEW, Judge, count_answers, fill

from agent.service.jobs.shadow import judge_on_ray
from agent.settings import Settings
from agent.store import Store, store_url

ray = pytest.importorskip("ray", reason="no Ray: pip install 'martensight[ray]'")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="the extra is for Linux"),
    pytest.mark.filterwarnings("ignore"),  # Ray's own
]
N = 96


def make_judge(_settings: Settings, _bundle: str) -> Judge:
    """Make what judges in a process of Ray: micrographs without pixels."""
    return Judge()


@pytest.fixture(autouse=True)
def _patient(monkeypatch) -> None:
    """Let Ray's processes start slowly, as on a PC that runs other tests."""
    monkeypatch.setenv("RAY_agent_register_timeout_ms", "240000")
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "240")
    monkeypatch.setenv("PYTHONPATH", str(TESTS))


def test_a_cluster_that_loses_a_node_gives_the_rows_of_one_pc(tmp_path):
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - an extra

    folder = tmp_path / "data"
    bundle = folder / "bundles" / NEW
    bundle.mkdir(parents=True)
    (bundle / "bundle.json").write_text("{}", encoding="utf-8")
    settings = Settings.model_validate({"store": {"folder": str(folder)}})
    address = store_url(folder)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    with Store.open(address, site="Plant 1", agent="PC", folder=folder) as store:
        fill(store, N)
        is_lost = False

        for news in judge_on_ray(
            settings, store, address=cluster.address, bundle=NEW, role="reprocess", days=None,
            by="Ada", part=8, make=make_judge,
        ):  # fmt: skip
            if not is_lost and getattr(news, "done", 0):
                cluster.remove_node(second, allow_graceful=False)
                is_lost = True
        cluster.shutdown()

        assert (is_lost, news.judged + news.known) == (True, N)
        assert count_answers(address) == (N, N)
        assert len(list(store.audit_log.iter_acts("model.reprocessed"))) == 1
