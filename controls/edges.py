"""Edges without a network: soft edges, lines and scribbles of pictures, by one measure of contrast.

The contrast of an edge is the step of brightness across it, 0..1, in the colour in which it is the greatest.
It depends on the picture alone, never on the others of a clip or on its own brightest edge, so that maps do
not flicker.
"""

import math
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import torch
from kornia.filters import gaussian_blur2d, spatial_gradient
from torch import Tensor

from ..errors import FramewrightError

FRAMES_AT_ONCE = 16
_WIDER = 1.6  # times the finer blur is the coarser one, where their difference is most like a Laplacian's
_LINE = 0.1117  # of a step, the most by which the two blurs differ beside it
_SHARPNESS = 4.0  # of the threshold of lines


def edges(frames: Tensor, kind: str, scale: float, threshold: float) -> Iterator[Tensor]:
    """Edges 0..1 of frames [F, H, W, 3] in 0..1, as parts [f, H, W] of the video.

    `scale`: pixels of the blur below which nothing is seen; `threshold`: the contrast below which nothing is
    drawn, 0..1. Kinds: see KINDS.
    """
    if kind not in KINDS:
        raise FramewrightError(f"kind: {kind!r} came, expected one of {', '.join(KINDS)}")
    if scale <= 0 or not 0 <= threshold < 1:
        raise FramewrightError(
            f"scale, threshold: {scale} and {threshold} came, expected pixels above 0, and 0 to below 1"
        )
    for part in frames.split(FRAMES_AT_ONCE):
        yield KINDS[kind](part.movedim(-1, 1).float(), scale, threshold)


def _soft(pictures: Tensor, scale: float, threshold: float) -> Tensor:
    """The slope across an edge, as high as its contrast and `scale` wide."""
    slope = spatial_gradient(_blurred(pictures, scale), order=1).square_().sum(2).amax(1).sqrt_()
    of_a_step = (_normal(1.5 / scale) - _normal(-0.5 / scale)) / 2  # by the pixels on both sides
    return slope.div_(of_a_step).sub_(threshold).div_(1 - threshold).clamp_(0, 1)


def _normal(x: float) -> float:
    """The part of a normal distribution below x."""
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def _lines(pictures: Tensor, scale: float, threshold: float) -> Tensor:
    """Lines on the darker side of edges: a soft difference of Gaussians (Winnemöller et al. 2012)."""
    return _darker(pictures, scale).sub_(threshold).mul_(_SHARPNESS).tanh_().clamp_(0, 1)


def _scribble(pictures: Tensor, scale: float, threshold: float) -> Tensor:
    """Lines as broad as a marker's, all or nothing."""
    drawn = (_darker(pictures, scale) > threshold).to(torch.uint8).numpy(force=True)
    pen = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * math.ceil(scale) + 1,) * 2)
    return torch.from_numpy(np.stack([cv2.dilate(one, pen) for one in drawn])).to(pictures)


KINDS: dict[str, Callable[[Tensor, float, float], Tensor]] = {
    "soft": _soft,
    "lineart": _lines,
    "scribble": _scribble,
}


def _darker(pictures: Tensor, scale: float) -> Tensor:
    """By how much each pixel is darker than what is round about, [f, H, W]; beside a step, its contrast."""
    around = _blurred(pictures, scale * _WIDER)
    return around.sub_(_blurred(pictures, scale)).amax(1).div_(_LINE)


def _blurred(pictures: Tensor, sigma: float) -> Tensor:
    size = 2 * math.ceil(3 * sigma) + 1
    height, width = pictures.shape[-2:]
    if min(height, width) <= size // 2:
        raise FramewrightError(
            f"scale: a blur of {sigma:g} pixels came for a picture of {width} by {height}, expected a larger "
            "picture"
        )
    return gaussian_blur2d(pictures, (size, size), (sigma, sigma))
