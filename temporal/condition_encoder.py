"""The convolutions by which ControlNets in diffusers' layout, and pose guiders, look at a picture."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from .parts import Parts

_BLOCK = re.compile(r"blocks\.(\d{1,2})\.weight")


class ConditionEncoder(nn.Module):
    """Pictures [B, inputs, H, W] to features [B, C, h, w]; each width after the first halves their sides."""

    def __init__(self, channels: int, widths: Sequence[int], parts: Parts, inputs: int = 3) -> None:
        super().__init__()
        self.conv_in = parts.conv2d(inputs, widths[0], 3)
        convs = ((parts.conv2d(a, a, 3), parts.conv2d(a, b, 3, 2)) for a, b in pairwise(widths))
        self.blocks = nn.ModuleList(conv for pair in convs for conv in pair)
        self.conv_out = parts.conv2d(widths[-1], channels, 3)

    def forward(self, pictures: Tensor) -> Tensor:
        h = F.silu(self.conv_in(pictures))
        for conv in self.blocks:
            h = F.silu(conv(h))
        return self.conv_out(h)


def encoder_widths(tensors: Mapping[str, Tensor], inputs: int = 3) -> tuple[int, ...] | None:
    """Channels after the first convolution, and after each that halves the sides; None where it is none."""
    first, last = tensors.get("conv_in.weight"), tensors.get("conv_out.weight")
    if first is None or last is None or first.ndim != 4 or last.ndim != 4 or first.shape[1] != inputs:
        return None
    numbers = sorted(int(found[1]) for key in tensors if (found := _BLOCK.fullmatch(key)))
    return len(first), *(len(tensors[f"blocks.{number}.weight"]) for number in numbers if number % 2)
