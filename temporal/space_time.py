"""Temporal layers inside a UNet of our own, each of which starts as if it were not there.

After each ResBlock a temporal convolution, after each spatial transformer temporal attention, after a
spatial resize a temporal one; which of them, and how their result is mixed in, is set by TemporalParams.
Published systems are choices of these: Make-A-Video pairs each 2D convolution with a temporal one (Singer et
al. 2022), VideoLDM mixes by a learned α (Blattmann et al. 2023), SVD by σ(α), MagicVideo adds spatial and
temporal attention (Zhou et al. 2022), Lumiere resizes in time (Bar-Tal et al. 2024).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import FramewrightError
from .parts import Parts
from .positions import POSITIONS, RelativeTable, attend_relatively, rotate, sinusoidal_positions

CONVS = ("none", "3x1x1", "pseudo-3d")
MIXES = ("residual", "alpha", "sigmoid", "parallel")


@dataclass(frozen=True)
class TemporalParams:
    """conv: after each ResBlock (3x1x1) or after each 2D convolution in it (pseudo-3d).

    `frames` is the most frames that sinusoidal positions cover, and the reach of relative ones;
    `resample_after` the levels (finest first) after whose spatial downsampling time is halved too.
    """

    conv: str = "none"
    attention: bool = False
    positions: str = "sinusoidal"
    mixing: str = "residual"
    frames: int = 32
    resample_after: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, known in (("conv", CONVS), ("positions", POSITIONS), ("mixing", MIXES)):
            if getattr(self, name) not in known:
                raise FramewrightError(
                    f"{name}: {getattr(self, name)!r} came, expected one of {', '.join(known)}"
                )


def over_frames(x: Tensor, frames: int, change: Callable[[Tensor], Tensor]) -> Tensor:
    """[B·F, C, h, w] after `change` of each pixel's line over the frames, [B·h·w, C, F]."""
    channels, height, width = x.shape[1:]
    lines = x.unflatten(0, (-1, frames)).permute(0, 3, 4, 2, 1).reshape(-1, channels, frames)
    return change(lines).unflatten(0, (-1, height, width)).permute(0, 4, 3, 1, 2).flatten(0, 1)


class TemporalConv(nn.Module):
    """A convolution of kernel 3 over the frames of [B·F, C, h, w], the identity at first if `identity`."""

    def __init__(self, channels: int, identity: bool, parts: Parts, stride: int = 1) -> None:
        super().__init__()
        self.conv = parts.conv1d(channels, channels, 3, stride)
        if identity:
            nn.init.dirac_(self.conv.weight)
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        return over_frames(x, frames, self.conv)


