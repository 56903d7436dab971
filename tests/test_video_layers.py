"""Temporal layers of LVDM and Make-Your-Video: against the released formulas written out, through files."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from framewright.errors import FramewrightError
from framewright.temporal.builder import UNetParams
from framewright.temporal.checkpoint import MotionFile, load_motion
from framewright.temporal.motion_settings import AppliedMotion, MotionSettings, Positions
from framewright.temporal.parts import Parts
from framewright.temporal.slots import FRAMES, site_channels
from framewright.temporal.unet import SpaceTimeUNet
from framewright.temporal.video_layers import (
    CausalTransformer,
    LvdmAttention,
    LvdmBlock,
    RelativeAttention,
    TemporalConvBlock,
)
from safetensors.torch import save_file
from torch import Tensor, nn

UNET = UNetParams(
    model_channels=32, channel_mult=(1, 2, 4, 4), attention_levels=(0, 1, 2), context_dim=8, head_channels=8
)
REACH, HEAD = 3, 8


def randomised(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module.eval().requires_grad_(False)


def distance(i: int, j: int) -> int:
    """The row of a table for query frame i and key frame j."""
    return max(-REACH, min(REACH, j - i)) + REACH


@pytest.mark.parametrize("window", [0, 2])
def test_relative_attention_of_one_pixel(window: int) -> None:
    layer, x = randomised(RelativeAttention(16, REACH, HEAD, Parts(), window)), torch.randn(1, 6, 1, 16)
    frames = x[0, :, 0]
    q, k, v = (linear(frames).unflatten(1, (2, HEAD)) for linear in (layer.to_q, layer.to_k, layer.to_v))
    to_key, to_value = (
        table.embeddings_table for table in (layer.relative_position_k, layer.relative_position_v)
    )
    out = torch.zeros(6, 2, HEAD)
    for head in range(2):
        for i in range(6):
            read = [j for j in range(6) if not window or i - window < j <= i]
            scores = torch.stack([q[i, head] @ (k[j, head] + to_key[distance(i, j)]) for j in read])
            weights = (scores / HEAD**0.5).softmax(0)
            for weight, j in zip(weights, read, strict=True):
                out[i, head] += weight * (v[j, head] + to_value[distance(i, j)])
    torch.testing.assert_close(layer(x)[0, :, 0], layer.to_out(out.flatten(1)))


def test_lvdms_block_attends_twice() -> None:
    layer, x = randomised(LvdmBlock(32, REACH, HEAD, Parts())), torch.randn(8, 32, 2, 3)
    tokens = x.unflatten(0, (2, 4)).flatten(3).transpose(2, 3)  # [B, F, N, C]
    for call, norm, attention in (
        (layer.after_self, layer.norm4, layer.attn1_tmp), (layer.after_cross, layer.norm5, layer.attn2_tmp),
    ):  # fmt: skip
        expected = (tokens + attention(norm(tokens))).transpose(2, 3).flatten(0, 1).unflatten(2, (2, 3))
        torch.testing.assert_close(call(x, 4), expected)


def test_unconditional_lvdm_as_released() -> None:
    layer, x = randomised(LvdmAttention(32, REACH, HEAD, Parts())), torch.randn(5, 32, 1, 2)
    to_key, to_value = (
        table.embeddings_table for table in (layer.relative_position_k, layer.relative_position_v)
    )
    expected = torch.empty_like(x)
    for pixel in range(2):
        line = x[:, :, 0, pixel]
        normed = nn.functional.group_norm(line.T[None], 32, layer.norm_t.weight, layer.norm_t.bias)
        q, k, v = layer.qkv_t(normed)[0].T.chunk(3, dim=1)
        out = torch.zeros(5, 32)
        for head in range(4):
            at = slice(head * HEAD, (head + 1) * HEAD)
            for i in range(5):
                scores = torch.stack([
                    q[i, at] @ k[j, at] * HEAD**-0.5 + q[j, at] @ to_key[distance(j, i)] * HEAD**-0.25
                    for j in range(5)
                ])  # fmt: skip
                for j, weight in enumerate(scores.softmax(0)):
                    out[i, at] += weight * (v[j, at] + to_value[distance(i, j)])
        expected[:, :, 0, pixel] = line + layer.proj_out_t(out.T[None])[0].T
    torch.testing.assert_close(layer(x, 5), expected)


def test_make_your_videos_convolutions_repeat_the_ends() -> None:
    layer, x = randomised(TemporalConvBlock(32, Parts())), torch.randn(8, 32, 3, 4)
    clips = h = x.unflatten(0, (2, 4)).transpose(1, 2)
    for number, (norm, *_, conv) in enumerate((*layer.conv, layer.conv_last)):
        h = nn.functional.silu(nn.functional.group_norm(h, 32, norm.weight, norm.bias))
        if number != 1:
            h = torch.cat([h[:, :, :1], h, h[:, :, -1:]], dim=2)
        h = nn.functional.conv3d(h, conv.weight, conv.bias, padding=(0, 1, 1) if number == 1 else 0)
    torch.testing.assert_close(layer(x, 4), (clips + h).transpose(1, 2).flatten(0, 1))


def test_make_your_videos_transformer_looks_back_only_so_far() -> None:
    layer, x = randomised(CausalTransformer(32, REACH, HEAD, Parts())), torch.randn(20, 32, 2, 2)
    layer.norm = nn.Identity()  # which runs over all frames
    changed = x.clone()
    changed[2] += 1
    moved = (layer(changed, 20) - layer(x, 20)).abs().amax((1, 2, 3)) > 0
    # Two attentions, each with 16 frames: what frame 2 says is heard by the frames up to 2 + 15 + 15.
    assert moved.tolist() == [False, False] + [True] * 18
    once = layer.transformer_blocks[0].attn1
    tokens = torch.randn(1, 20, 1, 32)
    other = tokens.clone()
    other[:, 2] += 1
    heard = (once(other) - once(tokens)).abs().amax((0, 2, 3)) > 0
    assert heard.tolist() == [2 <= i < 18 for i in range(20)]


def blocks() -> list[tuple[str, int, bool]]:
    """The blocks of UNET by their path, each with its channels and whether it has a transformer."""
    levels = [(level, (32, 64, 128, 128)[level]) for level in range(4)]
    inputs = [(f"input_blocks.{1 + 3 * level + j}", c, level < 3) for level, c in levels for j in range(2)]
    outputs = [(f"output_blocks.{3 * (3 - n) + j}", c, n < 3) for n, c in reversed(levels) for j in range(3)]
    return [*inputs, ("middle_block", 128, True), *outputs]


def with_transformers(layer: Callable[..., nn.Module], place: str) -> dict[str, Tensor]:
    """A layer's tensors at that place in every block with a transformer."""
    tensors = {}
    for path, channels, attends in blocks():
        if attends:
            made = randomised(layer(channels, REACH, HEAD, Parts()))
            tensors |= {f"{path}.{place}.{k}": v for k, v in made.state_dict().items()}
    return tensors


