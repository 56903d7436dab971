"""What a step of video training is shown of its clips."""

import numpy as np
import pytest
import torch
from framewright.demo.clips import HEAVY, Clips, captions_of
from framewright.demo.fit import Draw
from framewright.demo.world import FRAMES, Scene, subjects
from torch import Tensor

COUNT = 40


def drawn(frames: int, alone_in: float) -> tuple[Clips, Tensor]:
    """Clips of that many frames, and which of their frames [B, F] the noise shows nothing of."""
    draw = Draw.of(3, 0, 1)
    scenes = [Scene.sample(subject, draw.numbers) for subject in subjects()[:: 1000 // COUNT][:COUNT]]
    clips = Clips.of(scenes, captions_of(scenes, draw), np.arange(frames), draw, alone_in)
    return clips, clips.alone.unflatten(0, (COUNT, frames))


@pytest.mark.parametrize("frames", [4, FRAMES, 2 * FRAMES])
def test_noise_alone_is_of_whole_clips_at_the_last_timestep(frames: int) -> None:
    clips, alone = drawn(frames, alone_in=1.0)
    assert alone.all() and not clips.misled.any() and (clips.at == 999).all()


def test_clips_that_one_window_holds_are_misled_in_heavy_noise_and_never_in_part_hidden() -> None:
    clips, alone = drawn(FRAMES, alone_in=0.3)
    assert torch.equal(alone.all(1), alone.any(1))
    assert 0.5 < clips.misled[(clips.at >= HEAVY) & ~alone.any(1)].float().mean() < 0.9
    assert not clips.misled[(clips.at < HEAVY) | alone.any(1)].any()
    assert len(clips.traces) == FRAMES * clips.misled.sum()


def test_of_long_clips_a_stretch_is_hidden_in_heavy_noise() -> None:
    clips, alone = drawn(4 * FRAMES, alone_in=0.0)
    assert not clips.misled.any() and not len(clips.traces)
    partly = alone.any(1)
    assert 0.3 < partly[clips.at >= HEAVY].float().mean() < 0.7
    assert not partly[clips.at < HEAVY].any()
    begun = alone.int().diff(dim=1, prepend=torch.zeros(COUNT, 1, dtype=torch.int)) > 0
    assert (begun.sum(1)[partly] == 1).all(), "frames in a row"
