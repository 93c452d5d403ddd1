"""Look over a PC before it is trusted: what is right, what is doubtful, what is wrong.

In:  the settings. Out: `Finding`s in plain sentences, each with what to do.
"""

from __future__ import annotations

import os
import platform
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.app import store_of
from agent.cli.checkup_sites import examine_sites
from agent.cli.doctor_folders import examine_folders
from agent.cli.file_lookup import Finding, Level
from agent.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.settings import Settings

FEW_WATCHES, FEW_INSTANCES = 8192, 128
"""Linux's old defaults of fs.inotify; a large export tree has more folders, a PC more programs."""

EXPIRES_SOON_DAYS = 45
LITTLE_MEMORY_BYTES = 8_000_000_000
"""Our choice: a worker may take 4 GB, and the networks about 2."""


def examine(settings: Settings, file: Path | None) -> list[Finding]:
    """Look at everything; nothing is changed but a probe file in the data folder."""
    account = _account()
    return [
        Finding("settings", "right", str(file))
        if file
        else Finding(
            "settings", "doubtful", "no agent.toml found: defaults hold; try `agent init`."
        ),
        _python(),
        _service(account),
        *examine_folders(settings, account),
        *([] if settings.sources else [_no_sources()]),
        _database(settings),
        *_evidence(settings),
        *examine_sites(settings),
        *_copies(settings),
        *_backup(settings),
        *_certificate(settings),
        *_watch_limits(),
        _memory(),
        _web(settings),
        _compute(settings),
        _label_reader(),
        _taxonomy(settings),
        _bundle(settings),
    ]


def _taxonomy(settings: Settings) -> Finding:
    """Check the lab's classes, and what they mean for labels, limits and the bundle in use."""
    from agent.lab_context import taxonomy_in_force  # noqa: PLC0415
    from agent.orders.taxonomy_effects import find_effects, load_taxonomy_use  # noqa: PLC0415
    from model import TaxonomyError  # noqa: PLC0415

    try:
        with store_of(settings) as store:
            own = taxonomy_in_force(settings, store)
            use = load_taxonomy_use(
                store, data=settings.store.folder, specifications=settings.orders.specifications
            )
            effects = list(find_effects(own, None, use))
    except (AgentError, TaxonomyError, OSError) as error:
        return Finding("taxonomy", "wrong", str(error))
    said = f"{own.name}: {len(own.codes)} structure codes, {len(own.trained_codes)} trained."
    if effects:
        return Finding("taxonomy", "doubtful", " ".join((said, *effects)))
    return Finding("taxonomy", "right", said)


def _account() -> str | None:
    if sys.platform == "win32":
        from agent.host.windows import find_service_account  # noqa: PLC0415
    else:
        from agent.host.systemd import find_service_account  # noqa: PLC0415
    return find_service_account()


def _service(account: str | None) -> Finding:
    if account is None:
        return Finding(
            "service", "doubtful", "none is installed: agent service install, and it starts alone."
        )
    return Finding("service", "right", f"installed, runs as {account}.")


def _backup(settings: Settings) -> Iterator[Finding]:
    """Yield how the lab's back-ups are, and whose else are in their folder."""
    from agent.anchors import iter_broken_backups  # noqa: PLC0415
    from agent.service.jobs import backup  # noqa: PLC0415

    if not settings.backup.folder:
        yield Finding(
            "back-up", "doubtful", "none is made: set [backup] folder, best on another disk."
        )
        return
    now = datetime.now(UTC)
    own = backup.list_own(settings)
    late = next(backup.describe_overdue(settings, now), "")
    broken = list(iter_broken_backups(Path(settings.backup.folder)))
    if broken:
        yield Finding("back-up", "wrong", f"{'; '.join(broken)}.")
    if late:
        yield Finding("back-up", "wrong", f"{late} Its log says why: backup.failed.")
    elif not broken:
        last = f"the last one is of {own[-1].facts.made_at:%Y-%m-%d %H:%M} UTC" if own else ""
        sentence = f"{settings.backup.folder}: {last or 'the first comes tonight'}."
        yield Finding("back-up", "right", sentence)
    taxonomy = Path(settings.model.taxonomy).name if settings.model.taxonomy else ""
    if own and taxonomy and f"settings/{taxonomy}" not in own[-1].facts.names:
        sentence = f"{own[-1].file.name} lacks {taxonomy}, by which orders are judged."
        yield Finding("back-up", "doubtful", f"{sentence} The next one holds it: agent backup.")
    yield from _drill(settings, now) if own else ()
    for other in backup.list_of_others(settings):
        same = other.facts.site == settings.site.name
        sentence = (
            f"{settings.backup.folder} also holds those of {other.facts.site}, the last of "
            f"{other.facts.made_at:%Y-%m-%d %H:%M} UTC"
        )
        more = ", another lab of the same name: give one of them another [site] name."
        level: Level = "doubtful" if same else "right"
        yield Finding("back-up", level, sentence + (more if same else "."))


