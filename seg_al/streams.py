"""Random streams: every random choice draws from a generator of its own purpose.

Deriving each stream from (seed, round, purpose) means that resuming a run, adding a strategy or changing
the number of workers changes no other random choice.
"""

from __future__ import annotations

import zlib

import numpy as np

Key = int | str


def _sequence(key: tuple[Key, ...]) -> np.random.SeedSequence:
    # SeedSequence takes missing words for zeros: without the length, ("a",) and ("a", 0) would be one stream
    return np.random.SeedSequence([len(key)] + [zlib.crc32(k.encode()) if isinstance(k, str) else k for k in key])


def generator(*key: Key) -> np.random.Generator:
    """Return the generator of a stream, e.g. ``generator(seed, round, "batches", epoch)``; integers are >= 0."""
    return np.random.default_rng(_sequence(key))


def torch_seed(*key: Key) -> int:
    """Return a 63-bit seed for ``torch.manual_seed``, derived as in `generator`."""
    return int(_sequence(key).generate_state(1, np.uint64)[0] >> 1)
