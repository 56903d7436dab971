"""A ControlNet in the released key layout (Zhang et al. 2023), for UNets of ours."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .blocks import ResBlock, SpatialTransformer, timestep_embedding
from .builder import Builder, UNetParams
from .parts import Parts
from .slots import Site

Then = Callable[[Site, Tensor], Tensor]
HINT_CHANNELS = (16, 32, 64)  # of the hint encoder; each width after the first halves the picture


class HintEncoder(nn.Sequential):
    """Hints [B, 3, H, W] to activations [B, C, h, w] of the first block; zero at first."""

    def __init__(self, channels: int, parts: Parts) -> None:
        widths, layers = HINT_CHANNELS, [parts.conv2d(3, HINT_CHANNELS[0], 3), nn.SiLU()]
        for wide, wider in zip(widths[:-1], widths[1:], strict=True):
            layers += [parts.conv2d(wide, wide, 3), nn.SiLU(), parts.conv2d(wide, wider, 3, 2), nn.SiLU()]
        super().__init__(*layers, _zero(parts.conv2d(widths[-1], channels, 3)))

    def forward(self, input: Tensor, *_: Any) -> Tensor:
        """Timestep embedding and context, which hosts hand over, say nothing to it."""
        return super().forward(input)


class ControlEncoder(nn.Module):
    """The encoder of a UNet, and what it adds to each of the UNet's skips: at first, zero."""

    def __init__(self, params: UNetParams, parts: Parts) -> None:
        super().__init__()
        self.params, self.dtype = params, parts.dtype or torch.float32
        build, widths = Builder(params, parts), [params.model_channels]
        self.time_embed = build.time_embed()
        self.input_blocks = nn.ModuleList(build.input_blocks(widths))
        self.middle_block = build.middle_block(widths[-1])
        self.zero_convs = nn.ModuleList(
            nn.Sequential(_zero(parts.conv2d(width, width, 1))) for width in widths
        )
        self.middle_block_out = nn.Sequential(_zero(parts.conv2d(widths[-1], widths[-1], 1)))

    def embedding(self, timesteps: Tensor, dtype: torch.dtype) -> Tensor:
        return self.time_embed(timestep_embedding(timesteps, self.params.model_channels).to(dtype))

    def residuals(
        self, h: Tensor, emb: Tensor, context: Tensor, then: Then | None = None
    ) -> dict[str, list[Tensor]]:
        """By place, finest first, as `SpaceTimeUNet` takes them, of what the first block [B, C, h, w] gave.

        `then(site, h)` is called where temporal layers sit (`slots.LAYERS`).
        """
        residuals = [self.zero_convs[0](h)]
        for number, block in enumerate(self.input_blocks[1:], 1):
            h = _run(block, h, emb, context, ("input", number), then)
            residuals.append(self.zero_convs[number](h))
        h = _run(self.middle_block, h, emb, context, ("middle", 0), then)
        return {"output": residuals, "middle": [self.middle_block_out(h)]}


class ControlNet(ControlEncoder):
    """An encoder that also sees a hint, a picture [B, 3, H, W] in 0..1.

    It is four times as large as the latents [B, C, h, w].
    """

    def __init__(self, params: UNetParams, parts: Parts | None = None) -> None:
        super().__init__(params, parts or Parts())
        self.input_hint_block = HintEncoder(params.model_channels, parts or Parts())

    def forward(
        self, x: Tensor, hint: Tensor, timesteps: Tensor, context: Tensor, **_: Any
    ) -> dict[str, list[Tensor]]:
        """Residuals by place."""
        emb = self.embedding(timesteps, x.dtype)
        h = self.input_blocks[0](x) + self.input_hint_block(hint, emb, context)
        return self.residuals(h, emb, context)


def _run(block: Any, h: Tensor, emb: Tensor, context: Tensor, site: Site, then: Then | None) -> Tensor:
    last = 1 if len(block) > 1 and isinstance(block[1], SpatialTransformer) else 0
    for place, layer in enumerate(block):
        if isinstance(layer, ResBlock):
            h = layer(h, emb)
        elif isinstance(layer, SpatialTransformer):
            h = layer(h, context, {})
        else:
            h = layer(h)
        if then is not None and place == last and isinstance(block[0], ResBlock):
            h = then(site, h)
    return h


def _zero(layer: Any) -> Any:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def encoder_weights(unet: dict[str, Tensor], control: Sequence[str]) -> dict[str, Tensor]:
    """Of a UNet's weights those that a ControlNet of these keys begins with."""
    return {key: unet[key] for key in control if key in unet}
