"""What a network of ours is built from: the host's layer classes and its attention function."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from . import layers

Attention = Callable[..., Tensor]  # (q, k, v, heads, mask=None)


def sdpa(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention on [B, N, heads*d] tokens, by torch's own kernel."""
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


def precise(attention: Attention, options: dict[str, Any]) -> Attention:
    """It at the precision that the model asks for; in half, SD 2.x overflows."""
    precision = options.get("attn_precision")
    return attention if precision is None else partial(attention, attn_precision=precision)


@dataclass(frozen=True)
class Parts:
    """Given to every constructor.

    `nn` has Linear, Conv2d, … as torch.nn has them; a host passes its weight-casting ones.
    """

    nn: Any = layers
    attention: Attention = sdpa
    dtype: torch.dtype | None = None
    device: torch.device | str | None = None
    casts: bool = False  # whether the layers take input of any dtype, whatever that of their weights

    def _build(self, kind: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.nn, kind)(*args, dtype=self.dtype, device=self.device, **kwargs)

    def linear(self, inputs: int, outputs: int, bias: bool = True) -> Any:
        return self._build("Linear", inputs, outputs, bias=bias)

    def conv2d(self, inputs: int, outputs: int, size: int, stride: int = 1) -> Any:
        return self._build("Conv2d", inputs, outputs, size, stride=stride, padding=size // 2)

    def conv1d(self, inputs: int, outputs: int, size: int, stride: int = 1, bias: bool = True) -> Any:
        return self._build("Conv1d", inputs, outputs, size, stride=stride, padding=size // 2, bias=bias)

    def conv3d(
        self, inputs: int, outputs: int, size: tuple[int, int, int], padding: tuple[int, int, int]
    ) -> Any:
        return self._build("Conv3d", inputs, outputs, size, padding=padding)

    def group_norm(self, groups: int, channels: int, eps: float = 1e-5) -> Any:
        return self._build("GroupNorm", groups, channels, eps=eps)

    def layer_norm(self, channels: int) -> Any:
        return self._build("LayerNorm", channels)
