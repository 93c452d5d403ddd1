"""Train on reviewers' labels: labelled crops become a candidate, and a gate states the result.

Nothing here promotes. The names are imported on first use: `agent models list`, and an agent
without a bundle, must not wait for PyTorch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
