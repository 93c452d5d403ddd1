"""All tables of the database, each made on first use: a short command needs half of them.

`load_metadata` makes all. A JSON column is replaced, never changed in place: SQLAlchemy would not
detect it. `Instant` is the only column type for times, and it refuses one without a zone.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
