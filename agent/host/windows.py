r"""Run the agent as a Windows service: install, start, stop, remove.

The service's binary is `python.exe -m agent.host.windows_service` itself: `pythonservice.exe` does
not know virtual environments. The settings file's path is kept in the service's registry key, since
a service has another home and another working folder. Restart after a failure needs the
failure-actions flag, else Windows restarts only what crashed.
"""

from __future__ import annotations

import contextlib
import getpass
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from agent.errors import UsageError
from agent.files.shares import is_folder
from agent.host.systemd import list_read_paths, list_shared_folders
from agent.settings import Settings, iter_paths

NAME = "Martensight"
TITLE = "Martensight micrograph agent"
TEXT = (
    "Takes micrographs from the microscopes' export folders, grades them, and reports each night."
)
RESTART_MS = (10_000, 60_000, 300_000)
FORGIVEN_AFTER_S = 86_400
PRESHUTDOWN_MS = 20_000
"""The agent ends within 10 s; Windows itself gives 10 s by default."""

START_S, STOP_S = 300.0, 30.0
REMOTE_DRIVE = 4
KEY = rf"SYSTEM\CurrentControlSet\Services\{NAME}\Parameters"
BINARY = f'"{sys.executable}" -m agent.host.windows_service'
LOCAL_SYSTEM = (
    "it runs as LocalSystem, which may do anything on this PC and reaches shares only as this "
    'computer\'s account (DOMAIN\\PCNAME$). With less power: --account "NT SERVICE\\Martensight"; '
    "for shares: --account DOMAIN\\user, or a gMSA, --account DOMAIN\\name$."
)
_BUILT_IN = ("nt service\\", "nt authority\\")
_EXISTS, _NOT_ACTIVE, _OWN_CODE, _INVALID_LEVEL = 1073, 1062, 1066, 124


class WindowsServices:
    """The service in Windows. Needs an administrator's shell."""

    def install(
        self, config: Path | None, settings: Settings, *, account: str = ""
    ) -> Iterator[str]:
        r"""Register the service: delayed start, restart on failure, notified before a shutdown.

        Args:
            config: The settings file.
            settings: Read from it.
            account: DOMAIN\user, a gMSA DOMAIN\name$, NT SERVICE\Martensight; "" is LocalSystem.

        Raises:
            UsageError: No settings file, a folder on a mapped drive, which no service sees, or
                Windows refuses.
        """
        if config is None:
            raise UsageError("a service needs a settings file: write one with agent init DIR.")
        for what, folder in iter_folders(settings):
            refuse_mapped_drive(what, folder)
        settings.store.folder.mkdir(parents=True, exist_ok=True)
        password = _password(account)
        with _manager() as (service, manager):
            handle, word = _registered(service, manager, account, password)
            try:
                unknown = _configure(service, handle)
            finally:
                service.CloseServiceHandle(handle)
        save_config_path(config)
        yield f"{word} the service {NAME} for {config}"
        if unknown:
            yield f"this Windows knows no {', no '.join(unknown)}: set them in services.msc."
        if account:
            yield from _grant_rights(account, config, settings)
        else:
            yield LOCAL_SYSTEM
        yield "it starts some minutes after the PC does; now: agent service start"

    def uninstall(self) -> Iterator[str]:
        """Stop and remove it, and wait until Windows has released it."""
        yield from self.stop()
        with _opened() as (service, handle):
            service.DeleteService(handle)
        if not _comes_true(_is_gone, 10.0):
            yield "Windows removes it once services.msc and other consoles are closed."
        yield f"removed the service {NAME}; data and settings stay."

    def start(self) -> Iterator[str]:
        """Start it, and wait until it watches its sources.

        Raises:
            UsageError: It ended instead; the message names where it wrote why.
        """
        with _opened() as (service, handle):
            with contextlib.suppress(service.error):  # it runs already, or its state says why not
                service.StartService(handle, None)
            pending = (service.SERVICE_START_PENDING,)
            _comes_true(lambda: _state(service, handle) not in pending, START_S)
            if _state(service, handle) != service.SERVICE_RUNNING:
                raise UsageError(
                    f"{NAME} did not start ({_exit(service, handle)}): see its log, "
                    f"{_log_file()}, and agent doctor."
                )
        yield f"{NAME} runs; its log: {_log_file()}"

    def stop(self) -> Iterator[str]:
        """Stop it; the current file is finished."""
        with _opened() as (service, handle):
            if _state(service, handle) == service.SERVICE_STOPPED:
                return
            try:
                service.ControlService(handle, service.SERVICE_CONTROL_STOP)
            except service.error as error:
                if error.winerror != _NOT_ACTIVE:
                    raise UsageError(f"{NAME} cannot be stopped ({error.strerror}).") from error
            stopped = service.SERVICE_STOPPED
            if not _comes_true(lambda: _state(service, handle) == stopped, STOP_S):
                raise UsageError(f"{NAME} has not stopped within {STOP_S:.0f} s; see its log.")
        yield f"{NAME} is stopped."

    def status(self) -> Iterator[str]:
        """Yield Windows' state of it."""
        with _opened() as (service, handle):
            names = {
                service.SERVICE_RUNNING: "running",
                service.SERVICE_STOPPED: f"stopped ({_exit(service, handle)})",
                service.SERVICE_START_PENDING: "starting",
                service.SERVICE_STOP_PENDING: "stopping",
            }
            state = _state(service, handle)
            account = service.QueryServiceConfig(handle)[7]
        yield f"{NAME}: {names.get(state, state)}, as {account}, for {find_config()}"


