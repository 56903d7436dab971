"""Camera control for motion modules (CameraCtrl, He et al. 2024), in its key layout.

An encoder turns the rays of a camera path into features at each level of the UNet; in the first attention of
each temporal transformer they are merged with the tokens, before the projections.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import FramewrightError
from .camera_path import CameraPath
from .checkpoint import Reader, check_keys, dtype_of, fill, read_tensors
from .families import table_lengths
from .key_layouts import strip_prefix
from .motion import MotionModel
from .parts import Parts
from .slots import NUMBERS, Site
from .transformer import Merge, TemporalBlock

_UNSHUFFLE = 8  # the VAE's ratio: features are as large as latents
_HEADS = 8
_FIRST = re.compile(r"encoder_down_conv_blocks\.\d{1,2}\.0\.block1\.bias")
_KEPT = 8  # windows of frames whose features are kept, or as many as share a call
_MERGE = re.compile(r"(.+\.temporal_transformer)\..*attention_blocks\.0\.processor\.qkv_merge\.(weight|bias)")


class _ResBlock(nn.Module):
    """Two convolutions, added to their input; a convolution first where channels change."""

    def __init__(self, inputs: int, outputs: int, parts: Parts) -> None:
        super().__init__()
        self.in_conv = parts.conv2d(inputs, outputs, 1) if inputs != outputs else None
        self.block1 = parts.conv2d(outputs, outputs, 3)
        self.block2 = parts.conv2d(outputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.in_conv is None else self.in_conv(x)
        return x + self.block2(F.relu(self.block1(x)))


class CameraEncoder(nn.Module):
    """Rays [F, 6, 8h, 8w] to features [F, C, h, w], [F, C', h/2, w/2], …, one a level."""

    def __init__(self, channels: tuple[int, ...], blocks: int, positions: int, parts: Parts) -> None:
        super().__init__()
        self.positions = positions
        self.encoder_conv_in = parts.conv2d(6 * _UNSHUFFLE**2, channels[0], 3)
        convs, attentions, before = [], [], channels[0]
        for width in channels:
            inputs = [before] + [width] * (blocks - 1)
            convs.append(nn.ModuleList(_ResBlock(one, width, parts) for one in inputs))
            made = (TemporalBlock(width, _HEADS, positions, parts, attentions=1) for _ in inputs)
            attentions.append(nn.ModuleList(made))
            before = width
        self.encoder_down_conv_blocks = nn.ModuleList(convs)
        self.encoder_down_attention_blocks = nn.ModuleList(attentions)

    def forward(self, rays: Tensor) -> list[Tensor]:
        x, features = self.encoder_conv_in(F.pixel_unshuffle(rays, _UNSHUFFLE)), []
        levels: Any = zip(self.encoder_down_conv_blocks, self.encoder_down_attention_blocks, strict=True)
        for level, (convs, attentions) in enumerate(levels):
            x = F.avg_pool2d(x, 2, ceil_mode=True) if level else x
            for conv, attention in zip(convs, attentions, strict=True):
                x = conv(x)
                tokens = attention(x.flatten(2).transpose(1, 2)[None])[0]
                x = tokens.transpose(1, 2).unflatten(2, x.shape[-2:])
            features.append(x)
        return features


class CameraControl(nn.Module):
    """The encoder and, for each temporal transformer by its key, what merges features with its tokens."""

    def __init__(
        self, channels: tuple[int, ...], blocks: int, positions: int, merges: Mapping[str, int], parts: Parts
    ) -> None:
        super().__init__()
        self.encoder = CameraEncoder(channels, blocks, positions, parts)
        self._widths = {key.replace(".", "|"): width for key, width in merges.items()}
        self.merges = nn.ModuleDict({name: parts.linear(one, one) for name, one in self._widths.items()})

    def check(self, motion: MotionModel, file: str) -> None:
        """Raises where the file is for other temporal transformers than the motion module's."""
        there = {motion.key(site).replace(".", "|"): width for site, width in motion.channels.items()}
        for name, width in self._widths.items():
            if there.get(name) != width:
                raise FramewrightError(
                    f"camera control: {file} is for {width} channels at {name.replace('|', '.')}, the motion "
                    f"module has {there.get(name, 'no such layer')}"
                )


class CameraInput:
    """A camera path through a camera control, as the layers of a motion module take it."""

    def __init__(
        self, control: CameraControl, motion: MotionModel, path: CameraPath, strength: float
    ) -> None:
        self._control, self._motion, self._path, self._strength = control, motion, path, strength
        self._features: dict[tuple, list[Tensor]] = {}  # by size, window and device, the last used at the end

    def __call__(self, site: Site, h: Tensor, frames: int, options: dict[str, Any]) -> Merge | None:
        """What merges the camera into the tokens of a site with activations h [B·F, C, h, w]."""
        name = self._motion.key(site).replace(".", "|")
        if name not in self._control.merges:
            return None
        numbers = options.get(NUMBERS)
        clips = tuple(range(frames)) if numbers is None else tuple(numbers.tolist())
        size = options["original_shape"][-2:]
        windows = [clips[first : first + frames] for first in range(0, len(clips), frames)]
        parts = [self._kept(size[0], size[1], one, h.device) for one in windows]
        while len(self._features) > max(_KEPT, len(windows)):
            del self._features[next(iter(self._features))]
        levels = [torch.stack(level) for level in zip(*parts, strict=True) if level[0].shape[1] == h.shape[1]]
        features = min(levels, key=lambda level: abs(level.shape[-1] - h.shape[-1])).to(h)
        if features.shape[-2:] != h.shape[-2:]:  # another node made the picture smaller there
            features = F.interpolate(features.flatten(0, 1), h.shape[-2:], mode="area").unflatten(
                0, (-1, frames)
            )
        features = features.flatten(3).transpose(-1, -2)  # [W, F, N, C]
        return Merge(self._control.merges[name], features, self._strength)

    def forget(self) -> None:
        """Let go of what was encoded, some hundred megabytes for large videos."""
        self._features.clear()

    def _kept(self, height: int, width: int, frames: tuple[int, ...], device: torch.device) -> list[Tensor]:
        key = height, width, frames, device
        self._features[key] = self._features.pop(key, None) or self._encoded(*key)
        return self._features[key]

    def _encoded(
        self, height: int, width: int, frames: tuple[int, ...], device: torch.device
    ) -> list[Tensor]:
        """Features [F, C, h, w] a level, once for each window of frames."""
        positions, cameras = self._control.encoder.positions, len(self._path.poses)
        if len(frames) > positions:
            raise FramewrightError(
                f"camera: {len(frames)} frames came, the camera control has positions for {positions}; add "
                "Context Windows before the sampler"
            )
        if max(frames) >= cameras:
            raise FramewrightError(
                f"camera: a path of {cameras} frames came, the video has at least {max(frames) + 1}; "
                "expected a path as long as the video"
            )
        rows = list(frames)
        path = replace(self._path, poses=self._path.poses[rows], lens=self._path.lens[rows])
        with torch.no_grad():
            return self._control.encoder(path.rays(height * _UNSHUFFLE, width * _UNSHUFFLE).to(device))


def load_camera(path: Path, parts: Parts, read_pickle: Reader | None = None) -> CameraControl:
    """A CameraCtrl file; raises one error on anything else."""
    read = read_tensors(path, read_pickle, "camera control")
    given = {strip_prefix(key): value for key, value in read.items()}
    tensors: dict[str, Tensor] = {}
    merges: dict[str, int] = {}
    for key, value in given.items():
        if (found := _MERGE.fullmatch(key)) and value.ndim:
            tensors[f"merges.{found[1].replace('.', '|')}.{found[2]}"] = value
            merges[found[1]] = value.shape[0]
        else:
            tensors[f"encoder.{key}"] = value
    widths = [value.numel() for key, value in given.items() if _FIRST.fullmatch(key)]
    blocks = sum(key.startswith("encoder_down_conv_blocks.0.") and key.endswith("1.bias") for key in given)
    lengths = table_lengths(given)
    if not merges or not widths or len(lengths) != 1 or any(width % _HEADS for width in widths):
        raise FramewrightError(
            f"camera control: {path.name} holds {len(given)} tensors (first: {min(given, default='none')}), "
            "expected encoder_conv_in, encoder_down_conv_blocks, encoder_down_attention_blocks with one "
            "length of positions, and processor.qkv_merge"
        )
    shape = tuple(widths), blocks, lengths.pop(), merges
    parts = replace(parts, dtype=dtype_of(tensors)) if parts.casts else parts
    check_keys(path.name, CameraControl(*shape, replace(parts, device="meta")).state_dict(), tensors)
    return fill(CameraControl(*shape, parts), tensors)
