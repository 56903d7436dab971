"""Maps of what was drawn or found, with the host's progress."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..controls.pose import PoseFrame
from ..controls.skeleton import draw_skeletons
from ..controls.strokes import Drawing, draw_tracks


def stroke_maps(drawing: Drawing, width: int, height: int, frames: int, radius: float) -> Tensor:
    """IMAGE [F, H, W, 3] of where the strokes have come to in each frame."""
    return torch.from_numpy(draw_tracks(drawing.tracks(frames, width, height), width, height, radius))


def pose_maps(frames: Sequence[PoseFrame], width: int, height: int) -> Tensor:
    """IMAGE [F, H, W, 3] of the skeletons of each frame."""
    return torch.from_numpy(np.stack([draw_skeletons(frame, width, height) for frame in frames]))
