"""Motion modules: temporal transformers beside a frozen image model.

After AnimateDiff (Guo et al. 2023), in its key layout.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..errors import FramewrightError
from .blocks import FeedForward
from .parts import Parts
from .pattern_attention import attend
from .patterns import Pattern
from .positions import sinusoidal_positions
from .slots import Site

LowRank = Callable[[str, Tensor], Tensor | None]  # what a motion LoRA adds to a projection of [B·N, F, C]


class TemporalLayers(Protocol):
    """Temporal layers for the sites of a UNet, as they can be applied to a model."""

    channels: dict[Site, int]

    @property
    def length(self) -> int:
        """Frames that the layers take at once."""
        ...

    @property
    def position_kind(self) -> str:
        """How the layers know a frame's place."""
        ...

    def at(self, site: Site) -> Callable[[Tensor, int, "Manner"], Tensor] | None:
        """The layer of a site, on [B·F, C, h, w] and F frames, or None."""

    def check_frames(self, frames: int) -> None: ...

    def state_dict(self) -> dict[str, Tensor]: ...


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

    def forward(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        """Add to [B·N, F, C] the rows of `positions` [F], interpolated between whole ones, or the first F."""
        if positions is None:
            return x + self.pe[:, : x.shape[1]].to(x)
        below = positions.floor().long()
        rows = torch.lerp(
            self.pe[:, below].float(),
            self.pe[:, positions.ceil().long()].float(),
            (positions - below).to(self.pe.device, torch.float32)[:, None],
        )
        return x + rows.to(x)


@dataclass(frozen=True)
class Manner:
    """How temporal layers run in one call, where other than they were trained.

    positions [F] are rows of the position table; low_rank adds to the projections of each of the two
    attentions; pattern is which frames a frame reads.
    """

    positions: Tensor | None = None
    low_rank: Sequence[Sequence[LowRank]] = ((), ())
    pattern: Pattern | None = None


AS_TRAINED = Manner()


class TemporalAttention(nn.Module):
    """Self-attention over the frames of each pixel, [B·N, F, C]."""

    def __init__(self, channels: int, heads: int, positions: int, parts: Parts) -> None:
        super().__init__()
        self.heads, self.attention = heads, parts.attention
        self.to_q = parts.linear(channels, channels, bias=False)
        self.to_k = parts.linear(channels, channels, bias=False)
        self.to_v = parts.linear(channels, channels, bias=False)
        self.to_out = nn.Sequential(parts.linear(channels, channels), nn.Identity())
        self.pos_encoder = PositionTable(positions, channels, parts)

    def forward(self, x: Tensor, manner: Manner = AS_TRAINED, number: int = 0) -> Tensor:
        """`number`: which of its block's attentions this is."""
        low_rank = manner.low_rank[number]
        x = self.pos_encoder(x, manner.positions)
        q, k, v = (
            _with(low_rank, name, project, x)
            for name, project in (("to_q", self.to_q), ("to_k", self.to_k), ("to_v", self.to_v))
        )
        return _with(low_rank, "to_out.0", self.to_out, self._read(q, k, v, manner.pattern))

    def _read(self, q: Tensor, k: Tensor, v: Tensor, pattern: Pattern | None) -> Tensor:
        if pattern is None:
            return self.attention(q, k, v, self.heads)
        frames = q.shape[1]
        q, k, v = (t.flatten(0, 1).unsqueeze(1) for t in (q, k, v))  # clips of one pixel
        read = attend(pattern, q, k, v, self.heads, frames, self.attention)
        return read.unflatten(0, (-1, frames)).squeeze(2)


def _with(low_rank: Sequence[LowRank], name: str, project: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A projection and what motion LoRAs add to it."""
    out = project(x)
    for low in low_rank:
        added = low(name, x)
        out = out if added is None else out + added
    return out


class TemporalBlock(nn.Module):
    def __init__(self, channels: int, heads: int, positions: int, parts: Parts) -> None:
        super().__init__()
        self.attention_blocks = nn.ModuleList(
            TemporalAttention(channels, heads, positions, parts) for _ in range(2)
        )
        self.norms = nn.ModuleList(parts.layer_norm(channels) for _ in range(2))
        self.ff = FeedForward(channels, parts)
        self.ff_norm = parts.layer_norm(channels)

    def forward(self, x: Tensor, manner: Manner = AS_TRAINED) -> Tensor:
        for number, (attention, norm) in enumerate(zip(self.attention_blocks, self.norms, strict=True)):
            x = x + attention(norm(x), manner, number)
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

    def forward(self, x: Tensor, frames: int, manner: Manner = AS_TRAINED) -> Tensor:
        height, width = x.shape[-2:]
        clips = self.norm(x).unflatten(0, (-1, frames)).flatten(3)  # [B, F, C, N]
        tokens = self.proj_in(clips.permute(0, 3, 1, 2).flatten(0, 1))  # [B·N, F, C]
        for block in self.transformer_blocks:
            tokens = block(tokens, manner)
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
    """A motion module for every site of a UNet; `motion_settings.AppliedMotion` makes a layer set of it."""

    def __init__(self, params: MotionParams, parts: Parts | None = None) -> None:
        super().__init__()
        parts = parts or Parts()
        self.params, n = params, params.res_blocks
        self.down_blocks = nn.ModuleList(_Level(c, n, params, parts) for c in params.channels)
        self.up_blocks = nn.ModuleList(_Level(c, n + 1, params, parts) for c in params.channels[::-1])
        self.mid_block = _Level(params.channels[-1], 1, params, parts) if params.mid_block else None
        self._places = self._site_map()
        # Any: of a submodule the checker knows only that it is one.
        self.channels: dict[Site, int] = {site: self._norm(site).num_channels for site in self._places}

    def _norm(self, site: Site) -> Any:
        return self.get_submodule(f"{self.key(site)}.norm")

    def _site_map(self) -> dict[Site, str]:
        n = self.params.res_blocks
        places = {}
        for level in range(len(self.params.channels)):
            for j in range(n):
                places["input", 1 + level * (n + 1) + j] = f"down_blocks.{level}.motion_modules.{j}"
            for j in range(n + 1):
                places["output", level * (n + 1) + j] = f"up_blocks.{level}.motion_modules.{j}"
        if self.mid_block is not None:
            places["middle", 0] = "mid_block.motion_modules.0"
        return places

    @property
    def length(self) -> int:
        return self.params.positions

    @property
    def position_kind(self) -> str:
        return "sinusoidal"

    def at(self, site: Site) -> TemporalTransformer | None:
        """The temporal transformer of a site, or None."""
        layer: Any = self.get_submodule(self.key(site)) if site in self._places else None
        return layer

    def key(self, site: Site) -> str:
        """Where a site's temporal transformer lies among the module's weights."""
        return f"{self._places[site]}.temporal_transformer"

    def check_frames(self, frames: int) -> None:
        if frames > self.params.positions:
            raise FramewrightError(
                f"frames: {frames} frames came, the motion module has positions for {self.params.positions}; "
                "add Context Windows before the sampler to render longer videos, or Motion Positions to "
                f"spread its {self.params.positions} positions over {frames} frames"
            )
