"""Nothing of the agent, nor of a library it uses, wants to leave the PC: shown in a cut network.

A network of its own has only the way to itself. What wants to go elsewhere (a name looked up, a
version asked for, telemetry) finds no route, and the kernel counts that, whoever tried it.
"""

import shutil
import subprocess
import sys

import pytest
from labs.service import picture

INSIDE = """
ip link set lo up
"$@" >&2
code=$?
sed -n 's/^Ip: //p' /proc/net/snmp
exit $code
"""


def in_a_cut_network(*command):
    """Run a command where there is no way out; say how it ended, how often one was sought."""
    done = subprocess.run(
        ["unshare", "--map-root-user", "--net", "sh", "-c", INSIDE, "sh", *command],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    names, counts = (line.split() for line in done.stdout.splitlines()[-2:])
    return done, int(counts[names.index("OutNoRoutes")])


@pytest.fixture(autouse=True)
def _namespaces():
    if not (shutil.which("unshare") and shutil.which("ip")):
        pytest.skip("no unshare or no ip here")
    tried = subprocess.run(
        ["unshare", "--map-root-user", "--net", "true"], capture_output=True, check=False
    )
    if tried.returncode:
        pytest.skip("namespaces are not allowed here")


def test_whoever_wants_out_is_counted():
    script = "import socket; socket.socket(2, 2).connect(('192.0.2.1', 53))"

    done, wanted_out = in_a_cut_network(sys.executable, "-c", script)

    assert "unreachable" in done.stderr
    assert wanted_out > 0


@pytest.fixture
def lab(own_lab):
    """A lab that was taught, as it lies on the disk, with a micrograph to take."""
    (own_lab.folder / "export" / "1234_01_01_500x.png").write_bytes(picture(3))
    return own_lab.folder


def agent(lab, *words):
    config = str(lab / "agent.toml")
    return in_a_cut_network(sys.executable, "-m", "agent", "--config", config, *words)


@pytest.mark.parametrize(
    "words",
    [
        ("run", "--once"),
        *(pytest.param((word,), marks=pytest.mark.slow) for word in ("report", "status", "verify")),
    ],
)
def test_a_command_works_without_a_network_and_asks_for_none(lab, words):
    done, wanted_out = agent(lab, *words)

    assert (done.returncode, wanted_out) == (0, 0), done.stderr


@pytest.mark.slow
def test_neither_teaching_nor_reading_the_labels_of_micron_bars_asks_for_a_network(lab):
    done, wanted_out = agent(lab, "train", str(lab / "labelled"))

    assert (done.returncode, wanted_out) == (0, 0), done.stderr
