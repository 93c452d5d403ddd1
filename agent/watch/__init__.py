"""Watching of microscope folders: which files are complete.

Events only make it faster; the listing of a folder decides. The watcher itself is imported when it
is first used: every command needs the names of files, and only the service watches.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
