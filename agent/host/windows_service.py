r"""The Windows service: `python.exe -m agent.host.windows_service`, called by Windows alone.

It is "running" once the sources are watched, not before; and as Windows has no watchdog, it ends
itself with an error when its heartbeat stops, so that the recovery actions restart it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import Any

from agent.host.windows import NAME, TITLE, find_config

START_HINT_MS = 120_000
STOP_HINT_MS = 20_000
WATCHDOG_S = 120.0
HUNG = 3


def main() -> None:
    """Execute the controls of the service manager."""
    import servicemanager  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415

    servicemanager.Initialize(NAME, None)
    servicemanager.PrepareToHostSingle(_service_class())
    servicemanager.StartServiceCtrlDispatcher()


class Watchdog:
    """Ends the process when it was not fed for too long."""

    def __init__(self) -> None:
        self._fed_s = time.monotonic()
        self._calm, self._is_started = threading.Event(), False

    def feed(self) -> None:
        """Reset the timer."""
        self._fed_s = time.monotonic()

    def start(self) -> None:
        """Start the timer in a separate thread; after a restart it runs already."""
        self.feed()
        if not self._is_started:
            self._is_started = True
            threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """End the watchdog: stopping has separate limits."""
        self._calm.set()

    def _watch(self) -> None:
        while not self._calm.wait(WATCHDOG_S / 10):
            if time.monotonic() - self._fed_s > WATCHDOG_S:
                import structlog  # noqa: PLC0415

                structlog.get_logger().error("service.hung", silent_s=round(WATCHDOG_S))
                os._exit(HUNG)


def _service_class() -> Any:  # noqa: C901 - a class that only Windows can have
    import servicemanager  # noqa: PLC0415
    import win32service as service  # type: ignore[import-untyped, unused-ignore]  # noqa: PLC0415
    import win32serviceutil  # type: ignore[import-untyped, unused-ignore]  # noqa: PLC0415

    class Service(win32serviceutil.ServiceFramework):  # type: ignore[misc]
        _svc_name_ = NAME
        _svc_display_name_ = TITLE

        def __init__(self, arguments: Any) -> None:
            super().__init__(arguments)
            self._agent: Any = None
            self._stopping = threading.Event()
            self._watchdog = Watchdog()

        def GetAcceptedControls(self) -> int:  # noqa: N802 - Windows' name
            accepted: int = super().GetAcceptedControls()
            return accepted | int(service.SERVICE_ACCEPT_PRESHUTDOWN)

        def SvcStop(self) -> None:  # noqa: N802
            self.ReportServiceStatus(service.SERVICE_STOP_PENDING, waitHint=STOP_HINT_MS)
            self._stopping.set()
            self._watchdog.stop()
            if self._agent:
                self._agent.stop()

        def SvcOtherEx(self, control: int, _kind: int, _data: Any) -> None:  # noqa: N802
            if control == service.SERVICE_CONTROL_PRESHUTDOWN:
                self.SvcStop()

        def SvcRun(self) -> None:  # noqa: N802
            self.ReportServiceStatus(service.SERVICE_START_PENDING, waitHint=START_HINT_MS)
            self.SvcDoRun()
            self.ReportServiceStatus(service.SERVICE_STOP_PENDING, waitHint=STOP_HINT_MS)

        def SvcDoRun(self) -> None:  # noqa: N802
            try:
                runs_again = True
                while runs_again and not self._stopping.is_set():
                    self._agent = _made(self._ready, self._watchdog, self._agent)
                    runs_again = not self._stopping.is_set() and self._agent.run()
            except Exception as error:
                _say(servicemanager.LogErrorMsg, f"Martensight: {error}")
                import structlog  # noqa: PLC0415

                structlog.get_logger().exception("service.failed")
                raise  # the framework ends with an error code then, and Windows starts it anew

        def _ready(self) -> None:
            self.ReportServiceStatus(service.SERVICE_RUNNING)
            self._watchdog.start()
            _say(servicemanager.LogInfoMsg, f"{TITLE} runs, with {find_config()}")

    return Service


def _say(log: Any, sentence: str) -> None:
    with contextlib.suppress(Exception):  # the event log may be full, or closed to this account
        log(sentence)


def _made(ready: Any, watchdog: Watchdog, before: Any) -> Any:
    """Make the agent of the settings file that the service was installed for.

    Args:
        ready: Called once everything runs.
        watchdog: Is fed by its heartbeat.
        before: The agent that ran until a restart from the page, None for the first one.
    """
    from agent import log, settings  # noqa: PLC0415 - Windows waits for an answer first
    from agent.host import process_limits  # noqa: PLC0415
    from agent.store.sites.site_folders import get_own_file  # noqa: PLC0415

    read = settings.read(find_config())
    file = get_own_file(read.store.folder, "logs/agent.log", url=read.store.url)
    log.set_up(level=read.log.level, file=file)
    process_limits.keep_to_share(read.service.cores)  # before libraries count the cores
    from agent.service import Agent  # noqa: PLC0415

    return Agent(
        read,
        on_ready=ready,
        on_beat=watchdog.feed,
        on_stopping=watchdog.stop,
        before=before,
    )


if __name__ == "__main__":
    main()
