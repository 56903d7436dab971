"""A picture that frames begin from, through an input convolution trained for it (PIA, Zhang et al. 2023).

The convolution takes the noisy latents, one channel of affinity (how much a frame is to look like the
picture) and the picture's latents. Its part on the noise stays the image model's own, as released; the rest
is linear, two maps, made once, that are added to what the image model's convolution gives.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import FramewrightError
from .slots import frames_in_call

NOISE = 4  # channels of the noisy latents


class ImageInput:
    """What a host calls after each input block (its `input_block_patch`); acts after the first.

    `weight` [C, 9, 3, 3] on noise, affinity, picture; `image` [1, 4, h, w] in the model's latents; `affinity`
    0..1 for each frame, the last one for all further ones.
    """

    def __init__(self, weight: Tensor, image: Tensor, affinity: Sequence[float]) -> None:
        if weight.ndim != 4 or weight.shape[1] != NOISE + 1 + image.shape[1]:
            raise FramewrightError(
                f"motion: an input convolution of {list(weight.shape)} came, expected "
                f"[channels, {NOISE + 1 + image.shape[1]}, 3, 3]"
            )
        rest, everywhere = weight[:, NOISE:].to(image), image.new_ones(1, 1, *image.shape[-2:])
        self._likeness = F.conv2d(everywhere, rest[:, :1], padding=1)
        self._picture = F.conv2d(image, rest[:, 1:], padding=1)
        self._affinity = torch.tensor(affinity, dtype=torch.float32)

    def __call__(self, h: Tensor, options: dict[str, Any]) -> Tensor:
        if options["block"] != ("input", 0):
            return h
        if h.shape[1] != self._picture.shape[1]:
            raise FramewrightError(
                f"motion: its input convolution is for a model of {self._picture.shape[1]} channels, "
                f"the model that came has {h.shape[1]}"
            )
        if h.shape[-2:] != self._picture.shape[-2:]:
            came, expected = (f"{t.shape[-1]}×{t.shape[-2]}" for t in (self._picture, h))
            raise FramewrightError(
                f"image: its latents are {came}, those of the video {expected}; add Upscale Image before it"
            )
        numbers = frames_in_call(len(h), options)
        affinity = self._affinity[numbers.clamp(max=len(self._affinity) - 1)].view(-1, 1, 1, 1)
        added = affinity.to(h) * self._likeness.to(h) + self._picture.to(h)
        return h + added.repeat(h.shape[0] // added.shape[0], 1, 1, 1)
