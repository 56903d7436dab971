"""Motion modules against diffusers' own, and through files."""

from pathlib import Path

import pytest
import torch
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from framewright.errors import FramewrightError
from framewright.temporal.checkpoint import load_motion
from framewright.temporal.motion import MotionModel, MotionParams, TemporalTransformer
from framewright.temporal.motion_settings import AppliedMotion, MotionSettings
from framewright.temporal.parts import Parts
from framewright.temporal.slots import FRAMES, insert_slots, remove_slots, site_channels
from framewright.temporal.unet import SpaceTimeUNet, UNetParams
from framewright.tests.foreign_keys import as_diffusers
from safetensors.torch import save_file

TINY = MotionParams(channels=(32, 64), res_blocks=1, positions=12)


def randomised(model: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


@pytest.mark.parametrize(("channels", "frames"), [(32, 5), (64, 12), (320, 3)])
def test_a_temporal_block_gives_diffusers_numbers(channels: int, frames: int) -> None:
    ours = randomised(TemporalTransformer(channels, TINY, Parts()))
    theirs = AnimateDiffTransformer3D(
        num_attention_heads=8, attention_head_dim=channels // 8, in_channels=channels, norm_num_groups=32,
        num_layers=1, activation_fn="geglu", attention_bias=False, double_self_attention=True,
        positional_embeddings="sinusoidal", num_positional_embeddings=12,
    ).eval()  # fmt: skip
    theirs.load_state_dict(as_diffusers(ours.state_dict()))
    x = torch.randn(6, frames, channels)  # past the norm, which diffusers takes over all frames at once
    with torch.no_grad():
        torch.testing.assert_close(
            ours.transformer_blocks[0](x), theirs.transformer_blocks[0](x), atol=1e-4, rtol=1e-4
        )


@torch.no_grad()
def test_a_module_saved_and_loaded_gives_the_same_frames(tmp_path: Path) -> None:
    model, x = randomised(MotionModel(TINY)), torch.randn(6, 32, 4, 4)
    for prefix in ("", "module.", "motion_module."):
        save_file(
            {prefix + key: value for key, value in model.state_dict().items()}, tmp_path / "m.safetensors"
        )
        loaded = load_motion(tmp_path / "m.safetensors", Parts()).model
        assert loaded.params == TINY
        before, after = (AppliedMotion(one, MotionSettings()) for one in (model, loaded))
        expected = before(("input", 1), x, {FRAMES: 6})
        # Not to the bit: kernels differ with how a file leaves its tensors aligned.
        torch.testing.assert_close(after(("input", 1), x, {FRAMES: 6}), expected, atol=1e-6, rtol=1e-6)


def test_sites_are_those_of_the_unet() -> None:
    for mult, blocks in (((1, 2), 1), ((1, 2, 4, 4), 2), ((1, 2, 4), 2)):
        params = UNetParams(model_channels=32, channel_mult=mult, num_res_blocks=blocks, context_dim=8)
        unet = SpaceTimeUNet(params, Parts(device="meta"))
        motion = MotionModel(MotionParams(params.channels, blocks), Parts(device="meta"))
        assert motion.channels == site_channels(unet)


def test_slots_come_and_go_any_number_of_times() -> None:
    unet = SpaceTimeUNet(UNetParams(32, 32, 32, (1, 2), 1, (0,), 1, 8, 8))
    keys = list(unet.state_dict())
    for _ in range(2):
        insert_slots(unet)
        insert_slots(unet)
        assert list(unet.state_dict()) != keys  # an upsampler moves one place on
        remove_slots(unet)
        remove_slots(unet)
        assert list(unet.state_dict()) == keys


def test_one_frame_passes_untouched_and_too_many_are_an_error() -> None:
    model = AppliedMotion(randomised(MotionModel(TINY)), MotionSettings())
    x = torch.randn(13, 32, 4, 4)
    assert torch.equal(model(("input", 1), x, {FRAMES: 1}), x)
    with pytest.raises(FramewrightError, match="13 frames came.*positions for 12"):
        model(("input", 1), x, {FRAMES: 13})
    with pytest.raises(FramewrightError, match="batch of 13 came, expected a multiple of 6"):
        model(("input", 1), x, {FRAMES: 6})
