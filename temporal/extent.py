"""How much something acts, in which part of sampling, and in which blocks of a UNet."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import FramewrightError
from .slots import Site

LEVELS = (
    "framewright_levels"  # in transformer_options: the noise level that a part (0..1) of sampling ends at
)


@dataclass(frozen=True)
class Extent:
    """strength: 1 is all of it, 0 nothing. layers: a factor for single sites, or for all of the "input",
    "middle" or "output" that are not named singly. steps: the parts (0..1) of sampling between which it
    acts, by the noise levels of the model that samples, whatever nodes set on it later.
    """

    strength: float = 1.0
    layers: Mapping[Site | str, float] = field(default_factory=dict)
    steps: tuple[float, float] = (0.0, 1.0)

    def at(self, site: Site, options: Mapping[str, Any]) -> float:
        """The strength in a block, in the call that `options` are of."""
        if not self.at_level(options):
            return 0.0
        return self.strength * self.layers.get(site, self.layers.get(site[0], 1.0))

    def at_level(self, options: Mapping[str, Any]) -> bool:
        """Whether it acts in that call anywhere."""
        if self.steps == (0.0, 1.0) or self.strength <= 0:
            return self.strength > 0
        if LEVELS not in options:
            raise FramewrightError(
                "start_percent, end_percent: a part of sampling came where the model is called outside of "
                "sampling; expected 0 and 1"
            )
        highest, lowest = map(options[LEVELS], self.steps)
        return lowest <= float(options["sigmas"].flatten()[0]) <= highest


EVERYWHERE = Extent()
