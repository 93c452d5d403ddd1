r"""Be a Windows service: installed, started, stopped and removed by the service manager.

In:  the service manager's controls. Out: a running `Agent`. Next: nothing.
The service's binary is `python.exe -m agent.host.windows` itself: `pythonservice.exe` does not
know virtual environments. The settings file's path is kept in the service's registry key, since
LocalSystem has another home and another working folder. Restart after a failure needs the
failure-actions flag, else Windows restarts only what crashed.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.errors import SetupError, WrongUse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.settings import Settings

NAME = "Martensight"
TITLE = "Martensight micrograph agent"
TEXT = (
    "Takes micrographs from the microscopes' export folders, grades them, and reports each night."
)
NEEDS = ["Tcpip", "Dnscache"]
RESTART_MS = (60_000, 120_000)
FORGIVEN_AFTER_S = 86_400
STOP_HINT_MS = 30_000
REMOTE_DRIVE = 4
KEY = rf"SYSTEM\CurrentControlSet\Services\{NAME}\Parameters"


class WindowsServices:
    """The service as Windows keeps it. Needs an administrator's shell."""

    def install(self, config: Path | None, settings: Settings) -> Iterator[str]:
        """Register the service, delayed start, restart on failure.

        Raises:
            WrongUse: No settings file, or a source on a mapped drive, which no service sees.
        """
        if config is None:
            raise WrongUse("a service needs a settings file: write one with agent init DIR.")
        for source in settings.sources:
            refuse_mapped_drive(source.name, source.folder)
        with _manager() as (service, manager):
            handle = service.CreateService(
                manager,
                NAME,
                TITLE,
                service.SERVICE_ALL_ACCESS,
                service.SERVICE_WIN32_OWN_PROCESS,
                service.SERVICE_AUTO_START,
                service.SERVICE_ERROR_NORMAL,
                f'"{sys.executable}" -m agent.host.windows',
                None,
                0,
                NEEDS,
                None,
                None,
            )
            try:
                _configure(service, handle)
            finally:
                service.CloseServiceHandle(handle)
        remember(config)
        yield f"installed the service {NAME} for {config}"
        yield (
            "it runs as LocalSystem, which reaches shares only as this computer's account: "
            "for shares set a domain account in services.msc, Log On."
        )
        yield "start it with: agent service start"

    def uninstall(self) -> Iterator[str]:
        """Stop and remove it, and wait until Windows has really let go of it."""
        yield from self.stop()
        with _opened() as (service, handle):
            service.DeleteService(handle)
        if not _is_gone():
            yield "Windows removes it once services.msc and other consoles are closed."
        yield f"removed the service {NAME}; data and settings stay."

    def start(self) -> Iterator[str]:
        """Start it."""
        with _opened() as (service, handle):
            service.StartService(handle, None)
        yield f"{NAME} starts; its log is in the data folder, logs\\agent.log"

    def stop(self) -> Iterator[str]:
        """Stop it; the file in hand is finished."""
        with _opened() as (service, handle):
            if service.QueryServiceStatus(handle)[1] == service.SERVICE_STOPPED:
                return
            service.ControlService(handle, service.SERVICE_CONTROL_STOP)
        yield f"{NAME} stops."

    def status(self) -> Iterator[str]:
        """Say what Windows knows of it."""
        with _opened() as (service, handle):
            state = service.QueryServiceStatus(handle)[1]
            names = {
                service.SERVICE_RUNNING: "running",
                service.SERVICE_STOPPED: "stopped",
                service.SERVICE_START_PENDING: "starting",
                service.SERVICE_STOP_PENDING: "stopping",
            }
        yield f"{NAME}: {names.get(state, state)}"


def refuse_mapped_drive(name: str, folder: Path) -> None:
    """Refuse a drive letter that only a logged-on user has. Raises `WrongUse`."""
    if sys.platform != "win32":
        return
    import win32file  # type: ignore[import-untyped, unused-ignore]  # noqa: PLC0415

    if folder.drive.endswith(":") and win32file.GetDriveType(folder.anchor) == REMOTE_DRIVE:
        raise WrongUse(
            f"source {name}: {folder.drive} is a mapped drive, which a service does not see; "
            r"write its share as \\server\share\folder."
        )


