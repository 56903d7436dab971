"""Between the host's IMAGE tensors and the arrays that pictures are drawn on."""

import numpy as np
import torch
from torch import Tensor

from ..errors import FramewrightError


def image(picture: np.ndarray) -> Tensor:
    """A picture [H, W, 3] as an IMAGE of one frame."""
    return torch.from_numpy(np.ascontiguousarray(picture, np.float32))[None].clamp(0, 1)


def frames_of(images: Tensor) -> np.ndarray:
    """An IMAGE's frames as float32 [F, H, W, 3]."""
    return images[..., :3].float().cpu().numpy()


def check_maps(image: Tensor) -> None:
    """Raises where an IMAGE holds values that are not finite."""
    if not torch.isfinite(image).all():
        raise FramewrightError("image: maps with values that are not finite came, expected 0 to 1")


def masks(mask: Tensor | None) -> Tensor | None:
    """A MASK as [M, H, W], whichever way a node gave it; raises on what is none."""
    if mask is None or mask.ndim == 3:
        return mask
    if mask.ndim == 2:
        return mask[None]
    if mask.ndim == 4 and mask.shape[1] == 1:
        return mask[:, 0]
    raise FramewrightError(f"mask: {list(mask.shape)} came, expected [masks, height, width]")
