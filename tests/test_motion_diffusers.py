"""A whole UNet with motion modules against diffusers' motion UNet, from the same weights."""

import warnings
from collections.abc import Iterator

import pytest
import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from framewright.temporal.motion import MotionModel, MotionParams
from framewright.temporal.motion_settings import AppliedMotion, MotionSettings
from framewright.temporal.slots import FRAMES, LAYERS
from framewright.temporal.unet import SpaceTimeUNet, UNetParams
from framewright.tests.foreign_keys import as_diffusers
from torch import Tensor, nn

FRAMES_IN, CONTEXT = 4, 16
# Levels, attention, mid block and positions as released; a tenth as wide.
SYSTEMS = {
    "v1": ((1, 2, 4, 4), (0, 1, 2), False, 24),
    "v2": ((1, 2, 4, 4), (0, 1, 2), True, 32),
    "v3": ((1, 2, 4, 4), (0, 1, 2), False, 32),
    "SDXL": ((1, 2, 4), (1, 2), False, 32),
}


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


@pytest.fixture(params=SYSTEMS)
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[SpaceTimeUNet, MotionModel, UNetMotionModel]]:
    mult, attends, mid, positions = SYSTEMS[request.param]
    torch.manual_seed(0)
    params = UNetParams(
        model_channels=32, channel_mult=mult, num_res_blocks=2, attention_levels=attends, context_dim=CONTEXT,
        head_channels=16,
    )  # fmt: skip
    ours = randomised(SpaceTimeUNet(params))
    motion = randomised(MotionModel(MotionParams(params.channels, 2, mid, positions)))

    kind = ["CrossAttn" if level in attends else "" for level in range(len(mult))]
    theirs = UNet2DConditionModel(
        block_out_channels=params.channels, layers_per_block=2, cross_attention_dim=CONTEXT,
        attention_head_dim=tuple(channels // 16 for channels in params.channels),
        down_block_types=tuple(f"{one}DownBlock2D" for one in kind),
        up_block_types=tuple(f"{one}UpBlock2D" for one in kind[::-1]),
    )  # fmt: skip
    prefixed = {f"model.diffusion_model.{key}": value for key, value in ours.state_dict().items()}
    theirs.load_state_dict(convert_ldm_unet_checkpoint(prefixed, dict(theirs.config)))
    adapter = MotionAdapter(
        block_out_channels=params.channels, motion_layers_per_block=2, motion_num_attention_heads=8,
        motion_max_seq_length=positions, use_motion_mid_block=mid,
    )  # fmt: skip
    adapter.load_state_dict(as_diffusers(motion.state_dict()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        moving = UNetMotionModel.from_unet2d(theirs, adapter).eval()
    for module in moving.modules():
        if isinstance(module, AnimateDiffTransformer3D):
            module.norm = _PerFrame(module.norm)
    yield ours, motion, moving


@torch.no_grad()
def test_the_motion_unet_gives_diffusers_numbers(pair: tuple) -> None:
    ours, motion, theirs = pair
    x = torch.randn(2 * FRAMES_IN, 4, 16, 16)
    context = torch.randn(2, 5, CONTEXT).repeat_interleave(FRAMES_IN, 0)
    options = {LAYERS: (AppliedMotion(motion, MotionSettings()),), FRAMES: FRAMES_IN}
    times = torch.full((2 * FRAMES_IN,), 500)
    mine = ours(x, times, context, transformer_options=options)
    clips = x.unflatten(0, (2, FRAMES_IN)).transpose(1, 2)
    expected = theirs(clips, 500, context).sample.transpose(1, 2).flatten(0, 1)
    still = ours(x, times, context)
    assert (still - expected).abs().max() > 1e-2  # the modules do something
    torch.testing.assert_close(mine, expected, atol=1e-4, rtol=1e-4)
