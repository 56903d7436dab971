"""AnimateDiff v1's and LVDM's norms over all frames, by hooks that rest where a call does not ask for it."""

from dataclasses import replace

import pytest
import torch
from framewright.temporal.builder import UNetParams
from framewright.temporal.extent import EVERYWHERE, LEVELS, Extent
from framewright.temporal.frame_norm import (
    ACROSS,
    RESBLOCKS,
    TRANSFORMERS,
    add_norm_hooks,
    remove_norm_hooks,
)
from framewright.temporal.slots import FRAMES
from framewright.temporal.space_time import TemporalParams
from framewright.temporal.unet import SpaceTimeUNet
from torch import Tensor, nn

PARAMS = UNetParams(
    model_channels=32, channel_mult=(1, 2), num_res_blocks=1, attention_levels=(1,), context_dim=8
)


@pytest.fixture
def unet() -> SpaceTimeUNet:
    torch.manual_seed(0)
    return SpaceTimeUNet(PARAMS).eval().requires_grad_(False)


def run(unet: SpaceTimeUNet, **options: object) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(6, 4, 8, 8, generator=generator) * torch.arange(1, 7).view(-1, 1, 1, 1)
    context = torch.zeros(6, 3, 8)
    return unet(x, torch.full((6,), 500), context, transformer_options={FRAMES: 3, **options})


class _OverFrames(nn.GroupNorm):
    def forward(self, x: Tensor) -> Tensor:
        clips = x.unflatten(0, (-1, 3)).transpose(1, 2)  # [B, C, F, h, w], as the released code has it
        return super().forward(clips).transpose(1, 2).flatten(0, 1)


@pytest.mark.parametrize("kinds", [(RESBLOCKS,), (RESBLOCKS, TRANSFORMERS)])
def test_norms_over_frames_only_where_asked(kinds: tuple[str, ...], unet: SpaceTimeUNet) -> None:
    plain = run(unet)
    rewritten = SpaceTimeUNet(PARAMS).eval().requires_grad_(False)
    rewritten.load_state_dict(unet.state_dict())
    for block in [m for m in rewritten.modules() if hasattr(m, "out_layers")]:
        for layers in (block.in_layers, block.out_layers):
            layers[0].__class__ = _OverFrames
    rewritten.out[0].__class__ = _OverFrames
    for block in [m for m in rewritten.modules() if hasattr(m, "transformer_blocks")]:
        block.norm.__class__ = _OverFrames if TRANSFORMERS in kinds else nn.GroupNorm
    expected = run(rewritten)
    assert (plain - expected).abs().max() > 1e-3

    asked = [(kind, EVERYWHERE) for kind in kinds]
    for _ in range(2):
        add_norm_hooks(unet)
        add_norm_hooks(unet)
        assert torch.equal(run(unet), plain)
        for nowhere in (Extent(0.0), Extent(steps=(0.5, 1.0))):
            level = {"sigmas": torch.tensor([5.0]), LEVELS: lambda part: 6 * (1 - part)}
            off = {ACROSS: [(kind, nowhere) for kind in kinds], **level}
            assert torch.equal(run(unet, **off), plain)
        torch.testing.assert_close(run(unet, **{ACROSS: asked}), expected, atol=1e-5, rtol=1e-4)
        assert torch.equal(run(unet), plain)
        remove_norm_hooks(unet)
        remove_norm_hooks(unet)
        assert torch.equal(run(unet, **{ACROSS: asked}), plain)


def test_clips_of_one_batch_do_not_mix_where_time_is_halved() -> None:
    torch.manual_seed(0)
    halving = TemporalParams("none", resample_after=(0,))
    unet = SpaceTimeUNet(replace(PARAMS, temporal=halving)).eval().requires_grad_(False)
    add_norm_hooks(unet)
    x, t, context = torch.randn(8, 4, 8, 8), torch.full((8,), 500), torch.zeros(8, 3, 8)
    options = {FRAMES: 4, ACROSS: [(RESBLOCKS, EVERYWHERE), (TRANSFORMERS, EVERYWHERE)]}
    both = unet(x, t, context, transformer_options=options)
    first = unet(x[:4], t[:4], context[:4], transformer_options=options)
    torch.testing.assert_close(both[:4], first, atol=1e-5, rtol=1e-4)


def test_a_call_that_fails_leaves_nothing_behind(unet: SpaceTimeUNet) -> None:
    plain = run(unet)
    add_norm_hooks(unet)
    with pytest.raises(Exception, match="multiple of 3 frames"):
        unet(torch.zeros(4, 4, 8, 8), torch.zeros(4), torch.zeros(4, 3, 8),
             transformer_options={FRAMES: 3, ACROSS: ((RESBLOCKS, EVERYWHERE),)})  # fmt: skip
    assert torch.equal(run(unet), plain)
