"""An attention pattern in the place of a UNet's own self-attention."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .extent import EVERYWHERE, Extent
from .known_frames import known_in_call
from .parts import Attention, precise
from .pattern_attention import attend
from .patterns import Pattern
from .slots import Site, frame_count

Replace = Callable[[Tensor, Tensor, Tensor, dict], Tensor]  # of an attention, on projected tokens
_MORE = "framewright_reads_more"


def reads_more(attend: Replace) -> Replace:
    """Marks what takes keys and values of more than a frame's own tokens."""
    setattr(attend, _MORE, True)
    return attend


def takes_more(attend: Replace) -> bool:
    return getattr(attend, _MORE, False)


def self_attention_patch(
    pattern: Pattern, attention: Attention, extent: Extent = EVERYWHERE, earlier: Replace | None = None
) -> Replace:
    """What a host calls instead of attn1, on projected tokens [B·F, N, C] (its `patches_replace`).

    Where the pattern is not all there is, the rest is what `earlier` makes of them, or plain attention.

    Where another patch has cut each frame's queries into tiles (HyperTile), [B·F·T, N, C], its keys are taken
    in as many parts, as the host's own attention then does, and tiles read the same part of other frames.
    """

    def without(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        if earlier:
            return earlier(q, k, v, options)
        return precise(attention, options)(q, k, v, options["n_heads"])

    def patch(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        heads, strength = options["n_heads"], extent.at(_site(options), options)
        if strength == 0:
            return without(q, k, v, options)
        given = q, k, v, options
        batch = options.get("original_shape", q.shape)[0]
        frames, tiles = frame_count(batch, options), q.shape[0] // batch
        k, v = (t.reshape(q.shape[0], -1, t.shape[-1]) for t in (k, v))
        tq, tk, tv = (_swap(t, frames, tiles) for t in (q, k, v))
        rules, size, among = _rules(pattern, frames, options), tiles * frames, precise(attention, options)
        if len(set(rules)) == 1:
            read = attend(rules[0], tq, tk, tv, heads, frames, among)
        else:
            clips = enumerate(zip(tq.split(size), tk.split(size), tv.split(size), strict=True))
            read = torch.cat([attend(rules[n % len(rules)], *qkv, heads, frames, among) for n, qkv in clips])
        read = _swap(read, tiles, frames)
        return read if strength == 1 else torch.lerp(without(*given), read, strength)

    return patch if earlier and not takes_more(earlier) else reads_more(patch)


def _rules(pattern: Pattern, frames: int, options: dict[str, Any]) -> list[Pattern]:
    """The pattern of each clip of a condition, or the one of all: what is known differs between windows."""
    known = known_in_call(options) if pattern.reads_known else None
    if known is None:
        return [pattern]
    return [
        replace(pattern, keys=tuple(clip.nonzero().flatten().tolist())) for clip in known.given.split(frames)
    ]


def _site(options: dict[str, Any]) -> Site:
    kind, number = options["block"]
    return kind, number


def _swap(x: Tensor, outer: int, inner: int) -> Tensor:
    """[B·outer·inner, …] to [B·inner·outer, …]."""
    return x if inner == 1 or outer == 1 else x.unflatten(0, (-1, outer, inner)).transpose(1, 2).flatten(0, 2)
