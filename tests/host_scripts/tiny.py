"""The host's own UNet in the SD1.5 layout, a tenth as wide, and a motion module for it, of random weights."""

from dataclasses import replace

import comfy.latent_formats
import comfy.model_base
import comfy.model_patcher
import comfy.sample
import comfy.supported_models_base
import torch
from framewright.bridge.host import host
from framewright.bridge.motion import Motion
from framewright.temporal.camera import CameraControl, CameraInput
from framewright.temporal.camera_path import moved
from framewright.temporal.checkpoint import MotionFile
from framewright.temporal.file_layers import SECOND_OF_MIDDLE, FileLayers
from framewright.temporal.inner_layers import InnerLayer
from framewright.temporal.motion import MotionModel, MotionParams
from framewright.temporal.video_layers import CausalTransformer, LvdmBlock, TemporalConvBlock

CPU = torch.device("cpu")
SHAPE = dict(
    image_size=32, in_channels=4, out_channels=4, model_channels=32,
    num_res_blocks=[2, 2], channel_mult=[1, 2], context_dim=64,
    transformer_depth=[1, 1, 1, 1], transformer_depth_output=[1] * 6, transformer_depth_middle=1,
    num_heads=4, num_head_channels=-1, use_spatial_transformer=True, legacy=False,
)  # fmt: skip

FOUR_LEVELS = {
    **SHAPE, "channel_mult": [1, 2, 4, 4], "num_res_blocks": [2] * 4, "transformer_depth": [1] * 6 + [0] * 2,
    "transformer_depth_output": [1] * 9 + [0] * 3,
}  # fmt: skip


class Config(comfy.supported_models_base.BASE):
    unet_extra_config = {}
    latent_format = comfy.latent_formats.SD15


def sd15(dtype: torch.dtype = torch.float32, cast: torch.dtype | None = None, shape: dict = SHAPE):
    """A ModelPatcher; `cast` is what the host computes in where that is not the weights' own dtype."""
    torch.manual_seed(0)
    config = Config({**shape, "dtype": dtype})
    config.set_inference_dtype(dtype, cast)
    base = comfy.model_base.BaseModel(config, device="cpu")
    _fill(base.diffusion_model)
    base.diffusion_model.eval()
    return comfy.model_patcher.ModelPatcher(base, CPU, CPU)


def motion(family: str = "random", dtype: torch.dtype = torch.float32) -> Motion:
    torch.manual_seed(1)
    parts = host().parts()
    made = MotionModel(MotionParams(channels=(32, 64), res_blocks=2, positions=8), parts)
    _fill(made)
    made = made.to(dtype).eval()
    return Motion(MotionFile(made, family, str(dtype), 0), family, (host().weights(made),))


def inner() -> Motion:
    """FollowYourPose layers for its transformers."""
    widths = {("input", 1): 32, ("input", 4): 64, ("middle", 0): 64, ("output", 1): 64, ("output", 5): 32}
    return _of_unet("FollowYourPose", {
        f"{kind}.{number}": ((kind, number), width, InnerLayer(width, 8, host().parts()))
        for (kind, number), width in widths.items()
    })  # fmt: skip


def lvdm() -> Motion:
    """LVDM layers for its transformers."""
    widths = {("input", 1): 32, ("middle", 0): 64, ("output", 5): 32}
    return _of_unet("LVDM", {
        f"{kind}.{number}": ((kind, number), width, LvdmBlock(width, 4, 8, host().parts()))
        for (kind, number), width in widths.items()
    })  # fmt: skip


def make_your_video() -> Motion:
    """Make-Your-Video layers for its ResBlocks and transformers."""
    widths = {("input", 1): 32, ("middle", 0): 64, SECOND_OF_MIDDLE: 64, ("output", 5): 32}
    parts = host().parts()
    convs = {
        f"{kind}.{number}.conv": ((kind, number), width, TemporalConvBlock(width, parts))
        for (kind, number), width in widths.items()
    }
    moves = {"moves": (("middle", 0), 64, CausalTransformer(64, 4, 8, parts))}
    return _of_unet("Make-Your-Video", {**convs, **moves})


def _of_unet(family: str, layers: dict) -> Motion:
    made = FileLayers(layers, None, "any")
    _fill(made)
    return Motion(MotionFile(made.eval(), family, "float32", 0), family, (host().weights(made),))


def camera(motion: Motion) -> Motion:
    """The motion module with a camera that goes ahead."""
    merges = {motion.model.key(site): width for site, width in motion.model.channels.items()}
    made = CameraControl((32, 64), 1, 8, merges, host().parts())
    _fill(made)
    path = CameraInput(made.eval(), motion.model, moved("zoom in", 8, 1.0), 1.0)
    return replace(motion, weights=(*motion.weights, host().weights(made)), camera=path)


def _fill(module: torch.nn.Module) -> None:
    for parameter in module.parameters():
        parameter.data = torch.empty(parameter.shape).normal_(std=0.05).to(parameter.dtype)
        parameter.requires_grad_(False)


def sampled(
    model, positive, negative, frames: int = 8, sampler: str = "euler", steps: int = 3, size: int = 16
):
    latent = torch.zeros(frames, 4, size, size)
    noise = comfy.sample.prepare_noise(latent, 9)
    return comfy.sample.sample(
        model, noise, steps, 3.0, sampler, "karras", positive, negative, latent, seed=9
    )