def _drill(settings: Settings, now: datetime) -> Iterator[Finding]:
    from agent.service.jobs import backup  # noqa: PLC0415

    try:
        with store_of(settings) as store:
            last = backup.find_last_drill(store)
            fault = backup.describe_drill(store)
    except AgentError:
        return
    every = backup.EVERY.get(settings.backup.verify)
    if fault:
        yield Finding("restore on trial", "wrong", fault)
    elif last is None or (every and now - last.at > 2 * every):
        when = f"the last one is of {last.at:%Y-%m-%d}" if last else "none was made"
        yield Finding("restore on trial", "doubtful", f"{when}: agent backup --verify.")
    else:
        yield Finding("restore on trial", "right", f"{last.subject} on {last.at:%Y-%m-%d}: sound.")


def _certificate(settings: Settings) -> Iterator[Finding]:
    """Yield whether statements can be signed, where the lab wants it."""
    from agent.orders.signing import read_certificate  # noqa: PLC0415

    if not settings.statements.certificate:
        return
    now = datetime.now(UTC)
    state = read_certificate(settings.statements, now=now)
    if state.fault or state.not_after is None:
        sentence = f"{state.fault} Statements are frozen and stay unsigned."
        yield Finding("statements", "wrong", sentence)
        return
    days = (state.not_after - now).days
    level: Level = "doubtful" if days < EXPIRES_SOON_DAYS else "right"
    more = "; get a new one." if level == "doubtful" else "."
    sentence = f"signed as {state.subject}, until {state.not_after:%Y-%m-%d} ({days} days){more}"
    yield Finding("statements", level, sentence)


def _memory() -> Finding:
    import psutil  # noqa: PLC0415

    there = psutil.virtual_memory().total
    if there < LITTLE_MEMORY_BYTES:
        return Finding(
            "memory",
            "doubtful",
            f"{there / 1e9:.1f} GB; 8 GB are wanted: set [imaging] workers = 1 and "
            "memory_limit_mb lower.",
        )
    return Finding("memory", "right", f"{there / 1e9:.1f} GB.")


def _python() -> Finding:
    return Finding("python", "right", f"{platform.python_version()} on {platform.platform()}")


def _database(settings: Settings) -> Finding:
    try:
        store = store_of(settings)
    except AgentError as error:
        return Finding("database", "wrong", str(error))
    store.close()
    return Finding("database", "right", "opens, and its schema is this program's.")


def _evidence(settings: Settings) -> Iterator[Finding]:
    """Find out whether the database itself refuses to change what is evidence."""
    try:
        with store_of(settings) as store:
            missing, rewritable, kind = (
                store.checks.find_missing_guards(),
                store.checks.find_rewritable_tables(),
                store.kind,
            )
    except AgentError:
        return
    if missing:
        yield Finding(
            "evidence",
            "wrong",
            f"the database lacks {len(missing)} of its guards ({missing[0]}); run any agent "
            "command as the owner of the tables, which lays them again, then agent verify.",
        )
    elif rewritable:
        yield Finding(
            "evidence",
            "doubtful",
            "guarded by triggers, but this PostgreSQL user owns the tables and could drop them "
            "(OPERATIONS, Evidence, shows how to give the agent a user of its own).",
        )
    else:
        own = ", and the agent's PostgreSQL user can rewrite none" if kind == "postgresql" else ""
        yield Finding("evidence", "right", f"guarded by triggers{own}.")
    yield from _timestamps(settings)
    if not settings.trail.anchor and not settings.backup.folder:
        yield Finding(
            "trail",
            "doubtful",
            "its end is kept in reports and logs on this PC alone: set [trail] anchor or [backup] "
            "folder, best on a share.",
        )


def _timestamps(settings: Settings) -> Iterator[Finding]:
    from agent import timestamps  # noqa: PLC0415

    url, held = settings.trail.timestamp_url, settings.trail.timestamp_certificates
    if not url:
        return
    if fault := timestamps.find_setup_fault(url, Path(held) if held else None):
        yield Finding("time stamps", "wrong", fault)
        return
    last = timestamps.find_newest_at(settings.store.folder / timestamps.FOLDER)
    when = f"the last one is of {last:%Y-%m-%d %H:%M} UTC" if last else "none was made yet"
    yield Finding("time stamps", "right" if last else "doubtful", f"{url}: {when}.")


