"""The temporal transformer of a motion module (AnimateDiff, Guo et al. 2023), in its key layout.

Tokens stay where they are, frame by frame as in the image model, [B, F, N, C] for F frames of N pixels: only
the scores of attention need a pixel's frames side by side. Pixels know nothing of one another, so they run in
chunks that stay in a CPU's cache, and bound the memory of everything else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from ..errors import FramewrightError
from .blocks import FeedForward
from .parts import Parts
from .pattern_attention import SEQUENCES, attend
from .patterns import Pattern
from .positions import sinusoidal_positions

CPU_TOKENS, TOKENS = 2048, 2**18  # at once; on a CPU, and elsewhere

LowRank = Callable[[str, Tensor], Tensor | None]  # what a motion LoRA adds to a projection of [B, F, N, C]
LOW_RANK_PARTS = ("attention_blocks.0", "attention_blocks.1", "ff")  # of a block, that have projections


class Views(Protocol):
    """Windows of frames, all of one length, each with its frames and what each of them counts."""

    def plan(self, frames: int) -> Sequence[tuple[Sequence[int], Sequence[float]]]: ...


@dataclass(frozen=True)
class Merge:
    """Features [W, F, N, C] that `join` brings to the tokens of the first attention, by strength."""

    join: Callable[[Tensor], Tensor]
    features: Tensor
    strength: float

    def __call__(self, x: Tensor) -> Tensor:
        """Tokens [B, F, N, C], each condition of the batch with the same features."""
        features = self.features.repeat(x.shape[0] // self.features.shape[0], 1, 1, 1)
        return x + self.strength * self.join(x + features)


@dataclass(frozen=True)
class Manner:
    """How temporal layers run in one call, where other than they were trained.

    positions [F], or [W, F] of W clips, are rows of the position table; low_rank adds to the projections of
    each of the two attentions and of the feed-forward; pattern is which frames a frame reads; views are the
    windows in which attention runs and that are averaged before the feed-forward (FreeNoise, Qiu et al.
    2023); merge joins features with the tokens of the first attention (CameraCtrl, He et al. 2024).
    """

    positions: Tensor | None = None
    low_rank: Sequence[Sequence[LowRank]] = ((), (), ())
    pattern: Pattern | None = None
    views: Views | None = None
    merge: Merge | None = None

    def must_be_as_trained(self, layers: str) -> None:
        """Raises where positions, a pattern or views came for `layers`, which take none."""
        if any(given is not None for given in (self.positions, self.pattern, self.views)):
            raise FramewrightError(
                f"positions, pattern, windows: {layers} came, which take none; expected a motion module of "
                "the AnimateDiff type"
            )

    def at(self, pixels: slice) -> "Manner":
        """The manner for these pixels alone."""
        return self if self.merge is None else self._merging(self.merge.features[:, :, pixels])

    def of(self, windows: Tensor) -> "Manner":
        """The manner for windows [W, L] of the frames, which are clips of their own."""
        return self if self.merge is None else self._merging(self.merge.features[:, windows].flatten(0, 1))

    def _merging(self, features: Tensor) -> "Manner":
        return replace(self, merge=replace(cast(Merge, self.merge), features=features))


AS_TRAINED = Manner()
# What a layer does to [B·F, C, h, w] of F frames, and that by where it is called (see `slots`).
Call = Callable[[Tensor, int, Manner], Tensor]
Calls = dict[str, Call]


def planned(views: Views, frames: int) -> tuple[Tensor, Tensor]:
    """Which frames each window holds, [W, L], and what they count; raises where L would not be one number."""
    held, counted = zip(*views.plan(frames), strict=True)
    if len(lengths := sorted({len(one) for one in held})) > 1:
        raise FramewrightError(
            f"windows: windows of {lengths[0]} to {lengths[-1]} frames came for {frames}, expected all of "
            "one length, as Temporal Windows makes them"
        )
    return torch.tensor(held), torch.tensor(counted)


class PositionTable(nn.Module):
    pe: Tensor

    def __init__(self, length: int, channels: int, parts: Parts) -> None:
        super().__init__()
        self.register_buffer("pe", sinusoidal_positions(length, channels).to(parts.device, parts.dtype))

    def forward(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        """Add to [B, F, N, C] the rows of `positions`, interpolated where not whole, or the first F.

        They are [F], or [W, F] of the W clips that each condition of the batch has.
        """
        if positions is None:
            return x + self.pe[0, : x.shape[1], None].to(x)
        positions = positions.to(self.pe.device).view(-1, x.shape[1])
        below = positions.floor().long()
        rows = torch.lerp(
            self.pe[0, below].float(),
            self.pe[0, positions.ceil().long()].float(),
            (positions - below).float()[..., None],
        )
        return x + rows[:, :, None].to(x).repeat(x.shape[0] // len(rows), 1, 1, 1)


class TemporalAttention(nn.Module):
    """Self-attention over the frames of each pixel, [B, F, N, C].

    One projection gives queries, keys and values; files hold it as three. `positions` rows of a table, or 0.
    """

    def __init__(self, channels: int, heads: int, positions: int, parts: Parts) -> None:
        super().__init__()
        self.heads, self.attention = heads, parts.attention
        self.to_qkv = parts.linear(channels, 3 * channels, bias=False)
        self.to_out = nn.Sequential(parts.linear(channels, channels), nn.Identity())
        self.pos_encoder = PositionTable(positions, channels, parts) if positions else None

    def forward(self, x: Tensor, manner: Manner = AS_TRAINED, number: int = 0) -> Tensor:
        """`number`: which of its block's attentions this is."""
        low_rank = manner.low_rank[number]
        if self.pos_encoder is not None:
            x = self.pos_encoder(x, manner.positions)
        if manner.merge is not None and number == 0:
            x = manner.merge(x)
        projected = zip(_THREE, self.to_qkv(x).chunk(3, dim=-1), strict=True)
        q, k, v = (_with(low_rank, name, x, out).transpose(1, 2).flatten(0, 1) for name, out in projected)
        read = self._read(q, k, v, manner.pattern).unflatten(0, (x.shape[0], -1))  # [B, N, F, C]
        read = read.transpose(1, 2).contiguous()
        return _with(low_rank, "to_out.0", read, self.to_out(read))

    def _read(self, q: Tensor, k: Tensor, v: Tensor, pattern: Pattern | None) -> Tensor:
        """Attention over sequences [B·N, F, C]."""
        if pattern is None:
            return self.attention(q, k, v, self.heads)
        frames = q.shape[1]
        q, k, v = (t.flatten(0, 1).unsqueeze(1) for t in (q, k, v))  # clips of one pixel
        read = attend(pattern, q, k, v, self.heads, frames, self.attention)
        return read.unflatten(0, (-1, frames)).squeeze(2)

    def state_dict(self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        held = super().state_dict(destination=destination, prefix=prefix, keep_vars=keep_vars)
        parts = held.pop(f"{prefix}to_qkv.weight").chunk(3)
        held.update({f"{prefix}{name}.weight": part for name, part in zip(_THREE, parts, strict=True)})
        return held

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any, **named: Any) -> None:
        keys = [f"{prefix}{name}.weight" for name in _THREE]
        if all(key in state_dict for key in keys):
            state_dict[f"{prefix}to_qkv.weight"] = torch.cat([state_dict.pop(key) for key in keys])
        super()._load_from_state_dict(state_dict, prefix, *rest, **named)


