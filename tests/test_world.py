"""The shapes world against its own ground truth."""

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest
from framewright.demo import render
from framewright.demo.world import (
    COLOURS,
    DIRECTIONS,
    MOTIONS,
    SHAPES,
    SIZE,
    WORDS,
    Scene,
    Subject,
    subjects,
    tokens,
)
from framewright.errors import FramewrightError

CASES = [
    (shape, motion) for shape in SHAPES for motion in ("right", "up left", "bouncing", "spinning", "growing")
    if (shape, motion) != ("circle", "spinning")
]  # fmt: skip


def scene(shape: str, motion: str, seed: int = 7) -> Scene:
    return Scene.sample(Subject("green", shape, motion, "checkered"), np.random.default_rng(seed))


def pull(values: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """What stands in `values` where the flow leads, round the edges."""
    rim = SIZE // 2
    wide = np.pad(values, ((rim, rim), (rim, rim)) + ((0, 0),) * (values.ndim - 2), mode="wrap")
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32) + rim
    return cv2.remap(wide, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR)


def within(cover: np.ndarray) -> np.ndarray:
    """Pixels of the shape off its edge."""
    solid = np.pad(cover > 0.99, 2, mode="wrap").astype(np.uint8)
    return cv2.erode(solid, np.ones((3, 3), np.uint8))[2:-2, 2:-2] > 0


def at(cover: np.ndarray, points: np.ndarray) -> np.ndarray:
    x, y = (np.round(points).astype(int) % SIZE).T
    return cover[y, x]


def pairs(of: Scene) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    masks = [render.mask(of, i) for i in range(16)]
    yield from zip(range(15), masks[:-1], masks[1:], strict=True)


@pytest.mark.parametrize(("shape", "motion"), CASES)
def test_flow_carries_each_frame_onto_the_next(shape: str, motion: str) -> None:
    told = scene(shape, motion)
    clip = render.clip(told)
    inner, rim, rim_at_rest = [], [], []
    for i, now, then in pairs(told):
        inner.append(np.abs(pull(clip.frames[i + 1], clip.flow[i]) - clip.frames[i])[within(now)])
        soft = (now > 0.5) & (now < 1)
        rim.append(np.abs(pull(then, clip.flow[i]) - now)[soft])
        rim_at_rest.append(np.abs(then - now)[soft])
    assert np.concatenate(inner).mean() < 0.005
    # the rim is where a wrong flow shows, a growing shape's moves by a fifth of a pixel only
    part = 0.9 if motion == "growing" else 0.5
    assert np.concatenate(rim).mean() < part * np.concatenate(rim_at_rest).mean()


@pytest.mark.parametrize(("shape", "motion"), CASES)
def test_strokes_and_joints_lie_on_the_shape(shape: str, motion: str) -> None:
    told = scene(shape, motion)
    clip = render.clip(told)
    marks = clip.strokes.transpose(1, 0, 2)
    if shape == "stick figure":
        assert clip.skeleton is not None
        assert clip.skeleton.shape == (16, len(render.JOINTS), 2)
        marks = np.concatenate([marks, clip.skeleton], 1)
    else:
        assert clip.skeleton is None
    for i in range(16):
        assert at(render.mask(told, i), marks[i]).min() > 0.4


@pytest.mark.parametrize("shape", SHAPES)
def test_strokes_follow_the_flow(shape: str) -> None:
    clip = render.clip(scene(shape, "down left"))
    steps = np.diff(clip.strokes[0], axis=0)  # the middle, or the nose
    for i, step in enumerate(steps):
        x, y = np.round(clip.strokes[0, i]).astype(int) % SIZE
        assert clip.flow[i][y, x] == pytest.approx(step, abs=0.3)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_canvas_has_no_edge(shape: str) -> None:
    middle = replace(scene(shape, "still"), x=32.3, y=31.8, radius=12.0)
    whole = render.mask(middle, 0)
    for dx, dy in [(0, 13), (0, 26), (32, 0), (32, 32), (45, 50), (0, 53)]:
        moved = render.mask(replace(middle, x=middle.x + dx, y=middle.y + dy), 0)
        # polygons are rasterised anew at the edge: an eighth of a pixel each way
        assert np.abs(np.roll(whole, (dy, dx), (0, 1)) - moved).max() <= 0.2


