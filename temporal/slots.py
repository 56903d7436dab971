"""Where temporal layers meet a UNet: after which of its layers, and what a call tells one of ours.

Nothing is remembered on a module. The layers themselves and all that they need to know of a call ride in
`transformer_options`, so that two graphs over one model never disturb each other.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import FramewrightError

Site = tuple[str, int]  # ("input" | "middle" | "output", number of the block)
Layers = Callable[[Site, Tensor, dict[str, Any], str], Tensor]  # the last is where they are called

# In transformer_options: the layer sets to call at every site, in order, by where they are called.
LAYERS = "framewright_layers"  # after a block's first ResBlock and transformer
RES = "framewright_res_layers"  # after every ResBlock; the middle block's second is number 1 of its kind
INNER = "framewright_inner_layers"  # at the end of every spatial transformer
SELF = "framewright_self_layers"  # after a transformer block's self-attention
CROSS = "framewright_cross_layers"  # after its cross-attention
PLACES = (LAYERS, RES, INNER, SELF, CROSS)

FRAMES = (
    "framewright_frames"  # in transformer_options: frames a clip holds in this call, where not all of them
)
POSITIONS = "framewright_positions"  # in transformer_options: each frame's place in its clip, [frames]
NUMBERS = (
    "framewright_frame_numbers"  # likewise: which frames of the video a call holds, where not all, [W·F]
)
TOTAL = "framewright_total_frames"  # likewise: of the video, where a call holds a part of it
CHUNK = "framewright_chunk"  # likewise, where a call holds a part of what temporal layers see: a Chunk


@dataclass(frozen=True)
class Chunk:
    """A part of the frames, that meets the others wherever temporal layers sit (see `sampling.chunks`).

    `numbers` [F] are those of all the frames, in the video.
    """

    together: Callable[[Tensor, int, Callable[[Tensor], Tensor]], Tensor]
    numbers: Tensor

    def run(self, h: Tensor, options: dict[str, Any], layers: Callable[[Tensor, dict], Tensor]) -> Tensor:
        """`layers` on the activations of all frames, with the options of all frames; those of this chunk."""
        told = {**options, FRAMES: len(self.numbers), NUMBERS: self.numbers, CHUNK: None}
        conditions = len(options.get("cond_or_uncond", (0,)))
        return self.together(h, conditions, lambda joined: layers(joined, told))


def frame_count(batch: int, options: dict[str, Any]) -> int:
    """Frames a clip in this call: what the context windows say, else the batch over its conditions."""
    if options.get(CHUNK) is not None:
        raise FramewrightError(
            "frame chunks: an attention pattern or norms across frames came, which need all frames at once; "
            "expected a model without Frame Chunks"
        )
    frames = options.get(FRAMES) or batch // max(1, len(options.get("cond_or_uncond", (0,))))
    if batch % frames:
        raise FramewrightError(
            f"temporal layers: a batch of {batch} came, expected a multiple of {frames} frames"
        )
    return frames


def frames_in_call(batch: int, options: dict[str, Any]) -> Tensor:
    """Which frames of the video [N] the rows of one condition are, in a call of that batch."""
    numbers = options.get(NUMBERS)
    return torch.arange(frame_count(batch, options)) if numbers is None else numbers.cpu()


def numbers_in_video(frames: Tensor, options: dict[str, Any]) -> Tensor:
    """The numbers [N] in the video of these frames of a call, which may hold a part of it."""
    numbers = options.get(NUMBERS)
    return frames if numbers is None else numbers.to(frames.device)[frames]


def run_layers(site: Site, h: Tensor, options: dict[str, Any], where: str = LAYERS) -> Tensor:
    """Pass activations [B·F, C, h, w] of a site through every layer set of the call; of chunks together."""
    sets, chunk = options.get(where, ()), options.get(CHUNK)

    def through(h: Tensor, options: dict[str, Any]) -> Tensor:
        for layers in sets:
            h = layers(site, h, options, where)
        return h

    return through(h, options) if chunk is None or not sets else chunk.run(h, options, through)


def run_inner(x: Tensor, options: dict[str, Any], where: str = INNER) -> Tensor:
    """Likewise the tokens [B·F, h·w, C] of a spatial transformer, which has said what they are."""
    if not options.get(where):
        return x
    kind, number = options["block"]
    h = x.transpose(1, 2).unflatten(2, options["activations_shape"][-2:])
    return run_layers((kind, number), h, options, where).flatten(2).transpose(1, 2)


class Slot(nn.Module):
    """A place for temporal layers in a UNet that has none of its own; without weights and without state."""

    def __init__(self, site: Site, where: str) -> None:
        super().__init__()
        self.site, self.where = site, where

    def forward(self, h: Tensor) -> Tensor:
        return h


class InnerSlot(nn.Module):
    """A place for temporal layers behind a transformer's last block; without weights and without state."""

    def forward(
        self, x: Tensor, context: Tensor | None = None, transformer_options: dict[str, Any] | None = None
    ) -> Tensor:
        return run_inner(x, transformer_options or {})