_THREE, _FEED_FORWARD = ("to_q", "to_k", "to_v"), 2


def _with(low_rank: Sequence[LowRank], name: str, x: Tensor, out: Tensor) -> Tensor:
    """A projection's result on x, and what motion LoRAs add to it."""
    for low in low_rank:
        added = low(name, x)
        out = out if added is None else out + added
    return out


class TemporalBlock(nn.Module):
    """Attentions over frames, two in a motion module, and a feed-forward, on tokens [B, F, N, C]."""

    def __init__(self, channels: int, heads: int, positions: int, parts: Parts, attentions: int = 2) -> None:
        super().__init__()
        self.attention_blocks = nn.ModuleList(
            TemporalAttention(channels, heads, positions, parts) for _ in range(attentions)
        )
        self.norms = nn.ModuleList(parts.layer_norm(channels) for _ in range(attentions))
        self.ff = FeedForward(channels, parts)
        self.ff_norm = parts.layer_norm(channels)

    def forward(self, x: Tensor, manner: Manner = AS_TRAINED) -> Tensor:
        x = self._attend(x, manner) if manner.views is None else self._in_views(x, manner, manner.views)
        return x + self.ff(self.ff_norm(x), partial(_with, manner.low_rank[_FEED_FORWARD]))

    def _attend(self, x: Tensor, manner: Manner) -> Tensor:
        for number, (attention, norm) in enumerate(zip(self.attention_blocks, self.norms, strict=True)):
            x = x + attention(norm(x), manner, number)
        return x

    def _in_views(self, x: Tensor, manner: Manner, views: Views) -> Tensor:
        """Each window attends by itself, at the same positions; where they overlap they are averaged."""
        held, counted = planned(views, x.shape[1])
        plan, weights = held.to(x.device), counted.to(x)[..., None, None]
        read = self._attend(x[:, plan].flatten(0, 1), manner.of(plan)).unflatten(0, (-1, len(plan)))
        total, shares = torch.zeros_like(x), x.new_zeros(x.shape[1], 1, 1)
        total = total.index_add(1, plan.flatten(), (read * weights).flatten(1, 2))
        return total / shares.index_add(0, plan.flatten(), weights.flatten(0, 1))


