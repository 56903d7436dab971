"""Builds the parts that a UNet and its ControlNets share, in the latent-diffusion key layout."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from .blocks import Downsample, ResBlock, SpatialTransformer, Upsample
from .parts import Parts
from .space_time import TemporalParams


@dataclass(frozen=True)
class UNetParams:
    """Shape of the network; levels are finest first."""

    in_channels: int = 4
    out_channels: int = 4
    model_channels: int = 320
    channel_mult: tuple[float, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    attention_levels: tuple[int, ...] = (0, 1, 2)
    middle_attention: bool = True
    transformer_depth: int = 1
    context_dim: int = 768
    head_channels: int = 40
    num_heads: int | None = None  # of every transformer, where head_channels do not tell
    norm_groups: int = 32
    temporal: TemporalParams | None = None

    @property
    def channels(self) -> tuple[int, ...]:
        return tuple(int(self.model_channels * m) for m in self.channel_mult)

    @property
    def embedding(self) -> int:
        """Width of the timestep embedding."""
        return self.model_channels * 4

    def heads(self, channels: int) -> int:
        """Of a transformer."""
        return self.num_heads or max(1, channels // self.head_channels)


@dataclass(frozen=True)
class Builder:
    params: UNetParams
    parts: Parts

    def time_embed(self) -> nn.Sequential:
        p, parts = self.params, self.parts
        return nn.Sequential(
            parts.linear(p.model_channels, p.embedding), nn.SiLU(), parts.linear(p.embedding, p.embedding)
        )

    def input_blocks(self, widths: list[int]) -> Iterator[nn.Sequential]:
        """Blocks finest first; `widths`, which holds the first one's channels, gets those of the others."""
        p = self.params
        yield nn.Sequential(self.parts.conv2d(p.in_channels, p.model_channels, 3))
        for level, channels in enumerate(p.channels):
            for _ in range(p.num_res_blocks):
                yield nn.Sequential(*self._block(level, widths[-1], channels))
                widths.append(channels)
            if level < len(p.channels) - 1:
                yield nn.Sequential(Downsample(channels, self.parts))
                widths.append(channels)

    def middle_block(self, channels: int) -> nn.Sequential:
        if not self.params.middle_attention:
            return nn.Sequential(self._res(channels, channels))
        first, last = (self._res(channels, channels) for _ in range(2))
        return nn.Sequential(first, self._transformer(channels), last)

    def output_blocks(self, widths: list[int]) -> Iterator[nn.Sequential]:
        p, h, skips = self.params, widths[-1], list(widths)
        for level, channels in reversed(list(enumerate(p.channels))):
            for j in range(p.num_res_blocks + 1):
                layers = self._block(level, h + skips.pop(), channels)
                if level and j == p.num_res_blocks:
                    layers.append(Upsample(channels, self.parts))
                h = channels
                yield nn.Sequential(*layers)

    def _block(self, level: int, inputs: int, outputs: int) -> list[nn.Module]:
        attends = level in self.params.attention_levels
        return [self._res(inputs, outputs), *([self._transformer(outputs)] if attends else [])]

    def _res(self, inputs: int, outputs: int) -> ResBlock:
        return ResBlock(inputs, outputs, self.params.embedding, self.params.norm_groups, self.parts)

    def _transformer(self, channels: int) -> SpatialTransformer:
        p = self.params
        return SpatialTransformer(
            channels, p.context_dim, p.heads(channels), p.norm_groups, p.transformer_depth, self.parts
        )
