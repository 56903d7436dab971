"""What a plot of a long video shows."""

import numpy as np

from ..demo.agreement import agreement, subject_of
from ..demo.world import FRAMES, SIZE
from ..errors import FramewrightError
from ..pictures.drift import sharpness


def drift_curves(frames: np.ndarray, prompt: str) -> list[tuple[str, np.ndarray, float]]:
    """Name, values [F] and highest value of each curve, of frames [F, H, W, 3] in 0..1.

    `prompt`: of the shapes world, or empty.
    """
    curves = []
    if prompt.strip():
        if frames.shape[1:3] != (SIZE, SIZE):
            raise FramewrightError(
                f"images: frames of {frames.shape[2]}×{frames.shape[1]} came with a prompt, expected the "
                f"shapes world's {SIZE}×{SIZE}"
            )
        curves.append(("agreement with the prompt", agreement(frames, subject_of(prompt)), 1.0))
    sharp = sharpness(frames)
    return [*curves, ("sharpness, 1 at the beginning", sharp / max(sharp[:FRAMES].mean(), 1e-9), 2.0)]
