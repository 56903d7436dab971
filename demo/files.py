"""The shipped demo models: their shapes, and their safetensors in half precision."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..controls.flow_completion import CompletionParams
from ..errors import FramewrightError
from ..temporal.builder import UNetParams
from ..temporal.motion import MotionParams
from ..temporal.sparse_control import SparseParams
from .text import WIDTH
from .world import FRAMES

UNET = UNetParams(
    model_channels=64, channel_mult=(1, 1.5, 2), num_res_blocks=1, attention_levels=(1, 2),
    context_dim=WIDTH, head_channels=32, norm_groups=16,
)  # fmt: skip
MOTION = MotionParams(channels=UNET.channels, res_blocks=UNET.num_res_blocks, positions=FRAMES)
CONTROL = replace(UNET, attention_levels=(), middle_attention=False)  # the words stay with the image model
SPARSE = SparseParams(CONTROL, replace(MOTION, mid_block=False, attentions=1, up_blocks=False))
COMPLETION = CompletionParams()
GUIDER = (32, 64, 128)  # channels of its convolutions
KNOWN = replace(MOTION, positions=257)  # 17 key frames lie up to 16 frames apart
CONTROLS = ("canny", "depth", "pose", "stroke")
SPARSELY = "sparse"  # the one that is shown some frames
NEXT = "next"  # the ControlNet that goes on from the frame before
FOLDER = Path(__file__).parent / "models"
GUIDER_FILES = {"demo": FOLDER / "guider.safetensors"}
MOTION_FILES = {"demo": FOLDER / "motion.safetensors", "demo known frames": FOLDER / "known.safetensors"}
Module = TypeVar("Module", bound=nn.Module)


def save(name: str, tensors: Mapping[str, Tensor], folder: Path = FOLDER) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    halves = {key: value.detach().cpu().half().contiguous() for key, value in tensors.items()}
    save_file(halves, path, {"format": "pt", "framewright": name})
    return path


def load(name: str, module: Module, folder: Path = FOLDER) -> Module:
    """Fill `module` with a demo model's weights, as float32, ready for use."""
    path = folder / f"{name}.safetensors"
    if not path.exists():
        raise FramewrightError(
            f"demo model: {path.name} is not in {folder}; `python demo train {name}` makes it"
        )
    try:
        module.load_state_dict({k: v.float() for k, v in load_file(path).items()})
    except Exception as error:
        raise FramewrightError(f"demo model: {path.name} is not the file expected: {error}") from error
    bad = [key for key, value in module.state_dict().items() if not torch.isfinite(value).all()]
    if bad:
        raise FramewrightError(f"demo model: {path.name} holds values that are not finite, in {bad[0]}")
    return module.eval().requires_grad_(False)
