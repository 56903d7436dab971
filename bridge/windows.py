"""What nodes do with context windows, in whichever host they run."""

from typing import Any

from ..errors import FramewrightError
from ..sampling.window_plan import Windows
from .host import host


def add_windows(model: Any, windows: Windows, start: float, end: float) -> Any:
    """A clone of MODEL that samples in windows between these parts (0..1) of the sampler's way."""
    if start > end:
        raise FramewrightError(f"start_percent: {start:g} came, expected at most end_percent, {end:g}")
    handle = host().handle(model).clone()
    handle.add_windows(windows, handle.sigma_at(start), handle.sigma_at(end))
    return handle.model


def frame_numbers(socket: str, text: str) -> tuple[int, ...]:
    """Frame numbers from a text as "0, 16, 32"."""
    words = text.replace(",", " ").split()
    if not all(word.isdecimal() for word in words):
        raise FramewrightError(f"{socket}: {text!r} came, expected frame numbers such as 0, 16, 32")
    return tuple(int(word) for word in words)
