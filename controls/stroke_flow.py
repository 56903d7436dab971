"""From sparse strokes to dense flow, without weights: motion spreads over a picture and stops at its edges.

The place of MCDiff's flow completion network (Chen et al. 2023), solved as edge-aware diffusion (Levin et al.
2004, whose colours are motion here).
"""

from collections.abc import Iterator

import cv2
import numpy as np

from .flow import Step, hidden
from .strokes import Drawing

SOLVED_AT = 128  # pixels of the longer side at most
SHARPNESS = 0.05  # difference of brightness, 0..1, over which motion hardly passes
LEAK = 1e-4  # how much passes all the same
STILL = 2e-4  # how much every pixel would rather rest
HOLD = 100.0  # how much a stroke's own pixels keep to it
ABOVE = 8.0  # e to the power of this: how much rather a place is taken by what moves than by what rests


def stroke_flow(drawing: Drawing, picture: np.ndarray, frames: int) -> Iterator[Step]:
    """Each step of a video that begins with a picture [H, W, 3] in 0..1 and moves along strokes.

    What a stroke begins on moves with it, as far as the picture's edges, over what rests; what holds an
    anchor rests, and so does what comes into sight.
    """
    height, width = picture.shape[:2]
    tracks = drawing.tracks(frames, width, height)
    anchors = drawing.anchors_at(width, height)
    parts = influences(np.concatenate([tracks[:, 0], anchors]), picture)[..., : len(tracks)]
    above = parts.sum(-1)

    def way(frame: int) -> np.ndarray:
        """Of each pixel of the picture, [H, W, 2]."""
        return parts @ (tracks[:, frame] - tracks[:, 0])

    for frame in range(frames - 1):
        now, then = way(frame), way(frame + 1)
        (there, covered), (back, still) = _pushed(then - now, now, above), _pushed(now - then, then, above)
        yield Step(there, back, hidden(there, back), hidden(back, there) | covered & ~still)


def influences(places: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """How much pixels of a picture [H, W, 3] move as each of K places [K, 2] x, y does, [H, W, K] in 0..1.

    The least squares of neighbours' differences, weighted by how alike they look, by conjugate gradients.
    """
    height, width = picture.shape[:2]
    scale = min(1.0, SOLVED_AT / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(picture.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    held = np.zeros((size[1], size[0], len(places)))
    for number, (x, y) in enumerate(places * scale):
        held[min(round(float(y)), size[1] - 1), min(round(float(x)), size[0] - 1), number] = HOLD
    parts = [
        cv2.resize(one.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        for one in np.moveaxis(_spread(small, held), -1, 0)
    ]
    return np.stack(parts, -1).clip(0, 1) if parts else np.zeros((height, width, 0), np.float32)


def _spread(picture: np.ndarray, held: np.ndarray) -> np.ndarray:
    """What keeps to 1 where it is held, to 0 where another is, and goes over smoothly between, [H, W, K]."""

    def passes(axis: int) -> np.ndarray:
        apart = np.abs(np.diff(picture, axis=axis)).max(-1)
        return (np.exp(-((apart / SHARPNESS) ** 2)) + LEAK)[..., None]

    down, across = passes(0), passes(1)
    pinned = held.sum(-1, keepdims=True) + STILL

    def applied(f: np.ndarray) -> np.ndarray:
        out = pinned * f
        vertical, horizontal = down * np.diff(f, axis=0), across * np.diff(f, axis=1)
        out[:-1] -= vertical
        out[1:] += vertical
        out[:, :-1] -= horizontal
        out[:, 1:] += horizontal
        return out

    weight = pinned.copy()  # the diagonal, by which steps are scaled (Jacobi)
    weight[:-1] += down
    weight[1:] += down
    weight[:, :-1] += across
    weight[:, 1:] += across
    parts, rest = np.zeros_like(held), held.copy()
    scaled = rest / weight
    way, power = scaled, (rest * scaled).sum((0, 1))
    enough = 1e-8 * power
    for _ in range(4 * sum(picture.shape[:2])):
        if (power <= enough).all():
            break
        pushed = applied(way)
        length = power / np.maximum((way * pushed).sum((0, 1)), 1e-30)
        parts, rest = parts + length * way, rest - length * pushed
        scaled = rest / weight
        before, power = power, (rest * scaled).sum((0, 1))
        way = scaled + power / np.maximum(before, 1e-30) * way
    return parts


def _pushed(values: np.ndarray, way: np.ndarray, above: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values [H, W, C] of pixels where their way leads, 0 where none comes to; and where one does."""
    height, width = above.shape
    y, x = np.mgrid[:height, :width] + np.moveaxis(way[..., ::-1], -1, 0)
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    right, down = x - column, y - row
    force = np.exp(ABOVE * above)
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
