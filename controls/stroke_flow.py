"""From sparse strokes to dense flow, and what moves along it.

Without weights, motion spreads over a picture and stops at its edges: edge-aware diffusion (Levin et al.
2004, whose colours are motion here), in the place of MCDiff's network (see flow_completion.py).
"""

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from .flow import Step, hidden, moved_on, pushed
from .strokes import Drawing

SOLVED_AT = 128  # pixels of the longer side at most
SHARPNESS = 0.05  # difference of brightness, 0..1, over which motion hardly passes
GRAIN = 0.1  # difference of brightness, 0..1, of a thing's own surface
LEAK = 1e-4  # how much passes all the same
STILL = 2e-4  # how much every pixel would rather rest
HOLD = 100.0  # how much a stroke's own pixels keep to it
RIM = 2  # pixels of a soft edge that go with what moves beside them


# From the moves [K, 2] of the places of a picture to the flow of all its pixels, [H, W, 2].
Spread = Callable[[np.ndarray], np.ndarray]
# Such a one of K places [K, 2] x, y, of anchors [A, 2], which rest, and of a picture [H, W, 3] in 0..1.
Completion = Callable[[np.ndarray, np.ndarray, np.ndarray], Spread]


def by_edges(places: np.ndarray, anchors: np.ndarray, picture: np.ndarray) -> Spread:
    """What a place lies on moves with it, as far as the picture's edges; all else rests."""
    parts = influences(places, anchors, picture)
    return lambda moves: (parts @ moves).astype(np.float32)


class Carried:
    """A picture [H, W, 3] in 0..1 whose things go along strokes, over what rests, and stay as they are."""

    def __init__(self, drawing: Drawing, picture: np.ndarray, frames: int, completion: Completion) -> None:
        height, width = picture.shape[:2]
        self._picture, self._tracks = picture, drawing.tracks(frames, width, height)
        self._anchors = drawing.anchors_at(width, height)
        self._completion = completion
        self._spread = completion(self._tracks[:, 0], self._anchors, picture)

    def way(self, frame: int) -> np.ndarray:
        """Of each pixel of the picture until a frame, [H, W, 2]."""
        return self._spread(self._tracks[:, frame] - self._tracks[:, 0])

    def after(self, before: np.ndarray, frame: int) -> np.ndarray:
        """What is known of a frame from the one before it, [H, W, 3], as that came out; −1 where nothing is.

        What the first picture shows is taken from that, so that it does not wear off over the frames; of the
        rest of `before` the motion is found anew.
        """
        places, to = self._tracks[:, frame - 1], self._tracks[:, frame]
        flow = self._completion(places, self._anchors, before)(to - places)
        first, shown = pushed(self._picture, self.way(frame))
        return np.where(shown[..., None], first, moved_on(before, flow))


def stroke_flow(
    drawing: Drawing, picture: np.ndarray, frames: int, completion: Completion = by_edges
) -> Iterator[Step]:
    """Each step of a video that begins with a picture [H, W, 3] in 0..1 and moves along strokes.

    What comes into sight rests.
    """
    carried = Carried(drawing, picture, frames, completion)
    now = carried.way(0)
    for frame in range(1, frames):
        then = carried.way(frame)
        there, covered = pushed(then - now, now)
        back, still = pushed(now - then, then)
        yield Step(there, back, hidden(there, back), hidden(back, there) | covered & ~still)
        now = then


def influences(places: np.ndarray, anchors: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """How much pixels of a picture [H, W, 3] move as each of K places [K, 2] x, y does, [H, W, K] in 0..1.

    Anchors [A, 2] rest, and hold what is about them.
    The least squares of neighbours' differences, weighted by how alike they look, by conjugate gradients.
    """
    height, width = picture.shape[:2]
    scale = min(1.0, SOLVED_AT / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(picture.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    small = cv2.bilateralFilter(small, -1, GRAIN, 1.5)
    pinned = np.concatenate([places, anchors])
    held = np.zeros((size[1], size[0], len(pinned)))
    for number, (x, y) in enumerate(pinned * scale):
        held[min(round(float(y)), size[1] - 1), min(round(float(x)), size[0] - 1), number] = HOLD
    spread = _with_rims(_decided(_spread(small, held))[..., : len(places)], small)
    parts = [
        cv2.resize(one.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        for one in np.moveaxis(spread, -1, 0)
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


def _decided(parts: np.ndarray) -> np.ndarray:
    """What is moved or held more than half is so whole, and what is less is not."""
    total = parts.sum(-1, keepdims=True).clip(1e-6, 1)
    sure = (2 * total - 0.5).clip(0, 1)
    return parts / total * sure**2 * (3 - 2 * sure)


def _with_rims(parts: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """The soft edges of what moves go with it: left behind, they smear."""
    height, width = picture.shape[:2]
    padded = np.pad(picture, ((1, 1), (1, 1), (0, 0)), "edge")
    down, across = (np.abs(np.diff(padded, axis=axis)).max(-1) for axis in (0, 1))
    between = np.maximum(
        np.minimum(down[:-1, 1:-1], down[1:, 1:-1]), np.minimum(across[1:-1, :-1], across[1:-1, 1:])
    )
    for _ in range(RIM):
        beside = np.pad(parts, ((1, 1), (1, 1), (0, 0)))
        for y, x in np.ndindex(3, 3):
            other = beside[y : y + height, x : x + width]
            more = (between > SHARPNESS) & (other.sum(-1) > parts.sum(-1))
            parts = np.where(more[..., None], other, parts)
    return parts
