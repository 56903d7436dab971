"""Says from the pictures alone what a clip of the shapes world shows, and how steadily it moves."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from ..controls.flow import hidden, pull
from .judge_motion import judge_motion
from .render import mask
from .world import COLOURS, FRAMES, SHAPES, SIZE, Scene, Subject

_FAINTEST = 0.25  # saturation (largest less smallest channel) below which a picture holds no shape
_SMALLEST = 25.0  # square pixels
_ALIKE = 0.75  # least likeness to a shape: true clips have 0.89 and more, noise 0.67 and less
_GRID = 40  # side of a normalised outline
_REACH = 1.4  # half its side, in square roots of the shape's area
_SYMMETRY = {"circle": 0, "square": 90, "triangle": 120, "star": 72, "stick figure": 360}  # degrees
_WRAP = 16  # pixels of the far side shown to the flow
_ZOOM = 2


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a clip shows; None where the pictures do not say."""

    colour: str | None
    shape: str | None
    motion: str | None
    likeness: float  # of the outline to the shape named, 0..1, mean over frames
    track: np.ndarray  # [F, 2] x, y of the shape's middle on the canvas, pixels; NaN where no shape is seen
    areas: np.ndarray  # [F], square pixels; NaN likewise


@dataclass(frozen=True)
class Sight:
    """The shape in one frame."""

    colour: str
    x: float
    y: float
    area: float
    outline: np.ndarray  # [_GRID²], of length 1


def judge(frames: np.ndarray) -> Verdict:
    """The colour, shape and motion of a clip [F, 64, 64, 3] in 0..1."""
    sights = [look(np.asarray(picture, np.float32)) for picture in frames]
    seen = [i for i, sight in enumerate(sights) if sight]
    track, areas = np.full((len(sights), 2), np.nan), np.full(len(sights), np.nan)
    angles = np.zeros(len(sights))
    if len(seen) < max(1, len(sights) / 2):
        return Verdict(None, None, None, 0.0, track, areas)
    track[seen] = [(sights[i].x, sights[i].y) for i in seen]
    areas[seen] = [sights[i].area for i in seen]
    colour = Counter(sights[i].colour for i in seen).most_common(1)[0][0]
    shape, likeness, angles[seen] = _name_shape(np.stack([sights[i].outline for i in seen]))
    motion = judge_motion(track, areas, angles, _SYMMETRY[shape] if shape else 0)
    return Verdict(colour, shape, motion, likeness, track, areas)


def score(clips: Sequence[tuple[Subject, np.ndarray]]) -> dict[str, float]:
    """How often the verdicts agree with the subjects, 0..1, and the mean warp error."""
    verdicts = [judge(frames) for _, frames in clips]
    pairs = list(zip(verdicts, (subject for subject, _ in clips), strict=True))
    agreed = {
        part: float(np.mean([getattr(verdict, part) == getattr(subject, part) for verdict, subject in pairs]))
        for part in ("colour", "shape", "motion")
    }
    return {**agreed, "warp_error": float(np.mean([warp_error(frames) for _, frames in clips]))}


