"""What a step of video training is shown of its clips."""

import numpy as np
import pytest
import torch
from framewright.demo import render
from framewright.demo.clips import PACED, TORN, Clips, Noise, captions_of
from framewright.demo.data import COLOURED, pixels
from framewright.demo.fit import Draw
from framewright.demo.world import FRAMES, MOTIONS, Scene, Subject, subjects

COUNT = 40


def drawn(frames: int, alone_in: float, noise: Noise) -> Clips:
    draw = Draw.of(3, 0, 1)
    scenes = [Scene.sample(subject, draw.numbers) for subject in subjects()[:: 1000 // COUNT][:COUNT]]
    return Clips.of(scenes, captions_of(scenes, draw), np.arange(frames), draw, alone_in, noise)


@pytest.mark.parametrize("noise", [PACED, TORN])
def test_noise_alone_is_the_last_timestep_and_never_misleads(noise: Noise) -> None:
    clips = drawn(8, 1.0, noise)
    assert clips.alone.all() and not clips.misled.any() and (clips.at == 999).all()


@pytest.mark.parametrize("noise", [PACED, TORN])
def test_a_part_of_the_clips_in_heavy_noise_is_misled(noise: Noise) -> None:
    clips = drawn(8, 0.2, noise)
    heavy = (clips.at >= noise.since) & ~clips.alone
    assert abs(clips.misled[heavy].float().mean() - noise.part) < 0.2
    assert not clips.misled[~heavy].any()
    assert len(clips.traces) == 8 * clips.misled.sum()


def test_long_clips_are_never_of_thin_noise() -> None:
    clips, short = drawn(8, 0.0, TORN), drawn(8, 0.0, PACED)
    assert TORN.least <= clips.at.min() < TORN.least + 100 and short.at.min() < 100
    assert clips.at.max() > 900


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_torn_clip_is_another_take_from_a_frame_on_until_its_end(motion: str) -> None:
    draw, places = Draw.of(3, 2, 1), np.arange(2 * FRAMES)
    scene = Scene.sample(Subject("red", "star", motion, "striped"), draw.numbers)
    true, torn = render.pictures(scene, places), TORN.trace(scene, places, draw)
    other = [not np.array_equal(shown, seen) for shown, seen in zip(torn, true, strict=True)]
    begun = other.index(True)
    assert begun >= 1 and all(other[begun:]) and len(torn) == len(places)


def test_another_take_has_another_size_and_another_ground() -> None:
    draw = Draw.of(3, 2, 1)
    scene = Scene.sample(Subject("red", "star", "still", "striped"), draw.numbers)
    first, *_, last = TORN.trace(scene, np.arange(FRAMES), draw)
    stars = [picture.max(-1) - picture.min(-1) > COLOURED for picture in (first, last)]
    assert stars[0].sum() != stars[1].sum()
    bare = ~stars[0] & ~stars[1]
    assert not np.array_equal(first[bare], last[bare])


def test_a_clip_of_another_pace_is_true_halfway() -> None:
    draw = Draw.of(3, 1, 1)
    scene = Scene.sample(subjects()[0], draw.numbers)
    shown = PACED.trace(scene, np.arange(5), draw)
    assert np.array_equal(shown[2], render.frame(scene, 2))
    assert not torch.equal(pixels(shown), pixels(render.pictures(scene, range(5))))
