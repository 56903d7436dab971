"""Optical flow: how far each pixel moves to the next frame, and what comes into and out of sight.

A flow [H, W, 2] holds x, y in pixels, from where a thing is to where it will be.
"""

import math
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, tee
from threading import local
from typing import Any, TypeVar

import cv2
import numpy as np

from ..errors import FramewrightError

PRESETS = {
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
}
_LEAST = 12  # pixels of a side in which dense inverse search finds anything
_RIM = 6  # pixels about an edge of motion within which the flow is put right
_REACH = (6, 12)  # pixels, from how far it takes another motion there
_WAYS = [(0, 0), *((r * x, r * y) for r in _REACH for x in (-1, 0, 1) for y in (-1, 0, 1) if x or y)]
_ALIKE = 12  # of 765: as unlike as this are pixels of one thing
_LINE = 5  # pixels: most of those about one that is hidden are hidden too
_NO_Y: Any = None  # of places that OpenCV is given as pairs
_ROWS = 30_000  # of points that OpenCV samples at once
_OTHER, _MOTIONS = 0.5, 3  # pixels, by which motions are not of one thing; how many are told apart
_ABOVE = 8.0  # e to the power of this: how much rather a place is taken by what is above than by what rests
Part = TypeVar("Part")
_Shown = tuple[np.ndarray, np.ndarray]  # a frame [H, W, 3] in eight bits, and in greys


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


def optical_flow(frames: Iterable[np.ndarray], preset: str = "medium") -> Iterator[Step]:
    """Each step of a clip of frames [H, W, 3] in 0..1, and what is hidden.

    Dense inverse search (Kroeger et al. 2016), with sharp edges. There and back are found side by side, and
    those of the next step while a step is put right.
    """
    finders = local()  # one is no two threads'

    def found(now: np.ndarray, then: np.ndarray) -> np.ndarray:
        if not hasattr(finders, "own"):
            finders.own = cv2.DISOpticalFlow.create(PRESETS[preset])
        return finders.own.calc(now, then, np.zeros((*now.shape, 2), np.float32))

    with ThreadPoolExecutor(2) as threads:

        def begun(pair: tuple[_Shown, _Shown]) -> tuple[_Shown, _Shown, Iterator[np.ndarray]]:
            now, then = pair
            return now, then, threads.map(found, (now[1], then[1]), (then[1], now[1]))

        pairs = pairwise((one, cv2.cvtColor(one, cv2.COLOR_RGB2GRAY)) for one in map(_eight_bits, frames))
        for now, then, sides in _one_ahead(map(begun, pairs)):
            there, back = sides
            flows = (there, back), (back, there)
            there, back = threads.map(_sharpened, *flows, (now[0], then[0]), (then[0], now[0]))
            yield Step(there, back, *threads.map(_covered, (there, back), (back, there)))


def _one_ahead(parts: Iterable[Part]) -> Iterator[Part]:
    """The same parts, each after the next one has been made."""
    before: list[Part] = []
    for part in parts:
        yield from before
        before = [part]
    yield from before


