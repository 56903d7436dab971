"""Optical flow: how far each pixel moves to the next frame, and what comes into and out of sight.

A flow [H, W, 2] holds x, y in pixels, from where a thing is to where it will be.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise, tee

import cv2
import numpy as np

PRESETS = {
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
}
_RIM = 6  # pixels about an edge of motion within which the flow is put right
_REACH = (6, 12)  # pixels, from how far it takes another motion there
_ROWS = 30_000  # of points that OpenCV samples at once


@dataclass(frozen=True, eq=False)
class Step:
    """From one frame to the next and back; `gone`: pixels that the second lacks; `new`: the first."""

    there: np.ndarray  # [H, W, 2]
    back: np.ndarray  # [H, W, 2]
    gone: np.ndarray  # [H, W], bool
    new: np.ndarray  # [H, W], bool

    def resized(self, width: int, height: int) -> "Step":
        """For frames of another size."""
        size, (h, w) = (width, height), self.gone.shape
        scale = np.array([width / w, height / h], np.float32)
        flows = [
            cv2.resize(flow, size, interpolation=cv2.INTER_AREA) * scale for flow in (self.there, self.back)
        ]
        masks = [
            cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5
            for mask in (self.gone, self.new)
        ]
        return Step(*flows, *masks)


def dense_flow(
    frames: Iterable[np.ndarray], preset: str = "medium"
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """There and back between frames [H, W, 3] in 0..1: dense inverse search (Kroeger et al. 2016)."""
    finder = cv2.DISOpticalFlow.create(PRESETS[preset])
    for now, then in pairwise(cv2.cvtColor(_eight_bits(frame), cv2.COLOR_RGB2GRAY) for frame in frames):
        yield _found(finder, now, then), _found(finder, then, now)


def _found(finder: cv2.DISOpticalFlow, now: np.ndarray, then: np.ndarray) -> np.ndarray:
    return finder.calc(now, then, np.zeros((*now.shape, 2), np.float32))


def optical_flow(frames: Iterable[np.ndarray], preset: str = "medium") -> Iterator[Step]:
    """Each step of a clip of frames [H, W, 3] in 0..1: dense flow with sharp edges, and what is hidden."""
    shown, frames = tee(frames)
    pairs = pairwise(_eight_bits(frame) for frame in shown)
    for (now, then), (there, back) in zip(pairs, dense_flow(frames, preset), strict=True):
        rims = [_near(hidden(one, other)) for one, other in ((there, back), (back, there))]
        yield step(_sharpened(there, now, then, rims[0]), _sharpened(back, then, now, rims[1]))


def _eight_bits(frame: np.ndarray) -> np.ndarray:
    return (frame.clip(0, 1) * 255).astype(np.uint8)


def step(there: np.ndarray, back: np.ndarray) -> Step:
    return Step(there, back, hidden(there, back), hidden(back, there))


def hidden(there: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Pixels [H, W] whose way there and back does not close, or leaves the picture (Sundaram et al. 2010)."""
    returned = pull(back, there)
    gap = ((there + returned) ** 2).sum(-1)
    far = (there**2).sum(-1) + (returned**2).sum(-1)
    height, width = there.shape[:2]
    x, y = np.moveaxis(_places(there), -1, 0)
    outside = (x < -0.5) | (y < -0.5) | (x > width - 0.5) | (y > height - 0.5)
    return (gap >= 0.01 * far + 0.5) | outside


def _near(pixels: np.ndarray) -> np.ndarray:
    return cv2.dilate(pixels.astype(np.uint8), np.ones((2 * _RIM + 1,) * 2, np.uint8)) > 0


