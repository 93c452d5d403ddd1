"""The running agent: watches, worker, schedule, pages, heartbeat and signals.

composition       everything from the settings    worker            processes files
source_thread     a thread per source             schedule          nights, trainings, periodic jobs
active_bundle     what this PC judges with        page_process      the pages
daemon            all of it, until stopped        single_run        the same work, once

`agent status` must answer without waiting for PyTorch, and asks only its own module.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
