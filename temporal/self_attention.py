"""An attention pattern in the place of a UNet's own self-attention."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .parts import Attention
from .pattern_attention import attend
from .patterns import Pattern
from .slots import frame_count


def self_attention_patch(
    pattern: Pattern, attention: Attention
) -> Callable[[Tensor, Tensor, Tensor, dict], Tensor]:
    """What a host calls instead of attn1, on projected tokens [B·F, N, C] (its `patches_replace`)."""

    def patch(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        return attend(pattern, q, k, v, options["n_heads"], frame_count(q.shape[0], options), attention)

    return patch
