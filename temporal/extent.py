"""How much something acts, at which noise levels, and in which blocks of a UNet."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .slots import Site


@dataclass(frozen=True)
class Extent:
    """strength: 1 is all of it, 0 nothing. layers: a factor for single sites, or for all of the "input",
    "middle" or "output" that are not named singly. sigmas: the highest and lowest noise level at which it
    acts.
    """

    strength: float = 1.0
    layers: Mapping[Site | str, float] = field(default_factory=dict)
    sigmas: tuple[float, float] = (math.inf, 0.0)

    def at(self, site: Site, options: Mapping[str, Any]) -> float:
        """The strength in a block, in the call that `options` are of."""
        if not self.at_level(options):
            return 0.0
        return self.strength * self.layers.get(site, self.layers.get(site[0], 1.0))

    def at_level(self, options: Mapping[str, Any]) -> bool:
        """Whether it acts in that call anywhere."""
        level, (highest, lowest) = options.get("sigmas"), self.sigmas
        return self.strength > 0 and (level is None or lowest <= float(level.flatten()[0]) <= highest)


EVERYWHERE = Extent()
