"""Strokes: paths drawn over a frame along which things are to move, as readable text."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ..errors import FramewrightError
from .canvas import canvas_size, told

EXAMPLE = '{"width": 64, "height": 64, "strokes": [{"points": [[14, 44], [32, 20], [50, 44]]}]}'
MOST_STROKES, MOST_POINTS = 64, 4096
_TRAIL = (0.0, 0.35, 0.7)  # colour of the path behind a stroke's disc
_FRACTION = 4  # bits of a pixel that OpenCV draws to


@dataclass(frozen=True)
class Stroke:
    """A path of points (x, y) in pixels, and the frame, perhaps between two, at which each is come to."""

    points: tuple[tuple[float, float], ...]
    times: tuple[float, ...]

    @classmethod
    def even(cls, points: Sequence[tuple[float, float]], first: int, last: int) -> "Stroke":
        """A path gone along evenly from frame `first` to frame `last`."""
        lengths = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
        return cls(tuple(points), tuple((first + (last - first) * lengths / lengths[-1]).tolist()))

    def track(self, frames: int) -> np.ndarray:
        """Where it is in each frame, [F, 2]; before its first and after its last time it rests."""
        return np.stack(
            [np.interp(range(frames), self.times, side) for side in np.array(self.points, np.float64).T], 1
        )


@dataclass(frozen=True)
class Drawing:
    """Strokes and anchors, points that are to stay, over a canvas of this size in pixels."""

    width: int
    height: int
    strokes: tuple[Stroke, ...] = ()
    anchors: tuple[tuple[float, float], ...] = ()

    def tracks(self, frames: int, width: int, height: int) -> np.ndarray:
        """Of every stroke, [K, F, 2] x, y in pixels of a frame of this size."""
        scale = np.array([width / self.width, height / self.height])
        tracks = [stroke.track(frames) * scale for stroke in self.strokes]
        return np.stack(tracks) if tracks else np.empty((0, frames, 2))

    def anchors_at(self, width: int, height: int) -> np.ndarray:
        """Anchors [A, 2] likewise."""
        return np.array(self.anchors).reshape(-1, 2) * [width / self.width, height / self.height]


def read_drawing(text: str, frames: int) -> Drawing:
    """A drawing from its JSON, for a video of so many frames.

    {"width": 64, "height": 64, "strokes": [{"points": [[8, 32], [56, 32]], "first": 0, "last": 15}],
    "anchors": [[4, 4]]}; first, last and anchors may be left out. Raises FramewrightError where it is
    anything else, where a point is off the canvas, or a stroke has no length.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise FramewrightError(f"strokes: what came is not JSON ({error})") from error
    if not isinstance(data, dict) or not isinstance(data.get("strokes"), list):
        raise FramewrightError(f"strokes: {told(data)} came, expected an object with a list of strokes")
    unknown = sorted(set(data) - {"width", "height", "strokes", "anchors"})
    if unknown:
        raise FramewrightError(f"strokes: {unknown[0]!r} came, expected width, height, strokes, anchors")
    size = canvas_size(data.get("width"), data.get("height"), "strokes")
    if len(data["strokes"]) > MOST_STROKES:
        raise FramewrightError(f"strokes: {len(data['strokes'])} came, expected at most {MOST_STROKES}")
    strokes = tuple(_read_stroke(one, k, frames, size) for k, one in enumerate(data["strokes"]))
    anchors = tuple(_points(data.get("anchors", []), "anchors", size))
    return Drawing(*size, strokes, anchors)


def _read_stroke(data: Any, number: int, frames: int, size: tuple[int, int]) -> Stroke:
    where = f"stroke {number}"
    if not isinstance(data, dict) or set(data) - {"points", "first", "last"} or "points" not in data:
        raise FramewrightError(f"strokes: {where} is {told(data)}, expected points and perhaps first, last")
    points = _points(data["points"], where, size)
    if len(points) < 2 or all(point == points[0] for point in points):
        raise FramewrightError(
            f"strokes: {where} has no length; expected two points or more (an anchor stays)"
        )
    first, last = data.get("first", 0), data.get("last", frames - 1)
    if not (type(first) is int and type(last) is int and 0 <= first < last < frames):
        raise FramewrightError(
            f"strokes: {where} goes from frame {first!r} to {last!r}, expected 0 ≤ first < last < {frames}"
        )
    return Stroke.even(points, first, last)


def _points(data: Any, where: str, size: tuple[int, int]) -> list[tuple[float, float]]:
    if not isinstance(data, list) or len(data) > MOST_POINTS:
        raise FramewrightError(
            f"strokes: {where}: {told(data)} came, expected a list of at most {MOST_POINTS} points [x, y]"
        )
    for point in data:
        numbers = isinstance(point, list) and len(point) == 2 and all(type(v) in (int, float) for v in point)
        if not numbers or not all(abs(v) < math.inf for v in point):
            raise FramewrightError(f"strokes: {where} has {point!r} as a point, expected [x, y]")
        if not all(0 <= v <= side for v, side in zip(point, size, strict=True)):
            raise FramewrightError(
                f"strokes: {where} has a point at {point[0]}, {point[1]}, outside of the canvas of "
                f"{size[0]}×{size[1]}"
            )
    return [(float(x), float(y)) for x, y in data]


def draw_tracks(tracks: np.ndarray, width: int, height: int, radius: float) -> np.ndarray:
    """Each track's place as a disc and its path so far as a line, [F, H, W, 3] in 0..1.

    `tracks` [K, F, 2] are x, y in pixels; so is the disc's radius.
    """
    frames = np.zeros((tracks.shape[1], height, width, 3), np.float32)
    fine = np.round(tracks * 2**_FRACTION).astype(np.int32)
    size, thick = round(radius * 2**_FRACTION), max(1, round(radius / 2))
    for number, frame in enumerate(frames):
        behind = [path[: number + 1].reshape(-1, 1, 2) for path in fine]
        cv2.polylines(frame, behind, False, _TRAIL, thick, cv2.LINE_AA, _FRACTION)
        for x, y in fine[:, number].tolist():
            cv2.circle(frame, (x, y), size, (1.0, 1.0, 1.0), -1, cv2.LINE_AA, _FRACTION)
    return frames
