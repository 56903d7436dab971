"""Frames that a model is given to go on from, as channels of its input: their latents, and which they are.

As in latent video diffusion (LVDM, He et al. 2022; mask and masked latents beside the noise). The
convolution's part on the noise stays the image model's own; the rest is linear, and is added to what the
image model's convolution gives.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import FramewrightError
from .extent import EVERYWHERE, Extent
from .slots import NUMBERS

KNOWN = "framewright_known"  # in transformer_options: the video's frames that are given, Known


class Known(NamedTuple):
    """`latents` [F, c, h, w] as the model takes them, and `given` [F], 1 where a frame is known, else 0.

    `numbers` [F], rising: which frames of the video they are; needed where calls tell numbers of theirs.
    """

    latents: Tensor
    given: Tensor
    numbers: Tensor | None = None


def known_in_call(options: dict[str, Any]) -> Known | None:
    """Of the known frames those that a call holds, which may be a part of them; None where it tells of none.

    Raises where there is not a number for each.
    """
    known: Known | None = options.get(KNOWN)
    if known is None:
        return None
    latents, given, held = known
    if given.shape != latents.shape[:1]:
        raise FramewrightError(
            f"known frames: {list(given.shape)} numbers came for {latents.shape[0]} frames, expected one each"
        )
    if held is None or (numbers := options.get(NUMBERS)) is None:
        return known
    rows = torch.searchsorted(held, numbers.to(held).contiguous())
    return Known(latents[rows], given[rows])


class KnownFrames:
    """What a host calls after each input block (its `input_block_patch`); acts after the first.

    `weight` [C, 1 + c, 3, 3] on mask and latents. The frames are those that the call tells of; in a call that
    tells of none, none is known, and nothing is added.
    """

    def __init__(self, weight: Tensor, extent: Extent = EVERYWHERE) -> None:
        if weight.ndim != 4 or weight.shape[2:] != (3, 3):
            raise FramewrightError(
                f"motion: a convolution for known frames of {list(weight.shape)} came, expected "
                "[channels, 1 + latent channels, 3, 3]"
            )
        self._weight, self._extent = weight, extent

    def __call__(self, h: Tensor, options: dict[str, Any]) -> Tensor:
        if options["block"] != ("input", 0) or not self._extent.at_level(options):
            return h
        if (known := known_in_call(options)) is None:
            return h
        latents, given, _ = known
        came, expected = (1 + latents.shape[1], *latents.shape[2:]), (self._weight.shape[1], *h.shape[2:])
        if came != expected or h.shape[1] != self._weight.shape[0]:
            raise FramewrightError(
                f"known frames: latents of {list(latents.shape[1:])} came, the motion module and the "
                f"model take [{expected[0] - 1}, {expected[1]}, {expected[2]}] in "
                f"{self._weight.shape[0]} channels"
            )
        if h.shape[0] % latents.shape[0]:
            raise FramewrightError(
                f"known frames: a batch of {h.shape[0]} came, expected a multiple of "
                f"{latents.shape[0]} frames"
            )
        mask = given.to(h).view(-1, 1, 1, 1)
        seen = torch.cat([mask.expand(-1, -1, *h.shape[2:]), mask * latents.to(h)], dim=1)
        added = F.conv2d(seen, self._weight.to(h), padding=1)
        return h + added.repeat(h.shape[0] // added.shape[0], 1, 1, 1)
