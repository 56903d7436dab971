"""What nodes do with context windows, in whichever host they run."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from ..errors import FramewrightError
from ..pictures.timeline import window_timeline
from ..sampling.window_plan import Windows
from .host import check_range, host

_MOST_FRAMES, _ROOM = 1024, (260, 110)  # of a picture on a node; frames, and pixels for windows


def add_windows(model: Any, windows: Windows, start: float, end: float) -> Any:
    """A clone of MODEL that samples in windows between these parts (0..1) of the sampler's way."""
    check_range((start, end))
    handle = host().handle(model).clone()
    handle.add_windows(windows, start, end)
    return handle.model


def run_in_chunks(model: Any, frames: int) -> Any:
    """A clone of MODEL that sees at most so many frames at a time, but for its temporal layers."""
    if frames < 1:
        raise FramewrightError(f"frames: {frames} came, expected at least 1")
    handle = host().handle(model).clone()
    handle.set_chunk(frames)
    return handle.model


def frame_numbers(socket: str, text: str) -> tuple[int, ...]:
    """Frame numbers from a text as "0, 16, 32"."""
    words = text.replace(",", " ").split()
    if not all(word.isdecimal() and len(word) < 10 for word in words):
        raise FramewrightError(f"{socket}: {text!r} came, expected frame numbers such as 0, 16, 32")
    return tuple(int(word) for word in words)


def timeline_on_node(settings: Mapping[str, str]) -> bytes:
    """A PNG of the first steps' windows, by a node's settings as text and the number of `frames`.

    Frames beyond the first thousand are left out. FramewrightError where the settings are none.
    """
    frames = max(1, min(_MOST_FRAMES, _number(settings, "frames", 64)))
    numbers = (_number(settings, "length", 16), _number(settings, "overlap", 8))
    windows = Windows(
        *numbers, settings.get("schedule", "standard"), settings.get("fuse", "pyramid"),
        _number(settings, "stride", 1), settings.get("closed_loop") == "true",
        frame_numbers("keep_frames", settings.get("keep_frames", "")),
    )  # fmt: skip
    plans = [windows.plan(frames, step) for step in range(3 if windows.moves else 1)]
    drawn = (window_timeline(plans, frames, *_ROOM) * 255).round().astype(np.uint8)
    return cv2.imencode(".png", drawn[..., ::-1])[1].tobytes()


def _number(settings: Mapping[str, str], name: str, otherwise: int) -> int:
    text = settings.get(name, str(otherwise))
    if not (text.isdecimal() and len(text) < 8):
        raise FramewrightError(f"{name}: {text!r} came, expected a whole number")
    return int(text)
