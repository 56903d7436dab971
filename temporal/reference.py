"""A picture whose appearance every frame keeps: frames read its features beside their own.

The bank of AnimateAnyone (Hu et al. 2023): the normed tokens of each self-attention, from a pass of the
picture alone, join the keys and values of the frames' self-attention, before their projections. A reference
UNet may fill it, which sees the picture clean; without one the model itself does, which sees it under the
noise of the step (MasaCtrl, Cao et al. 2023).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import FramewrightError
from .extent import Extent
from .parts import Attention, precise
from .self_attention import Replace, reads_more, takes_more
from .slots import Site

Block = tuple[Site, int]  # and the number of the transformer block there
Bank = dict[Block, Tensor]  # tokens [1, N, C]
Added = dict[Block, slice]  # where the picture's tokens are among those that a block's attention reads

FOLLOWED = "framewright_followed"  # in transformer_options: the host's ids of the prompts to follow, if told
_OURS = "framewright_"  # what begins so in transformer_options is about frames
_ALONE = "framewright_reference"  # in transformer_options: the call is of a reference, and not of frames


@dataclass(frozen=True, eq=False)
class Reference:
    """latents [1, C, h, w] as the network takes them; noise like them; the host's attention."""

    latents: Tensor
    noise: Tensor
    extent: Extent
    attention: Attention

    def joined(
        self, x: Tensor, options: dict[str, Any], call: Callable[[int, dict], object]
    ) -> dict[str, Any]:
        """transformer_options with which the frames x [B·F, C, h, w] read the picture.

        `call(row, options)` passes the picture through a UNet, with the prompt that is x's in that row. The
        unconditional half reads its own tokens once more in the picture's place, which changes nothing.
        """
        conditions = options.get("cond_or_uncond", [0])
        if max(conditions) > 1:
            raise FramewrightError(
                "reference: a guider of three prompts or more came, of which it cannot be told which is the "
                "one to follow; expected CFGGuider, BasicGuider or KSampler"
            )
        if options.get(_ALONE) or not any(_followed(options)) or not self.extent.at_level(options):
            return options
        if x.shape[-2:] != self.latents.shape[-2:]:
            (height, width), (h, w) = x.shape[-2:], self.latents.shape[-2:]
            raise FramewrightError(
                f"reference: latents of {w}×{h} came for a video of {width}×{height}; scale the picture to "
                "the video's size before VAE Encode"
            )
        bank: Bank = {}
        call(_followed(options).index(True) * (len(x) // len(conditions)), _alone(options, bank))
        return self._reading(options, bank)

    def _reading(self, options: dict[str, Any], bank: Bank) -> dict[str, Any]:
        patches, replaces = options.get("patches", {}), options.get("patches_replace", {})
        added: Added = {}
        attn1 = {
            key: one if takes_more(one) else _without(one, added)
            for key, one in replaces.get("attn1", {}).items()
        }
        blended = [block for block in bank if 0 < self.extent.at(block[0], options) < 1]
        keys = {site for site, _ in blended} | {(*site, number) for site, number in blended} & attn1.keys()
        free = [key for key in keys if key not in attn1 or takes_more(attn1[key])]
        attn1.update({key: self._partly(attn1.get(key), added) for key in free})
        return {
            **options,
            "patches": {**patches, "attn1_patch": [*patches.get("attn1_patch", ()), self._read(bank, added)]},
            "patches_replace": {**replaces, "attn1": attn1},
        }

    def _read(self, bank: Bank, added: Added) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
        def patch(n: Tensor, context: Tensor, value: Tensor, options: dict[str, Any]):
            block = _block(options)
            if block not in bank or self.extent.at(block[0], options) == 0:
                return n, context, value
            kept, followed = bank[block], _followed(options)
            if n.shape[1:] != kept.shape[1:] or len(n) % len(followed):
                raise FramewrightError(
                    f"reference: attention over {len(n)} parts of {n.shape[1]} tokens came, expected whole "
                    f"frames of {kept.shape[1]}; another node cuts them up (HyperTile, an area of a prompt)"
                )

            def longer(tokens: Tensor) -> Tensor:
                beside = [
                    kept.to(part).expand(len(part), -1, -1) if one else part[:, : n.shape[1]]
                    for one, part in zip(followed, tokens.chunk(len(followed)), strict=True)
                ]
                return torch.cat([tokens, torch.cat(beside)], dim=1)

            added[block] = slice(context.shape[1], context.shape[1] + n.shape[1])
            keys = longer(context)
            return n, keys, keys if value is context else longer(value)

        return patch

    def _partly(self, earlier: Replace | None, added: Added) -> Replace:
        """Attention to all tokens, blended with that to all but the picture's."""

        def attend(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
            if earlier:
                return earlier(q, k, v, options)
            return precise(self.attention, options)(q, k, v, options["n_heads"])

        plain = _without(attend, added)

        def patch(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
            strength = self.extent.at(_block(options)[0], options)
            return torch.lerp(plain(q, k, v, options), attend(q, k, v, options), strength)

        return reads_more(patch)


def _without(attend: Replace, added: Added) -> Replace:
    """Attention to all tokens but the picture's, for what expects a frame's own (as PAG and SAG do)."""

    def patch(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        theirs = added.get(_block(options))
        if theirs is not None:
            k, v = (torch.cat([t[:, : theirs.start], t[:, theirs.stop :]], dim=1) for t in (k, v))
        return attend(q, k, v, options)

    return patch


def _followed(options: dict[str, Any]) -> list[bool]:
    """Of each condition in a call, whether it is the prompt that is followed: number 0, and by its id."""
    conditions, known = options.get("cond_or_uncond", [0]), options.get(FOLLOWED)
    if known is None:
        return [number == 0 for number in conditions]
    pairs = zip(conditions, options["uuids"], strict=True)
    return [number == 0 and one in known for number, one in pairs]


def _alone(options: dict[str, Any], bank: Bank) -> dict[str, Any]:
    """For a pass of the picture, which has no frames, and of which the bank keeps what attention reads."""

    def keep(n: Tensor, context: Tensor, value: Tensor, told: dict[str, Any]):
        bank[_block(told)] = n
        return n, context, value

    kept = {key: value for key, value in options.items() if not key.startswith(_OURS)}
    kept.pop("patches_replace", None)
    return {**kept, _ALONE: True, "cond_or_uncond": [0], "patches": {"attn1_patch": [keep]}}


def _block(options: dict[str, Any]) -> Block:
    kind, number = options["block"]
    return (kind, number), options.get("block_index", 0)
