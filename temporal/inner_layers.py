"""Temporal layers inside an image model's transformer blocks (Tune-A-Video, Wu et al. 2022).

Each spatial transformer block is followed by attention over the frames of each pixel, without positions, and
in FollowYourPose (Ma et al. 2023) by a low-rank convolution over frames. Such layers come in files that hold
a whole UNet, whose spatial part a host's own loader takes.
"""

import re
from collections.abc import Callable, Mapping

from torch import Tensor, nn

from ..errors import FramewrightError
from .new_layers import LowRankConv
from .parts import Parts
from .slots import INNER, Site
from .transformer import AS_TRAINED, Manner, TemporalAttention, over_pixels

_HEADS = 8  # of the image model that they are tuned on, SD1.5
_PART = re.compile(
    r"(?:(down_blocks|up_blocks)\.(\d+)|mid_block)\.attentions\.(\d+)\.transformer_blocks\.0\."
    r"(attn_temp|norm_temp|conv_temporal)\.(.+)"
)


class InnerLayer(nn.Module):
    """Residual temporal attention, and convolution of a `rank` over 0, on activations [B·F, C, h, w]."""

    def __init__(self, channels: int, rank: int, parts: Parts) -> None:
        super().__init__()
        self.norm_temp = parts.layer_norm(channels)
        self.attn_temp = TemporalAttention(channels, _HEADS, 0, parts)
        self.conv_temporal = LowRankConv(channels, rank, parts) if rank else None

    def forward(self, x: Tensor, frames: int, manner: Manner = AS_TRAINED) -> Tensor:
        if manner.positions is not None or manner.views is not None:
            raise FramewrightError(
                "positions, windows: Tune-A-Video layers came, which know no positions and take any number "
                "of frames; expected a motion module of the AnimateDiff type"
            )
        x = x + over_pixels(x, frames, lambda t, _: self.attn_temp(self.norm_temp(t), manner))
        return x if self.conv_temporal is None else self.conv_temporal(x, frames)


class InnerLayers(nn.Module):
    """Temporal layers for every transformer of a UNet; fulfils `motion.TemporalLayers`."""

    where, length, position_kind = INNER, None, "none"

    def __init__(self, channels: Mapping[Site, int], rank: int, parts: Parts) -> None:
        super().__init__()
        self.channels = dict(channels)
        self.blocks = nn.ModuleDict(
            {_name(site): InnerLayer(channels[site], rank, parts) for site in channels}
        )

    @property
    def all_channels(self) -> dict[Site, int]:
        """With the image model's coarsest level, which has no transformer."""
        last = max(number for kind, number in self.channels if kind == "input")
        deepest = self.channels.get(("middle", 0))
        return {**self.channels, **({("input", last + 2): deepest} if deepest else {})}

    def at(self, site: Site) -> InnerLayer | None:
        # ModuleDict has no get.
        return self.blocks[_name(site)] if site in self.channels else None  # type: ignore[return-value]

    def check_frames(self, frames: int) -> None:
        """Any number will do."""


def _name(site: Site) -> str:
    return f"{site[0]}_{site[1]}"


def inner_layers(
    tensors: Mapping[str, Tensor], file: str
) -> tuple[dict[str, Tensor], Callable[[Parts], InnerLayers]]:
    """The temporal part of a UNet's tensors under our keys, and what makes the layers that they are for."""
    found = [(match, value) for key, value in tensors.items() if (match := _PART.fullmatch(key))]
    count = 1 + max((int(match[3]) for match, _ in found if match[1] == "down_blocks"), default=0)
    renamed: dict[str, Tensor] = {}
    channels: dict[Site, int] = {}
    for match, value in found:
        level, place = int(match[2] or 0), int(match[3])
        site = ("middle", 0)
        if match[1] == "down_blocks":
            site = ("input", 1 + level * (count + 1) + place)
        elif match[1] == "up_blocks":
            site = ("output", level * (count + 1) + place)
        renamed[f"blocks.{_name(site)}.{match[4]}.{match[5]}"] = value
        if match[4] == "norm_temp" and match[5] == "weight":
            channels[site] = value.numel()
    if not any(kind == "input" for kind, _ in channels) or any(one % _HEADS for one in channels.values()):
        raise FramewrightError(
            f"motion module: {file} has temporal attention of {sorted(set(channels.values()))} channels in "
            f"{len(channels)} blocks, expected multiples of {_HEADS} in down_blocks, mid_block and up_blocks"
        )
    downs = {value.shape[0] for key, value in renamed.items() if key.endswith("conv_temporal.down.weight")}
    rank = max(downs, default=0)
    return renamed, lambda parts: InnerLayers(channels, rank, parts)
