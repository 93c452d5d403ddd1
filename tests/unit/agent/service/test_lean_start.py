"""An agent and its pages load what they need at rest, and nothing that only rare work needs."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from labs.service import until
from labs.small import PIXELS, past

from agent import settings
from agent.demo.exporter import encode
from agent.service import open_store

RARE = ("pyarrow", "pandas", "torch", "openvino", "onnxruntime", "matplotlib", "scipy", "ray")


@pytest.mark.parametrize(
    "modules",
    [
        "agent.service.daemon",
        "agent.service.composition, agent.service.page_process, agent.web",
    ],
    ids=["agent", "pages"],
)
def test_neither_agent_nor_pages_load_a_library_of_rare_work(modules):
    script = f"import sys, {modules}\nprint([name for name in {RARE} if name in sys.modules])"

    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert loaded.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="lists what a process has mapped")
def test_an_agent_that_judges_with_openvino_never_loads_pytorch(own_lab):
    pytest.importorskip("openvino")
    name = export(own_lab)
    command = [sys.executable, "-m", "agent", "--config", str(own_lab.folder / "agent.toml"), "run"]
    with (own_lab.folder / "log.txt").open("w", encoding="utf-8") as log:
        process = psutil.Popen(command, stdout=log, stderr=log)
    try:
        until(lambda: is_done(own_lab, name) or process.poll() is not None, deadline_s=300)
        mapped = list_libraries(process.pid)
        children = process.children(recursive=True)
        # The one that converted networks for the first time has PyTorch, and ends.
        until(lambda: not any("torch" in list_libraries(child.pid) for child in children))
    finally:
        process.terminate()
        process.wait(60)

    assert "openvino" in mapped
    assert "torch" not in mapped
    assert len(children) > 1


def export(lab):
    """Write the picture of one field into the watched folder, and return its name."""
    (picture, *_) = past(1, first_order=2000, seed=2)
    shown = encode(picture.drawn(PIXELS, border=False), picture.name.rpartition(".")[2])
    (lab.folder / "export" / picture.name).write_bytes(shown)
    return picture.name


def is_done(lab, name):
    with open_store(settings.read(lab.folder / "agent.toml", {})) as store:
        fates = list(store.files.iter_status("done"))
    return any(fate.path.endswith(name) for fate in fates)


def list_libraries(pid):
    """Return which of `RARE` a process has mapped; none of one that has ended."""
    with suppress(OSError):
        maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
        return {name for name in RARE if f"site-packages/{name}/" in maps}
    return set()
