"""What a step of video training is shown of its clips."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from framewright.demo import render
from framewright.demo.clips import PACED, TORN, Clips, Misleading, captions_of
from framewright.demo.data import pixels
from framewright.demo.fit import Draw
from framewright.demo.world import FRAMES, MOTIONS, Scene, Subject, subjects

COUNT = 40


def drawn(frames: int, alone_in: float, misleading: Misleading) -> Clips:
    draw = Draw.of(3, 0, 1)
    scenes = [Scene.sample(subject, draw.numbers) for subject in subjects()[:: 1000 // COUNT][:COUNT]]
    return Clips.of(scenes, captions_of(scenes, draw), np.arange(frames), draw, alone_in, misleading)


@pytest.mark.parametrize("misleading", [PACED, TORN])
def test_noise_alone_is_the_last_timestep_and_never_misleads(misleading: Misleading) -> None:
    clips = drawn(8, 1.0, misleading)
    assert clips.alone.all() and not clips.misled.any() and (clips.at == 999).all()


@pytest.mark.parametrize("misleading", [PACED, TORN])
def test_a_part_of_the_clips_in_heavy_noise_is_misled(misleading: Misleading) -> None:
    clips = drawn(8, 0.2, misleading)
    heavy = (clips.at >= misleading.since) & ~clips.alone
    assert abs(clips.misled[heavy].float().mean() - misleading.part) < 0.2
    assert not clips.misled[~heavy].any()
    assert len(clips.traces) == 8 * clips.misled.sum()


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_torn_clip_is_another_take_in_one_stretch_of_at_most_half(motion: str) -> None:
    draw, places = Draw.of(3, 2, 1), np.arange(2 * FRAMES)
    scene = Scene.sample(Subject("red", "star", motion, "striped"), draw.numbers)
    pairs = zip(TORN.trace(scene, places, draw), render.pictures(scene, places), strict=True)
    other = [not np.array_equal(shown, true) for shown, true in pairs]
    begun = [now and not before for before, now in pairwise([False, *other])]
    assert sum(begun) == 1 and sum(other) <= FRAMES


def test_a_clip_of_another_pace_is_true_halfway() -> None:
    draw = Draw.of(3, 1, 1)
    scene = Scene.sample(subjects()[0], draw.numbers)
    shown = PACED.trace(scene, np.arange(5), draw)
    assert np.array_equal(shown[2], render.frame(scene, 2))
    assert not torch.equal(pixels(shown), pixels(render.pictures(scene, range(5))))
