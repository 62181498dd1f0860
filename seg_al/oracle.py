"""Who answers a query with labels."""

from __future__ import annotations

import numpy as np

from seg_al.config import Component, UserError
from seg_al.data.base import Samples


class Oracle(Component):
    """Gives the label of a queried sample."""

    def target(self, samples: Samples, index: int, seed: int) -> np.ndarray:
        """Return the label of one sample, as `Samples.target`; a function of (seed, sample id) alone."""
        raise NotImplementedError


class IdealOracle(Oracle):
    """The data set's own label, without noise."""

    def target(self, samples: Samples, index: int, seed: int) -> np.ndarray:
        """Return the data set's label.

        Raises:
            UserError: the sample has none.
        """
        target = samples.target(index)
        if target is None:
            raise UserError(f"{samples.ids[index]}: was queried but has no label; a simulated run needs all of them")
        return target
