"""Says from the pictures alone how well a clip keeps to its controls."""

from functools import cache

import cv2
import numpy as np

from . import render
from .hints import canny_hints
from .judge import coverage, look, sight_of
from .world import SIZE, Scene, Subject

NEAR = 2.0  # pixels, between an edge and the one that it is taken for
PAIRS = 256  # of pixels a frame, whose order in depth is asked for
_SIDES = ((2, 5), (3, 6), (4, 7), (8, 11), (9, 12), (10, 13))  # right and left joints


def end_error(track: np.ndarray, frames: np.ndarray) -> float:
    """Pixels from a track's end [F, 2] to the middle of the shape in the last frame; inf: no shape there."""
    return _away(frames[-1], track[-1], float("inf"))


def place_error(track: np.ndarray, frames: np.ndarray) -> float:
    """Mean pixels from the places of a track [F, 2] to the middle of the shape in each frame.

    Where there is no shape, half the canvas.
    """
    return float(np.mean([_away(one, place, SIZE / 2) for one, place in zip(frames, track, strict=True)]))


def _away(frame: np.ndarray, place: np.ndarray, lost: float) -> float:
    """Pixels from a place to the middle of a frame's shape; `lost` where there is none."""
    sight = look(frame)
    return lost if sight is None else float(_apart(np.array([sight.x, sight.y]), place))


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distances of points [..., 2] on the canvas, whose edges join."""
    return np.hypot(*np.moveaxis((a - b + SIZE / 2) % SIZE - SIZE / 2, -1, 0))


def canny_f(frames: np.ndarray, wanted: np.ndarray) -> float:
    """F-score of the edges of frames [F, H, W, 3] against the edges wanted [F, H, W], at NEAR pixels."""
    found, wanted = canny_hints(frames)[..., 0] > 0.5, wanted > 0.5
    if not found.any() and not wanted.any():
        return 1.0
    right = sum(_near(one, other).sum() for one, other in zip(found, wanted, strict=True))
    met = sum(_near(one, other).sum() for one, other in zip(wanted, found, strict=True))
    precision, recall = right / max(1, found.sum()), met / max(1, wanted.sum())
    return float(2 * precision * recall / max(1e-9, precision + recall))


def _near(edges: np.ndarray, others: np.ndarray) -> np.ndarray:
    if not others.any():
        return np.zeros_like(edges)
    away = cv2.distanceTransform((~others).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return edges & (away <= NEAR)


def depth_order(frames: np.ndarray, wanted: np.ndarray, rng: np.random.Generator) -> float:
    """How often, of a pixel near in the depth wanted [F, H, W] and one that is far, the near one is nearer.

    What a frame's depth is follows from where its shape is, as in a true clip.
    """
    right = []
    for picture, depth in zip(frames, wanted, strict=True):
        found = coverage(picture)
        seen = render.depth(np.zeros((SIZE, SIZE)) if found is None else found[0])
        near, far = (rng.choice(np.flatnonzero(side), PAIRS) for side in (depth > 0.5, depth <= 0.5))
        right.append((seen.flat[near] > seen.flat[far]).mean())
    return float(np.mean(right))


@cache
def _figures() -> tuple[np.ndarray, np.ndarray]:
    """Outlines [T, G²] of figures that walk or turn; their joints [T, J, 2] from the middle, at unit area."""
    outlines, joints = [], []
    walking = [(way, phase, 0.0) for way in ("up", "left", "right") for phase in np.arange(24) / 24]
    turned = [("still", 0.0, np.radians(angle)) for angle in range(0, 360, 6)]
    for motion, phase, angle in (*walking, *turned):
        scene = Scene(
            Subject("red", "stick figure", motion, "plain"), x=SIZE / 2, y=SIZE / 2, angle=float(angle),
            radius=11.0, phase=float(phase), speed=0.0, tone=0.5, ground_phase=(0.0, 0.0),
        )  # fmt: skip
        sight = sight_of(render.mask(scene, 0), np.array([1.0, 0.0, -1.0]))
        assert sight is not None
        outlines.append(sight.outline)
        joints.append((render.keypoints(scene, 0) - [sight.x, sight.y]) / np.sqrt(sight.area))
    return np.stack(outlines), np.stack(joints)


def figure_joints(picture: np.ndarray) -> np.ndarray | None:
    """The joints [J, 2] of the stick figure in a frame, by the figure whose outline is most alike."""
    sight = look(picture)
    if sight is None:
        return None
    outlines, joints = _figures()
    return joints[(outlines @ sight.outline).argmax()] * np.sqrt(sight.area) + [sight.x, sight.y]


def pose_error(frames: np.ndarray, wanted: np.ndarray) -> float:
    """Mean pixels from joints wanted [F, J, 2] to those in the frames, left and right as fits better.

    An outline does not tell a figure's left from its right. Where there is no figure, half the canvas.
    """
    errors = []
    for picture, joints in zip(frames, wanted, strict=True):
        found = figure_joints(picture)
        if found is None:
            errors.append(SIZE / 2)
            continue
        swapped = joints.copy()
        for right, left in _SIDES:
            swapped[[right, left]] = joints[[left, right]]
        errors.append(min(_apart(found, one).mean() for one in (joints, swapped)))
    return float(np.mean(errors))
