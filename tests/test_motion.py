"""Motion modules against diffusers' own, and through files."""

from pathlib import Path

import pytest
import torch
from diffusers.models.attention import FreeNoiseTransformerBlock
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from framewright.errors import FramewrightError
from framewright.sampling.window_plan import Windows
from framewright.temporal import transformer
from framewright.temporal.builder import UNetParams
from framewright.temporal.checkpoint import load_motion
from framewright.temporal.motion import MotionModel, MotionParams
from framewright.temporal.motion_settings import AppliedMotion, MotionSettings
from framewright.temporal.parts import Parts
from framewright.temporal.pattern_attention import SEQUENCES
from framewright.temporal.slots import (
    FRAMES,
    LAYERS,
    RES,
    Slot,
    insert_slots,
    remove_slots,
    site_channels,
)
from framewright.temporal.transformer import Manner, TemporalTransformer, pixels_at_once
from framewright.temporal.unet import SpaceTimeUNet
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
    ours = randomised(TemporalTransformer(channels, 8, 12, 32, Parts()))
    theirs = AnimateDiffTransformer3D(
        num_attention_heads=8, attention_head_dim=channels // 8, in_channels=channels, norm_num_groups=32,
        num_layers=1, activation_fn="geglu", attention_bias=False, double_self_attention=True,
        positional_embeddings="sinusoidal", num_positional_embeddings=12,
    ).eval()  # fmt: skip
    theirs.load_state_dict(as_diffusers(ours.state_dict()))
    x = torch.randn(6, frames, channels)  # past the norm, which diffusers takes over all frames at once
    with torch.no_grad():
        mine = ours.transformer_blocks[0](x.transpose(0, 1)[None])[0].transpose(0, 1)
        torch.testing.assert_close(mine, theirs.transformer_blocks[0](x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("frames", "length", "stride"), [(12, 8, 4), (24, 12, 6), (16, 9, 7), (8, 8, 4)])
@torch.no_grad()
def test_windows_inside_a_block_give_diffusers_free_noise(frames: int, length: int, stride: int) -> None:
    ours = randomised(TemporalTransformer(32, 8, 12, 32, Parts()))
    theirs = FreeNoiseTransformerBlock(
        dim=32, num_attention_heads=8, attention_head_dim=4, activation_fn="geglu", attention_bias=False,
        double_self_attention=True, positional_embeddings="sinusoidal", num_positional_embeddings=12,
        context_length=length, context_stride=stride, weighting_scheme="pyramid",
    ).eval()  # fmt: skip
    theirs.load_state_dict(as_diffusers(ours.transformer_blocks[0].state_dict()))
    x = torch.randn(6, frames, 32)
    manner = Manner(views=Windows(length, length - stride))
    mine = ours.transformer_blocks[0](x.transpose(0, 1)[None], manner)[0].transpose(0, 1)
    torch.testing.assert_close(mine, theirs(x), atol=1e-4, rtol=1e-4)
    if frames > length:
        plain = ours.transformer_blocks[0](x[:, :12].transpose(0, 1)[None])[0].transpose(0, 1)
        assert (plain - mine[:, :12]).abs().max() > 1e-2  # windows do something


@pytest.mark.parametrize("clips", [1, 2])
@torch.no_grad()
def test_pixels_in_chunks_give_the_same_bits(clips: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = randomised(TemporalTransformer(64, 8, 12, 32, Parts()))
    x = torch.randn(clips * 8, 64, 16, 16)
    monkeypatch.setattr(transformer, "CPU_TOKENS", 2**20)
    whole = ours(x, 8)
    for tokens in (256, 512, 1024):
        monkeypatch.setattr(transformer, "CPU_TOKENS", tokens)
        assert pixels_at_once(x.device, clips, 8) < 256
        assert torch.equal(ours(x, 8), whole)


def test_no_call_gets_more_sequences_than_kernels_take() -> None:
    assert pixels_at_once(torch.device("cuda"), 1, 1) == SEQUENCES
    assert pixels_at_once(torch.device("cuda"), 2, 1) * 2 <= SEQUENCES
    assert pixels_at_once(torch.device("cpu"), 1, 10**6) == 1


def test_training_runs_in_fewer_chunks() -> None:
    training = pixels_at_once(torch.device("cpu"), 1, 16)
    with torch.no_grad():
        assert pixels_at_once(torch.device("cpu"), 1, 16) < training


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
        assert list(unet.state_dict()) == keys  # by which a host finds its layers
        assert [slot.where for slot in unet.middle_block if isinstance(slot, Slot)] == [RES, LAYERS, RES]
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
