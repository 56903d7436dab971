"""The noise levels that models are trained with, by the variances that a step of training's chain adds.

Sigmas of 1000 timesteps, of x = x0 + sigma·noise (Ho et al. 2020; Karras et al. 2022).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

TIMESTEPS = 1000


@dataclass(frozen=True)
class Betas:
    """A chain's variances, from `first` to `last`: their roots (Rombach et al. 2022) or they grow evenly."""

    grows: Literal["roots", "variances"] = "roots"
    last: float = 0.012
    first: float = 0.00085

    def sigmas(self) -> Tensor:
        """[1000] in float64, the lowest first."""
        power = 2 if self.grows == "roots" else 1
        ends = self.first ** (1 / power), self.last ** (1 / power)
        kept = torch.cumprod(1 - torch.linspace(*ends, TIMESTEPS, dtype=torch.float64) ** power, 0)
        return ((1 - kept) / kept).sqrt()
