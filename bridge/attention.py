"""What nodes do with attention patterns, in whichever host they run."""

from dataclasses import replace
from typing import Any

from ..temporal.extent import Extent
from ..temporal.patterns import Pattern
from .host import host


def apply_pattern(model: Any, pattern: Pattern, extent: Extent, steps: tuple[float, float]) -> Any:
    """A clone of MODEL whose self-attention reads by the pattern, between parts (0..1) of the sampling."""
    handle = host().handle(model).clone()
    start, end = (handle.sigma_at(part) for part in steps)
    handle.set_attention(pattern, replace(extent, sigmas=(start, end)))
    return handle.model
