"""A picture to begin from: affinity by frame, windows, and what does not fit."""

import pytest
import torch
from framewright.errors import FramewrightError
from framewright.temporal.image_input import ImageInput
from framewright.temporal.slots import FRAMES, NUMBERS

AT_FIRST = {"block": ("input", 0), "cond_or_uncond": [0, 1]}


@pytest.fixture
def given() -> ImageInput:
    torch.manual_seed(0)
    return ImageInput(torch.randn(8, 9, 3, 3), torch.randn(1, 4, 6, 6), [1.0, 0.5, 0.0])


def test_each_frame_has_its_affinity_in_every_condition_and_window(given: ImageInput) -> None:
    whole = given(torch.zeros(10, 8, 6, 6), {**AT_FIRST, FRAMES: 5})
    assert torch.equal(whole[:5], whole[5:])
    assert not torch.equal(whole[0], whole[1]) and torch.equal(whole[2], whole[4])  # the last one stays
    frames = torch.tensor([1, 2, 0, 1])  # two windows of two
    windows = given(torch.zeros(8, 8, 6, 6), {**AT_FIRST, FRAMES: 2, NUMBERS: frames})
    assert torch.equal(windows, whole[frames].repeat(2, 1, 1, 1))


def test_it_acts_after_the_first_block_only(given: ImageInput) -> None:
    h = torch.randn(4, 8, 6, 6)
    assert torch.equal(given(h, {**AT_FIRST, "block": ("input", 1)}), h)


@pytest.mark.parametrize(
    ("shape", "message"),
    [((2, 8, 6, 4), "image: its latents are 6×6, those of the video 4×6"),
     ((2, 16, 6, 6), "motion: its input convolution is for a model of 8 channels, .* has 16")],
)  # fmt: skip
def test_what_does_not_fit_is_one_error(given: ImageInput, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(FramewrightError, match=message):
        given(torch.zeros(shape), {**AT_FIRST, FRAMES: 1})


def test_a_convolution_of_another_kind_is_one_error() -> None:
    with pytest.raises(FramewrightError, match=r"motion: an input convolution of \[8, 5, 3, 3\] came"):
        ImageInput(torch.zeros(8, 5, 3, 3), torch.zeros(1, 4, 6, 6), [1.0])
