"""What every test shares: one thread per process, and where the real images lie, if they do."""

import gc
import json
import logging
import os
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from hypothesis import settings
from sharing.children import share_imports_of_children
from sharing.networks import share_networks
from sharing.routes import share_routes
from sharing.statements import share_compiled_statements
from sharing.workers import SharedWorkers

from agent.store.people import auth

settings.register_profile("thorough", deadline=None)  # a busy PC is no fault of the code
settings.register_profile("martensight", settings.get_profile("thorough"), max_examples=50)
settings.load_profile("martensight")  # `.ci/run full` tries twice as many examples

os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers share the cores; set before torch loads

pytest_plugins = [
    "fast",  # which tests are fast, and a guard that they are
    "servers.databases",  # a SQLite file and a real PostgreSQL, for who asks
    "sharing.bytecode",  # workers share what compiling costs
    "servers.browser",  # a real Chromium, for who asks
    "labs.small",  # a lab that has taught its first bundle, for who asks
]

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

GOLDEN = Path(__file__).parent / "golden"
WORKERS = SharedWorkers()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-update", action="store_true", help="write the golden files anew; then read them"
    )


@pytest.fixture
def golden(request):
    """Holds a text against a file of tests/golden, read in review like code."""

    def same(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--golden-update"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), f"{name} is not what it was"

    return same


IN_MEMORY = Path("/dev/shm")  # noqa: S108 - Linux has it, and pytest makes a folder of its own there
NEEDED_BYTES = 4_000_000_000


@pytest.hookimpl(tryfirst=True)  # before pytest chooses its folder
def pytest_cmdline_main() -> None:
    # A commit waits a millisecond for the disk, and a run of all tests makes a hundred thousand.
    if not hasattr(os, "statvfs"):  # Windows; under wine /dev/shm is there, but it is that of Linux
        return
    if "PYTEST_DEBUG_TEMPROOT" in os.environ or not IN_MEMORY.is_dir():
        return
    system = os.statvfs(IN_MEMORY)
    may_run_programs = not system.f_flag & os.ST_NOEXEC
    if may_run_programs and system.f_bavail * system.f_frsize > NEEDED_BYTES:
        os.environ["PYTEST_DEBUG_TEMPROOT"] = os.environ["TMPDIR"] = str(IN_MEMORY)
        tempfile.tempdir = None  # it is looked up once


def pytest_configure(config: pytest.Config) -> None:
    for name in [name for name in os.environ if name.startswith("AGENT_")]:
        del os.environ[name]  # a developer's own settings must not decide a test
    # A tenth of a second a login, hundreds of logins; what the agent itself uses has its own test.
    auth.PASSWORD_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    share_compiled_statements()
    share_routes()


def pytest_collection_finish(session: pytest.Session) -> None:
    share_networks()
    if session.config.option.markexpr != "fast":
        WORKERS.share()
        share_imports_of_children()
    # A fifth of a run's time went into looking for cycles among what imports leave behind.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def pytest_sessionfinish() -> None:
    WORKERS.stop()


@pytest.fixture
def lab(tmp_path):
    """A laboratory without a bundle: a real store and archive, to be filled by hand."""
    from labs.lab import Lab  # noqa: PLC0415 - brings PyTorch

    lab = Lab(tmp_path / "data")
    yield lab
    lab.store.close()


@pytest.fixture
def ordering(tmp_path, capsys):
    """A lab with one order, and the command in its folder."""
    from labs.ordering import OrderingLab  # noqa: PLC0415 - brings PyTorch

    ordering = OrderingLab(tmp_path, capsys)
    yield ordering
    ordering.store.close()


@pytest.fixture
def agent(tmp_path, capfd):
    """Run one command as a shell would; its exit code, answer and complaint come back."""
    import structlog  # noqa: PLC0415 - a fast run may do without

    from agent.cli import main  # noqa: PLC0415

    (tmp_path / "agent.toml").write_text('[site]\nname = "Plant 1"\n', encoding="utf-8")

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(tmp_path / "agent.toml"), *arguments])
        said = capfd.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    handlers = logging.getLogger().handlers[:]
    yield run
    logging.getLogger().handlers = handlers  # a command's own are bound to the captured stderr
    structlog.reset_defaults()


@pytest.fixture
def listener():
    """A real web server that keeps what it is told."""
    heard = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Listener)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port, heard
    server.shutdown()
    thread.join()
    server.server_close()
