"""Tests marked `fast`: no process, no PyTorch, no browser; `pytest -m fast` takes about a minute.

The modules are named here, in one place. A test that needs more loses the mark by its name. A fast
run imports no other module, and fails a test that starts a process or loads PyTorch.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

MODULES = frozenset(
    {
        "archive",
        "as_of",
        "belonging",
        "border_map",
        "campaigns",
        "capability",
        "change_alarm",
        "charts",
        "checks",
        "choosing",
        "classes",
        "cli",
        "coefficients",
        "conformity",
        "connection",
        "control_charts",
        "cut_line",
        "dataset",
        "datasets",
        "deploy",
        "evidence",
        "exporting",
        "fast",
        "guide",
        "host",
        "label",
        "label_decisions",
        "labels",
        "limit",
        "limits",
        "lineage",
        "metadata",
        "meter",
        "metrics",
        "micron_bar",
        "notify",
        "odd_values",
        "panel",
        "pictures",
        "plate",
        "problems",
        "read",
        "regular_file",
        "render",
        "report",
        "retention",
        "settings",
        "setup",
        "size_order",
        "specification",
        "specimen_area",
        "stage_micrometer",
        "store",
        "taxonomy_command",
        "taxonomy_draft",
        "terminal",
        "training_words",
        "triage",
        "validation",
        "vendor",
        "watch",
        "words",
    }
)

NEEDS_MORE = frozenset(
    {
        "cli.test_a_shell_can_complete_commands",
        "cli.test_the_first_page_comes_within_half_a_second_of_cpu_and_loads_nothing_heavy",
        "deploy.test_the_container_file_keeps_hadolints_rules",
        "deploy.test_the_drill_can_be_parsed_and_is_explained_act_by_act",
        "fast.test_a_fast_run_refuses_a_process_and_pytorch_by_name",
        "host.test_systemd_finds_no_fault_in_the_unit_and_rates_it_2_or_better",
        "host.test_what_the_agent_starts_is_kept_to_the_same_cores",
        "store.test_a_postgresql_that_stops_is_a_fault_and_work_goes_on_when_it_is_back",
        "training_words.test_missing_scale_is_said_first_and_before_a_training_that_is_refused",
    }
)
"""Tests of these modules that start a process, load PyTorch, or take seconds."""

STARTS = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"})
HEAVY = frozenset({"torch", "playwright"})

_running = False


def is_fast_run(config: pytest.Config) -> bool:
    return config.option.markexpr == "fast"


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if not _running:
        return
    if event in STARTS:
        pytest.fail(f"a fast test starts a process ({event}): name it in tests/fast.py")
    if event == "import" and arguments[0] in HEAVY:
        pytest.fail(f"a fast test loads {arguments[0]}: name it in tests/fast.py")


def pytest_configure(config: pytest.Config) -> None:
    if is_fast_run(config):
        sys.addaudithook(_refuse)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the modules that have no fast test; importing them may load PyTorch."""
    stem = collection_path.stem
    is_other = stem.startswith("test_") and stem.removeprefix("test_") not in MODULES
    return True if is_fast_run(config) and is_other else None


@pytest.hookimpl(tryfirst=True)  # before pytest selects by mark
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _is_fast(item):
            item.add_marker(pytest.mark.fast)


def _is_fast(item: pytest.Item) -> bool:
    module = item.path.stem.removeprefix("test_")
    name = getattr(item, "originalname", item.name)
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return (
        module in MODULES
        and f"{module}.{name}" not in NEEDS_MORE
        and not any(isinstance(value, str) and value == "postgresql" for value in parameters)
        and not any(item.iter_markers("slow"))
        and not any(item.iter_markers("bench"))
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol():
    global _running  # noqa: PLW0603 - an audit hook cannot be removed
    _running = True
    try:
        return (yield)
    finally:
        _running = False