class TemporalTransformer(nn.Module):
    """Residual temporal transformer on [B·F, C, h, w]; a zero `proj_out` leaves the image model as it is."""

    def __init__(
        self, channels: int, heads: int, positions: int, norm_groups: int, parts: Parts, attentions: int = 2
    ) -> None:
        super().__init__()
        self.norm = parts.group_norm(norm_groups, channels, eps=1e-6)
        self.proj_in = parts.linear(channels, channels)
        self.transformer_blocks = nn.ModuleList(
            [TemporalBlock(channels, heads, positions, parts, attentions)]
        )
        self.proj_out = parts.linear(channels, channels)

    def forward(self, x: Tensor, frames: int, manner: Manner = AS_TRAINED) -> Tensor:
        return x + over_pixels(self.norm(x), frames, lambda tokens, at: self._move(tokens, manner.at(at)))

    def _move(self, tokens: Tensor, manner: Manner) -> Tensor:
        tokens = self.proj_in(tokens)
        for block in self.transformer_blocks:
            tokens = block(tokens, manner)
        return self.proj_out(tokens)


def over_pixels(x: Tensor, frames: int, change: Callable[[Tensor, slice], Tensor]) -> Tensor:
    """[B·F, C, h, w] after `change` of its tokens [B, F, N, C], as many pixels at a time as are good.

    `change` also gets which pixels they are.
    """
    clips = x.unflatten(0, (-1, frames)).flatten(3).transpose(-1, -2)  # [B, F, N, C]
    size = pixels_at_once(x.device, clips.shape[0], frames)
    places = [slice(first, first + size) for first in range(0, clips.shape[2], size)]
    changed = [change(clips[:, :, at], at).transpose(-1, -2) for at in places]
    return (changed[0] if len(changed) == 1 else torch.cat(changed, dim=-1)).reshape(x.shape)


def pixels_at_once(device: torch.device, clips: int, frames: int) -> int:
    """How many pixels run together; never more sequences than attention kernels take.

    On a CPU a chunk fits its cache. Not in training, where everything is kept for the way back all the same.
    """
    tokens = CPU_TOKENS if device.type == "cpu" and not torch.is_grad_enabled() else TOKENS
    return max(1, min(tokens // (clips * frames), SEQUENCES // clips))
