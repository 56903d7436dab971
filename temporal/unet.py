"""The space-time UNet: a latent-diffusion image UNet in its key layout, with optional temporal layers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from .blocks import Downsample, ResBlock, SpatialTransformer, Upsample, timestep_embedding
from .parts import Parts
from .slots import FRAMES, RES, frame_count, run_layers
from .space_time import TemporalDownsample, TemporalParams, TemporalSite, TemporalUpsample

Size = Sequence[int]  # height and width


@dataclass(frozen=True)
class UNetParams:
    """Shape of the network; levels are finest first."""

    in_channels: int = 4
    out_channels: int = 4
    model_channels: int = 320
    channel_mult: tuple[float, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    attention_levels: tuple[int, ...] = (0, 1, 2)
    transformer_depth: int = 1
    context_dim: int = 768
    head_channels: int = 40
    norm_groups: int = 32
    temporal: TemporalParams | None = None

    @property
    def channels(self) -> tuple[int, ...]:
        return tuple(int(self.model_channels * m) for m in self.channel_mult)


class SpaceTimeUNet(nn.Module):
    """Latents [B·F, C, h, w] at timesteps [B·F] to the model's prediction of the same shape.

    `transformer_options` is the host's, with its `input_block_patch`; `control` holds residuals by place, as
    ControlNets give them.
    """

    def __init__(self, params: UNetParams, parts: Parts | None = None) -> None:
        super().__init__()
        parts = parts or Parts()
        self.params, self.dtype = params, parts.dtype or torch.float32
        self._parts, self._emb = parts, params.model_channels * 4
        self.time_embed = nn.Sequential(
            parts.linear(params.model_channels, self._emb), nn.SiLU(), parts.linear(self._emb, self._emb)
        )
        widths = [params.model_channels]
        self.input_blocks = nn.ModuleList(self._input_blocks(widths))
        deepest = widths[-1]
        middle: list[nn.Module] = [self._res(deepest, deepest), self._res(deepest, deepest)]
        middle.insert(1, self._transformer(deepest))
        self.middle_block = nn.Sequential(*middle)
        self.output_blocks = nn.ModuleList(self._output_blocks(widths))
        first = params.model_channels
        self.out = nn.Sequential(
            parts.group_norm(params.norm_groups, first),
            nn.SiLU(),
            parts.conv2d(first, params.out_channels, 3),
        )
        if params.temporal:
            self.temporal = nn.ModuleDict(dict(self._temporal_layers(params.temporal)))

    def _res(self, inputs: int, outputs: int) -> ResBlock:
        return ResBlock(inputs, outputs, self._emb, self.params.norm_groups, self._parts)

    def _transformer(self, channels: int) -> SpatialTransformer:
        p = self.params
        heads = max(1, channels // p.head_channels)
        return SpatialTransformer(
            channels, p.context_dim, heads, p.norm_groups, p.transformer_depth, self._parts
        )

    def _block(self, level: int, inputs: int, outputs: int) -> list[nn.Module]:
        attends = level in self.params.attention_levels
        return [self._res(inputs, outputs), *([self._transformer(outputs)] if attends else [])]

    def _input_blocks(self, widths: list[int]) -> Iterator[nn.Sequential]:
        p = self.params
        yield nn.Sequential(self._parts.conv2d(p.in_channels, p.model_channels, 3))
        for level, channels in enumerate(p.channels):
            for _ in range(p.num_res_blocks):
                yield nn.Sequential(*self._block(level, widths[-1], channels))
                widths.append(channels)
            if level < len(p.channels) - 1:
                yield nn.Sequential(Downsample(channels, self._parts))
                widths.append(channels)

    def _output_blocks(self, widths: list[int]) -> Iterator[nn.Sequential]:
        p, h, skips = self.params, widths[-1], list(widths)
        for level, channels in reversed(list(enumerate(p.channels))):
            for j in range(p.num_res_blocks + 1):
                layers = self._block(level, h + skips.pop(), channels)
                if level and j == p.num_res_blocks:
                    layers.append(Upsample(channels, self._parts))
                h = channels
                yield nn.Sequential(*layers)

    def _temporal_layers(self, temporal: TemporalParams) -> Iterator[tuple[str, nn.Module]]:
        """Temporal layers by the place of the spatial layer they follow, beside the image network's keys."""
        p, level, channels = self.params, 0, 0
        convs = {"none": 0, "3x1x1": 1, "pseudo-3d": 2}[temporal.conv]
        for kind, number, block in self._blocks():
            for place, layer in enumerate(block):
                name, after = f"{kind}_{number}_{place}", block[place + 1 : place + 2]
                if isinstance(layer, ResBlock):
                    channels = layer.channels
                    alone = place == 0 and not any(isinstance(one, SpatialTransformer) for one in after)
                    yield name, self._site(channels, convs, temporal.attention and alone, temporal)
                elif isinstance(layer, SpatialTransformer):
                    yield name, self._site(channels, 0, temporal.attention, temporal)
                elif isinstance(layer, Downsample):
                    if level in temporal.resample_after:
                        yield name, TemporalDownsample(p.channels[level], self._parts)
                    level += 1
                elif isinstance(layer, Upsample):
                    level -= 1
                    if level in temporal.resample_after:
                        yield name, TemporalUpsample(channels, self._parts)

    def _site(self, channels: int, convs: int, attends: bool, temporal: TemporalParams) -> TemporalSite:
        p = self.params
        heads = max(1, channels // p.head_channels)
        return TemporalSite(channels, convs, attends, heads, p.norm_groups, temporal, self._parts)

    def _blocks(self) -> Iterator[tuple[str, int, Any]]:
        yield from (("input", number, block) for number, block in enumerate(self.input_blocks))
        yield "middle", 0, self.middle_block
        yield from (("output", number, block) for number, block in enumerate(self.output_blocks))

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        control: dict[str, list[Tensor | None]] | None = None,
        transformer_options: dict[str, Any] | None = None,
        **_: Any,
    ) -> Tensor:
        options, take = (
            {**(transformer_options or {}), "original_shape": list(x.shape)},
            _control_taker(control),
        )
        call = _Call(self, x, timesteps, context, options)
        h, skips, rates = x, [], []
        for number, block in enumerate(self.input_blocks):
            h = take("input", call.run("input", number, block, h))
            for patch in options.get("patches", {}).get("input_block_patch", ()):
                h = patch(h, options)
            skips.append(h)
            rates.append(call.frames)
        h = take("middle", call.run("middle", 0, self.middle_block, h))
        for number, block in enumerate(self.output_blocks):
            h = torch.cat([h, take("output", skips.pop())], dim=1)
            rates.pop()
            size = skips[-1].shape[-2:] if skips else h.shape[-2:]
            h = call.run("output", number, block, h, size, rates[-1] if rates else call.frames)
        return self.out(h)