def run_slot(slot: Slot, h: Tensor, emb: Tensor, context: Tensor, options: dict[str, Any], *_: Any) -> Tensor:
    """What a host calls for a Slot (its `forward_timestep_embed_patch`)."""
    return run_layers(slot.site, h, options, slot.where)


def after_self(x: Tensor, options: dict[str, Any]) -> Tensor:
    """What a host calls for tokens after self-attention (its `middle_patch`).

    `options` are a copy for this transformer block alone.
    """
    x = run_inner(x, options, SELF)
    options[_TOKENS] = x
    return x


def after_cross(n: Tensor, options: dict[str, Any]) -> Tensor:
    """What it calls for that which cross-attention adds to them (its `attn2_output_patch`)."""
    x = options.pop(_TOKENS)
    return run_inner(x + n, options, CROSS) - x


_TOKENS = "framewright_tokens"  # in a transformer block's own options, between the two


def site_channels(unet: Any) -> dict[Site, int]:
    """Sites of a latent-diffusion UNet and the channels each has there: every block with a ResBlock."""
    return {site: _resblocks(block)[0].out_layers[-1].out_channels for site, block in _blocks(unet)}


def transformer_sites(unet: Any) -> list[Site]:
    """Sites whose block holds a spatial transformer."""
    return [
        site for site, block in _blocks(unet) if any(hasattr(layer, "transformer_blocks") for layer in block)
    ]


def insert_slots(unet: Any) -> None:
    """Give a foreign UNet slots: after each ResBlock, after each block's first ResBlock and transformer.

    Each transformer gets one of its own. The host's layers keep their names, by which it may look for them
    while they are there. Harmless when repeated.
    """
    for (kind, number), block in _blocks(unet):
        for blocks in _transformer_blocks(block):
            if not isinstance(blocks[-1], InnerSlot):
                blocks.append(InnerSlot())
        layers = list(block.named_children())
        if any(isinstance(layer, Slot) for _, layer in layers):
            continue
        last = 1 if len(layers) > 1 and hasattr(layers[1][1], "transformer_blocks") else 0
        numbers = count(number)
        for name, _ in layers:
            delattr(block, name)
        for place, (name, layer) in enumerate(layers):
            block.add_module(name, layer)
            if _is_resblock(layer):
                block.add_module(f"after_{name}", Slot((kind, next(numbers)), RES))
            if place == last:
                block.add_module("temporal", Slot((kind, number), LAYERS))


def remove_slots(unet: Any) -> None:
    """Take every Slot out again; harmless when repeated."""
    for _, block in _blocks(unet):
        for blocks in _transformer_blocks(block):
            if isinstance(blocks[-1], InnerSlot):
                del blocks[-1]
        for name, layer in list(block.named_children()):
            if isinstance(layer, Slot):
                delattr(block, name)


def _transformer_blocks(block: Any) -> list[Any]:
    return [layer.transformer_blocks for layer in block if hasattr(layer, "transformer_blocks")]


def _is_resblock(layer: Any) -> bool:
    return hasattr(layer, "in_layers") and hasattr(layer, "out_layers")


def _resblocks(block: Any) -> list[Any]:
    return [layer for layer in block if _is_resblock(layer)]


def _blocks(unet: Any) -> Iterator[tuple[Site, Any]]:
    middle = [] if unet.middle_block is None else [unet.middle_block]  # which distilled networks do without
    groups = {"input": unet.input_blocks, "middle": middle, "output": unet.output_blocks}
    for kind, blocks in groups.items():
        for number, block in enumerate(blocks):
            if _resblocks(block):
                yield (kind, number), block
