"""Temporal attention inside transformer blocks: against brute force, through files and in a UNet."""

from pathlib import Path

import pytest
import torch
from framewright.errors import FramewrightError
from framewright.temporal.builder import UNetParams
from framewright.temporal.checkpoint import load_motion
from framewright.temporal.file_layers import FileLayers
from framewright.temporal.inner_layers import InnerLayer
from framewright.temporal.motion_settings import AppliedMotion, MotionSettings, Positions
from framewright.temporal.parts import Parts
from framewright.temporal.slots import FRAMES, INNER, InnerSlot, insert_slots, remove_slots, site_channels
from framewright.temporal.unet import SpaceTimeUNet
from safetensors.torch import save_file
from torch import Tensor, nn

UNET = UNetParams(
    model_channels=32, channel_mult=(1, 2, 4, 4), attention_levels=(0, 1, 2), context_dim=8, head_channels=8
)
HEADS = 8


def randomised(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.1)
    return module.eval().requires_grad_(False)


def tuned(rank: int = 0) -> dict[str, Tensor]:
    """The temporal part of a Tune-A-Video or FollowYourPose UNet, and a tensor of the image model's."""
    places = [f"down_blocks.{level}.attentions.{j}" for level in range(3) for j in range(2)]
    places += [f"up_blocks.{level}.attentions.{j}" for level in (1, 2, 3) for j in range(3)]
    widths = [32, 32, 64, 64, 128, 128] + [128] * 3 + [64] * 3 + [32] * 3
    places, widths = [*places, "mid_block.attentions.0"], [*widths, 128]
    tensors = {"conv_in.weight": torch.zeros(32, 4, 3, 3)}
    torch.manual_seed(1)
    for place, width in zip(places, widths, strict=True):
        block = f"{place}.transformer_blocks.0"
        for name in ("to_q", "to_k", "to_v", "to_out.0"):
            tensors[f"{block}.attn_temp.{name}.weight"] = torch.randn(width, width) * 0.1
        tensors[f"{block}.attn_temp.to_out.0.bias"] = torch.randn(width) * 0.1
        tensors[f"{block}.norm_temp.weight"] = torch.ones(width)
        tensors[f"{block}.norm_temp.bias"] = torch.zeros(width)
        if rank:
            tensors[f"{block}.conv_temporal.down.weight"] = torch.randn(rank, width, 3) * 0.1
            tensors[f"{block}.conv_temporal.up.weight"] = torch.randn(width, rank, 3) * 0.1
    return tensors


def test_it_is_attention_over_each_pixels_frames() -> None:
    layer, x = randomised(InnerLayer(32, 0, Parts())), torch.randn(6, 32, 3, 5)
    weights = layer.state_dict()
    tokens = x.unflatten(0, (2, 3)).permute(0, 3, 4, 1, 2)  # [B, h, w, F, C]
    normed = nn.functional.layer_norm(tokens, (32,), weights["norm_temp.weight"], weights["norm_temp.bias"])
    q, k, v = (
        (normed @ weights[f"attn_temp.to_{name}.weight"].T).unflatten(-1, (HEADS, 4)).transpose(-2, -3)
        for name in "qkv"
    )
    read = ((q @ k.transpose(-1, -2)) / 2).softmax(-1) @ v
    out = read.transpose(-2, -3).flatten(-2) @ weights["attn_temp.to_out.0.weight"].T
    expected = tokens + out + weights["attn_temp.to_out.0.bias"]
    torch.testing.assert_close(layer(x, 3), expected.permute(0, 3, 4, 1, 2).flatten(0, 1))


@pytest.mark.parametrize("prefix", ["", "unet."])
def test_a_file_is_read_and_sits_where_the_transformers_are(prefix: str, tmp_path: Path) -> None:
    tensors = tuned()
    save_file({prefix + key: value for key, value in tensors.items()}, tmp_path / "tuned.safetensors")
    file = load_motion(tmp_path / "tuned.safetensors", Parts())
    assert file.family == "Tune-A-Video" and "1 other tensors are the image model's" in file.notes[0]
    assert "frames at once: any number" in file.lines() and "32, 64, 128, 128 channels" in file.base
    sites = site_channels(SpaceTimeUNet(UNET, Parts(device="meta")))
    assert len(file.model.channels) == 16
    assert all(sites[site] == channels for site, channels in file.model.channels.items())
    key = "up_blocks.2.attentions.1.transformer_blocks.0.attn_temp.to_k.weight"
    assert torch.equal(file.model.state_dict()[key], tensors[key])


def test_follow_your_pose_adds_a_convolution_over_frames(tmp_path: Path) -> None:
    save_file(tuned(rank=16), tmp_path / "pose.safetensors")
    file = load_motion(tmp_path / "pose.safetensors", Parts())
    assert file.family == "FollowYourPose"
    layer, x = (
        file.model.mid_block.attentions.get_submodule("0.transformer_blocks.0"),
        torch.randn(5, 128, 2, 3),
    )
    convolution, layer.conv_temporal = layer.conv_temporal, None
    lines = layer(x, 5).permute(2, 3, 1, 0).flatten(0, 1)  # [h·w, C, F]
    layer.conv_temporal = convolution
    low = nn.functional.conv1d(lines, convolution.down.weight, padding=1)
    expected = lines + nn.functional.conv1d(low, convolution.up.weight, padding=1)
    given = layer(x, 5).permute(2, 3, 1, 0).flatten(0, 1)
    torch.testing.assert_close(given, expected)
    assert not torch.allclose(given, lines, atol=1e-2)


def test_a_unet_calls_them_in_its_transformers_by_strength() -> None:
    unet = randomised(SpaceTimeUNet(UNET))
    placed = {"a": (("input", 1), 32), "b": (("middle", 0), 128)}
    layers = randomised(FileLayers(
        {path: (site, width, InnerLayer(width, 0, Parts())) for path, (site, width) in placed.items()},
        None, "none",
    ))  # fmt: skip
    x, times, context = torch.randn(4, 4, 16, 16), torch.full((4,), 300), torch.randn(4, 3, 8)

    def run(**settings: object) -> Tensor:
        applied = AppliedMotion(layers, MotionSettings(**settings))
        return unet(x, times, context, transformer_options={INNER: (applied,), FRAMES: 4})

    still = unet(x, times, context)
    assert (run() - still).abs().max() > 1e-3
    assert torch.equal(run(strength=0.0), still)
    assert not torch.equal(run(layers={"middle": 0.0}), run())
    with pytest.raises(FramewrightError, match="positions: layers without any came"):
        run(positions=Positions())


def test_slots_come_and_go() -> None:
    unet = SpaceTimeUNet(UNET, Parts(device="meta"))
    before, names = str(unet), unet.state_dict().keys()
    insert_slots(unet)
    insert_slots(unet)
    assert unet.state_dict().keys() == names, "by which a host finds its layers"
    assert sum(isinstance(module, InnerSlot) for module in unet.modules()) == 16
    remove_slots(unet)
    remove_slots(unet)
    assert str(unet) == before


def test_what_is_broken_is_one_error(tmp_path: Path) -> None:
    whole = tuned()
    cases = {
        "lacks 1 keys": [key for key in whole if not key.startswith("mid") or not key.endswith("0.bias")],
        "no temporal layers in its input blocks": [key for key in whole if not key.startswith("down")],
    }
    for message, keys in cases.items():
        save_file({key: whole[key] for key in keys}, tmp_path / "broken.safetensors")
        with pytest.raises(FramewrightError, match=message):
            load_motion(tmp_path / "broken.safetensors", Parts())
