"""What nodes do with pose guiders, in whichever host they run."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..demo.files import GUIDER_FILES
from ..temporal.extent import Extent
from ..temporal.pose_guider import PoseInput, load_pose_guider
from .flow import counted
from .host import during, host
from .pictures import check_maps

_MAPS_AT_ONCE = 4


def pose_guiders() -> dict[str, Path]:
    """What a node lists: the demo's, and the files beside ControlNets."""
    return {**GUIDER_FILES, **host().control_files()}


def guide_poses(model: Any, path: Path, image: Tensor, extent: Extent, steps: tuple[float, float]) -> Any:
    """A clone of MODEL whose frames are led by a pose guider's view of IMAGE [F, H, W, 3], in 0..1."""
    check_maps(image)
    guider = load_pose_guider(path, host().parts(), host().read_pickle)
    parts = image[..., :3].movedim(-1, 1).float().split(_MAPS_AT_ONCE)
    with host().loaded(guider) as device, torch.no_grad():
        dtype = guider.conv_in.weight.dtype
        seen = (guider(part.to(device, dtype)).cpu() for part in parts)
        features = torch.cat(list(counted(seen, len(parts))))
    handle = host().handle(model).clone()
    handle.refuse_areas("pose maps")
    handle.add_input_patch(PoseInput(features, during(extent, steps, handle)))
    return handle.model
