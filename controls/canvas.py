"""The canvas that drawings and keypoints are on, and how errors tell of what is no such thing."""

from typing import Any

from ..errors import FramewrightError

LARGEST = 16384  # pixels


def canvas_size(width: Any, height: Any, socket: str) -> tuple[int, int]:
    """Width and height in pixels, as data from a file gives them; raises where they are none."""
    fits = [type(side) is int and 0 < side <= LARGEST for side in (width, height)]
    if not all(fits):
        raise FramewrightError(
            f"{socket}: a canvas of {width!r} by {height!r} came, expected pixels from 1 to {LARGEST}"
        )
    return width, height


def told(value: Any) -> str:
    """What a value from JSON is, for an error."""
    return f"a list of {len(value)}" if isinstance(value, list | tuple) else f"a {type(value).__name__}"
