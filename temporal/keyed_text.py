"""Numbers over frames and layers from text that people write: "0: 0, 8: 1" and "input: 0.5, output 3: 0"."""

import re
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from ..errors import FramewrightError
from .slots import Site

_PLACE = re.compile(r"(input|middle|output)(?:\s+(\d{1,3}))?")
Key = TypeVar("Key")


def frame_values(text: str, socket: str) -> list[float] | None:
    """A value a frame, between those that the text gives in a straight line; None for an empty text."""

    def frame(place: str) -> int:
        if not place.isdecimal() or len(place) > 6:
            raise FramewrightError(f"{socket}: {place!r} came as a frame, expected a number from 0")
        return int(place)

    keyed = _keyed(text, socket, "0: 0, 8: 1", frame)
    if not keyed:
        return None
    frames = sorted(keyed)
    return np.interp(range(frames[-1] + 1), frames, [keyed[frame] for frame in frames]).tolist()


def part_values(text: str, socket: str) -> list[tuple[float, float]]:
    """(part of sampling 0..1, value) pairs in order; none for an empty text."""

    def part(place: str) -> float:
        try:
            found = float(place)
        except ValueError:
            found = -1.0
        if not 0 <= found <= 1:
            raise FramewrightError(f"{socket}: {place!r} came as a part of sampling, expected 0 to 1")
        return found

    return sorted(_keyed(text, socket, "0: 1, 0.5: 0", part).items())


def layer_values(text: str, socket: str) -> dict[Site | str, float]:
    """A value for single sites of a UNet ("output 3") or for all of a side ("output")."""

    def layer(place: str) -> Site | str:
        found = _PLACE.fullmatch(place)
        if not found:
            raise FramewrightError(
                f"{socket}: {place!r} came as a layer, expected input, middle or output, with or without the "
                "number of its block"
            )
        return found[1] if found[2] is None else (found[1], int(found[2]))

    return _keyed(text, socket, "input: 0.5, output 3: 0", layer)


def layer_name(layer: Site | str) -> str:
    """A site of a UNet, or all of a side, as such a text calls it."""
    return layer if isinstance(layer, str) else f"{layer[0]} {layer[1]}"


def _keyed(text: str, socket: str, example: str, read: Callable[[str], Key]) -> dict[Key, float]:
    """The text's values by what `read` makes of the places before their colons."""
    keyed: dict[Key, float] = {}
    for entry in filter(None, (part.strip() for part in re.split(r"[,\n]", text))):
        place, colon, value = entry.partition(":")
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not colon or not np.isfinite(number):
            raise FramewrightError(f"{socket}: {entry!r} came, expected pairs such as {example!r}")
        key = read(place.strip().lower())
        if key in keyed:
            raise FramewrightError(f"{socket}: two values came for {place.strip()}, expected one")
        keyed[key] = number
    return keyed
