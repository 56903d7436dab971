"""The judge against clips whose content is known."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from framewright.demo import render
from framewright.demo.hints import middle
from framewright.demo.judge import judge, score, warp_error, warp_errors
from framewright.demo.judge_control import place_error
from framewright.demo.judge_motion import judge_motion, jumps
from framewright.demo.world import SIZE, Scene, Subject, subjects

Clips = list[tuple[Subject, np.ndarray]]


def draw(
    count: int, seed: int, frames: int = 16, wanted: Callable[[Subject], bool] = lambda _: True
) -> Clips:
    rng = np.random.default_rng(seed)
    choice = [subject for subject in subjects() if wanted(subject)]
    picked = [choice[rng.integers(len(choice))] for _ in range(count)]
    return [(subject, render.frames(Scene.sample(subject, rng), frames)) for subject in picked]


def spoil(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As generated pictures are: noisy and a little soft."""
    noisy = np.clip(frames + rng.normal(0, 0.03, frames.shape), 0, 1).astype(np.float32)
    return np.stack([cv2.GaussianBlur(picture, (3, 3), 0) for picture in noisy])


def agreement(clips: Clips) -> tuple[float, ...]:
    verdicts = [(judge(frames), subject) for subject, frames in clips]
    return tuple(
        float(np.mean([getattr(v, part) == getattr(s, part) for v, s in verdicts]))
        for part in ("colour", "shape", "motion")
    )


def one(motion: str, ground: str = "striped") -> np.ndarray:
    return render.frames(Scene.sample(Subject("red", "star", motion, ground), np.random.default_rng(0)))


def test_reads_true_clips() -> None:
    assert min(agreement(draw(150, seed=1))) >= 0.99


def test_reads_noisy_soft_clips() -> None:
    rng = np.random.default_rng(2)
    assert min(agreement([(subject, spoil(frames, rng)) for subject, frames in draw(100, seed=2)])) >= 0.97


def test_reads_long_clips() -> None:
    clips = draw(24, seed=3, frames=64, wanted=lambda s: s.motion != "growing")
    assert min(agreement(clips)) >= 0.98


def test_reads_a_shape_that_crosses_the_corner() -> None:
    scene = Scene.sample(Subject("blue", "square", "still", "plain"), np.random.default_rng(0))
    verdict = judge(render.frames(replace(scene, x=0.0, y=63.0)))
    assert (verdict.colour, verdict.shape, verdict.motion) == ("blue", "square", "still")
    off = (verdict.track - [0.0, 63.0] + SIZE / 2) % SIZE - SIZE / 2
    assert np.abs(off).max() < 0.2


def test_a_clip_without_a_shape_gives_none() -> None:
    rng = np.random.default_rng(0)
    for empty in (np.zeros((16, SIZE, SIZE, 3)), 0.5 + rng.normal(0, 0.03, (16, SIZE, SIZE, 3))):
        verdict = judge(empty)
        assert (verdict.colour, verdict.shape, verdict.motion) == (None, None, None)


def test_coloured_noise_has_no_known_shape() -> None:
    assert judge(np.random.default_rng(0).uniform(size=(16, SIZE, SIZE, 3))).shape is None


def test_frames_without_a_shape_are_passed_over() -> None:
    frames = one("down right")
    frames[[0, 5, 6]] = 0.5
    assert judge(frames).motion == "down right"


def test_shuffled_frames_lose_their_motion() -> None:
    rng = np.random.default_rng(4)
    clips = draw(60, seed=4, wanted=lambda s: s.motion != "still")
    colour, shape, motion = agreement([(s, frames[rng.permutation(len(frames))]) for s, frames in clips])
    assert motion <= 0.05
    assert min(colour, shape) >= 0.98


def test_reversed_frames_reverse_the_direction() -> None:
    assert judge(one("up left")[::-1]).motion == "down right"


@pytest.mark.parametrize("count", [16, 64])
def test_motion_of_a_bare_track(count: int) -> None:
    rng = np.random.default_rng(5)
    t = np.arange(count)
    wobble, areas, angles = rng.normal(0, 0.5, (count, 2)), np.full(count, 300.0), np.zeros(count)
    left = (np.stack([40 - 2.0 * t, np.full(count, 20.0)], 1) + wobble) % SIZE
    hops = (np.stack([np.full(count, 9.0), 8 - 15 * abs(np.sin(np.pi * (t / 16 + 0.3)))], 1) + wobble) % SIZE
    assert judge_motion(left, areas, angles, 90) == "left"
    assert judge_motion(hops, areas, angles, 90) == "bouncing"
    assert judge_motion(wobble, areas, angles, 90) == "still"
    assert judge_motion(wobble, areas, (9.0 * t) % 90, 90) == "spinning"
    assert judge_motion(wobble, areas, rng.uniform(0, 90, count), 90) != "spinning"
    assert judge_motion(np.full((count, 2), np.nan), areas * np.nan, angles, 90) is None


def test_jumps_show_where_a_track_leaps() -> None:
    way = np.stack([3.0 * np.arange(16) + 40, np.full(16, 20.0)], 1)
    way[8:, 1] += 6
    leaps = jumps(way % SIZE)  # over the edge of the canvas, too
    assert len(leaps) == 13 and leaps.argmax() == 6 and leaps.max() == pytest.approx(6)  # frame 7 to 8
    assert np.delete(leaps, [5, 6, 7]).max() < 1e-9


def test_warp_error_follows_motion_but_not_flicker() -> None:
    still, moving = one("still"), one("down", "plain")
    flicker = np.where(np.arange(16)[:, None, None, None] % 2, moving, np.clip(moving + 0.05, 0, 1))
    assert warp_error(still) < 1e-4
    assert warp_error(moving) < 0.5 * np.abs(np.diff(moving, axis=0)).mean()
    assert warp_error(flicker) == pytest.approx(0.05, abs=0.01)


def test_warp_errors_show_where_a_clip_breaks() -> None:
    frames = one("right")
    frames[8:] = frames[8:, ..., [2, 0, 1]]  # another colour from here on
    errors = warp_errors(frames)
    assert len(errors) == 15
    assert int(np.argmax(errors)) == 7
    assert errors[7] > 3 * np.median(errors)


def test_warp_error_of_one_frame_is_zero() -> None:
    assert warp_error(one("still")[:1]) == 0.0


def test_score_compares_each_part() -> None:
    told = Subject("red", "star", "down", "striped")
    result = score([(told, one("down")), (replace(told, colour="blue", motion="up"), one("down"))])
    assert (result["colour"], result["shape"], result["motion"]) == (0.5, 1.0, 0.5)
    assert 0 < result["warp_error"] < 0.02


def test_the_error_of_a_place_is_that_of_the_shape_s_middle() -> None:
    scene = Scene.sample(Subject("red", "star", "right", "striped"), np.random.default_rng(1))
    track = np.stack([middle(scene, at) for at in range(16)])
    assert place_error(track, render.frames(scene)) < 0.5
    assert place_error(track + [0, 5], render.frames(scene)) == pytest.approx(5, abs=0.5)
    assert place_error(track, np.zeros((16, 64, 64, 3), np.float32)) == SIZE / 2