def coverage(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """By what has colour on the grey ground, [H, W] in 0..1, and its hue; None where nothing has any."""
    strength = picture.max(-1) - picture.min(-1)
    peak = np.sort(strength, axis=None)[-SIZE:].mean()
    if not peak > _FAINTEST:
        return None
    chroma = picture - picture.mean(-1, keepdims=True)
    hue = np.median(chroma[strength > 0.7 * peak], axis=0)
    return np.clip(chroma @ hue / (hue @ hue), 0, 1), hue


def look(picture: np.ndarray) -> Sight | None:
    """The shape of a frame, its largest patch of colour."""
    found = coverage(picture)
    return found and sight_of(*found)


def sight_of(covered: np.ndarray, hue: np.ndarray) -> Sight | None:
    """The shape that covers [H, W], and its colour."""
    alone = _largest(covered)
    area = float(alone.sum())
    if area < _SMALLEST:
        return None
    rows, columns = alone.sum(1), alone.sum(0)
    x, y = (float(side @ np.arange(2 * SIZE)) / area for side in (columns, rows))
    colour = max(COLOURS, key=lambda name: _likeness(hue, np.array(COLOURS[name])))
    return Sight(colour, x % SIZE, y % SIZE, area, _normalised(alone, x, y, area))


def _likeness(hue: np.ndarray, colour: np.ndarray) -> float:
    grey_free = colour - colour.mean()
    return float(hue @ grey_free / np.linalg.norm(grey_free))


def _largest(covered: np.ndarray) -> np.ndarray:
    """The largest connected patch, on a canvas of 2 by 2 copies [2H, 2W]: no edge cuts all of them."""
    tiled = np.tile(covered, (2, 2))
    _, labels, stats, _ = cv2.connectedComponentsWithStats((tiled > 0.5).astype(np.uint8), connectivity=8)
    if len(stats) < 2:
        return np.zeros_like(tiled)
    patch = (labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8)
    return tiled * cv2.dilate(patch, np.ones((3, 3), np.uint8))  # with its soft rim


def _normalised(alone: np.ndarray, x: float, y: float, area: float) -> np.ndarray:
    """The shape at its middle and at unit area, as a vector [_GRID²] of length 1."""
    step = 2 * _REACH * math.sqrt(area) / _GRID
    first = np.array([x, y]) - step * (_GRID - 1) / 2
    grid = np.array([[step, 0, first[0]], [0, step, first[1]]])
    picture = cv2.warpAffine(alone, grid, (_GRID, _GRID), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return (picture / np.linalg.norm(picture)).ravel()


@cache
def _templates() -> tuple[np.ndarray, np.ndarray, dict[str, slice]]:
    """Normalised outlines [T, _GRID²], their angles [T] in degrees, and the rows of each shape."""
    outlines: list[np.ndarray] = []
    angles: list[float] = []
    rows: dict[str, slice] = {}
    for shape in SHAPES:
        first = len(outlines)
        poses = [("still", angle, 0.0) for angle in np.arange(0, max(_SYMMETRY[shape], 1), 6)]
        if shape == "stick figure":
            poses += [("up", 0.0, phase) for phase in np.linspace(0, 0.5, 8, endpoint=False)]
        for motion, angle, phase in poses:
            scene = Scene(
                Subject("red", shape, motion, "plain"), x=SIZE / 2, y=SIZE / 2, angle=math.radians(angle),
                radius=11.0, phase=phase, speed=0.0, tone=0.5, ground_phase=(0.0, 0.0),
            )  # fmt: skip
            sight = sight_of(mask(scene, FRAMES), np.array(COLOURS["red"]))
            assert sight is not None
            outlines.append(sight.outline)
            angles.append(float(angle))
        rows[shape] = slice(first, len(outlines))
    return np.stack(outlines), np.array(angles), rows


def _name_shape(outlines: np.ndarray) -> tuple[str | None, float, np.ndarray]:
    """The shape that outlines [F, _GRID²] fit best together (if well), how well, its angle in each."""
    templates, angles, rows = _templates()
    fits = outlines @ templates.T
    likeness = {shape: float(fits[:, rows[shape]].max(1).mean()) for shape in SHAPES}
    shape = max(likeness, key=likeness.__getitem__)
    turned = angles[rows[shape]][fits[:, rows[shape]].argmax(1)]
    return shape if likeness[shape] > _ALIKE else None, likeness[shape], turned


def warp_error(frames: np.ndarray) -> float:
    """How much the pictures change beyond motion: the mean of `warp_errors`; 0 for a clip of one frame."""
    errors = warp_errors(frames)
    return float(np.mean(errors)) if errors else 0.0


def warp_errors(frames: np.ndarray) -> list[float]:
    """Mean absolute difference of each frame [H, W, 3] in 0..1 and the next one warped back onto it.

    The flow comes from the pictures (dense inverse search, Kroeger et al. 2016); what it hides is left out.
    """
    finder = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    rim = ((_WRAP, _WRAP), (_WRAP, _WRAP), (0, 0))
    wide = [np.pad(np.asarray(picture, np.float32), rim, mode="wrap") for picture in frames]
    seen = [_visible(picture) for picture in wide]
    errors = []
    for now, then, seen_now, seen_then in zip(wide[:-1], wide[1:], seen[:-1], seen[1:], strict=True):
        there, back = _flow(finder, seen_now, seen_then), _flow(finder, seen_then, seen_now)
        closed = ~hidden(there, back)
        inside = np.zeros_like(closed)
        inside[_WRAP:-_WRAP, _WRAP:-_WRAP] = True
        kept = closed & inside if (closed & inside).any() else inside
        errors.append(float(np.abs(pull(then, there) - now)[kept].mean()))
    return errors


def _visible(picture: np.ndarray) -> np.ndarray:
    """Eight bits, half brightness and half colour: a shape stands out from a ground as bright as itself."""
    light = picture.mean(-1) + picture.max(-1) - picture.min(-1)
    large = cv2.resize(light, None, fx=_ZOOM, fy=_ZOOM, interpolation=cv2.INTER_CUBIC)
    return np.clip(large * 127.5, 0, 255).astype(np.uint8)


def _flow(finder: cv2.DISOpticalFlow, now: np.ndarray, then: np.ndarray) -> np.ndarray:
    """Displacements [H, W, 2] in pixels."""
    flow = finder.calc(now, then, None)
    return cv2.resize(flow, None, fx=1 / _ZOOM, fy=1 / _ZOOM, interpolation=cv2.INTER_AREA) / _ZOOM
