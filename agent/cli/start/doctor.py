"""What `agent doctor` checks on this PC."""

from __future__ import annotations

import os
import platform
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.app import open_store
from agent.cli.start.doctor_folders import examine_folders
from agent.cli.start.doctor_records import (
    DoctorResult,
    examine_backups,
    examine_certificate,
    examine_copies,
    examine_database,
    examine_evidence,
    examine_sites,
)
from agent.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.settings import Settings


FEW_WATCHES, FEW_INSTANCES = 8192, 128
"""Old Linux defaults of fs.inotify, too low for large export trees or many programs."""

ANSWER_S = 2.0
LONGEST_ANSWER = 200
"""Bytes; the page answers with 18."""

LITTLE_MEMORY_BYTES = 8_000_000_000
"""Our choice: a worker may use 4 GB, the networks about 2 GB."""


def examine(settings: Settings, file: Path | None) -> list[DoctorResult]:
    """Run all checks; the only change is a temporary file in the data folder."""
    account = _account()
    from agent.service.health.share_facts import describe_faults

    faults = describe_faults(settings)  # first: what hangs is then passed over at once
    folders = examine_folders(settings, account)
    return [
        DoctorResult("settings", "right", str(file))
        if file
        else DoctorResult(
            "settings",
            "doubtful",
            "no agent.toml found, so defaults apply. Write one with `agent init`.",
        ),
        _program(),
        DoctorResult("python", "right", f"{platform.python_version()} on {platform.platform()}"),
        *_service(account, settings, file),
        *folders,
        *(
            DoctorResult(setting, "wrong", fault)
            for setting, fault in faults.items()
            if setting not in {finding.check for finding in folders}
        ),
        *([] if settings.sources else [_no_sources()]),
        *examine_database(settings),
        *examine_evidence(settings),
        *examine_sites(settings),
        *examine_copies(settings),
        *examine_backups(settings),
        *examine_certificate(settings),
        *_watch_limits(),
        _memory(),
        _web(settings),
        _compute(settings),
        _label_reader(),
        _taxonomy(settings),
        _bundle(settings),
    ]


def _taxonomy(settings: Settings) -> DoctorResult:
    """Check the taxonomy and its effects on labels, limits and the bundle in use."""
    from agent.orders.facts.order_policy import taxonomy_in_force
    from agent.orders.specifications.specification_history import describe_lost_file
    from agent.orders.specifications.taxonomy_changes import find_effects, load_taxonomy_use
    from model import TaxonomyError

    try:
        with open_store(settings) as store:
            own = taxonomy_in_force(settings, store)
            use = load_taxonomy_use(
                store, data=settings.store.folder, specifications=settings.orders.specifications
            )
            lost = describe_lost_file(store, settings.orders.specifications)
            effects = [*find_effects(own, None, use), *filter(None, [lost])]
    except (AgentError, TaxonomyError, OSError) as error:
        return DoctorResult("taxonomy", "wrong", str(error))
    summary = f"{own.name}: {len(own.codes)} structure codes, {len(own.trained_codes)} trained."
    if effects:
        return DoctorResult("taxonomy", "doubtful", " ".join((summary, *effects)))
    return DoctorResult("taxonomy", "right", summary)


def _account() -> str | None:
    if sys.platform == "win32":
        from agent.host.windows import find_service_account
    else:
        from agent.host.systemd import find_service_account
    return find_service_account()


def _service(account: str | None, settings: Settings, file: Path | None) -> Iterator[DoctorResult]:
    if account is None:
        yield DoctorResult(
            "service", "doubtful", "not installed. For automatic start: agent service install."
        )
        return
    yield DoctorResult("service", "right", f"installed, runs as {account}.")
    if sys.platform == "win32" or file is None:
        return
    from agent.host.systemd import find_missing_rights

    if missing := find_missing_rights(file, settings, account):
        sentence = (
            f"the unit was written for other settings and lacks {missing}. Run agent service "
            "install, then restart the service."
        )
        yield DoctorResult("service", "wrong", sentence)


def _memory() -> DoctorResult:
    import psutil

    total_bytes = psutil.virtual_memory().total
    if total_bytes < LITTLE_MEMORY_BYTES:
        return DoctorResult(
            "memory",
            "doubtful",
            f"{total_bytes / 1e9:.1f} GB; at least 8 GB are recommended. Set [imaging] workers = "
            "1 and a lower memory_limit_mb.",
        )
    return DoctorResult("memory", "right", f"{total_bytes / 1e9:.1f} GB.")


def _program() -> DoctorResult:
    from agent.orders.facts.order_policy import software

    return DoctorResult("program", "right", f"{software()}.")


def _no_sources() -> DoctorResult:
    return DoctorResult("sources", "doubtful", "none. Enter an export folder under [[sources]].")


