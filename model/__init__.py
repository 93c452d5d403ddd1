"""Public names of `model`, which reads no files except bundles, taxonomies and weights.

Names are imported on first use, so that importing an error class or a taxonomy does not load
PyTorch.
"""

import os

import lazy_loader

# OpenMP threads that wait for each other yield the core instead of spinning. MEASURED on a PC under
# other load: two spinning threads took four times the CPU time and wall time. The variable has an
# effect only before PyTorch is loaded, therefore it is set here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
