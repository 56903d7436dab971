"""Context windows: what they cover, how they are fused, and that running several at once changes nothing."""

import itertools
import math
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from framewright.bridge.comfyui_host_windows import numbered
from framewright.bridge.windows import timeline_on_node
from framewright.errors import FramewrightError
from framewright.sampling.window_plan import FUSES, SCHEDULES, Windows, halving
from framewright.sampling.windows import StepWindows, denoise, nearest_step
from framewright.temporal.slots import NUMBERS, frames_in_call

SETTINGS = [
    Windows(length, overlap, schedule, fuse, stride)
    for length, schedule, fuse, stride in itertools.product((1, 5, 16), SCHEDULES, FUSES, (1, 3))
    for overlap in {0, length // 2, length - 1}
]
STRAIGHT = [w for w in SETTINGS if w.schedule in ("standard", "uniform", "random") and w.stride == 1]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_frame_counts_in_a_window_at_every_step(schedule: str) -> None:
    chosen = [windows for windows in SETTINGS if windows.schedule == schedule]
    for windows, frames, step in itertools.product(chosen, (1, 4, 16, 17, 33, 64), range(5)):
        plan = windows.plan(frames, step)
        assert {frame for window in plan for frame in window.frames} == set(range(frames))
        assert all(weight > 0 for window in plan for weight in window.weights)
        assert all(len(window.frames) == len(window.weights) for window in plan)
        if schedule != "batched":
            assert {len(window.frames) for window in plan} == {min(windows.length, frames)}


def test_straight_windows_hold_frames_in_a_row_and_are_never_twice_the_same() -> None:
    for windows, frames, step in itertools.product(STRAIGHT, (1, 4, 16, 17, 33, 64), range(5)):
        held = [window.frames for window in windows.plan(frames, step)]
        assert len(set(held)) == len(held)
        assert all(b - a == 1 for window in held for a, b in itertools.pairwise(window))


def test_standard_windows_are_the_same_at_each_step_and_the_others_move() -> None:
    assert Windows(16, 8).plan(64, 0) == Windows(16, 8).plan(64, 3)
    for schedule in ("uniform", "random", "looped"):
        starts = [{w.frames[0] for w in Windows(16, 8, schedule).plan(64, step)} for step in range(4)]
        assert starts[0] != starts[1] and starts[1] != starts[2] and Windows(16, 8, schedule).moves
    assert [w.frames[0] for w in Windows(16, 8).plan(40)] == [0, 8, 16, 24]
    assert [w.frames[0] for w in Windows(16, 4).plan(30)] == [0, 12, 14]


def test_neighbours_share_at_least_the_overlap() -> None:
    for windows, step in itertools.product(STRAIGHT, range(4)):
        for left, right in itertools.pairwise(windows.plan(50, step)):
            assert len(set(left.frames) & set(right.frames)) >= windows.overlap


def test_strided_windows_see_further() -> None:
    plan = Windows(8, 4, stride=3).plan(40)
    apart = [window.frames[1] - window.frames[0] for window in plan]
    assert set(apart) == {1, 2, 4}
    assert all(len({b - a for a, b in itertools.pairwise(window.frames)}) == 1 for window in plan)


def test_a_closed_loop_joins_the_end_with_the_beginning() -> None:
    def joined(closed: bool) -> bool:
        plan = Windows(16, 4, "looped", closed_loop=closed).plan(64)
        return any({63, 0} <= set(window.frames) for window in plan)

    assert joined(True) and not joined(False)


def test_batched_windows_are_cut_one_after_another() -> None:
    assert [w.frames for w in Windows(4, 2, "batched").plan(10)] == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9)]


def test_kept_frames_are_in_every_window_and_count_only_in_their_own() -> None:
    windows = Windows(8, 2, keep=(0, 20))
    plan = windows.plan(40)
    assert all({0, 20} <= set(window.frames) for window in plan)
    own = [dict(zip(window.frames, window.weights, strict=True)) for window in plan]
    assert [number for number, weights in enumerate(own) if weights[0] > 0] == [0]
    assert {len(window.frames) for window in plan} <= {6, 7, 8}
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(denoise(windows, x, 0, lambda part, *_: [part * 3], 4)[0], x * 3)
    with pytest.raises(FramewrightError, match="keep_frames: frame 20 came, expected 0 to 15"):
        windows.plan(16)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_what_treats_each_frame_alone_is_not_changed_by_windows(schedule: str) -> None:
    x = torch.randn(23, 4, 3, 2, generator=torch.Generator().manual_seed(1))
    for windows in (one for one in SETTINGS if one.schedule == schedule):
        doubled, negative = denoise(windows, x, 1, lambda part, *_: [part * 2, -part], 3)
        torch.testing.assert_close(doubled, x * 2)
        torch.testing.assert_close(negative, -x)