def _eight_bits(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    if min(height, width) < _LEAST:
        raise FramewrightError(
            f"image: frames of {width}×{height} came, expected at least {_LEAST}×{_LEAST} pixels"
        )
    return (frame.clip(0, 1) * 255).astype(np.uint8)


def hidden(there: np.ndarray, back: np.ndarray, every: int = 1) -> np.ndarray:
    """Pixels [H, W] whose way there and back does not close, or leaves the picture (Sundaram et al. 2010).

    Of `every` rows and columns one is looked at. The way back is the nearest pixel's: where two motions meet
    there is no mean of them.
    """
    height, width = there.shape[:2]
    there = _thinned(there, every)
    ends = _grid(height, width, every) + there
    inside = cv2.inRange(ends, (-0.5, -0.5), (width - 0.5, height - 0.5))
    returned = cv2.remap(back, ends, _NO_Y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    allowed = 0.01 * (_squared(there) + _squared(returned)) + 0.5
    returned += there
    return (_squared(returned) >= allowed) | (inside == 0)


def _covered(there: np.ndarray, back: np.ndarray) -> np.ndarray:
    """What is hidden, without the thin lines of pixels that show parts of two things."""
    seen = hidden(there, back).view(np.uint8)
    return cv2.boxFilter(seen, -1, (_LINE, _LINE), normalize=False) > _LINE**2 // 2


def _thinned(values: np.ndarray, every: int) -> np.ndarray:
    """One of `every` rows and columns."""
    if every == 1:
        return values
    height, width = values.shape[:2]
    size = -(-width // every), -(-height // every)
    return cv2.resize(values, size, interpolation=cv2.INTER_NEAREST)


def _squared(flow: np.ndarray) -> np.ndarray:
    """Of each length."""
    squares = flow * flow
    return squares[..., 0] + squares[..., 1]


def _sharpened(there: np.ndarray, back: np.ndarray, now: np.ndarray, then: np.ndarray) -> np.ndarray:
    """Where motions meet, of those round about the one by which the frames are most alike.

    Dense flow is soft where one motion ends and another begins. What it got right there stays.
    """
    height, width = there.shape[:2]
    about = cv2.dilate(hidden(there, back, 2).view(np.uint8), np.ones((_RIM + 1,) * 2, np.uint8))
    rims = np.flatnonzero(cv2.resize(about, (width, height), interpolation=cv2.INTER_NEAREST).view(bool))
    far, stride = max(_REACH), width + 2 * max(_REACH)
    wide = cv2.copyMakeBorder(there, far, far, far, far, cv2.BORDER_REPLICATE).reshape(-1, 2)
    out = there.copy()
    for start in range(0, len(rims), _ROWS):
        some = rims[start : start + _ROWS]
        own = there.reshape(-1, 2).take(some, 0)[:, None]
        some = some[_unlike(now, then, some, own)[:, 0] > _ALIKE]
        rows, columns = np.divmod(some, width)
        first = (rows + far) * stride + columns + far
        motions = wide.take(first[:, None] + [x + y * stride for x, y in _WAYS], 0)
        best = _unlike(now, then, some, motions).argmin(1)
        out.reshape(-1, 2)[some] = motions[np.arange(len(best)), best]
    return out


def _unlike(now: np.ndarray, then: np.ndarray, pixels: np.ndarray, motions: np.ndarray) -> np.ndarray:
    """How unlike two frames [H, W, 3] are, in 0..765, by each motion [N, M, 2] of N pixels; [N, M]."""
    if not len(pixels):
        return np.empty(motions.shape[:2], np.uint16)
    rows, columns = np.divmod(pixels, now.shape[1])
    places = np.stack([columns, rows], -1).astype(np.float32)[:, None] + motions
    met = cv2.remap(then, places, _NO_Y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    here = now.reshape(-1, 3).take(pixels, 0)[:, None].repeat(motions.shape[1], 1)
    apart = cv2.absdiff(met.reshape(here.shape), here).astype(np.uint16)
    return apart[..., 0] + apart[..., 1] + apart[..., 2]


def _places(flow: np.ndarray) -> np.ndarray:
    """Where the flow leads from each pixel, [H, W, 2] x, y."""
    return _grid(*flow.shape[:2]) + flow.astype(np.float32, copy=False)


@lru_cache(maxsize=8)
def _grid(height: int, width: int, every: int = 1) -> np.ndarray:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return _thinned(np.stack([x, y], -1), every)


def pull(values: np.ndarray, flow: np.ndarray, nearest: bool = False) -> np.ndarray:
    """What stands in `values` [H, W] or [H, W, C] where the flow leads from each pixel."""
    how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    return cv2.remap(values, _places(flow), _NO_Y, how, borderMode=cv2.BORDER_REPLICATE)


def pushed(values: np.ndarray, way: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values [H, W, C] of pixels where their way leads, 0 where none comes to; and where one does.

    What moves farthest lies above what rests.
    """
    height, width = way.shape[:2]
    far = np.hypot(way[..., 0], way[..., 1])
    y, x = np.mgrid[:height, :width] + np.moveaxis(way[..., ::-1], -1, 0)
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    right, down = x - column, y - row
    force = np.exp(_ABOVE * far / max(float(far.max()), 1e-6))
    sums = np.zeros((height * width, values.shape[-1] + 2))
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        near = (right if dx else 1 - right) * (down if dy else 1 - down)
        kept = (column + dx >= 0) & (row + dy >= 0) & (column + dx < width) & (row + dy < height)
        place = ((row + dy) * width + column + dx)[kept]
        parts = (near, near * force, *((near * force)[..., None] * values).transpose(2, 0, 1))
        for number, part in enumerate(parts):
            sums[:, number] += np.bincount(place, part[kept], height * width)
    mean = sums[:, 2:] / np.maximum(sums[:, 1:2], 1e-12)
    return mean.reshape(values.shape).astype(np.float32), (sums[:, 0] >= 0.5).reshape(height, width)


def moved_on(picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """A picture [H, W, 3] whose pixels have gone along a flow.

    −1 where nothing of it comes to, as ControlNets for inpainting have it.
    """
    moved, covered = pushed(picture, flow)
    return np.where(covered[..., None], moved, np.float32(-1))


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

    What is not of it is as the nearest is that moves alike: what moves otherwise lies before it.
    """
    yield picture, np.zeros(picture.shape[:2], bool)
    steps, shown = tee(steps)
    for one, (way, seen) in zip(steps, come_from(shown), strict=True):
        yield _painted(pull(picture, way), one.back, seen), ~seen


def _painted(picture: np.ndarray, motion: np.ndarray, known: np.ndarray) -> np.ndarray:
    picture, missing = picture.copy(), ~known
    for last in (False,) * _MOTIONS + (True,):
        if not missing.any():
            break
        apart = np.hypot(*np.moveaxis(motion - np.median(motion[missing], 0), -1, 0))
        alike = apart <= (math.inf if last else _OTHER)
        source, place = known & alike, missing & alike
        if source.any():
            picture[place] = picture[source][_nearest(source)[place]]
            missing = missing & ~place
    return picture


def _nearest(marked: np.ndarray) -> np.ndarray:
    """Of each pixel [H, W], which of the marked ones is the nearest."""
    _, labels = cv2.distanceTransformWithLabels(
        (~marked).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    return np.argsort(labels[marked])[labels - 1]


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