class _Call:
    """What one forward pass carries from block to block."""

    def __init__(
        self, unet: SpaceTimeUNet, x: Tensor, timesteps: Tensor, context: Tensor, options: dict[str, Any]
    ) -> None:
        self.layers: Any = unet.temporal if unet.params.temporal else {}
        self.options = options
        self.frames = frame_count(x.shape[0], options) if self.layers else 1  # which alone need to know
        emb = unet.time_embed(timestep_embedding(timesteps, unet.params.model_channels).to(x.dtype))
        self._full, self._told = self.frames, {self.frames: (emb, context)}

    def _conditions(self) -> tuple[Tensor, Tensor]:
        """Timestep embedding and context, a row for each frame at the present frame rate."""
        if self.frames not in self._told:
            step = -(-self._full // self.frames)
            emb, context = (
                t.unflatten(0, (-1, self._full))[:, ::step].flatten(0, 1) for t in self._told[self._full]
            )
            self._told[self.frames] = emb, context
        return self._told[self.frames]

    def run(self, kind: str, number: int, block: Any, h: Tensor, size: Size = (), wanted: int = 0) -> Tensor:
        """One block; inserted layers come after its first ResBlock and transformer, before any resize."""
        site, options, waiting = (kind, number), self.options, False
        options["block"], numbers = site, count(number)
        for place, layer in enumerate(block):
            if waiting and not isinstance(layer, SpatialTransformer):
                h, waiting = run_layers(site, h, options), False
            temporal = self.layers[name] if (name := f"{kind}_{number}_{place}") in self.layers else None
            h = self._layer(layer, temporal if self.frames > 1 else None, h, size)
            if isinstance(layer, ResBlock):
                h = run_layers((kind, next(numbers)), h, options, RES)
            if temporal is not None and isinstance(layer, Downsample) and self.frames > 1:
                h, self.frames = temporal(h, self.frames), -(-self.frames // 2)
            elif temporal is not None and isinstance(layer, Upsample) and wanted != self.frames:
                h, self.frames = temporal.widen(h, self.frames, wanted), wanted
            if self.layers:
                options[FRAMES] = self.frames
            waiting |= isinstance(layer, ResBlock) and place == 0
        return run_layers(site, h, options) if waiting else h

    def _layer(self, layer: Any, temporal: Any, h: Tensor, size: Size) -> Tensor:
        emb, context = self._conditions()
        if isinstance(layer, ResBlock):
            return self._res(layer, temporal, h, emb)
        if isinstance(layer, SpatialTransformer):
            out = layer(h, context, self.options)
            return out if temporal is None else temporal.attend(h, out, self.frames)
        return layer(h, size) if isinstance(layer, Upsample) else layer(h)

    def _res(self, layer: ResBlock, temporal: TemporalSite | None, h: Tensor, emb: Tensor) -> Tensor:
        if temporal is None:
            return layer(h, emb)
        if len(temporal.convs) == 2:
            out = layer(h, emb, lambda number, x: temporal.convolve(number, x, self.frames))
        else:
            out = temporal.convolve(0, layer(h, emb), self.frames)
        return temporal.attend(h, out, self.frames)


def _control_taker(control: dict[str, list[Tensor | None]] | None) -> Callable[[str, Tensor], Tensor]:
    """Adds a ControlNet's residuals, each list taken from its end, as the host orders them."""
    waiting = {place: list(residuals) for place, residuals in (control or {}).items()}

    def take(place: str, h: Tensor) -> Tensor:
        residual = waiting[place].pop() if waiting.get(place) else None
        return h if residual is None else h + residual

    return take
