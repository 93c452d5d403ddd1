"""Serve the review pages and the API over HTTP; the HTML comes from `reports`.

The agent uses names of this package; only the process that serves pages loads FastAPI.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
