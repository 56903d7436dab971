"""The space-time UNet: a latent-diffusion image UNet in its key layout, with optional temporal layers."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from .blocks import Downsample, ResBlock, SpatialTransformer, Upsample, timestep_embedding
from .builder import Builder, UNetParams
from .known_frames import KNOWN, Known
from .parts import Parts
from .slots import FRAMES, NUMBERS, RES, frame_count, frames_in_call, run_layers
from .space_time import TemporalDownsample, TemporalParams, TemporalSite, TemporalUpsample

Size = Sequence[int]  # height and width


class SpaceTimeUNet(nn.Module):
    """Latents [B·F, C, h, w] at timesteps [B·F] to the model's prediction of the same shape.

    `transformer_options` is the host's, with its `input_block_patch`; `control` holds residuals by place, as
    ControlNets give them.
    """

    def __init__(self, params: UNetParams, parts: Parts | None = None) -> None:
        super().__init__()
        parts = parts or Parts()
        self.params, self.dtype = params, parts.dtype or torch.float32
        self._parts, build = parts, Builder(params, parts)
        self.time_embed, widths = build.time_embed(), [params.model_channels]
        self.input_blocks = nn.ModuleList(build.input_blocks(widths))
        self.middle_block = build.middle_block(widths[-1])
        self.output_blocks = nn.ModuleList(build.output_blocks(widths))
        first = params.model_channels
        self.out = nn.Sequential(
            parts.group_norm(params.norm_groups, first),
            nn.SiLU(),
            parts.conv2d(first, params.out_channels, 3),
        )
        if params.temporal:
            self.temporal = nn.ModuleDict(dict(self._temporal_layers(params.temporal)))

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
        heads = p.heads(channels)
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
        options = {**(transformer_options or {}), "original_shape": list(x.shape)}
        call = _Call(self, x, timesteps, context, options)
        take = _control_taker(control, call.kept)
        h, skips, rates = x, [], []
        for number, block in enumerate(self.input_blocks):
            h = take("input", call.run("input", number, block, h), call.frames)
            for patch in options.get("patches", {}).get("input_block_patch", ()):
                h = patch(h, options)
            skips.append(h)
            rates.append(call.frames)
        h = take("middle", call.run("middle", 0, self.middle_block, h), call.frames)
        for number, block in enumerate(self.output_blocks):
            h = torch.cat([h, take("output", skips.pop(), rates.pop())], dim=1)
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
        self.frames = 1
        if self.layers:  # which alone need to know
            self.frames = frame_count(x.shape[0], options)
            self._numbers = frames_in_call(x.shape[0], options)
        emb = unet.time_embed(timestep_embedding(timesteps, unet.params.model_channels).to(x.dtype))
        self._full, self._told = self.frames, {self.frames: (emb, context)}
        self._known: Known | None = options.get(KNOWN)

    def kept(self, rows: Tensor, frames: int) -> Tensor:
        """Of rows for each frame those of the frames that halvings have left, when `frames` a clip are."""
        step = 1
        while -(-self._full // step) > frames:
            step *= 2
        return rows if step == 1 else rows.unflatten(0, (-1, self._full))[:, ::step].flatten(0, 1)

    def _tell_layers(self, h: Tensor) -> None:
        """What inserted layers and patterns are to know of the present frame rate."""
        self.options[FRAMES] = self.frames
        self.options["original_shape"] = [len(h), *self.options["original_shape"][1:]]
        self.options[NUMBERS] = self.kept(self._numbers, self.frames)
        if self._known is not None and self._known.numbers is None:  # the frames of this call
            self.options[KNOWN] = Known(*(self.kept(rows, self.frames) for rows in self._known[:2]))

    def _conditions(self) -> tuple[Tensor, Tensor]:
        """Timestep embedding and context, a row for each frame at the present frame rate."""
        if self.frames not in self._told:
            emb, context = self._told[self._full]
            self._told[self.frames] = self.kept(emb, self.frames), self.kept(context, self.frames)
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
            if self.layers and options.get(FRAMES) != self.frames:
                self._tell_layers(h)
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


def _control_taker(
    control: dict[str, list[Tensor | None]] | None, kept: Callable[[Tensor, int], Tensor]
) -> Callable[[str, Tensor, int], Tensor]:
    """Adds a ControlNet's residuals, each list taken from its end, as the host orders them.

    A ControlNet does not halve time: of its frames those are `kept` that the UNet has there.
    """
    waiting = {place: list(residuals) for place, residuals in (control or {}).items()}

    def take(place: str, h: Tensor, frames: int) -> Tensor:
        residual = waiting[place].pop() if waiting.get(place) else None
        return h if residual is None else h + kept(residual, frames)

    return take
