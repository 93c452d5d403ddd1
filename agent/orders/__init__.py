"""Judge specimens and orders against their specifications.

    specifications  what is demanded, and the classes, as they were when an order was released
    facts           what is known of a specimen and its fields; nothing is decided there
    judge           facts → conformity: pure but for `assessment`, which loads the rows
    instruments     reference images and control specimens, and the results that they hold
    statements      conformity → frozen statement, its page, PDF and trace
    lims            statement → revision in the outbox, and what a LIMS holds beyond a restore

Names are imported on first use: `agent status` reads specifications and judges no specimen.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
