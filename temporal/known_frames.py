"""Frames that a model is given to go on from, as channels of its input: their latents, and which they are.

As in latent video diffusion (LVDM, He et al. 2022; mask and masked latents beside the noise). The
convolution's part on the noise stays the image model's own; the rest is linear, one map a frame, made once,
that is added to what the image model's convolution gives.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import FramewrightError
from .slots import NUMBERS


class KnownFrames:
    """What a host calls after each input block (its `input_block_patch`); acts after the first.

    `weight` [C, 1 + c, 3, 3] on mask and latents; `latents` [F, c, h, w] of the video; `known` [F], 1 where a
    frame is given, 0 where it is to be made.
    """

    def __init__(self, weight: Tensor, latents: Tensor, known: Tensor) -> None:
        if weight.ndim != 4 or weight.shape[1] != 1 + latents.shape[1]:
            raise FramewrightError(
                f"motion: a convolution for known frames of {list(weight.shape)} came, expected "
                f"[channels, {1 + latents.shape[1]}, 3, 3]"
            )
        if known.shape != latents.shape[:1]:
            raise FramewrightError(
                f"known: {list(known.shape)} came for {latents.shape[0]} frames, expected one number a frame"
            )
        mask = known.to(latents).view(-1, 1, 1, 1)
        given = torch.cat([mask.expand_as(latents[:, :1]), mask * latents], dim=1)
        self._added = F.conv2d(given, weight.to(given), padding=1)

    def __call__(self, h: Tensor, options: dict[str, Any]) -> Tensor:
        if options["block"] != ("input", 0):
            return h
        if h.shape[1:] != self._added.shape[1:]:
            came, expected = (
                f"{t.shape[1]} channels of {t.shape[-1]}×{t.shape[-2]}" for t in (h, self._added)
            )
            raise FramewrightError(f"known frames: {expected} were given, the model has {came}")
        numbers = options.get(NUMBERS)
        added = self._added if numbers is None else self._added[numbers.to(self._added.device)]
        if h.shape[0] % added.shape[0]:
            raise FramewrightError(
                f"known frames: a batch of {h.shape[0]} came, expected a multiple of {added.shape[0]} frames"
            )
        return h + added.to(h).repeat(h.shape[0] // added.shape[0], 1, 1, 1)
