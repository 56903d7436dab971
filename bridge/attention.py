"""What nodes do with attention patterns, in whichever host they run."""

from typing import Any

from ..errors import FramewrightError
from ..temporal.extent import Extent
from ..temporal.patterns import Pattern
from .host import during, host


def apply_pattern(model: Any, pattern: Pattern, extent: Extent, steps: tuple[float, float]) -> Any:
    """A clone of MODEL whose self-attention reads by the pattern, between parts (0..1) of the sampling.

    Raises for a pattern that reads a picture, which none comes with.
    """
    if pattern.reference:
        raise FramewrightError(
            f"pattern: {pattern.name} came, expected one without a picture; Apply Reference brings one"
        )
    handle = host().handle(model).clone()
    handle.set_attention(pattern, during(extent, steps, handle))
    return handle.model
