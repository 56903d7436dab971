"""The temporal layers of UNets that were made for video, under the keys of their files.

LVDM (He et al. 2022) attends over frames after the self-attention and after the cross-attention of each
transformer block, or, unconditional, after each attention block. Make-Your-Video (Xing et al. 2023) follows
each ResBlock by convolutions and each transformer by a causal temporal transformer. All know a frame's place
by learned vectors of the distance between two frames. Activations are [B·F, C, h, w], tokens [B, F, N, C].
"""

import torch
from torch import Tensor, nn

from .blocks import FeedForward
from .parts import Parts
from .positions import RelativeTable, attend_relatively
from .slots import CROSS, LAYERS, RES, SELF
from .space_time import over_frames
from .transformer import AS_TRAINED, Calls, Manner, over_pixels

CAUSAL_WINDOW = 16  # frames that a frame of Make-Your-Video reads, itself the last
LONGEST = 64  # frames that it takes
GROUPS = 32
NAME = "LVDM or Make-Your-Video layers"


def across(norm: nn.Module, x: Tensor, frames: int) -> Tensor:
    """A group norm of [B·F, C, h, w] over all frames of a clip."""
    clips = x.unflatten(0, (-1, frames)).transpose(1, 2)
    return norm(clips).transpose(1, 2).flatten(0, 1)


class RelativeAttention(nn.Module):
    """Self-attention over the frames of each pixel; `window`: the last so many frames, where not all."""

    def __init__(self, channels: int, reach: int, head: int, parts: Parts, window: int = 0) -> None:
        super().__init__()
        self.heads, self.window = channels // head, window
        self.to_q = parts.linear(channels, channels, bias=False)
        self.to_k = parts.linear(channels, channels, bias=False)
        self.to_v = parts.linear(channels, channels, bias=False)
        self.to_out = nn.Sequential(parts.linear(channels, channels), nn.Identity())
        self.relative_position_k = RelativeTable(reach, head)
        self.relative_position_v = RelativeTable(reach, head)

    def forward(self, x: Tensor) -> Tensor:
        frames, lines = x.shape[1], x.transpose(1, 2).flatten(0, 1)
        q, k, v = self.to_q(lines), self.to_k(lines), self.to_v(lines)
        tables = self.relative_position_k(frames), self.relative_position_v(frames)
        read = attend_relatively(q, k, v, self.heads, *tables, self._mask(frames, x.device))
        return self.to_out(read).unflatten(0, (x.shape[0], -1)).transpose(1, 2)

    def _mask(self, frames: int, device: torch.device) -> Tensor | None:
        if not self.window:
            return None
        place = torch.arange(frames, device=device)
        before = place[:, None] - place
        return (before >= 0) & (before < self.window)


class LvdmBlock(nn.Module):
    """What LVDM adds to a transformer block."""

    def __init__(self, channels: int, reach: int, head: int, parts: Parts) -> None:
        super().__init__()
        self.norm4, self.norm5 = parts.layer_norm(channels), parts.layer_norm(channels)
        self.attn1_tmp = RelativeAttention(channels, reach, head, parts)
        self.attn2_tmp = RelativeAttention(channels, reach, head, parts)

    @property
    def calls(self) -> Calls:
        return {SELF: self.after_self, CROSS: self.after_cross}

    def after_self(self, x: Tensor, frames: int, manner: Manner = AS_TRAINED) -> Tensor:
        manner.must_be_as_trained(NAME)
        return x + over_pixels(x, frames, lambda tokens, _: self.attn1_tmp(self.norm4(tokens)))

    def after_cross(self, x: Tensor, frames: int, manner: Manner = AS_TRAINED) -> Tensor:
        manner.must_be_as_trained(NAME)
        return x + over_pixels(x, frames, lambda tokens, _: self.attn2_tmp(self.norm5(tokens)))


