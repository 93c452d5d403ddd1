"""Martensight's pages: facts in, HTML out. No disk, database, clock or network.

Names are imported on first use: Jinja takes a tenth of a second, the library of PDFs half a second.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
