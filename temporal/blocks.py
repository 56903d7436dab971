"""The spatial layers of a latent-diffusion UNet (Rombach et al. 2022), in its key layout.

Activations are [B·F, C, h, w]; a block knows nothing of frames.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .parts import Parts
from .slots import CROSS, SELF, run_inner

Add = Callable[[str, Tensor, Tensor], Tensor]  # (a projection's name, its input, its output) to the output


def _nothing(_: int, h: Tensor) -> Tensor:
    return h


def _as_it_is(_: str, x: Tensor, out: Tensor) -> Tensor:
    return out


class ResBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, emb: int, groups: int, parts: Parts) -> None:
        super().__init__()
        self.channels = outputs
        self.in_layers = nn.Sequential(
            parts.group_norm(groups, inputs), nn.SiLU(), parts.conv2d(inputs, outputs, 3)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), parts.linear(emb, outputs))
        self.out_layers = nn.Sequential(
            parts.group_norm(groups, outputs), nn.SiLU(), nn.Identity(), parts.conv2d(outputs, outputs, 3)
        )
        self.skip_connection = nn.Identity() if inputs == outputs else parts.conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, emb: Tensor, then: Callable[[int, Tensor], Tensor] = _nothing) -> Tensor:
        """`then(number, h)` is called on what each of the two convolutions gives."""
        h = then(0, self.in_layers(x)) + self.emb_layers(emb)[:, :, None, None]
        return self.skip_connection(x) + then(1, self.out_layers(h))


class CrossAttention(nn.Module):
    """Multi-head attention of [B, N, C] tokens to themselves or to a context [B, M, D]."""

    def __init__(self, channels: int, context: int, heads: int, parts: Parts) -> None:
        super().__init__()
        self.heads, self.attention = heads, parts.attention
        self.to_q = parts.linear(channels, channels, bias=False)
        self.to_k = parts.linear(context, channels, bias=False)
        self.to_v = parts.linear(context, channels, bias=False)
        self.to_out = nn.Sequential(parts.linear(channels, channels), nn.Identity())

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        context = x if context is None else context
        return self.to_out(self.attention(self.to_q(x), self.to_k(context), self.to_v(context), self.heads))


class GEGLU(nn.Module):
    def __init__(self, channels: int, inner: int, parts: Parts) -> None:
        super().__init__()
        self.proj = parts.linear(channels, inner * 2)

    def forward(self, x: Tensor, add: Add = _as_it_is) -> Tensor:
        x, gate = add("net.0.proj", x, self.proj(x)).chunk(2, dim=-1)
        return x * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, channels: int, parts: Parts, factor: int = 4) -> None:
        super().__init__()
        inner = channels * factor
        self.net = nn.Sequential(GEGLU(channels, inner, parts), nn.Identity(), parts.linear(inner, channels))

    def forward(self, x: Tensor, add: Add = _as_it_is) -> Tensor:
        """`add` may change what each of the two projections gives."""
        x = self.net[0](x, add)
        return add("net.2", x, self.net[2](x))


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention, feed-forward on [B·F, h·w, C] tokens.

    Honours the host's `attn1_patch`, which may change what self-attention reads, and its
    `patches_replace["attn1"]`, which takes its place between the projections.
    """

    def __init__(self, channels: int, context: int, heads: int, parts: Parts) -> None:
        super().__init__()
        self.attn1 = CrossAttention(channels, channels, heads, parts)
        self.ff = FeedForward(channels, parts)
        self.attn2 = CrossAttention(channels, context, heads, parts)
        self.norm1 = parts.layer_norm(channels)
        self.norm2 = parts.layer_norm(channels)
        self.norm3 = parts.layer_norm(channels)

    def forward(self, x: Tensor, context: Tensor, options: dict) -> Tensor:
        attn, extra = self.attn1, {**options, "n_heads": self.attn1.heads}
        n = keys = values = self.norm1(x)
        for patch in options.get("patches", {}).get("attn1_patch", ()):
            n, keys, values = patch(n, keys, values, extra)
        replace = options.get("patches_replace", {}).get("attn1", {}).get(options.get("block"))
        q, k, v = attn.to_q(n), attn.to_k(keys), attn.to_v(values)
        read = attn.attention(q, k, v, attn.heads) if replace is None else replace(q, k, v, extra)
        x = x + attn.to_out(read)
        x = run_inner(x, options, SELF)
        x = run_inner(x + self.attn2(self.norm2(x), context), options, CROSS)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    def __init__(
        self, channels: int, context: int, heads: int, groups: int, depth: int, parts: Parts
    ) -> None:
        super().__init__()
        self.norm = parts.group_norm(groups, channels, eps=1e-6)
        self.proj_in = parts.conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(channels, context, heads, parts) for _ in range(depth)
        )
        self.proj_out = parts.conv2d(channels, channels, 1)

    def forward(self, x: Tensor, context: Tensor, options: dict) -> Tensor:
        h, w = x.shape[-2:]
        options["activations_shape"] = list(x.shape)
        tokens = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)
        for number, block in enumerate(self.transformer_blocks):
            tokens = block(tokens, context, {**options, "block_index": number})
        tokens = run_inner(tokens, options)
        return x + self.proj_out(tokens.transpose(1, 2).unflatten(2, (h, w)))


class Downsample(nn.Module):
    def __init__(self, channels: int, parts: Parts) -> None:
        super().__init__()
        self.op = parts.conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Upsample(nn.Module):
    def __init__(self, channels: int, parts: Parts) -> None:
        super().__init__()
        self.conv = parts.conv2d(channels, channels, 3)

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        return self.conv(F.interpolate(x, size=list(size), mode="nearest"))


def timestep_embedding(timesteps: Tensor, channels: int) -> Tensor:
    """Sinusoidal embedding of timesteps [B] as [B, channels], cosines first (Ho et al. 2020)."""
    half = channels // 2
    steps = torch.arange(half, dtype=torch.float32, device=timesteps.device)
    angles = timesteps[:, None].float() * torch.exp(-torch.log(torch.tensor(10000.0)) * steps / half)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
