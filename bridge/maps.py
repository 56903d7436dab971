"""Maps of pictures as nodes make them, with the host's progress."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..controls.depth import blurred, coloured, ranged
from ..controls.edges import FRAMES_AT_ONCE, edges
from ..controls.pose import write_poses
from ..controls.pose_detector import PoseDetector
from ..controls.pose_motion import followed
from .depth_model import DepthModel
from .flow import counted
from .host import host
from .pictures import frames_of

_DEPTHS_AT_ONCE = 4


def edge_maps(image: Tensor, kind: str, scale: float, threshold: float) -> Tensor:
    """IMAGE [F, H, W, 3] of the edges of one, white on black."""
    parts = counted(edges(image[..., :3], kind, scale, threshold), -(-len(image) // FRAMES_AT_ONCE))
    return grey(torch.cat(list(parts)))


def depth_maps(image: Tensor, folder: Path) -> Tensor:
    """IMAGE [F, H, W, 3] of the depth of one by a model of the artist's, the nearest of the clip white."""
    model = DepthModel(folder)
    parts = image[..., :3].split(_DEPTHS_AT_ONCE)
    with host().loaded(model.net) as device:
        maps = torch.cat(list(counted((model(part, device) for part in parts), len(parts))))
    return grey(ranged(maps, "clip"))


def refined_depth(image: Tensor, over: str, invert: bool, blur: int, colours: str) -> Tensor:
    maps = ranged(image[..., :3].float().mean(-1), over)
    return coloured(blurred(1 - maps if invert else maps, blur), colours)


def detected_poses(image: Tensor, people: Path | None, pose: Path, sure: float) -> list[dict[str, Any]]:
    """POSE_KEYPOINT of the people in IMAGE [F, H, W, 3], everyone at one place of the lists."""
    detector = PoseDetector(people, pose, sure)
    found = (detector(frames_of(frame[None])[0]) for frame in image)
    return write_poses(followed(list(counted(found, len(image)))))


def grey(maps: Tensor) -> Tensor:
    return maps[..., None].repeat(1, 1, 1, 3)
