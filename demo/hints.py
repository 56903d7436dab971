"""What the demo's ControlNets are shown: the exact controls of a scene's frames, as pictures in 0..1."""

from collections.abc import Sequence

import numpy as np
import torch

from ..controls.canny import canny
from ..controls.flow import moved_on
from ..controls.pose import JOINTS, Person, PoseFrame
from ..controls.skeleton import draw_skeletons
from ..controls.strokes import draw_tracks
from . import render
from .judge import sight_of
from .world import COLOURS, SIZE, Scene

CANNY = (0.1, 0.2)  # thresholds
STROKE_RADIUS = 2.5  # pixels


def canny_hints(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Of pictures [H, W, 3], [F, H, W, 3]."""
    edges = torch.cat(list(canny(torch.from_numpy(np.stack(pictures)), *CANNY)))
    return edges[..., None].expand(-1, -1, -1, 3).numpy()


def depth_hint(scene: Scene, frame: float) -> np.ndarray:
    return np.repeat(render.depth(render.mask(scene, frame))[..., None], 3, axis=2)


def poses(scene: Scene, frame: float) -> PoseFrame:
    """A stick figure's keypoints, once for each place where the canvas's joined edges show it."""
    people = []
    for points in render.copies(render.keypoints(scene, frame)):
        body = np.zeros((len(JOINTS), 3), np.float32)
        body[: len(points), :2], body[: len(points), 2] = points, 1
        people.append(Person(body))
    return PoseFrame(tuple(people), SIZE, SIZE)


def pose_hint(scene: Scene, frame: float) -> np.ndarray:
    return draw_skeletons(poses(scene, frame), SIZE, SIZE)


def middle(scene: Scene, frame: float) -> np.ndarray:
    """Of all that the shape covers, x, y in pixels, on or off the canvas as its pose is."""
    pose = scene.pose(frame)
    sight = sight_of(render.mask(scene, frame), np.array(COLOURS[scene.subject.colour]))
    assert sight is not None
    away = np.array([sight.x - pose.x, sight.y - pose.y])
    return np.array([pose.x, pose.y]) + (away + SIZE / 2) % SIZE - SIZE / 2


def stroke_hints(track: np.ndarray) -> np.ndarray:
    """Of the places [F, 2] of a shape's middle, in pixels, on or off the canvas; [F, H, W, 3]."""
    first = np.floor((track.min(0) - STROKE_RADIUS) / SIZE).astype(int)
    last = np.floor((track.max(0) + STROKE_RADIUS) / SIZE).astype(int)
    shown = [
        track - np.array([x, y]) * SIZE
        for x in range(first[0], last[0] + 1)
        for y in range(first[1], last[1] + 1)
    ]
    return draw_tracks(np.stack(shown), SIZE, SIZE, STROKE_RADIUS)


def moved_hint(scene: Scene, frame: int, before: np.ndarray) -> np.ndarray:
    """A picture of the frame before [H, W, 3], moved on as the scene moves."""
    return moved_on(before, render.flow(scene, frame - 1, render.mask(scene, frame - 1)))