def test_the_shape_is_nearer_than_the_ground() -> None:
    told = scene("star", "right")
    clip = render.clip(told)
    assert clip.depth.shape == (16, SIZE, SIZE)
    for i in range(16):
        on = render.mask(told, i) > 0.5
        assert clip.depth[i][on].min() > clip.depth[i][~on].max()
    floor = clip.depth[0].min(1)
    assert (np.diff(floor) >= 0).all()  # the floor comes nearer towards the bottom


def test_edges_run_round_the_shape() -> None:
    told = scene("square", "still")
    clip = render.clip(told)
    on = render.mask(told, 0) > 0.5
    near = cv2.dilate(np.pad(on, 1, mode="wrap").astype(np.uint8), np.ones((3, 3), np.uint8))[1:-1, 1:-1] > 0
    assert ((clip.edges[0] > 0) == (near & ~on)).all()


def test_clip_sizes_and_range() -> None:
    clip = render.clip(scene("triangle", "bouncing"), count=20)
    assert clip.frames.shape == (20, SIZE, SIZE, 3)
    assert clip.flow.shape == (19, SIZE, SIZE, 2)
    assert clip.strokes.shape == (3, 20, 2)
    assert clip.frames.dtype == clip.depth.dtype == clip.edges.dtype == clip.flow.dtype == np.float32
    assert clip.frames.min() >= 0
    assert clip.frames.max() <= 1


def test_the_ground_repeats_across_the_edge() -> None:
    picture = render.ground(scene("star", "still"))
    assert np.allclose(picture, np.roll(picture, 16, axis=1), atol=1e-4)
    assert np.allclose(picture, np.roll(picture, 16, axis=0), atol=1e-4)


def test_captions_survive_tokens() -> None:
    captions = set()
    for subject in subjects():
        text = subject.caption()
        numbers = tokens(text)
        assert len(numbers) == 12
        assert " ".join(WORDS[n - 1] for n in numbers if n) == text
        captions.add(text)
    assert len(captions) == len(subjects())
    assert len(set(WORDS)) == len(WORDS)


def test_an_unknown_word_is_told_with_the_known_ones() -> None:
    with pytest.raises(FramewrightError, match="'hexagon'") as caught:
        tokens("a red hexagon")
    assert all(word in str(caught.value) for word in WORDS)


def test_too_long_a_prompt_is_told() -> None:
    with pytest.raises(FramewrightError, match="13 words came.* at most 12"):
        tokens("a " * 13)


def test_subjects_and_the_held_out_share() -> None:
    everything = subjects()
    assert len(everything) == len(set(everything)) == (len(SHAPES) * len(MOTIONS) - 1) * len(COLOURS) * 3
    held = {s for s in everything if s.held_out}
    trained = {s for s in everything if not s.held_out}
    assert not {s.caption() for s in held} & {s.caption() for s in trained}
    assert len(held) / len(everything) == pytest.approx(1 / 6, abs=0.02)
    for part, values in (("colour", COLOURS), ("shape", SHAPES), ("motion", MOTIONS)):
        for group in (held, trained):
            assert {getattr(s, part) for s in group} == set(values)


def test_a_seed_settles_the_scene() -> None:
    assert scene("star", "spinning", seed=3) == scene("star", "spinning", seed=3)
    assert scene("star", "spinning", seed=3) != scene("star", "spinning", seed=4)
    assert (render.frames(scene("star", "spinning", 3)) == render.frames(scene("star", "spinning", 3))).all()


@pytest.mark.parametrize("motion", DIRECTIONS)
def test_a_direction_moves_at_the_speed_told(motion: str) -> None:
    told = scene("circle", motion)
    first, last = told.pose(0), told.pose(15)
    step = np.array([last.x - first.x, last.y - first.y]) / 15
    assert np.linalg.norm(step) == pytest.approx(told.speed)
    assert (np.sign(np.round(step, 9)) == DIRECTIONS[motion]).all()
