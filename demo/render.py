"""Clips of the shapes world with exact ground truth: frames, depth, edges, skeleton, strokes and flow."""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from .world import COLOURS, DIRECTIONS, FRAMES, SIZE, Pose, Scene

_SUPER = 8  # supersampling of masks

JOINTS = (
    "nose", "neck", "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow",
    "left wrist", "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle",
)  # fmt: skip
BONES = (
    (1, 2),
    (2, 3),
    (3, 4),
    (1, 5),
    (5, 6),
    (6, 7),
    (1, 8),
    (8, 9),
    (9, 10),
    (1, 11),
    (11, 12),
    (12, 13),
    (1, 0),
)


@dataclass
class Clip:
    """One clip. Lengths in pixels; every map is float32; the canvas wraps around."""

    caption: str
    frames: np.ndarray  # [F, H, W, 3], 0..1
    depth: np.ndarray  # [F, H, W], 1 near
    edges: np.ndarray  # [F, H, W], 0 or 1
    skeleton: np.ndarray | None  # [F, J, 2] x, y of JOINTS, for a stick figure
    strokes: np.ndarray  # [K, F, 2] x, y tracks of points on the shape, unwrapped
    flow: np.ndarray  # [F-1, H, W, 2] from each frame to the next


def outline(shape: str) -> np.ndarray:
    """Corners of a shape of radius 1 round the origin, [P, 2]."""
    if shape == "circle":
        turns = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        return np.stack([np.cos(turns), np.sin(turns)], 1)
    if shape == "square":
        return np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 0.88
    points, inner = (3, 1.0) if shape == "triangle" else (5, 0.45)
    turns = -np.pi / 2 + np.linspace(0, 2 * np.pi, points if inner == 1 else 2 * points, endpoint=False)
    radii = np.full(len(turns), 1.3)
    if inner != 1:
        radii[1::2] *= inner
    return np.stack([np.cos(turns) * radii, np.sin(turns) * radii], 1)


def joints(pose: Pose, facing: float) -> np.ndarray:
    """Joints of the stick figure in its own frame (radius 1, origin at its middle), [J, 2]."""
    swing = 0.45 * np.sin(2 * np.pi * pose.gait) if pose.gait else 0.18
    reach = 0.35 * np.sin(2 * np.pi * pose.gait) if pose.gait else 0.3
    neck, hip = np.array([0.0, -0.75]), np.array([0.0, 0.25])
    lean = np.array([0.12 * facing, 0.0])
    body = {"neck": neck, "nose": neck + [0, -0.45] + lean}
    for side, sign in (("right", 1), ("left", -1)):
        shoulder, pelvis = neck + [0.12 * sign, 0.1], hip + [0.1 * sign, 0]
        body[f"{side} shoulder"], body[f"{side} hip"] = shoulder, pelvis
        body[f"{side} elbow"] = shoulder + [sign * 0.16 - sign * reach * 0.5, 0.38]
        body[f"{side} wrist"] = shoulder + [sign * 0.3 - sign * reach, 0.72]
        body[f"{side} knee"] = pelvis + [sign * swing * 0.6, 0.55]
        body[f"{side} ankle"] = pelvis + [sign * swing * 1.3, 1.1]
    return np.stack([body[name] for name in JOINTS])


def _place(points: np.ndarray, pose: Pose) -> np.ndarray:
    cos, sin = np.cos(pose.angle), np.sin(pose.angle)
    turned = points @ np.array([[cos, sin], [-sin, cos]])
    return turned * pose.radius + [pose.x, pose.y]


def keypoints(scene: Scene, frame: float) -> np.ndarray:
    """The stick figure's JOINTS [J, 2], x, y in pixels, off the canvas where it is."""
    pose = scene.pose(frame)
    return _place(joints(pose, _facing(scene)) * 1.25, pose)


def _facing(scene: Scene) -> float:
    return float(DIRECTIONS.get(scene.subject.motion, (0, 0))[0])


def copies(points: np.ndarray, margin: float = 2.0) -> list[np.ndarray]:
    """The points at every wrapped place where what reaches `margin` beyond them may touch the canvas."""
    base = np.floor(points.mean(0) / SIZE) * SIZE
    (left, top), (right, bottom) = (points.min(0) - base).tolist(), (points.max(0) - base).tolist()
    shifts = [
        (x, y) for x in (-SIZE, 0, SIZE) for y in (-SIZE, 0, SIZE)
        if right + x > -margin and bottom + y > -margin
        and left + x < SIZE + margin and top + y < SIZE + margin
    ]  # fmt: skip
    return [points + (np.array(shift) - base) for shift in shifts]


def _fine(points: np.ndarray) -> np.ndarray:
    """Points on the supersampled canvas, where the middle of pixel 0 is at 0."""
    return np.round((points + 0.5) * _SUPER - 0.5).astype(np.int32)