def _configure(service: Any, handle: Any) -> None:
    service.ChangeServiceConfig2(handle, service.SERVICE_CONFIG_DESCRIPTION, TEXT)
    service.ChangeServiceConfig2(handle, service.SERVICE_CONFIG_DELAYED_AUTO_START_INFO, True)  # noqa: FBT003 - its value
    service.ChangeServiceConfig2(
        handle,
        service.SERVICE_CONFIG_FAILURE_ACTIONS,
        {
            "ResetPeriod": FORGIVEN_AFTER_S,
            "RebootMsg": "",
            "Command": "",
            "Actions": [
                *((service.SC_ACTION_RESTART, pause) for pause in RESTART_MS),
                (service.SC_ACTION_NONE, 0),
            ],
        },
    )
    service.ChangeServiceConfig2(handle, service.SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, True)  # noqa: FBT003


def remember(config: Path) -> None:
    """Keep the settings file's path where the service looks for it."""
    import winreg  # noqa: PLC0415 - Windows alone

    with winreg.CreateKey(winreg.HKEY_LOCAL_MACHINE, KEY) as key:  # type: ignore[attr-defined, unused-ignore]
        winreg.SetValueEx(key, "Config", 0, winreg.REG_SZ, str(config))  # type: ignore[attr-defined, unused-ignore]


def remembered() -> Path:
    """Say which settings file the service was installed for."""
    import winreg  # noqa: PLC0415

    with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, KEY) as key:  # type: ignore[attr-defined, unused-ignore]
        return Path(winreg.QueryValueEx(key, "Config")[0])  # type: ignore[attr-defined, unused-ignore]


class _manager:  # noqa: N801 - reads as a verb phrase: with _manager() as …
    def __enter__(self) -> tuple[Any, Any]:
        service = _win32service()
        try:
            self._handle = service.OpenSCManager(None, None, service.SC_MANAGER_ALL_ACCESS)
        except service.error as error:
            raise WrongUse(
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
            raise WrongUse(f"the service {NAME} is not installed ({error.strerror}).") from error
        return service, self._own

    def __exit__(self, *_: object) -> None:
        self._service.CloseServiceHandle(self._own)
        super().__exit__()


def _is_gone() -> bool:
    pause = threading.Event()
    for _ in range(20):
        try:
            with _opened():
                pass
        except WrongUse:
            return True
        pause.wait(0.5)
    return False


def _win32service() -> Any:
    try:
        import win32service  # type: ignore[import-untyped, unused-ignore]  # noqa: PLC0415
    except ImportError as error:
        raise WrongUse("pywin32 is missing: pip install pywin32.") from error
    return win32service


def main() -> None:
    """Be the service: called by Windows, never by a person."""
    import servicemanager  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415

    servicemanager.Initialize(NAME, None)
    servicemanager.PrepareToHostSingle(_service_class())
    servicemanager.StartServiceCtrlDispatcher()


def _service_class() -> Any:
    import servicemanager  # noqa: PLC0415
    import win32serviceutil  # type: ignore[import-untyped, unused-ignore]  # noqa: PLC0415

    service = _win32service()

    class Service(win32serviceutil.ServiceFramework):  # type: ignore[misc]
        _svc_name_ = NAME
        _svc_display_name_ = TITLE

        def __init__(self, arguments: Any) -> None:
            super().__init__(arguments)
            self._agent: Any = None
            self._stopping = threading.Event()

        def GetAcceptedControls(self) -> int:  # noqa: N802 - Windows' name
            accepted: int = super().GetAcceptedControls()
            return accepted | int(service.SERVICE_ACCEPT_PRESHUTDOWN)

        def SvcStop(self) -> None:  # noqa: N802
            self.ReportServiceStatus(service.SERVICE_STOP_PENDING, waitHint=STOP_HINT_MS)
            self._stopping.set()
            if self._agent:
                self._agent.stop()

        def SvcOtherEx(self, control: int, _kind: int, _data: Any) -> None:  # noqa: N802
            if control == service.SERVICE_CONTROL_PRESHUTDOWN:
                self.SvcStop()

        def SvcDoRun(self) -> None:  # noqa: N802
            try:
                self._agent = _made()
                self.ReportServiceStatus(service.SERVICE_RUNNING)
                if not self._stopping.is_set():
                    self._agent.run()
            except SetupError as error:
                servicemanager.LogErrorMsg(f"Martensight: {error}")
                self.ReportServiceStatus(service.SERVICE_STOPPED, win32ExitCode=1)

    return Service


def _made() -> Any:
    """Make the agent of the settings file that the service was installed for."""
    from agent import log, settings  # noqa: PLC0415 - Windows waits for an answer first
    from agent.service import Agent  # noqa: PLC0415

    read = settings.read(remembered())
    log.set_up(level=read.log.level, file=read.store.folder / "logs" / "agent.log")
    return Agent(read)


if __name__ == "__main__":
    main()
