"""Edges of pictures."""

from collections.abc import Iterator

from kornia.filters import canny as kornia_canny
from torch import Tensor

from ..errors import FramewrightError

FRAMES_AT_ONCE = 16


def canny(frames: Tensor, low: float, high: float) -> Iterator[Tensor]:
    """Edges, 0 or 1, of frames [F, H, W, 3] in 0..1, as parts [f, H, W] of the video (Canny 1986).

    An edge is where the brightness changes by `high` a pixel, and goes on for as long as it does by `low`.
    The same edges as the host's Canny node, which runs the same function.
    """
    if not 0 < low <= high:
        raise FramewrightError(f"low, high: {low} and {high} came, expected 0 < low ≤ high")
    for part in frames.split(FRAMES_AT_ONCE):
        yield kornia_canny(part.movedim(-1, 1).float(), low, high)[1].squeeze(1)
