"""An agent and its pages load what they need at rest, and nothing that only rare work needs."""

import subprocess
import sys

import pytest

RARE = ("pyarrow", "pandas", "torch", "openvino", "onnxruntime", "matplotlib", "scipy", "ray")


@pytest.mark.parametrize(
    "modules",
    ["agent.service.daemon", "agent.service.composition, agent.service.web_server, agent.web"],
    ids=["agent", "pages"],
)
def test_neither_agent_nor_pages_load_a_library_of_rare_work(modules):
    script = f"import sys, {modules}\nprint([name for name in {RARE} if name in sys.modules])"

    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert loaded.stdout.strip() == "[]"
