"""Depth maps put right: one range for a clip, less detail, colours to look at."""

import cv2
import numpy as np
import torch
from torch import Tensor

from ..errors import FramewrightError

RANGES = ("clip", "frame", "as it is")
COLOURS = {
    "grey": None,
    "turbo": cv2.COLORMAP_TURBO,
    "inferno": cv2.COLORMAP_INFERNO,
    "viridis": cv2.COLORMAP_VIRIDIS,
}

_FLAT = 1e-5  # of its values, the range below which a map has no depth


def ranged(maps: Tensor, over: str) -> Tensor:
    """Depth maps [F, H, W] of any range brought to 0..1; raises on values that are not finite.

    Over a clip its nearest and farthest are the ends, so that what does not move keeps its grey; over a frame
    each has the ends of its own.
    """
    if over not in RANGES:
        raise FramewrightError(f"range: {over!r} came, expected one of {', '.join(RANGES)}")
    if not torch.isfinite(maps).all():
        raise FramewrightError("image: depths that are not finite came, expected numbers")
    if over == "as it is":
        return maps.clamp(0, 1)
    low, high = torch.aminmax(maps if over == "clip" else maps.flatten(1), dim=None if over == "clip" else 1)
    low, high = low.view(-1, 1, 1), high.view(-1, 1, 1)
    span = high - low
    flat = span <= _FLAT * torch.maximum(high.abs(), low.abs())
    return (maps - low) / span.masked_fill(flat, torch.inf)


def blurred(maps: Tensor, level: int) -> Tensor:
    """Maps [F, H, W] halved so many times, blurred each time, and brought back: looser structure.

    Of Gen-1 (Esser et al. 2023), whose model is told how much of a structure to keep. Raises where nothing
    would be left.
    """
    height, width = maps.shape[1:]
    if level < 0 or min(height, width) >> level < 1:
        raise FramewrightError(
            f"blur: {level} came for maps of {width} by {height}, expected 0 to "
            f"{min(height, width).bit_length() - 1}"
        )
    if level == 0:
        return maps
    back = []
    for one in maps.float().cpu().numpy():
        sizes = []
        for _ in range(level):
            sizes.append(one.shape[::-1])
            one = cv2.pyrDown(one)
        for size in reversed(sizes):
            one = cv2.pyrUp(one, dstsize=size)
        back.append(torch.from_numpy(one))
    return torch.stack(back).to(maps)


def coloured(maps: Tensor, colours: str) -> Tensor:
    """Pictures [F, H, W, 3] of maps [F, H, W] in 0..1."""
    if colours not in COLOURS:
        raise FramewrightError(f"colours: {colours!r} came, expected one of {', '.join(COLOURS)}")
    palette = COLOURS[colours]
    if palette is None:
        return maps[..., None].repeat(1, 1, 1, 3)
    steps = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], palette)[0, :, ::-1]
    table = torch.from_numpy(steps.astype(np.float32) / 255)
    return table[(maps.cpu() * 255).round().long()]
