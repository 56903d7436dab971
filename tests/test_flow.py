"""Optical flow, what it hides, and motion spread from strokes, against motions that are known."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from framewright.controls.flow import Step, colour_wheel, hidden, optical_flow, pull, steady, warped
from framewright.controls.stroke_flow import influences, stroke_flow
from framewright.controls.strokes import Drawing, Stroke
from framewright.demo import render
from framewright.demo.world import DIRECTIONS, Scene, Subject, subjects
from framewright.tests.flow_steps import step

NONE = np.empty((0, 2))


def texture(size: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).random((size, size, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 2)
    return (soft - soft.min()) / (soft.max() - soft.min())


def end_point_error(flow: np.ndarray, true: np.ndarray) -> np.ndarray:
    return np.hypot(*np.moveaxis(flow - true, -1, 0))


def moved(picture: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    size = picture.shape[1], picture.shape[0]
    return cv2.warpAffine(picture, matrix[:2], size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


MOTIONS = {
    "shift": np.array([[1, 0, 3.3], [0, 1, -2.1], [0, 0, 1]], np.float64),
    "turn": np.vstack([cv2.getRotationMatrix2D((96, 96), 2.0, 1.0), [0, 0, 1]]),
    "zoom": np.vstack([cv2.getRotationMatrix2D((96, 96), 0.0, 1.03), [0, 0, 1]]),
}


@pytest.mark.parametrize("motion", MOTIONS)
def test_flow_of_a_known_motion(motion: str) -> None:
    first, matrix = texture(192), MOTIONS[motion]
    y, x = np.mgrid[:192, :192]
    there = np.stack([x, y, np.ones_like(x)], -1) @ matrix.T
    true = there[..., :2] - np.stack([x, y], -1)
    (found,) = optical_flow([first, moved(first, matrix)])
    inside = (slice(16, -16), slice(16, -16))
    assert end_point_error(found.there, true)[inside].mean() <= 0.5
    assert end_point_error(found.back, -true)[inside].mean() <= 0.6


def _disc(x: float, y: float, size: int = 384, radius: float = 90.0) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return np.clip(radius + 0.5 - np.hypot(columns - x, rows - y), 0, 1).astype(np.float32)


@pytest.mark.parametrize("way", [(8, 0), (-6, 6), (20, 0), (12, 8), (-8, 14)])
def test_what_a_passing_thing_hides_and_uncovers(way: tuple[int, int]) -> None:
    """A textured disc over a textured ground."""
    ground, thing = texture(384, 1), texture(384, 2)
    first, last = _disc(190, 180), _disc(190 + way[0], 180 + way[1])
    later = moved(thing, np.array([[1, 0, way[0]], [0, 1, way[1]]], np.float64))
    (found,) = optical_flow(
        ground + (picture - ground) * cover[..., None] for picture, cover in ((thing, first), (later, last))
    )
    under = (last > 0.5) & (first <= 0.5), (first > 0.5) & (last <= 0.5)
    for seen, wanted in zip((found.gone, found.new), under, strict=True):
        assert 2 * (seen & wanted).sum() / (seen.sum() + wanted.sum()) >= 0.9
    shown = (first > 0.5) & ~found.gone
    assert end_point_error(found.there, np.array(way))[shown].mean() <= 0.5


def test_occlusion_of_exact_flow_is_exact() -> None:
    there, back = np.zeros((64, 64, 2), np.float32), np.zeros((64, 64, 2), np.float32)
    there[20:40, 10:30] = [8, 0]
    back[20:40, 18:38] = [-8, 0]
    gone = np.zeros((64, 64), bool)
    gone[20:40, 30:38] = True
    assert (hidden(there, back) == gone).mean() > 0.99
    assert np.array_equal(hidden(there, back, 2), hidden(there, back)[::2, ::2])
    outward = np.zeros((8, 8, 2), np.float32)
    outward[:, -2:] = [5, 0]
    assert step(outward, -outward).gone[:, -2:].all(), "what leaves the picture is gone"


def test_pulling_along_the_flow_brings_the_next_frame_back() -> None:
    first = texture(64)
    flow = np.broadcast_to(np.array([3, -2], np.float32), (64, 64, 2))
    shifted = np.roll(first, (-2, 3), (0, 1))
    assert np.allclose(pull(shifted, flow)[4:-4, 4:-4], first[4:-4, 4:-4], atol=1e-5)


def test_steadying_takes_flicker_and_not_motion() -> None:
    rng, first = np.random.default_rng(0), texture(96)
    true = [moved(first, np.array([[1, 0, 2 * k], [0, 1, 0]], np.float64)) for k in range(8)]
    flickering = [np.clip(one + rng.normal(0, 0.04, one.shape), 0, 1).astype(np.float32) for one in true]
    calm = list(steady(flickering, 0.7))
    inside = (slice(8, -8), slice(24, -8))

    def error(frames: list[np.ndarray]) -> float:
        return float(
            np.mean([np.abs(a - b)[inside].mean() for a, b in zip(frames[3:], true[3:], strict=True)])
        )

    assert error(calm) < 0.75 * error(flickering)
    assert all(np.array_equal(a, b) for a, b in zip(steady(true, 0.0), true, strict=True))


def test_the_colour_wheel_tells_direction_and_length() -> None:
    ways = np.array([[[1, 0], [-1, 0], [0, 0], [0.5, 0], [9, 0]]], np.float32)
    right, left, rest, short, long = colour_wheel(ways, 1.0)[0]
    assert right.tolist() == [1, 0, 0] and left.tolist() == pytest.approx([0, 1, 1])
    assert rest.tolist() == [1, 1, 1] and short.tolist() == [1, 0.5, 0.5]
    assert long.tolist() == right.tolist(), "no more than the full colour"
    assert np.isfinite(colour_wheel(np.zeros((2, 2, 2), np.float32), 0.0)).all()


def one_way(size: int, x: float, y: float) -> Step:
    flow = np.broadcast_to(np.array([x, y], np.float32), (size, size, 2))
    return step(flow, -flow)


def test_a_picture_goes_along_and_what_comes_in_is_told_and_painted() -> None:
    picture = texture(64)
    frames = list(warped(picture, [one_way(64, 2, 0)] * 4))
    assert len(frames) == 5
    for number, (frame, empty) in enumerate(frames):
        come = 2 * number
        assert np.allclose(frame[:, come:], picture[:, : 64 - come], atol=1e-5)
        assert empty[:, :come].all() and not empty[:, come:].any()
        assert np.isfinite(frame).all() and frame.min() >= 0 and frame.max() <= 1


def test_flow_for_frames_of_another_size() -> None:
    small = one_way(64, 8, -4).resized(16, 32)
    assert small.there.shape == (32, 16, 2) and small.gone.shape == (32, 16)
    assert small.there[0, 0].tolist() == [2, -2]


def test_influence_spreads_over_a_shape_and_stops_at_its_edge() -> None:
    rng = np.random.default_rng(3)
    choice = [s for s in subjects() if s.motion in DIRECTIONS and s.shape != "stick figure"]
    for _ in range(6):
        scene = replace(Scene.sample(choice[rng.integers(len(choice))], rng), x=30.0, y=34.0)
        parts = influences(np.array([[30.0, 34.0]]), NONE, render.frame(scene, 0))
        inside = render.mask(scene, 0)
        assert parts.shape == (64, 64, 1)
        assert parts[..., 0][inside > 0.9].mean() > 0.85 and parts[..., 0][inside < 0.1].mean() < 0.1


def test_two_places_share_what_lies_between_and_none_moves_nothing() -> None:
    plain = np.full((48, 96, 3), 0.5, np.float32)
    parts = influences(np.array([[16.0, 24.0], [80.0, 24.0]]), NONE, plain)
    assert parts[24, 16].tolist() == pytest.approx([1, 0], abs=0.05)
    assert parts[24, 48].tolist() == pytest.approx([0.5, 0.5], abs=0.15)
    assert influences(NONE, NONE, plain).shape == (48, 96, 0)


def test_strokes_carry_a_shape_along_whole_and_anchors_hold() -> None:
    scene = Scene(
        Subject("red", "circle", "right", "striped"), x=16, y=32, angle=0, radius=10, phase=0, speed=2,
        tone=0.5, ground_phase=(0, 0),
    )  # fmt: skip
    picture = render.frame(scene, 0)
    drawing = Drawing(64, 64, (Stroke.even([(16, 32), (46, 32)], 0, 15),), ((56.0, 8.0),))
    steps = list(stroke_flow(drawing, picture, 16))
    assert len(steps) == 15
    for number, one in enumerate(steps):
        at = 16 + 2 * number
        for row in (24, 28, 32, 36, 40):
            assert one.there[row, at].tolist() == pytest.approx([2, 0], abs=0.15), "all of the circle"
        assert np.abs(one.there[8, 56]).max() < 0.01, "the anchor's place"
    last, empty = list(warped(picture, steps))[-1]
    true = render.frame(replace(scene, x=46.0), 0)
    swept = 2 * 11 * 30  # what was under the circle and its rim on its way
    assert empty.sum() == pytest.approx(swept, rel=0.1)
    assert np.abs(last - true)[~empty].mean() < 0.02
    reddest = np.ptp(last[empty], axis=-1).max()
    assert reddest < 0.1 < np.ptp(picture[32, 16]), "behind it there is ground, and nothing of it"


def test_a_drawing_without_strokes_moves_nothing() -> None:
    (one, *_) = stroke_flow(Drawing(32, 32), texture(32), 3)
    assert not one.there.any() and not one.back.any() and not one.gone.any() and not one.new.any()