def mix(part: torch.Tensor, frames: torch.Tensor, length: int) -> list[torch.Tensor]:
    assert len(part) == len(frames) and len(part) % length == 0
    clips = part.unflatten(0, (-1, length))
    return [(clips - clips.mean(1, keepdim=True) * 0.5).flatten(0, 1)]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_several_windows_a_call_give_the_same_bits_as_one(schedule: str) -> None:
    x = torch.randn(23, 4, 3, 2, generator=torch.Generator().manual_seed(2))
    for windows in (one for one in SETTINGS if one.schedule == schedule):
        results = [denoise(windows, x, 2, mix, count)[0] for count in (1, 2, 5, 100)]
        assert all(torch.equal(results[0], other) for other in results[1:])


def test_windows_too_many_for_the_memory_are_halved_and_one_too_large_is_an_error() -> None:
    x, calls = torch.randn(64, 2, generator=torch.Generator().manual_seed(4)), []

    def small(part: torch.Tensor, frames: torch.Tensor, length: int) -> list[torch.Tensor]:
        calls.append(len(part) // length)
        if len(part) > holds:
            raise torch.cuda.OutOfMemoryError("too much")
        return mix(part, frames, length)

    holds = 40
    got = denoise(Windows(16, 8), x, 0, small, 7)[0]
    assert calls == [7, 3, 1, 1, 1, 1, 1, 1, 1] and torch.equal(got, denoise(Windows(16, 8), x, 0, mix, 1)[0])
    holds = 15
    with pytest.raises(FramewrightError, match="a window of 16 frames is too large for the memory"):
        denoise(Windows(16, 8), x, 0, small, 7)


def test_the_first_window_that_is_not_finite_is_named() -> None:
    def spoiled(part: torch.Tensor, frames: torch.Tensor, length: int) -> list[torch.Tensor]:
        return [torch.where((frames == 29)[:, None], math.nan, part)]

    with pytest.raises(FramewrightError, match="window of frames 16 to 31 is not finite, first in frame 29"):
        denoise(Windows(16, 8), torch.randn(64, 2), 0, spoiled, 2)


@pytest.mark.parametrize("fuse", FUSES)
def test_fusing_against_a_loop_over_frames(fuse: str) -> None:
    """Each frame is the weighted mean of what the windows that hold it say."""
    windows = Windows(4, 2, "standard", fuse)
    x = torch.randn(9, 1, generator=torch.Generator().manual_seed(3))

    def first_of_window(part: torch.Tensor, frames: torch.Tensor, length: int) -> list[torch.Tensor]:
        return [part.unflatten(0, (-1, 4))[:, :1].expand(-1, 4, -1).flatten(0, 1)]

    got = denoise(windows, x, 0, first_of_window, 2)[0]
    for frame in range(9):
        holding = [w for w in windows.plan(9) if frame in w.frames]
        shares = [w.weights[w.frames.index(frame)] for w in holding]
        expected = sum(s * x[w.frames[0]] for s, w in zip(shares, holding, strict=True)) / sum(shares)
        torch.testing.assert_close(got[frame], expected)


def test_what_each_place_of_a_window_counts() -> None:
    def weights(fuse: str, length: int, number: int = 1) -> tuple[float, ...]:
        return Windows(length, length // 2, fuse=fuse).plan(4 * length)[number].weights

    assert weights("pyramid", 5) == (1, 2, 3, 2, 1)
    assert weights("uniform mean", 4) == (1, 1, 1, 1)
    assert weights("overlap linear", 6) == (1e-6, 0.5, 1, 1, 0.5, 1e-6)
    assert weights("overlap linear", 6, number=0) == (1, 1, 1, 1, 0.5, 1e-6)
    looped = Windows(6, 3, "looped", "overlap linear", closed_loop=True).plan(24)
    assert {window.weights for window in looped} == {(1e-6, 0.5, 1, 1, 0.5, 1e-6)}
    assert weights("relative", 5)[2] == 1 and weights("relative", 5)[0] == 0.01
    gaussian = weights("gaussian", 7)
    assert gaussian[3] == 1 and gaussian[0] == gaussian[6] < gaussian[1] < gaussian[2]


def test_steps_are_found_by_the_nearest_level_not_by_an_equal_one() -> None:
    sigmas = torch.tensor([14.6, 5.0, 1.0, 0.0])
    assert [nearest_step(sigmas, sigma) for sigma in (14.6, 9.9, 5.0001, 0.7, 0.0)] == [0, 0, 1, 2, 3]
    assert nearest_step(None, 3.0) == 0
    assert [halving(step) for step in range(4)] == [0, 0.5, 0.25, 0.75]


def test_windows_hold_between_parts_of_sampling_the_last_ones_first() -> None:
    early, late = Windows(8, 4), Windows(16, 8)
    steps = StepWindows().then(early, 0.0, 0.8).then(late, 0.5, 0.9)

    def at(sigma: float, frames: int = 64) -> Windows | None:
        return steps.at(sigma, frames, lambda part: 10 * (1 - part))

    assert [at(sigma) for sigma in (10.0, 5.0, 3.0, 1.0, 0.5)] == [early, late, late, late, None]
    assert at(10.0, 8) is None, "a video that fits a window has none"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length": 0}, "length: 0 came"),
        ({"length": 8, "overlap": 8}, "overlap: 8 came, expected 0 to 7"),
        ({"overlap": -1}, "overlap: -1 came"),
        ({"schedule": "round"}, "schedule: 'round' came, expected one of standard, uniform"),
        ({"fuse": "sum"}, "fuse: 'sum' came"),
        ({"stride": 0}, "stride: 0 came"),
        ({"keep": (3, 3)}, r"keep_frames: \[3, 3\] came, expected different"),
        ({"length": 8, "overlap": 6, "keep": (0, 1)}, "keep_frames: 2 frames came .* expected at most 1"),
    ],
)
def test_settings_that_make_no_sense_are_one_error(settings: dict, message: str) -> None:
    with pytest.raises(FramewrightError, match=message):
        Windows(**settings)