def _sharpened(there: np.ndarray, now: np.ndarray, then: np.ndarray, where: np.ndarray) -> np.ndarray:
    """At these pixels, of the motions round about the one by which the frames are most alike.

    Dense flow is soft where one motion ends and another begins.
    """
    rows, columns = np.nonzero(where)
    ways = [(r * x, r * y) for r in _REACH for x in (-1, 0, 1) for y in (-1, 0, 1) if x or y]
    last = np.array(where.shape) - 1
    motions = np.stack(
        [there[(rows + y).clip(0, last[0]), (columns + x).clip(0, last[1])] for x, y in ((0, 0), *ways)], 1
    )
    x, y = np.moveaxis(np.stack([columns, rows], -1)[:, None] + motions, -1, 0).astype(np.float32)
    parts = [slice(first, first + _ROWS) for first in range(0, len(rows), _ROWS)]
    cost = np.empty(motions.shape[:2], np.float32)
    for part in parts:
        met = cv2.remap(then, x[part], y[part], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        cost[part] = np.abs(met.astype(np.int16) - now[rows[part], columns[part]][:, None]).sum(-1)
    out = there.copy()
    out[rows, columns] = motions[np.arange(len(rows)), cost.argmin(1)]
    return out


def _places(flow: np.ndarray) -> np.ndarray:
    """Where the flow leads from each pixel, [H, W, 2] x, y."""
    y, x = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    return np.stack([x, y], -1) + flow.astype(np.float32)


def pull(values: np.ndarray, flow: np.ndarray, nearest: bool = False) -> np.ndarray:
    """What stands in `values` [H, W] or [H, W, C] where the flow leads from each pixel."""
    x, y = np.moveaxis(_places(flow), -1, 0)
    how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    return cv2.remap(values, x, y, how, borderMode=cv2.BORDER_REPLICATE)


def come_from(steps: Iterable[Step]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each frame after the first, the way of each pixel back to that one, and which were seen there.

    Ways do not mix where motions meet: each is that of the nearest pixel.
    """
    way, seen = None, None
    for one in steps:
        if way is None or seen is None:
            way, seen = np.zeros_like(one.back), np.ones_like(one.new)
        way = one.back + pull(way, one.back, nearest=True)
        seen = ~one.new & (pull(seen.astype(np.uint8), one.back, nearest=True) > 0)
        yield way, seen


def warped(picture: np.ndarray, steps: Iterable[Step]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """A picture [H, W, 3] in 0..1 carried along, from itself on, and in each frame where nothing of it is.

    What is not of it is painted in from round about (Telea 2004).
    """
    yield picture, np.zeros(picture.shape[:2], bool)
    for way, seen in come_from(steps):
        shown = _eight_bits(pull(picture, way))
        filled = cv2.inpaint(shown, (~seen).astype(np.uint8), 3, cv2.INPAINT_TELEA)
        yield np.where(seen[..., None], pull(picture, way), filled / np.float32(255)), ~seen


def steady(frames: Iterable[np.ndarray], strength: float, preset: str = "medium") -> Iterator[np.ndarray]:
    """Frames [H, W, C] in 0..1, each mixed with the one before, moved along, where that is still seen.

    `strength` 0..1 is the part of the one before; what flickers and does not move is averaged away.
    """
    frames, shown = tee(frames)
    kept = None
    for frame, one in zip(frames, _none_first(optical_flow(shown, preset)), strict=True):
        if kept is None or one is None:
            kept = frame.astype(np.float32)
        else:
            part = np.float32(strength) * ~one.new[..., None]
            kept = frame * (1 - part) + pull(kept, one.back) * part
        yield kept


def _none_first(steps: Iterable[Step]) -> Iterator[Step | None]:
    yield None
    yield from steps


def colour_wheel(flow: np.ndarray, longest: float) -> np.ndarray:
    """A picture [H, W, 3] in 0..1 of a flow: hue is its direction, paleness how short of `longest` it is."""
    length = np.hypot(flow[..., 0], flow[..., 1]) / max(longest, 1e-6)
    angle = np.degrees(np.arctan2(flow[..., 1], flow[..., 0])) % 360
    hsv = np.stack([angle, length.clip(0, 1), np.ones_like(length)], -1).astype(np.float32)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
