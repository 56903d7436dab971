"""Motion modules: temporal transformers beside a frozen image model.

After AnimateDiff (Guo et al. 2023), in its key layout.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..errors import FramewrightError
from .blocks import CrossAttention, FeedForward
from .parts import Parts
from .positions import sinusoidal_positions
from .slots import Site, frame_count


@dataclass(frozen=True)
class MotionParams:
    """Shape of a motion model; `channels` are those of the UNet's levels, finest first."""

    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    res_blocks: int = 2
    mid_block: bool = True
    positions: int = 32
    heads: int = 8
    norm_groups: int = 32


class PositionTable(nn.Module):
    pe: Tensor

    def __init__(self, length: int, channels: int, parts: Parts) -> None:
        super().__init__()
        self.register_buffer("pe", sinusoidal_positions(length, channels).to(parts.device, parts.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Add to [B·N, F, C] the first F rows."""
        return x + self.pe[:, : x.shape[1]].to(x)


class TemporalAttention(CrossAttention):
    """Self-attention over the frames of each pixel, [B·N, F, C]."""

    def __init__(self, channels: int, heads: int, positions: int, parts: Parts) -> None:
        super().__init__(channels, channels, heads, parts)
        self.pos_encoder = PositionTable(positions, channels, parts)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return super().forward(self.pos_encoder(x))


class TemporalBlock(nn.Module):
    def __init__(self, channels: int, heads: int, positions: int, parts: Parts) -> None:
        super().__init__()
        self.attention_blocks = nn.ModuleList(
            TemporalAttention(channels, heads, positions, parts) for _ in range(2)
        )
        self.norms = nn.ModuleList(parts.layer_norm(channels) for _ in range(2))
        self.ff = FeedForward(channels, parts)
        self.ff_norm = parts.layer_norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        for attention, norm in zip(self.attention_blocks, self.norms, strict=True):
            x = x + attention(norm(x))
        return x + self.ff(self.ff_norm(x))


class TemporalTransformer(nn.Module):
    """Residual temporal transformer on [B·F, C, h, w]; a zero `proj_out` leaves the image model as it is."""

    def __init__(self, channels: int, params: MotionParams, parts: Parts) -> None:
        super().__init__()
        self.norm = parts.group_norm(params.norm_groups, channels, eps=1e-6)
        self.proj_in = parts.linear(channels, channels)
        self.transformer_blocks = nn.ModuleList(
            [TemporalBlock(channels, params.heads, params.positions, parts)]
        )
        self.proj_out = parts.linear(channels, channels)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        height, width = x.shape[-2:]
        clips = self.norm(x).unflatten(0, (-1, frames)).flatten(3)  # [B, F, C, N]
        tokens = self.proj_in(clips.permute(0, 3, 1, 2).flatten(0, 1))  # [B·N, F, C]
        for block in self.transformer_blocks:
            tokens = block(tokens)
        clips = self.proj_out(tokens).unflatten(0, (-1, height * width)).permute(0, 2, 3, 1)
        return x + clips.flatten(0, 1).unflatten(2, (height, width))


class _Motion(nn.Module):
    def __init__(self, channels: int, params: MotionParams, parts: Parts) -> None:
        super().__init__()
        self.temporal_transformer = TemporalTransformer(channels, params, parts)


class _Level(nn.Module):
    def __init__(self, channels: int, count: int, params: MotionParams, parts: Parts) -> None:
        super().__init__()
        self.motion_modules = nn.ModuleList(_Motion(channels, params, parts) for _ in range(count))


class MotionModel(nn.Module):
    """A set of motion modules for every level of a UNet; called as a layer set at each site (see `slots`)."""

    def __init__(self, params: MotionParams, parts: Parts | None = None) -> None:
        super().__init__()
        parts = parts or Parts()
        self.params, n = params, params.res_blocks
        self.down_blocks = nn.ModuleList(_Level(c, n, params, parts) for c in params.channels)
        self.up_blocks = nn.ModuleList(_Level(c, n + 1, params, parts) for c in params.channels[::-1])
        self.mid_block = _Level(params.channels[-1], 1, params, parts) if params.mid_block else None
        self._places = self._site_map()

    def _site_map(self) -> dict[Site, tuple[str, int, int]]:
        n = self.params.res_blocks
        places = {}
        for level in range(len(self.params.channels)):
            for j in range(n):
                places["input", 1 + level * (n + 1) + j] = ("down_blocks", level, j)
            for j in range(n + 1):
                places["output", level * (n + 1) + j] = ("up_blocks", level, j)
        if self.mid_block is not None:
            places["middle", 0] = ("mid_block", 0, 0)
        return places

    @property
    def sites(self) -> tuple[Site, ...]:
        return tuple(self._places)

    def at(self, site: Site) -> TemporalTransformer | None:
        """The temporal transformer of a site, or None."""
        if site not in self._places:
            return None
        group, level, j = self._places[site]
        blocks: Any = self.mid_block if group == "mid_block" else getattr(self, group)[level]
        return blocks.motion_modules[j].temporal_transformer

    def check_frames(self, frames: int) -> None:
        if frames > self.params.positions:
            raise FramewrightError(
                f"frames: {frames} frames came, the motion module has positions for {self.params.positions}; "
                "add Context Windows before the sampler to render longer videos"
            )

    def forward(self, site: Site, h: Tensor, options: dict[str, Any]) -> Tensor:
        frames, layer = frame_count(h.shape[0], options), self.at(site)
        if layer is None or frames == 1:
            return h
        self.check_frames(frames)
        return layer(h, frames)
