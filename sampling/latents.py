"""Latents that sampling starts from."""

import torch
from torch import Tensor

from ..errors import FramewrightError


def empty_frames(frames: int, width: int, height: int, ratio: int, channels: int) -> Tensor:
    """Zero latents [frames, channels, height/ratio, width/ratio]; raises where a side does not divide."""
    if frames < 1:
        raise FramewrightError(f"frames: {frames} came, expected at least 1")
    for name, side in (("width", width), ("height", height)):
        if side < ratio or side % ratio:
            raise FramewrightError(
                f"{name}: {side} came, expected a multiple of {ratio} "
                f"(nearest: {max(1, round(side / ratio)) * ratio})"
            )
    return torch.zeros(frames, channels, height // ratio, width // ratio)
