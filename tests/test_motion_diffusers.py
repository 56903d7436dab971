"""A whole UNet with motion modules against diffusers' motion UNet, from the same weights."""

import warnings

import pytest
import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from diffusers.models.attention import FreeNoiseTransformerBlock
from framewright.sampling.window_plan import Windows
from framewright.temporal.builder import UNetParams
from framewright.temporal.image_input import ImageInput
from framewright.temporal.motion import MotionModel, MotionParams
from framewright.temporal.motion_settings import AppliedMotion, MotionSettings
from framewright.temporal.slots import FRAMES, LAYERS
from framewright.temporal.unet import SpaceTimeUNet
from framewright.tests.diffusers_motion import normed_by_frame, randomised
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


Pair = tuple[SpaceTimeUNet, MotionModel, UNetMotionModel]


@pytest.fixture(params=SYSTEMS)
def pair(request: pytest.FixtureRequest) -> Pair:
    return made(request.param)


def made(system: str, input_conv: dict[str, Tensor] | None = None) -> Pair:
    """Ours, a motion module of the system, and diffusers' UNet with both."""
    mult, attends, mid, positions = SYSTEMS[system]
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
        conv_in_channels=9 if input_conv else None,
    )  # fmt: skip
    adapter.load_state_dict(as_diffusers(motion.state_dict()) | (input_conv or {}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        moving = UNetMotionModel.from_unet2d(theirs, adapter).eval()
    return ours, motion, normed_by_frame(moving)


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


@torch.no_grad()
def test_a_picture_to_begin_from_gives_diffusers_numbers() -> None:
    conv = {"conv_in.weight": torch.randn(32, 9, 3, 3) * 0.1, "conv_in.bias": torch.randn(32) * 0.1}
    ours, motion, theirs = made("v2", conv)
    x, image = torch.randn(2 * FRAMES_IN, 4, 16, 16), torch.randn(1, 4, 16, 16)
    context = torch.randn(2, 5, CONTEXT).repeat_interleave(FRAMES_IN, 0)
    affinity = torch.tensor([1.0, 0.9, 0.6, 0.6])
    given = ImageInput(conv["conv_in.weight"], image, affinity[:3].tolist())
    options = {
        LAYERS: (AppliedMotion(motion, MotionSettings()),), FRAMES: FRAMES_IN,
        "patches": {"input_block_patch": [given]}, "cond_or_uncond": [0, 1],
    }  # fmt: skip
    mine = ours(x, torch.full((2 * FRAMES_IN,), 500), context, transformer_options=options)
    clips = x.unflatten(0, (2, FRAMES_IN)).transpose(1, 2)
    mask = affinity.view(1, 1, -1, 1, 1).expand(2, 1, -1, 16, 16)
    pictures = image.unsqueeze(2).expand(2, -1, FRAMES_IN, -1, -1)
    expected = theirs(torch.cat([clips, mask, pictures], 1), 500, context).sample
    torch.testing.assert_close(mine, expected.transpose(1, 2).flatten(0, 1), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_windows_inside_a_module_give_diffusers_free_noise() -> None:
    ours, motion, theirs = made("v3")
    for module in (*theirs.down_blocks, theirs.mid_block, *theirs.up_blocks):
        for layer in getattr(module, "motion_modules", ()):
            for number, block in enumerate(layer.transformer_blocks):
                layer.transformer_blocks[number] = _in_windows(block)
    x, frames = torch.randn(12, 4, 16, 16), 12
    context = torch.randn(1, 5, CONTEXT).repeat_interleave(frames, 0)
    options = {LAYERS: (AppliedMotion(motion, MotionSettings(views=Windows(8, 4))),), FRAMES: frames}
    mine = ours(x, torch.full((frames,), 500), context, transformer_options=options)
    expected = theirs(x[None].transpose(1, 2), 500, context).sample
    torch.testing.assert_close(mine, expected[0].transpose(0, 1), atol=1e-4, rtol=1e-4)


def _in_windows(block: nn.Module) -> FreeNoiseTransformerBlock:
    width = block.norm1.normalized_shape[0]
    made = FreeNoiseTransformerBlock(
        dim=width, num_attention_heads=8, attention_head_dim=width // 8, activation_fn="geglu",
        double_self_attention=True, positional_embeddings="sinusoidal", num_positional_embeddings=32,
        context_length=8, context_stride=4, weighting_scheme="pyramid",
    ).eval()  # fmt: skip
    made.load_state_dict(block.state_dict())
    return made
