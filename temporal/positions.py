"""How a temporal attention layer knows which frame a token is of."""

import math

import torch
from torch import Tensor, nn

POSITIONS = ("none", "sinusoidal", "relative", "rotary")


def sinusoidal_positions(length: int, channels: int) -> Tensor:
    """Position table [1, length, channels], sines at even channels (Vaswani et al. 2017)."""
    place = torch.arange(length, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, channels, 2, dtype=torch.float32) * (-math.log(10000.0) / channels))
    table = torch.zeros(1, length, channels)
    table[0, :, 0::2], table[0, :, 1::2] = torch.sin(place * rate), torch.cos(place * rate)
    return table


def rotate(x: Tensor) -> Tensor:
    """Turn channel pairs of [B, heads, F, d] by angles that grow with the frame (RoPE, Su et al. 2021)."""
    frames, half = x.shape[-2], x.shape[-1] // 2
    rate = 10000.0 ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angle = torch.arange(frames, device=x.device, dtype=torch.float32)[:, None] * rate
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat([first * cos - second * sin, first * sin + second * cos, rest], dim=-1)


class RelativeTable(nn.Module):
    """Learned vectors [2·reach+1, d], one a distance of frames, cut off at `reach` (Shaw et al. 2018)."""

    def __init__(self, reach: int, channels: int) -> None:
        super().__init__()
        self.reach = reach
        self.embeddings_table = nn.Parameter(torch.empty(2 * reach + 1, channels))
        nn.init.xavier_uniform_(self.embeddings_table)

    def forward(self, frames: int) -> Tensor:
        """Vectors for query i and key j, [F, F, d]."""
        place = torch.arange(frames, device=self.embeddings_table.device)
        return self.embeddings_table[(place - place[:, None]).clamp(-self.reach, self.reach) + self.reach]


def attend_relatively(
    q: Tensor, k: Tensor, v: Tensor, heads: int, to_key: Tensor, to_value: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Attention over [B, F, C] with a vector [F, F, d] for each query and key added to keys and to values.

    `mask` [F, F] is True where a query reads.
    """
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    to_key, to_value = to_key.to(q), to_value.to(q)
    scores = (q @ k.transpose(-1, -2) + torch.einsum("bhid,ijd->bhij", q, to_key)) * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = scores.softmax(-1)
    out = weights @ v + torch.einsum("bhij,ijd->bhid", weights, to_value)
    return out.transpose(1, 2).flatten(2)
