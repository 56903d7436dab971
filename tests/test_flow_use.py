"""What flow is used for: points followed, latents and noise carried along."""

import numpy as np
import pytest
import torch
from framewright.bridge.drift import drift_curves
from framewright.bridge.flow import FlowNoise, carried_latent, flow_of
from framewright.controls.flow import Step
from framewright.controls.flow_use import carried_latents, carried_noise, followed
from framewright.controls.strokes import MOST_STROKES
from framewright.errors import FramewrightError
from framewright.tests.flow_steps import step

SIDE = 32


def drift(x: float, y: float, count: int, side: int = SIDE) -> list[Step]:
    """Everything goes by x, y pixels a frame."""
    there = np.full((side, side, 2), (x, y), np.float32)
    return [step(there, -there)] * count


def fresh(frames: int, channels: int = 4, side: int = SIDE) -> torch.Tensor:
    return torch.randn(frames, channels, side, side, generator=torch.Generator().manual_seed(1))


def test_noise_goes_along_and_what_comes_into_sight_has_its_own() -> None:
    own = fresh(3)
    noise = carried_noise(own, drift(3, 0, 2))
    assert torch.equal(noise[0], own[0])
    assert torch.equal(noise[1][..., 3:], noise[0][..., :-3])
    assert torch.equal(noise[2][..., 3:], noise[1][..., :-3])
    assert torch.equal(noise[2][..., :3], own[2][..., :3])


def test_carried_noise_stays_white_whatever_the_flow() -> None:
    rng = np.random.default_rng(2)
    steps = []
    for _ in range(5):  # a flow that gathers, spreads and tears
        there = rng.normal(0, 2, (16, 16, 2)).astype(np.float32).repeat(8, 0).repeat(8, 1)
        steps.append(step(there, -there))
    noise = carried_noise(fresh(6, side=128), steps)
    for frame in noise:
        assert float(frame.mean()) == pytest.approx(0, abs=0.02)
        assert float(frame.var()) == pytest.approx(1, abs=0.03)
        assert frame.flatten(1).unique(dim=1).shape[1] == 128 * 128, "none stands in two places"
        beside = (frame[..., 1:] * frame[..., :-1]).mean()
        assert float(beside) == pytest.approx(0, abs=0.02), "neighbours are not alike"


def test_noise_of_latents_goes_by_the_flow_of_pictures_eight_times_as_large() -> None:
    noise = carried_noise(fresh(2, side=8), drift(8, 16, 1, side=64))
    assert torch.equal(noise[1][:, 2:, 1:], noise[0][:, :-2, :-1])


def test_points_are_followed_and_those_that_rest_are_left_out() -> None:
    steps = drift(2, 1, 4)
    drawing = followed(steps, spacing=8, least=4.0)
    assert (drawing.width, drawing.height) == (SIDE, SIDE)
    assert len(drawing.strokes) == 12, "of 16 points; those of the last column leave the picture"
    inside = [stroke for stroke in drawing.strokes if stroke.points[0] == (4.0, 4.0)]
    assert inside[0].points[-1] == pytest.approx((12, 8)) and inside[0].times == (0, 1, 2, 3, 4)
    assert not followed(steps, 8, least=40.0).strokes
    half = np.zeros((SIDE, SIDE, 2), np.float32)
    half[:, : SIDE // 2] = (3, 0)
    some = followed([step(half, -half)] * 3, 8, 1.0)
    assert {stroke.points[0][0] for stroke in some.strokes} == {4.0, 12.0}
    assert len(followed(drift(2, 1, 4, side=256), 8, 1.0).strokes) == MOST_STROKES
    assert followed(drift(2, 1, 2, side=192), 1, 1.0).strokes, "more points than OpenCV takes in a row"


def test_latents_go_along_and_tell_where_nothing_of_them_is() -> None:
    first = torch.arange(8.0).expand(1, 4, 8, 8)
    frames, empty = carried_latents(first, drift(8, 0, 3, side=64))
    assert frames.shape == (4, 4, 8, 8) and empty.shape == (4, 8, 8)
    for number in range(4):
        torch.testing.assert_close(frames[number, :, :, number:], first[0, :, :, : 8 - number])
        assert torch.equal(empty[number], (torch.arange(8) < number).float().expand(8, 8))


def test_what_does_not_fit_is_one_error() -> None:
    with pytest.raises(FramewrightError, match="flow: 2 steps came for 5 frames, expected 4 or more"):
        carried_noise(fresh(5), drift(1, 0, 2))
    with pytest.raises(FramewrightError, match="image: 1 frame came, expected 2 or more"):
        flow_of(torch.zeros(1, 64, 64, 3), "fast")
    with pytest.raises(FramewrightError, match="image: frames of 8×16 came, expected at least 12×12"):
        flow_of(torch.zeros(2, 16, 8, 3), "fast")
    with pytest.raises(FramewrightError, match=f"spacing: {2 * SIDE} came, expected less than {2 * SIDE}"):
        followed(drift(1, 0, 2), 2 * SIDE, 1.0)
    with pytest.raises(
        FramewrightError, match="images: frames of 96×64 came with a prompt, expected .* 64×64"
    ):
        drift_curves(np.zeros((2, 64, 96, 3)), "a red circle")
    video = {"samples": torch.zeros(1, 4, 3, 8, 8)}
    with pytest.raises(FramewrightError, match=r"samples: latents of \[1, 4, 3, 8, 8\] came"):
        carried_latent(video, drift(1, 0, 2))
    with pytest.raises(FramewrightError, match=r"latent: latents of \[1, 4, 3, 8, 8\] came"):
        FlowNoise(1, drift(1, 0, 2)).generate_noise(video)


def test_a_flows_noise_is_the_seeds_and_of_the_frames_asked_for() -> None:
    latent = {"samples": torch.zeros(3, 4, SIDE, SIDE)}
    one, again, other = (FlowNoise(seed, drift(2, 0, 2)).generate_noise(latent) for seed in (5, 5, 6))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert torch.equal(one[1][..., 2:], one[0][..., :-2])