def lvdm() -> dict[str, Tensor]:
    convolution = {"input_blocks.0.0.weight": torch.zeros(32, 4, 1, 3, 3)}
    return convolution | with_transformers(LvdmBlock, "1.transformer_blocks.0")


def unconditional() -> dict[str, Tensor]:
    return with_transformers(LvdmAttention, "1")


def make_your_video() -> dict[str, Tensor]:
    tensors = with_transformers(CausalTransformer, "2")
    for path, channels, attends in blocks():
        for place in (0, 3) if path == "middle_block" else (0,):
            made = randomised(TemporalConvBlock(channels, Parts()))
            tensors |= {f"{path}.{place}.temopral_conv.{k}": v for k, v in made.state_dict().items()}
        if attends:
            tensors[f"{path}.1.norm.weight"] = torch.ones(channels)  # the spatial transformer's
    return tensors


FILES: dict[str, tuple[Callable[[], dict[str, Tensor]], int, int]] = {  # with sites, and tensors left out
    "LVDM": (lvdm, 16, 1), "LVDM, unconditional": (unconditional, 16, 0),
    "Make-Your-Video": (make_your_video, 21, 16),
}  # fmt: skip


def load(tensors: dict[str, Tensor], folder: Path) -> MotionFile:
    save_file(tensors, folder / "file.safetensors")
    return load_motion(folder / "file.safetensors", Parts())


