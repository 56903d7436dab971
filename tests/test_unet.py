"""The space-time UNet: what its temporal layers change, and what they must not."""

import itertools
from dataclasses import replace

import pytest
import torch
from framewright.errors import FramewrightError
from framewright.temporal.builder import UNetParams
from framewright.temporal.extent import EVERYWHERE
from framewright.temporal.known_frames import KNOWN, Known
from framewright.temporal.parts import sdpa
from framewright.temporal.patterns import PATTERNS, Pattern
from framewright.temporal.positions import POSITIONS
from framewright.temporal.self_attention import self_attention_patch
from framewright.temporal.slots import LAYERS, NUMBERS
from framewright.temporal.space_time import CONVS, MIXES, TemporalParams
from framewright.temporal.unet import SpaceTimeUNet

TINY = UNetParams(
    model_channels=16, channel_mult=(1, 2), num_res_blocks=1, attention_levels=(1,), context_dim=8,
    head_channels=8, norm_groups=4,
)  # fmt: skip
DEEPER = replace(TINY, channel_mult=(1, 2, 2), attention_levels=(1, 2))
FRAMES = 5


def build(temporal: TemporalParams | None, params: UNetParams = TINY) -> SpaceTimeUNet:
    torch.manual_seed(0)
    image = SpaceTimeUNet(params)
    unet = SpaceTimeUNet(replace(params, temporal=temporal))
    missing, unexpected = unet.load_state_dict(image.state_dict(), strict=False)
    assert not unexpected and all(key.startswith("temporal.") for key in missing)
    return unet


def inputs(frames: int = FRAMES, clips: int = 2) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(1)
    batch = frames * clips
    return torch.randn(batch, 4, 8, 6), torch.full((batch,), 300), torch.randn(batch, 3, 8)


def told(clips: int = 2) -> dict:
    return {"cond_or_uncond": list(range(clips))}


CHOICES = [
    TemporalParams(conv, attention, positions, mixing)
    for conv, attention, positions, mixing in itertools.product(CONVS, (False, True), POSITIONS, MIXES)
    if (conv != "none" or attention) and (attention or positions == "none")
]


@pytest.mark.parametrize("temporal", CHOICES, ids=str)
def test_temporal_layers_start_as_the_image_network_to_the_bit(temporal: TemporalParams) -> None:
    x, t, context = inputs()
    with torch.no_grad():
        expected = build(None)(x, t, context, transformer_options=told())
        assert torch.equal(build(temporal)(x, t, context, transformer_options=told()), expected)


@pytest.mark.parametrize("temporal", CHOICES, ids=str)
def test_temporal_layers_can_learn_to_let_frames_see_each_other(temporal: TemporalParams) -> None:
    """After a training step, moving frame 3's input moves frame 0's output: nothing is dead at its start."""
    unet, (x, t, context) = build(temporal), inputs(clips=1)
    optimizer = torch.optim.SGD(unet.temporal.parameters(), lr=0.5)
    for _ in range(2):
        optimizer.zero_grad()
        unet(x, t, context, transformer_options=told(1)).pow(2).sum().backward()
        torch.nn.utils.clip_grad_norm_(unet.temporal.parameters(), 1.0)
        optimizer.step()
    moved = x.clone()
    moved[3] += 1
    with torch.no_grad():
        before = unet(x, t, context, transformer_options=told(1))[0]
        after = unet(moved, t, context, transformer_options=told(1))[0]
    if temporal.conv == "none" or temporal.attention:
        assert (before - after).abs().max() > 1e-7
    assert torch.isfinite(after).all()


def test_image_calls_skip_temporal_layers() -> None:
    unet, (x, t, context) = build(TemporalParams("3x1x1", True, "sinusoidal", "residual")), inputs(1, 3)
    for parameter in unet.temporal.parameters():
        torch.nn.init.normal_(parameter)
    with torch.no_grad():
        assert torch.equal(unet(x, t, context, transformer_options=told(3)), build(None)(x, t, context))


@pytest.mark.parametrize("frames", [2, 5, 8])
def test_temporal_resampling_keeps_a_still_clip_and_its_frame_count(frames: int) -> None:
    params = replace(TINY, channel_mult=(1, 2, 2))
    x, t, context = inputs(frames, 1)
    x, context = x[:1].repeat(frames, 1, 1, 1), context[:1].repeat(frames, 1, 1)
    unet = build(TemporalParams("none", resample_after=(0, 1)), params)
    with torch.no_grad():
        out = unet(x, t, context, transformer_options=told(1))
        torch.testing.assert_close(out, build(None, params)(x, t, context), atol=1e-5, rtol=1e-5)


def halved_twice() -> SpaceTimeUNet:
    return build(TemporalParams("none", resample_after=(0, 1)), DEEPER)