class FrameAttention(nn.Module):
    """Normed self-attention over the frames of each pixel of [B·F, C, h, w], added to it.

    Zero at first if asked.
    """

    pe: Tensor

    def __init__(self, channels: int, heads: int, groups: int, params: TemporalParams, parts: Parts) -> None:
        super().__init__()
        self.heads, self.params, self.attention = heads, params, parts.attention
        self.norm = parts.group_norm(groups, channels, eps=1e-6)
        self.to_q = parts.linear(channels, channels, bias=False)
        self.to_k = parts.linear(channels, channels, bias=False)
        self.to_v = parts.linear(channels, channels, bias=False)
        self.to_out = parts.linear(channels, channels)
        if params.mixing != "alpha":
            nn.init.zeros_(self.to_out.weight)
            nn.init.zeros_(self.to_out.bias)
        if params.positions == "sinusoidal":
            self.register_buffer("pe", sinusoidal_positions(params.frames, channels), persistent=False)
        if params.positions == "relative":
            self.relative_position_k = RelativeTable(params.frames, channels // heads)
            self.relative_position_v = RelativeTable(params.frames, channels // heads)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        height, width = x.shape[-2:]
        tokens = self.norm(x).unflatten(0, (-1, frames)).flatten(3).permute(0, 3, 1, 2).flatten(0, 1)
        if self.params.positions == "sinusoidal":
            if frames > self.params.frames:
                raise FramewrightError(
                    f"frames: {frames} came, the temporal layers have positions for {self.params.frames}"
                )
            tokens = tokens + self.pe[:, :frames].to(tokens)
        q, k, v = self.to_q(tokens), self.to_k(tokens), self.to_v(tokens)
        if self.params.positions == "relative":
            tables = self.relative_position_k(frames), self.relative_position_v(frames)
            attended = attend_relatively(q, k, v, self.heads, *tables)
        else:
            if self.params.positions == "rotary":
                q, k = self._rotated(q), self._rotated(k)
            attended = self.attention(q, k, v, self.heads)
        clips = self.to_out(attended).unflatten(0, (-1, height * width)).permute(0, 2, 3, 1)
        return x + clips.flatten(0, 1).unflatten(2, (height, width))

    def _rotated(self, x: Tensor) -> Tensor:
        return rotate(x.unflatten(-1, (self.heads, -1)).transpose(1, 2)).transpose(1, 2).flatten(2)


class Mix(nn.Module):
    """out + weight · (changed − given): all of the change, or a learned share that starts at 1 or σ(0)."""

    def __init__(self, mixing: str) -> None:
        super().__init__()
        self.mixing = mixing
        if mixing in ("alpha", "sigmoid"):
            self.mix_factor = nn.Parameter(torch.tensor(1.0 if mixing == "alpha" else 0.0))

    def forward(self, out: Tensor, given: Tensor, changed: Tensor) -> Tensor:
        if self.mixing == "alpha":
            return out + (1 - self.mix_factor).to(out) * (changed - given)
        if self.mixing == "sigmoid":
            return out + (1 - self.mix_factor.sigmoid()).to(out) * (changed - given)
        return out + (changed - given)


class TemporalSite(nn.Module):
    """The temporal layers that go with one spatial layer."""

    def __init__(self, channels: int, convs: int, attends: bool, heads: int, groups: int,
                 params: TemporalParams, parts: Parts) -> None:  # fmt: skip
        super().__init__()
        identity = params.mixing != "alpha"
        self.parallel = params.mixing == "parallel"
        self.convs = nn.ModuleList(TemporalConv(channels, identity, parts) for _ in range(convs))
        self.conv_mixes = nn.ModuleList(Mix(params.mixing) for _ in range(convs))
        self.attention = FrameAttention(channels, heads, groups, params, parts) if attends else None
        self.attention_mix = Mix(params.mixing)

    def convolve(self, number: int, x: Tensor, frames: int) -> Tensor:
        """x after the site's convolution of that number, if it has one."""
        if number >= len(self.convs):
            return x
        return self.conv_mixes[number](x, x, self.convs[number](x, frames))

    def attend(self, before: Tensor, after: Tensor, frames: int) -> Tensor:
        """`after`, the spatial layer's result on `before`, with temporal attention in series or parallel."""
        if self.attention is None:
            return after
        given = before if self.parallel and before.shape == after.shape else after
        return self.attention_mix(after, given, self.attention(given, frames))


class TemporalDownsample(TemporalConv):
    """Halves the frames of [B·F, C, h, w], an odd number rounded up; every second frame at first."""

    def __init__(self, channels: int, parts: Parts) -> None:
        super().__init__(channels, identity=True, parts=parts, stride=2)


class TemporalUpsample(TemporalConv):
    """Doubles the frames of [B·F, C, h, w]; each frame twice at first."""

    def __init__(self, channels: int, parts: Parts) -> None:
        super().__init__(channels, identity=True, parts=parts)

    def widen(self, x: Tensor, frames: int, wanted: int) -> Tensor:
        """From `frames` frames to `wanted`, which is twice as many or one less."""
        doubled = x.unflatten(0, (-1, frames)).repeat_interleave(2, dim=1)[:, :wanted]
        return self(doubled.flatten(0, 1), wanted)
