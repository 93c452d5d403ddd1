"""Judge specimens and orders against their specifications.

`limit`, `specification`, `specimen_facts`, `judgement_rules` and `conformity` are pure;
`assessment` loads the rows that they judge. Names are imported on first use: `agent status` reads
specifications and judges no specimen.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