def mask(scene: Scene, frame: float) -> np.ndarray:
    """Coverage of each pixel by the shape, [H, W], 0..1."""
    pose = scene.pose(frame)
    canvas = np.zeros((SIZE * _SUPER, SIZE * _SUPER), np.uint8)
    if scene.subject.shape == "stick figure":
        placed = keypoints(scene, frame)
        thick = max(1, round(0.3 * pose.radius * _SUPER))
        for points in copies(placed, 0.6 * pose.radius):
            fine = _fine(points)
            for a, b in BONES:
                cv2.line(canvas, fine[a].tolist(), fine[b].tolist(), 255, thick)
            cv2.circle(canvas, fine[0].tolist(), round(0.42 * pose.radius * _SUPER), 255, -1)
    else:
        for points in copies(_place(outline(scene.subject.shape), pose)):
            cv2.fillPoly(canvas, [_fine(points)], 255)
    return cv2.resize(canvas, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def ground(scene: Scene) -> np.ndarray:
    """The grey ground, [H, W], 0..1; its texture repeats every 16 pixels."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    x, y = x + scene.ground_phase[0], y + scene.ground_phase[1]
    wave = {
        "plain": np.zeros_like(x),
        "striped": np.sin(2 * np.pi * (x + y) / 16),
        "checkered": np.sin(2 * np.pi * x / 16) * np.sin(2 * np.pi * y / 16) * 1.5,
    }[scene.subject.ground]
    return (scene.tone + 0.14 * np.clip(wave * 2, -1, 1)).astype(np.float32)


def pictures(scene: Scene, numbers: Iterable[float]) -> list[np.ndarray]:
    """The frames of those numbers alone, each [H, W, 3]."""
    behind = ground(scene)[..., None]
    return [over(behind, mask(scene, number), scene.subject.colour) for number in numbers]


def over(behind: np.ndarray, coverage: np.ndarray, colour: str) -> np.ndarray:
    """A shape of this coverage [H, W] before a picture [H, W, 1 or 3], [H, W, 3]."""
    cover = coverage[..., None]
    return behind * (1 - cover) + np.array(COLOURS[colour], np.float32) * cover


def frame(scene: Scene, number: float) -> np.ndarray:
    """One picture, [H, W, 3]."""
    return pictures(scene, [number])[0]


def frames(scene: Scene, count: int = FRAMES) -> np.ndarray:
    """The pictures alone, [F, H, W, 3]."""
    return np.stack(pictures(scene, range(count)))


def depth(coverage: np.ndarray) -> np.ndarray:
    """Of a frame with this coverage by the shape, [H, W], 1 near: a shape before a ground that leans back."""
    floor = np.linspace(0.1, 0.4, SIZE, dtype=np.float32)[:, None]
    return np.where(coverage > 0.5, np.float32(0.8), floor)


def _edges(coverage: np.ndarray) -> np.ndarray:
    inside = (coverage > 0.5).astype(np.uint8)
    wrapped = np.pad(inside, 1, mode="wrap")
    return (cv2.dilate(wrapped, np.ones((3, 3), np.uint8))[1:-1, 1:-1] - inside).astype(np.float32)


def flow(scene: Scene, frame: int, coverage: np.ndarray) -> np.ndarray:
    """Displacement of what each pixel shows, in pixels: the shape's own motion on it, zero on the ground."""
    now, then = scene.pose(frame), scene.pose(frame + 1)
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float64)
    half = SIZE / 2
    local = np.stack([(x - now.x + half) % SIZE - half, (y - now.y + half) % SIZE - half], -1)
    if scene.subject.shape == "stick figure":
        moved = _limb_motion(scene, now, then, local)
    else:
        turn, grow = then.angle - now.angle, then.radius / now.radius
        cos, sin = np.cos(turn) * grow, np.sin(turn) * grow
        moved = local @ np.array([[cos, sin], [-sin, cos]]) - local + [then.x - now.x, then.y - now.y]
    return np.where(coverage[..., None] > 0.5, moved, 0).astype(np.float32)


def _limb_motion(scene: Scene, now: Pose, then: Pose, local: np.ndarray) -> np.ndarray:
    """Each pixel follows the point of the nearest bone on which it lies."""
    facing = _facing(scene)
    before = _place(joints(now, facing) * 1.25, now) - [now.x, now.y]
    after = _place(joints(then, facing) * 1.25, then) - [now.x, now.y]
    best, moved = np.full(local.shape[:2], np.inf), np.zeros_like(local)
    for a, b in BONES:
        axis = before[b] - before[a]
        along = np.clip(((local - before[a]) @ axis) / max(axis @ axis, 1e-9), 0, 1)[..., None]
        offset = local - (before[a] + along * axis)
        distance = np.linalg.norm(offset, axis=-1)
        target = after[a] + along * (after[b] - after[a]) - (before[a] + along * axis)
        closer = distance < best
        best = np.where(closer, distance, best)
        moved = np.where(closer[..., None], target, moved)
    return moved


def clip(scene: Scene, count: int = FRAMES) -> Clip:
    """A clip with its ground truth."""
    coverage = np.stack([mask(scene, i) for i in range(count)])
    poses = [scene.pose(i) for i in range(count)]
    figure = scene.subject.shape == "stick figure"
    marks = joints(poses[0], 0.0)[[0, 10, 13]] * 1.25 if figure else np.array([[0, 0], [0.5, 0], [0, 0.5]])
    tracks = [
        _place(joints(p, _facing(scene))[[0, 10, 13]] * 1.25 if figure else marks, p) for p in poses
    ]  # fmt: skip
    return Clip(
        caption=scene.subject.caption(),
        frames=frames(scene, count),
        depth=np.stack([depth(c) for c in coverage]),
        edges=np.stack([_edges(c) for c in coverage]),
        skeleton=np.stack([keypoints(scene, i) for i in range(count)]) if figure else None,
        strokes=np.stack(tracks, 1),
        flow=np.stack([flow(scene, i, coverage[i]) for i in range(count - 1)]),
    )
