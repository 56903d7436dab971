"""Context windows: what they cover, how they are fused, and that running several at once changes nothing."""

import itertools

import pytest
import torch
from framewright.errors import FramewrightError
from framewright.sampling.windows import FUSES, SCHEDULES, Windows, halving, nearest_step

SETTINGS = [
    Windows(length, overlap, schedule, fuse)
    for length, schedule, fuse in itertools.product((1, 5, 16), SCHEDULES, FUSES)
    for overlap in {0, length // 2, length - 1}
]


@pytest.mark.parametrize("windows", SETTINGS, ids=str)
def test_every_frame_is_in_a_window_at_every_step(windows: Windows) -> None:
    for frames, step in itertools.product((1, 4, 16, 17, 33, 64), range(5)):
        plan = windows.plan(frames, step)
        assert {frame for window in plan for frame in window} == set(range(frames))
        assert {len(window) for window in plan} == {min(windows.length, frames)}
        assert len(set(plan)) == len(plan)
        assert all(b - a == 1 for window in plan for a, b in itertools.pairwise(window))


def test_standard_windows_are_the_same_at_each_step_and_uniform_ones_move() -> None:
    assert Windows(16, 8).plan(64, 0) == Windows(16, 8).plan(64, 3)
    starts = [{w[0] for w in Windows(16, 8, "uniform").plan(64, step)} for step in range(4)]
    assert starts[0] != starts[1] and starts[1] != starts[2]
    assert [w[0] for w in Windows(16, 8).plan(40)] == [0, 8, 16, 24]
    assert [w[0] for w in Windows(16, 4).plan(30)] == [0, 12, 14]


def test_neighbours_share_at_least_the_overlap() -> None:
    for windows, step in itertools.product(SETTINGS, range(4)):
        plan = windows.plan(50, step)
        for left, right in itertools.pairwise(plan):
            assert len(set(left) & set(right)) >= windows.overlap


@pytest.mark.parametrize("windows", SETTINGS, ids=str)
def test_what_treats_each_frame_alone_is_not_changed_by_windows(windows: Windows) -> None:
    x = torch.randn(23, 4, 3, 2, generator=torch.Generator().manual_seed(1))
    doubled, negative = windows.denoise(x, 1, lambda part, _: [part * 2, -part], 3)
    torch.testing.assert_close(doubled, x * 2)
    torch.testing.assert_close(negative, -x)


@pytest.mark.parametrize("windows", SETTINGS, ids=str)
def test_several_windows_a_call_give_the_same_bits_as_one(windows: Windows) -> None:
    length = min(windows.length, 23)

    def mix(part: torch.Tensor, frames: torch.Tensor) -> list[torch.Tensor]:
        assert len(part) == len(frames) and len(part) % length == 0
        clips = part.unflatten(0, (-1, length))
        return [(clips - clips.mean(1, keepdim=True) * 0.5).flatten(0, 1)]

    x = torch.randn(23, 4, 3, 2, generator=torch.Generator().manual_seed(2))
    results = [windows.denoise(x, 2, mix, count)[0] for count in (1, 2, 5, 100)]
    assert all(torch.equal(results[0], other) for other in results[1:])


def test_fusing_against_a_loop_over_frames() -> None:
    """Each frame is the weighted mean of what the windows that hold it say."""
    for fuse in FUSES:
        windows = Windows(4, 2, "standard", fuse)
        x = torch.randn(9, 1, 1, 1, generator=torch.Generator().manual_seed(3))

        def first_of_window(part: torch.Tensor, frames: torch.Tensor) -> list[torch.Tensor]:
            return [part.unflatten(0, (-1, 4))[:, :1].expand(-1, 4, -1, -1, -1).flatten(0, 1)]

        got, weights = windows.denoise(x, 0, first_of_window, 2)[0], windows.weights(4)
        for frame in range(9):
            holding = [w for w in windows.plan(9) if frame in w]
            shares = [weights[w.index(frame)] for w in holding]
            expected = sum(s * x[w[0]] for s, w in zip(shares, holding, strict=True)) / sum(shares)
            torch.testing.assert_close(got[frame], expected)


def test_pyramid_counts_the_middle_most() -> None:
    assert Windows(5, 0, fuse="pyramid").weights(5) == [1, 2, 3, 2, 1]
    assert Windows(4, 0, fuse="uniform mean").weights(4) == [1, 1, 1, 1]


def test_steps_are_found_by_the_nearest_level_not_by_an_equal_one() -> None:
    sigmas = torch.tensor([14.6, 5.0, 1.0, 0.0])
    assert [nearest_step(sigmas, sigma) for sigma in (14.6, 9.9, 5.0001, 0.7, 0.0)] == [0, 0, 1, 2, 3]
    assert nearest_step(None, 3.0) == 0
    assert [halving(step) for step in range(4)] == [0, 0.5, 0.25, 0.75]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length": 0}, "length: 0 came"),
        ({"length": 8, "overlap": 8}, "overlap: 8 came, expected 0 to 7"),
        ({"overlap": -1}, "overlap: -1 came"),
        ({"schedule": "looped"}, "schedule: 'looped' came, expected one of standard, uniform"),
        ({"fuse": "sum"}, "fuse: 'sum' came"),
    ],
)
def test_settings_that_make_no_sense_are_one_error(settings: dict, message: str) -> None:
    with pytest.raises(FramewrightError, match=message):
        Windows(**settings)