def _copies(settings: Settings) -> Iterator[Finding]:
    """Yield whether another copy of the data runs, or the database is older than what was sent."""
    from agent.service.copies import check_start  # noqa: PLC0415

    try:
        with store_of(settings) as store:
            found = check_start(settings, store, now=datetime.now(UTC))
    except AgentError:
        return
    if found.refusal:
        yield Finding("copies", "wrong", found.refusal)
    elif found.warnings:
        yield Finding("copies", "doubtful", found.warnings[0])
    else:
        yield Finding("copies", "right", "the database is the newest of this lab that is known.")


def _no_sources() -> Finding:
    return Finding("sources", "doubtful", "none: name an export folder under [[sources]].")


def _watch_limits() -> Iterator[Finding]:
    if not sys.platform.startswith("linux"):
        return
    limits = (("max_user_watches", FEW_WATCHES), ("max_user_instances", FEW_INSTANCES))
    for name, few in limits:
        try:
            limit = int(Path(f"/proc/sys/fs/inotify/{name}").read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
        if limit < few or (limit == few and name == "max_user_watches"):
            yield Finding(
                "inotify",
                "doubtful",
                f"{name} is {limit}; raise it (sysctl fs.inotify.{name}={few * 16}), or sources "
                "turn to polling.",
            )
        else:
            yield Finding("inotify", "right", f"{name} is {limit}.")


def _web(settings: Settings) -> Finding:
    host, port = settings.web.host, settings.web.port
    running = _runs(settings)
    if port and not running and _is_taken(host, port):
        return Finding(
            "review page",
            "wrong",
            f"{host}:{port} is in use by another program; set another [web] port.",
        )
    if host in {"127.0.0.1", "localhost", "::1"}:
        return Finding("review page", "right", f"on this PC only, port {port}.")
    from agent.web import refuse_strangers  # noqa: PLC0415

    try:
        with store_of(settings) as store:
            refuse_strangers(settings.web, store.accounts)
    except AgentError as error:
        return Finding("review page", "wrong", str(error))
    return Finding(
        "review page", "right", f"{host}, port {port}: open it in the firewall, if others may come."
    )


def _runs(settings: Settings) -> bool:
    from agent.service.data_folder import agent_name  # noqa: PLC0415
    from agent.service.lock import RunLock  # noqa: PLC0415

    return RunLock(settings.store.folder, agent_name()).is_held()


def _is_taken(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def _compute(settings: Settings) -> Finding:
    from model import ModelError, choose_engine  # noqa: PLC0415 - PyTorch takes seconds to import

    cores = f"CPU, {os.cpu_count()} processors"
    try:
        engine = choose_engine(settings.model.device, settings.model.precision)
    except ModelError as error:
        why = f" {_no_gpu()}" if settings.model.device.startswith("cuda") else ""
        return Finding("compute", "wrong", f"{cores}; {error}{why}")
    if engine.on_gpu:
        return Finding("compute", "right", f"GPU {_gpu_name(engine.device)}, {engine.precision}.")
    if settings.model.device == "auto" and _has_nvidia():
        return Finding("compute", "doubtful", f"{cores}; {_no_gpu()}")
    return Finding(
        "compute", "right", f"{cores}, {engine.label} {engine.precision}; no GPU in use."
    )


def _gpu_name(device: str) -> str:
    import torch  # noqa: PLC0415

    return str(torch.cuda.get_device_name(device))


def _has_nvidia() -> bool:
    import shutil  # noqa: PLC0415

    return Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None


def _no_gpu() -> str:
    import torch  # noqa: PLC0415

    if torch.cuda.is_available():
        return "It is another one that is here."
    if torch.version.cuda is None:
        return "This PyTorch is made for the CPU: install its CUDA build."
    return "PyTorch sees no GPU: nvidia-smi says whether the driver does, and for which CUDA."


def _label_reader() -> Finding:
    try:
        import rapidocr  # noqa: F401, PLC0415
    except ImportError as error:
        return Finding("label reader", "wrong", f"rapidocr cannot be imported ({error}).")
    return Finding("label reader", "right", "its models are on this PC.")


def _bundle(settings: Settings) -> Finding:
    try:
        store = store_of(settings)
    except AgentError:
        return Finding("bundle", "doubtful", "unknown, as the database does not open.")
    name = store.promotions.find_current()
    store.close()
    if name is None:
        return Finding(
            "bundle",
            "doubtful",
            "none yet: everything goes to review until `agent train` made one.",
        )
    from model import ModelError, verify_bundle  # noqa: PLC0415

    try:
        verify_bundle(settings.store.folder / "bundles" / name)
    except ModelError as error:
        return Finding("bundle", "wrong", str(error))
    return Finding("bundle", "right", f"{name}, every hash as in its manifest.")