def find_service_account() -> str | None:
    """Return the account of the installed service; None where none is found or it is refused."""
    try:
        with _opened() as (service, handle):
            return str(service.QueryServiceConfig(handle)[7])
    except UsageError:
        return None


# --- drives and accounts ------------------------------------------------------------------------


def iter_folders(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Yield every file and folder that the service must reach, with the name of its setting."""
    for named in iter_paths(settings):
        yield named.label, named.path


def refuse_mapped_drive(what: str, folder: Path) -> None:
    """Refuse a drive letter that only a logged-on user has. Raises `UsageError`."""
    if is_mapped_drive(folder):
        raise UsageError(
            f"{what}: {folder.drive} is a mapped drive, which a service does not see; "
            r"write its share as \\server\share\folder (net use says which it is)."
        )


def is_mapped_drive(folder: Path) -> bool:
    """Return whether a path is on a drive letter that is mapped to a share."""
    if sys.platform != "win32" or not folder.drive.endswith(":"):
        return False
    import win32file  # type: ignore[import-untyped, unused-ignore]  # noqa: PLC0415

    return bool(win32file.GetDriveType(folder.anchor) == REMOTE_DRIVE)


def needs_password(account: str) -> bool:
    r"""Return whether an account logs on with a password: gMSAs and built-in ones do not."""
    return bool(account) and not (
        account.endswith("$") or account.lower().startswith(_BUILT_IN)
    )  # fmt: skip


def _password(account: str) -> str | None:
    if not needs_password(account):
        return None
    if sys.stdin.isatty():
        return getpass.getpass(f"password of {account}: ")
    return sys.stdin.readline().rstrip("\r\n")


def _grant_rights(account: str, config: Path, settings: Settings) -> Iterator[str]:
    """Grant an account what it needs here: to log on as a service, its settings and its folders."""
    yield _grant_logon(account)
    for may, folder, rule in iter_rights(account, config, settings):
        done = subprocess.run(  # noqa: S603 - our own words
            ["icacls", str(folder), *rule],  # noqa: S607 - part of Windows
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        yield (
            f"{account} may {may} {folder} now"
            if done.returncode == 0
            else f"give {account} the right to {may} {folder}: icacls said {done.stdout.strip()}"
        )
    yield f"{account} must be able to read the sources. Ask the administrator of the shares."


def iter_rights(
    account: str, config: Path, settings: Settings
) -> Iterator[tuple[str, Path, tuple[str, ...]]]:
    """Yield what the account may do where, with the arguments of icacls.

    The installer closes the folder of the settings to all but administrators, so the account needs
    a right to it: to the files in it, now and later, and to nothing below.
    """
    yield "read", config.parent, ("/grant", f"{account}:(OI)(NP)RX", "/Q")
    for path in list_read_paths(settings).values():
        if path.parent != config.parent:
            inherited = "(OI)(CI)" if is_folder(path) else ""
            yield "read", path, ("/grant", f"{account}:{inherited}RX", "/Q")
    for folder in (settings.store.folder, *list_shared_folders(settings).values()):
        yield "write", folder, ("/grant", f"{account}:(OI)(CI)M", "/T", "/Q")


def _grant_logon(account: str) -> str:
    if account.lower().startswith(_BUILT_IN):
        return f"it runs as {account}, which reaches shares as this computer's account."
    try:
        import win32security  # type: ignore[import-untyped, unused-ignore]  # noqa: PLC0415

        who = win32security.LookupAccountName(None, account)[0]
        policy = win32security.LsaOpenPolicy(None, win32security.POLICY_ALL_ACCESS)
        win32security.LsaAddAccountRights(policy, who, ("SeServiceLogonRight",))
        win32security.LsaClose(policy)
    except Exception as error:  # noqa: BLE001 - pywin32's errors share no public base
        return (
            f"give {account} the right 'Log on as a service' in secpol.msc, Local Policies, "
            f"User Rights Assignment ({getattr(error, 'strerror', error)})."
        )
    return f"{account} may log on as a service now"


# --- the service manager ------------------------------------------------------------------------


def _registered(service: Any, manager: Any, account: str, password: str | None) -> tuple[Any, str]:
    who = account or None
    try:
        handle = service.CreateService(
            manager, NAME, TITLE, service.SERVICE_ALL_ACCESS, service.SERVICE_WIN32_OWN_PROCESS,
            service.SERVICE_AUTO_START, service.SERVICE_ERROR_NORMAL, BINARY,
            None, 0, None, who, password,
        )  # fmt: skip
    except service.error as error:
        if error.winerror != _EXISTS:
            raise UsageError(f"Windows does not take the service ({error.strerror}).") from error
    else:
        return handle, "installed"
    handle = service.OpenService(manager, NAME, service.SERVICE_ALL_ACCESS)
    service.ChangeServiceConfig(
        handle, service.SERVICE_WIN32_OWN_PROCESS, service.SERVICE_AUTO_START,
        service.SERVICE_ERROR_NORMAL, BINARY, None, 0, None, who, password, TITLE,
    )  # fmt: skip
    return handle, "updated"


def _configure(service: Any, handle: Any) -> list[str]:
    """Set what goes beyond starting it; return what this Windows does not know of."""
    wanted: list[tuple[str, int, object]] = [
        ("a description", service.SERVICE_CONFIG_DESCRIPTION, TEXT),
        ("a delayed start", service.SERVICE_CONFIG_DELAYED_AUTO_START_INFO, True),
        (
            "recovery actions",
            service.SERVICE_CONFIG_FAILURE_ACTIONS,
            {
                "ResetPeriod": FORGIVEN_AFTER_S,
                "RebootMsg": "",
                "Command": "",
                # The last one holds for every later failure.
                "Actions": [(service.SC_ACTION_RESTART, pause) for pause in RESTART_MS],
            },
        ),
        ("recovery after an error code", service.SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, True),
        ("time before a shutdown", service.SERVICE_CONFIG_PRESHUTDOWN_INFO, PRESHUTDOWN_MS),
    ]
    unknown = []
    for what, level, value in wanted:
        try:
            service.ChangeServiceConfig2(handle, level, value)
        except service.error as error:
            if error.winerror != _INVALID_LEVEL:
                raise UsageError(f"Windows does not take {what} ({error.strerror}).") from error
            unknown.append(what)
    return unknown


def _state(service: Any, handle: Any) -> int:
    return int(service.QueryServiceStatus(handle)[1])


def _exit(service: Any, handle: Any) -> str:
    status = service.QueryServiceStatus(handle)
    return f"exit code {status[4] if status[3] == _OWN_CODE else status[3]}"


def save_config_path(config: Path) -> None:
    """Store the settings file's path where the service reads it."""
    import winreg  # noqa: PLC0415 - Windows alone

    with winreg.CreateKey(winreg.HKEY_LOCAL_MACHINE, KEY) as key:  # type: ignore[attr-defined, unused-ignore]
        winreg.SetValueEx(key, "Config", 0, winreg.REG_SZ, str(config))  # type: ignore[attr-defined, unused-ignore]


def find_config() -> Path:
    """Return which settings file the service was installed for."""
    import winreg  # noqa: PLC0415

    with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, KEY) as key:  # type: ignore[attr-defined, unused-ignore]
        return Path(winreg.QueryValueEx(key, "Config")[0])  # type: ignore[attr-defined, unused-ignore]


