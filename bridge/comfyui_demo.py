"""The demo model as ComfyUI's own kinds of object, so that its samplers, guiders and VAE nodes work on it."""

from typing import Any

import comfy.controlnet
import comfy.latent_formats
import comfy.model_base
import comfy.model_management as management
import comfy.model_patcher
import comfy.supported_models_base
import torch

from ..demo import files
from ..demo.text import WordEncoder
from ..demo.vae import DOWNSCALE, RGB, FrameVAE, SmallVAE
from ..temporal.control_net import ControlNet
from ..temporal.parts import Parts
from ..temporal.sparse_control import SparseControlNet
from ..temporal.unet import SpaceTimeUNet
from .comfyui_parts import attention, host_parts
from .comfyui_sparse_control import SparseControl


class _Latents(comfy.latent_formats.LatentFormat):
    spacial_downscale_ratio = DOWNSCALE
    latent_rgb_factors = RGB


class _Config(comfy.supported_models_base.BASE):
    latent_format = _Latents
    unet_extra_config: dict[str, Any] = {}
    supported_inference_dtypes = [torch.float32]


def _unet(device: Any, operations: Any, **_: Any) -> SpaceTimeUNet:
    return SpaceTimeUNet(files.UNET, Parts(operations, attention, torch.float32, device))


def demo_model() -> tuple[Any, WordEncoder, FrameVAE]:
    """MODEL (v-prediction), word encoder and VAE of the shapes world."""
    offload = management.unet_offload_device()
    base = comfy.model_base.BaseModel(
        _Config({"dtype": torch.float32}), comfy.model_base.ModelType.V_PREDICTION, offload, _unet
    )
    files.load("image", base.diffusion_model)
    patcher = comfy.model_patcher.ModelPatcher(base, management.get_torch_device(), offload)
    return patcher, files.load("text", WordEncoder()), _vae()


def demo_control(name: str) -> comfy.controlnet.ControlNet:
    """CONTROL_NET of the shapes world, a SparseControl where it is shown some frames."""
    parts = host_parts(torch.float32)
    if name == files.SPARSELY:
        return SparseControl(files.load(name, SparseControlNet(files.SPARSE, parts)))
    net = files.load(name, ControlNet(files.CONTROL, parts))
    return comfy.controlnet.ControlNet(
        net, compression_ratio=DOWNSCALE, load_device=management.get_torch_device()
    )


def _vae() -> FrameVAE:
    net = files.load("vae", SmallVAE())
    patcher = comfy.model_patcher.ModelPatcher(net, management.vae_device(), management.vae_offload_device())

    def prepare(bytes_a_frame: int) -> tuple[torch.device, int]:
        management.load_models_gpu([patcher], memory_required=bytes_a_frame, force_full_load=True)
        device = next(net.parameters()).device  # the CPU, where the host was told to keep weights there
        return device, max(1, int(management.get_free_memory(device) / 2 / bytes_a_frame))

    return FrameVAE(net, prepare)