@pytest.mark.parametrize("family", FILES)
def test_a_file_is_read_saved_and_read_again(family: str, tmp_path: Path) -> None:
    make, sites, left = FILES[family]
    tensors = make()
    file = load({f"model.diffusion_model.{key}": value for key, value in tensors.items()}, tmp_path)
    assert file.family == family and len(file.model.channels) == sites
    assert [note.split(" ")[2] for note in file.notes] == ([str(left)] if left else [])
    assert "positions: relative, up to 3 frames apart" in file.lines()
    known = site_channels(SpaceTimeUNet(UNET, Parts(device="meta")))
    assert all(known[site] == channels for site, channels in file.model.channels.items())
    assert family == "LVDM, unconditional" or "32, 64, 128, 128 channels" in file.base
    held = file.model.state_dict()
    assert len(held) == len(tensors) - left
    assert all(torch.equal(held[key], tensors[key]) for key in held)
    again = load(held, tmp_path)
    assert again.model.places == file.model.places and again.notes == ()


@pytest.mark.parametrize("family", FILES)
def test_a_unet_calls_them_in_their_places(family: str, tmp_path: Path) -> None:
    unet, layers = randomised(SpaceTimeUNet(UNET)), load(FILES[family][0](), tmp_path).model
    x, times, context = torch.randn(4, 4, 16, 16), torch.full((4,), 300), torch.randn(4, 3, 8)

    def run(*where: str, **settings: object) -> Tensor:
        applied = AppliedMotion(layers, MotionSettings(**settings))
        options = {place: (applied,) for place in where}
        return unet(x, times, context, transformer_options={**options, FRAMES: 4})

    still, moved = run(), run(*layers.places)
    for place in layers.places:
        assert (run(place) - still).abs().max() > 1e-3
        assert len(layers.places) == 1 or not torch.equal(run(place), moved)
    assert torch.equal(run(*layers.places, strength=0.0), still)
    with pytest.raises(FramewrightError, match="positions"):
        run(*layers.places, positions=Positions())


def test_more_frames_than_make_your_video_takes(tmp_path: Path) -> None:
    file = load(make_your_video(), tmp_path)
    with pytest.raises(
        FramewrightError, match="65 frames came, the temporal layers take 64.*Context Windows"
    ):
        file.model.check_frames(65)


def without(*parts: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda whole: {k: v for k, v in whole.items() if not any(part in k for part in parts)}


BROKEN: dict[str, tuple[Callable, Callable]] = {
    "lacks 1 keys": (lvdm, without("middle_block.1.transformer_blocks.0.norm5.bias")),
    "no temporal layers in its input blocks": (lvdm, without("input_blocks")),
    "a table of 0 distances by 0": (lvdm, without("input_blocks.5.1.transformer_blocks.0.attn1_tmp.rel")),
    "has in middle_block.1 no norm_t.weight": (unconditional, without("middle_block.1.norm_t")),
    "input_blocks.2.1.qkv_t.weight of shape": (
        unconditional, lambda whole: {**whole, "input_blocks.2.1.qkv_t.weight": torch.zeros(1)}
    ),
    "layers in a place where LVDM has none: input_blocks.1.1.transformer_blocks.1.attn1_tmp": (
        lvdm, lambda whole: {**whole, "input_blocks.1.1.transformer_blocks.1.attn1_tmp.a": torch.zeros(1)}
    ),
}  # fmt: skip


@pytest.mark.parametrize("message", BROKEN)
def test_what_is_broken_is_one_error(message: str, tmp_path: Path) -> None:
    make, broken = BROKEN[message]
    with pytest.raises(FramewrightError, match=message):
        load(broken(make()), tmp_path)