def _log_file() -> Path:
    from agent import settings  # noqa: PLC0415
    from agent.store.sites.site_folders import get_own_file  # noqa: PLC0415

    store = settings.read(find_config()).store
    return get_own_file(store.folder, "logs/agent.log", url=store.url)


class _manager:  # noqa: N801 - reads as a verb phrase: with _manager() as …
    def __enter__(self) -> tuple[Any, Any]:
        service = _win32service()
        try:
            self._handle = service.OpenSCManager(None, None, service.SC_MANAGER_ALL_ACCESS)
        except service.error as error:
            raise UsageError(
                f"the service manager refuses ({error.strerror}); use an administrator's shell."
            ) from error
        self._service = service
        return service, self._handle

    def __exit__(self, *_: object) -> None:
        self._service.CloseServiceHandle(self._handle)


class _opened(_manager):  # noqa: N801
    def __enter__(self) -> tuple[Any, Any]:
        service, manager = super().__enter__()
        try:
            self._own = service.OpenService(manager, NAME, service.SERVICE_ALL_ACCESS)
        except service.error as error:
            super().__exit__()
            raise UsageError(f"the service {NAME} is not installed ({error.strerror}).") from error
        return service, self._own

    def __exit__(self, *_: object) -> None:
        self._service.CloseServiceHandle(self._own)
        super().__exit__()


def _is_gone() -> bool:
    try:
        with _opened():
            return False
    except UsageError:
        return True


def _comes_true(condition: Callable[[], bool], within_s: float) -> bool:
    ends_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > ends_s:
            return False
        time.sleep(0.2)
    return True


def _win32service() -> Any:
    try:
        import win32service  # type: ignore[import-untyped, unused-ignore]  # noqa: PLC0415
    except ImportError as error:
        raise UsageError("pywin32 is missing: pip install pywin32.") from error
    return win32service
