"""Active learning for semantic segmentation: the names a configuration may import, listed in ``__init__.pyi``."""

import lazy_loader

# torch and what stands on it take seconds to load: a tool loads only what its config names
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.1.0"
