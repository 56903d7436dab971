"""diffusers' motion models made comparable with the releases."""

from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from torch import Tensor, nn


class _PerFrame(nn.Module):
    """diffusers takes a motion module's norm over all frames at once, AnimateDiff's release by frame."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:  # [B, C, F, h, w]
        frames = x.transpose(1, 2)
        return self.norm(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).transpose(1, 2)


def randomised(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.06)
    return module.eval().requires_grad_(False)


def normed_by_frame(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, AnimateDiffTransformer3D):
            module.norm = _PerFrame(module.norm)
    return model
