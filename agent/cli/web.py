"""`agent web`: the review page and the API without file processing."""

from __future__ import annotations

import typer

from agent.cli.app import app, load_settings, open_store
from agent.cli.console import err


@app.command()
def web(context: typer.Context) -> None:
    """Serve the review page and the API without processing files. `agent run` includes this."""
    import threading

    from agent import log  # heavy
    from agent.archive import Archive
    from agent.cli.signals import stopping
    from agent.host import open_files
    from agent.service import Pages, build_status
    from agent.service.data_folder import clock
    from agent.web import app_of

    settings = load_settings(context)
    log.set_up(level=settings.log.level)
    open_files.raise_limit()
    stop = threading.Event()
    with open_store(settings) as store, stopping(stop):
        application = app_of(
            settings,
            store=store,
            archive=Archive.open(settings.store),
            now=clock,
            status=lambda: build_status(
                settings, now=clock(), open_store=lambda: open_store(settings)
            ),
        )
        pages = Pages(application, settings.web)
        pages.start()
        err.print(f"review page: {pages.url} (Ctrl-C stops)", markup=False)
        while not stop.wait(0.5) and pages.is_alive():
            pass
        pages.stop()
        pages.join(5)
