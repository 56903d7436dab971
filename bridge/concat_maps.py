"""Maps put beside the latents that a model takes, in whichever host it runs."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..controls.conditioning import consecutive, set_concat
from ..errors import FramewrightError
from ..sampling.latents import frames_in
from .host import host
from .pictures import check_maps


def concat_maps(
    model: Any, positive: list, negative: list, latent: Mapping, image: Tensor, channels: int, count: int
) -> tuple[list, list]:
    """CONDITIONINGs of a MODEL that takes maps beside its latents [F, C, h, w]; the negative with zeros.

    IMAGE [G, H, W, 3]: of each frame's map and its neighbours, `count` together, the first channels.
    """
    frames, own, height, width = frames_in(latent, "latent").shape
    if count % 2 == 0:
        raise FramewrightError(f"consecutive: {count} maps came, expected an odd number")
    taken = host().handle(model).input_channels
    if taken != own + channels * count:
        raise FramewrightError(
            f"model: one that takes {taken} channels came, expected one trained with "
            f"{own + channels * count}: {own} of latents and {channels} of {count} maps"
        )
    if image.shape[-1] < channels:
        raise FramewrightError(f"channels: {channels} came for maps of {image.shape[-1]}, expected no more")
    check_maps(image)
    maps = consecutive(image, frames, channels, count, (height, width))
    return set_concat(positive, maps), set_concat(negative, torch.zeros_like(maps))