def test_the_most_frames_that_a_call_holds() -> None:
    whole, early = (StepWindows().then(Windows(8, 4), 0.0, end) for end in (1.0, 0.5))
    assert whole.most(40, 40) == 8 and early.most(40, 40) == 40 and early.most(40, 6) == 8
    assert StepWindows().most(40, 16) == 16 and whole.most(5, 5) == 5


def test_the_picture_on_a_node_is_of_its_settings() -> None:
    def drawn(**settings: str) -> np.ndarray:
        png = np.frombuffer(timeline_on_node(settings), np.uint8)
        return cv2.imdecode(png, cv2.IMREAD_COLOR)

    pictures = [
        drawn(), drawn(frames="64", length="16", overlap="8"), drawn(overlap="4"), drawn(schedule="uniform"),
        drawn(frames="20"), drawn(keep_frames="0, 9"), drawn(schedule="looped", closed_loop="true"),
    ]  # fmt: skip
    assert np.array_equal(pictures[0], pictures[1])
    assert len({picture.tobytes() for picture in pictures}) == len(pictures) - 1
    for settings in ({"length": "1", "overlap": "0"}, {"length": "512", "overlap": "511"}):
        assert max(drawn(frames="1000000", **settings).shape) < 2500
    for wrong in ({"overlap": "16"}, {"length": "many"}, {"length": "-3"}, {"length": "9" * 99},
                  {"schedule": "<b>"}, {"keep_frames": "x"}, {"stride": "0"}, {"keep_frames": "70"},
    ):  # fmt: skip
        with pytest.raises(FramewrightError, match="came, expected"):
            timeline_on_node(wrong)


def test_frames_in_a_window_of_the_host_s_own_are_known() -> None:
    def held(batch: int, **options: Any) -> list[int]:
        return frames_in_call(batch, numbered({"context_window": window, **options})).tolist()

    window = SimpleNamespace(index_list=[4, 5, 6])
    assert held(6, cond_or_uncond=[0, 1]) == [4, 5, 6]
    window.causal_anchor_index = 3
    assert held(8, cond_or_uncond=[0, 1]) == [3, 4, 5, 6]
    assert held(4, **{NUMBERS: torch.arange(16, 32)}) == [19, 20, 21, 22], "of a plan's part"
    assert numbered(elsewhere := {"cond_or_uncond": [0]}) is elsewhere