def in_the_middle(pattern: Pattern) -> dict:
    patch = self_attention_patch(pattern, sdpa, EVERYWHERE, None)
    return {**told(), "patches_replace": {"attn1": {("middle", 0): patch}}}


def test_temporal_resampling_halves_the_work_below_it() -> None:
    seen: list[int] = []
    unet, (x, t, context) = build(TemporalParams("none", resample_after=(0,))), inputs(8, 1)
    unet.middle_block[0].register_forward_hook(lambda _, given, __: seen.append(given[0].shape[0]))
    unet(x, t, context, transformer_options=told(1))
    assert seen == [4]


@pytest.mark.parametrize("first", [None, 20])
def test_each_frame_that_halvings_leave_keeps_its_prompt_and_number(first: int | None) -> None:
    frames = 9
    unet, (x, t, _) = halved_twice(), inputs(frames)
    rows = torch.arange(2.0 * frames).view(-1, 1, 1).expand(-1, 3, 8)
    seen: list[list[int]] = []
    numbers: dict[int, list[int]] = {}
    attention = unet.middle_block[1]
    attention.register_forward_hook(lambda _, given, __: seen.append(given[1][:, 0, 0].int().tolist()))

    def layers(site: tuple[str, int], h: torch.Tensor, options: dict, *_: object) -> torch.Tensor:
        numbers[len(h)] = options[NUMBERS].tolist()
        return h

    options, first = ({}, 0) if first is None else ({NUMBERS: torch.arange(first, first + frames)}, first)
    unet(x, t, rows, transformer_options={**told(), **options, LAYERS: (layers,)})
    assert seen == [[0, 4, 8, 9, 13, 17]]
    assert numbers[6] == [first, first + 4, first + 8]
    assert numbers[10] == [first + frame for frame in (0, 2, 4, 6, 8)]


def test_patterns_read_the_frames_that_halvings_leave() -> None:
    unet, given = halved_twice(), inputs(9)
    plain = unet(*given, transformer_options=told())
    for name, same in (("spatial", True), ("full", False)):
        out = unet(*given, transformer_options=in_the_middle(PATTERNS[name]))
        assert torch.allclose(out, plain, atol=1e-5) == same


@pytest.mark.parametrize("numbers", [None, torch.arange(9)])
def test_known_frames_are_those_that_halvings_leave(numbers: torch.Tensor | None) -> None:
    unet, given, pattern = halved_twice(), inputs(9), PATTERNS["known frames"]
    known = Known(torch.zeros(9, 4, 8, 6), torch.zeros(9).index_fill(0, torch.tensor([4, 7]), 1), numbers)
    out = unet(*given, transformer_options={**in_the_middle(pattern), KNOWN: known})
    expected = unet(*given, transformer_options=in_the_middle(replace(pattern, keys=(1,))))
    assert torch.equal(out, expected)
    assert not torch.equal(out, unet(*given, transformer_options=in_the_middle(pattern)))


def test_control_acts_on_the_frames_that_halvings_leave() -> None:
    unet, given = halved_twice(), inputs(9)
    seen: list[torch.Tensor] = []
    unet.output_blocks[0][0].register_forward_pre_hook(lambda _, h: seen.append(h[0]))
    rows = torch.arange(18.0).view(-1, 1, 1, 1)
    for control in ({}, {"middle": [rows], "output": [10 * rows]}):
        unet(*given, control=control, transformer_options=told())
    before, after = seen
    middle, skip = (after - before).mean((2, 3)).split(32, dim=1)
    kept = torch.tensor([0.0, 4, 8, 9, 13, 17])[:, None]
    torch.testing.assert_close(middle, kept.expand(-1, 32))
    torch.testing.assert_close(skip, 10 * kept.expand(-1, 32))


def test_conditions_of_one_batch_do_not_mix() -> None:
    unet, (x, t, context) = build(TemporalParams("3x1x1", True, "rotary", "residual")), inputs()
    for parameter in unet.temporal.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    with torch.no_grad():
        both = unet(x, t, context, transformer_options=told())
        first = unet(x[:FRAMES], t[:FRAMES], context[:FRAMES], transformer_options=told(1))
    torch.testing.assert_close(both[:FRAMES], first, atol=1e-5, rtol=1e-4)


def test_too_many_frames_for_the_positions_is_an_error_with_both_numbers() -> None:
    unet, (x, t, context) = build(TemporalParams(attention=True, frames=4)), inputs(5, 1)
    with pytest.raises(FramewrightError, match="5 came.*positions for 4"):
        unet(x, t, context, transformer_options=told(1))


def test_an_unknown_choice_is_an_error() -> None:
    with pytest.raises(FramewrightError, match="mixing: 'beta' came, expected one of"):
        TemporalParams(mixing="beta")