class LvdmAttention(nn.Module):
    """The temporal half of unconditional LVDM's attention block.

    As released, the vector of a distance meets the query of the frame that is read: the scores of i over j
    get q_j · k[i − j], and not scaled as often as the others are.
    """

    def __init__(self, channels: int, reach: int, head: int, parts: Parts) -> None:
        super().__init__()
        self.head = head
        self.norm_t = parts.group_norm(GROUPS, channels)
        self.qkv_t = parts.conv1d(channels, 3 * channels, 1)
        self.proj_out_t = parts.conv1d(channels, channels, 1)
        self.relative_position_k = RelativeTable(reach, head)
        self.relative_position_v = RelativeTable(reach, head)

    @property
    def calls(self) -> Calls:
        return {LAYERS: self.forward}

    def forward(self, x: Tensor, frames: int, manner: Manner = AS_TRAINED) -> Tensor:
        manner.must_be_as_trained(NAME)
        return x + over_frames(x, frames, self._attend)

    def _attend(self, lines: Tensor) -> Tensor:
        """Lines [B·h·w, C, F]."""
        frames, scale = lines.shape[-1], self.head**-0.25
        q, k, v = (
            part.unflatten(1, (-1, self.head)).transpose(-1, -2)
            for part in self.qkv_t(self.norm_t(lines)).chunk(3, dim=1)
        )  # [S, heads, F, d]
        to_key, to_value = self.relative_position_k(frames).to(q), self.relative_position_v(frames).to(q)
        scores = (q * scale) @ (k * scale).transpose(-1, -2)
        scores = scores + torch.einsum("shjd,jid->shij", q * scale, to_key)
        weights = scores.softmax(-1)
        read = weights @ v + torch.einsum("shij,ijd->shid", weights, to_value)
        return self.proj_out_t(read.transpose(-1, -2).flatten(1, 2))


class TemporalConvBlock(nn.Module):
    """Make-Your-Video's convolutions: of frames, pixels, frames, frames, and of frames that is 0 at first.

    Beyond the first and the last frame these are repeated.
    """

    def __init__(self, channels: int, parts: Parts) -> None:
        super().__init__()

        def normed(*between: nn.Module, pixels: bool = False) -> nn.Sequential:
            size, padding = ((1, 3, 3), (0, 1, 1)) if pixels else ((3, 1, 1), (0, 0, 0))
            conv = parts.conv3d(channels, channels, size, padding)
            return nn.Sequential(parts.group_norm(GROUPS, channels), *between, conv)

        ends = nn.ReplicationPad3d((0, 0, 0, 0, 1, 1))
        self.conv = nn.Sequential(
            normed(nn.Sequential(nn.SiLU(), ends)),
            normed(nn.SiLU(), nn.Identity(), pixels=True),
            normed(nn.SiLU(), ends),
            normed(nn.SiLU(), ends),
        )
        self.conv_last = normed(nn.SiLU(), ends)

    @property
    def calls(self) -> Calls:
        return {RES: self.forward}

    def forward(self, x: Tensor, frames: int, manner: Manner = AS_TRAINED) -> Tensor:
        manner.must_be_as_trained(NAME)
        clips = x.unflatten(0, (-1, frames)).transpose(1, 2)
        return (clips + self.conv_last(self.conv(clips))).transpose(1, 2).flatten(0, 1)


class _CausalBlock(nn.Module):
    def __init__(self, channels: int, reach: int, head: int, parts: Parts) -> None:
        super().__init__()
        self.attn1 = RelativeAttention(channels, reach, head, parts, CAUSAL_WINDOW)
        self.ff = FeedForward(channels, parts)
        self.attn2 = RelativeAttention(channels, reach, head, parts, CAUSAL_WINDOW)
        self.norm1, self.norm2, self.norm3 = (parts.layer_norm(channels) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x))
        return x + self.ff(self.norm3(x))


class CausalTransformer(nn.Module):
    """Make-Your-Video's temporal transformer, in which a frame reads itself and the 15 before it."""

    def __init__(self, channels: int, reach: int, head: int, parts: Parts) -> None:
        super().__init__()
        self.norm = parts.group_norm(GROUPS, channels, eps=1e-6)
        self.proj_in = parts.linear(channels, channels)
        self.transformer_blocks = nn.ModuleList([_CausalBlock(channels, reach, head, parts)])
        self.proj_out = parts.linear(channels, channels)

    @property
    def calls(self) -> Calls:
        return {LAYERS: self.forward}

    def forward(self, x: Tensor, frames: int, manner: Manner = AS_TRAINED) -> Tensor:
        manner.must_be_as_trained(NAME)
        return x + over_pixels(across(self.norm, x, frames), frames, lambda tokens, _: self._move(tokens))

    def _move(self, tokens: Tensor) -> Tensor:
        return self.proj_out(self.transformer_blocks[0](self.proj_in(tokens)))
