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
from framewright.temporal.inner_layers import InnerLayers
from framewright.temporal.motion import MotionModel, MotionParams

CPU = torch.device("cpu")
SHAPE = dict(
    image_size=32, in_channels=4, out_channels=4, model_channels=32,
    num_res_blocks=[2, 2], channel_mult=[1, 2], context_dim=64,
    transformer_depth=[1, 1, 1, 1], transformer_depth_output=[1] * 6, transformer_depth_middle=1,
    num_heads=4, num_head_channels=-1, use_spatial_transformer=True, legacy=False,
)  # fmt: skip


class Config(comfy.supported_models_base.BASE):
    unet_extra_config = {}
    latent_format = comfy.latent_formats.SD15


def sd15(dtype: torch.dtype = torch.float32, cast: torch.dtype | None = None):
    """A ModelPatcher; `cast` is what the host computes in where that is not the weights' own dtype."""
    torch.manual_seed(0)
    config = Config({**SHAPE, "dtype": dtype})
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
    channels = {site: 64 for site in (("input", 4), ("middle", 0), ("output", 1))}
    made = InnerLayers({("input", 1): 32, ("output", 5): 32, **channels}, 8, host().parts())
    _fill(made)
    return Motion(MotionFile(made.eval(), "FollowYourPose", "float32", 0), "tuned", (host().weights(made),))


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
