"""Numbers over frames and layers from text that people write: "0: 0, 8: 1" and "input: 0.5, output 3: 0"."""

import re

import numpy as np

from ..errors import FramewrightError
from .slots import Site

_PLACE = re.compile(r"(input|middle|output)(?:\s+(\d{1,3}))?")


def frame_values(text: str, socket: str) -> list[float] | None:
    """A value a frame, between those that the text gives in a straight line; None for an empty text."""
    pairs = _pairs(text, socket, "0: 0, 8: 1")
    if not pairs:
        return None
    keyed = {}
    for place, value in pairs:
        if not place.isdigit() or len(place) > 6:
            raise FramewrightError(f"{socket}: {place!r} came as a frame, expected a number from 0")
        keyed[int(place)] = value
    frames = sorted(keyed)
    return np.interp(range(frames[-1] + 1), frames, [keyed[frame] for frame in frames]).tolist()


def part_values(text: str, socket: str) -> list[tuple[float, float]]:
    """(part of sampling 0..1, value) pairs in order; none for an empty text."""
    keyed = {}
    for place, value in _pairs(text, socket, "0: 1, 0.5: 0"):
        try:
            part = float(place)
        except ValueError:
            part = -1.0
        if not 0 <= part <= 1:
            raise FramewrightError(f"{socket}: {place!r} came as a part of sampling, expected 0 to 1")
        keyed[part] = value
    return sorted(keyed.items())


def layer_values(text: str, socket: str) -> dict[Site | str, float]:
    """A value for single sites of a UNet ("output 3") or for all of a side ("output")."""
    values: dict[Site | str, float] = {}
    for place, value in _pairs(text, socket, "input: 0.5, output 3: 0"):
        found = _PLACE.fullmatch(place)
        if not found:
            raise FramewrightError(
                f"{socket}: {place!r} came as a layer, expected input, middle or output, with or without the "
                "number of its block"
            )
        values[found[1] if found[2] is None else (found[1], int(found[2]))] = value
    return values


def _pairs(text: str, socket: str, example: str) -> list[tuple[str, float]]:
    pairs = []
    for entry in filter(None, (part.strip() for part in re.split(r"[,\n]", text))):
        place, colon, value = entry.partition(":")
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not colon or not np.isfinite(number):
            raise FramewrightError(f"{socket}: {entry!r} came, expected pairs such as {example!r}")
        pairs.append((place.strip().lower(), number))
    return pairs
