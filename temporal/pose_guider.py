"""Pose guiders: a few convolutions whose view of pose maps is added to what a UNet's first convolution gives.

AnimateAnyone (Hu et al. 2023), in the key layout of its public reimplementation: conv_in, blocks, conv_out.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import FramewrightError
from .checkpoint import Reader, check_keys, dtype_of, fill, read_tensors
from .extent import Extent
from .key_layouts import strip_prefix
from .parts import Parts
from .slots import Site, frames_in_call

_WHAT = "pose guider"
_FIRST: Site = ("input", 0)
_BLOCK = re.compile(r"blocks\.(\d{1,2})\.weight")


class PoseGuider(nn.Module):
    """Maps [F, 3, H, W] in 0..1 to features [F, C, h, w]; each width after the first halves their sides."""

    def __init__(self, channels: int, widths: Sequence[int], parts: Parts) -> None:
        super().__init__()
        self.conv_in = parts.conv2d(3, widths[0], 3)
        convs = ((parts.conv2d(a, a, 3), parts.conv2d(a, b, 3, 2)) for a, b in pairwise(widths))
        self.blocks = nn.ModuleList(conv for pair in convs for conv in pair)
        self.conv_out = parts.conv2d(widths[-1], channels, 3)

    def forward(self, maps: Tensor) -> Tensor:
        h = F.silu(self.conv_in(maps))
        for conv in self.blocks:
            h = F.silu(conv(h))
        return self.conv_out(h)


def load_pose_guider(path: Path, parts: Parts, read_pickle: Reader | None = None) -> PoseGuider:
    """The pose guider of a file, of whatever widths; raises one error where it holds none."""
    tensors = {strip_prefix(key): value for key, value in read_tensors(path, read_pickle, _WHAT).items()}
    widths = _widths(tensors)
    if widths is None:
        raise FramewrightError(
            f"{_WHAT}: {path.name} holds none; expected the weights of conv_in, blocks and conv_out, as in "
            "AnimateAnyone's pose_guider.pth"
        )
    model = PoseGuider(len(tensors["conv_out.weight"]), widths, parts)
    check_keys(path.name, model.state_dict(), tensors, _WHAT)
    return fill(model.to(dtype_of(tensors)) if parts.casts else model, tensors)


def _widths(tensors: Mapping[str, Tensor]) -> list[int] | None:
    """Channels after the first convolution, and after each that halves the sides."""
    first, last = tensors.get("conv_in.weight"), tensors.get("conv_out.weight")
    if first is None or last is None or first.ndim != 4 or last.ndim != 4 or first.shape[1] != 3:
        return None
    numbers = sorted(int(found[1]) for key in tensors if (found := _BLOCK.fullmatch(key)))
    return [len(first), *(len(tensors[f"blocks.{number}.weight"]) for number in numbers if number % 2)]


class PoseInput:
    """What a host calls after each input block (its `input_block_patch`); acts after the first.

    `features` [F, C, h, w] one a frame, the last one for all further ones.
    """

    def __init__(self, features: Tensor, extent: Extent) -> None:
        self._features, self._extent = features, extent

    def __call__(self, h: Tensor, options: dict[str, Any]) -> Tensor:
        strength = self._extent.at(_FIRST, options) if options["block"] == _FIRST else 0.0
        if strength == 0:
            return h
        if h.shape[1:] != self._features.shape[1:]:
            (c, y, x), (channels, height, width) = self._features.shape[1:], h.shape[1:]
            raise FramewrightError(
                f"{_WHAT}: features of {x}×{y} with {c} channels came for a model and video of "
                f"{width}×{height} with {channels}; scale the maps to the video's size"
            )
        numbers = frames_in_call(len(h), options)
        added = self._features[numbers.clamp(max=len(self._features) - 1)].to(h)
        return h + strength * added.repeat(len(h) // len(added), 1, 1, 1)