def _watch_limits() -> Iterator[DoctorResult]:
    if not sys.platform.startswith("linux"):
        return
    limits = (("max_user_watches", FEW_WATCHES), ("max_user_instances", FEW_INSTANCES))
    for name, few in limits:
        try:
            limit = int(Path(f"/proc/sys/fs/inotify/{name}").read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
        if limit < few or (limit == few and name == "max_user_watches"):
            yield DoctorResult(
                "inotify",
                "doubtful",
                f"{name} is {limit}. Raise it (sysctl fs.inotify.{name}={few * 16}); otherwise "
                "sources are polled.",
            )
        else:
            yield DoctorResult("inotify", "right", f"{name} is {limit}.")


def _web(settings: Settings) -> DoctorResult:
    host, port = settings.web.host, settings.web.port
    running = _is_running(settings)
    is_used = bool(port) and not running and _is_port_used(host, port)
    if is_used and not _is_own_page(settings):
        return DoctorResult(
            "review page",
            "wrong",
            f"Another program uses {host}:{port}. Set another [web] port.",
        )
    if host in {"127.0.0.1", "localhost", "::1"}:
        return DoctorResult("review page", "right", f"on this PC only, port {port}.")
    from agent.web import refuse_strangers

    try:
        with open_store(settings) as store:
            refuse_strangers(settings.web, store.accounts)
    except AgentError as error:
        return DoctorResult("review page", "wrong", str(error))
    return DoctorResult(
        "review page", "right", f"{host}, port {port}. For other PCs open the port in the firewall."
    )


def _is_running(settings: Settings) -> bool:
    from agent.service.data_folder import RunLock

    return RunLock.of(settings).is_held()


def _is_own_page(settings: Settings) -> bool:
    """Return whether the port is held by a review page, such as that of `agent web`."""
    import http.client
    import json
    import ssl

    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.web.host, settings.web.host)  # noqa: S104
    port = settings.web.port
    link = (
        # Only whether it answers as ours is read, and nothing secret is sent.
        http.client.HTTPSConnection(
            host,
            port,
            timeout=ANSWER_S,
            context=ssl._create_unverified_context(),  # noqa: S323, SLF001
        )
        if settings.web.certificate
        else http.client.HTTPConnection(host, port, timeout=ANSWER_S)
    )
    try:
        link.request("GET", "/healthz")
        return bool(json.loads(link.getresponse().read(LONGEST_ANSWER)) == {"status": "alive"})
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        link.close()


def _is_port_used(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def _compute(settings: Settings) -> DoctorResult:
    from model import ModelError, choose_engine  # PyTorch takes seconds to import

    cores = f"CPU, {os.cpu_count()} processors"
    try:
        engine = choose_engine(settings.model.device, settings.model.precision)
    except ModelError as error:
        why = f" {_explain_no_gpu()}" if settings.model.device.startswith("cuda") else ""
        return DoctorResult("compute", "wrong", f"{cores}; {error}{why}")
    if engine.on_gpu:
        return DoctorResult(
            "compute", "right", f"GPU {_gpu_name(engine.device)}, {engine.precision}."
        )
    if settings.model.device == "auto" and _has_nvidia():
        return DoctorResult("compute", "doubtful", f"{cores}. {_explain_no_gpu()}")
    return DoctorResult(
        "compute", "right", f"{cores}, {engine.label} {engine.precision}; no GPU in use."
    )


def _gpu_name(device: str) -> str:
    import torch

    return str(torch.cuda.get_device_name(device))


def _has_nvidia() -> bool:
    import shutil

    return Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None


def _explain_no_gpu() -> str:
    import torch

    if torch.cuda.is_available():
        return "This PC has a different GPU."
    if torch.version.cuda is None:
        return "This PyTorch is a CPU build. Install its CUDA build."
    return "PyTorch detects no GPU. Check the driver and its CUDA version with nvidia-smi."


def _label_reader() -> DoctorResult:
    try:
        import rapidocr  # noqa: F401
    except ImportError as error:
        return DoctorResult("label reader", "wrong", f"rapidocr cannot be imported ({error}).")
    return DoctorResult("label reader", "right", "its models are installed.")


def _bundle(settings: Settings) -> DoctorResult:
    try:
        store = open_store(settings)
    except AgentError:
        return DoctorResult("bundle", "doubtful", "unknown, because the database does not open.")
    name = store.promotions.find_current()
    store.close()
    if name is None:
        return DoctorResult(
            "bundle",
            "doubtful",
            "none yet; every micrograph goes to review. Train one with `agent train`.",
        )
    from model import ModelError, verify_bundle

    try:
        verify_bundle(settings.store.folder / "bundles" / name)
        used = _find_precision(settings, name)
    except ModelError as error:
        return DoctorResult("bundle", "wrong", str(error))
    if used != settings.model.precision:
        return DoctorResult(
            "bundle",
            "doubtful",
            f"{name} is computed in {used} here, not in {settings.model.precision} as "
            "model.precision says: it was trained without statistics for it, or this PC does not "
            "compute the same bits as the one that trained it. Train it again on a PC like this "
            'one, or set model.precision to "auto".',
        )
    return DoctorResult("bundle", "right", f"{name}, all hashes match its manifest.")


def _find_precision(settings: Settings, name: str) -> str:
    """Return the precision of a bundle on this PC; loading it takes seconds, so only for bf16."""
    wanted = settings.model.precision
    if wanted != "bf16":
        return wanted
    from agent.service.composition import load_bundle

    return load_bundle(settings, name).engine.precision
